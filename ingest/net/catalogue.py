"""The proxy's own look at what a database holds: read over a connection of its own, at first use, after DDL, and now and then.

Bounded in rows, bytes and time. What cannot be read leaves the last snapshot in place; where there never was one, facts are of
the text alone and say so by what they leave open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import structlog

from ingest.core.errors import IngestError
from ingest.net import catalogue_queries as queries
from ingest.net.upstream import log_in
from ingest.protocols.postgres.messages import message
from ingest.protocols.postgres.scram import ScramKeys
from processors.statements.catalogue import FIRST_OWN_OID, MAX_OBJECTS, Catalogue, Column, Function, Relation, build
from processors.statements.sizes import Size, Sizes
from schemas.config import Upstream
from schemas.events import Danger, Facts, StatementFlag

MAX_BYTES = 64 * 1024 * 1024
"""Of answers to one reading; a database of 100,000 tables gives about half of it."""
READ_SECONDS = 20.0
SIZES_SECONDS = 3.0
FIRST_SECONDS = 3.0
"""How long the first session of a database waits for the snapshot before it is served without."""
STALE_SECONDS = 300.0
"""How old a snapshot may get while nobody changed anything that the proxy saw."""
AFTER_DDL_SECONDS = 0.3
RETRY_SECONDS = 30.0

_OBJECTS = (
    "SET LOCAL search_path = ''",
    queries.RELATIONS,
    queries.FUNCTIONS,
    queries.EVENT_TRIGGERS,
    queries.OPERATORS,
    queries.TYPES,
    queries.BUILTINS,
    queries.SYSTEM,
)
_UNTOLD = frozenset((StatementFlag.OPAQUE, StatementFlag.UNPARSED, StatementFlag.OVERSIZE, StatementFlag.DYNAMIC_SQL))
_BEGIN = ("BEGIN READ ONLY", "SET LOCAL statement_timeout = 15000")
"""All in one transaction: a pooler may give the next one another process, and what is set there would be others'."""
APPLICATION = "affidavit catalogue"
"""What the proxy's own readings are called in the database's log and statistics."""


class CatalogueError(IngestError):
    """The database's catalogue cannot be read."""


async def read_catalogue(upstream: Upstream, password: bytes | None, keys: ScramKeys) -> Catalogue:
    """Return a snapshot; raise UpstreamError or CatalogueError."""
    parameters = {"application_name": APPLICATION}
    side, login = await log_in(upstream, password, parameters, 0, keys)
    assert side.transport is not None
    transport = side.transport
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    early = side.leftover()
    if early:
        answers.put_nowait(early)
    side.on_data = answers.put_nowait
    side.on_lost = lambda: answers.put_nowait(b"")
    try:
        async with asyncio.timeout(READ_SECONDS):
            found = []
            for query in (*_BEGIN, queries.PATH, *_OBJECTS):
                transport.write(message(b"Q", query.encode() + b"\x00"))
                found.append(await _rows(answers))
        sizes = await _sizes(transport, answers)
    except TimeoutError:
        raise CatalogueError(f"reading the catalogue took over {READ_SECONDS:g} s") from None
    finally:
        if not transport.is_closing():
            transport.write(message(b"X", b""))
            transport.close()
    ([path, words, pid],), _, relations, functions, events, operators, types, builtins, system = found[len(_BEGIN) :]
    if len(relations) + len(functions) > MAX_OBJECTS:
        raise CatalogueError(f"the database has more than {MAX_OBJECTS} tables and functions")
    return build(
        (_relation(r) for r in relations),
        (_function(f) for f in functions),
        event_triggers=events,
        operators=[(o[0], o[1], o[2]) for o in operators],
        types=_reached(types, "makes", "casts"),
        casts=_reached(types, "casts"),
        compares=_reached(types, "compares"),
        shadowed=path not in ([], ["public"]),
        # Another process than the one that the login told of: a pooler is between, which may give each transaction another.
        temporary_first="pg_temp" not in words.replace("\\", "").lower() and pid == login.pid,
        builtins=[(b[0], b[1]) for b in builtins],
        system=[(s[0], s[1], [(c[0], c[1]) for c in s[2]]) for s in system],
        sizes=sizes,
        type_names={t["oid"]: t["name"] for t in types if t["oid"] >= FIRST_OWN_OID},
    )


async def _sizes(transport: asyncio.WriteTransport, answers: asyncio.Queue[bytes]) -> dict[str, dict[str, Size]]:
    """Return statistics, none where they cannot be had in time: the snapshot is good without them."""
    transport.write(message(b"Q", queries.SIZES.encode() + b"\x00"))
    found: dict[str, dict[str, Size]] = {}
    try:
        async with asyncio.timeout(SIZES_SECONDS):
            rows = await _rows(answers)
    except (TimeoutError, CatalogueError):
        return found
    for row in rows:
        commonest = {column: min(1.0, share) for column, share, *_ in row["columns"]}
        nulls = {column: share for column, _, share, *_ in row["columns"]}
        keys = {column: (float(bounds[0]), float(bounds[-1])) for column, *_, bounds, _ in row["columns"] if bounds}
        truths = {column: share for column, *_, share in row["columns"] if share is not None}
        found.setdefault(row["name"], {})[row["schema"]] = Size(row["rows"], commonest, nulls, keys, truths)
    return found


async def _rows(answers: asyncio.Queue[bytes]) -> list[Any]:
    """Return the one column of each row, which is JSON, up to ReadyForQuery."""
    buffer = bytearray()
    rows: list[Any] = []
    total = 0
    while True:
        data = await answers.get()
        if not data:
            raise CatalogueError("the database closed the connection")
        total += len(data)
        if total > MAX_BYTES:
            raise CatalogueError(f"the catalogue is larger than {MAX_BYTES} bytes")
        buffer += data
        at = 0
        for kind, body, end in _messages(buffer):
            at = end
            if kind == b"D":
                rows.append(orjson.loads(body[6:]))
            elif kind == b"E":
                raise CatalogueError(f"the database refused to show its catalogue: {_sqlstate(body)}")
            elif kind == b"Z":
                return rows
        del buffer[:at]


def _messages(buffer: bytearray) -> Iterator[tuple[bytes, bytes, int]]:
    at = 0
    while at + 5 <= len(buffer):
        end = at + 1 + int.from_bytes(buffer[at + 1 : at + 5], "big")
        if end > len(buffer):
            return
        yield bytes(buffer[at : at + 1]), bytes(buffer[at + 5 : end]), end
        at = end


def _sqlstate(body: bytes) -> str:
    return next((f[1:].decode("ascii", "replace") for f in body.split(b"\x00") if f[:1] == b"C"), "no SQLSTATE")


def _relation(r: dict[str, Any]) -> Relation:
    columns = tuple(Column(*column) for column in r["columns"])
    lists = {name: tuple(r[name]) for name in ("kin", "expressions", "policies")}
    return Relation(
        r["schema"],
        r["name"],
        r["kind"],
        r["oid"],
        r["rows"],
        r["definition"],
        columns,
        cascades=tuple((event, child, tuple(key)) for event, child, key in r["cascades"]),
        belongs=tuple((parent, column) for parent, column in r["belongs"]),
        keys=tuple(r["keys"]),
        wrapper=r["wrapper"],
        comment=r["comment"],
        triggers=tuple((event, function) for event, function in r["triggers"]),
        rules=tuple((event, rule) for event, rule in r["rules"]),
        **lists,
    )


def _function(f: dict[str, Any]) -> Function:
    body = f["body"] or _standard_body(f["definition"])
    return Function(
        f["schema"],
        f["name"],
        f["language"],
        f["volatility"],
        body,
        f["oid"],
        f["definer"],
        f["extension"],
        f["defaults"],
        tuple(f["settings"]),
        tuple(name.removeprefix("pg_catalog.") for name in f["calls"]),
        f["result"],
        tuple(f["takes"]),
        tuple(f["arguments"]),
    )


def _reached(types: list[dict[str, Any]], *kinds: str) -> list[tuple[str, str]]:
    """Return each type's name with every function that a value of it may run, by itself or by a type it is made of."""
    by_oid = {t["oid"]: t for t in types}
    found: dict[tuple[str, str], None] = {}
    for first in types:
        seen: set[int] = set()
        stack = [first["oid"]]
        while stack:
            oid = stack.pop()
            if oid in seen or oid not in by_oid:
                continue
            seen.add(oid)
            made = by_oid[oid]
            for kind in kinds:
                found.update(dict.fromkeys((first["name"], function) for function in made[kind]))
            stack += [*made["parts"], made["base"], made["element"]]
    return list(found)


def _standard_body(definition: str) -> str:
    """Return what stands in a body of standard SQL: between BEGIN ATOMIC and END, or behind RETURN."""
    begin = definition.find("BEGIN ATOMIC")
    if begin >= 0:
        return definition[begin + len("BEGIN ATOMIC") : definition.rfind("END")]
    at = definition.rfind("RETURN ")
    return f"SELECT {definition[at + len('RETURN ') :]}" if at >= 0 else ""


class CatalogueWatch:
    """One database's snapshot in one worker, kept current by a task that starts at first use."""

    def __init__(self, alias: str, read: Callable[[], Any], mark: Path | None = None) -> None:
        self.current: Catalogue | None = None
        self.sizes: Sizes = {}
        self.sized = 0
        """How often the statistics were others than before: they are no part of a snapshot's version."""
        self.begun = 0
        """Readings begun."""
        self.done = 0
        """The number of the last reading that succeeded."""
        self.failed = 0
        """The number of the last one that did not."""
        self._mark = mark
        self._marked = 0
        self._alias = alias
        self._read = read
        self._first = asyncio.Event()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def code_of(self, facts: Facts) -> dict[str, str]:
        """Return digests of the code in the database that a statement runs, see `Catalogue.code_of`; none without a snapshot."""
        known = self.current
        if known is None:
            return {}
        whole = Danger.OPAQUE in facts.dangers or not _UNTOLD.isdisjoint(facts.flags)
        return known.code_of(facts.functions, (*facts.reads, *facts.writes), whole)

    def measured(self) -> tuple[int, Sizes]:
        """Return the newest statistics and their number."""
        return self.sized, self.sizes

    async def ready(self) -> None:
        """Start reading if nobody did; wait a while for the first snapshot."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep())
        if not self._first.is_set():
            try:
                async with asyncio.timeout(FIRST_SECONDS):
                    await self._first.wait()
            except TimeoutError:
                pass

    def changed(self) -> None:
        """A statement that may change objects was sent: read again soon, and have the machine's other workers do so."""
        self._changed.set()
        if self._mark is not None:
            try:
                self._mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._mark.touch(mode=0o600)
                self._marked = self._mark.stat().st_mtime_ns
            except OSError as error:
                structlog.get_logger("proxy").warning("catalogue mark not written", database=self._alias, reason=error.strerror)

    async def read_anew(self) -> bool:
        """Read once more, beginning after this call; return whether that succeeded, or nothing was ever read. Takes some time."""
        if self.current is None or self._task is None:
            return True
        wanted = self.begun + 1
        self._changed.set()
        while self.done < wanted and not self._task.done():
            if self.failed >= wanted:
                return False
            await asyncio.sleep(0.05)
        return self.done >= wanted

    def look(self) -> None:
        """Read again soon if another worker of this machine saw a change."""
        if self._mark is not None and self._task is not None:
            try:
                marked = self._mark.stat().st_mtime_ns
            except OSError:
                return
            if marked != self._marked:
                self._marked = marked
                self._changed.set()

    def close(self) -> None:
        """Stop the task."""
        if self._task is not None:
            self._task.cancel()

    async def _keep(self) -> None:
        log = structlog.get_logger("proxy")
        while True:
            wait = STALE_SECONDS
            self._changed.clear()
            self.begun += 1
            number = self.begun
            try:
                found = await self._read()
                self.done = number
                if found.sizes != self.sizes:
                    self.sizes = found.sizes
                    self.sized += 1
                if found != self.current:
                    self.current = found
            except (IngestError, OSError, ValueError, KeyError, TypeError) as error:
                wait = RETRY_SECONDS
                self.failed = number
                reason = str(error) if isinstance(error, CatalogueError) else getattr(error, "logged", type(error).__name__)
                log.warning("catalogue not read; facts are of the text alone", database=self._alias, reason=reason)
            self._first.set()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
                await asyncio.sleep(AFTER_DDL_SECONDS)
            except TimeoutError:
                pass
