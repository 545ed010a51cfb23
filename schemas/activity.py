"""What stage 2 must know of events: `affidavit.activity`, one record for each principal of a block, keyed by the principal.

Counts by hour and database, no texts, no values. `at` is the block's place in `affidavit.events` (partition, offset): records
of one principal come in the order of their places, and a repeat has the place of the first; so a place that is not behind the
last one is a repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.log import NewRecord

HOUR_US = 3_600_000_000
MOST = (1 << 63) - 1
"""Sums stay at this: what a client makes its server answer must not make a number that no column holds."""


class ActivityError(Exception):
    """A record of the topic is no activity that this version can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Statements of one hour (since 1970, UTC) on one database. Times are µs; `denied` and `errors` are among `events`."""

    hour: int
    database: str
    events: int
    denied: int
    errors: int
    rows_returned: int
    first_at: int
    last_at: int
    verbs: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One principal's statements in one block."""

    v: int = 1
    principal: str
    kind: str
    at: tuple[int, int]
    buckets: tuple[Bucket, ...]

    def record(self) -> NewRecord:
        """Return it as it is published."""
        return NewRecord(self.principal.encode(), orjson.dumps(self))


def decode(value: bytes) -> Activity:
    """Return what was published. Raises ActivityError."""
    try:
        found = _ACTIVITY.validate_json(value)
    except ValidationError as error:
        raise ActivityError(f"no activity that can be read: {error.error_count()} errors") from None
    if found.v != 1:
        raise ActivityError(f"activity of version {found.v}, which a newer affidavit wrote")
    return found


_ACTIVITY = TypeAdapter(Activity)
