"""Proxy, worker and API as processes apart, over Kafka and a ClickHouse server: together, and through the server's faults.

PostgreSQL's log is the oracle: each statement it ran is exactly one row, after the server was killed in the middle of inserts,
was slow, and did inserts whose answers never came. AFFIDAVIT_SOAK=1 makes it a hundred random faults; AFFIDAVIT_SEED repeats a
run's plan, AFFIDAVIT_FAULTS says how many.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from processors.sinks.clickhouse import Store, connect
from tests.support import kafka_jars
from tests.support.clickhouse import Server
from tests.support.inserting import Inserting, inserts_go_on, make_ledger, tickets
from tests.support.kafka import Kafka
from tests.support.ports import wait_for
from tests.support.postgres import Postgres
from tests.support.roles import USERS, Apart

SOAK = bool(os.environ.get("AFFIDAVIT_SOAK"))
FAULTS = int(os.environ.get("AFFIDAVIT_FAULTS", "100"))
pytestmark = pytest.mark.skipif(bool(kafka_jars.missing()), reason=kafka_jars.missing() or "the broker's jars are there")


@pytest.fixture(scope="module")
def apart(pg: Postgres, kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """Every role, started."""
    server = Server(tmp_path_factory.mktemp("clickhouse"), users=USERS).start()
    site = Apart(pg, kafka, server, "apart.")
    try:
        site.start("api", wait=False)  # before there is a table: it waits for them
        wait_for(lambda: "the store lacks 0001" in site.proxy.said(), "the API to say what it waits for", 60, 0.1)
        site.command("migrate", "migrate")
        for role in ("process", "proxy"):
            site.start(role)
        site.await_ready("api")
        yield site
    finally:
        site.end()
        server.kill()


@pytest.fixture
def store(apart: Apart, tmp_path: Path) -> Iterator[Store]:
    """The store, to look what is there."""
    opened = connect(apart.store.settings(user="reader", password=USERS["reader"]["password"]), tmp_path)
    yield opened
    opened.close()


def test_what_runs_through_the_proxy_is_found_by_the_api(apart: Apart, store: Store) -> None:
    token = apart.command("api", "token", "create", "--principal", "ana", "--kind", "human", "--roles", "analyst").strip()
    with psycopg.connect(**apart.proxy.app("olivia"), autocommit=True) as connection:
        connection.execute("SELECT 'told-nobody', 41 + 1")
        found = wait_for(lambda: _events(apart, token, "principal:olivia"), "the statement in the API", 60, 0.2)
        assert found[0]["text"] == "SELECT ?, ? + ?"
        # The other way round: a command on the API's machine reaches the proxy by the control topic.
        session = found[0]["session_id"]
        apart.command("api", "session", "kill", session, "--reason", "tried")
        wait_for(lambda: _over(connection), "the session to end", 30, 0.1)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        apart.get("no-token", "/api/v1/events")

    def told() -> bool:
        rows = store.client.query(
            f"SELECT type, count() FROM {store.database}.other_events WHERE source = 'api/0' GROUP BY type"
        ).result_rows
        kinds = dict(rows)
        return kinds.get("AuditTrailRead", 0) >= 1 and kinds.get("AdminActionPerformed", 0) == 2

    wait_for(told, "the API's reads, and what was done on its machine, in the trail", 60, 0.2)
    for told_nobody in ("told-nobody", *(user["password"] for user in USERS.values())):
        apart.proxy.assert_nowhere(told_nobody)


class Faults:
    """What can happen to the server and the worker while clients insert through the proxy."""

    def __init__(self, apart: Apart, clients: list[Inserting], moments: random.Random) -> None:
        self.apart, self.server, self.clients, self._moments = apart, apart.store, clients, moments

    def dies_in_insert(self, nth: int) -> None:
        """The n-th insert from now is the server's last; statements go on meanwhile, the API says 503."""
        self.server.fail(die_in_insert=nth)
        wait_for(lambda: not self.server.running, "the server to die in an insert", 60, 0.05)
        inserts_go_on(self.clients)
        assert self.apart.api_status() == 503
        self.server.start()

    def killed(self) -> None:
        """At any moment."""
        time.sleep(self._moments.uniform(0, 1))
        self.server.kill()
        time.sleep(self._moments.uniform(0, 2))
        self.server.start()

    def mute(self) -> None:
        """Some inserts are done and their answers lost, some are refused, some answered by a proxy whose server is away."""
        self.server.fail(lose_answer=3, too_many=2, unavailable=4, drop=1)

    def slow(self) -> None:
        """One insert a second."""
        self.server.fail(insert_seconds=1.0)
        inserts_go_on(self.clients)
        done = self.server.seen()["inserts"]
        wait_for(lambda: self.server.seen()["inserts"] > done + 2, "some slow inserts", 60, 0.2)
        self.server.fail(insert_seconds=0.0)

    def worker_killed(self) -> None:
        """Kill -9 of the worker; another takes its place."""
        time.sleep(self._moments.uniform(0, 1))
        self.apart.stop("process", signal.SIGKILL)
        self.apart.start("process")

    def workers_come_and_go(self) -> None:
        """Another worker shares the partitions, the first one leaves in order and comes back, the other leaves."""
        self.apart.start("process2")
        _goes_on(self.apart, self.clients)
        assert self.apart.stop("process") == 0
        _goes_on(self.apart, self.clients)
        self.apart.start("process")
        _goes_on(self.apart, self.clients)
        assert self.apart.stop("process2") == 0

    def plan(self, faults: int) -> list[tuple[str, Callable[[], None]]]:
        """Each once, and random ones up to so many."""
        planned: list[tuple[str, Callable[[], None]]] = [
            ("death in insert 4", lambda: self.dies_in_insert(4)),
            ("answers lost", self.mute),
            ("one insert a second", self.slow),
            ("workers come and go", self.workers_come_and_go),
        ]
        more = [*planned[1:], ("kill -9 of the worker", self.worker_killed), ("kill -9 of the server", self.killed)]
        while len(planned) < faults:
            nth = self._moments.randrange(1, 9)
            planned.append(self._moments.choice([*more, (f"death in insert {nth}", lambda nth=nth: self.dies_in_insert(nth))]))
        return planned


def test_what_migrate_would_do_is_printed(apart: Apart) -> None:
    tables = apart.command("migrate", "migrate", "--print")
    assert "CREATE TABLE IF NOT EXISTS affidavit.query_events (" in tables
    assert "ON CLUSTER" not in tables
    rights = apart.command("migrate", "migrate", "--users")
    assert "GRANT SELECT, INSERT ON affidavit.query_events TO affidavit_writer;" in rights
    assert not any(user["password"] in tables + rights for user in USERS.values())


@pytest.mark.timeout(7200 if SOAK else 300)
def test_the_server_killed_slow_and_mute_leaves_every_statement_one_row(apart: Apart, pg: Postgres, store: Store) -> None:
    seed = int(os.environ.get("AFFIDAVIT_SEED", random.SystemRandom().randrange(10**6)))
    print(f"AFFIDAVIT_SEED={seed}")
    make_ledger(pg)
    stop, token = threading.Event(), apart.proxy.token("load", "service")
    clients = [Inserting(n, {**apart.proxy.app("load", token)}, stop, pause=0.02) for n in range(4)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    faults = Faults(apart, clients, random.Random(seed))
    plan = faults.plan(FAULTS if SOAK else 0)
    try:
        for number, (name, fault) in enumerate(plan, 1):
            began = time.monotonic()
            fault()
            _goes_on(apart, clients)
            print(f"{number}/{len(plan)} {name}: inserts go on {time.monotonic() - began:.1f} s after it began", flush=True)
        assert apart.api_status() == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    ran = tickets(pg)
    assert set(ran.values()) == {1}
    wait_for(lambda: sum(_stored(store).values()) >= len(ran), "every statement in the store", 120, 0.5)
    found = _stored(store)
    lost, twice = sorted(ran.keys() - found.keys()), sorted(t for t, count in found.items() if count != 1)
    print(f"{len(ran)} statements, {len(lost)} lost, {len(twice)} twice, after {len(plan)} faults")
    assert not lost and not twice, f"seed {seed}: {(lost + twice)[:20]}"
    assert {a for client in clients for a in client.acknowledged} <= ran.keys()
    chains = store.client.query(
        f"SELECT source, max(number) - min(number) + 1 - uniqExact(number) FROM {store.database}.blocks GROUP BY source"
    ).result_rows
    assert all(missing == 0 for _, missing in chains)


def _goes_on(apart: Apart, clients: list[Inserting]) -> None:
    before = apart.store.seen()["inserts"]
    inserts_go_on(clients)
    wait_for(lambda: apart.store.seen()["inserts"] > before + 4, "inserts into the store to go on", 60, 0.1)


def _stored(store: Store) -> Counter[str]:
    rows = store.client.query(
        f"SELECT claims['ticket'] AS ticket, count() FROM {store.database}.query_events WHERE ticket != '' GROUP BY ticket"
    ).result_rows
    return Counter(dict(rows))


def _events(apart: Apart, token: str, search: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = apart.get(token, f"/api/v1/events?q={quote(search)}")["items"]
    return found


def _over(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False
