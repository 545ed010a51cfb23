"""Faust workers on the real Kafka and chDB: every event one row, whatever repeats, breaks, is slow, or is killed."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.cli import run
from processors.archive import Archive
from processors.runtimes.work import WARY_BLOCKS
from processors.signatures import key_path
from processors.sinks.clickhouse import connect
from schemas.config import ClickHouseSettings, StatesKind
from schemas.control_keys import create_control_key
from schemas.dead_letters import letters
from schemas.integrity import Block
from schemas.log import NewRecord
from schemas.log.kafka import KafkaLog
from schemas.topics import ACTIVITY, EVENTS, TOPICS
from tests.support import kafka_jars
from tests.support.activity_counts import counted, statements
from tests.support.event_blocks import Source, record
from tests.support.kafka import Kafka

pytestmark = pytest.mark.skipif(bool(kafka_jars.missing()), reason=kafka_jars.missing() or "the broker's jars are there")

ROOT = Path(__file__).parents[2]
PARTITIONS = 3
KILLS = 4
PLACES = [k for k in StatesKind if k is not StatesKind.ROCKSDB or find_spec("rocksdict")]
NEXT = {f"next:{p}" for p in range(PARTITIONS)}
_numbers = itertools.count(1)


class Site:
    """Topics of their own, a data directory, and the workers started on them, one at a time."""

    def __init__(self, cluster: Kafka, folder: Path) -> None:
        self.cluster, self.folder, self.prefix = cluster, folder, f"faust{next(_numbers)}."
        cluster.make_topics([self.prefix + t.name for t in TOPICS], PARTITIONS)
        self.log = KafkaLog(cluster.settings(topic_prefix=self.prefix))
        self.workers: list[subprocess.Popen[str]] = []

    def ship(self, blocks: list[Block]) -> None:
        self.log.append(EVENTS.name, [record(b) for b in blocks])

    def start(
        self, group: str = "group", most_rejected: int = 100, slow: float = 0.0, **more: float | str
    ) -> subprocess.Popen[str]:
        broker = self.cluster.bootstrap()[0]
        options = {"data": str(self.folder), "broker": broker, "prefix": self.prefix, "group": group, **more}
        wanted = orjson.dumps({**options, "most": most_rejected, "slow": slow}).decode()
        command = [sys.executable, "-m", "tests.support.faust_child", wanted]
        with (self.folder / "worker.log").open("ab") as out:
            worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=out, text=True)
        self.workers.append(worker)
        return worker

    def until(self, worker: subprocess.Popen[str], reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        assert worker.stdout is not None
        for line in worker.stdout:
            status: dict[str, Any] = orjson.loads(line)
            if reached(status):
                return status
        raise AssertionError(f"the worker ended: {worker.wait()}\n{(self.folder / 'worker.log').read_text()[-3000:]}")

    def stop(self, worker: subprocess.Popen[str]) -> dict[str, Any]:
        """SIGTERM; return the status it ended with."""
        worker.send_signal(signal.SIGTERM)
        ended: dict[str, Any] = self.until(worker, lambda s: "ended" in s)["ended"]
        assert worker.wait(60) == 0
        return ended

    def drained(self, status: dict[str, Any]) -> bool:
        ends = {str(p): self.log.end_offset(EVENTS.name, p) for p in range(PARTITIONS)}
        offsets = status.get("next_offsets", {})
        folded = {str(p): self.log.end_offset(ACTIVITY.name, p) for p in range(PARTITIONS)}
        folds = status.get("activity_offsets", {})
        return all(offsets.get(p) == end for p, end in ends.items() if end) and all(
            folds.get(p) == end for p, end in folded.items() if end
        )

    def check(self, blocks: list[Block], whole: bool = True) -> None:
        """Rows, recorded blocks and archive are exactly these blocks."""
        headers = [b.header for b in blocks]
        store = connect(ClickHouseSettings(), self.folder)
        try:
            rows = store.client.query(
                "SELECT source, epoch, seq FROM affidavit.query_events "
                "UNION ALL SELECT source, epoch, seq FROM affidavit.other_events"
            ).result_rows
            assert counted(store) == statements(blocks)
            numbers = store.client.query("SELECT source, number FROM affidavit.blocks FINAL").result_rows
        finally:
            store.close()
        assert sorted(rows) == sorted((h.source, h.epoch, h.first_seq + i) for h in headers for i in range(h.count))
        assert sorted(numbers) == sorted((h.source, h.number) for h in headers)
        archive = Archive(self.folder / "archive")
        assert archive.verify().ok is whole
        assert sorted(b.header.block_id for b in archive.blocks()) == sorted(h.block_id for h in headers)

    def changelog(self, table: str, group: str = "group") -> dict[str, bytes | None]:
        """What stands last in a table's changelog, by key."""
        topic = f"{self.prefix}{group}-{table}-changelog"
        options = {"bootstrap.servers": self.cluster.bootstrap()[0], "group.id": "looks", "enable.partition.eof": True}
        reader = Consumer(options)
        reader.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
        found: dict[str, bytes | None] = {}
        ends = 0
        while ends < PARTITIONS:
            message = reader.poll(30)
            assert message is not None, f"{topic} does not end"
            if message.error() is None:
                found[orjson.loads(message.key())] = message.value()
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ends += 1
        reader.close()
        return found

    def dead_letters(self) -> list[str]:
        return [letter.reason for letter in letters(self.log)]

    def letter_ids(self) -> list[str]:
        return [letter.letter_id for letter in letters(self.log)]

    def register(self, source: str, key: Ed25519PrivateKey) -> None:
        pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        path = key_path(self.folder / "keys", source)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pem)

    def command(self, *words: str) -> int:
        """Run a command of ours on this site's topics, where the key is that signs what is told."""
        create_control_key(self.folder / "keys")
        config = self.folder / "affidavit.yaml"
        kafka = self.cluster.written(self.cluster.settings(topic_prefix=self.prefix))
        config.write_text(yaml.safe_dump({"data_dir": str(self.folder), "log": kafka}))
        return run([*words, "-c", str(config)])

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()
        self.log.close()


@pytest.fixture
def site(kafka: Kafka, tmp_path: Path) -> Iterator[Site]:
    made = Site(kafka, tmp_path)
    yield made
    made.close()


def made(blocks: int, sources: int = 4) -> list[Block]:
    """Blocks of several sources, in turn, queries and another event in each."""
    names = [Source(f"proxy/{n}") for n in range(sources)]
    turn = [names[n % sources] for n in range(blocks)]
    return [s.seal([s.session_opened(n % 8), *(s.query() for _ in range(10))]) for n, s in enumerate(turn)]


def test_blocks_become_rows_once_and_a_restart_goes_on(site: Site) -> None:
    blocks = made(60)
    site.ship(blocks[:30])
    site.ship(blocks[:30])  # what a proxy ships again after an answer it did not hear
    worker = site.start()
    site.until(worker, site.drained)
    ended = site.stop(worker)
    assert (ended["blocks"], ended["repeats"], ended["rejected"], ended["gaps"]) == (30, 30, 0, 0)
    assert (site.folder / "faust {1}" / "v1" / "tables").is_dir(), "Faust's folders are where it was told, not in the current one"
    site.ship(blocks[30:])
    worker = site.start()
    site.until(worker, site.drained)
    ended = site.stop(worker)
    assert (ended["blocks"], ended["repeats"], ended["rejected"], ended["gaps"]) == (30, 0, 0, 0)
    site.check(blocks)


def test_the_whole_topic_again_by_a_group_without_memory_changes_nothing(site: Site) -> None:
    blocks = made(40)
    late = blocks.pop(4)  # a gap that the second group must know of, for its block comes late
    site.ship(blocks)
    for group in ("first", "second"):
        worker = site.start(group)
        site.until(worker, site.drained)
        assert site.stop(worker)["rejected"] == 0
        site.check(blocks, whole=False)
    site.ship([late])
    worker = site.start("second")
    site.until(worker, lambda s: s.get("blocks") == 1 and site.drained(s))
    assert site.stop(worker)["rejected"] == 0
    site.check([*blocks, late])


@pytest.mark.parametrize("kept", PLACES)
def test_who_did_nothing_for_a_month_is_forgotten_and_counts_anew(site: Site, kept: StatesKind) -> None:
    now = time.time_ns() // 1000
    source = Source(now=now - 40 * 86_400_000_000)
    blocks = [source.seal([source.query() for _ in range(10)]) for _ in range(8)]
    site.ship(blocks)
    worker = site.start(sweep=1.0, states=kept)
    site.until(worker, lambda s: s.get("activity", 0) > 0 and site.drained(s) and s["principals"] == 0)
    site.stop(worker)
    states = {key: data for key, data in site.changelog("principals").items() if key.startswith("state:")}
    assert len(states) == 3
    assert set(states.values()) == {None}
    source.now = now
    blocks.append(source.seal([source.query() for _ in range(30)]))
    site.ship(blocks[-1:])
    worker = site.start(sweep=1.0, states=kept)
    site.until(worker, lambda s: s.get("activity", 0) > 0 and site.drained(s))
    assert site.stop(worker)["principals"] == 3 == len({key for key, data in site.changelog("principals").items() if data} - NEXT)
    site.check(blocks)


def test_progress_that_comes_late_behind_newer_takes_nobody_back(site: Site) -> None:
    """A worker that was cut off publishes what it had, behind its successor's records."""
    blocks = made(60)
    before: dict[str, bytes | None] = {}
    for part in (blocks[:30], blocks[30:]):
        site.ship(part)
        worker = site.start()
        site.until(worker, site.drained)
        site.stop(worker)
        before = before or site.changelog("progress")
    late = Producer({"bootstrap.servers": site.cluster.bootstrap()[0]})
    for partition, data in before.items():
        late.produce(f"{site.prefix}group-progress-changelog", data, orjson.dumps(partition), partition=int(partition))
    assert late.flush(30) == 0
    assert site.changelog("progress") == before
    another = Source("proxy/9")
    blocks.append(another.seal([another.query()]))
    site.ship(blocks[-1:])
    worker = site.start()
    site.until(worker, lambda s: s.get("blocks", 0) > 0 and site.drained(s))
    ended = site.stop(worker)
    assert (ended["blocks"], ended["repeats"]) == (1, 0)
    site.check(blocks)


def test_what_another_worker_began_meanwhile_is_ended_before_our_own(site: Site) -> None:
    """A plan stands on the changelog ahead of ours that we did not hear of: its maker may be inserting, under its own token."""
    source = Source("proxy/0")
    blocks = [source.seal([source.query() for _ in range(5)]) for _ in range(40)]
    site.ship(blocks[:10])
    worker = site.start()
    status = site.until(worker, site.drained)
    (partition, at) = next((int(p), end) for p, end in status["next_offsets"].items() if end)
    foreign = orjson.dumps({"next": at, "existed": True, "counters": {}, "plan": [at, at + 6, {}, partition]})
    worker.send_signal(signal.SIGSTOP)
    another = Producer({"bootstrap.servers": site.cluster.bootstrap()[0]})
    topic = f"{site.prefix}group-progress-changelog"
    another.produce(topic, foreign, orjson.dumps(str(partition)), partition=partition)
    assert another.flush(30) == 0
    site.ship(blocks[10:])
    worker.send_signal(signal.SIGCONT)
    site.until(worker, site.drained)
    ended = site.stop(worker)
    assert (ended["blocks"], ended["repeats"]) == (40, 0)
    said = [orjson.loads(r.value) for r in site.log.read("group-progress-changelog", 0, 1000, partition=partition)]
    behind = said[said.index(orjson.loads(foreign)) + 1 :]
    ended_first = next(r for r in behind if r["plan"] is None)
    assert ended_first["next"] == at + 7, "the other one's, not what we had planned at the same place"
    site.check(blocks)


def test_records_that_the_stream_leaves_out_are_read_all_the_same(site: Site) -> None:
    """The group's offsets say that everything was read; the progress, which decides, says that nothing was."""
    blocks = made(30)
    site.ship(blocks)
    ends = [TopicPartition(site.prefix + EVENTS.name, p, site.log.end_offset(EVENTS.name, p)) for p in range(PARTITIONS)]
    member = Consumer({"bootstrap.servers": site.cluster.bootstrap()[0], "group.id": site.prefix + "group"})
    member.commit(offsets=ends, asynchronous=False)
    member.close()
    worker = site.start()
    site.until(worker, site.drained)
    assert site.stop(worker)["blocks"] == 30
    site.check(blocks)


def test_poison_goes_to_the_dead_letters_and_past_the_limit_the_worker_stops(site: Site) -> None:
    blocks = made(20, sources=1)
    poison = NewRecord(b"proxy/0", b"no line of ours\n", record(blocks[3]).headers)
    site.log.append(EVENTS.name, [*map(record, blocks[:3]), poison, *map(record, blocks[3:])])
    worker = site.start(most_rejected=3)
    site.until(worker, site.drained)
    assert site.stop(worker)["rejected"] == 1
    site.check(blocks)
    assert ["lines" in reason for reason in site.dead_letters()] == [True]
    for _ in range(2):
        site.log.append(EVENTS.name, [NewRecord(b"proxy/0", b"nonsense\n", {})])
    site.log.append(EVENTS.name, [NewRecord(b"proxy/0", b"nonsense\n", {})] * 500)
    worker = site.start(most_rejected=3)
    assert "limit 3" in site.until(worker, lambda s: "stopped" in s)["stopped"]
    assert worker.wait(60) == 3
    buried = len(site.dead_letters())
    assert 3 <= buried <= 3 + WARY_BLOCKS
    worker = site.start(most_rejected=3)  # a supervisor starts it again: it must not drain more away
    assert "limit 3" in site.until(worker, lambda s: "stopped" in s)["stopped"]
    assert worker.wait(60) == 3
    assert len(site.dead_letters()) == buried
    assert site.command("pipeline", "resume") == 0
    worker = site.start(most_rejected=1000)
    site.until(worker, site.drained)
    assert site.stop(worker)["rejected"] == 503 - buried


def test_dead_letters_are_replayed_when_the_key_is_mended_and_workers_go_on(site: Site) -> None:
    right, wrong = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    blocks = list(Source(key=right).blocks(8, 5))
    site.register("proxy/0", wrong)
    site.ship(blocks)
    worker = site.start(most_rejected=8)
    assert "limit 8" in site.until(worker, lambda s: "stopped" in s)["stopped"]
    assert worker.wait(60) == 3
    assert len(site.dead_letters()) == 8
    site.register("proxy/0", right)
    assert site.command("dlq", "replay", "--all", "--reason", "another source's key lay there") == 0
    worker = site.start(most_rejected=8)
    site.until(worker, site.drained)
    assert site.stop(worker)["rejected"] == 0
    site.check(blocks)
    assert site.command("dlq", "replay", site.letter_ids()[0]) == 0  # by name, once more: nothing changes
    assert site.command("dlq", "replay", "--all") == 0
    worker = site.start(most_rejected=8)
    site.until(worker, site.drained)
    site.stop(worker)
    site.check(blocks)


def test_killed_at_random_moments_every_event_is_exactly_one_row(site: Site) -> None:
    blocks = made(400)
    last = blocks[-4:]  # one of each source, so that every partition in use has something at the end
    rng = random.Random(7)
    for kill in range(KILLS):
        at, end = ((len(blocks) - 4) * n // KILLS for n in (kill, kill + 1))
        site.ship(blocks[at:end])
        worker = site.start(slow=0.02, states=PLACES[kill % len(PLACES)])  # files that a killed one left are in nobody's way
        want = rng.randrange(1, 4)
        site.until(worker, lambda s, want=want: s.get("batches", 0) >= want)  # type: ignore[misc]
        worker.kill()
        worker.communicate()
    site.ship(last)
    worker = site.start()
    site.until(worker, site.drained)
    ended = site.stop(worker)
    assert (ended["rejected"], ended["gaps"]) == (0, 0)
    site.check(blocks)


def test_a_store_that_is_slow_and_refuses_now_and_then_is_waited_for(site: Site) -> None:
    blocks = made(60)
    site.ship(blocks)
    worker = site.start(slow=0.2)
    site.until(worker, site.drained)
    assert site.stop(worker)["retries"] > 0
    site.check(blocks)
