"""Which moment `from=` and `to=` mean: RFC 3339, a date, `now`, or relative to now such as `-15m` and `-24h`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RELATIVE = re.compile(r"(?:now)?-(\d{1,6})(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = 4_102_444_800_000_000
"""2100-01-01: later times do not fit a ClickHouse DateTime beside it."""


class TimeError(ValueError):
    """The caller's fault: not a moment we understand."""


def parse_time(text: str, now: int) -> int:
    """The moment in µs since the Unix epoch, UTC. A time without an offset is UTC. Raises TimeError."""
    text = text.strip()
    if text == "now":
        return now
    if found := _RELATIVE.fullmatch(text):
        return max(0, now - int(found[1]) * _SECONDS[found[2]] * 1_000_000)
    try:
        # A '+' that was not percent-encoded reaches us as a space.
        moment = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text) if "T" in text else text)
    except ValueError:
        raise TimeError(f"'{text[:64]}' is not a time. Write 2026-01-31T12:00:00Z, 2026-01-31, now, -15m, -24h or -7d.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    if not 0 <= micros < LATEST:
        raise TimeError(f"'{text[:64]}' lies outside the years 1970 to 2099.")
    return micros


def rfc3339(micros: int) -> str:
    """The moment as RFC 3339 in UTC with microseconds."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")
