"""Is nothing lost and nothing twice, whatever happens to proxies, brokers, Faust workers and the store under load (invariant 2)?

Proxies, workers and store apart, as on many machines. After each fault what was acknowledged arrives by itself; at the end every
statement in PostgreSQL's log is one row, each proxy's chain of signed blocks is whole, and so is the archive.
AFFIDAVIT_SOAK=1 draws a hundred random faults out of all there are, on three brokers; AFFIDAVIT_SEED repeats a run's draw,
AFFIDAVIT_FAULTS says how many. Faults of the store and of workers alone are in test_roles_apart.py and test_faust_workers.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import kafka as kafka_cluster
from tests.support import kafka_jars, postgres, small_disk
from tests.support.clickhouse import Server
from tests.support.roles import USERS, Apart
from tests.support.site_faults import Faults, Site
from tests.support.stepped_clock import Clock

SOAK = bool(os.environ.get("AFFIDAVIT_SOAK"))
FAULTS = int(os.environ.get("AFFIDAVIT_FAULTS", "100"))
DISK_BYTES = 512 * 1024 * 1024
BROKERS = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
PREFIX = "site."
pytestmark = pytest.mark.skipif(bool(kafka_jars.missing()), reason=kafka_jars.missing() or "the broker's jars are there")


def seed() -> int:
    given = int(os.environ.get("AFFIDAVIT_SEED", random.SystemRandom().randrange(10**6)))
    print(f"AFFIDAVIT_SEED={given}", flush=True)
    return given


@contextlib.contextmanager
def started(folder: Path, brokers: int, moments: random.Random) -> Iterator[Faults]:
    """Everything, at work."""
    with (
        postgres.running() as server,
        kafka_cluster.running(brokers, BROKERS, relayed=True) as cluster,
        small_disk.mounted(folder / "archive", DISK_BYTES) as disk,
        contextlib.ExitStack() as stack,
    ):
        store = Server(folder / "clickhouse", users=USERS).start()
        stack.callback(store.kill)
        clocks = {role: Clock(folder / f"{role}.clock") for role in ("proxy", "process")}
        # Blocks as large as by default: the whole topic is read again and again.
        proxies = {"proxy": {"workers": 2}, "audit": {"seal_interval_ms": 200}}
        apart = Apart(server, cluster, store, PREFIX, listener="RELAYED", proxies=proxies, archive=disk, clocks=clocks)
        stack.callback(apart.end)
        apart.command("migrate", "migrate")
        apart.start("proxy")
        apart.share_keys()
        apart.start("process")
        site = Site(apart, server, cluster, PREFIX, folder)
        stack.callback(site.close)
        site.start()
        yield Faults(site, moments, clocks, disk)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    with started(tmp_path_factory.mktemp("site"), 1, random.Random(seed())) as running:
        yield running


@pytest.mark.skipif(SOAK, reason="the soak draws these")
class TestEachFault:
    """In turn, on one site that is under load all the time."""

    def test_the_clock_of_the_proxies_is_an_hour_slow(self, faults: Faults) -> None:
        faults.clock_steps("proxy", -1)
        faults.site.all_arrived("the step")

    def test_the_clock_of_the_worker_is_an_hour_fast_and_the_proxies_right_again(self, faults: Faults) -> None:
        faults.clock_steps("process", 1)
        faults.clock_steps("proxy", -1)
        faults.site.all_arrived("the steps")

    def test_the_worker_waits_for_room_at_the_archive_and_goes_on_by_itself(self, faults: Faults) -> None:
        faults.archive_full()
        faults.site.all_arrived("the full disk")

    def test_poison_becomes_dead_letters_and_holds_up_nothing(self, faults: Faults) -> None:
        faults.poison()
        faults.site.all_arrived("poison")

    def test_the_topic_read_again_changes_nothing(self, faults: Faults) -> None:
        faults.topic_again()
        faults.site.all_arrived("the topic again")

    def test_no_network_between_proxies_and_brokers(self, faults: Faults) -> None:
        faults.partition(5)
        faults.site.all_arrived("the partition")

    def test_the_broker_killed(self, faults: Faults) -> None:
        faults.brokers_killed(faults.cluster.nodes)
        faults.site.all_arrived("the broker's death")

    def test_at_the_end_every_statement_is_one_row_and_every_block_in_its_place(self, faults: Faults) -> None:
        print(faults.site.settle("each fault"))


@pytest.mark.skipif(not SOAK, reason="a hundred random faults: AFFIDAVIT_SOAK=1, or make soak")
@pytest.mark.timeout(4 * 3600)
def test_a_hundred_random_faults(tmp_path: Path) -> None:
    given = seed()
    moments = random.Random(given)
    with started(tmp_path, 3, moments) as faults:
        kinds: Counter[str] = Counter()
        for number in range(1, FAULTS + 1):
            name, fault = faults.drawn()
            kinds[fault_kind(name)] += 1
            began = time.monotonic()
            print(f"{number}/{FAULTS} {name}", end="", flush=True)
            fault()
            faults.site.all_arrived(name)
            print(f": all in the store {time.monotonic() - began:.1f} s after it began", flush=True)
        print(f"seed {given}, {FAULTS} faults {dict(kinds)}: {faults.site.settle(f'seed {given}')}")
        assert not faults.site.ended, "workers wait for what passes; these ended, and were started again as a supervisor does"


def fault_kind(name: str) -> str:
    """The name without its numbers."""
    return " ".join(word for word in name.split() if not any(c.isdigit() for c in word))
