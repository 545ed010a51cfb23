"""How numbers, sizes and durations are written: `1000`, `10MB`, `1.5s`, to integers in the field's base unit."""

from __future__ import annotations

import re
from decimal import Decimal

from query_api.search.errors import SearchError
from query_api.search.fields import Field, Unit

BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
DURATIONS = {"us": 1, "µs": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}
LARGEST = 2**64 - 1
_NUMBER = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,6})?)([A-Za-zµ]*)")
_SCALES: dict[Unit, dict[str, int]] = {Unit.COUNT: {"": 1}, Unit.BYTES: {"": 1} | BYTES, Unit.DURATION: DURATIONS}
_WRITE = {
    Unit.COUNT: "Write a whole number, such as 1000.",
    Unit.BYTES: "Write a size, such as 500, 10MB or 4KiB.",
    Unit.DURATION: "Write a duration with its unit (us, ms, s, m, h, d), such as 2s or 1.5ms.",
}
_BASE = {Unit.COUNT: "", Unit.BYTES: "B", Unit.DURATION: "us"}


def read(text: str, field: Field, position: int) -> int:
    """The number in the field's base unit (bytes, microseconds, or plain). Raises SearchError."""
    found = _NUMBER.fullmatch(text)
    scales = _SCALES[field.unit]
    by_lower = {unit.lower(): scale for unit, scale in scales.items()}
    scale = by_lower.get(found[2].lower()) if found else None
    if found is None or scale is None:
        raise SearchError(f"'{text}' is not a value of {field.name}", position, len(text), _WRITE[field.unit])
    number = Decimal(found[1]) * scale
    if number != number.to_integral_value():
        raise SearchError(f"'{text}' is finer than {field.name} is measured", position, len(text), _WRITE[field.unit])
    if number > LARGEST:
        raise SearchError(f"'{text}' is larger than any {field.name}", position, len(text))
    return int(number)


def write(number: int, field: Field) -> str:
    """The number as `read` takes it back."""
    return f"{number}{_BASE[field.unit]}"
