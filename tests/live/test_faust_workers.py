"""Several Faust workers on one Kafka, one ClickHouse by HTTP and one archive: workers that come, go and die share partitions."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest

from processors.archive import Archive
from processors.sinks.clickhouse import Store, connect
from schemas.config import ClickHouseSettings, with_secrets
from schemas.integrity import Block
from schemas.log.kafka import KafkaLog
from schemas.topics import ACTIVITY, EVENTS, TOPICS
from tests.support import clickhouse, kafka_jars
from tests.support.activity_counts import counted, statements
from tests.support.event_blocks import Source, record
from tests.support.kafka import Kafka
from tests.support.ports import wait_for

pytestmark = pytest.mark.skipif(bool(kafka_jars.missing()), reason=kafka_jars.missing() or "the broker's jars are there")

ROOT = Path(__file__).parents[2]
PARTITIONS, SOURCES = 4, 8
SECONDS = 120.0
"""For what takes some seconds on a machine that does nothing else."""
_numbers = itertools.count(1)


class Worker:
    """One worker, and what it says about itself."""

    def __init__(self, site: Site, name: str, states: str) -> None:
        folder = site.folder / name
        folder.mkdir()
        options = {"data": str(folder), "broker": site.cluster.bootstrap()[0], "prefix": site.prefix, "group": "group"}
        options |= {"archive": str(site.folder / "archive"), "store": site.written, "states": states}
        command = [sys.executable, "-m", "tests.support.faust_child", orjson.dumps(options).decode()]
        self.output = folder / "output"
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=out)
        self.said: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = orjson.loads(line)

    @property
    def assigned(self) -> set[int]:
        assert self.process.poll() is None, self.output.read_text()[-3000:]
        return set(self.said.get("assigned", ()))

    def stop(self) -> None:
        """SIGTERM, and a clean end."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SECONDS) == 0, self.output.read_text()[-3000:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._reader.join(30)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Site:
    """Topics, a database and an archive of their own, the workers on them, and a load that goes on until it is stopped."""

    def __init__(self, cluster: Kafka, server: clickhouse.Server, folder: Path) -> None:
        number = next(_numbers)
        self.cluster, self.folder, self.prefix = cluster, folder, f"workers{number}."
        cluster.make_topics([self.prefix + t.name for t in TOPICS], PARTITIONS)
        self.log = KafkaLog(cluster.settings(topic_prefix=self.prefix))
        settings = server.settings(database=f"workers_{number}")
        self.written = {name: value for name, value in with_secrets(settings).items() if value is not None}
        self.store: Store = connect(ClickHouseSettings.model_validate(self.written), folder)
        self.store.migrate()
        self.workers: list[Worker] = []
        self.shipped: list[Block] = []
        self._stop = threading.Event()
        self._load = threading.Thread(target=self._ship, daemon=True)

    def start(self, name: str) -> Worker:
        places = ("memory", "rocksdb") if find_spec("rocksdict") else ("memory",)  # what one publishes is the other's to take up
        self.workers.append(Worker(self, name, places[len(self.workers) % len(places)]))
        return self.workers[-1]

    def begin_load(self) -> None:
        self._load.start()

    def end_load(self) -> None:
        self._stop.set()
        self._load.join(60)

    def _ship(self) -> None:
        sources = [Source(f"proxy/{n}") for n in range(SOURCES)]
        while not self._stop.wait(0.4):
            blocks = [s.seal([s.session_opened(), *(s.query() for _ in range(5))]) for s in sources]
            self.log.append(EVENTS.name, [record(b) for b in blocks])
            self.shipped += blocks

    def shared_out(self, *workers: Worker) -> bool:
        """Whether these workers have all partitions, each its own."""
        held = [w.assigned for w in workers]
        return sum(map(len, held)) == len(set().union(*held)) == PARTITIONS and all(held)

    def stands_by(self, worker: Worker) -> bool:
        """Whether a worker knows the states of partitions that are not its own."""
        active = {str(p) for p in range(PARTITIONS) if self.log.end_offset(ACTIVITY.name, p)}
        others = active - {str(p) for p in worker.said.get("assigned", ())}
        return bool(others) and active <= worker.said.get("activity_offsets", {}).keys() and worker.said["principals"] == 3

    def more_rows(self) -> None:
        """Wait until what was shipped after this call became rows."""
        numbers: dict[str, int] = {}
        before = len(self.shipped)
        wait_for(lambda: len(self.shipped) >= before + SOURCES, "the load to go on", SECONDS)
        numbers = {b.header.source: b.header.number for b in self.shipped[before : before + SOURCES]}
        wait_for(lambda: len(self.store.block_ids(numbers.items())) == SOURCES, "rows of every source", SECONDS, poll=0.3)

    def check(self) -> None:
        """Every block shipped is there, every event exactly once, and the archive is whole."""
        wait_for(lambda: self._count("blocks") >= len(self.shipped), "all blocks to be rows", SECONDS, poll=0.3)
        wait_for(lambda: counted(self.store) == statements(self.shipped), "activity to be counted once", SECONDS, poll=1.0)
        where = self.store.database
        rows = self.store.client.query(
            f"SELECT source, epoch, seq FROM {where}.query_events UNION ALL SELECT source, epoch, seq FROM {where}.other_events"
        ).result_rows
        headers = [b.header for b in self.shipped]
        assert sorted(rows) == sorted((h.source, h.epoch, h.first_seq + i) for h in headers for i in range(h.count))
        assert self._count("blocks") == len(headers)
        archive = Archive(self.folder / "archive")
        assert archive.verify().ok
        assert sorted(b.header.block_id for b in archive.blocks()) == sorted(h.block_id for h in headers)

    def _count(self, table: str) -> int:
        return int(self.store.client.query(f"SELECT count() FROM {self.store.database}.{table}").result_rows[0][0])

    def close(self) -> None:
        self._stop.set()
        for worker in self.workers:
            worker.kill()
        self.store.close()
        self.log.close()


@pytest.fixture
def site(kafka: Kafka, tmp_path: Path) -> Iterator[Site]:
    with clickhouse.serving() as server:
        made = Site(kafka, server, tmp_path)
        yield made
        made.close()


@pytest.mark.timeout(600)  # eight starts and rebalances, on a machine that may do other things
def test_workers_are_added_ended_and_killed_under_load_and_every_event_is_one_row(site: Site) -> None:
    site.begin_load()
    first = site.start("first")
    wait_for(lambda: site.shared_out(first), "the first worker to have all partitions", SECONDS)
    site.more_rows()
    second = site.start("second")
    wait_for(lambda: site.shared_out(first, second), "both to share them", SECONDS)
    site.more_rows()
    first.stop()
    wait_for(lambda: site.shared_out(second), "the second to take over", SECONDS)
    third = site.start("third")
    wait_for(lambda: site.shared_out(second, third), "the third to have its share", SECONDS)
    wait_for(lambda: site.stands_by(third), "the third to know of all partitions' principals", SECONDS)
    site.more_rows()
    second.kill()
    wait_for(lambda: site.shared_out(third), "the third to take over from the dead one", SECONDS)
    site.more_rows()
    site.end_load()
    site.check()
    third.stop()
