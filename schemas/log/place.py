"""Where is the log? A file, or brokers; opened by whoever needs it, in whatever process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.config import Durability, KafkaSettings, LogKind, LogSettings, with_secrets
from schemas.log import Log


@dataclass(frozen=True, slots=True)
class LogPlace:
    """The embedded log's file and its `synchronous`, or with `kafka` the brokers; the file is not touched then."""

    path: Path
    synchronous: str = "NORMAL"
    kafka: KafkaSettings | None = None

    @classmethod
    def of(cls, settings: LogSettings, path: Path, durability: Durability) -> LogPlace:
        """Return the place a configuration means; `path` is the embedded log's file."""
        kafka = settings.kafka if settings.kind is LogKind.KAFKA else None
        return cls(path, "FULL" if durability is Durability.FSYNC else "NORMAL", kafka)

    def open(self, reads_only: bool = False) -> Log:
        """Open the log. Raises LogError; brokers that are away are no error yet."""
        if self.kafka is not None:
            from schemas.log.kafka import KafkaLog

            return KafkaLog(self.kafka, reads_only=reads_only)
        from schemas.log.sqlite import SqliteLog

        return SqliteLog(self.path, self.synchronous)

    def wire(self) -> dict[str, Any]:
        """Return it as plain values, passwords included: for another process's pipe, never for a command line or a file."""
        return {
            "path": str(self.path),
            "synchronous": self.synchronous,
            "kafka": with_secrets(self.kafka) if self.kafka is not None else None,
        }

    @classmethod
    def from_wire(cls, values: dict[str, Any]) -> LogPlace:
        """Return what `wire` wrote."""
        kafka = values["kafka"]
        settings = KafkaSettings.model_validate(kafka) if kafka is not None else None
        return cls(Path(values["path"]), values["synchronous"], settings)
