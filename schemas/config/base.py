"""What all sections of the configuration have in common."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,63}$")]


def _with_port(listen: str) -> str:
    if not 1 <= int(listen.rpartition(":")[2]) <= 65535:
        raise ValueError(f"port must be 1 to 65535, not {listen!r}")
    return listen


HostPort = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$"), AfterValidator(_with_port)]


class SettingError(ValueError):
    """Settings that contradict each other; `at` is the one to change, as far below the section that sees it as need be."""

    def __init__(self, at: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.at = at


class Settings(BaseModel):
    """Base of all sections: frozen, nothing unknown."""

    # What is wrong with a setting is worded without its value, which may be a secret: pydantic's own text would repeat it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def with_secrets(settings: BaseModel) -> dict[str, Any]:
    """Return settings as plain values for JSON, passwords included: for a child process's pipe, never for anything else."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {str(name): plain(v) for name, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        return str(value) if isinstance(value, Path | StrEnum) else value

    return {name: plain(value) for name, value in settings.model_dump(mode="python").items()}


def is_safe_url(url: str) -> bool:
    """Tell whether what an address answers can be believed: https, or http from this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
    )
