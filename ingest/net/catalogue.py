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
from ingest.net.upstream import log_in
from ingest.protocols.postgres.messages import message
from ingest.protocols.postgres.scram import ScramKeys
from processors.statements.catalogue import MAX_OBJECTS, Catalogue, Column, Function, Relation, build
from processors.statements.dangers.objects import secret_columns
from schemas.config import Upstream

MAX_BYTES = 64 * 1024 * 1024
"""Of answers to one reading; a database of 100,000 tables gives about half of it."""
READ_SECONDS = 20.0
FIRST_SECONDS = 3.0
"""How long the first session of a database waits for the snapshot before it is served without."""
STALE_SECONDS = 300.0
"""How old a snapshot may get while nobody changed anything that the proxy saw."""
AFTER_DDL_SECONDS = 0.3
RETRY_SECONDS = 30.0

_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' OR n.nspname ~ '^pg_temp_'"

_RELATIONS = f"""
SELECT json_build_object('schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'oid', c.oid::bigint, 'rows', c.reltuples,
  'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) ELSE '' END,
  'comment', coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), ''),
  'columns', (SELECT coalesce(json_agg(json_build_array(a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod),
      a.attnotnull, coalesce(pg_catalog.col_description(c.oid, a.attnum), '')) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'kin', (SELECT coalesce(json_agg(k.nspname || '.' || r.relname), '[]')
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class r ON r.oid IN (i.inhrelid, i.inhparent) AND r.oid <> c.oid
    JOIN pg_catalog.pg_namespace k ON k.oid = r.relnamespace WHERE c.oid IN (i.inhrelid, i.inhparent)),
  'triggers', (SELECT coalesce(json_agg(DISTINCT lower(fn.nspname || '.' || p.proname)), '[]')
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_namespace fn ON fn.oid = p.pronamespace
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'),
  'rules', (SELECT coalesce(json_agg(pg_catalog.pg_get_ruledef(w.oid)), '[]') FROM pg_catalog.pg_rewrite w
    WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN'),
  'expressions', (SELECT coalesce(json_agg(e.text), '[]') FROM (
      SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS text FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid
      UNION ALL SELECT pg_catalog.pg_get_expr(k.conbin, k.conrelid) FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'c'
      UNION ALL SELECT pg_catalog.pg_get_expr(x.indexprs, x.indrelid) FROM pg_catalog.pg_index x
        WHERE x.indrelid = c.oid AND x.indexprs IS NOT NULL) e WHERE e.text ~ '\\('),
  'wrapper', coalesce((SELECT w.fdwname FROM pg_catalog.pg_foreign_table f
    JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
    JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE f.ftrelid = c.oid), ''))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND (c.relkind = 'v' OR n.nspname !~ '^pg_temp_')
  AND ({_OURS}) LIMIT {MAX_OBJECTS + 1}"""  # noqa: S608 - constants of ours

_FUNCTIONS = f"""
SELECT json_build_object('schema', n.nspname, 'name', p.proname, 'language', l.lanname, 'volatility', p.provolatile,
  'body', p.prosrc, 'oid', p.oid::bigint, 'definer', p.prosecdef,
  'extension', coalesce((SELECT x.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
    WHERE d.objid = p.oid AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e' LIMIT 1), ''),
  'definition', CASE WHEN l.lanname = 'sql' AND p.prokind <> 'a' AND p.prosrc = ''
    THEN pg_catalog.pg_get_functiondef(p.oid) ELSE '' END)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE {_OURS} LIMIT {MAX_OBJECTS + 1}"""  # noqa: S608 - constants of ours

_BUILTINS = """
SELECT json_build_array(p.oid::bigint, p.proname) FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace LIMIT 20000"""

_SECRETS = f"""
SELECT json_build_array(c.oid::bigint, n.nspname || '.' || c.relname, (SELECT json_agg(json_build_array(a.attnum, a.attname))
  FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname || '.' || c.relname IN ({", ".join(f"'{name}'" for name, _ in secret_columns())}) LIMIT 1000"""  # noqa: S608

_EVENT_TRIGGERS = """
SELECT to_json(lower(n.nspname || '.' || p.proname)) FROM pg_catalog.pg_event_trigger e
JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE e.evtenabled <> 'D' LIMIT 1000"""

_OPERATORS = """
SELECT json_build_array(o.oprname, lower(n.nspname || '.' || p.proname)) FROM pg_catalog.pg_operator o
JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> 'pg_catalog' LIMIT 20000"""

_TYPES = """
SELECT json_build_array(t.typname, lower(n.nspname || '.' || p.proname)) FROM pg_catalog.pg_cast c
JOIN pg_catalog.pg_type t ON t.oid = c.casttarget JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog'
UNION ALL SELECT json_build_array(t.typname, lower(n.nspname || '.' || p.proname)) FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_type t ON t.oid = k.contypid JOIN pg_catalog.pg_depend d ON d.objid = k.oid
  AND d.classid = 'pg_catalog.pg_constraint'::regclass AND d.refclassid = 'pg_catalog.pg_proc'::regclass
JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> 'pg_catalog' LIMIT 20000"""


APPLICATION = "affidavit catalogue"
"""What the proxy's own readings are called in the database's log and statistics."""


class CatalogueError(IngestError):
    """The database's catalogue cannot be read."""


async def read_catalogue(upstream: Upstream, password: bytes | None, keys: ScramKeys) -> Catalogue:
    """Return a snapshot; raise UpstreamError or CatalogueError."""
    # Without a search path, definitions come with every name qualified.
    parameters = {"application_name": APPLICATION, "search_path": "", "statement_timeout": "15000"}
    side, _ = await log_in(upstream, password, parameters, 0, keys)
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
            for query in (_RELATIONS, _FUNCTIONS, _EVENT_TRIGGERS, _OPERATORS, _TYPES, _BUILTINS, _SECRETS):
                transport.write(message(b"Q", query.encode() + b"\x00"))
                found.append(await _rows(answers))
    except TimeoutError:
        raise CatalogueError(f"reading the catalogue took over {READ_SECONDS:g} s") from None
    finally:
        if not transport.is_closing():
            transport.write(message(b"X", b""))
            transport.close()
    relations, functions, events, operators, types, builtins, system = found
    if len(relations) + len(functions) > MAX_OBJECTS:
        raise CatalogueError(f"the database has more than {MAX_OBJECTS} tables and functions")
    return build(
        (_relation(r) for r in relations),
        (_function(f) for f in functions),
        event_triggers=events,
        operators=[(o[0], o[1]) for o in operators],
        types=[(t[0], t[1]) for t in types],
        builtins=[(b[0], b[1]) for b in builtins],
        system=[(s[0], s[1], [(c[0], c[1]) for c in s[2]]) for s in system],
    )


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
    columns = tuple(Column(name, number, kind, not_null, comment) for name, number, kind, not_null, comment in r["columns"])
    lists = {name: tuple(r[name]) for name in ("kin", "triggers", "rules", "expressions")}
    return Relation(
        r["schema"],
        r["name"],
        r["kind"],
        r["oid"],
        r["rows"],
        r["definition"],
        columns,
        wrapper=r["wrapper"],
        comment=r["comment"],
        **lists,
    )


def _function(f: dict[str, Any]) -> Function:
    body = f["body"] or _standard_body(f["definition"])
    return Function(f["schema"], f["name"], f["language"], f["volatility"], body, f["oid"], f["definer"], f["extension"])


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
        self.begun = 0
        """Readings begun."""
        self.done = 0
        """The number of the last reading that succeeded."""
        self._mark = mark
        self._marked = 0
        self._alias = alias
        self._read = read
        self._first = asyncio.Event()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

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
                if found != self.current:
                    self.current = found
            except (IngestError, OSError, ValueError, KeyError, TypeError) as error:
                wait = RETRY_SECONDS
                reason = str(error) if isinstance(error, CatalogueError) else type(error).__name__
                log.warning("catalogue not read; facts are of the text alone", database=self._alias, reason=reason)
            self._first.set()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
                await asyncio.sleep(AFTER_DDL_SECONDS)
            except TimeoutError:
                pass
