"""The rows a held statement's condition meets are counted on a real server, and whatever is tried, nothing else is done.

The traps are functions that write a line into the server's log when they run: a read-only transaction does not undo that.
Statements are given to the count alone, behind what the analysis would have refused already: each line of defence is tried.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import pack
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import yaml

from ingest.core.guarding import Hold
from ingest.net.estimates import Estimates, dry_run
from ingest.protocols.postgres.scram import ScramKeys
from schemas.config import Upstream
from schemas.events import DryRun, Facts
from tests.support.affidavit import UNMASKED
from tests.support.affidavit import proxy as running_proxy
from tests.support.deciders import decide, the_execution, the_request
from tests.support.ports import wait_for
from tests.support.postgres import DATABASE, SUPERUSER, SUPERUSER_PASSWORD, Postgres

SETUP = """
CREATE SCHEMA dry;
CREATE TABLE dry.orders (id int PRIMARY KEY, name varchar(40), note text, price numeric(10, 2), placed timestamptz, tags text[],
                         doc jsonb, "odd "" name" int);
INSERT INTO dry.orders SELECT n, 'name ' || n % 10, CASE n % 3 WHEN 0 THEN NULL ELSE repeat('a', n % 50) END, n * 1.5,
  '2026-01-01 00:00+00'::timestamptz + n * interval '1 hour', ARRAY['t' || n % 4], jsonb_build_object('k', n % 5), n FROM
  generate_series(1, 1000) n;
CREATE TABLE dry.many AS SELECT n AS id, repeat('a', 100) AS note FROM generate_series(1, 100100) n;
CREATE TABLE dry."we""ird; DROP TABLE dry.many; --" (a int);
INSERT INTO dry."we""ird; DROP TABLE dry.many; --" VALUES (1), (2);

CREATE FUNCTION dry.evil() RETURNS boolean LANGUAGE plpgsql VOLATILE AS
  $$ BEGIN RAISE WARNING 'the trap ran'; RETURN true; END $$;
CREATE FUNCTION dry.evil_int(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RAISE WARNING 'the trap ran'; RETURN $1; END $$;
CREATE FUNCTION dry.evil_text(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RAISE WARNING 'the trap ran'; RETURN true; END $$;
CREATE FUNCTION dry.substring(varchar, int) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RAISE WARNING 'the trap ran'; RETURN ''; END $$;
CREATE FUNCTION dry.evil_op(varchar, int) RETURNS boolean LANGUAGE plpgsql AS
  $$ BEGIN RAISE WARNING 'the trap ran'; RETURN true; END $$;
CREATE OPERATOR dry.@@ (LEFTARG = varchar, RIGHTARG = int, FUNCTION = dry.evil_op);
CREATE DOMAIN dry.checked AS text CHECK (dry.evil_text(VALUE));
CREATE DOMAIN dry.date AS text CHECK (dry.evil_text(VALUE));
CREATE TYPE dry.mood AS ENUM ('ok', 'sad');
CREATE TABLE dry.typed (id int, c dry.checked, m dry.mood);
CREATE FUNCTION dry.rowwise(dry.typed) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RAISE WARNING 'the trap ran'; RETURN ''; END $$;
CREATE CAST (dry.typed AS text) WITH FUNCTION dry.rowwise(dry.typed) AS IMPLICIT;
CREATE VIEW dry.trap AS SELECT id FROM dry.orders WHERE dry.evil();
CREATE VIEW dry.ruled AS SELECT id FROM dry.orders;
CREATE RULE r AS ON DELETE TO dry.ruled DO INSTEAD SELECT dry.evil();
CREATE MATERIALIZED VIEW dry.made AS SELECT 1 AS id;
CREATE TABLE dry.secured (id int); ALTER TABLE dry.secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON dry.secured USING (dry.evil());
CREATE TABLE dry.diverted (id int);
CREATE RULE r AS ON DELETE TO dry.diverted DO INSTEAD SELECT dry.evil();
CREATE TABLE dry.parent (id int); CREATE TABLE dry.child () INHERITS (dry.parent);
CREATE TABLE dry.parted (id int) PARTITION BY RANGE (id);
CREATE TABLE dry.partial (id int); CREATE INDEX ON dry.partial (id) WHERE dry.evil_int(1) > 0;
CREATE TABLE dry.indexed (id int); CREATE INDEX ON dry.indexed (dry.evil_int(id));
CREATE TABLE dry.studied (id int); CREATE STATISTICS dry.s ON (dry.evil_int(7)), id FROM dry.studied;
"""


@pytest.fixture(scope="module")
def server(pg: Postgres) -> Iterator[Postgres]:
    with pg.superuser() as admin:
        admin.execute(SETUP)  # making the indexes and statistics springs some
        admin.execute("DO $$ BEGIN RAISE WARNING 'the traps are set'; END $$")
        wait_for(lambda: trapped(pg) == 0, "the line in the server's log that the traps are set")
        yield pg
        # The log is written by another process: with the traps sprung last, all that ran before is in it, too.
        admin.execute("SELECT dry.evil()")
        admin.execute("EXPLAIN DELETE FROM dry.partial WHERE id = 1")
        wait_for(lambda: trapped(pg) >= 2, "the traps' lines in the server's log")
        admin.execute("DROP SCHEMA dry CASCADE")
        assert trapped(pg) == 2, "a trap ran that was not sprung here"


def trapped(server: Postgres) -> int:
    """How often a trap ran since the traps are set; -1 if they are not."""
    with (server.data / "oracle" / "server.csv").open(newline="", encoding="utf-8", errors="replace") as log:
        said = [row[13] for row in csv.reader(log) if len(row) > 13 and row[11] == "WARNING"]
    return said[said.index("the traps are set") :].count("the trap ran") if "the traps are set" in said else -1


def count(
    server: Postgres, sql: str, table: str = "dry.orders", *, bound: bytes = b"", oids: tuple[int, ...] = (), **settings: str
) -> DryRun:
    """What the count says of a statement of which the analysis would have said that it touches `table` and is harmless."""
    facts = Facts(verbs=("delete",), writes=(table,))
    hold = Hold("a1", 0, 1, SimpleNamespace(shown=SimpleNamespace(facts=facts), texts=("x",)), b"", "", "", "")
    hold.sql, hold.search_path, hold.bound, hold.oids, hold.settings = sql.encode(), ("dry", "public"), bound, oids, settings
    upstream = Upstream(socket_dir=server.socket_dir, port=server.port, database=DATABASE, user=SUPERUSER)

    async def asked() -> DryRun:
        async with Estimates(ScramKeys())._asking(hold, upstream, SUPERUSER_PASSWORD.encode()) as asks:
            return await dry_run(hold, asks)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    "condition",
    [
        "id <= 10",
        "note IS NULL AND NOT id BETWEEN 5 AND 900",
        "lower(name) LIKE '%E 3' OR name ILIKE 'NAME 4' OR name SIMILAR TO '%(5|6)'",
        "id IN (1, 2, 3) OR id = ANY (ARRAY[7, 8]) OR id::text = '9'",
        "price > 100.5 AND placed < '2026-01-20' AND placed >= timestamptz '2026-01-02' AND placed < now() + interval '9 years'",
        "doc ->> 'k' = '3' AND (doc ->> 'k')::int + 1 > 2 AND doc @> '{\"k\": 3}'",
        "CASE id % 4 WHEN 1 THEN true ELSE coalesce(length(note), 0) > 40 END",
        "tags @> ARRAY['t1'] AND extract(year FROM placed) = 2026 AND o.\"odd \"\" name\" < 500",
        "note ~ '^a{3,5}$' AND date_trunc('month', placed AT TIME ZONE 'UTC') = '2026-01-01'",
        "nullif(id, 3) IS DISTINCT FROM NULL",
        "true",
    ],
)  # fmt: skip
def test_what_a_condition_meets_is_counted(server: Postgres, condition: str) -> None:
    with server.superuser() as admin:
        real = admin.execute(f"SELECT count(*) FROM dry.orders o WHERE {condition}").fetchone()
    assert real is not None
    for statement in (
        f"DELETE FROM orders o WHERE {condition}",
        f"UPDATE dry.orders AS o SET note = dry.evil()::text, id = (SELECT 1) WHERE {condition}",
        f"SELECT o.*, upper(name) FROM orders o WHERE {condition} ORDER BY id",
    ):
        assert count(server, statement) == DryRun(known=True, rows=real[0]), statement
    assert trapped(server) == 0


def test_a_whole_table_odd_names_and_more_than_is_counted(server: Postgres) -> None:
    assert count(server, "DELETE FROM orders") == DryRun(known=True, rows=1000)
    odd = 'we"ird; DROP TABLE dry.many; --'
    assert count(server, 'DELETE FROM "we""ird; DROP TABLE dry.many; --" WHERE a > 1', f"dry.{odd}") == DryRun(known=True, rows=1)
    assert count(server, "DELETE FROM many WHERE id > 0", "dry.many") == DryRun(known=True, rows=100_000, more=True)
    assert count(server, "DELETE FROM many WHERE id <= 100000", "dry.many") == DryRun(known=True, rows=100_000)


def bind(*values: tuple[int, bytes]) -> bytes:
    formats = b"".join(pack(">H", f) for f, _ in values)
    return b"\0\0" + pack(">H", len(values)) + formats + pack(">H", len(values)) + b"".join(
        pack(">i", len(v)) + v for _, v in values
    ) + pack(">H", 0)  # fmt: skip


def test_the_clients_own_values_are_used_in_whatever_format(server: Postgres) -> None:
    three = bind((0, b"ignored"), (1, pack(">i", 500)), (0, b"name 3"))
    sql = "UPDATE orders SET note = $1 WHERE id <= $2 AND name = $3"
    assert count(server, sql, bound=three, oids=(25, 23, 1043)) == DryRun(known=True, rows=50)
    assert count(server, "DELETE FROM orders WHERE id = $1", bound=bind((0, b"7"))) == DryRun(known=True, rows=1)
    both = count(server, "UPDATE orders SET price = $1 WHERE id = $1", bound=bind((0, b"7")))
    assert not both.known and "parameters" in both.absent
    foreign = count(server, "DELETE FROM orders WHERE name = $1", bound=bind((0, b"x")), oids=(99_999,))
    assert not foreign.known and "parameters" in foreign.absent
    assert not count(server, "DELETE FROM orders WHERE id = $4", bound=bind((0, b"7"))).known


def test_dates_are_read_as_the_session_reads_them(server: Postgres) -> None:
    sql = "DELETE FROM orders WHERE placed < '02/01/2026 00:00'"
    assert count(server, sql, DateStyle="ISO, DMY", TimeZone="UTC") == DryRun(known=True, rows=23)
    assert count(server, sql, DateStyle="ISO, MDY", TimeZone="UTC") == DryRun(known=True, rows=743)
    own = count(server, r"DELETE FROM orders WHERE name = 'a\'", standard_conforming_strings="off")
    assert not own.known and "a way of its own" in own.absent


@pytest.mark.parametrize(
    ("sql", "table", "words"),
    [
        ("DELETE FROM orders WHERE dry.evil()", "dry.orders", "not the database's own"),
        ("DELETE FROM orders WHERE evil()", "dry.orders", "not known only to compute"),
        ("DELETE FROM orders WHERE substring(name, 1) = ''", "dry.orders", "functions that are not built in"),
        ("DELETE FROM orders WHERE name OPERATOR(dry.@@) 1", "dry.orders", "not the database's own"),
        ("DELETE FROM orders WHERE name @@ 1", "dry.orders", "operators that are not built in"),
        ("DELETE FROM orders WHERE name::dry.checked = ''", "dry.orders", "not the database's own"),
        ("DELETE FROM orders WHERE name::checked = ''", "dry.orders", "types that are not built in"),
        ("DELETE FROM orders WHERE name::date = ''", "dry.orders", "types that are not built in"),
        ("DELETE FROM orders WHERE name = date '2026-01-01'", "dry.orders", "types that are not built in"),
        ("DELETE FROM typed WHERE c = 'x'", "dry.typed", "columns of types"),
        ("DELETE FROM typed WHERE m = 'ok'", "dry.typed", "columns of types"),
        ("DELETE FROM typed WHERE typed::text = ''", "dry.typed", "more than columns"),
        ("DELETE FROM typed WHERE typed = 'x'", "dry.typed", "more than columns"),
        ("DELETE FROM typed t WHERE t.rowwise = ''", "dry.typed", "more than columns"),
        ("DELETE FROM typed t WHERE rowwise(t) = ''", "dry.typed", "not known only to compute"),
        ("DELETE FROM orders WHERE ctid = '(0,1)'", "dry.orders", "more than columns"),
        ("DELETE FROM trap", "dry.trap", "not an ordinary table"),
        ("DELETE FROM ruled", "dry.ruled", "not an ordinary table"),
        ("SELECT id FROM made", "dry.made", "SQLSTATE 42809"),
        ("DELETE FROM secured", "dry.secured", "row security"),
        ("DELETE FROM diverted", "dry.diverted", "rules"),
        ("DELETE FROM parent", "dry.parent", "not an ordinary table"),
        ("DELETE FROM parted", "dry.parted", "not an ordinary table"),
        ("DELETE FROM partial WHERE id = 1", "dry.partial", "index"),
        ("DELETE FROM indexed WHERE id = 1", "dry.indexed", "index"),
        ("DELETE FROM studied WHERE id = 1", "dry.studied", "statistics"),
        ("DELETE FROM orders WHERE id IN (SELECT id FROM trap)", "dry.orders", "query of its own"),
        ("DELETE FROM orders USING trap WHERE orders.id = trap.id", "dry.orders", "one table"),
        ("WITH w AS (SELECT dry.evil()) DELETE FROM orders", "dry.orders", "one table"),
        ("SELECT dry.evil() FROM orders", "dry.orders", "not the database's own"),
        ("SELECT id FROM orders FOR UPDATE", "dry.orders", "other rows"),
        ("SELECT id INTO dry.stolen FROM orders", "dry.orders", "other rows"),
        ("DELETE FROM orders WHERE pg_sleep(10) IS NULL", "dry.orders", "not known only to compute"),
        ("DELETE FROM orders WHERE set_config('a.b', 'c', false) = ''", "dry.orders", "not known only to compute"),
        ("DELETE FROM orders WHERE table_to_xml('dry.trap', true, true, '') IS NULL", "dry.orders", "not known only to compute"),
        ("DELETE FROM orders; DROP TABLE dry.many", "dry.orders", "single statements"),
        ("DROP TABLE orders", "dry.orders", "only UPDATE, DELETE and SELECT"),
        ("DELETE FROM orders", "?.orders", "not certain"),
        ("DELETE FROM pg_class", "pg_catalog.pg_class", "not certain"),
        ("DELETE FROM missing", "dry.missing", "SQLSTATE 42P01"),
        ("DELETE FROM orders WHERE missing = 1", "dry.orders", "more than columns"),
        ("DELETE FROM orders WHERE 1 / (id - id) = 1", "dry.orders", "SQLSTATE 22012"),
        ("DELETE FROM orders WHERE name::int = 1", "dry.orders", "SQLSTATE 22P02"),
    ],
)  # fmt: skip
def test_nothing_but_counting_is_ever_done(server: Postgres, sql: str, table: str, words: str) -> None:
    found = count(server, sql, table)
    assert not found.known and words in found.absent
    assert "name 1" not in found.absent and trapped(server) == 0


def test_a_cast_between_built_in_types_that_is_somebodys_own_ends_all_counting(server: Postgres) -> None:
    with server.superuser() as admin:
        admin.execute("CREATE FUNCTION dry.evil_cast(int) RETURNS date LANGUAGE plpgsql AS "
                      "$$ BEGIN RAISE WARNING 'the trap ran'; RETURN now(); END $$")  # fmt: skip
        admin.execute("CREATE CAST (int AS date) WITH FUNCTION dry.evil_cast(int) AS IMPLICIT")
        try:
            found = count(server, "DELETE FROM orders WHERE id < current_date")
        finally:
            admin.execute("DROP CAST (int AS date)")
    assert not found.known and "casts built-in types" in found.absent and trapped(server) == 0


def test_a_count_waits_for_nobody_and_for_no_longer_than_a_second(server: Postgres) -> None:
    with server.superuser() as admin:
        admin.execute("BEGIN; LOCK TABLE dry.orders IN ACCESS EXCLUSIVE MODE")
        found = count(server, "DELETE FROM orders WHERE id = 1")
        admin.execute("ROLLBACK")
    assert not found.known and "55P03" in found.absent
    slow = count(server, "DELETE FROM orders WHERE power(id::numeric + 2, 10000) > 1")
    assert not slow.known and ("57014" in slow.absent or "took over" in slow.absent)


def test_approvers_get_the_count_beside_the_estimate_and_what_it_came_to(server: Postgres, tmp_path: Path) -> None:
    rule = {"id": "hold", "effect": "hold", "reason": "Somebody looks first.", "when": "'delete' in statement.verbs",
            "approvers": {"groups": ["dba"]}}  # fmt: skip
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump({"bundle": "live", "rules": [rule]}))
    with psycopg.connect(**server.app(), autocommit=True) as owner:
        owner.execute("CREATE TABLE IF NOT EXISTS dry_held (a int PRIMARY KEY, b text)")
        owner.execute("INSERT INTO dry_held SELECT n, 'row' FROM generate_series(1, 300) n")
        owner.execute("CREATE OR REPLACE FUNCTION mine(int) RETURNS boolean LANGUAGE plpgsql AS "
                      "$$ BEGIN RAISE WARNING 'the trap ran'; RETURN true; END $$")  # fmt: skip
    settings = {"policy": {"files": [str(tmp_path / "policy.yaml")]}, "masking": UNMASKED, "approvals": {"wait_seconds": 60}}
    with running_proxy(server, settings) as p, ThreadPoolExecutor(2) as pool:
        options: dict[str, Any] = {**p.app(), "autocommit": True, "application_name": "counted"}
        with psycopg.connect(**options) as connection:
            sql = "DELETE FROM dry_held WHERE a > %s AND a <= %s"
            for number, prepare in ((1, False), (2, True)):
                low, high = 100 * number, 100 * number + 41
                work = pool.submit(connection.execute, sql, (low, high), prepare=prepare)
                request = the_request(p, "counted", number)
                assert request["estimate"]["dry_run"] == {"known": True, "rows": 41, "more": False, "absent": ""}
                decide(p, request)
                assert work.result(30).rowcount == 41
                assert the_execution(p, request)["outcome"]["rows_affected"] == 41
            work = pool.submit(connection.execute, "DELETE FROM dry_held WHERE mine(a)")
            request = the_request(p, "counted", 3)
            assert "not known only to compute" in request["estimate"]["dry_run"]["absent"]
            assert trapped(server) == 0
            decide(p, request, approved=False)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                work.result(30)
