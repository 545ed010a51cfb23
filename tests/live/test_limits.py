"""Limits of the policy on a real server: rows, bytes, time; the client reads an ordinary error and goes on in its transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
import yaml

from tests.support import affidavit
from tests.support.affidavit import Proxy
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

LIMITS = [
    {"id": "few-rows", "when": "principal.id == 'rory'", "statement_rows": 1000, "reason": "Ask for less."},
    {"id": "few-bytes", "when": "principal.id == 'bella'", "statement_bytes": 100_000, "reason": "Ask for less."},
    {"id": "quick", "when": "principal.id == 'quinn'", "statement_seconds": 1, "reason": "Ask for less."},
    {"id": "few-in-all", "when": "principal.id == 'sam'", "session_rows": 1500, "reason": "That is enough."},
]
MANY = "SELECT n, repeat('x', 200) FROM generate_series(1, 200000) AS n"


@pytest.fixture(scope="module")
def proxy(pg: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(yaml.safe_dump({"bundle": "limits", "limits": LIMITS}))
    with affidavit.proxy(pg, {"policy": {"files": [str(path)]}}) as running:
        yield running


def connect(proxy: Proxy, principal: str, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(**proxy.app(principal), **options)


def exceeded(proxy: Proxy, limit: str) -> int:
    found = [e for e in proxy.trail.of_type("LimitExceeded") if e["limit"] == limit]
    return len(found)


@pytest.mark.parametrize("prepare", [False, True])
def test_a_result_ends_at_the_limit_and_the_transaction_as_after_any_error(proxy: Proxy, prepare: bool) -> None:
    with connect(proxy, "rory") as rory:
        rory.execute("CREATE TEMP TABLE kept AS SELECT 1 AS a")
        rory.commit()
        with pytest.raises(psycopg.errors.QueryCanceled) as caught:
            rory.execute(MANY, prepare=prepare)
        assert caught.value.diag.message_primary == (
            "statement stopped by policy limit few-rows: it would return more than 1000 rows"
        )
        assert (caught.value.diag.message_hint or "").startswith("Ask for less. Session ")
        assert rory.info.transaction_status is psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            rory.execute("SELECT 1")
        rory.rollback()
        assert rory.execute("SELECT count(*) FROM kept").fetchone() == (1,)
        assert len(rory.execute("SELECT generate_series(1, 1000)", prepare=prepare).fetchall()) == 1000
        with pytest.raises(psycopg.errors.QueryCanceled, match="few-rows"):
            for portion in range(10):  # a short result, whose end the server sends before it could be cancelled
                rory.execute("SELECT generate_series(1, 990 + %s)", (portion * 3,), prepare=prepare)
        assert rory.info.transaction_status in (psycopg.pq.TransactionStatus.INERROR, psycopg.pq.TransactionStatus.INTRANS)
        rory.rollback()
        assert rory.execute("SELECT 2").fetchone() == (2,)
    wait_for(lambda: exceeded(proxy, "few-rows") >= 2, "the events of the limit")


def test_a_server_side_cursor_of_the_protocol_counts_as_a_whole(proxy: Proxy) -> None:
    async def work() -> None:
        to = proxy.app("rory")
        connection = await asyncpg.connect(
            host=to["host"], port=to["port"], user=to["user"], password=to["password"], database=to["dbname"]
        )
        try:
            got = 0
            with pytest.raises(asyncpg.QueryCanceledError, match="few-rows"):
                async with connection.transaction():
                    async for _ in connection.cursor(MANY, prefetch=300):
                        got += 1
            assert 900 <= got <= 1000
            assert await connection.fetchval("SELECT 5") == 5
        finally:
            await connection.close()

    asyncio.run(work())


def test_bytes_of_rows_and_of_copy(proxy: Proxy) -> None:
    copied = f"COPY ({MANY}) TO STDOUT"
    with connect(proxy, "bella", autocommit=True) as bella:
        with pytest.raises(psycopg.errors.QueryCanceled, match="few-bytes"):
            bella.execute(MANY)
        with pytest.raises(psycopg.errors.QueryCanceled, match="few-bytes"), bella.cursor().copy(copied) as copy:
            got = sum(len(data) for data in copy)
            assert got <= 100_000
        assert bella.execute("SELECT 1").fetchone() == (1,)
        assert bella.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


def test_a_statement_that_runs_too_long_is_cancelled_in_the_server(proxy: Proxy, pg: Postgres) -> None:
    with connect(proxy, "quinn", autocommit=True) as quinn, pg.superuser() as admin:
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled, match="policy limit quick: it ran longer than 1 s"):
            quinn.execute("SELECT pg_sleep(120) /* of quinn */")
        assert 0.9 < time.monotonic() - began < 60
        asked = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%of quinn%' AND state = 'active' AND pid <> pg_backend_pid()"
        wait_for(lambda: admin.execute(asked).fetchone() is None, "nothing of it to run in the server")
        assert quinn.execute("SELECT 3").fetchone() == (3,), "what came next was not cancelled"
        with pytest.raises(psycopg.errors.QueryCanceled):
            quinn.execute("DO $$ BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(60); END $$")
        assert quinn.execute("SELECT 4").fetchone() == (4,)

    def outcomes() -> list[tuple[str, str]]:
        found = [e for e in proxy.trail.of_type("QueryExecuted") if e["principal"]["id"] == "quinn"]
        return [(e["outcome"]["status"], e["outcome"]["sqlstate"]) for e in found if "limit:quick" in e["decision"]["policies"]]

    wait_for(lambda: ("cancelled", "57014") in outcomes(), "the event of the cancelled statement")


def test_rows_of_a_session_add_up(proxy: Proxy) -> None:
    with connect(proxy, "sam", autocommit=True) as sam:
        assert len(sam.execute("SELECT generate_series(1, 1000)").fetchall()) == 1000
        with pytest.raises(psycopg.errors.QueryCanceled, match="few-in-all: the session would have received more than 1500 rows"):
            sam.execute(MANY)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="few-in-all"):
            sam.execute("SELECT 1")
    with connect(proxy, "sam", autocommit=True) as again:
        assert again.execute("SELECT 1").fetchone() == (1,), "another session"
