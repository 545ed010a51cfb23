"""Step 5: who did how much? Makes the activity records of the batch, for stage 2: one for each principal of each block.

In the order of the log, so that of two records of one principal the later block's stands behind (see `schemas.activity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from processors.steps.work import Batch, State
from schemas.activity import HOUR_US, MOST, Activity, Bucket


@dataclass(slots=True)
class _Counts:
    events: int = 0
    denied: int = 0
    errors: int = 0
    rows_returned: int = 0
    first_at: int = 1 << 62
    last_at: int = 0
    verbs: dict[str, int] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)


def tally(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Count the batch's statements by block, principal, hour and database."""
    q = batch.queries
    who = [(c["principal"]["id"], c["principal"]["kind"], c["database"]["alias"]) for c in q.contexts]
    verbs = [s["facts"]["verbs"] for s in q.statements]
    found: dict[tuple[int, str], tuple[str, dict[tuple[int, str], _Counts]]] = {}
    for block, event, context, statement in zip(q.block_of, q.events, q.context_of, q.statement_of, strict=True):
        principal, kind, database = who[context]
        at, outcome = event["at"], event["outcome"]
        key = (block, principal)
        if key not in found:
            found[key] = (kind, {})
        by_hour = found[key][1]
        bucket = (at // HOUR_US, database)
        counts = by_hour.get(bucket)
        if counts is None:
            counts = by_hour[bucket] = _Counts()
        counts.events += 1
        status = outcome["status"]
        if status != "ok":
            if status == "denied":
                counts.denied += 1
            else:
                counts.errors += 1
        counts.rows_returned = min(counts.rows_returned + outcome["rows_returned"], MOST)
        if at < counts.first_at:
            counts.first_at = at
        if at > counts.last_at:
            counts.last_at = at
        _count(counts.verbs, verbs[statement])
        _count(counts.classes, q.data_classes[statement])
    offsets = [a.offset for a in batch.fresh]
    partition = batch.records[0].partition if batch.records else 0
    activity = tuple(
        Activity(
            principal=principal,
            kind=kind,
            at=(partition, offsets[block]),
            buckets=tuple(_bucket(hour, database, counts) for (hour, database), counts in by_hour.items()),
        )
        for (block, principal), (kind, by_hour) in found.items()
    )
    return state, replace(batch, activity=activity)


def _count(into: dict[str, int], names: Sequence[str]) -> None:
    for name in names:
        into[name] = into.get(name, 0) + 1


def _bucket(hour: int, database: str, counts: _Counts) -> Bucket:
    return Bucket(
        hour=hour,
        database=database,
        events=counts.events,
        denied=counts.denied,
        errors=counts.errors,
        rows_returned=counts.rows_returned,
        first_at=counts.first_at,
        last_at=counts.last_at,
        verbs=counts.verbs,
        classes=counts.classes,
    )
