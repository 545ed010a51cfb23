"""Events of approvals with realistic contents and a right binding: for tests of the projection, the API and the page."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson
from pydantic import TypeAdapter

from processors.pipeline import run
from processors.sinks.clickhouse import EVENT_TABLES, Store
from processors.steps.work import Batch, State
from schemas.approvals import binding_of
from schemas.events import ApprovalRequested
from schemas.log import Record
from tests.support.event_blocks import Source, event_id, record

REQUESTED = TypeAdapter(ApprovalRequested)


def principal(who: str, kind: str = "human", behalf: str = "", groups: tuple[str, ...] = ()) -> dict[str, Any]:
    """A principal as it stands in events."""
    return {
        "id": who,
        "kind": kind,
        "groups": list(groups),
        "auth_method": "token",
        "credential_id": f"tok_{sha256(who.encode()).hexdigest()[:6]}",
        "on_behalf_of": behalf,
        "delegation": [behalf] if behalf else [],
    }


def requested(approval_id: str, at: int, *, seconds: int = 900, seq: int = 1, **changed: Any) -> dict[str, Any]:
    """An ApprovalRequested of an agent that wants to delete old orders; `changed` replaces members."""
    text = changed.pop("text", "DELETE FROM orders WHERE placed_at < $1")
    event: dict[str, Any] = {
        "type": "ApprovalRequested",
        "v": 1,
        "source": "proxy/0",
        "epoch": 1,
        "seq": seq,
        "event_id": event_id(at, "proxy/0", 1, seq),
        "at": at,
        "approval_id": approval_id,
        "session_id": sha256(approval_id.encode()).hexdigest()[:16],
        "principal": principal("migrations-bot", "agent", "maria.keller@example.com", ("agents",)),
        "database": {"alias": "shop", "engine": "postgres", "environment": "production", "name": "shop"},
        "db_user": "shop_rw",
        "client": {"address": "10.0.5.17", "application": "migrate", "driver": "psycopg", "tls": "TLSv1.3"},
        "kind": "simple",
        "statements": 1,
        "text": text,
        "text_hash": sha256(text.encode()).hexdigest(),
        "fingerprint": sha256(text.encode()).hexdigest()[:16],
        "params": ["timestamptz:8f3a90c2d1e0b7a6"],
        "claims": {"agent_run": "run_90ab11", "ticket": "OPS-311"},
        "facts": {
            "verbs": ["delete"],
            "reads": [],
            "writes": ["public.orders"],
            "columns": [{"name": "public.orders.placed_at", "roles": ["filter"]}],
            "functions": [],
            "flags": [],
            "dangers": ["mass_delete"],
        },
        "data_classes": ["email", "address"],
        "classes_known": True,
        "rule": "hold-mass-deletes",
        "reason": "Deletes that touch much are looked at by a second pair of eyes.",
        "policies": ["hold-mass-deletes"],
        "bundle": "production@0123456789abcdef",
        "risk": 80,
        "needs": [{"rule": "hold-mass-deletes", "groups": ["dba", "leads"], "count": 1}],
        "transaction": "T",
        "expires_at": at + seconds * 1_000_000,
        "estimate": {
            "known": True,
            "rows": 12_000,
            "cost": 431,
            "absent": "",
            "dry_run": {"known": True, "rows": 12_100, "more": False, "absent": ""},
        },
        "break_glass": ["oncall"],
        "binding": "",
    }
    event |= changed
    if not event["binding"]:
        event["binding"] = binding_of(REQUESTED.validate_python(event))
    return event


def body(event: dict[str, Any]) -> dict[str, object]:
    """An event without its envelope, for `event_blocks.Source.event`."""
    envelope = ("type", "v", "source", "epoch", "seq", "event_id", "at")
    return {name: value for name, value in event.items() if name not in envelope}


def decided(approval_id: str, who: str, approved: bool, **more: Any) -> dict[str, object]:
    """The body of an ApprovalDecided."""
    return {
        "approval_id": approval_id,
        "binding": "ab" * 32,
        "decider": principal(who, groups=("dba",)),
        "approved": approved,
        "reason": "looked at it",
        "channel": "ui",
        "nth": 1 if approved else 0,
        "needed": 1 if approved else 0,
        "review": False,
        "address": "10.0.9.4",
    } | more


def closed(approval_id: str, status: str, **more: Any) -> dict[str, object]:
    """The body of an ApprovalClosed."""
    event = orjson.loads(orjson.dumps(requested(approval_id, 1_790_000_000_000_000)))
    about = {n: event[n] for n in ("approval_id", "session_id", "principal", "database", "db_user", "client")}
    return about | {"status": status, "reason": "looked at it", "deciders": [], "held_us": 4_200_000} | more


class Projected:
    """A store that events go into as the pipeline puts them there: sealed in blocks of one source, and projected."""

    def __init__(self, store: Store, source: str = "proxy/7") -> None:
        self.store, self.source = store, Source(source)
        self._chain = State()

    def put(self, kind: str, body: dict[str, object], at: int) -> str:
        """Project one event that happened at `at`; return its id."""
        self.source.now = at - self.source.random.randrange(5, 400)
        line = orjson.dumps(orjson.loads(self.source.event(kind, body)) | {"at": at})
        self.lines(line)
        return str(orjson.loads(line)["event_id"])

    def lines(self, *lines: bytes) -> None:
        """Project lines that carry the source's next positions."""
        new = record(self.source.seal(list(lines)))
        record_read = Record("affidavit.events", self.source.number, new.key, new.value, new.headers)
        self._chain, batch = run(self._chain, Batch((record_read,)), 0)
        assert not batch.rejected
        for table in EVENT_TABLES:
            if table in batch.tables:
                self.store.insert(table, batch.tables[table], None)

    def executed(self, approval_id: str, at: int, **outcome: Any) -> str:
        """Project the QueryExecuted that an approval became; return its id."""
        event = orjson.loads(self.source.query())
        event |= {"at": at, "ended_at": at + 5_000_000}
        event["decision"] |= {"verdict": "hold", "approval_id": approval_id}
        event["outcome"] |= outcome
        self.lines(orjson.dumps(event))
        return str(event["event_id"])
