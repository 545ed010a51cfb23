"""Realistic events and sealed blocks, made deterministically: what pipeline tests and `bench/pipeline.py` feed on.

The statements are pgbench's and a small shop's, with random tokens, several principals and sessions; lines have the shape and
the order of keys that the proxy writes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.integrity import GENESIS, Block, BlockHeader, leaf_hash, merkle_root
from schemas.log import NewRecord

START = 1_790_000_000_000_000
"""Microseconds UTC of the first event: 2026-09-21."""

_STATEMENTS: tuple[tuple[str, tuple[str, ...], dict[str, object]], ...] = (
    (
        "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
        ("int",),
        {"verbs": ["select"], "reads": ["public.pgbench_accounts"], "out": ["abalance"], "flt": ["aid"], "rows": 1},
    ),
    (
        "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2",
        ("int", "int"),
        {"verbs": ["update"], "writes": ["public.pgbench_accounts"], "out": ["abalance"], "flt": ["aid"], "affected": 1},
    ),
    (
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)",
        ("int", "int", "int", "int"),
        {
            "verbs": ["insert"],
            "writes": ["public.pgbench_history"],
            "out": ["tid", "bid", "aid", "delta", "mtime"],
            "affected": 1,
        },
    ),
    ("BEGIN", (), {"verbs": ["begin"], "flags": ["transaction"]}),
    ("COMMIT", (), {"verbs": ["commit"], "flags": ["transaction"]}),
    (
        "SELECT c.id, c.name, c.email, o.total FROM customers c JOIN orders o ON o.customer_id = c.id "
        "WHERE o.placed_at > $1 LIMIT $2",
        ("timestamp", "int"),
        {
            "verbs": ["select"],
            "reads": ["public.customers", "public.orders"],
            "out": ["id", "name", "email", "total"],
            "flt": ["placed_at"],
            "flags": ["limited"],
            "rows": 50,
        },
    ),
)

_PRINCIPALS = (
    ("app-orders", "service", ["apps"], ""),
    ("ana@example.com", "human", ["engineers", "oncall"], ""),
    ("triage-agent", "agent", ["agents"], "ana@example.com"),
)


def event_id(at: int, source: str, epoch: int, seq: int) -> str:
    """A UUIDv7 from the time and the position, as the spool makes it."""
    tail = int.from_bytes(sha256(f"{source}\n{epoch}".encode()).digest()[:4], "big")
    n = (at // 1000 << 80) | (7 << 76) | (tail >> 22 << 66) | (2 << 62) | ((tail & 0x3FFFFF) << 40) | (seq & 0xFFFFFFFFFF)
    h = f"{n & ~(3 << 62) | (2 << 62):032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


@dataclass
class Source:
    """One source: numbers its events, chains and signs its blocks."""

    name: str = "proxy/0"
    key: Ed25519PrivateKey | None = None
    seed: int = 1
    epoch: int = 1
    seq: int = 0
    number: int = 0
    now: int = START
    prev: str = GENESIS
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.name}:{self.seed}")

    def envelope(self, kind: str, v: int = 1) -> bytes:
        """The next event's envelope, without the closing brace; counts up `seq` and the clock."""
        self.seq += 1
        self.now += self.random.randrange(5, 400)
        return (
            f'{{"type":"{kind}","v":{v},"source":"{self.name}","epoch":{self.epoch},"seq":{self.seq},'
            f'"event_id":"{event_id(self.now, self.name, self.epoch, self.seq)}","at":{self.now}'
        ).encode()

    def event(self, kind: str, body: dict[str, object], v: int = 1) -> bytes:
        """One line of any event type."""
        return self.envelope(kind, v) + _fragment(body) + b"}"

    def query(self, v: int = 1, **more: object) -> bytes:
        """One QueryExecuted line of about 1 KB."""
        rng = self.random
        which = rng.randrange(len(_STATEMENTS))
        text, types, about = _STATEMENTS[which]
        session = rng.randrange(8)
        head = self.envelope("QueryExecuted", v)
        params = [f"{t}:{rng.getrandbits(64):016x}" for t in types]
        db_us = rng.randrange(60, 900)
        rows = about.get("rows", 0)
        dynamic = {
            "kind": "prepared" if which else "simple",
            "transaction": "T" if which else "I",
            "params": params,
            "claims": {"traceparent": f"00-{rng.getrandbits(128):032x}-{rng.getrandbits(64):016x}-01"} if which == 5 else {},
            "decision": {"verdict": "allow", "policies": [], "bundle": "", "risk": 0, "approval_id": ""},
        }
        outcome = {
            "ended_at": self.now + db_us + 20,
            "outcome": {
                "status": "ok",
                "sqlstate": "",
                "rows_returned": rows,
                "rows_affected": about.get("affected", 0),
                "bytes_in": len(text) + 20,
                "bytes_out": 60 + 40 * int(str(rows)),
                "db_us": db_us,
                "held_us": 0,
                "total_us": db_us + rng.randrange(10, 40),
            },
            "exposure": {},
        }
        line = head + _fragment(dynamic) + self._context(session) + _statement_fragment(which) + _fragment(outcome)
        return line + (_fragment(more) if more else b"") + b"}"

    def _context(self, session: int) -> bytes:
        who, kind, groups, behalf = _PRINCIPALS[session % len(_PRINCIPALS)]
        return _fragment(
            {
                "session_id": sha256(f"{self.name}:{self.epoch}:{session}".encode()).hexdigest()[:32],
                "principal": {
                    "id": who,
                    "kind": kind,
                    "groups": groups,
                    "auth_method": "token",
                    "credential_id": f"tok_{session:04d}",
                    "on_behalf_of": behalf,
                    "delegation": [behalf] if behalf else [],
                },
                "database": {"alias": "shop", "engine": "postgres", "environment": "production", "name": "shop"},
                "db_user": "shop_app",
                "client": {"address": f"10.0.0.{session}", "application": "orders", "driver": "psycopg", "tls": "TLSv1.3"},
            }
        )

    def session_opened(self, session: int = 0) -> bytes:
        """One SessionOpened line."""
        return self.envelope("SessionOpened") + self._context(session) + b',"server_version":"15.6"}'

    def session_closed(self, session: int = 0, duration_us: int = 1000) -> bytes:
        """One SessionClosed line."""
        rest = {"reason": "terminated", "statements": 3, "bytes_in": 10, "bytes_out": 20, "duration_us": duration_us}
        return self.envelope("SessionClosed") + self._context(session) + _fragment(rest) + b"}"

    def seal(self, lines: Sequence[bytes]) -> Block:
        """Seal lines (just made by this source) into its next block."""
        self.number += 1
        self.now += 1000
        root = merkle_root([leaf_hash(line) for line in lines]).hex()
        header = BlockHeader(self.name, self.epoch, self.number, self.seq - len(lines) + 1, len(lines), self.now, self.prev, root)
        self.prev = header.block_id
        signature = self.key.sign(header.encode()) if self.key else b""
        return Block(header, signature, b"".join(line + b"\n" for line in lines))

    def blocks(self, count: int, events: int = 500) -> Iterator[Block]:
        """Seal `count` blocks of `events` QueryExecuted each."""
        for _ in range(count):
            yield self.seal([self.query() for _ in range(events)])

    def next_epoch(self) -> None:
        """Start a new epoch, as a restarted proxy does."""
        self.epoch += 1
        self.seq = 0


def record(block: Block) -> NewRecord:
    """The log message that ships a block."""
    return NewRecord(block.header.source.encode(), block.body, block.log_headers())


def _fragment(fields: dict[str, object]) -> bytes:
    return b"," + orjson.dumps(fields)[1:-1]


def _statement_fragment(which: int) -> bytes:
    if which not in _FRAGMENTS:
        text, _, about = _STATEMENTS[which]
        table = (about.get("reads") or about.get("writes") or [""])[0]  # type: ignore[index]
        columns = [{"name": f"{table}.{c}", "roles": ["output"]} for c in about.get("out", [])]  # type: ignore[attr-defined]
        columns += [{"name": f"{table}.{c}", "roles": ["filter"]} for c in about.get("flt", [])]  # type: ignore[attr-defined]
        _FRAGMENTS[which] = _fragment(
            {
                "text": text,
                "text_hash": sha256(text.encode()).hexdigest(),
                "fingerprint": sha256(text.encode()).hexdigest()[:16],
                "facts": {
                    "verbs": about["verbs"],
                    "reads": about.get("reads", []),
                    "writes": about.get("writes", []),
                    "columns": columns,
                    "functions": [],
                    "flags": about.get("flags", []),
                    "dangers": about.get("dangers", []),
                },
            }
        )
    return _FRAGMENTS[which]


_FRAGMENTS: dict[int, bytes] = {}
