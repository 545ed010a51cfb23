"""What does a statement do through views, triggers, rules and functions? Snapshots of a real server, and facts under them.

Each disguise is also run on that server, where it is shown to do what the facts say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from ingest.net.catalogue import read_catalogue
from ingest.protocols.postgres.scram import ScramKeys
from processors.statements import Analyser, Lexing, Tokenizer
from processors.statements.catalogue import Catalogue
from schemas.config import Upstream
from schemas.events import Danger, Facts
from tests.support.clients import Comparison, Parameters
from tests.support.ports import wait_for
from tests.support.postgres import SUPERUSER, SUPERUSER_PASSWORD, Postgres

OBJECTS = """
CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL, nick text);
CREATE TABLE log (id serial, what text);
CREATE TABLE victims (id int);
INSERT INTO people SELECT i, 'p' || i || '@example.org' FROM generate_series(1, 3) i;
INSERT INTO victims VALUES (1), (2);
CREATE VIEW contacts AS SELECT id, lower(email) AS address FROM people;
CREATE VIEW deep AS SELECT address FROM contacts WHERE id > 0;
CREATE MATERIALIZED VIEW frozen AS SELECT email FROM people;
CREATE SCHEMA hidden;
CREATE VIEW hidden.shadows AS SELECT * FROM public.people;
CREATE FUNCTION wipe() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM victims; RETURN 1; END $$;
CREATE FUNCTION wipe_sql() RETURNS bigint LANGUAGE sql AS $$
  WITH d AS (DELETE FROM victims RETURNING 1) SELECT count(*) FROM d $$;
CREATE FUNCTION wipe_atomic() RETURNS int LANGUAGE sql BEGIN ATOMIC DELETE FROM victims; SELECT 1; END;
CREATE FUNCTION through() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN wipe(); END $$;
CREATE FUNCTION dynamic(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DELETE FROM ' || t; END $$;
CREATE FUNCTION harmless(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN i + 1; END $$;
CREATE FUNCTION peek() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT email FROM people $$;
CREATE FUNCTION on_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM victims; RETURN NEW; END $$;
CREATE TABLE armed (id int);
CREATE TRIGGER fuse BEFORE INSERT ON armed FOR EACH ROW EXECUTE FUNCTION on_write();
CREATE TABLE ruled (id int);
CREATE RULE r AS ON INSERT TO ruled DO ALSO DELETE FROM victims;
CREATE TABLE defaulted (id int DEFAULT wipe(), b int);
CREATE TABLE stamped (id int, at timestamptz DEFAULT now(), n int CHECK (n > abs(0)));
CREATE TABLE watched (id int);
CREATE POLICY seen_by ON watched USING (EXISTS (SELECT FROM people));
ALTER TABLE watched ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION wipe_pair(a int, b int) RETURNS boolean LANGUAGE sql AS $$ SELECT wipe() = 1 $$;
CREATE OPERATOR ### (leftarg = int, rightarg = int, function = wipe_pair);
CREATE FUNCTION wipe_row(people) RETURNS int LANGUAGE sql AS $$ SELECT wipe() $$;
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION wipe_cast(pair) RETURNS int LANGUAGE sql AS $$ SELECT wipe() $$;
CREATE CAST (pair AS int) WITH FUNCTION wipe_cast(pair);
CREATE FUNCTION wipe_check(int) RETURNS boolean LANGUAGE sql AS $$ SELECT wipe() = 1 $$;
CREATE DOMAIN trap AS int CHECK (wipe_check(VALUE));
CREATE TABLE parent (id int, secret text) PARTITION BY RANGE (id);
CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (10);
CREATE VIEW writable AS SELECT * FROM people;
CREATE TABLE owners (id int PRIMARY KEY);
CREATE TABLE owned (owner int NOT NULL REFERENCES owners ON DELETE CASCADE ON UPDATE CASCADE, what text);
CREATE FUNCTION on_loss() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM victims; RETURN OLD; END $$;
CREATE TRIGGER lost AFTER UPDATE OR DELETE ON owned FOR EACH ROW EXECUTE FUNCTION on_loss();
CREATE TABLE audit_notes (owner int REFERENCES owners ON DELETE SET NULL);
CREATE TABLE lent (owner int NOT NULL REFERENCES owners, what text);
INSERT INTO owners VALUES (1), (2);
INSERT INTO owned VALUES (1), (2);
CREATE TYPE span AS (lo int, hi int);
CREATE FUNCTION before(span, span) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT ($1).lo < ($2).lo $$;
CREATE FUNCTION order_spans(span, span) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN wipe(); END $$;
CREATE OPERATOR <<! (leftarg = span, rightarg = span, function = before);
CREATE OPERATOR ==! (leftarg = span, rightarg = span, function = before);
CREATE OPERATOR >>! (leftarg = span, rightarg = span, function = before);
CREATE OPERATOR CLASS span_ops DEFAULT FOR TYPE span USING btree AS
  OPERATOR 1 <<!, OPERATOR 3 ==!, OPERATOR 5 >>!, FUNCTION 1 order_spans(span, span);
CREATE TABLE spans (s span);
CREATE AGGREGATE sets(text, boolean) (sfunc = set_config, stype = text, initcond = 'role');
INSERT INTO spans VALUES ((1, 2)), ((3, 4));
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    made = Postgres().start()
    try:
        with made.superuser("postgres") as admin:
            admin.execute(OBJECTS)
        yield made
    finally:
        made.stop()


def snapshot(server: Postgres) -> Catalogue:
    upstream = Upstream.model_validate(
        {"host": server.host, "port": server.port, "user": SUPERUSER, "database": "postgres", "tls": "disable"}
    )
    return asyncio.run(read_catalogue(upstream, SUPERUSER_PASSWORD.encode(), ScramKeys()))


@pytest.fixture(scope="module")
def catalogue(server: Postgres) -> Catalogue:
    return snapshot(server)


def facts(sql: str, catalogue: Catalogue, search_path: tuple[str, ...] = ("public",)) -> Facts:
    analyser = Analyser(Tokenizer(b"k" * 32))
    [statement] = analyser._select(Lexing(catalogue=catalogue, search_path=search_path)).analyse(sql.encode()).statements
    return statement.facts


DELETES = [
    "SELECT wipe()",
    "SELECT public.wipe()",
    'SELECT "wipe"()',
    "SELECT wipe_sql()",
    "SELECT wipe_atomic()",
    "SELECT through()",
    "SELECT id FROM people ORDER BY wipe()",
    "SELECT 1 WHERE wipe() = 1",
    "INSERT INTO armed VALUES (1)",
    "COPY armed FROM STDIN",
    "INSERT INTO ruled VALUES (1)",
    "INSERT INTO defaulted (b) VALUES (1)",
    "SELECT p.wipe_row FROM people p",
    "SELECT 1 ### 2",
    "SELECT 1 OPERATOR(public.###) 2",
    "SELECT ROW(1, 2)::pair::int",
    "SELECT 1::trap",
    "DO $$ BEGIN PERFORM through(); END $$",
    "PREPARE p1 AS SELECT wipe()",
    "EXPLAIN ANALYZE SELECT wipe()",
    "DELETE FROM owners WHERE id = 1",
    "UPDATE owners SET id = 7 WHERE id = 1",
    "SELECT s FROM spans ORDER BY s",
    "SELECT s FROM spans ORDER BY s USING OPERATOR(public.<<!)",
]


@pytest.mark.parametrize("sql", DELETES)
def test_what_deletes_in_disguise_is_a_mass_delete(catalogue: Catalogue, sql: str) -> None:
    found = facts(sql, catalogue)
    assert Danger.MASS_DELETE in found.dangers
    assert "public.victims" in found.writes


@pytest.mark.parametrize("sql", [s for s in DELETES if not s.startswith(("COPY", "PREPARE"))])
def test_the_disguise_works_on_the_server(server: Postgres, sql: str) -> None:
    with server.superuser("postgres") as admin:
        before = admin.execute("SELECT count(*) FROM victims").fetchone()
        assert before == (2,)
        with admin.transaction(force_rollback=True):
            admin.execute(sql)
            assert admin.execute("SELECT count(*) FROM victims").fetchone() == (0,)


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("SELECT address FROM contacts", "public.people.email"),
        ("SELECT c.address FROM contacts c", "public.people.email"),
        ("SELECT * FROM deep", "public.people.email"),
        ("SELECT * FROM frozen", "public.people.email"),
        ("SELECT * FROM hidden.shadows", "public.people.email"),
        ("SELECT email FROM hidden.shadows", "public.people.email"),
        ("SELECT email FROM people, log", "public.people.email"),
    ],
)
def test_a_view_is_read_through_to_its_columns(catalogue: Catalogue, sql: str, column: str) -> None:
    found = facts(sql, catalogue)
    assert "public.people" in found.reads
    assert ("output" in roles) if (roles := {c.name: c.roles for c in found.columns}.get(column)) else False


def test_names_resolve_under_any_search_path(catalogue: Catalogue) -> None:
    assert "public.people" in facts("SELECT * FROM shadows", catalogue, ("hidden", "public")).reads
    assert "hidden.shadows" in facts("SELECT * FROM shadows", catalogue, ()).reads
    assert facts("SELECT email FROM people", catalogue, ()).reads == ("public.people",)


def test_functions_are_read_through(catalogue: Catalogue) -> None:
    assert "public.people" in facts("SELECT * FROM peek()", catalogue).reads
    assert Danger.OPAQUE in facts("SELECT dynamic('victims')", catalogue).dangers
    assert facts("SELECT harmless(1)", catalogue).dangers == ()
    assert facts("SELECT lower('A'), now(), count(*), current_date, coalesce(1, 2) FROM people", catalogue).dangers == ()
    assert facts("SELECT nowhere(1)", catalogue).dangers == (Danger.UNKNOWN_CODE,)


def test_what_the_database_evaluates_by_itself_is_a_select_of_tables_alone(catalogue: Catalogue) -> None:
    stamped = facts("UPDATE stamped SET n = 1 WHERE id = 2", catalogue)
    assert stamped.verbs == ("update",), "a grant to update is enough"
    assert {"now", "abs"} <= set(stamped.functions)
    watched = facts("UPDATE watched SET id = 1 WHERE id = 2", catalogue)
    assert set(watched.verbs) == {"update", "select"} and "public.people" in watched.reads


def test_partitions_and_parents_are_one(catalogue: Catalogue) -> None:
    assert "public.parent" in facts("SELECT secret FROM child", catalogue).reads
    assert "public.child" in facts("DELETE FROM parent WHERE id = 1", catalogue).writes


def test_a_write_to_a_view_is_a_write_to_its_table(catalogue: Catalogue) -> None:
    assert "public.people" in facts("UPDATE writable SET email = 'x' WHERE id = 1", catalogue).writes


def test_whether_not_null_restricts_is_known(catalogue: Catalogue) -> None:
    assert Danger.MASS_DELETE in facts("DELETE FROM people WHERE email IS NOT NULL", catalogue).dangers
    assert facts("DELETE FROM people WHERE nick IS NOT NULL", catalogue).dangers == ()


def test_rows_of_a_log_that_go_with_others_are_tampered_with(catalogue: Catalogue) -> None:
    assert Danger.AUDIT_TAMPERING in facts("DELETE FROM owners WHERE id = 1", catalogue).dangers
    assert facts("INSERT INTO owners VALUES (3)", catalogue).dangers == ()


@pytest.mark.parametrize(
    ("sql", "all_of_them"),
    [
        ("DELETE FROM lent USING owners o WHERE o.id = owner", True),
        ("UPDATE lent SET what = '' FROM owners o WHERE lent.owner = o.id AND true", True),
        ("MERGE INTO lent w USING owners o ON o.id = w.owner WHEN MATCHED THEN DELETE", True),
        ("DELETE FROM lent USING owners o WHERE o.id = owner AND what = 'x'", False),
        ("UPDATE audit_notes SET owner = 1 FROM owners o WHERE o.id = owner", False),
        ("UPDATE lent SET what = '' FROM people p WHERE p.id = owner", False),
    ],
)
def test_a_join_with_what_every_row_refers_to_leaves_none_out(catalogue: Catalogue, sql: str, all_of_them: bool) -> None:
    assert bool({Danger.MASS_DELETE, Danger.MASS_UPDATE} & set(facts(sql, catalogue).dangers)) == all_of_them


def test_function_calls_by_number_are_known(catalogue: Catalogue) -> None:
    numbers = {name: oid for oid, name in catalogue.by_oid.items()}
    assert Danger.MASS_DELETE in facts(f"SELECT function_oid_{numbers['public.wipe']}()", catalogue).dangers
    assert Danger.FILE_ACCESS in facts(f"SELECT function_oid_{numbers['lo_import']}()", catalogue).dangers
    assert facts(f"SELECT function_oid_{numbers['lower']}()", catalogue).dangers == ()
    # Of its arguments nothing is known: it may set any setting, as any aggregate made of it may.
    assert Danger.ROLE_CHANGE in facts(f"SELECT function_oid_{numbers['set_config']}()", catalogue).dangers
    assert Danger.ROLE_CHANGE in facts("SELECT sets('app_owner', false)", catalogue).dangers
    assert Danger.RESOURCE_EXHAUSTION in facts(f"SELECT function_oid_{numbers['repeat']}()", catalogue).dangers
    assert Danger.OPAQUE in facts("SELECT function_oid_999999()", catalogue).dangers


def test_a_temporary_view_is_seen_from_outside_and_versions_differ(server: Postgres, catalogue: Catalogue) -> None:
    assert snapshot(server) == catalogue
    with server.superuser("postgres") as other:
        other.execute("CREATE TEMP VIEW safe AS SELECT email FROM people")
        later = snapshot(server)
    assert later != catalogue
    assert "public.people" in facts("SELECT * FROM safe", later).reads


def test_temporary_tables_of_others_make_no_other_version(server: Postgres, catalogue: Catalogue) -> None:
    """A version voids what was approved of code that cannot be read, and all that is remembered of statements."""
    with server.superuser("postgres") as other:
        other.execute("CREATE TEMP TABLE passing (a int, b text)")
        assert snapshot(server) == catalogue


def test_a_view_made_through_the_proxy_is_seen_through_soon(compare: Comparison) -> None:
    def make(to: Parameters) -> None:
        with psycopg.connect(**to, autocommit=True) as client:
            client.execute("CREATE TABLE IF NOT EXISTS seen (id int, email text)")
            client.execute("CREATE OR REPLACE VIEW seen_through AS SELECT email AS x FROM seen")

    def look(to: Parameters) -> None:
        with psycopg.connect(**to, autocommit=True) as client:
            client.execute("SELECT x FROM seen_through")

    compare(make)
    wait_for(lambda: "public.seen" in compare(look).one("select")["facts"]["reads"], "the view's own table among what is read")
