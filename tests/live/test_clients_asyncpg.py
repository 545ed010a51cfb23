"""Does asyncpg work through the proxy exactly as without it? It always prepares, always in binary, and fetches in portions."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.support.clients import Comparison, Parameters, needle
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

Work = Callable[[asyncpg.Connection], Awaitable[Any]]


async def connect(to: Parameters) -> asyncpg.Connection:
    """Open a connection from libpq's parameter names."""
    return await asyncpg.connect(
        host=to["host"], port=to["port"], database=to["dbname"], user=to["user"], password=to["password"],
        ssl="prefer", server_settings={"application_name": to["application_name"]},
    )  # fmt: skip


def scenario(work: Work) -> Callable[[Parameters], Any]:
    """Return a scenario that runs `work` on one connection."""

    async def main(to: Parameters) -> Any:
        connection = await connect(to)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return lambda to: asyncio.run(main(to))


def test_prepared_statements(compare: Comparison) -> None:
    values = (
        7, 1.5, decimal.Decimal("12.34"), True, "text ✓", b"\x00\xff", None, datetime.date(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC), uuid.UUID(int=5), [1, None, 3],
    )  # fmt: skip

    async def work(connection: asyncpg.Connection) -> Any:
        statement = await connection.prepare(
            "SELECT $1::int, $2::float8, $3::numeric, $4::bool, $5::text, $6::bytea, $7::text, $8::date, $9::timestamptz, "
            "$10::uuid, $11::int[]"
        )
        return [tuple(row) for _ in range(3) for row in await statement.fetch(*values)], statement.get_attributes()

    done = compare(scenario(work))
    runs = [event for event in done.events if len(event["params"]) == len(values)]
    assert [event["kind"] for event in runs] == ["prepared"] * 3
    assert runs[0]["params"] == runs[1]["params"]
    assert sum("$11" in line.text for line in done.executed) == 3


def test_executemany_is_one_event_per_row(compare: Comparison) -> None:
    async def work(connection: asyncpg.Connection) -> Any:
        await connection.execute("CREATE TEMP TABLE t (id int PRIMARY KEY, note text)")
        await connection.executemany("INSERT INTO t VALUES ($1, $2)", [(n, "x" * n) for n in range(100)])
        return await connection.fetchval("SELECT sum(length(note)) FROM t")

    done = compare(scenario(work))
    inserts = done.verbs("insert")
    assert len(inserts) == 100 == sum("INSERT" in line.text for line in done.executed)
    assert len({tuple(event["params"]) for event in inserts}) == 100
    assert all(event["outcome"]["rows_affected"] == 1 for event in inserts)


def test_copying_records(compare: Comparison) -> None:
    secret = needle()

    async def work(connection: asyncpg.Connection) -> Any:
        await connection.execute("CREATE TEMP TABLE t (id int, note text)")
        said = await connection.copy_records_to_table("t", records=[(n, secret) for n in range(5000)])
        out: list[bytes] = []

        async def keep(data: bytes) -> None:
            out.append(data)

        await connection.copy_from_query("SELECT * FROM t ORDER BY id", output=keep, format="csv")
        return said, b"".join(out)

    done = compare(scenario(work))
    copies = [event for event in done.events if event["kind"] == "copy"]
    assert [event["outcome"]["rows_affected"] for event in copies] == [5000, 0]
    assert copies[0]["outcome"]["bytes_in"] > 5000 * len(secret)
    compare.proxy.assert_nowhere(secret)


def test_cursors_fetch_in_portions(compare: Comparison) -> None:
    """A portal with a row limit: the first portion runs the statement, each later one is a fetch."""

    async def work(connection: asyncpg.Connection) -> Any:
        async with connection.transaction():
            return [row["g"] async for row in connection.cursor("SELECT g FROM generate_series(1, 250) g", prefetch=100)]

    done = compare(scenario(work))
    portions = [event for event in done.events if event["outcome"]["rows_returned"]]
    assert [(event["kind"], event["outcome"]["rows_returned"]) for event in portions] == [
        ("prepared", 100),
        ("fetch", 100),
        ("fetch", 50),
    ]
    assert len({event["fingerprint"] for event in portions}) == 1


def test_cancelling(compare: Comparison, pg: Postgres) -> None:
    async def work(connection: asyncpg.Connection) -> Any:
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("SELECT pg_sleep(120)", timeout=0.3)
        return await connection.fetchval("SELECT 'alive'")

    done = compare(scenario(work))
    cancelled = [event for event in done.events if event["outcome"]["status"] == "cancelled"]
    assert [event["outcome"]["sqlstate"] for event in cancelled] == ["57014"]
    with pg.superuser() as admin:
        asleep = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(120)'"
        wait_for(lambda: admin.execute(asleep).fetchone() is None, "the server to stop sleeping")


def test_listening(compare: Comparison) -> None:
    async def work(connection: asyncpg.Connection) -> Any:
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        await connection.add_listener("news", lambda _connection, _pid, channel, payload: heard.put_nowait((channel, payload)))
        await connection.execute("SELECT pg_notify('news', 'one')")
        await connection.execute("NOTIFY news, 'two'")
        return [await asyncio.wait_for(heard.get(), 20) for _ in range(2)]

    done = compare(scenario(work))
    assert done.result == [("news", "one"), ("news", "two")]


def test_errors_and_savepoints(compare: Comparison) -> None:
    async def work(connection: asyncpg.Connection) -> Any:
        await connection.execute("CREATE TEMP TABLE t (id int PRIMARY KEY)")
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES ($1)", 1)
            with pytest.raises(asyncpg.UniqueViolationError) as caught:
                async with connection.transaction():
                    await connection.execute("INSERT INTO t VALUES ($1)", 1)
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("SELECT * FROM missing WHERE id = $1", 3)
        return caught.value.as_dict(), [tuple(row) for row in await connection.fetch("SELECT * FROM t")]

    done = compare(scenario(work))
    assert [event["outcome"]["sqlstate"] for event in done.events if event["outcome"]["status"] == "error"][:1] == ["23505"]
    assert [event["outcome"]["status"] for event in done.verbs("insert")] == ["ok", "error"]


def test_a_pool(compare: Comparison) -> None:
    """Connections given back are reset (`RESET ALL` and more): that is in the trail as well."""

    async def main(to: Parameters) -> Any:
        pool = asyncpg.create_pool(
            host=to["host"], port=to["port"], database=to["dbname"], user=to["user"], password=to["password"],
            ssl="prefer", server_settings={"application_name": to["application_name"]}, min_size=3, max_size=3,
        )  # fmt: skip
        async with pool:
            return await asyncio.gather(*(pool.fetchval("SELECT $1::int * 2", n) for n in range(30)))

    done = compare(lambda to: asyncio.run(main(to)), sessions=3)
    assert done.result == [n * 2 for n in range(30)]
    assert sum("* 2" in line.text for line in done.executed) == 30
    assert len([event for event in done.events if event["kind"] == "prepared" and event["params"]]) == 30
