"""Step 4: which rows does it make? Turns read events into Arrow tables, one per table of `schemas/clickhouse`.

Columns that depend only on the session or the statement are built over the distinct ones and gathered by index, as dictionaries
where ClickHouse keeps dictionaries. An event that no row can hold (a number out of its column's range) goes to `other_events`
as unreadable, with its line; it does not take the rest of the batch with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pyarrow as pa

from processors.steps.read import UNREADABLE
from processors.steps.work import Batch, Other, Queries, State

_TIME = pa.timestamp("us", tz="UTC")
_STRINGS = pa.list_(pa.string())
_UUID = pa.binary(16)

EARLIEST = 946_684_800_000_000
LATEST = 4_102_444_800_000_000
"""Times outside 2000 to 2100 are not believed: such a row would expire at once, or never. Its event is kept as unreadable."""


def project(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Fill in the batch's tables."""
    queries, others = batch.queries, list(batch.others)
    tables: dict[str, pa.Table] = {}
    if queries is not None and queries.lines:
        try:
            tables["query_events"] = _query_events(queries, batch)
        except _UNFIT:
            good, bad = _apart(queries, batch)
            others += [Other(queries.lines[i], UNREADABLE, queries.heads[i]) for i in bad]
            state = replace(state, unreadable=state.unreadable + len(bad))
            if good:
                tables["query_events"] = _query_events(_selected(queries, good), batch)
    tables["other_events"] = _other_events(others, batch)
    tables["texts"] = _texts(others)
    tables["sessions"] = _sessions(others)
    tables["blocks"] = _blocks(batch, queries)
    return state, replace(batch, tables={name: t for name, t in tables.items() if t.num_rows})


_UNFIT = (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError, AttributeError)
"""What building a column raises when a value does not fit it."""


def _query_events(q: Queries, batch: Batch) -> pa.Table:
    blocks = [a.block.header for a in batch.fresh]
    heads, ends = q.heads, [o["outcome"] for o in q.outcomes]
    decisions = [h["decision"] for h in heads]
    context = pa.array(q.context_of, pa.int32())
    statement = pa.array(q.statement_of, pa.int32())
    block = pa.array([line.block for line in q.lines], pa.int32())
    columns: dict[str, pa.Array] = {
        "source": _pick(block, [h.source for h in blocks]),
        "epoch": _gather(block, [h.epoch for h in blocks], pa.uint32()),
        "seq": pa.array([line.seq for line in q.lines], pa.uint64()),
        "event_id": pa.array([UUID(h["event_id"]).bytes for h in heads], _UUID),
        "at": _times([h["at"] for h in heads], EARLIEST),
        "ended_at": _times([o["ended_at"] for o in q.outcomes], 0),
        "kind": _words(h["kind"] for h in heads),
        "transaction": _words(h["transaction"] for h in heads),
        "params": pa.array([h["params"] for h in heads], _STRINGS),
        "claims": _maps([h["claims"] for h in heads], pa.string()),
    }
    for name, value in _CONTEXT_WORDS.items():
        columns[name] = _pick(context, [value(c) for c in q.contexts])
    for name in ("groups", "delegation"):
        column = "principal_groups" if name == "groups" else name
        columns[column] = _gather(context, [c["principal"][name] for c in q.contexts], _STRINGS)
    for name in ("text", "text_hash", "fingerprint"):
        columns[name] = _pick(statement, [s[name] for s in q.statements])
    for name in ("verbs", "reads", "writes", "functions", "flags"):
        columns[name] = _gather(statement, [s["facts"][name] for s in q.statements], _STRINGS)
    uses = [s["facts"]["columns"] for s in q.statements]
    columns["columns"] = _gather(statement, [[u["name"] for u in use] for use in uses], _STRINGS)
    columns["column_roles"] = _gather(statement, [[",".join(u["roles"]) for u in use] for use in uses], _STRINGS)
    columns["data_classes"] = _gather(statement, [list(c) for c in batch.data_classes], _STRINGS)
    columns |= {
        "verdict": _words(d["verdict"] for d in decisions),
        "policies": pa.array([d["policies"] for d in decisions], _STRINGS),
        "bundle": _words(d["bundle"] for d in decisions),
        "risk": pa.array([d["risk"] for d in decisions], pa.uint8()),
        "approval_id": pa.array([d["approval_id"] for d in decisions], pa.string()),
        "status": _words(o["status"] for o in ends),
        "sqlstate": _words(o["sqlstate"] for o in ends),
    }
    for name in _COUNTS:
        columns[name] = pa.array([o[name] for o in ends], pa.uint64())
    columns["exposure"] = _maps([o["exposure"] for o in q.outcomes], pa.uint64())
    columns["block_number"] = _gather(block, [h.number for h in blocks], pa.uint64())
    columns["line"] = pa.array([q.newer.get(i, b"").decode() for i in range(len(q.lines))] if q.newer else _empty(q), pa.string())
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


def _pick(indices: pa.Array, words: Sequence[str]) -> pa.Array:
    distinct = list(dict.fromkeys(words))
    if distinct == words:
        return pa.DictionaryArray.from_arrays(indices, pa.array(distinct, pa.string()))
    at = {word: i for i, word in enumerate(distinct)}
    remapped = pa.array([at[w] for w in words], pa.int32()).take(indices)
    return pa.DictionaryArray.from_arrays(remapped, pa.array(distinct, pa.string()))


def _gather(indices: pa.Array, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind).take(indices)


def _words(values: Iterable[str]) -> pa.Array:
    at: dict[str, int] = {}
    indices = [at.setdefault(v, len(at)) for v in values]
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(list(at), pa.string()))


def _times(values: Sequence[int], earliest: int) -> pa.Array:
    if values and (min(values) < earliest or max(values) > LATEST):
        raise ValueError("a time outside what a row holds")
    return pa.array(values, pa.int64()).cast(_TIME)


def _maps(values: Sequence[Mapping[str, Any]], item: pa.DataType) -> pa.Array:
    return pa.array([list(v.items()) for v in values], pa.map_(pa.string(), item))


def _empty(q: Queries) -> list[str]:
    return [""] * len(q.lines)


def _apart(q: Queries, batch: Batch) -> tuple[list[int], list[int]]:
    good: list[int] = []
    bad: list[int] = []
    for i in range(len(q.lines)):
        try:
            _query_events(_selected(q, [i]), batch)
        except _UNFIT:
            bad.append(i)
        else:
            good.append(i)
    return good, bad


def _selected(q: Queries, indices: Sequence[int]) -> Queries:
    return replace(
        q,
        lines=[q.lines[i] for i in indices],
        heads=[q.heads[i] for i in indices],
        outcomes=[q.outcomes[i] for i in indices],
        context_of=[q.context_of[i] for i in indices],
        statement_of=[q.statement_of[i] for i in indices],
        newer={new: q.newer[old] for new, old in enumerate(indices) if old in q.newer},
    )


def _other_events(others: Sequence[Other], batch: Batch) -> pa.Table:
    blocks = [a.block.header for a in batch.fresh]
    headers = [blocks[o.line.block] for o in others]
    return pa.table(
        {
            "type": pa.array([o.type for o in others], pa.string()),
            "source": pa.array([h.source for h in headers], pa.string()),
            "epoch": pa.array([h.epoch for h in headers], pa.uint32()),
            "seq": pa.array([o.line.seq for o in others], pa.uint64()),
            "event_id": pa.array([_id(o.fields.get("event_id")) for o in others], _UUID),
            "at": pa.array([_at(o, h.sealed_at) for o, h in zip(others, headers, strict=True)], pa.int64()).cast(_TIME),
            "session_id": pa.array([_text(o.fields, "session_id") for o in others], pa.string()),
            "principal_id": pa.array(
                [_text(o.fields, "principal", "id") or _text(o.fields, "actor") for o in others], pa.string()
            ),
            "database_alias": pa.array(
                [_text(o.fields, "database", "alias") or _text(o.fields, "database") for o in others], pa.string()
            ),
            "line": pa.array([o.line.data for o in others], pa.binary()),
            "block_number": pa.array([h.number for h in headers], pa.uint64()),
        }
    )


def _texts(others: Sequence[Other]) -> pa.Table:
    seen = [o for o in others if o.type == "TextObserved" and _text(o.fields, "text_hash")]
    return pa.table(
        {
            "text_hash": pa.array([_text(o.fields, "text_hash") for o in seen], pa.string()),
            "text": pa.array([_text(o.fields, "text") for o in seen], pa.string()),
            "first_seen": pa.array([_at(o, EARLIEST) for o in seen], pa.int64()).cast(_TIME),
        }
    )


def _sessions(others: Sequence[Other]) -> pa.Table:
    kinds = ("SessionOpened", "SessionClosed")
    seen = [o.fields for o in others if o.type in kinds and _text(o.fields, "session_id")]
    closed = [f["type"] == "SessionClosed" for f in seen]
    at = [_count(f, "at") for f in seen]
    opened_at = [t - _count(f, "duration_us") if c else t for f, t, c in zip(seen, at, closed, strict=True)]
    columns: dict[str, pa.Array] = {
        "session_id": pa.array([_text(f, "session_id") for f in seen], pa.string()),
        "opened_at": pa.array([t if EARLIEST <= t <= LATEST else EARLIEST for t in opened_at], pa.int64()).cast(_TIME),
        "closed_at": pa.array([t if c and t <= LATEST else 0 for t, c in zip(at, closed, strict=True)], pa.int64()).cast(_TIME),
    }
    for name, path in _SESSION_WORDS.items():
        columns[name] = pa.array([_text(f, *path) for f in seen], pa.string())
    for name in ("statements", "bytes_in", "bytes_out"):
        columns[name] = pa.array([_count(f, name) for f in seen], pa.uint64())
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


def _blocks(batch: Batch, queries: Queries | None) -> pa.Table:
    arrived = batch.fresh
    headers = [a.block.header for a in arrived]
    per_block = [0] * len(arrived)
    for line in queries.lines if queries else ():
        per_block[line.block] += 1
    return pa.table(
        {
            "source": pa.array([h.source for h in headers], pa.string()),
            "epoch": pa.array([h.epoch for h in headers], pa.uint32()),
            "number": pa.array([h.number for h in headers], pa.uint64()),
            "first_seq": pa.array([h.first_seq for h in headers], pa.uint64()),
            "count": pa.array([h.count for h in headers], pa.uint32()),
            "query_events": pa.array(per_block, pa.uint32()),
            "sealed_at": pa.array([h.sealed_at for h in headers], pa.int64()).cast(_TIME),
            "prev": pa.array([h.prev.encode() for h in headers], pa.binary(64)),
            "root": pa.array([h.root.encode() for h in headers], pa.binary(64)),
            "block_id": pa.array([h.block_id.encode() for h in headers], pa.binary(64)),
            "signature": pa.array([a.signature for a in arrived], pa.string()),
            "log_offset": pa.array([a.offset for a in arrived], pa.uint64()),
        }
    )


def _text(fields: Any, *path: str) -> str:
    for name in path:
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields if isinstance(fields, str) else ""


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) and 0 <= value < 1 << 63 else 0


def _at(other: Other, otherwise: int) -> int:
    at = _count(other.fields, "at")
    return at if EARLIEST <= at <= LATEST else otherwise


def _id(value: object) -> bytes:
    try:
        return UUID(str(value)).bytes
    except ValueError:
        return bytes(16)
