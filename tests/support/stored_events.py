"""A day of realistic events of a small shop, in a chDB of its own: what the API's and the page's tests read.

People, an application and an agent on two databases; exports, failures, denials, holds, odd texts. Everything is made from
a seed and a moment, so that a test can say how many there are.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from processors.sinks.clickhouse import Store, connect
from query_api.identity import Identity
from schemas.config import ClickHouseSettings
from tests.support.event_blocks import event_id

SETTINGS = ClickHouseSettings(interface="chdb")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PRINCIPALS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("checkout-service", "service", ("apps",), ""),
    ("maria.keller@example.com", "human", ("engineering", "oncall"), ""),
    ("support-agent", "agent", ("agents", "support"), "tom.brandt@example.com"),
    ("reporting", "service", ("apps", "analytics"), ""),
    ("tom.brandt@example.com", "human", ("support",), ""),
    ("migrations-bot", "agent", ("agents",), "maria.keller@example.com"),
)


@dataclass(frozen=True)
class Statement:
    """One statement of the shop: who runs it (indices of PRINCIPALS), what it is, and how it ends."""

    text: str
    verbs: tuple[str, ...]
    who: tuple[int, ...]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    functions: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    dangers: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    rows: tuple[int, int] = (0, 0)
    affected: tuple[int, int] = (0, 0)
    db_us: tuple[int, int] = (120, 2400)
    status: str = "ok"
    sqlstate: str = ""
    verdict: str = "allow"
    policies: tuple[str, ...] = ()
    risk: int = 0
    database: str = "shop"
    weight: int = 10
    claims: dict[str, str] = field(default_factory=dict)


_C = "public.customers"
_O = "public.orders"
STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "SELECT id, status, total FROM orders WHERE customer_id = $1 ORDER BY placed_at DESC LIMIT $2",
        ("select",),
        (0, 4),
        reads=(_O,),
        columns=((f"{_O}.id", ("output",)), (f"{_O}.customer_id", ("filter",)), (f"{_O}.placed_at", ("order",))),
        flags=("limited",),
        params=("int", "int"),
        rows=(0, 20),
        weight=40,
    ),
    Statement(
        "INSERT INTO orders (customer_id, status, total) VALUES ($1, $2, $3) RETURNING id",
        ("insert",),
        (0,),
        writes=(_O,),
        columns=((f"{_O}.customer_id", ("write",)), (f"{_O}.total", ("write",))),
        params=("int", "text", "numeric"),
        rows=(1, 1),
        affected=(1, 1),
        weight=25,
    ),
    Statement(
        "UPDATE inventory SET on_hand = on_hand - $1 WHERE sku = $2 AND on_hand >= $1",
        ("update",),
        (0,),
        writes=("public.inventory",),
        columns=(("public.inventory.on_hand", ("filter", "write")), ("public.inventory.sku", ("filter",))),
        params=("int", "text"),
        affected=(0, 1),
        weight=20,
    ),
    Statement("COMMIT", ("commit",), (0,), flags=("transaction",), db_us=(40, 300), weight=15),
    Statement(
        "SELECT c.name, c.email, t.subject, t.body FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE t.id = $1",
        ("select",),
        (2,),
        reads=(_C, "public.tickets"),
        columns=((f"{_C}.email", ("output",)), (f"{_C}.id", ("join",)), ("public.tickets.id", ("filter",))),
        params=("int",),
        rows=(1, 1),
        verdict="mask",
        policies=("mask-contact-data",),
        risk=20,
        claims={"agent_run": "run_7f3c21", "tool_call": "lookup_ticket", "ticket": "SUP-4182"},
        weight=12,
    ),
    Statement(
        "SELECT * FROM customers",
        ("select",),
        (1, 3),
        reads=(_C,),
        columns=((f"{_C}.*", ("output",)),),
        flags=("no_where", "star"),
        rows=(48_211, 48_230),
        db_us=(900_000, 2_900_000),
        verdict="alert",
        policies=("bulk-export",),
        risk=55,
        weight=1,
    ),
    Statement(
        "COPY customers (id, name, email, phone) TO STDOUT",
        ("copy",),
        (1,),
        reads=(_C,),
        columns=((f"{_C}.email", ("output",)), (f"{_C}.phone", ("output",))),
        flags=("copy_out",),
        rows=(48_211, 48_230),
        db_us=(600_000, 1_400_000),
        verdict="alert",
        policies=("bulk-export",),
        risk=70,
        weight=1,
    ),
    Statement(
        "DELETE FROM orders",
        ("delete",),
        (5, 1),
        writes=(_O,),
        flags=("no_where",),
        dangers=("mass_update",),
        status="denied",
        sqlstate="42501",
        verdict="deny",
        policies=("no-unbounded-writes",),
        risk=95,
        db_us=(0, 0),
        weight=1,
    ),
    Statement(
        "SELECT id, card_last4 FROM payments.cards WHERE customer_id = $1",
        ("select",),
        (2,),
        reads=("payments.cards",),
        columns=(("payments.cards.card_last4", ("output",)), ("payments.cards.customer_id", ("filter",))),
        params=("int",),
        status="denied",
        sqlstate="42501",
        verdict="deny",
        policies=("agents-no-payments", "pci-scope"),
        risk=90,
        db_us=(0, 0),
        claims={"agent_run": "run_7f3c21", "tool_call": "sql"},
        weight=2,
    ),
    Statement(
        "SELECT quantty FROM inventory WHERE sku = $1",
        ("select",),
        (1, 2),
        reads=("public.inventory",),
        params=("text",),
        status="error",
        sqlstate="42703",
        weight=2,
    ),
    Statement(
        "ALTER TABLE orders ADD COLUMN fulfilled_at timestamptz",
        ("alter",),
        (5,),
        writes=(_O,),
        flags=("ddl",),
        verdict="hold",
        policies=("ddl-needs-approval",),
        risk=60,
        db_us=(3000, 9000),
        claims={"agent_run": "run_90ab11", "ticket": "OPS-311"},
        weight=1,
    ),
    Statement(
        "SELECT date_trunc($1, placed_at) AS day, sum(total) FROM orders GROUP BY 1 ORDER BY 1",
        ("select",),
        (3,),
        reads=(_O,),
        columns=((f"{_O}.placed_at", ("group",)), (f"{_O}.total", ("output",))),
        functions=("pg_catalog.date_trunc", "pg_catalog.sum"),
        params=("text",),
        rows=(90, 365),
        db_us=(200_000, 4_000_000),
        database="warehouse",
        weight=6,
    ),
    Statement(
        "SELECT pg_sleep($1)",
        ("select",),
        (1,),
        functions=("pg_catalog.pg_sleep",),
        params=("int",),
        db_us=(8_000_000, 9_000_000),
        status="cancelled",
        sqlstate="57014",
        database="warehouse",
        weight=1,
    ),
)
ODD = Statement("SELECT '<img src=x onerror=alert(1)>' AS \"<b>\"", ("select",), (1,), rows=(1, 1))
LONG_TEXT = "SELECT " + ", ".join(f"column_number_{i}" for i in range(1500)) + " FROM needle_in_a_haystack"
LONG = Statement(LONG_TEXT, ("select",), (3,), reads=("public.needle_in_a_haystack",), rows=(3, 3))


@dataclass
class Shop:
    """Makes events, newest last; remembers all of them in `events`."""

    start: int
    seed: int = 7
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def event(self, at: int, statement: Statement | None = None, **outcome: Any) -> dict[str, Any]:
        """One QueryExecuted as a dictionary in the shape of `schemas.events`."""
        rng = self.random
        if statement is None:
            statement = rng.choices(STATEMENTS, [s.weight for s in STATEMENTS])[0]
        who = rng.choice(statement.who)
        name, kind, groups, behalf = PRINCIPALS[who]
        db_us = rng.randint(*statement.db_us)
        held = rng.randint(4_000_000, 60_000_000) if statement.verdict == "hold" else 0
        rows = rng.randint(*statement.rows)
        seq = len(self.events) + 1
        text_hash = sha256(statement.text.encode()).hexdigest()
        event = {
            "type": "QueryExecuted",
            "v": 1,
            "source": "proxy/0",
            "epoch": 1,
            "seq": seq,
            "event_id": event_id(at, "proxy/0", 1, seq),
            "at": at,
            "ended_at": at + db_us + held + 40,
            "kind": "copy" if statement.verbs == ("copy",) else "prepared" if statement.params else "simple",
            "transaction": "T" if statement.verbs[0] in ("commit", "update") else "I",
            "params": [f"{t}:{sha256(f'{t}{rng.randrange(40)}'.encode()).hexdigest()[:16]}" for t in statement.params],
            "claims": dict(statement.claims),
            "session_id": session_id(who),
            "principal": {
                "id": name,
                "kind": kind,
                "groups": list(groups),
                "auth_method": "token",
                "credential_id": f"tok_{who:02d}",
                "on_behalf_of": behalf,
                "delegation": [behalf] if behalf else [],
            },
            "database": {
                "alias": statement.database,
                "engine": "postgres",
                "environment": "production",
                "name": statement.database,
            },
            "db_user": f"{statement.database}_rw",
            "client": {
                "address": f"10.0.{who}.17",
                "application": ("checkout", "psql", "agent-runtime", "metabase", "psql", "migrate")[who],
                "driver": ("asyncpg", "libpq", "psycopg", "jdbc", "libpq", "psycopg")[who],
                "tls": "TLSv1.3",
            },
            "text": "" if len(statement.text) > 16 * 1024 else statement.text,
            "text_hash": text_hash,
            "fingerprint": text_hash[:16],
            "facts": {
                "verbs": list(statement.verbs),
                "reads": list(statement.reads),
                "writes": list(statement.writes),
                "columns": [{"name": n, "roles": list(r)} for n, r in statement.columns],
                "functions": list(statement.functions),
                "flags": list(statement.flags),
                "dangers": list(statement.dangers),
            },
            "outcome": {
                "status": statement.status,
                "sqlstate": statement.sqlstate,
                "rows_returned": rows,
                "rows_affected": rng.randint(*statement.affected),
                "bytes_in": len(statement.text) + 24,
                "bytes_out": 90 + rows * rng.randint(60, 140),
                "db_us": db_us,
                "held_us": held,
                "total_us": db_us + held + rng.randint(12, 60),
            }
            | outcome,
            "decision": {
                "verdict": statement.verdict,
                "policies": list(statement.policies),
                "bundle": "5c9a0d1e",
                "risk": statement.risk,
                "approval_id": "apr_0192" if statement.verdict == "hold" else "",
            },
            "exposure": {"email": rows} if any(n.endswith(".email") for n, _ in statement.columns) else {},
            "masked": {"email": 1} if rows > 1 and any(n.endswith(".email") for n, _ in statement.columns) else {},
            "exposed": {n: rows - 1 for n, _ in statement.columns if n.endswith(".email") and rows > 1},
        }
        self.events.append(event)
        return event

    def day(self, count: int) -> list[dict[str, Any]]:
        """`count` events over the 24 hours before `start`, more of them by day, plus the odd and the long one."""
        times = sorted(self.start - int(min(0.999, abs(self.random.gauss(0, 0.35))) * 86_400e6) for _ in range(count))
        made = [self.event(at) for at in times]
        made.append(self.event(self.start - 900_000_000, ODD))
        made.append(self.event(self.start - 800_000_000, LONG))
        return made


def session_id(who: int) -> str:
    """The session of one of PRINCIPALS."""
    return sha256(f"session {who}".encode()).hexdigest()[:32]


def moment(micros: int) -> datetime:
    """As clickhouse-connect takes it."""
    return _EPOCH + timedelta(microseconds=micros)


def insert(client: Any, events: Sequence[dict[str, Any]], database: str = SETTINGS.database) -> None:
    """Insert events as the projection does."""
    rows = [_row(e) for e in events]
    client.insert(f"{database}.query_events", [list(r.values()) for r in rows], column_names=list(rows[0]))


def insert_sessions(client: Any, start: int, database: str = SETTINGS.database) -> None:
    """A session for each of PRINCIPALS; those of even index have ended."""
    rows = []
    for i, (name, kind, _, behalf) in enumerate(PRINCIPALS):
        opened = start - (i + 1) * 60_000_000
        for version in (1, 2) if i % 2 == 0 else (1,):
            rows.append(
                {
                    "session_id": session_id(i),
                    "opened_at": moment(opened),
                    "closed_at": moment(opened + 30_000_000 if version == 2 else 0),
                    "principal_id": name,
                    "principal_kind": kind,
                    "on_behalf_of": behalf,
                    "database_alias": "shop",
                    "database_name": "shop",
                    "db_user": "shop_rw",
                    "client_address": f"10.0.{i}.17",
                    "application": "psql",
                    "driver": "libpq",
                    "tls": "TLSv1.3",
                    "reason": "terminated" if version == 2 else "",
                    "statements": 12 * (version - 1),
                    "bytes_in": 1,
                    "bytes_out": 1,
                    "source": "proxy/0",
                    "version": version,
                }
            )
    client.insert(f"{database}.sessions", [list(r.values()) for r in rows], column_names=list(rows[0]))


def insert_text(client: Any, text: str, start: int, database: str = SETTINGS.database) -> None:
    """A long text, as TextObserved brings it."""
    row = [sha256(text.encode()).hexdigest(), text, moment(start)]
    client.insert(f"{database}.texts", [row], column_names=["text_hash", "text", "first_seen"])


@contextlib.contextmanager
def stored(folder: Path, start: int, count: int, settings: ClickHouseSettings = SETTINGS) -> Iterator[tuple[Store, Shop]]:
    """An open store that holds a shop's day before `start`."""
    store = connect(settings, folder)
    try:
        store.migrate()
        shop = Shop(start)
        insert(store.client, shop.day(count))
        insert_sessions(store.client, start)
        insert_text(store.client, LONG_TEXT, start)
        yield store, shop
    finally:
        store.close()


IDENTITIES = {
    "token-of-ana": Identity("ana@example.com", "human", frozenset({"analyst"})),
    "token-of-ben": Identity("ben@example.com", "human", frozenset({"approver"})),
    "token-of-eve": Identity("eve@example.com", "human", frozenset({"auditor"})),
}
"""Tokens the tests' `authenticate` knows."""


@dataclass
class Recorded:
    """A recorder that keeps what it is told, or fails when `broken`."""

    reads: list[tuple[str, str, str, str, int]] = field(default_factory=list)
    broken: bool = False

    def record_read(self, identity: Identity, client_address: str, endpoint: str, query: str, rows: int) -> None:
        """Keep one read."""
        if self.broken:
            raise OSError("no space left on device")
        self.reads.append((identity.principal, client_address, endpoint, query, rows))


def _row(e: dict[str, Any]) -> dict[str, Any]:
    uses = e["facts"]["columns"]
    return {
        **{name: e[name] for name in ("source", "epoch", "seq", "kind", "transaction", "params", "claims", "session_id")},
        **{name: e[name] for name in ("db_user", "text", "text_hash", "fingerprint", "exposure", "masked", "exposed")},
        "event_id": UUID(e["event_id"]),
        "at": moment(e["at"]),
        "ended_at": moment(e["ended_at"]),
        "principal_id": e["principal"]["id"],
        "principal_kind": e["principal"]["kind"],
        "principal_groups": e["principal"]["groups"],
        **{name: e["principal"][name] for name in ("auth_method", "credential_id", "on_behalf_of", "delegation")},
        "database_alias": e["database"]["alias"],
        "engine": e["database"]["engine"],
        "environment": e["database"]["environment"],
        "database_name": e["database"]["name"],
        "client_address": e["client"]["address"],
        **{name: e["client"][name] for name in ("application", "driver", "tls")},
        **{name: e["facts"][name] for name in ("verbs", "reads", "writes", "functions", "flags", "dangers")},
        "columns": [u["name"] for u in uses],
        "column_roles": [",".join(u["roles"]) for u in uses],
        "data_classes": list(e["exposure"]),
        **e["decision"],
        **e["outcome"],
    }
