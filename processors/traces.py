"""Which spans does a batch make? Of each statement whose client named its trace, three: it, its sealing, its way to the row.

The client's `traceparent` (a claim in a comment, W3C Trace Context) says trace, parent and whether the trace is sampled. Ids are
made of the event's id, so that the same event makes the same spans, however often. Nothing here is on a statement's way: spans
are read from events that are in the store. They hold what the event holds, without parameters, and the normalised text only if
asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Any

from processors.steps.execution import Ending
from processors.steps.work import Batch

Value = str | int | bool | tuple[str, ...]

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?\Z")
_SAMPLED = 0x01
_SYSTEMS = {"postgres": "postgresql"}
_FAILED = frozenset(("error", "denied", "not_executed", "cancelled"))


class SpanKind(IntEnum):
    """OpenTelemetry's numbers."""

    INTERNAL = 1
    SERVER = 2
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class Span:
    """One span; times are µs since 1970, ids bytes. `error` is empty unless it failed."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: SpanKind
    start: int
    end: int
    attributes: Mapping[str, Value]
    error: str = ""
    state: str = ""


def spans(batch: Batch, stored_at: int, with_text: bool = False) -> Iterator[Span]:
    """Yield the spans of what a batch put into the store at `stored_at`."""
    q = batch.queries
    for index, event in enumerate(q.events):
        named = _TRACEPARENT.match(event.claims.get("traceparent", "")) if event.claims else None
        if named is None or not int(named[3], 16) & _SAMPLED:
            continue
        arrived = batch.fresh[q.block_of[index]]
        header = arrived.block.header
        trace, event_id = bytes.fromhex(named[1]), event.event_id
        context, statement = q.contexts[q.context_of[index]], q.statements[q.statement_of[index]]
        decision = q.decisions[q.decision_of[index]]
        begun, sealed = event.at, header.sealed_at
        ended = max(event.ended_at, begun)
        identity: dict[str, Value] = {"affidavit.event_id": event_id, "affidavit.session_id": context["session_id"]}
        where: dict[str, Value] = {
            "affidavit.source": header.source,
            "affidavit.block.number": header.number,
            "affidavit.block.id": header.block_id,
        }
        own = span_id(event_id, "statement")
        outcome = event.outcome
        failed = outcome.status in _FAILED
        yield Span(
            trace,
            own,
            bytes.fromhex(named[2]),
            _name(statement, context),
            SpanKind.SERVER,
            begun,
            ended,
            {**identity, **_about(statement, context, decision, outcome, with_text)},
            (outcome.sqlstate or outcome.status) if failed else "",
            event.claims.get("tracestate", ""),
        )
        seal = span_id(event_id, "seal")
        yield Span(trace, seal, own, "seal", SpanKind.INTERNAL, ended, max(sealed, ended), {**identity, **where})
        stored: dict[str, Value] = {"db.system.name": "clickhouse", "db.collection.name": "query_events"}
        yield Span(
            trace,
            span_id(event_id, "project"),
            seal,
            "project",
            SpanKind.CONSUMER,
            sealed,
            max(stored_at, sealed),
            {**identity, **where, **stored, "affidavit.signature": arrived.signature},
        )


def span_id(event_id: str, what: str) -> bytes:
    """Return the id of one of an event's spans; never the zeros that mean none."""
    found = sha256(f"{event_id}/{what}".encode()).digest()[:8]
    return found if any(found) else b"\1" * 8


def _name(statement: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Few names: verb and object, as the conventions for databases have it."""
    facts = statement["facts"]
    touched = dict.fromkeys((*facts["writes"], *facts["reads"]))
    verb = facts["verbs"][0] if facts["verbs"] else "statement"
    return f"{verb} {next(iter(touched))}" if len(touched) == 1 else f"{verb} {context['database']['alias']}"


def _about(
    statement: Mapping[str, Any],
    context: Mapping[str, Any],
    decision: Mapping[str, Any],
    outcome: Ending,
    with_text: bool,
) -> dict[str, Value]:
    """OpenTelemetry's attributes of a database call, and ours."""
    database, principal, facts = context["database"], context["principal"], statement["facts"]
    found: dict[str, Value] = {
        "db.system.name": _SYSTEMS.get(database["engine"], database["engine"]),
        "db.namespace": database["name"],
        "db.response.returned_rows": outcome.rows_returned,
        "affidavit.database": database["alias"],
        "affidavit.environment": database["environment"],
        "affidavit.principal.id": principal["id"],
        "affidavit.principal.kind": principal["kind"],
        "affidavit.verdict": decision["verdict"],
        "affidavit.risk": decision["risk"],
        "affidavit.fingerprint": statement["fingerprint"],
        "affidavit.status": outcome.status,
        "affidavit.database_us": outcome.db_us,
        "affidavit.held_us": outcome.held_us,
    }
    optional: dict[str, Value] = {
        "db.operation.name": facts["verbs"][0] if facts["verbs"] else "",
        "db.response.status_code": outcome.sqlstate,
        "affidavit.principal.on_behalf_of": principal["on_behalf_of"],
        "affidavit.policies": tuple(decision["policies"]),
        "affidavit.approval_id": decision["approval_id"],
        "db.query.text": statement["text"] if with_text else "",
    }
    return found | {name: value for name, value in optional.items() if value}
