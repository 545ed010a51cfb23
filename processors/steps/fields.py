"""How are members of an event read that nobody validated? By name and kind, with an empty value for whatever does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pyarrow as pa

from processors.steps.work import Other

TIME = pa.timestamp("us", tz="UTC")

EARLIEST = 946_684_800_000_000
LATEST = 4_102_444_800_000_000
"""Times outside 2000 to 2100 are not believed: such a row would expire at once, or never. Its event is kept as unreadable."""


def text(fields: Any, *path: str) -> str:
    """The text at a path of members, or an empty one."""
    for name in path:
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields if isinstance(fields, str) else ""


def texts(fields: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a list."""
    value = fields.get(name)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def count(fields: Mapping[str, Any], name: str, below: int = 1 << 63) -> int:
    """A number from 0 to `below`, or 0."""
    value = fields.get(name)
    return value if isinstance(value, int) and 0 <= value < below else 0


def moment(fields: Mapping[str, Any], name: str, otherwise: int) -> int:
    """A time in µs that is believed, or another."""
    at = count(fields, name)
    return at if EARLIEST <= at <= LATEST else otherwise


def happened(other: Other, otherwise: int) -> int:
    """When an event happened, or another time."""
    return moment(other.fields, "at", otherwise)


def event_id(value: object) -> bytes:
    """The bytes of a UUID, or zeros."""
    try:
        return UUID(str(value)).bytes
    except ValueError:
        return bytes(16)
