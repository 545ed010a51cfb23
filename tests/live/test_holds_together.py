"""Holds where everything else is on as well: masking, the log on Kafka, three workers of one proxy, batches of three drivers.

What is compared is always the same client code with an ordinary error of the server in the place of what is not approved.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import asyncpg
import psycopg
import pytest
import yaml

from schemas.log.kafka import KafkaLog
from schemas.log.kafka_topics import ensure
from schemas.topics import TOPICS
from tests.support import jdbc_jars
from tests.support.affidavit import Affidavit
from tests.support.deciders import Event, closings, decide, requests, the_execution
from tests.support.kafka import Kafka
from tests.support.ports import accepts, wait_for
from tests.support.postgres import APP_PASSWORD, APP_USER, DATABASE, Postgres
from tests.support.trail import Trail

_CLI = "import sys; from deploy.cli import main; sys.exit(main())"
WORKERS = 3
EXPIRES = "'delete' in statement.verbs && statement.writes.exists(o, o.endsWith('.together_expires'))"
DECIDED = "'delete' in statement.verbs && statement.writes.exists(o, o.endsWith('.together_people'))"
DROPS = "'drop_table' in statement.verbs && statement.writes.exists(o, o.endsWith('.jdbc_kept'))"
RULES = [
    {"id": "expires", "effect": "hold", "reason": "Nobody looks.", "when": EXPIRES, "approvers": {"groups": ["dba"]}},
    {"id": "decided", "effect": "hold", "reason": "Somebody looks.", "when": DECIDED,
     "approvers": {"groups": ["dba"], "wait_minutes": 2}},
    {"id": "drops", "effect": "hold", "reason": "Never.", "when": DROPS, "approvers": {"groups": ["dba"], "wait_minutes": 2}},
]  # fmt: skip
ORDINARY, DENIED, EXPIRED = "DELETE FROM together_nowhere", "DELETE FROM together_people", "DELETE FROM together_expires"


class Approver:
    """Decides on requests as they come: denies what is in `deny`, approves the rest; leaves rule `expires` alone."""

    def __init__(self, machine: Affidavit) -> None:
        self.deny: set[str] = {"drops"}
        """Rules, and applications, whose requests are denied."""
        self._machine, self._seen = machine, set[str]()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(0.02):
            for request in requests(self._machine):
                if request["approval_id"] in self._seen or request["rule"] == "expires":
                    continue
                self._seen.add(request["approval_id"])
                denied = not self.deny.isdisjoint((request["rule"], request["client"]["application"]))
                decide(self._machine, request, approved=not denied, reason="looked at")

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(30)


@pytest.fixture(scope="module")
def machine(pg: Postgres, kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Affidavit]:
    settings = kafka.settings(topic_prefix="together.", timeout_seconds=30.0)
    ensure(settings, [replace(topic, partitions=1) for topic in TOPICS])  # they are read again and again, one by one
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(yaml.safe_dump({"bundle": "together", "rules": RULES}))
    overrides = {
        "log": Kafka.written(settings),
        "proxy": {"workers": WORKERS},
        "policy": {"files": [str(policy)]},
        "approvals": {"wait_seconds": 2},
    }
    with psycopg.connect(**pg.app(), autocommit=True) as setup:  # before the proxies read the catalogue
        for table in ("together_people", "together_expires"):
            setup.execute(f"CREATE TABLE {table} (a int PRIMARY KEY, email text)")  # type: ignore[call-overload]
            setup.execute(f"INSERT INTO {table} SELECT n, 'eve' || n || '@example.com' FROM generate_series(1, 200) n")  # type: ignore[call-overload]
        setup.execute("CREATE TABLE IF NOT EXISTS jdbc_kept (a int, b text)")
        setup.execute("CREATE TABLE together_steps (a int)")
    made = Affidavit(pg, overrides)
    kept = _Kept(settings)
    made.trail = _Locked(made.data_dir, lambda: kept)
    process = made._spawn(["-c", _CLI, "proxy", "-c", str(made.config_path)], subprocess.DEVNULL)
    try:
        wait_for(lambda: "ready after" in made.said() and accepts(made.port), f"the proxies; they said {made.said()}", 90)
        yield made
    finally:
        process.terminate()
        process.wait(60)
        KafkaLog.close(kept)
        with psycopg.connect(**{**pg.app(), "autocommit": True}) as cleaning:
            cleaning.execute("DROP TABLE IF EXISTS together_people, together_expires, together_steps")
        made.remove()


class _Kept(KafkaLog):
    """A client that is used again and again: to make one takes longer than what is done with it."""

    def close(self) -> None:
        """It ends with the tests."""


class _Locked(Trail):
    """A trail that several threads look at."""

    _lock = threading.Lock()

    def refresh(self) -> list[Event]:
        with self._lock:
            return list(super().refresh())


@pytest.fixture
def approver(machine: Affidavit) -> Iterator[Approver]:
    found = Approver(machine)
    try:
        yield found
    finally:
        found.stop()


def through(machine: Affidavit, application: str) -> dict[str, Any]:
    return {**machine.app(), "application_name": application}


def test_what_is_approved_runs_on_every_worker_and_its_result_is_masked(machine: Affidavit, approver: Approver) -> None:
    def one(n: int) -> tuple[Any, ...] | None:
        with psycopg.connect(**through(machine, "masked"), autocommit=True) as connection:
            return connection.execute("DELETE FROM together_people WHERE a = %s RETURNING email", (n,)).fetchone()

    found: list[tuple[Any, ...] | None] = []
    with ThreadPoolExecutor(6) as pool:
        numbers = iter(range(1, 190))

        def everywhere() -> bool:
            found.extend(pool.map(one, [next(numbers) for _ in range(6)]))
            return len({r["source"] for r in requests(machine)}) == WORKERS

        wait_for(everywhere, "requests of every worker", 60)
    assert all(row is not None and row[0] and "eve" not in row[0] for row in found), found
    with psycopg.connect(**machine.app(), autocommit=True) as connection:
        left = connection.execute("SELECT count(*) FROM together_people").fetchone()
    assert left == (200 - len(found),)
    ours = [r for r in requests(machine) if r["client"]["application"] == "masked"]
    assert len(ours) == len(found)
    event = the_execution(machine, ours[0])
    assert event["outcome"]["rows_affected"] == 1
    assert event["decision"]["verdict"] in ("allow", "mask")
    assert event["masked"] == event["exposure"] == {"email": 1}
    machine.assert_nowhere(*(f"eve{n}@example.com" for n in range(1, len(found) + 1)))


def test_a_cancel_finds_the_worker_that_holds(machine: Affidavit) -> None:
    for n in range(4):
        with psycopg.connect(**through(machine, f"cancels {n}"), autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
            waits = pool.submit(connection.execute, "DELETE FROM together_people WHERE a = 199")

            def asked(name: str = f"cancels {n}") -> bool:
                return any(r["client"]["application"] == name for r in requests(machine))

            wait_for(asked, "the request", 30)
            connection.cancel_safe(timeout=30)
            with pytest.raises(psycopg.errors.QueryCanceled):
                waits.result(30)
            assert connection.execute("SELECT 1").fetchone() == (1,)


def pipeline(to: dict[str, Any], bad: str, automatic: bool) -> list[object]:
    """What a psycopg pipeline with `bad` in its middle leaves; the text of its error is its own."""
    found: list[object] = []
    with psycopg.connect(**to, autocommit=automatic) as connection:
        connection.execute("DELETE FROM together_steps")
        if not automatic:
            connection.commit()
        cursors = [connection.cursor() for _ in range(5)]
        try:
            with connection.pipeline() as sent:
                cursors[0].execute("INSERT INTO together_steps VALUES (1)")
                cursors[1].execute("SELECT 10 + 1")
                cursors[2].execute(bad)  # type: ignore[arg-type]
                cursors[3].execute("INSERT INTO together_steps VALUES (2)")
                sent.sync()
                cursors[4].execute("SELECT 20 + 2")
        except psycopg.Error as error:
            found.append(isinstance(error, psycopg.errors.Error) and not isinstance(error, psycopg.OperationalError))
        for cursor in cursors:
            result = cursor.pgresult
            found.append((result.status if result else None, cursor.rowcount, cursor.description is not None))
        found.append(connection.info.transaction_status)
        connection.rollback()
        found.append(connection.execute("SELECT array_agg(a ORDER BY a) FROM together_steps").fetchone())
        connection.rollback()
    return found


async def batch(to: dict[str, Any], bad: str, whole: bool) -> list[object]:
    """What an asyncpg batch with `bad` leaves: executemany of it, inside a transaction or not, and of what comes after it."""
    found: list[object] = []
    connection = await asyncpg.connect(
        host=to["host"], port=to["port"], user=to["user"], password=to["password"], database=to["dbname"],
        server_settings={"application_name": to["application_name"]} if "application_name" in to else {},
    )  # fmt: skip
    try:
        await connection.execute("DELETE FROM together_steps")
        transaction = connection.transaction()
        if whole:
            await transaction.start()
        await connection.executemany("INSERT INTO together_steps VALUES ($1)", [(1,), (2,)])
        try:
            await connection.executemany(f"{bad} WHERE a = $1", [(195,), (196,), (197,)])
            found.append("no error")
        except asyncpg.PostgresError as error:
            found.append(isinstance(error, asyncpg.SyntaxOrAccessError))
        try:
            found.append(await connection.fetchval("SELECT 30 + 3"))
        except asyncpg.PostgresError as error:
            found.append(type(error).__name__)
        found.append(connection.is_in_transaction())
        if whole:
            await transaction.rollback()
        found.append(await connection.fetchval("SELECT array_agg(a ORDER BY a) FROM together_steps"))
        await connection.executemany("INSERT INTO together_steps VALUES ($1)", [(3,)])
        found.append(await connection.fetchval("SELECT max(a) FROM together_steps"))
    finally:
        await connection.close()
    return found


@pytest.mark.parametrize("automatic", [True, False], ids=["autocommit", "transaction"])
def test_a_batch_that_is_not_approved_is_to_psycopg_and_asyncpg_what_any_error_is(
    machine: Affidavit, pg: Postgres, approver: Approver, automatic: bool
) -> None:
    approver.deny |= {"batch"}
    direct = {"host": pg.host, "port": pg.port, "user": APP_USER, "password": APP_PASSWORD, "dbname": DATABASE}
    tried: list[tuple[str, Callable[[dict[str, Any], str], list[object]]]] = [
        ("pipeline", lambda to, bad: pipeline(to, bad, automatic)),
        ("asyncpg", lambda to, bad: asyncio.run(batch(to, bad, not automatic))),
    ]
    for name, run in tried:
        ordinary = run(direct, ORDINARY)
        assert "no error" not in ordinary, (name, ordinary)
        for bad in (ORDINARY, DENIED, EXPIRED):
            assert run(through(machine, "batch"), bad) == ordinary, (name, bad)
    ours = [r for r in requests(machine) if r["client"]["application"] == "batch"]
    ended = Counter(closings(machine)[r["approval_id"]]["status"] for r in ours)
    assert set(ended) == {"denied", "expired"} and min(ended.values()) >= 2, ended
    assert len(ours) == 4 + 4 * (not automatic), "nobody is asked for what is skipped after it"
    ran = [e for e in machine.trail.refresh() if e["type"] == "QueryExecuted" and e["client"]["application"] == "batch"]
    outcomes = {e["outcome"]["status"] for e in ran if e["text"].startswith((DENIED, EXPIRED))}
    assert outcomes == {"denied", "not_executed"}


@pytest.mark.skipif(bool(jdbc_jars.missing()), reason=jdbc_jars.missing() or "pgjdbc is here")
def test_what_is_not_approved_is_to_jdbc_batches_what_any_error_is(machine: Affidavit, approver: Approver) -> None:
    url = f"jdbc:postgresql://127.0.0.1:{machine.port}/{DATABASE}"
    ordinary = jdbc_jars.run(url, "ana", machine.token("ana"), "DROP TABLE jdbc_nowhere")
    denied = jdbc_jars.run(url, "ana", machine.token("ana"), "DROP TABLE jdbc_kept")
    assert [line.replace("42501", "42P01") for line in denied] == ordinary
    assert sum("[42501]" in line for line in denied) >= 12
    ours = [r for r in requests(machine) if r["client"]["application"] == "jdbc"]
    assert len(ours) >= 12 and {r["rule"] for r in ours} == {"drops"}
    with contextlib.closing(psycopg.connect(**machine.app(), autocommit=True)) as connection:
        assert connection.execute("SELECT count(*) >= 0 FROM jdbc_kept").fetchone() == (True,)
