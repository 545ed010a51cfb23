"""Proxies that ship to the real Kafka: nothing lost, nothing twice, whatever happens to the brokers; and no secret shown."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from schemas.config import KafkaSettings
from schemas.log.kafka import KafkaLog
from schemas.log.kafka_topics import ensure
from schemas.topics import EVENTS
from tests.support import kafka as kafka_cluster
from tests.support import kafka_jars
from tests.support.affidavit import Proxy
from tests.support.certificates import issue
from tests.support.kafka import SCRAM_PASSWORD, SCRAM_USER, Kafka
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

LOGIN = {"mechanism": "SCRAM-SHA-512", "username": SCRAM_USER, "password": SCRAM_PASSWORD}


@pytest.fixture
def cluster() -> Iterator[Kafka]:
    """A broker of one's own, to be killed."""
    if reason := kafka_jars.missing():
        pytest.skip(reason)
    with kafka_cluster.running() as own:
        yield own


def shipping(server: Postgres, settings: KafkaSettings, **audit: object) -> Proxy:
    """Return a proxy, not started, whose log is on Kafka; its trail reads from there."""
    return Proxy(server, {"log": Kafka.written(settings), "audit": audit})


def statements(proxy: Proxy, application: str) -> Counter[str]:
    found = [e for e in proxy.trail.refresh() if e["type"] == "QueryExecuted" and e["client"]["application"] == application]
    return Counter(e["claims"]["ticket"] for e in found if "ticket" in e["claims"])


def wait_more(done: list[int], count: int, what: str) -> None:
    mark = len(done)
    wait_for(lambda: len(done) > mark + count, what, 60)


def descendants(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            child, parent = int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            found += [child, *descendants(child)]
    return found


def test_blocks_come_by_scram_and_tls_and_no_secret_shows(pg: Postgres, kafka: Kafka) -> None:
    settings = kafka.settings("SCRAM", security=LOGIN, topic_prefix="shipped-")
    ensure(settings)
    proxy = shipping(pg, settings)
    try:
        proxy.start()
        with psycopg.connect(**proxy.app(), application_name="shipped", autocommit=True) as connection:
            for n in range(50):
                connection.execute(f"SELECT %s /*ticket='{n}'*/", (n,))
        wait_for(lambda: len(statements(proxy, "shipped")) == 50, "50 statements in the topic")
        assert set(statements(proxy, "shipped").values()) == {1}
        assert not (proxy.data_dir / "log" / "log.db").exists(), "there is no embedded log beside it"
        family = [proxy.pid, *descendants(proxy.pid)]
        assert len(family) > 1, "the sealer is a child"
        for pid in family:
            shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            assert SCRAM_PASSWORD.encode() not in shown
        proxy.stop()
        proxy.assert_nowhere(SCRAM_PASSWORD)
        assert proxy.trail.of_type("ProxyStopped")
    finally:
        proxy.kill()
        proxy.remove()


def test_one_event_a_block_where_consumers_want_it(pg: Postgres, kafka: Kafka) -> None:
    settings = kafka.settings(topic_prefix="single-")
    ensure(settings)
    proxy = shipping(pg, settings, max_events_per_block=1)
    try:
        proxy.start()
        with psycopg.connect(**proxy.app(), application_name="single", autocommit=True) as connection:
            for n in range(20):
                connection.execute(f"SELECT 1 /*ticket='{n}'*/")
        wait_for(lambda: len(statements(proxy, "single")) == 20, "20 statements in the topic")
        log = KafkaLog(settings)
        records = [r for p in range(log.partitions(EVENTS.name)) for r in log.read(EVENTS.name, 0, 1000, partition=p)]
        log.close()
        assert records and all(r.value.count(b"\n") == 1 and r.value.startswith(b"{") for r in records)
        assert len({r.partition for r in records}) == 1, "one source keeps one partition, and so its order"
    finally:
        proxy.kill()
        proxy.remove()


@pytest.mark.timeout(600)
def test_brokers_killed_and_hung_under_load(pg: Postgres, cluster: Kafka) -> None:
    """kill -9, SIGSTOP, and a proxy killed while the broker is away: every acknowledged statement is there once."""
    ensure(cluster.settings(topic_prefix="killed-", timeout_seconds=60.0))
    settings = cluster.settings(topic_prefix="killed-", timeout_seconds=3.0)
    proxy = shipping(pg, settings)
    node = cluster.nodes[0]
    stop, done = threading.Event(), list[int]()

    def insert() -> None:
        n = 0
        while not stop.is_set():
            try:
                with psycopg.connect(**parameters, autocommit=True) as connection:
                    while not stop.is_set():
                        n += 1
                        connection.execute(f"SELECT %s /*ticket='{n}'*/", (n,))
                        done.append(n)
                        stop.wait(0.002)
            except psycopg.OperationalError:
                stop.wait(0.05)

    try:
        proxy.start()
        parameters = {**proxy.app("load"), "application_name": "killed"}
        client = threading.Thread(target=insert)
        client.start()
        try:
            for fault in ("kill", "stop", "proxy too"):
                wait_more(done, 100, "inserts to go on")
                if fault == "stop":
                    cluster.signal(node, signal.SIGSTOP)
                else:
                    cluster.kill(node)
                wait_more(done, 500, "inserts to go on without a broker")
                if fault == "proxy too":  # what it had not shipped is in its spool; logins wait for the brokers
                    proxy.kill()
                    proxy.start()
                if fault == "stop":
                    time.sleep(4)  # longer than an append may take, so that one is given up half done
                    cluster.signal(node, signal.SIGCONT)
                else:
                    cluster.launch(node)
                    cluster.await_node(node)
            wait_more(done, 100, "inserts to go on after everything")
        finally:
            stop.set()
            client.join(60)
        wait_for(lambda: {str(n) for n in done} <= statements(proxy, "killed").keys(), "all statements in the topic", 120, 0.5)
        found = statements(proxy, "killed")
        executed = Counter(
            line.text.partition("ticket='")[2].partition("'")[0] for line in pg.executed() if line.application == "killed"
        )
        executed.pop("", None)
        assert set(found.values()) == {1}, "none twice"
        assert executed.keys() <= found.keys(), "none lost: what the server ran is there, acknowledged or not"
        assert len(found) > 1500
    finally:
        stop.set()
        proxy.kill()
        proxy.remove()


@pytest.mark.timeout(300)
def test_brokers_away_until_the_spool_is_full(pg: Postgres, cluster: Kafka) -> None:
    """Down for long: the spool takes what it may hold, statements are refused with a reason, and all goes on by itself."""
    ensure(cluster.settings(topic_prefix="full-", timeout_seconds=60.0))
    settings = cluster.settings(topic_prefix="full-", timeout_seconds=2.0)
    proxy = shipping(pg, settings, spool_limit_bytes=16 * 1024**2)
    names = random.Random(7)
    try:
        proxy.start()
        with psycopg.connect(**proxy.app("filler"), application_name="full", autocommit=True) as connection:
            connection.execute("SELECT 1 /*ticket='0'*/")
            cluster.kill(cluster.nodes[0])
            ran = 0
            with pytest.raises(psycopg.Error) as refused:
                for _ in range(5000):  # names are kept as they are and do not compress: some 35 KiB each
                    columns = ",".join(f"1 AS a{names.getrandbits(240):060x}" for _ in range(1200))
                    connection.execute(f"SELECT {columns} /*ticket='{ran + 1}'*/")
                    ran += 1
            assert refused.value.sqlstate == "53100", refused.value
            assert "spool" in str(refused.value) and "Nothing was executed" in str(refused.value)
            assert ran > 100
            cluster.launch(cluster.nodes[0])
            cluster.await_node(cluster.nodes[0])

            def goes_on() -> bool:
                try:
                    connection.execute("SELECT 1 /*ticket='last'*/")
                except psycopg.Error:
                    return False
                return True

            wait_for(goes_on, "statements to be taken again", 60, 0.2)
        wait_for(lambda: "last" in statements(proxy, "full"), "the last statement in the topic", 60, 0.2)
        assert {str(n) for n in range(ran + 1)} <= statements(proxy, "full").keys()
    finally:
        proxy.kill()
        proxy.remove()


def test_wrong_logins_and_certificates_are_said_and_lose_nothing(pg: Postgres, kafka: Kafka, tmp_path: Path) -> None:
    right = kafka.settings("SCRAM", security=LOGIN, topic_prefix="wrong-")
    ensure(right)
    other = issue(tmp_path)
    for security, words in (
        ({**LOGIN, "password": "wrong-pw-77"}, "login refused"),
        ({**LOGIN, "ca_file": other.ca}, "ca_file must hold the authority"),
    ):
        proxy = shipping(pg, kafka.settings("SCRAM", security=security, topic_prefix="wrong-"))
        try:
            proxy.start()
            with pytest.raises(psycopg.OperationalError, match="who is suspended cannot be told: Kafka at"):
                psycopg.connect(**proxy.app())
            wait_for(lambda proxy=proxy, words=words: words in proxy.said(), f"the proxy to say {words!r}", 30)
            assert "wrong-pw-77" not in proxy.said()
            began = time.monotonic()
            proxy.stop()
            assert time.monotonic() - began < 40
        finally:
            proxy.kill()
            proxy.remove()
