"""What a compiler learns the proxy's hot paths from: `python -m deploy.training`, run by `deploy.compiled` over a counting copy.

Two workers, one with both starter bundles, serve connections that are all here: statements go in at the client's end, scripted
answers at the server's, through session, guard, masking, gate and spool, and through a sealer's process as ever. No database, no
port; a few seconds. What is common is said often, what is rare once or twice: the compiler weighs branches by it.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import pack
from typing import Any, cast

import structlog
import uvloop

from ingest.guard.asking import Asking
from ingest.guard.loading import PolicyFiles
from ingest.identity.tokens import Credential
from ingest.net.catalogue import CatalogueWatch
from ingest.net.connection import Connection
from ingest.net.listener import Listener
from ingest.net.server_side import ServerSide
from ingest.net.worker import Worker
from ingest.protocols.postgres import messages as pg
from ingest.protocols.postgres.startup import LoginRequested
from ingest.protocols.postgres.upstream_login import LoginDone
from processors.statements.catalogue import Column, Relation, build
from schemas.config import Config
from schemas.control_keys import create_control_key

POLICIES = Path(__file__).parent / "policies"
TURNS = 4000
"""Turns of the event loop a worker is trained for; in each, one statement of each of some connections."""
CONNECTIONS = 8
INT4, TEXT = 23, 25

ACCOUNTS = Relation(
    "public", "accounts", "r", 20001, columns=(Column("aid", 1, "integer", True), Column("balance", 2, "integer"))
)  # fmt: skip
PEOPLE = Relation(
    "public", "people", "r", 20002,
    columns=(Column("id", 1, "integer", True), Column("full_name", 2, "text"), Column("email", 3, "text"),
             Column("notes", 4, "text"), Column("city", 5, "text")),
)  # fmt: skip

Exchange = tuple[list[bytes], list[bytes]]
"""What a client sends and what the server answers, each in the pieces that arrive."""


class End:
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        self.last = b""

    def write(self, data: bytes) -> None:
        self.last = data

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 51234) if name == "peername" else None

    def _nothing(self, *_arguments: object, **_options: object) -> None:
        return None

    close = abort = pause_reading = resume_reading = set_write_buffer_limits = _nothing


def _bind(name: str, *values: bytes, describe: bool = True, binary: bool = False) -> bytes:
    formats = pack(">HH", 1, 1) if binary else pack(">H", 0)
    body = b"\0" + pg.cstring(name) + formats + pack(">H", len(values))
    body += b"".join(pack(">i", len(value)) + value for value in values) + pack(">H", 0)
    described = pg.message(b"D", b"P\0") if describe else b""
    return pg.message(b"B", body) + described + pg.message(b"E", b"\0\0\0\0\0") + pg.sync()


def _rows(*rows: Sequence[bytes | None]) -> bytes:
    return b"".join(
        pg.message(b"D", pack(">H", len(row)) + b"".join(pack(">i", -1) if v is None else pack(">i", len(v)) + v for v in row))
        for row in rows
    )


def _described(relation: Relation, *names: str) -> bytes:
    body = pack(">H", len(names))
    for name in names:
        column = next(column for column in relation.columns if column.name == name)
        oid = INT4 if column.type == "integer" else TEXT
        body += name.encode() + b"\0" + pack(">IhIhih", relation.oid, column.number, oid, -1, -1, 0)
    return pg.message(b"T", body)


def _done(tag: str, status: bytes = b"I") -> bytes:
    return pg.message(b"C", tag.encode() + b"\0") + pg.ready_for_query(status)


PARSED, BOUND, NO_DATA = pg.message(b"1"), pg.message(b"2"), pg.message(b"n")
COPY_IN, COPY_OUT = pg.message(b"G", b"\0\0\0"), pg.message(b"H", b"\0\0\0")


def _simple(n: int) -> Exchange:
    answer = _described(ACCOUNTS, "balance") + _rows([b"%d" % (n * 37 % 5000)]) + _done("SELECT 1")
    return [pg.query(f"SELECT balance FROM accounts WHERE aid = {n * 7919 % 100000};")], [answer]


def _prepared(n: int) -> Exchange:
    answer = BOUND + _described(ACCOUNTS, "balance") + _rows([b"%d" % (n * 37 % 5000)]) + _done("SELECT 1")
    return [_bind("P0_1", b"%d" % (n * 7919 % 100000))], [answer]


def _unnamed(n: int) -> Exchange:
    """As psycopg sends a statement that it has not prepared yet, with text and a number in binary."""
    text = "UPDATE accounts SET balance = balance + $1 WHERE aid = $2"
    asked = pg.parse("", text, [INT4, INT4]) + _bind("", pack(">i", n % 900), pack(">i", n), binary=True)
    return [asked], [PARSED + BOUND + NO_DATA + _done("UPDATE 1", b"T" if n % 2 else b"I")]


def _people(n: int, rows: int = 20) -> Exchange:
    cells = [[b"%d" % i, b"Name %d" % i, b"user%d@example.org" % i, b"call user%d@example.org" % i, b"City"] for i in range(rows)]
    answer = BOUND + _described(PEOPLE, "id", "full_name", "email", "notes", "city") + _rows(*cells) + _done(f"SELECT {rows}")
    return [_bind("people", b"%d" % n, b"%d" % (n + rows))], [answer[at : at + 16384] for at in range(0, len(answer), 16384)]


def _transaction(n: int) -> list[Exchange]:
    return [
        ([pg.query("BEGIN")], [_done("BEGIN", b"T")]),
        ([pg.query(f"UPDATE accounts SET balance = {n} WHERE aid = {n}")], [_done("UPDATE 1", b"T")]),
        ([pg.query(f"INSERT INTO people (id, full_name) VALUES ({n}, 'Ann')")], [_done("INSERT 0 1", b"T")]),
        ([pg.query("COMMIT")], [_done("COMMIT")]),
    ]


def _copies() -> list[Exchange]:
    lines = [pg.message(b"d", b"%d\t%d\n" % (i, i)) for i in range(200)]
    data = b"".join(lines)
    return [
        ([pg.query("COPY accounts FROM STDIN")], [COPY_IN]),
        ([data[:3000], data[3000:], pg.message(b"c")], [_done("COPY 200")]),
        ([pg.query("COPY accounts TO STDOUT")], [COPY_OUT, data[:3000], data[3000:], pg.message(b"c") + _done("COPY 200")]),
    ]


def _rare(n: int) -> list[Exchange]:
    """An error, a refusal, a pipeline of two, several statements, an answer in pieces."""
    failed = pg.error("42P01", 'relation "missing" does not exist') + pg.ready_for_query()
    asked, answered = _prepared(n)
    _, [single] = _simple(n)
    return [
        ([pg.query(f"SELECT {n} FROM missing")], [failed]),
        ([pg.query("SELECT pg_read_file('/etc/passwd')")], [_described(ACCOUNTS, "balance") + _done("SELECT 0")]),
        ([asked[0] * 2], [answered[0] * 2]),
        ([pg.query("SELECT balance FROM accounts WHERE aid = 1; SELECT balance FROM accounts WHERE aid = 2")],
         [single[: -len(pg.ready_for_query())] + single]),
        ([asked[0][:11], asked[0][11:]], [answered[0][:17], answered[0][17:]]),
    ]  # fmt: skip


def _first() -> list[Exchange]:
    """What prepares the statements that come often."""
    return [
        ([pg.parse("P0_1", "SELECT balance FROM accounts WHERE aid = $1;") + pg.sync()], [PARSED + pg.ready_for_query()]),
        ([pg.parse("people", "SELECT id, full_name, email, notes, city FROM people WHERE id BETWEEN $1 AND $2") + pg.sync()],
         [PARSED + pg.ready_for_query()]),
    ]  # fmt: skip


def _load(turn: int) -> list[Exchange]:
    """What each of a turn's connections does."""
    if turn % 200 == 199:
        return _rare(turn)
    if turn % 50 == 49:
        return _transaction(turn)
    if turn % 400 == 25:
        return _copies()
    if turn % 20 == 7:
        return [_people(turn)]
    if turn % 20 == 13:
        return [_unnamed(turn)]
    return [_simple(turn) if turn % 2 else _prepared(turn)]


class Session:
    """One connection and both its ends."""

    def __init__(self, worker: Worker, principal: str, kind: str) -> None:
        database = worker.config.databases[0]
        self._connection = Connection(worker, cast(Listener, _Address()))
        self._side = ServerSide()
        self._database = End()
        self._side.connection_made(cast(asyncio.Transport, self._database))
        self._connection.connection_made(cast(asyncio.Transport, End()))
        credential = Credential(secrets.token_hex(8), principal, cast(Any, kind), "", ("engineering",), frozenset(), 0)
        parameters = {"standard_conforming_strings": "on", "client_encoding": "UTF8", "server_version": "15.1"}
        done = LoginDone(7, b"1234", parameters, b"I", 0, False, "trust", (), b"")
        self._connection.join(LoginRequested(principal, database.alias, {}, 0, (), b""), credential, database, self._side, done)

    def ask(self, pieces: Sequence[bytes]) -> None:
        """The client sends."""
        for piece in pieces:
            self._connection.data_received(piece)

    def answer(self, pieces: Sequence[bytes]) -> None:
        """The server answers; what the guard put in a statement's place is no SQL."""
        if pg.REFUSED_QUERY in self._database.last:
            pieces = [pg.error("42601", "syntax error") + pg.ready_for_query()]
            self._database.last = b""
        for piece in pieces:
            self._side.data_received(piece)

    def leave(self) -> None:
        """The client says goodbye."""
        self._connection.data_received(pg.terminate())

    def lose(self) -> None:
        """Both ends close."""
        self._connection.connection_lost(None)
        self._side.connection_lost(None)


class _Address:
    tls_mode = "off"


def _config(folder: Path, policies: Sequence[Path]) -> Config:
    upstream = {"host": "127.0.0.1", "port": 1, "database": "shop", "user": "affidavit", "password": "none", "tls": "disable"}
    return Config.model_validate(
        {
            "data_dir": folder,
            "databases": [{"alias": "shop", "upstream": upstream}],
            "policy": {"files": policies},
        }
    )


async def drive(folder: Path, policies: Sequence[Path]) -> int:
    """Train one worker; return its statements."""
    config = _config(folder, policies)
    create_control_key(folder / "keys")
    worker = Worker(config, 0, asyncio.get_running_loop())
    watch = CatalogueWatch("shop", _unread)
    watch.current = build([ACCOUNTS, PEOPLE], [], builtins=[(1, "pg_read_file")])
    watch.begun = watch.done = 1
    worker._catalogues["shop"] = watch
    if policies:
        worker.policy = PolicyFiles(policies, lambda body: None, worker.grants)
        worker.policy.guard.asking = Asking(worker.new_id, 60_000_000, "", worker.allowance)
    kinds = [("app", "service"), ("ann@example.com", "human"), ("reporter", "agent")]
    sessions = [Session(worker, *kinds[n % len(kinds)]) for n in range(CONNECTIONS)]
    for exchange in _first():
        for session in sessions:
            session.ask(exchange[0])
            session.answer(exchange[1])
        await asyncio.sleep(0)
    for turn in range(TURNS):
        # Now one client alone, now a turn of the loop that many share: both ways of committing.
        chosen = sessions[: 1 + turn % CONNECTIONS] if turn % 3 else [sessions[turn % CONNECTIONS]]
        for asked, answered in _load(turn):
            for session in chosen:
                session.ask(asked)
            await asyncio.sleep(0)
            for session in chosen:
                session.answer(answered)
    if len(worker.connections) < CONNECTIONS:
        raise RuntimeError("a session ended early: what training says is not the protocol any more")
    for session in sessions:
        session.leave()
        session.lose()
    statements = worker.statements
    worker.close("trained")
    await asyncio.sleep(0.01)
    await asyncio.to_thread(worker.finish)
    return statements


async def _unread() -> None:
    raise AssertionError("there is no database here")


def train() -> Iterator[int]:
    """Train one worker after the other; yield their statements."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    for policies in ((), (POLICIES / "production.yaml", POLICIES / "agents.yaml")):
        with tempfile.TemporaryDirectory(prefix="affidavit-training-") as folder:
            yield uvloop.run(drive(Path(folder), policies))


def main() -> int:
    """Train, and say how much."""
    statements = list(train())
    print(f"trained on {sum(statements)} statements")
    return 0 if all(statements) else 1


if __name__ == "__main__":
    sys.exit(main())
