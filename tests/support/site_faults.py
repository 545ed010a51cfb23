"""What can happen to proxies, brokers, workers and the store while clients insert; and what must be so after each.

The oracle is PostgreSQL's log: each statement it ran is one row. After a fault, what was acknowledged to clients until then must
arrive by itself; at the end rows, blocks and archive are looked at whole.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors.sinks.clickhouse import Store, connect
from schemas.dead_letters import letters
from schemas.log import Log, LogError, NewRecord, Record
from schemas.log.kafka import KafkaLog
from schemas.topics import EVENTS
from tests.support.event_blocks import Source, record
from tests.support.inserting import Inserting, inserts_go_on, make_ledger, tickets
from tests.support.kafka import Kafka, Node
from tests.support.ports import wait_for
from tests.support.postgres import Postgres
from tests.support.roles import USERS, Apart
from tests.support.small_disk import fill
from tests.support.stepped_clock import Clock

ARRIVE_SECONDS = 240.0
"""Until the parts that were down are up again on a busy machine, and what waited is shipped and stored."""

HOUR = 3600
T = TypeVar("T")


class Site:
    """Clients at work on the roles of `apart`, and what the oracle says of them."""

    def __init__(self, apart: Apart, server: Postgres, cluster: Kafka, prefix: str, folder: Path, clients: int = 4) -> None:
        self.apart, self.server, self.cluster, self.prefix = apart, server, cluster, prefix
        self.log: Log = KafkaLog(cluster.settings(topic_prefix=prefix, timeout_seconds=60.0))
        self.store: Store = connect(apart.store.settings(user="reader", password=USERS["reader"]["password"]), folder)
        self._stop = threading.Event()
        make_ledger(server)
        token = apart.proxy.token("load", "service")
        parameters = {**apart.proxy.app("load", token)}
        self.clients = [Inserting(n, parameters, self._stop, pause=0.05) for n in range(clients)]
        self._threads = [threading.Thread(target=client.run) for client in self.clients]
        self._seen: set[str] = set()
        self.ended: list[str] = []
        """What workers said that ended by themselves."""

    def start(self) -> None:
        """Let the clients begin."""
        for thread in self._threads:
            thread.start()
        inserts_go_on(self.clients)

    def stop(self) -> None:
        """End the clients."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def close(self) -> None:
        """Let go of everything."""
        self.stop()
        self.log.close()
        self.store.close()

    def inserts_go_on(self) -> None:
        """Wait until some more inserts are acknowledged; if they are not, raise with what is known of clients and proxies."""
        try:
            inserts_go_on(self.clients, ARRIVE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.state()}\n{self.apart.proxy.said()[-4000:]}") from None

    def state(self) -> str:
        """What everybody is at, for the message of a failure: load, clients, proxies with their sealers, workers."""
        clients = [
            f"client {client.number}: {'alive' if thread.is_alive() else 'dead'}, {len(client.acknowledged)} acknowledged of "
            f"{client.sent}, broken {client.broken}, last failure {client.refused!r}"
            for client, thread in zip(self.clients, self._threads, strict=True)
        ]
        workers = {role: self.apart.worker_status(role) for role in ("process", "process2") if self.apart.runs(role)}
        return "\n".join([f"load {os.getloadavg()}", *clients, *self.apart.proxies(), f"workers {workers}"])

    def all_arrived(self, after: str) -> float:
        """Wait until the store has every statement acknowledged up to now; return the seconds that took."""
        wanted = {ticket for client in self.clients for ticket in tuple(client.acknowledged)} - self._seen
        began = time.monotonic()

        def missing() -> set[str]:
            self._as_a_supervisor()
            with contextlib.suppress(ClickHouseError):  # answers that a fault still spoils
                return wanted - set(self.stored())
            return wanted

        try:
            wait_for(lambda: not missing(), f"all statements in the store after {after}", ARRIVE_SECONDS, 0.5)
        except AssertionError as error:
            said = self.apart.proxy.said()[-3000:]
            raise AssertionError(f"{error}: {len(missing())} are not\n{self.state()}\n{said}") from None
        self._seen |= wanted
        return time.monotonic() - began

    def _as_a_supervisor(self) -> None:
        """Start a worker that ended by itself, as systemd and Kubernetes do, and note what it said."""
        if not self.apart.runs("process"):
            self.ended.append(
                next((line for line in reversed(self.apart.proxy.said().splitlines()) if "error" in line), "nothing")
            )
            print(f" (the worker ended: {self.ended[-1][:300]})", end="", flush=True)
            self.apart.start("process", wait=False)

    def stored(self) -> Counter[str]:
        """Return the tickets of the rows in the store."""
        where = f"{self.store.database}.query_events"
        query = f"SELECT claims['ticket'] AS ticket, count() FROM {where} WHERE ticket != '' GROUP BY ticket"
        return Counter(dict(self.store.client.query(query).result_rows))

    def rows(self) -> dict[tuple[str, str, int, int], tuple[int, int]]:
        """Return every row of the event tables by table and position: how often it is there, and a hash of all its columns."""
        found = {}
        for table in ("query_events", "other_events"):
            for source, epoch, seq, times, content in self.store.client.query(
                f"SELECT source, epoch, seq, count(), max(cityHash64(*)) FROM {self.store.database}.{table} GROUP BY 1, 2, 3"
            ).result_rows:
                found[table, source, epoch, seq] = (times, content)
        return found

    def settle(self, what: str) -> str:
        """End the load; compare rows with the oracle, and verify blocks and archive; return what was seen."""
        self.stop()
        broken = [client.broken for client in self.clients if client.broken]
        assert not broken, broken
        ran = tickets(self.server)
        assert set(ran.values()) == {1}, "the oracle itself: a ticket is sent once"
        assert {ticket for client in self.clients for ticket in client.acknowledged} <= ran.keys()
        wait_for(lambda: ran.keys() <= self.stored().keys(), f"every statement in the store ({what})", ARRIVE_SECONDS, 0.5)
        twice = [position for position, (times, _) in self.rows().items() if times != 1]
        assert not twice, f"{what}: {twice[:20]}"
        again = [ticket for ticket, times in self.stored().items() if times != 1]
        assert not again, f"{what}: {again[:20]}"
        where = self.store.database
        chains = self.store.client.query(
            f"SELECT source, max(number) - min(number) + 1 - uniqExact(number), countIf(signature != 'verified') "
            f"FROM {where}.blocks GROUP BY source"
        ).result_rows
        assert chains and all((missing, unsigned) == (0, 0) for _, missing, unsigned in chains), f"{what}: {chains}"
        for role in ("process", "process2"):
            if self.apart.runs(role):
                assert self.apart.stop(role) == 0, self.apart.proxy.said()[-3000:]
        said = self.apart.command("process", "archive", "verify")
        return f"{len(ran)} statements ran, {len(self.stored())} rows, none lost, none twice; {said.strip().splitlines()[-1]}"


def patiently(ask: Callable[[], T]) -> T:
    """Return the log's answer, asked again for a minute: brokers that came back a moment ago may not know their topics yet."""
    deadline = time.monotonic() + 60.0
    while True:
        try:
            return ask()
        except LogError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


class Faults:
    """Each method is one fault, over when it returns. `clocks` are of the proxy and the worker, `disk` is the archive's."""

    def __init__(self, site: Site, moments: random.Random, clocks: dict[str, Clock], disk: Path) -> None:
        self.site, self.apart, self.server, self.cluster = site, site.apart, site.apart.store, site.cluster
        self._moments, self._clocks, self._disk = moments, clocks, disk
        self._poison: list[bytes] = []
        self._deck: list[int] = []

    def _pause(self, most: float) -> None:
        time.sleep(self._moments.uniform(0, most))  # the random moment itself: not a wait for anything

    # -- the store -------------------------------------------------------------------------------------------------

    def store_dies_in_insert(self, nth: int = 3) -> None:
        """The n-th insert from now is the server's last."""
        self.server.fail(die_in_insert=nth)
        wait_for(lambda: not self.server.running, "the store to die in an insert", 120, 0.05)
        self.site.inserts_go_on()
        self.server.start()

    def store_killed(self) -> None:
        """Kill -9 at any moment."""
        self._pause(1)
        self.server.kill()
        self._pause(3)
        self.server.start()

    def store_mute(self) -> None:
        """Some inserts are done and their answers lost, some refused, some answered by a proxy whose server is away."""
        self.server.fail(lose_answer=3, too_many=2, unavailable=4, drop=1)

    def store_slow(self) -> None:
        """One insert a second, for some seconds."""
        self.server.fail(insert_seconds=1.0)
        done = self.server.seen()["inserts"]
        wait_for(lambda: self.server.seen()["inserts"] > done + 3, "some slow inserts", 120, 0.2)
        self.site.inserts_go_on()
        self.server.fail(insert_seconds=0.0)

    # -- workers ---------------------------------------------------------------------------------------------------

    def worker_killed(self) -> None:
        """Kill -9 of the worker; another takes its place."""
        self._pause(1)
        self.apart.stop("process", signal.SIGKILL)
        self._pause(1)
        self.apart.start("process")

    def workers_come_and_go(self) -> None:
        """Another worker shares the partitions, the first one leaves in order and comes back, the other leaves."""
        self.apart.start("process2")
        self.site.inserts_go_on()
        assert self.apart.stop("process") == 0
        self.site.inserts_go_on()
        self.apart.start("process")
        assert self.apart.stop("process2") == 0

    def archive_full(self) -> None:
        """The archive's disk has no byte left; workers wait, statements go on; it is freed and all goes on by itself."""
        fill(self._disk / "ballast")
        try:
            wait_for(self._waits_for_the_disk, "the worker to say that the disk is full", 120, 0.1)
            self.site.inserts_go_on()
        finally:
            (self._disk / "ballast").unlink()

    def _waits_for_the_disk(self) -> bool:
        fill(self._disk / "ballast")  # a file that was rolled meanwhile may have given some back
        return "the disk is full" in self.apart.worker_status("process").get("last_error", "")

    def poison(self) -> None:
        """What is no block of ours, one changed on its way, a stranger's under our name: dead letters. And a repeat: nothing."""
        whole = next(record for record in self._newest() if record.value not in self._poison)
        changed = bytearray(whole.value)
        changed[len(changed) // 2] ^= 1
        stranger = Source(whole.key.decode(), key=Ed25519PrivateKey.generate())
        unsigned = Source(whole.key.decode())
        records = [
            NewRecord(whole.key, b"no line of ours\n", {}),
            NewRecord(whole.key, bytes(changed), whole.headers),
            *(record(source.seal([source.query()])) for source in (stranger, unsigned)),
        ]
        self.site.log.append(EVENTS.name, [NewRecord(whole.key, whole.value, whole.headers), *records])
        self._poison += [record.value for record in records]
        wait_for(lambda: len(letters(self.site.log)) >= len(self._poison), "poison in the dead letters", ARRIVE_SECONDS, 0.5)
        assert len(letters(self.site.log)) == len(self._poison)

    def _newest(self) -> Iterator[Record]:
        log = self.site.log
        for partition in range(EVENTS.partitions):
            end = patiently(partial(log.end_offset, EVENTS.name, partition))
            yield from reversed(log.read(EVENTS.name, max(0, end - 20), 20, partition=partition))

    def topic_again(self) -> None:
        """All workers end, what the group knew is deleted, and one reads the whole topic from its beginning: no row changes."""
        self.site.all_arrived("nothing yet")
        assert self.apart.stop("process") == 0
        before = self.site.rows()
        group = f"{self.site.prefix}affidavit-process"
        admin = AdminClient({"bootstrap.servers": ",".join(self.cluster.bootstrap())})
        changelog = f"{group}-progress-changelog"
        assert changelog in admin.list_topics(timeout=60).topics
        for gone in (*admin.delete_topics([changelog]).values(), *admin.delete_consumer_groups([group]).values()):
            gone.result(60)
        wait_for(lambda: changelog not in admin.list_topics(timeout=60).topics, "the changelog to be gone", 60, 0.2)
        ends = {str(p): patiently(partial(self.site.log.end_offset, EVENTS.name, p)) for p in range(EVENTS.partitions)}
        self.apart.start("process")

        def read_again() -> bool:
            offsets = self.apart.worker_status("process").get("next_offsets", {})
            return all(offsets.get(p, 0) >= end for p, end in ends.items() if end)

        wait_for(read_again, "the whole topic to be read again", 4 * ARRIVE_SECONDS, 0.5)
        after = self.site.rows()
        changed = {position: (was, after.get(position)) for position, was in before.items() if after.get(position) != was}
        assert before and not changed, dict(list(changed.items())[:10])

    # -- clocks ----------------------------------------------------------------------------------------------------

    def clock_steps(self, role: str, hours: int) -> None:
        """A role's wall clock is suddenly an hour off, ahead or behind (or right again)."""
        clock = self._clocks[role]
        clock.step_to(hours * HOUR if clock.off_seconds != hours * HOUR else 0)
        self.site.inserts_go_on()

    # -- brokers and the network to them ---------------------------------------------------------------------------

    def brokers_killed(self, nodes: Sequence[Node]) -> None:
        """Kill -9 all at once; the clients go on; start them again."""
        for node in nodes:
            self.cluster.signal(node, signal.SIGKILL)
        for node in nodes:
            self.cluster.kill(node)
        self.site.inserts_go_on()
        self._pause(2)
        for node in nodes:
            self.cluster.launch(node)
        for node in nodes:
            self.cluster.await_node(node)

    def broker_hangs(self, node: Node) -> None:
        """Stop a node's process for some seconds, and let it go on."""
        self.cluster.signal(node, signal.SIGSTOP)
        try:
            self._pause(8)
            self.site.inserts_go_on()
        finally:
            self.cluster.signal(node, signal.SIGCONT)

    def partition(self, seconds: float) -> None:
        """Lose everything between the proxies and all brokers."""
        for relay in self.cluster.relays:
            relay.cut()
        try:
            time.sleep(seconds)
            self.site.inserts_go_on()
        finally:
            for relay in self.cluster.relays:
                relay.mend()

    # -- the proxy -------------------------------------------------------------------------------------------------

    def proxy_killed(self) -> None:
        """Kill -9 of one proxy process; its supervisor starts another."""
        self._pause(1)
        self.apart.kill_proxy(self._moments.randrange(2))
        self.site.inserts_go_on()

    # -- all -------------------------------------------------------------------------------------------------------

    def drawn(self) -> tuple[str, Callable[[], None]]:
        """Return one of all, at random, with its name; none comes again before each has come."""
        draw, nodes = self._moments, self.cluster.nodes
        nth, seconds = draw.randrange(1, 9), draw.choice((draw.uniform(0.5, 10), 60.0))
        role, hours = draw.choice(["proxy", "process"]), draw.choice([-1, 1])
        some = draw.sample(nodes, min(draw.choice((1, 1, 2, 3)), len(nodes)))
        hanging = draw.choice(nodes)
        all_of_them: list[tuple[str, Callable[[], None]]] = [
            (f"the store dies in insert {nth}", lambda: self.store_dies_in_insert(nth)),
            ("kill -9 of the store", self.store_killed),
            ("answers of the store lost", self.store_mute),
            ("one insert a second", self.store_slow),
            ("kill -9 of the worker", self.worker_killed),
            ("workers come and go", self.workers_come_and_go),
            ("the archive's disk is full", self.archive_full),
            ("poison", self.poison),
            ("the whole topic again", self.topic_again),
            (f"the clock of {role} steps, {hours:+d} h", lambda: self.clock_steps(role, hours)),
            (f"kill -9 of {len(some)} brokers", lambda: self.brokers_killed(some)),
            (f"broker {hanging.number} hangs", lambda: self.broker_hangs(hanging)),
            (f"no network from proxies to brokers for {seconds:.1f} s", lambda: self.partition(seconds)),
            ("kill -9 of a proxy", self.proxy_killed),
        ]
        if not self._deck:
            self._deck = draw.sample(range(len(all_of_them)), len(all_of_them))
        return all_of_them[self._deck.pop()]
