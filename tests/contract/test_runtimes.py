"""What every runtime does, whatever it runs on: in one process over SQLite's log or Kafka's, and as a Faust worker.

The same records in, the same rows out: blocks once each, however often they come; what is no block among the dead letters; each
principal's activity counted once; and a start without memory, which reads the topics from their beginning, changes nothing.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from processors.archive import Archive
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import Store, connect
from schemas.config import ClickHouseSettings, with_secrets
from schemas.dead_letters import letters
from schemas.integrity import Block
from schemas.log import Log, NewRecord
from schemas.log.kafka import KafkaLog
from schemas.log.sqlite import SqliteLog
from schemas.topics import ACTIVITY, EVENTS, TOPICS
from tests.support import clickhouse
from tests.support.activity_counts import counted, statements
from tests.support.event_blocks import START, Source, record
from tests.support.kafka import Kafka

ROOT = Path(__file__).parents[2]
PARTITIONS = 2
_numbers = itertools.count(1)


class Site:
    """A log, a database and an archive of their own, and the work of one runtime on them."""

    def __init__(self, folder: Path, server: clickhouse.Server, log: Log) -> None:
        self.folder, self.log, self.memory = folder, log, 1
        settings = server.settings(database=f"runtime_{next(_numbers)}")
        self.written = {name: value for name, value in with_secrets(settings).items() if value is not None}
        self.store: Store = connect(ClickHouseSettings.model_validate(self.written), folder)
        self.store.migrate()

    def work(self) -> None:
        """Start, take everything through, stop."""
        archive = Archive(self.folder / "archive")
        runtime = EmbeddedRuntime(
            self.log, self.store, archive, self.folder / f"{self.memory}.db", lambda: START, self.folder / "keys", max_blocks=7
        )
        while runtime.step():
            pass
        runtime.close()
        archive.close()

    def forget(self) -> None:
        """Lose what was remembered of the topics."""
        self.memory += 1

    def close(self) -> None:
        self.store.close()
        self.log.close()


class FaustSite(Site):
    """The same on a worker, which is started and ended as a process."""

    def __init__(self, folder: Path, server: clickhouse.Server, kafka: Kafka, prefix: str) -> None:
        settings = kafka.settings(topic_prefix=prefix)
        super().__init__(folder, server, KafkaLog(settings))
        self.kafka = kafka.written(settings)["kafka"]

    def work(self) -> None:
        o = {"data": str(self.folder), "kafka": self.kafka, "group": f"group-{self.memory}", "store": self.written}
        command = [sys.executable, "-m", "tests.support.faust_child", orjson.dumps(o, default=str).decode()]
        with (self.folder / "said").open("ab") as said:
            worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said)
        try:
            assert worker.stdout is not None
            assert any(self._whole(orjson.loads(line)) for line in worker.stdout), (self.folder / "said").read_text()[-3000:]
            worker.send_signal(signal.SIGTERM)
            worker.stdout.read()
            assert worker.wait(60) == 0
        finally:
            worker.kill()
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()

    def _whole(self, status: dict[str, Any]) -> bool:
        ends = {p: (self.log.end_offset(EVENTS.name, p), self.log.end_offset(ACTIVITY.name, p)) for p in range(PARTITIONS)}
        blocks, activity = status.get("next_offsets", {}), status.get("activity_offsets", {})
        return all(blocks.get(str(p), 0) == b and activity.get(str(p), 0) == a for p, (b, a) in ends.items())


@pytest.fixture(scope="module")
def server() -> Iterator[clickhouse.Server]:
    """One engine for all; each site has a database of its own."""
    with clickhouse.serving() as made:
        yield made


def embedded_sqlite(folder: Path, server: clickhouse.Server, get: Callable[[str], Any]) -> Site:
    return Site(folder, server, SqliteLog(folder / "log.db"))


def embedded_kafka(folder: Path, server: clickhouse.Server, get: Callable[[str], Any]) -> Site:
    return Site(folder, server, KafkaLog(_topics(get("kafka"), "embedded.").settings(topic_prefix="embedded.")))


def faust_kafka(folder: Path, server: clickhouse.Server, get: Callable[[str], Any]) -> Site:
    return FaustSite(folder, server, _topics(get("kafka"), "worker."), "worker.")


def _topics(kafka: Kafka, prefix: str) -> Kafka:
    kafka.make_topics([prefix + t.name for t in TOPICS], PARTITIONS)
    return kafka


def made() -> list[Block]:
    """Blocks of three sources, of two hours, with denials and errors among them."""
    sources = [Source(f"proxy/{n}") for n in range(3)]
    found = []
    for n in range(30):
        s = sources[n % 3]
        if n == 15:
            for each in sources:
                each.now += 3_600_000_000
        lines = [s.session_opened(n % 8), *(s.query() for _ in range(9))]
        lines[3] = lines[3].replace(b'"status":"ok"', b'"status":"denied"')
        lines[5] = lines[5].replace(b'"status":"ok","sqlstate":""', b'"status":"error","sqlstate":"42P01"')
        found.append(s.seal([*lines, s.session_closed(n % 8)]))
    return found


def rows(store: Store) -> dict[str, list[Any]]:
    """What every runtime must make alike; where in the log a block lies is the log's affair."""
    left_out = {"query_events": "inserted_at", "other_events": "inserted_at", "blocks": "inserted_at, log_offset"}
    found = {}
    for table in ("query_events", "other_events", "sessions", "blocks"):
        kept = f"* EXCEPT ({left_out[table]})" if table in left_out else "*"
        final = "FINAL" if table in ("sessions", "blocks") else ""
        found[table] = store.client.query(f"SELECT {kept} FROM {store.database}.{table} {final} ORDER BY ALL").result_rows
    return found


_reference: dict[str, list[Any]] = {}
"""The first runtime's rows, which the others must make too."""


@pytest.mark.parametrize("made_site", [embedded_sqlite, embedded_kafka, faust_kafka], ids=lambda f: f.__name__)
def test_the_same_events_make_the_same_rows(
    made_site: Callable[..., Site], server: clickhouse.Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    site = made_site(tmp_path, server, request.getfixturevalue)
    try:
        blocks = made()
        poison = NewRecord(b"proxy/1", b"no line of ours\n", record(blocks[4]).headers)
        site.log.append(EVENTS.name, [*map(record, blocks[:12]), poison, *map(record, blocks[:12])])
        site.work()
        assert counted(site.store) == statements(blocks[:12])
        site.log.append(EVENTS.name, [*map(record, blocks[12:]), record(blocks[3])])
        site.work()  # a restart goes on where it was

        def check() -> dict[str, list[Any]]:
            found = rows(site.store)
            assert [r[0] for r in found["blocks"]] == sorted(b.header.source for b in blocks)
            assert len(found["query_events"]) == 9 * len(blocks)
            assert counted(site.store) == statements(blocks)
            assert len({letter.reason for letter in letters(site.log)}) == 1
            archive = Archive(tmp_path / "archive")
            assert sorted(b.header.block_id for b in archive.blocks()) == sorted(b.header.block_id for b in blocks)
            return found

        first = check()
        assert first == (_reference or first)
        _reference.update(first)
        # Activity that was sent and not noted, as by a worker that died between the two: it comes again.
        for partition in range(site.log.partitions(ACTIVITY.name)):
            sent = site.log.read(ACTIVITY.name, 0, 1000, partition=partition)
            site.log.append(ACTIVITY.name, [NewRecord(r.key, r.value, r.headers) for r in sent])
        site.work()
        assert check() == first
        site.forget()
        site.work()
        assert check() == first
    finally:
        site.close()
