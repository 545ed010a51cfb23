"""A mistake in a statement is answered by the server in its own words, with masking and the starter policy on; nothing runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.postgres import Postgres

STARTER = Path(__file__).parents[2] / "deploy" / "policies" / "production.yaml"

MISTAKES = [
    "SELEC 1",
    "SELECT 1 FRM slips WHERE a = 'hunter2'",
    "SELECT (",
    "SELECT ( -- and so on",
    "SELECT (   \n\n ",
    "SELECT 1 +",
    "SELECT NOT",
    "SELECT 'abc",
    "SELECT 'abc\n\n",
    "SELECT E'abc\\",
    "SELECT E'abc\\'",
    'SELECT "abc',
    "SELECT $$abc",
    "SELECT $tag$ abc $tag",
    "SELECT 1 /* abc",
    "SELECT 1 /* /* */ abc",
    "SELECT U&'abc",
    "SELECT U&'\\zzzz'",
    "SELECT E'\\u00'",
    "SELECT U&'abc' UESCAPE",
    "SELECT U&\"abc\" UESCAPE 'xx'",
    "SELECT 'é', 'ü' FRM x y",
    "INSERT INTO slips VALUES (1); SELEC 2",
    "INSERT INTO slips VALUES (1); SELECT (",
    "INSERT INTO slips VALUES (1); -- SELECT (\n)",
    "WITH w AS (INSERT INTO slips VALUES (1) RETURNING a) SELEC a FROM w",
    "DROP TABLE slips slips2 slips3",
    "DELETE FROM slips WHERE",
    "UPDATE slips SET a = 1,",
    "CREATE TABLE x (a int,)",
    "UPDATE slips SET (a) = ('x",
    "SELECT 1;; SELECT )",
    "SELECT 0x",
    "SELECT 1 LIMIT 1, 2",
    "COPY slips FROM",
    "DO",
    ")",
]


@pytest.fixture(scope="module")
def guarded(pg: Postgres) -> Iterator[Proxy]:
    with psycopg.connect(**pg.app(), autocommit=True) as setup:
        setup.execute("DROP TABLE IF EXISTS slips, system_user")
        setup.execute("CREATE TABLE slips (a int)")
    with running_proxy(pg, {"policy": {"files": [str(STARTER)]}}) as running:
        yield running


def fields(error: psycopg.Error) -> dict[str, Any]:
    names = ("severity", "sqlstate", "message_primary", "message_detail", "message_hint", "statement_position", "source_function")
    return {name: getattr(error.diag, name) for name in names}


def refused(connection: psycopg.Connection[Any], sql: str, **options: Any) -> dict[str, Any]:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(sql.encode(), **options)
    return fields(caught.value)


@pytest.mark.parametrize("prepare", [False, True])
def test_every_mistake_is_told_as_the_server_tells_it(guarded: Proxy, pg: Postgres, prepare: bool) -> None:
    name = f"mistakes {prepare}"
    with (
        psycopg.connect(**pg.app(), autocommit=True) as direct,
        psycopg.connect(**guarded.app(), autocommit=True, application_name=name) as through,
    ):
        for sql in MISTAKES:
            if prepare and ";" in sql:
                continue
            assert refused(through, sql, prepare=prepare) == refused(direct, sql, prepare=prepare), sql
        assert through.execute("SELECT 1").fetchone() == (1,)
        assert direct.execute("SELECT count(*) FROM slips").fetchone() == (0,)
    events = guarded.trail.session(name)
    states = {(e["outcome"]["status"], e["outcome"]["sqlstate"][:2]) for e in events if "unparsed" in e["facts"]["flags"]}
    assert states == {("error", "42"), ("error", "22")}
    assert "hunter2" not in str(events) and "hunter2" not in guarded.output.read_text()


@pytest.mark.parametrize("encoding", ["LATIN1", "SJIS", "SQL_ASCII"])
def test_in_other_encodings(guarded: Proxy, pg: Postgres, encoding: str) -> None:
    with (
        psycopg.connect(**pg.app(), autocommit=True, client_encoding=encoding) as direct,
        psycopg.connect(**guarded.app(), autocommit=True, client_encoding=encoding) as through,
    ):
        for sql in ("SELECT 'a' FRM x y", "SELECT (", "SELECT 'a"):
            assert refused(through, sql) == refused(direct, sql)


def test_in_a_transaction_that_failed_and_without_conforming_strings(guarded: Proxy, pg: Postgres) -> None:
    found = []
    for where in (pg.app(), guarded.app()):
        with psycopg.connect(**where) as connection:
            said = [refused(connection, "SELEC 1"), refused(connection, "SELEC 2"), refused(connection, "SELECT 1")]
            connection.rollback()
            connection.execute("SET standard_conforming_strings = off")
            connection.commit()
            said += [refused(connection, "SELECT 'a\\' b' FRM x y"), refused(connection, "SELECT 'a\\'")]
            connection.rollback()
            found.append(said)
    assert found[0] == found[1]
    assert [f["sqlstate"] for f in found[1]] == ["42601", "42601", "25P02", "42601", "42601"]


def test_in_a_pipeline(guarded: Proxy, pg: Postgres) -> None:
    said = []
    for connection in (psycopg.connect(**pg.app(), autocommit=True), psycopg.connect(**guarded.app(), autocommit=True)):
        with connection, pytest.raises(psycopg.errors.SyntaxError) as caught, connection.pipeline() as pipeline:
            connection.execute("INSERT INTO slips VALUES (%s)", (1,))
            connection.execute("SELEC %s", (2,))
            connection.execute("INSERT INTO slips VALUES (%s)", (3,))
            pipeline.sync()
        said.append(fields(caught.value))
    assert said[0] == said[1]
    with psycopg.connect(**pg.app(), autocommit=True) as direct:
        assert direct.execute("SELECT count(*) FROM slips").fetchone() == (0,)


def test_asyncpg_is_told_where(guarded: Proxy) -> None:
    async def ask() -> asyncpg.PostgresSyntaxError:
        app = guarded.app()
        connection = await asyncpg.connect(
            host=app["host"], port=app["port"], database=app["dbname"], user=app["user"], password=app["password"]
        )
        try:
            with pytest.raises(asyncpg.PostgresSyntaxError) as caught:
                await connection.fetch("SELECT a FRM slips WHERE a = $1", 1)
            assert await connection.fetchval("SELECT $1::int", 5) == 5
            return caught.value
        finally:
            await connection.close()

    error = asyncio.run(ask())
    assert error.position == "14" and error.message == 'syntax error at or near "slips"'


def test_what_only_the_server_could_read_is_denied_and_does_not_run(guarded: Proxy, pg: Postgres) -> None:
    """SYSTEM_USER is reserved since PostgreSQL 16, which our grammar knows; an older server has no such word."""
    with psycopg.connect(**pg.app(), autocommit=True) as direct:
        if direct.info.server_version >= 160000:
            pytest.skip("the server's grammar is as new as ours")
        direct.execute("CREATE TABLE system_user (a int)")
        with psycopg.connect(**guarded.app(), autocommit=True, application_name="older") as through:
            for prepare in (False, True):
                assert refused(through, "INSERT INTO system_user VALUES (1)", prepare=prepare)["sqlstate"] == "42501"
        assert direct.execute("SELECT count(*) FROM system_user").fetchone() == (0,)
    outcomes = [e["outcome"] for e in guarded.trail.session("older")]
    assert [(o["status"], o["sqlstate"]) for o in outcomes] == [("denied", "42501")] * 2
