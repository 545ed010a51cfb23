"""Stage 2, pure: a principal's state, folded over its activity in the order of its partition, and the rows that change with it.

The fold is deterministic: version n of a principal is the same whoever computes it, however often. A row holds the totals of a
bucket since it was opened, and of two the one with more events is the newer: it may be written again and again. So a worker that
died between rows and states is simply repeated.

The state is small, for it is published whenever it changes: the buckets last used, and of each partition of `affidavit.events`
the last place counted. A bucket that comes up again after it was given up is opened anew; rows of both add up, told apart by the
place of the block that opened them. If all states are lost and the topic is read again from where it began, places and sums are
the same and nothing changes; where retention took its beginning, a bucket that was open then is opened at a later place, and what
both rows counted is counted twice.

A principal that did nothing for KEPT_US is forgotten, so that there are as many states as principals in a month, and not as there
ever were. If it comes again it begins anew; what could still come twice by then has left the topics long ago.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson
import pyarrow as pa
from pydantic import TypeAdapter

from processors.steps.fields import EARLIEST, LATEST, TIME
from schemas.activity import HOUR_US, MOST, Activity, Bucket

KEPT_US = 30 * 24 * HOUR_US
"""How long a state is kept after its principal's newest statement: four times what the topics keep of what may come again."""

MAX_BUCKETS = 8
"""Open at once for each principal: this hour and the last, on four databases. More are as right, and make more rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """One bucket's sums since the block at the place `opened`."""

    opened: int
    bucket: Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """All that stage 2 remembers of one principal. `version` counts the records that were folded in."""

    principal: str
    kind: str = ""
    since: int = 0
    """The time (µs) of the statement it began with: later where it was forgotten and came again. 0 in older versions' states."""
    version: int = 0
    seen: Mapping[int, int] = field(default_factory=dict)
    totals: tuple[Total, ...] = ()
    """The last used last."""

    @property
    def last_at(self) -> int:
        """The time (µs) of the newest statement that is known of; 0 if none is."""
        return max((t.bucket.last_at for t in self.totals), default=0)

    def encode(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps(self, option=orjson.OPT_NON_STR_KEYS)


def decode(data: bytes) -> Principal:
    """Return what `encode` made; raise ValueError."""
    return _PRINCIPAL.validate_json(data)


_PRINCIPAL = TypeAdapter(Principal)


def fold(state: Principal, activity: Activity) -> Principal:
    """Return the state with this activity in it; the state itself where the activity is a repeat."""
    partition, offset = activity.at
    if offset <= state.seen.get(partition, -1):
        return state
    version = state.version + 1
    totals = list(state.totals)
    for bucket in activity.buckets:
        at = next((i for i, t in enumerate(totals) if _same(t.bucket, bucket)), None)
        held = Total(opened=_place(partition, offset), bucket=bucket) if at is None else _sum(totals.pop(at), bucket)
        totals.append(held)
    return Principal(
        principal=activity.principal,
        kind=activity.kind,
        since=state.since if state.version else min((b.first_at for b in activity.buckets), default=0),
        version=version,
        seen={**state.seen, partition: offset},
        totals=tuple(totals),
    )


def trimmed(state: Principal) -> Principal:
    """Return the state as it is kept. After every record, never after several: versions must not depend on batches."""
    return state if len(state.totals) <= MAX_BUCKETS else replace(state, totals=state.totals[-MAX_BUCKETS:])


def is_idle(last_at: int, now: int) -> bool:
    """Whether a state whose `last_at` this is is to be forgotten at a time (µs)."""
    return last_at < now - KEPT_US


def rank(state: Principal) -> tuple[int, int]:
    """Return what is higher in the newer of two states of a principal, of which one may be of before it was forgotten.

    By when they began, not by when anything was seen last: that goes back where a clock was fast and its bucket is given up.
    """
    return state.since, state.version


def _place(partition: int, offset: int) -> int:
    return offset << 12 | partition


def _same(one: Bucket, other: Bucket) -> bool:
    return (one.hour, one.database) == (other.hour, other.database)


def _sum(total: Total, more: Bucket) -> Total:
    had = total.bucket
    bucket = replace(
        had,
        events=had.events + more.events,
        denied=had.denied + more.denied,
        errors=had.errors + more.errors,
        rows_returned=min(had.rows_returned + more.rows_returned, MOST),
        first_at=min(had.first_at, more.first_at),
        last_at=max(had.last_at, more.last_at),
        verbs=_added(had.verbs, more.verbs),
        classes=_added(had.classes, more.classes),
    )
    return replace(total, bucket=bucket)


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


Rows = dict[tuple[str, int, str, int], tuple[Principal, Total]]
"""Rows by their key (principal, hour, database, opened): the newest of each is enough."""


def changed(rows: Rows, state: Principal, activity: Activity) -> None:
    """Put the rows that an activity changed into `rows`; `state` is as `fold` returned it."""
    for total in state.totals[-len(activity.buckets) :] if activity.buckets else ():
        rows[state.principal, total.bucket.hour, total.bucket.database, total.opened] = (state, total)


def table(rows: Rows) -> pa.Table:
    """Return rows for `principal_activity`."""
    states = [state for state, _ in rows.values()]
    totals = [total for _, total in rows.values()]
    buckets = [t.bucket for t in totals]
    counts = {n: pa.array([getattr(b, n) for b in buckets], pa.uint64()) for n in ("events", "denied", "errors", "rows_returned")}
    times = {n: pa.array([_time(getattr(b, n)) for b in buckets], pa.int64()).cast(TIME) for n in ("first_at", "last_at")}
    words = {n: pa.array([list(getattr(b, n).items()) for b in buckets], _COUNTS) for n in ("verbs", "classes")}
    return pa.table(
        {
            "principal_id": pa.array([s.principal for s in states], pa.string()),
            "principal_kind": pa.array([s.kind for s in states], pa.string()),
            "hour": pa.array([_time(b.hour * HOUR_US) for b in buckets], pa.int64()).cast(TIME),
            "database_alias": pa.array([b.database for b in buckets], pa.string()),
            "opened": pa.array([t.opened for t in totals], pa.uint64()),
            **counts,
            **times,
            **words,
            "version": counts["events"],
        }
    )


_COUNTS = pa.map_(pa.string(), pa.uint64())


def _time(us: int) -> int:
    return min(max(us, EARLIEST), LATEST)
