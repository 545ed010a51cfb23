"""How numbers, times and names are written for people: short, aligned, in UTC."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def count(number: int) -> str:
    """1234567 → 1,234,567."""
    return f"{number:,}"


def duration(micros: int) -> str:
    """Three digits at most and a unit: 640 µs, 1.24 ms, 12.4 s, 3 m 05 s."""
    if micros < 1000:
        return f"{micros} µs"
    if micros < 999_500:
        return f"{_three(micros / 1000)} ms"
    if micros < 59_950_000:
        return f"{_three(micros / 1e6)} s"
    minutes, seconds = divmod(round(micros / 1e6), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m" if hours else f"{minutes} m {seconds:02d} s"


def size(count_of_bytes: int) -> str:
    """Three digits at most and a decimal unit: 640 B, 4.2 MB."""
    if count_of_bytes < 1000:
        return f"{count_of_bytes} B"
    value = float(count_of_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5:
            return f"{_three(value)} {unit}"
    return f"{_three(value / 1000)} TB"


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def moment(micros: int) -> datetime:
    """The moment as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def clock_time(micros: int) -> str:
    """14:03:07.182."""
    return moment(micros).strftime("%H:%M:%S.%f")[:-3]


def day(micros: int) -> str:
    """21 Sep."""
    at = moment(micros)
    return f"{at.day} {at:%b}"


def axis_time(micros: int, span_us: int) -> str:
    """A label on a time axis, as fine as its span needs."""
    at = moment(micros)
    if span_us <= 600_000_000:
        return f"{at:%H:%M:%S}"
    if span_us <= 2 * 86_400_000_000:
        return f"{at:%H:%M}"
    return f"{at.day} {at:%b}"


def step(micros: int) -> str:
    """The name of a histogram's step: 15 minutes, day."""
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        seconds = micros // 1_000_000
        if seconds % unit == 0 and seconds >= unit:
            number = seconds // unit
            return name if number == 1 else f"{number} {name}s"
    return f"{micros} µs"


def short(name: str) -> str:
    """An object's name without the schema everybody has."""
    return name.removeprefix("public.")


_HIDING = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


class Typed(str):
    """What somebody typed into a field: it stands there as it was, for it is sent again."""

    __slots__ = ()


def seen(value: object) -> object:
    """Any value as templates write it: a text with what cannot be seen, or turns what stands beside it, by its number.

    A statement, or a name, that whoever is audited has chosen must read as it runs: U+202E would turn the rest of its line round.
    """
    if not isinstance(value, str) or value.isprintable() or isinstance(value, Typed):
        return value
    written = "".join(f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in _HIDING and c not in "\n\t\r" else c for c in value)
    return type(value)(written)
