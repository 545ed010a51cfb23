"""The options that several commands of `affidavit` have in common, and how the words given for them become values."""

from __future__ import annotations

import getpass
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from deploy.log_style import VARIABLE, Style

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="AFFIDAVIT_CONFIG", metavar="FILE", help="The configuration file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ApiUrl = Annotated[str | None, typer.Option("--api", metavar="URL", help="The API to ask; default: api.listen.")]
ApiToken = Annotated[
    str | None,
    typer.Option("--token", envvar="AFFIDAVIT_TOKEN", metavar="TOKEN", help="Default: the local node's own, where readable."),
]
Since = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Start: ISO 8601, or an age such as 15m, 8h, 7d.")]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, likewise.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the trail.")]
LogFormat = Annotated[
    Style, typer.Option("--log-format", envvar=VARIABLE, help="What log lines look like: JSON, text, or by where they go.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most so many.")]
DEFAULT_CONFIG = Path("affidavit.yaml")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class UsageError(Exception):
    """What was asked makes no sense; the message says what would."""


def now() -> int:
    """Return the time, µs UTC."""
    return time.time_ns() // 1000


def actor() -> str:
    """Return who runs the command, as events name it."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return f"uid {os.getuid()} (command line)"


def split(text: str) -> list[str]:
    """Return the parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def seconds(text: str) -> float:
    """Return a duration such as 30m. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if not match:
        raise UsageError(f"{text!r} is no duration; write a number and a unit: 30m, 8h, 90d")
    return int(match[1]) * _UNITS[match[2]]


def future(text: str) -> int:
    """Return when something ends, µs UTC, that is said as a duration from now or as a time. Raises UsageError."""
    if re.fullmatch(r"\d{1,9}[smhdw]", text):
        return now() + int(seconds(text) * 1_000_000)
    when = moment(text)
    assert when is not None
    return int(datetime.fromisoformat(when).timestamp() * 1_000_000)


def moment(text: str | None) -> str | None:
    """Return a time in ISO 8601: an age becomes one, a time is checked and given a zone (UTC). Raises UsageError."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}[smhdw]", text):
        return datetime.fromtimestamp(now() / 1_000_000 - seconds(text), UTC).isoformat()
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 2026-01-31, 2026-01-31T08:00:00Z, or an age: 15m, 8h, 7d") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat()
