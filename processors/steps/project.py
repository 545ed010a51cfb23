"""Step 4: which rows does it make? Turns read events into Arrow tables, one per table of `schemas/clickhouse`.

Columns that depend only on the session or the statement are built over the distinct ones and gathered by index, as dictionaries
where ClickHouse keeps dictionaries. An event that no row can hold (a number out of its column's range) goes to `other_events`
as unreadable, with its line; it does not take the rest of the batch with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from operator import attrgetter
from typing import Any

import pyarrow as pa
from msgspec import structs

from processors.steps import approvals
from processors.steps.fields import EARLIEST, LATEST, TIME, count, event_id, happened, text
from processors.steps.read import UNREADABLE
from processors.steps.work import Batch, Line, Other, Queries, State

_STRINGS = pa.list_(pa.string())
_UUID = pa.binary(16)


def project(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Fill in the batch's tables; queries that no row can hold are none of its queries any more."""
    queries, others = batch.queries, list(batch.others)
    tables: dict[str, pa.Table] = {}
    try:
        tables["query_events"] = _query_events(queries, batch)
    except _UNFIT:
        good, bad = _apart(queries, batch)
        others += [_unreadable(queries, i, batch) for i in bad]
        state = replace(state, unreadable=state.unreadable + len(bad))
        queries = _selected(queries, good)
        tables["query_events"] = _query_events(queries, batch)
    tables["other_events"] = _other_events(others, batch)
    tables["texts"] = _texts(others)
    tables["sessions"] = _sessions(others)
    tables["approvals"] = approvals.requests(others, batch)
    tables["approval_steps"] = approvals.steps(others, queries, batch)
    tables["blocks"] = _blocks(batch, queries)
    return state, replace(batch, queries=queries, tables={name: t for name, t in tables.items() if t.num_rows})


_UNFIT = (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError, AttributeError)
"""What building a column raises when a value does not fit it."""


def _query_events(q: Queries, batch: Batch) -> pa.Table:
    blocks = [a.block.header for a in batch.fresh]
    events, ends = q.events, [e.outcome for e in q.events]
    block, decision = pa.array(q.block_of, pa.int32()), pa.array(q.decision_of, pa.int32())
    context, statement = pa.array(q.context_of, pa.int32()), pa.array(q.statement_of, pa.int32())
    columns: dict[str, pa.Array] = {
        "source": _pick(block, [h.source for h in blocks]),
        "epoch": _gather(block, [h.epoch for h in blocks], pa.uint32()),
        "seq": pa.array(q.seqs, pa.uint64()),
        "event_id": _ids([e.event_id for e in events]),
        "at": _times([e.at for e in events], EARLIEST),
        "ended_at": _times([e.ended_at for e in events], 0),
        "kind": _words([e.kind for e in events]),
        "transaction": _words([e.transaction for e in events]),
        "params": pa.array([e.params for e in events], _STRINGS),
        "claims": _maps([e.claims for e in events], pa.string()),
        "status": _words([o.status for o in ends]),
        "sqlstate": _words([o.sqlstate for o in ends]),
        "block_number": _gather(block, [h.number for h in blocks], pa.uint64()),
    }
    # Empty in nearly every batch, and empty by default: cheaper left out than written.
    if q.newer:
        columns["line"] = pa.array([q.newer.get(i, b"") for i in range(len(events))], pa.binary())
    exposures = [e.exposure for e in events]
    if any(exposures):
        columns["exposure"] = _maps(exposures, pa.uint64())
        columns["masked"] = _maps([e.masked for e in events], pa.uint64())
        columns["exposed"] = _maps([e.exposed for e in events], pa.uint64())
    for name in _COUNTS:
        columns[name] = pa.array(list(map(attrgetter(name), ends)), pa.uint64())
    for name, value in _CONTEXT_WORDS.items():
        columns[name] = _pick(context, [value(c) for c in q.contexts])
    for name in ("groups", "delegation"):
        column = "principal_groups" if name == "groups" else name
        columns[column] = _gather_words(context, [c["principal"][name] for c in q.contexts])
    for name in ("text", "text_hash", "fingerprint"):
        columns[name] = _pick(statement, [s[name] for s in q.statements])
    for name in ("verbs", "reads", "writes", "functions", "flags"):
        columns[name] = _gather_words(statement, [s["facts"][name] for s in q.statements])
    columns["dangers"] = _gather_words(statement, [s["facts"].get("dangers", ()) for s in q.statements])
    uses = [s["facts"]["columns"] for s in q.statements]
    columns["columns"] = _gather_words(statement, [[u["name"] for u in use] for use in uses])
    columns["column_roles"] = _gather_words(statement, [[",".join(u["roles"]) for u in use] for use in uses])
    columns["data_classes"] = _data_classes(q, statement, exposures)
    for name in ("verdict", "bundle", "approval_id"):
        columns[name] = _pick(decision, [d[name] for d in q.decisions])
    columns["policies"] = _gather_words(decision, [d["policies"] for d in q.decisions])
    columns["risk"] = _gather(decision, [d["risk"] for d in q.decisions], pa.uint8())
    if any(c.null_count for c in columns.values()):
        raise ValueError("a null where a row holds none")
    return pa.table(columns)


_COUNTS = ("rows_returned", "rows_affected", "bytes_in", "bytes_out", "db_us", "held_us", "total_us")

_CONTEXT_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "session_id": lambda c: c["session_id"],
    "principal_id": lambda c: c["principal"]["id"],
    "principal_kind": lambda c: c["principal"]["kind"],
    "auth_method": lambda c: c["principal"]["auth_method"],
    "credential_id": lambda c: c["principal"]["credential_id"],
    "on_behalf_of": lambda c: c["principal"]["on_behalf_of"],
    "database_alias": lambda c: c["database"]["alias"],
    "engine": lambda c: c["database"]["engine"],
    "environment": lambda c: c["database"]["environment"],
    "database_name": lambda c: c["database"]["name"],
    "db_user": lambda c: c["db_user"],
    "client_address": lambda c: c["client"]["address"],
    "application": lambda c: c["client"]["application"],
    "driver": lambda c: c["client"]["driver"],
    "tls": lambda c: c["client"]["tls"],
}


def _data_classes(q: Queries, statement: pa.Array, exposures: Sequence[Mapping[str, int]]) -> pa.Array:
    """What statements touch by their columns' names, and what was seen in the results of their executions."""
    if not any(exposures):
        return _gather_words(statement, q.data_classes)
    at: dict[tuple[int, tuple[str, ...]], int] = {}
    indices = [at.setdefault((s, tuple(e)), len(at)) for s, e in zip(q.statement_of, exposures, strict=True)]
    return _gather_words(pa.array(indices, pa.int32()), [sorted({*q.data_classes[s], *seen}) for s, seen in at])


def _pick(indices: pa.Array, words: Sequence[str]) -> pa.Array:
    distinct = list(dict.fromkeys(words))
    if distinct == words:
        return pa.DictionaryArray.from_arrays(indices, pa.array(distinct, pa.string()))
    at = {word: i for i, word in enumerate(distinct)}
    remapped = pa.array([at[w] for w in words], pa.int32()).take(indices)
    return pa.DictionaryArray.from_arrays(remapped, pa.array(distinct, pa.string()))


def _gather(indices: pa.Array, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind).take(indices)


def _gather_words(indices: pa.Array, values: Sequence[Sequence[str]]) -> pa.Array:
    lists = pa.array(values, _STRINGS)
    return pa.ListArray.from_arrays(lists.offsets, lists.values.dictionary_encode()).take(indices)


def _words(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def _times(values: Sequence[int], earliest: int) -> pa.Array:
    if values and (min(values) < earliest or max(values) > LATEST):
        raise ValueError("a time outside what a row holds")
    return pa.array(values, pa.int64()).cast(TIME)


def _ids(values: Sequence[str]) -> pa.Array:
    """The bytes of UUIDs, all at once. Raises ValueError unless each is 36 characters with hyphens in their places."""
    joined, count = "".join(values), len(values)
    digits = joined.replace("-", "")
    placed = set(map(len, values)) <= {36} and all(joined[at::36] == "-" * count for at in (8, 13, 18, 23))
    data = bytes.fromhex(digits) if placed and len(digits) == 32 * count else b""
    if len(data) != 16 * count:  # fromhex passes spaces over
        raise ValueError("an id that is no UUID")
    return pa.FixedSizeBinaryArray.from_buffers(_UUID, count, [None, pa.py_buffer(data)])


def _maps(values: Sequence[Mapping[str, Any]], item: pa.DataType) -> pa.Array:
    some = [v for v in values if v]  # few have any
    offsets = pa.array([0, *accumulate(map(len, values))], pa.int32())
    names = pa.array([name for v in some for name in v], pa.string())
    return pa.MapArray.from_arrays(offsets, names, pa.array([value for v in some for value in v.values()], item))


def _apart(q: Queries, batch: Batch) -> tuple[list[int], list[int]]:
    """Tell the events that make rows from those that do not, by halves: one bad event costs a few more tables, not thousands."""
    bad: list[int] = []
    suspects = [range(len(q.events))]
    while suspects:
        span = suspects.pop()
        try:
            _query_events(_selected(q, span), batch)
        except _UNFIT:
            if len(span) == 1:
                bad.append(span[0])
            else:
                middle = len(span) // 2
                suspects += [span[:middle], span[middle:]]
    unfit = set(bad)
    return [i for i in range(len(q.events)) if i not in unfit], sorted(bad)


def _selected(q: Queries, indices: Sequence[int]) -> Queries:
    decision_of, decisions = _pointed(q.decision_of, indices)
    context_of, contexts = _pointed(q.context_of, indices)
    statement_of, statements = _pointed(q.statement_of, indices)
    return Queries(
        events=[q.events[i] for i in indices],
        block_of=[q.block_of[i] for i in indices],
        seqs=[q.seqs[i] for i in indices],
        decision_of=decision_of,
        context_of=context_of,
        statement_of=statement_of,
        decisions=[q.decisions[i] for i in decisions],
        contexts=[q.contexts[i] for i in contexts],
        statements=[q.statements[i] for i in statements],
        data_classes=[q.data_classes[i] for i in statements],
        newer={new: q.newer[old] for new, old in enumerate(indices) if old in q.newer},
    )


def _pointed(pointers: Sequence[int], indices: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return pointers for the events selected, and which of the distinct values they still point to."""
    at: dict[int, int] = {}
    return [at.setdefault(pointers[i], len(at)) for i in indices], list(at)


def _unreadable(q: Queries, i: int, batch: Batch) -> Other:
    arrived = batch.fresh[q.block_of[i]]
    line = Line(q.block_of[i], q.seqs[i], arrived.lines[q.seqs[i] - arrived.block.header.first_seq])
    return Other(line, UNREADABLE, {**q.contexts[q.context_of[i]], **structs.asdict(q.events[i])})


def _other_events(others: Sequence[Other], batch: Batch) -> pa.Table:
    blocks = [a.block.header for a in batch.fresh]
    headers = [blocks[o.line.block] for o in others]
    return pa.table(
        {
            "type": pa.array([o.type for o in others], pa.string()),
            "source": pa.array([h.source for h in headers], pa.string()),
            "epoch": pa.array([h.epoch for h in headers], pa.uint32()),
            "seq": pa.array([o.line.seq for o in others], pa.uint64()),
            "event_id": pa.array([event_id(o.fields.get("event_id")) for o in others], _UUID),
            "at": pa.array([happened(o, h.sealed_at) for o, h in zip(others, headers, strict=True)], pa.int64()).cast(TIME),
            "session_id": pa.array([text(o.fields, "session_id") for o in others], pa.string()),
            "principal_id": pa.array([text(o.fields, "principal", "id") or text(o.fields, "actor") for o in others], pa.string()),
            "database_alias": pa.array(
                [text(o.fields, "database", "alias") or text(o.fields, "database") for o in others], pa.string()
            ),
            "line": pa.array([o.line.data for o in others], pa.binary()),
            "block_number": pa.array([h.number for h in headers], pa.uint64()),
        }
    )


def _texts(others: Sequence[Other]) -> pa.Table:
    seen = [o for o in others if o.type == "TextObserved" and text(o.fields, "text_hash")]
    return pa.table(
        {
            "text_hash": pa.array([text(o.fields, "text_hash") for o in seen], pa.string()),
            "text": pa.array([text(o.fields, "text") for o in seen], pa.string()),
            "first_seen": pa.array([happened(o, EARLIEST) for o in seen], pa.int64()).cast(TIME),
        }
    )


def _sessions(others: Sequence[Other]) -> pa.Table:
    kinds = ("SessionOpened", "SessionClosed")
    seen = [o.fields for o in others if o.type in kinds and text(o.fields, "session_id")]
    closed = [f["type"] == "SessionClosed" for f in seen]
    at = [count(f, "at") for f in seen]
    opened_at = [t - count(f, "duration_us") if c else t for f, t, c in zip(seen, at, closed, strict=True)]
    columns: dict[str, pa.Array] = {
        "session_id": pa.array([text(f, "session_id") for f in seen], pa.string()),
        "opened_at": pa.array([t if EARLIEST <= t <= LATEST else EARLIEST for t in opened_at], pa.int64()).cast(TIME),
        "closed_at": pa.array([t if c and t <= LATEST else 0 for t, c in zip(at, closed, strict=True)], pa.int64()).cast(TIME),
    }
    for name, path in _SESSION_WORDS.items():
        columns[name] = pa.array([text(f, *path) for f in seen], pa.string())
    for name in ("statements", "bytes_in", "bytes_out"):
        columns[name] = pa.array([count(f, name) for f in seen], pa.uint64())
    columns["version"] = pa.array([2 if c else 1 for c in closed], pa.uint64())
    return pa.table(columns)


_SESSION_WORDS: Mapping[str, tuple[str, ...]] = {
    "principal_id": ("principal", "id"),
    "principal_kind": ("principal", "kind"),
    "on_behalf_of": ("principal", "on_behalf_of"),
    "database_alias": ("database", "alias"),
    "database_name": ("database", "name"),
    "db_user": ("db_user",),
    "client_address": ("client", "address"),
    "application": ("client", "application"),
    "driver": ("client", "driver"),
    "tls": ("client", "tls"),
    "reason": ("reason",),
    "source": ("source",),
}


def _blocks(batch: Batch, queries: Queries) -> pa.Table:
    arrived = batch.fresh
    headers = [a.block.header for a in arrived]
    per_block = [0] * len(arrived)
    for block in queries.block_of:
        per_block[block] += 1
    return pa.table(
        {
            "source": pa.array([h.source for h in headers], pa.string()),
            "epoch": pa.array([h.epoch for h in headers], pa.uint32()),
            "number": pa.array([h.number for h in headers], pa.uint64()),
            "first_seq": pa.array([h.first_seq for h in headers], pa.uint64()),
            "count": pa.array([h.count for h in headers], pa.uint32()),
            "query_events": pa.array(per_block, pa.uint32()),
            "sealed_at": pa.array([h.sealed_at for h in headers], pa.int64()).cast(TIME),
            "prev": pa.array([h.prev.encode() for h in headers], pa.binary(64)),
            "root": pa.array([h.root.encode() for h in headers], pa.binary(64)),
            "block_id": pa.array([h.block_id.encode() for h in headers], pa.binary(64)),
            "signature": pa.array([a.signature for a in arrived], pa.string()),
            "log_offset": pa.array([a.offset for a in arrived], pa.uint64()),
        }
    )
