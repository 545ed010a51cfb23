"""What does the database's planner expect of a held statement, and how many rows does its condition meet?

EXPLAIN, never ANALYZE, and a count (`dry_run`) where that is certain to do nothing else; over one connection of the proxy's own.

The login is one of its own where `databases[].estimates` gives one, which should be of a role that may only read; else the
proxy's, in a transaction that is read only. Planning can run functions that are marked immutable, so what calls code that is not
known is not planned at all. The statement goes as it came, with its parameters, in the extended protocol, which takes one
statement only. What cannot be had is said to be absent, with the reason; approvers are asked all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from struct import Struct
from typing import Any

import orjson

from ingest.core.errors import IngestError
from ingest.core.guarding import Hold
from ingest.net.dry_run import asking, beginning, countable, counted, read_count
from ingest.net.upstream import log_in, read_password
from ingest.protocols.postgres.messages import message
from ingest.protocols.postgres.scram import ScramKeys
from processors.statements.counting import UncountableError
from schemas.config import DatabaseSettings, EstimateSettings, Upstream
from schemas.events import Danger, DryRun, Estimate, Facts, StatementFlag

APPLICATION = "affidavit estimate"
"""What these connections are called in the database's log and statistics."""
TIMEOUT_MS = 2000
MAX_ANSWER_BYTES = 4 * 1024**2
"""Of a plan: one of a thousand partitions has some hundred KiB."""
AT_ONCE = 4
"""Plans made at a time for all held statements of a worker; the others wait, and may have to do without."""

COUNT_SECONDS = 1.5
"""A count is cut off by the database after a second; this is for one that cannot answer."""
Asks = Callable[[bytes], Awaitable[bytes]]

_SETTINGS = ("DateStyle", "IntervalStyle", "TimeZone")
"""Settings of the client's session that its values are read by, as its server reported them."""
_PLANNED = frozenset(("select", "insert", "update", "delete", "merge", "values"))
_UNSAFE = frozenset((Danger.OPAQUE, Danger.UNKNOWN_CODE, Danger.FILE_ACCESS, Danger.PROGRAM_EXECUTION, Danger.NETWORK_EGRESS))
_UNREADABLE = frozenset((StatementFlag.OPAQUE, StatementFlag.UNPARSED, StatementFlag.OVERSIZE, StatementFlag.DYNAMIC_SQL))
_U16, _I32, _U32 = Struct(">H"), Struct(">i"), Struct(">I")


class Estimates:
    """Asks the planners of one worker's databases. Made and used on the loop."""

    def __init__(self, keys: ScramKeys) -> None:
        self._keys = keys
        self._free = asyncio.Semaphore(AT_ONCE)

    async def of(self, hold: Hold, database: DatabaseSettings, password: bytes | None) -> Estimate:
        """Return what the planner says; `password` is that of the database's own login."""
        if reason := unplannable(hold, database.estimates):
            return Estimate(absent=reason)
        async with self._free:
            try:
                upstream, secret = _login(database, password)
                async with self._asking(hold, upstream, secret) as asks:
                    found = read_plan(await asks(explaining(hold)))
                    if not database.estimates.count:
                        return replace(found, dry_run=DryRun(absent="counting is switched off for this database"))
                    return replace(found, dry_run=await dry_run(hold, asks))
            except IngestError as error:
                # Of errors only those of the login are worded by us; the planner's may hold values.
                return Estimate(absent=str(error) if isinstance(error, _AbsentError) else "the login for estimates failed")

    @asynccontextmanager
    async def _asking(self, hold: Hold, upstream: Upstream, password: bytes | None) -> AsyncIterator[Asks]:
        """Give what sends messages that end in a Sync or are a Query, and returns the last row's first cell. It raises
        _AbsentError."""
        parameters = {
            "application_name": APPLICATION,
            "search_path": ", ".join('"' + s.replace('"', '""') + '"' for s in hold.search_path),
            "statement_timeout": str(TIMEOUT_MS),
            "lock_timeout": "500",
            "default_transaction_read_only": "on",
            "client_encoding": "UTF8",
            **{name: hold.settings[name] for name in _SETTINGS if name in hold.settings},
        }
        side, _ = await log_in(upstream, password, parameters, 0, self._keys)
        assert side.transport is not None
        transport = side.transport
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        if early := side.leftover():
            answers.put_nowait(early)
        side.on_data = answers.put_nowait
        side.on_lost = lambda: answers.put_nowait(b"")

        async def asks(messages: bytes) -> bytes:
            transport.write(messages)
            return await _answer(answers)

        try:
            yield asks
        finally:
            if not transport.is_closing():
                transport.write(message(b"X"))
                transport.close()


async def dry_run(hold: Hold, asks: Asks) -> DryRun:
    """Count the rows that a held statement's condition meets, if that is certain to do nothing else."""
    try:
        found = countable(hold)
        async with asyncio.timeout(COUNT_SECONDS):
            await asks(beginning(found))
            reason = (await asks(asking(found))).decode("ascii", "replace")
            return DryRun(absent=reason) if reason else read_count(await asks(counted(found, hold)))
    except UncountableError as error:
        return DryRun(absent=str(error))
    except _AbsentError as error:
        return DryRun(absent=str(error).replace("the planner refused it", "the database did not count it"))
    except TimeoutError:
        return DryRun(absent=f"counting took over {COUNT_SECONDS:g} s")


class _AbsentError(IngestError):
    """The planner gave no plan; the text holds nothing of the statement."""


def unplannable(hold: Hold, settings: EstimateSettings) -> str:
    """Return why a statement is not planned; empty if it may be."""
    facts: Facts = hold.asked.shown.facts
    if not settings.enabled:
        return "estimates are switched off for this database"
    if not hold.sql or len(hold.asked.texts) != 1:
        return "only single statements are estimated"
    if not hold.seen_through:
        return "without the database's catalogue it is not known what planning it could run"
    if not _UNSAFE.isdisjoint(facts.dangers) or not _UNREADABLE.isdisjoint(facts.flags):
        return "planning it could run code that is not known"
    if not facts.verbs or facts.verbs[0] not in _PLANNED or StatementFlag.EXPLAIN in facts.flags:
        return "the planner has nothing to say of such a statement"
    if not hold.search_path:
        return "the session's search_path is not known"
    return ""


def explaining(hold: Hold) -> bytes:
    """Return the messages that have a statement explained: Parse, Bind with the client's values, Execute, Sync."""
    oids = b"".join(_U32.pack(oid) for oid in hold.oids)
    parse = message(b"P", b"\0EXPLAIN (FORMAT JSON) " + hold.sql + b"\0" + _U16.pack(len(hold.oids)) + oids)
    values = _values(hold.bound) if hold.bound else _U16.pack(0) + _U16.pack(0)
    bind = message(b"B", b"\0\0" + values + _U16.pack(0))
    return parse + bind + message(b"E", b"\0\0\0\0\0") + message(b"S")


def _values(bound: bytes) -> bytes:
    """Return the formats and values of a Bind's body, without names and the formats of results."""
    start = bound.index(0, bound.index(0) + 1) + 1
    at = start + 2 + 2 * _U16.unpack_from(bound, start)[0]
    count: int = _U16.unpack_from(bound, at)[0]
    at += 2
    for _ in range(count):
        at += 4 + max(0, _I32.unpack_from(bound, at)[0])
    return bound[start:at]


def _login(database: DatabaseSettings, password: bytes | None) -> tuple[Upstream, bytes | None]:
    settings = database.estimates
    if settings.user is None:
        return database.upstream, password
    names = ("user", "password", "password_env", "password_file")
    upstream = database.upstream.model_copy(update={name: getattr(settings, name) for name in names})
    return upstream, read_password(upstream)


async def _answer(answers: asyncio.Queue[bytes]) -> bytes:
    buffer = bytearray()
    row, refused = b"", ""
    while True:
        data = await answers.get()
        if not data:
            raise _AbsentError("the database closed the connection")
        buffer += data
        if len(buffer) > MAX_ANSWER_BYTES:
            raise _AbsentError("the plan is too large")
        while len(buffer) >= 5 and len(buffer) >= (end := 1 + _U32.unpack_from(buffer, 1)[0]):
            kind, body = buffer[:1], bytes(buffer[5:end])
            del buffer[:end]
            if kind == b"D":
                row = body[6:]
            elif kind == b"E":
                state = next((f[1:].decode("ascii", "replace") for f in body.split(b"\0") if f[:1] == b"C"), "?")
                refused = refused or f"the planner refused it: SQLSTATE {state}"
            elif kind == b"Z":
                if refused:
                    raise _AbsentError(refused)
                return row


def read_plan(plan: bytes) -> Estimate:
    """Read EXPLAIN's JSON: rows and cost of the whole; of a statement that changes rows, those it would change."""
    try:
        root: Any = orjson.loads(plan)[0]["Plan"]
        parts = root["Plans"] if root["Node Type"] == "ModifyTable" else [root]
        rows = sum(int(part["Plan Rows"]) for part in parts)
        return Estimate(known=True, rows=rows, cost=round(root["Total Cost"]))
    except (ValueError, KeyError, TypeError, IndexError):
        return Estimate(absent="the plan could not be read")
