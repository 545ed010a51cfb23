"""What is asked of a database to count the rows a held statement's condition meets, so that nothing but counting can happen.

    BEGIN … READ ONLY; search_path = pg_catalog; LOCK TABLE … IN ACCESS SHARE MODE NOWAIT     what any SELECT takes anyway
    is everything the condition names the database's own, and the table an ordinary one?      else nothing is counted
    SELECT count(*) …                                                                         a limited one, for one second

With only pg_catalog to look in, a name cannot come to mean somebody's function, operator or type. The lock comes before the
question, so that the answer still holds for the count: meanwhile nobody can give a column another type, or the table a rule or
row security. What was made with the server, and not by a user of it, has an OID below 16384 (FirstNormalObjectId).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError
from typing import Final

import orjson

from ingest.core.guarding import Hold
from ingest.protocols.postgres.messages import message
from processors.statements.counting import MOST_COUNTED, Counting, UncountableError, counting
from schemas.events import DryRun, Facts

TIMEOUT_MS: Final = 1000
_FIRST_USER_OID: Final = 16384
_U16, _I32, _U32 = Struct(">H"), Struct(">i"), Struct(">I")

BEGIN: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog; "
    f"SET LOCAL statement_timeout = {TIMEOUT_MS}; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; "
    "SET LOCAL constraint_exclusion = off; "
)
_ASKING: Final = """
WITH t AS (
  SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
), columns AS (
  SELECT u.name, a.attgenerated, y.oid, y.typtype FROM json_array_elements_text($3::json) AS u (name)
  LEFT JOIN pg_attribute a ON a.attrelid = (SELECT oid FROM t) AND a.attname = u.name AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type y ON y.oid = a.atttypid
), functions AS (SELECT json_array_elements_text($4::json) AS name
), operators AS (SELECT json_array_elements_text($5::json) AS name
), types AS (SELECT json_array_elements_text($6::json) AS name
)
SELECT CASE
  WHEN NOT EXISTS (SELECT FROM t) THEN 'the table is not there'
  WHEN EXISTS (SELECT FROM t WHERE relkind <> 'r' OR relhassubclass OR relpersistence = 't' OR relam >= 16384)
    THEN 'it is not an ordinary table'
  WHEN EXISTS (SELECT FROM t WHERE relrowsecurity) THEN 'the table has row security'
  WHEN EXISTS (SELECT FROM t WHERE relhasrules) THEN 'the table has rules'
  WHEN EXISTS (SELECT FROM columns WHERE oid IS NULL) THEN 'its condition names more than columns of the table'
  WHEN EXISTS (SELECT FROM columns WHERE oid >= 16384 OR typtype NOT IN ('b', 'r', 'm') OR attgenerated = 'v')
    THEN 'its condition uses columns of types that are not built in'
  WHEN EXISTS (SELECT FROM types LEFT JOIN pg_type y ON y.typname = types.name AND y.typnamespace = 11
               WHERE y.oid IS NULL OR y.oid >= 16384 OR y.typtype NOT IN ('b', 'r', 'm'))
    OR EXISTS (SELECT FROM types JOIN pg_type y ON y.typname = types.name WHERE y.oid >= 16384)
    THEN 'its condition uses types that are not built in, or not alone in their names'
  WHEN EXISTS (SELECT FROM functions LEFT JOIN pg_proc p ON p.proname = functions.name AND p.pronamespace = 11
               WHERE p.oid IS NULL OR p.provolatile = 'v')
    OR EXISTS (SELECT FROM functions JOIN pg_proc p ON p.proname = functions.name WHERE p.oid >= 16384)
    THEN 'its condition calls functions that are not built in, or not alone in their names'
  WHEN EXISTS (SELECT FROM operators JOIN pg_operator o ON o.oprname = operators.name LEFT JOIN pg_proc p ON p.oid = o.oprcode
               WHERE CASE WHEN o.oid >= 16384 THEN o.oprleft BETWEEN 1 AND 16383 OR o.oprright BETWEEN 1 AND 16383
                     ELSE p.oid IS NULL OR p.oid >= 16384 OR p.provolatile = 'v' END)
    THEN 'its condition uses operators that are not built in, or not alone in their names'
  WHEN EXISTS (SELECT FROM pg_cast WHERE oid >= 16384 AND castsource < 16384 AND casttarget < 16384)
    THEN 'the database casts built-in types in its own way'
  WHEN EXISTS (SELECT FROM pg_depend d WHERE d.refobjid >= 16384
      AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass,
                           'pg_type'::regclass, 'pg_am'::regclass, 'pg_cast'::regclass)
      AND (d.classid = 'pg_class'::regclass
             AND d.objid IN (SELECT indexrelid FROM pg_index WHERE indrelid = (SELECT oid FROM t))
        OR d.classid = 'pg_statistic_ext'::regclass
             AND d.objid IN (SELECT oid FROM pg_statistic_ext WHERE stxrelid = (SELECT oid FROM t))))
    THEN 'an index or the statistics of the table use what is not built in'
  ELSE '' END"""


def countable(hold: Hold) -> Counting:
    """Return how to count what a held statement's condition meets. Raises UncountableError."""
    facts: Facts = hold.asked.shown.facts
    settings = hold.settings
    if settings.get("standard_conforming_strings", "on") != "on" or settings.get("client_encoding", "UTF8") != "UTF8":
        raise UncountableError("the session reads text in a way of its own")
    try:
        text = hold.sql.decode()
    except UnicodeDecodeError:
        raise UncountableError("it cannot be read") from None
    found = counting(text, {*facts.reads, *facts.writes})
    for number in found.params:
        oid = hold.oids[number - 1] if number <= len(hold.oids) else 0
        if oid >= _FIRST_USER_OID or (not oid and number in found.ambiguous):
            raise UncountableError("its parameters are of types that are not built in, or not known")
    return found


def beginning(found: Counting) -> bytes:
    """Return the message that begins: a transaction of its own, with the table locked against change."""
    return message(b"Q", (BEGIN + found.lock).encode() + b"\0")


def asking(found: Counting) -> bytes:
    """Return the messages that ask whether all is the database's own; the answer is one text, empty if it is."""
    lists = (found.columns, found.functions, found.operators, found.types)
    values = [found.schema.encode(), found.table.encode(), *(orjson.dumps(sorted(names)) for names in lists)]
    parse = message(b"P", b"\0" + _ASKING.encode() + b"\0" + _U16.pack(len(values)) + _U32.pack(25) * len(values))
    bound = b"".join(_I32.pack(len(value)) + value for value in values)
    return parse + message(b"B", b"\0\0" + _U16.pack(0) + _U16.pack(len(values)) + bound + _U16.pack(0)) + _RUN


def counted(found: Counting, hold: Hold) -> bytes:
    """Return the messages that count, with those of the client's values that the condition uses."""
    oids = [hold.oids[n - 1] if n <= len(hold.oids) else 0 for n in found.params]
    parse = message(b"P", b"\0" + found.sql.encode() + b"\0" + _U16.pack(len(oids)) + b"".join(map(_U32.pack, oids)))
    values = _chosen(hold.bound, found.params) if found.params else _U16.pack(0) + _U16.pack(0)
    return parse + message(b"B", b"\0\0" + values + _U16.pack(0)) + _RUN


_RUN: Final = message(b"E", b"\0\0\0\0\0") + message(b"S")


def _chosen(bound: bytes, numbers: Sequence[int]) -> bytes:
    """Return the formats and values of some parameters of a Bind's body. Raises UncountableError where it has none of them."""
    try:
        at = bound.index(0, bound.index(0) + 1) + 1
        formats = [_U16.unpack_from(bound, at + 2 + 2 * n)[0] for n in range(_U16.unpack_from(bound, at)[0])]
        at += 2 + 2 * len(formats)
        count: int = _U16.unpack_from(bound, at)[0]
        at += 2
        values = []
        for _ in range(count):
            end = at + 4 + max(0, _I32.unpack_from(bound, at)[0])
            values.append(bound[at:end])
            at = end
        if len(formats) < 2:
            formats = (formats or [0]) * count
        chosen = [(formats[n - 1], values[n - 1]) for n in numbers]
    except (ValueError, IndexError, StructError):
        raise UncountableError("its parameters are not known") from None
    packed = _U16.pack(len(chosen)) + b"".join(_U16.pack(f) for f, _ in chosen)
    return packed + _U16.pack(len(chosen)) + b"".join(value for _, value in chosen)


def read_count(cell: bytes) -> DryRun:
    """Read the count."""
    try:
        rows = int(cell)
    except ValueError:
        return DryRun(absent="the count could not be read")
    return DryRun(known=True, rows=min(rows, MOST_COUNTED), more=rows > MOST_COUNTED)
