"""Step 5: who did how much? Makes the activity records of the batch, for stage 2: one for each principal of each block.

In the order of the log, so that of two records of one principal the later block's stands behind (see `schemas.activity`). Arrow
counts what is alike in everything that matters here; only these groups are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from processors.steps.work import Batch, Queries, State
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
    if not q.events:
        return state, batch
    who = [(c["principal"]["id"], c["principal"]["kind"], c["database"]["alias"]) for c in q.contexts]
    verbs = [s["facts"]["verbs"] for s in q.statements]
    found: dict[tuple[int, str], tuple[str, dict[tuple[int, str], _Counts]]] = {}
    seen = list(dict.fromkeys(tuple(e.exposure) for e in q.events))
    for alike in _groups(q, seen, batch.tables["query_events"]):
        block, context, statement, shown, hour, status, events, rows, first_at, last_at = alike
        principal, kind, database = who[context]
        _, by_hour = found.setdefault((block, principal), (kind, {}))
        bucket = (hour, database)
        counts = by_hour.get(bucket)
        if counts is None:
            counts = by_hour[bucket] = _Counts()
        counts.events += events
        if status == "denied":
            counts.denied += events
        elif status != "ok":
            counts.errors += events
        counts.rows_returned = min(counts.rows_returned + rows, MOST)
        counts.first_at = min(counts.first_at, first_at)
        counts.last_at = max(counts.last_at, last_at)
        _count(counts.verbs, verbs[statement], events)
        _count(counts.classes, dict.fromkeys((*q.data_classes[statement], *seen[shown])), events)
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


def _groups(q: Queries, seen: Sequence[tuple[str, ...]], table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield what is alike, block after block: block, context, statement, hour, status; how many, rows, first and last time.

    `seen` are the distinct tuples of classes that results held, and behind the statement stands which of them these did.
    """
    at_seen = {classes: i for i, classes in enumerate(seen)}
    status = table["status"].chunk(0)
    at = table["at"].cast(pa.int64())
    # A statement's rows count up to a share, so that no sum of a batch's leaves the column: Arrow's sums wrap around.
    rows = pc.min_element_wise(table["rows_returned"], pa.scalar(MOST // table.num_rows, pa.uint64()))
    keys = {
        "block": pa.array(q.block_of, pa.int32()),
        "context": pa.array(q.context_of, pa.int32()),
        "statement": pa.array(q.statement_of, pa.int32()),
        "seen": pa.array([at_seen[tuple(e.exposure)] for e in q.events], pa.int32()),
        "hour": pc.divide(at, HOUR_US),
        "status": status.indices,
    }
    alike = pa.table({**keys, "rows": rows, "at": at}).group_by([*keys], use_threads=False)
    counted = alike.aggregate([([], "count_all"), ("rows", "sum"), ("at", "min"), ("at", "max")])
    ordered = counted.sort_by([(key, "ascending") for key in keys])  # Arrow's own order is of its hashes
    columns = ordered.select([*keys, "count_all", "rows_sum", "at_min", "at_max"]).to_pydict()
    words = status.dictionary.to_pylist()
    columns["status"] = [words[i] for i in columns["status"]]
    return zip(*columns.values(), strict=True)


def _count(into: dict[str, int], names: Iterable[str], events: int) -> None:
    for name in names:
        into[name] = into.get(name, 0) + events


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
