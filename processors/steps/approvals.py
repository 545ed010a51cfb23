"""Which rows do approvals make? One for each request or use of break-glass, and one for each thing that happened to it.

What happened: somebody decided, somebody looked at a use of break-glass afterwards, the wait ended, the statement ran. The last
is read from the QueryExecuted that names the approval, so that what was asked for stands beside what it really did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from processors.steps.fields import EARLIEST, TIME, count, event_id, happened, moment, text, texts
from processors.steps.work import Batch, Other, Queries

KINDS = {"ApprovalRequested": "request", "BreakGlassUsed": "break_glass"}
"""Events that are a row of `approvals`, and its `kind`."""

_WORDS: Mapping[str, tuple[str, ...]] = {
    "approval_id": ("approval_id",),
    "source": ("source",),
    "session_id": ("session_id",),
    "principal_id": ("principal", "id"),
    "principal_kind": ("principal", "kind"),
    "on_behalf_of": ("principal", "on_behalf_of"),
    "database_alias": ("database", "alias"),
    "environment": ("database", "environment"),
    "rule": ("rule",),
    "fingerprint": ("fingerprint",),
}


def requests(others: Sequence[Other], batch: Batch) -> pa.Table:
    """The rows of `approvals`."""
    seen = [o for o in others if o.type in KINDS and text(o.fields, "approval_id")]
    at = [happened(o, batch.fresh[o.line.block].block.header.sealed_at) for o in seen]
    columns: dict[str, pa.Array] = {
        name: pa.array([text(o.fields, *path) for o in seen], pa.string()) for name, path in _WORDS.items()
    }
    columns["kind"] = pa.array([KINDS[o.type] for o in seen], pa.string())
    columns["at"] = pa.array(at, pa.int64()).cast(TIME)
    columns["expires_at"] = pa.array([moment(o.fields, "expires_at", t) for o, t in zip(seen, at, strict=True)], pa.int64()).cast(
        TIME
    )
    columns["event_id"] = pa.array([event_id(o.fields.get("event_id")) for o in seen], pa.binary(16))
    columns["risk"] = pa.array([count(o.fields, "risk", 256) for o in seen], pa.uint8())
    columns["line"] = pa.array([o.line.data for o in seen], pa.binary())
    return pa.table(columns)


@dataclass(frozen=True, slots=True)
class _Step:
    approval_id: str
    step: str
    at: int
    event_id: bytes
    status: str
    who: str = ""
    reason: str = ""
    channel: str = ""
    nth: int = 0
    needed: int = 0
    deciders: Sequence[str] = ()
    sqlstate: str = ""
    rows_returned: int = 0
    rows_affected: int = 0
    db_us: int = 0
    held_us: int = 0


_TYPES: Mapping[str, pa.DataType] = {
    "approval_id": pa.string(),
    "step": pa.string(),
    "at": pa.int64(),
    "event_id": pa.binary(16),
    "status": pa.string(),
    "who": pa.string(),
    "reason": pa.string(),
    "channel": pa.string(),
    "nth": pa.uint16(),
    "needed": pa.uint16(),
    "deciders": pa.list_(pa.string()),
    "sqlstate": pa.string(),
    "rows_returned": pa.uint64(),
    "rows_affected": pa.uint64(),
    "db_us": pa.uint64(),
    "held_us": pa.uint64(),
}


def steps(others: Sequence[Other], queries: Queries, batch: Batch) -> pa.Table:
    """The rows of `approval_steps`. `queries` are those that make rows of `query_events`."""
    found = [*_told(others, batch), *_executed(queries)]
    table = pa.table({name: pa.array([getattr(s, name) for s in found], kind) for name, kind in _TYPES.items()})
    return table.set_column(table.column_names.index("at"), "at", table["at"].cast(TIME))


def _told(others: Sequence[Other], batch: Batch) -> Iterator[_Step]:
    for o in others:
        approval_id = text(o.fields, "approval_id")
        if o.type not in ("ApprovalDecided", "ApprovalClosed") or not approval_id:
            continue
        f = o.fields
        at, named = happened(o, batch.fresh[o.line.block].block.header.sealed_at), event_id(f.get("event_id"))
        if o.type == "ApprovalClosed":
            yield _Step(
                approval_id,
                "closed",
                at,
                named,
                text(f, "status"),
                reason=text(f, "reason"),
                deciders=texts(f, "deciders"),
                held_us=count(f, "held_us"),
            )
        else:
            yield _Step(
                approval_id,
                "reviewed" if f.get("review") is True else "decided",
                at,
                named,
                "approved" if f.get("approved") is True else "denied",
                who=text(f, "decider", "id"),
                reason=text(f, "reason"),
                channel=text(f, "channel"),
                nth=count(f, "nth", 1 << 16),
                needed=count(f, "needed", 1 << 16),
            )


def _executed(q: Queries) -> Iterator[_Step]:
    named = {i: d["approval_id"] for i, d in enumerate(q.decisions) if d["approval_id"]}
    if not named:
        return
    for event, decision in zip(q.events, q.decision_of, strict=True):
        if decision in named:
            outcome = event.outcome
            yield _Step(
                named[decision],
                "executed",
                event.ended_at if event.ended_at >= EARLIEST else event.at,
                event_id(event.event_id),
                outcome.status,
                sqlstate=outcome.sqlstate,
                rows_returned=outcome.rows_returned,
                rows_affected=outcome.rows_affected,
                db_us=outcome.db_us,
                held_us=outcome.held_us,
            )
