"""Is nothing lost and nothing twice when brokers die and the network to them goes, with a proxy at work (invariant 2)?

Three real nodes, each broker and controller; writes need two. Eight clients insert through one proxy, which reaches the brokers
through relays that can lose everything. After each fault, everything acknowledged until then must be in the topic; at the end
PostgreSQL's own log is the oracle: each statement it ran is one event, in blocks whose chain verifies. AFFIDAVIT_SOAK=1 makes it
a hundred random faults, and a cut of a minute; AFFIDAVIT_SEED repeats a run's plan, AFFIDAVIT_FAULTS says how many.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from schemas.config import with_secrets
from schemas.log.kafka import KafkaLog
from schemas.log.kafka_topics import ensure
from tests.support import kafka as kafka_cluster
from tests.support import kafka_jars, postgres
from tests.support.affidavit import Proxy
from tests.support.inserting import CLIENTS, Inserting, inserts_go_on, make_ledger, tickets
from tests.support.kafka import Kafka, Node
from tests.support.ports import wait_for
from tests.support.postgres import Postgres
from tests.support.trail import Trail

SOAK = bool(os.environ.get("AFFIDAVIT_SOAK"))
FAULTS = int(os.environ.get("AFFIDAVIT_FAULTS", "100"))
CUT_SECONDS = 60.0 if SOAK else 6.0
"""The longer cut; longer than an append may take (`timeout_seconds`), so that some are given up half done."""

BROKERS = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
"""A dead broker is found dead sooner than by default (9 s): only the test's length depends on it."""

PAUSE_SECONDS = 0.05
"""Between a client's inserts: this process checks every event while its clients insert, and must be the faster of the two."""

ARRIVE_SECONDS = 180.0
"""Until a cluster that was down has elected its leaders, on a busy machine, and the spool is shipped."""


class Run:
    """A cluster, a proxy, clients at work, and what can happen to them."""

    def __init__(self, cluster: Kafka, server: Postgres, moments: random.Random) -> None:
        self.cluster, self.server, self._moments = cluster, server, moments
        given = cluster.settings("RELAYED", timeout_seconds=4.0)
        plain = {name: value for name, value in with_secrets(given).items() if value is not None}
        plain["security"] = {"tls": False}
        self.proxy = Proxy(server, {"log": {"kind": "kafka", "kafka": plain}})
        direct = cluster.settings(timeout_seconds=60.0)
        ensure(direct)
        self.proxy.trail = Trail(self.proxy.data_dir, lambda: KafkaLog(direct))
        self.stop = threading.Event()
        self.clients: list[Inserting] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the proxy and the clients."""
        self.proxy.start()
        token = self.proxy.token("load", "service")
        for n in range(CLIENTS):
            parameters = {**self.proxy.app("load", token), "application_name": f"load-{n}"}
            self.clients.append(Inserting(n, parameters, self.stop, pause=PAUSE_SECONDS))
        self._threads = [threading.Thread(target=client.run) for client in self.clients]
        for thread in self._threads:
            thread.start()
        inserts_go_on(self.clients)

    def rest(self) -> None:
        """Let clients work for a random while: the moment of what comes next."""
        inserts_go_on(self.clients)
        time.sleep(self._moments.uniform(0, 1.5))

    def kill(self, nodes: Sequence[Node], also_proxy: bool = False) -> None:
        """Kill -9 all at once; the clients go on; start them again."""
        for node in nodes:
            self.cluster.signal(node, signal.SIGKILL)
        for node in nodes:
            self.cluster.kill(node)
        if also_proxy:
            self._renew_proxy()
        else:
            self.rest()
        for node in nodes:
            self.cluster.launch(node)
        for node in nodes:
            self.cluster.await_node(node)

    def _renew_proxy(self) -> None:
        """Kill -9 the proxy and start another. It refuses logins until it knows the control topic: nothing need go on before."""
        self.proxy.kill()
        self.proxy.start()
        time.sleep(self._moments.uniform(0, 3))

    def hang(self, node: Node) -> None:
        """Stop a node's process, longer than an append waits, and let it go on."""
        self.cluster.signal(node, signal.SIGSTOP)
        try:
            time.sleep(5)
            self.rest()
        finally:
            self.cluster.signal(node, signal.SIGCONT)

    def cut(self, seconds: float, also_proxy: bool = False) -> None:
        """Lose everything between the proxy and all brokers."""
        for relay in self.cluster.relays:
            relay.cut()
        try:
            if also_proxy:
                self._renew_proxy()
            time.sleep(seconds)
            if not also_proxy:
                inserts_go_on(self.clients)
        finally:
            for relay in self.cluster.relays:
                relay.mend()

    def all_arrived(self, after: str) -> None:
        """Wait until the topic has every statement acknowledged up to now."""
        wanted = {ticket for client in self.clients for ticket in tuple(client.acknowledged)}
        wait_for(lambda: wanted <= self.in_topic().keys(), f"all statements in the topic after {after}", ARRIVE_SECONDS, 0.5)

    def in_topic(self) -> Counter[str]:
        """Return the tickets of the events in the topic, every block verified."""
        found = self.proxy.trail.refresh()
        return Counter(e["claims"]["ticket"] for e in found if e["type"] == "QueryExecuted" and "ticket" in e["claims"])

    def end(self) -> None:
        """Stop the clients."""
        self.stop.set()
        for thread in self._threads:
            thread.join(60)

    def settle(self, seed: int) -> str:
        """Compare with the oracle; return what was seen."""
        assert not [client.broken for client in self.clients if client.broken]
        self.proxy.stop()
        wait_for(lambda: self.proxy.trail.of_type("ProxyStopped"), "the proxy's last block", ARRIVE_SECONDS, 0.5)
        executed, found = tickets(self.server), self.in_topic()
        acknowledged = {ticket for client in self.clients for ticket in client.acknowledged}
        assert set(executed.values()) == {1}, "the oracle itself: a ticket is sent once"
        assert acknowledged <= executed.keys()
        lost = sorted(executed.keys() - found.keys())
        twice = sorted(ticket for ticket, count in found.items() if count != 1)
        what = f"seed {seed}: {len(lost)} lost, {len(twice)} twice, of {len(executed)}: {(lost + twice)[:20]}"
        assert not lost and not twice, f"{what}\n{self.proxy.said()[-3000:]}"
        return f"{len(executed)} executed, {len(found)} in the topic, {self.proxy.trail.repeats} blocks shipped twice and dropped"


def short(run: Run) -> list[tuple[str, Callable[[], None]]]:
    """Each of the faults once."""
    nodes = run.cluster.nodes
    return [
        *[(f"kill -9 of node {node.number}", lambda node=node: run.kill([node])) for node in nodes],
        ("kill -9 of two nodes and the proxy", lambda: run.kill(nodes[:2], also_proxy=True)),
        (f"a cut of {CUT_SECONDS:g} s", lambda: run.cut(CUT_SECONDS)),
    ]


def soak(run: Run, moments: random.Random) -> list[tuple[str, Callable[[], None]]]:
    """Each of the faults, and random ones up to a hundred."""
    plan, nodes = short(run), run.cluster.nodes
    while len(plan) < FAULTS:
        also, some = moments.random() < 0.3, moments.sample(nodes, moments.choice((1, 1, 2, 2, 3)))
        seconds = moments.uniform(0.2, 8)
        with_proxy = " and the proxy" if also else ""
        plan.append(
            moments.choice(
                [
                    (f"kill -9 of {len(some)} nodes{with_proxy}", lambda some=some, also=also: run.kill(some, also)),
                    (f"a hang of node {some[0].number}", lambda node=some[0]: run.hang(node)),
                    (f"a cut of {seconds:.1f} s{with_proxy}", lambda s=seconds, also=also: run.cut(s, also)),
                ]
            )
        )
    return plan


@pytest.mark.timeout(7200 if SOAK else 600)
def test_brokers_die_and_the_network_goes() -> None:
    if reason := kafka_jars.missing():
        pytest.skip(reason)
    seed = int(os.environ.get("AFFIDAVIT_SEED", random.SystemRandom().randrange(10**6)))
    print(f"AFFIDAVIT_SEED={seed}")
    moments = random.Random(seed)
    with postgres.running() as server, kafka_cluster.running(3, BROKERS, relayed=True) as cluster:
        make_ledger(server)
        run = Run(cluster, server, moments)
        try:
            run.start()
            plan = soak(run, moments) if SOAK else short(run)
            for number, (name, fault) in enumerate(plan, 1):
                run.rest()
                began = time.monotonic()
                print(f"{number}/{len(plan)} {name}", end="", flush=True)
                fault()
                run.all_arrived(name)
                took = time.monotonic() - began
                print(f": all in the topic {took:.1f} s after it began", flush=True)
            run.end()
            print(f"{len(plan)} faults: {run.settle(seed)}")
        finally:
            run.end()
            run.proxy.kill()
            run.proxy.remove()
