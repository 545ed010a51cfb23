"""Does psycopg 3 work through the proxy exactly as without it, sync and async, and is each execution one event?"""

from __future__ import annotations

import asyncio
import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.clients import Comparison, Parameters, needle
from tests.support.postgres import Postgres, can_tls
from tests.support.trail import brief

VALUES = (
    7, 2**40, 1.5, decimal.Decimal("12.340"), True, "text ✓", b"\x00\xff", None, datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 12, 30, 1, 5, datetime.UTC), datetime.timedelta(days=3, seconds=4),
    uuid.UUID("12345678-1234-5678-1234-567812345678"), [1, None, 3], Jsonb({"a": [1, 2]}),
)  # fmt: skip


def connected(work: Callable[[psycopg.Connection[Any]], Any], **options: Any) -> Callable[[Parameters], Any]:
    """Return a scenario that opens one autocommit connection for `work`."""

    def scenario(to: Parameters) -> Any:
        with psycopg.connect(**to, autocommit=True, **options) as connection:
            return work(connection)

    return scenario


def raw_rows(cursor: psycopg.Cursor[Any]) -> list[list[bytes | None]]:
    """Return the result's values as they came over the wire."""
    result = cursor.pgresult
    assert result is not None
    return [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]


def described(error: psycopg.Error) -> dict[str, Any]:
    """Return every field of a server's error."""
    names = ("severity", "sqlstate", "message_primary", "message_detail", "message_hint", "statement_position", "context",
             "schema_name", "table_name", "column_name", "constraint_name", "source_function")  # fmt: skip
    return {name: getattr(error.diag, name) for name in names}


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_values_there_and_back(compare: Comparison, binary: bool) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        cursor = connection.cursor(binary=binary)
        marks = ", ".join(["%b" if binary else "%t"] * (len(VALUES) - 2) + ["%s", "%s"])
        cursor.execute(f"SELECT {marks}", VALUES)
        return raw_rows(cursor), [column.type_code for column in cursor.description or ()], cursor.fetchall()

    done = compare(connected(work))
    [event] = done.events
    assert (event["kind"], event["outcome"]["rows_returned"], len(event["params"])) == ("prepared", 1, len(VALUES))
    assert [e.kind for e in done.executed] == ["prepared"]


def test_text_and_binary_parameters_have_equal_tokens(compare: Comparison) -> None:
    """A value is one token, however it travels: that is what makes events correlate."""

    def work(connection: psycopg.Connection[Any]) -> None:
        for mark in ("%t", "%b"):
            connection.execute(f"SELECT {mark}::int4, {mark}::text, {mark}::bool", (1234567, "needle", True))

    events = compare(connected(work)).events
    assert events[0]["params"] == events[1]["params"]
    assert len(events[0]["params"]) == 3


def test_each_execution_of_a_prepared_statement_is_an_event(compare: Comparison) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        return [connection.execute("SELECT %s::int + 1, %s::text", (n % 3, "x"), prepare=True).fetchall() for n in range(20)]

    done = compare(connected(work, prepare_threshold=0))
    assert len(done.events) == len(done.executed) == 20
    assert len({event["fingerprint"] for event in done.events}) == 1
    assert len({tuple(event["params"]) for event in done.events}) == 3
    assert done.events[0]["params"] == done.events[3]["params"] != done.events[1]["params"]


def test_prepared_statements_with_the_threshold(compare: Comparison) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        rows = [connection.execute("SELECT %s::int", (n,)).fetchone() for n in range(12)]
        names = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        return rows, names

    assert len(compare(connected(work, prepare_threshold=5)).events) == 13


def test_a_pipeline_with_an_error_in_the_middle(compare: Comparison) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        connection.execute("CREATE TEMP TABLE t (id int PRIMARY KEY)")
        seen: list[Any] = []
        cursors = [connection.cursor() for _ in range(5)]
        with pytest.raises(psycopg.errors.UniqueViolation) as caught, connection.pipeline() as pipeline:
            for cursor, value in zip(cursors[:4], (1, 2, 1, 3), strict=True):
                cursor.execute("INSERT INTO t VALUES (%s)", (value,))
            pipeline.sync()
        seen.append(described(caught.value))
        with connection.pipeline():
            cursors[4].execute("SELECT id FROM t ORDER BY id")
            seen.append(cursors[4].fetchall())
        return seen, [cursor.statusmessage for cursor in cursors]

    done = compare(connected(work))
    inserts = done.verbs("insert")
    assert [event["outcome"]["status"] for event in inserts] == ["ok", "ok", "error", "not_executed"]
    assert [event["outcome"]["rows_affected"] for event in inserts] == [1, 1, 0, 0]
    assert inserts[2]["outcome"]["sqlstate"] == "23505"
    assert done.one("select")["outcome"]["status"] == "ok"


def test_a_long_pipeline(compare: Comparison) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int, repeat('x', %s)", (n, n)) for n in range(500)]
            return [cursor.fetchall() for cursor in cursors]

    done = compare(connected(work))
    executions = [event for event in done.events if event["kind"] == "prepared" and "select" in event["facts"]["verbs"]]
    assert len(executions) == 500
    assert all(event["outcome"]["rows_returned"] == 1 for event in executions)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_copy(compare: Comparison, binary: bool) -> None:
    secret = needle()
    options = "(FORMAT binary)" if binary else ""

    def work(connection: psycopg.Connection[Any]) -> Any:
        connection.execute("CREATE TEMP TABLE t (id int4, note text)")
        with connection.cursor().copy(f"COPY t FROM STDIN {options}") as copy:
            copy.set_types(["int4", "text"])
            for n in range(5_000):
                copy.write_row((n, secret))
        with connection.cursor().copy(f"COPY (SELECT * FROM t ORDER BY id) TO STDOUT {options}") as copy:
            return b"".join(bytes(block) for block in copy)

    done = compare(connected(work))
    assert secret.encode() in done.result
    went_in, came_out = (event for event in done.events if event["kind"] == "copy")
    assert went_in["outcome"]["rows_affected"] == 5_000
    assert went_in["outcome"]["bytes_in"] > 5_000 * len(secret)
    assert came_out["outcome"]["bytes_out"] >= len(done.result)
    compare.proxy.assert_nowhere(secret)


def test_a_copy_the_client_gives_up(compare: Comparison) -> None:
    def scenario(to: Parameters) -> Any:
        with psycopg.connect(**to, autocommit=True) as connection:
            connection.execute("CREATE TEMP TABLE t (id int4)")
            with pytest.raises(ZeroDivisionError), connection.cursor().copy("COPY t FROM STDIN") as copy:
                copy.write_row((1,))
                raise ZeroDivisionError
            return connection.execute("SELECT count(*) FROM t").fetchone()

    [_, copied, counted] = compare(scenario).events
    assert (copied["kind"], copied["outcome"]["sqlstate"]) == ("copy", "57014")
    assert copied["outcome"]["status"] in ("error", "cancelled")
    assert counted["outcome"]["status"] == "ok"


def test_server_cursors(compare: Comparison) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        with connection.transaction(), connection.cursor("rows", scrollable=True) as cursor:
            cursor.execute("SELECT g, 'row ' || g FROM generate_series(1, %s) g", (1000,))
            seen = [cursor.fetchmany(10), cursor.fetchone()]
            cursor.scroll(100)
            return [*seen, cursor.fetchmany(5), len(cursor.fetchall())]

    done = compare(connected(work))
    assert len(done.events) == len(done.executed)
    fetched = [event["outcome"]["rows_returned"] for event in done.verbs("fetch")]
    assert fetched == [10, 1, 5, 1000 - 116]


def test_notices_and_errors_reach_the_client_and_not_the_trail(compare: Comparison) -> None:
    secret = needle()

    def work(connection: psycopg.Connection[Any]) -> Any:
        said: list[str | None] = []
        connection.add_notice_handler(lambda diagnostic: said.append(diagnostic.message_primary))
        connection.execute("CREATE TEMP TABLE people (email text UNIQUE, age int CHECK (age > 0))")
        connection.execute(f"DO $$ BEGIN RAISE WARNING 'saw {secret}'; END $$")
        connection.execute("INSERT INTO people VALUES (%s, 5)", (secret,))
        errors = []
        for statement, values in (
            ("INSERT INTO people VALUES (%s, 5)", (secret,)),
            ("INSERT INTO people VALUES ('x', %s)", (-4,)),
            ("SELECT %s::text::int", (secret,)),
            (f"SELECT '{secret}'::int", None),
            (f"SELECT FROM WHERE '{secret}'", None),
            (f"SELECT '{secret}", None),
            (f"ALTER ROLE nobody_here PASSWORD '{secret}'", None),
        ):
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(statement, values)
            errors.append(described(caught.value))
        return said, errors

    done = compare(connected(work))
    said, errors = done.result
    assert secret in said[0]
    assert secret in errors[0]["message_detail"]
    states = [event["outcome"]["sqlstate"] for event in done.events if event["outcome"]["status"] == "error"]
    assert states == [error["sqlstate"] for error in errors]
    compare.proxy.assert_nowhere(secret)


def test_transactions_as_the_client_sees_them(compare: Comparison) -> None:
    def scenario(to: Parameters) -> Any:
        with psycopg.connect(**to) as connection:
            connection.execute("CREATE TEMP TABLE t (id int)")
            connection.commit()
            connection.execute("INSERT INTO t VALUES (1)")
            states = [connection.info.transaction_status]
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute("SELECT 1/0")
            states.append(connection.info.transaction_status)
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                connection.execute("SELECT 1")
            connection.rollback()
            states.append(connection.info.transaction_status)
            return states, connection.execute("SELECT count(*) FROM t").fetchone()

    done = compare(scenario)
    assert [event["transaction"] for event in done.events] == [*"ITTITTEEITT"]
    assert [event["outcome"]["sqlstate"] for event in done.events if event["outcome"]["sqlstate"]] == ["22012", "25P02"]


def test_async_connections(compare: Comparison) -> None:
    async def work(to: Parameters) -> Any:
        async with await psycopg.AsyncConnection.connect(**to, autocommit=True) as connection:
            cursor = await connection.execute("SELECT %s::int", (1,))
            rows = await cursor.fetchall()
            async with connection.pipeline():
                cursors = [await connection.execute("SELECT %s::int", (n,)) for n in range(20)]
                rows += [await cursor.fetchone() for cursor in cursors]
            return rows

    assert len(compare(lambda to: asyncio.run(work(to))).verbs("select")) == 21


def test_cancelling(compare: Comparison) -> None:
    async def work(to: Parameters) -> Any:
        async with await psycopg.AsyncConnection.connect(**to, autocommit=True) as connection:
            sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(120)"))
            while not sleeping.done():
                await asyncio.sleep(0.1)
                await connection.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled) as caught:
                await sleeping
            cursor = await connection.execute("SELECT 'alive'")
            return described(caught.value), await cursor.fetchall()

    done = compare(lambda to: asyncio.run(work(to)))
    assert brief(done.events)[0][2] == "cancelled"
    assert done.events[0]["outcome"]["sqlstate"] == "57014"
    assert done.events[-1]["outcome"]["status"] == "ok"


def test_listen_and_notify_between_sessions(compare: Comparison) -> None:
    secret = needle()

    def scenario(to: Parameters) -> Any:
        with psycopg.connect(**to, autocommit=True) as listener, psycopg.connect(**to, autocommit=True) as speaker:
            listener.execute("LISTEN news")
            for n in range(3):
                speaker.execute("SELECT pg_notify('news', %s)", (f"{secret}-{n}",))
            return [(note.channel, note.payload) for note in listener.notifies(timeout=20, stop_after=3)]

    done = compare(scenario, sessions=2)
    assert [payload for _, payload in done.result] == [f"{secret}-{n}" for n in range(3)]
    compare.proxy.assert_nowhere(secret)


@pytest.mark.skipif(not can_tls(), reason="the PostgreSQL here was built without TLS")
def test_tls(compare: Comparison) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        assert connection.pgconn.ssl_in_use
        return connection.execute("SELECT repeat('x', 1000000)").fetchall()

    done = compare(connected(work, sslmode="require"))
    assert done.events[0]["client"]["tls"].startswith("TLSv1")
    plain = compare(connected(lambda c: c.execute("SELECT 1").fetchall(), sslmode="disable"))
    assert plain.events[0]["client"]["tls"] == ""


def test_replication_is_refused(compare: Comparison, pg: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"(?i)replication"):
        psycopg.connect(**compare.proxy.app(), replication="database")
    assert not [line for line in pg.executed() if "IDENTIFY_SYSTEM" in line.text]


def test_several_principals_are_told_apart(compare: Comparison) -> None:
    proxy = compare.proxy
    agent = proxy.token("bot-7", "agent", on_behalf_of="ana", groups=["research"])
    parameters = {**proxy.app("bot-7", agent), "application_name": "principals"}
    with psycopg.connect(**parameters) as connection:
        connection.execute("SELECT 1")
    [event] = [e for e in proxy.trail.session("principals") if "select" in e["facts"]["verbs"]]
    assert event["principal"]["kind"] == "agent"
    assert event["principal"]["on_behalf_of"] == "ana"
    assert event["principal"]["groups"] == ["research"]
    assert event["db_user"] == "app_owner"
