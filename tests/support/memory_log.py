"""A log in memory that honours `schemas.log.Log`: for tests of what reads and writes logs, not of logs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from schemas.log import LogUnavailableError, NewRecord, Record


class MemoryLog:
    """Topics as lists. `failures` is how many next calls raise LogUnavailableError; offsets below `trimmed` are gone."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Record]] = {}
        self.failures = 0
        self.trimmed = 0

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        self._fail()
        held = self.topics.setdefault(topic, [])
        for n, r in enumerate(records, len(held)):
            held.append(Record(topic, n, r.key, r.value, dict(r.headers), tombstone=r.tombstone))

    def read(self, topic: str, offset: int, limit: int, max_bytes: int = 32 * 1024 * 1024, partition: int = 0) -> list[Record]:
        self._fail()
        found: list[Record] = []
        size = 0
        for record in self.topics.get(topic, [])[max(offset, self.trimmed) :][:limit]:
            size += len(record.value)
            if found and size > max_bytes:
                break
            found.append(record)
        return found

    def wait(self, topic: str, offset: int, seconds: float, partition: int = 0) -> bool:
        if self.end_offset(topic) > offset:
            return True
        time.sleep(min(seconds, 0.01))  # who asks again and again must not spin
        return self.end_offset(topic) > offset

    def end_offset(self, topic: str, partition: int = 0) -> int:
        self._fail()
        return len(self.topics.get(topic, []))

    def partitions(self, topic: str) -> int:
        return 1

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        """Nothing to release."""

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise LogUnavailableError("the log in memory is told to be busy")
