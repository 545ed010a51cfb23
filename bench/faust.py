"""How fast does a worker turn blocks on Kafka into ClickHouse rows, and what do blocks buy?

    python -m bench.faust [--quick] [--blocks N] [--rounds N] [--only worker,bare,agent]

A real broker holds sealed blocks of 500 events of about 1.3 KB, as proxies ship them (zstd), of 24 sources over 12 partitions. In
turn each of these reads them from the beginning, in a process of its own, into a database of its own on one ClickHouse by HTTP
(chDB behind ClickHouse's interface, also a process of its own):

- worker: `affidavit process` as it is: verify, classify, project, archive with fdatasync, insert once, commit by the changelog
- bare: a confluent-kafka consumer that joins the same bytes and inserts them as JSONEachRow, as many at a time; nothing else
- agent: one Faust agent that takes events one by one, one message each (a tenth of the events), and inserts them 32,000 at a time

Time and processor time count from a contender's first rows to its last. "Worker core" is processor time of the contender's own
process; what ClickHouse used for it in its process (inserts, and merges meanwhile) stands beside it. The first ratio is of rows a
second; the second, of processor time of contender and ClickHouse together, depends less on what else the machine does.

Before them, what an event takes on the broker's disk, in one copy, of blocks shipped one at a time, as by a proxy that is not
behind.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faust
import orjson
from confluent_kafka import Consumer

from deploy.logs import configure
from processors.archive import Archive
from processors.runtimes.faust_app import FaustRuntime
from processors.sinks.clickhouse import Store, connect
from processors.steps.work import Batch
from schemas.config import ClickHouseSettings, KafkaSettings, with_secrets
from schemas.integrity import Block
from schemas.log import NewRecord
from schemas.log.kafka import KafkaLog
from schemas.topics import EVENTS, TOPICS
from tests.support import clickhouse, kafka
from tests.support.event_blocks import Source, record

EVENTS_PER_BLOCK, SOURCES = 500, 24
BLOCKS_AT_ONCE = 64
"""About what a batch of the worker's holds by its bytes."""

ROOT = Path(__file__).parents[1]
SINGLE = "single.events"
"""One event a message, for the agent."""

SECONDS = 200.0
AT_A_TIME = BLOCKS_AT_ONCE * EVENTS_PER_BLOCK
PLAIN = """CREATE TABLE {database}.published (
    type LowCardinality(String), v UInt32, source LowCardinality(String), epoch UInt32, seq UInt64, event_id UUID, at Int64,
    ended_at Int64, kind LowCardinality(String), transaction LowCardinality(String), params Array(String),
    claims Map(String, String),
    session_id LowCardinality(String), principal Tuple(id LowCardinality(String), kind LowCardinality(String),
        groups Array(LowCardinality(String)), auth_method LowCardinality(String), credential_id LowCardinality(String),
        on_behalf_of LowCardinality(String), delegation Array(LowCardinality(String))),
    database Tuple(alias LowCardinality(String), engine LowCardinality(String), environment LowCardinality(String),
        name LowCardinality(String)), db_user LowCardinality(String),
    client Tuple(address LowCardinality(String), application LowCardinality(String), driver LowCardinality(String),
        tls LowCardinality(String)),
    text LowCardinality(String), text_hash LowCardinality(String), fingerprint LowCardinality(String),
    facts Tuple(verbs Array(LowCardinality(String)), reads Array(LowCardinality(String)), writes Array(LowCardinality(String)),
        columns Array(Tuple(name LowCardinality(String), roles Array(LowCardinality(String)))),
        functions Array(LowCardinality(String)), flags Array(LowCardinality(String)), dangers Array(LowCardinality(String))),
    decision Tuple(verdict LowCardinality(String), policies Array(LowCardinality(String)), bundle LowCardinality(String),
        risk UInt8, approval_id String),
    outcome Tuple(status LowCardinality(String), sqlstate LowCardinality(String), rows_returned UInt64, rows_affected UInt64,
        bytes_in UInt64, bytes_out UInt64, db_us UInt64, held_us UInt64, total_us UInt64),
    exposure Map(LowCardinality(String), UInt64)
) ENGINE = MergeTree ORDER BY (source, epoch, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one contender did: rows inserted, seconds, and processor seconds of its process and of ClickHouse's."""

    rows: int
    wall: float
    own: float
    store: float


class Meter:
    """Counts from the first rows, when all is warm, to the last of `total`."""

    def __init__(self, total: int, store_pid: int) -> None:
        self._total, self._pid = total, store_pid
        self._began: tuple[int, float, float, float] | None = None

    def saw(self, rows: int) -> Figures | None:
        """Take the number of rows inserted so far; return the figures when these are all."""
        if rows == 0:
            return None
        at = (rows, time.perf_counter(), time.process_time(), _used(self._pid))
        if self._began is None:
            self._began = at
        if rows < self._total:
            return None
        began = self._began
        return Figures(at[0] - began[0], at[1] - began[1], at[2] - began[2], at[3] - began[3])


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- contenders: each in a process of its own -------------------------------------------------------------------------


def worker(o: dict[str, Any], store: Store, settings: KafkaSettings, meter: Meter) -> Figures:
    """The worker as it is."""
    folder = Path(o["folder"])
    store.migrate()
    archive = Archive(folder / "archive")
    figures: list[Figures] = []
    loop: list[asyncio.AbstractEventLoop] = []
    whole = asyncio.Event()
    rows = 0

    def stored(batch: Batch, now: int) -> None:
        nonlocal rows
        rows += sum(a.block.header.count for a in batch.fresh)
        if (found := meter.saw(rows)) is not None:
            figures.append(found)
            loop[0].call_soon_threadsafe(whole.set)

    runtime = FaustRuntime(settings, store, archive, _now, folder / "keys", folder / "faust", group=o["group"], stored=stored)

    async def work() -> Figures:
        loop.append(asyncio.get_running_loop())
        stop = asyncio.Event()
        running = asyncio.create_task(runtime.run(stop))
        await asyncio.wait([running, asyncio.create_task(whole.wait())], return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await running
        return figures[0]

    found = asyncio.run(work())
    archive.close()
    return found


def _now() -> int:
    return time.time_ns() // 1000


def bare(o: dict[str, Any], store: Store, settings: KafkaSettings, meter: Meter) -> Figures:
    """The same bytes, read and inserted."""
    store.migrate()
    store.client.command(PLAIN.format(database=store.database))
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(settings.bootstrap_servers),
            "group.id": o["group"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([settings.topic_prefix + EVENTS.name])
    rows = 0
    while True:
        messages = [m for m in consumer.consume(BLOCKS_AT_ONCE, 0.5) if m.error() is None]
        if not messages:
            continue
        body = b"".join(m.value() or b"" for m in messages)
        store.client.raw_insert(f"{store.database}.published", insert_block=body, fmt="JSONEachRow")
        consumer.commit(asynchronous=False)
        rows += body.count(b"\n")
        if (figures := meter.saw(rows)) is not None:
            consumer.close()
            return figures


def agent(o: dict[str, Any], store: Store, settings: KafkaSettings, meter: Meter) -> Figures:
    """Events one by one, as a Faust agent is usually written."""
    store.migrate()
    store.client.command(PLAIN.format(database=store.database))
    app = faust.App(
        o["group"],
        broker=[f"kafka://{server}" for server in settings.bootstrap_servers],
        store="memory://",
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    topic = app.topic(
        settings.topic_prefix + SINGLE, value_type=bytes, value_serializer="raw", key_serializer="raw", key_type=bytes
    )
    done: list[Figures] = []
    whole = asyncio.Event()

    async def take(stream: Any) -> None:
        waiting: list[bytes] = []
        rows = 0
        async for value in stream:
            waiting.append(value)
            rows += 1
            if len(waiting) == AT_A_TIME or rows == o["rows"]:
                body = b"".join(waiting)
                store.client.raw_insert(f"{store.database}.published", insert_block=body, fmt="JSONEachRow")
                waiting.clear()
            if (rows % 1000 == 0 or rows == o["rows"]) and (figures := meter.saw(rows)) is not None:
                done.append(figures)
                whole.set()

    app.agent(topic)(take)

    async def work() -> Figures:
        await app.start()
        await whole.wait()
        await app.stop()
        return done[0]

    return asyncio.run(work())


CONTENDERS: dict[str, Callable[[dict[str, Any], Store, KafkaSettings, Meter], Figures]] = {
    "worker": worker,
    "bare": bare,
    "agent": agent,
}


def contend(options: str) -> None:
    """Be a contender: run it and print its figures."""
    o = orjson.loads(options)
    configure("process")
    store = connect(ClickHouseSettings.model_validate(o["store"]), Path(o["folder"]))
    settings = KafkaSettings.model_validate(o["kafka"])
    try:
        figures = CONTENDERS[o["name"]](o, store, settings, Meter(o["rows"], o["store_pid"]))
    finally:
        store.close()
    print(orjson.dumps(asdict(figures)).decode(), flush=True)


# -- the contest ------------------------------------------------------------------------------------------------------


class Contest:
    """A broker with the blocks on it, a ClickHouse, and what each contender did."""

    def __init__(self, cluster: kafka.Kafka, server: clickhouse.Server, folder: Path, blocks: int) -> None:
        self._cluster, self._server, self._folder = cluster, server, folder
        self.rows = blocks * EVENTS_PER_BLOCK
        self.few = self.rows // 10
        sources = [Source(f"proxy/{n}") for n in range(SOURCES)]
        self._blocks: list[Block] = [next(sources[n % SOURCES].blocks(1, EVENTS_PER_BLOCK)) for n in range(blocks)]
        self.line_bytes = sum(len(b.body) for b in self._blocks) / self.rows
        self._numbers = itertools.count(1)
        self.figures: dict[str, list[Figures]] = {}

    def run(self, name: str) -> None:
        """Let a contender run, and see that its rows are there."""
        number = next(self._numbers)
        folder, prefix = self._folder / str(number), f"contest{number}."
        folder.mkdir()
        store_settings = self._server.settings(database=f"contest_{number}")
        settings = self._cluster.settings(topic_prefix=prefix)
        options = {
            "name": name,
            "folder": str(folder),
            "group": f"group-{number}",
            "store": _plain(store_settings),
            "store_pid": self._server.pid,
            "kafka": self._cluster.written(settings)["kafka"],
        }
        self._cluster.make_topics([prefix + t.name for t in TOPICS] + [prefix + SINGLE], EVENTS.partitions)
        log = KafkaLog(settings)
        rows = self.few if name == "agent" else self.rows
        if name == "agent":
            lines = itertools.islice(((b.header.source, line) for b in self._blocks for line in b.lines()), self.few)
            singles = [NewRecord(source.encode(), line + b"\n") for source, line in lines]
            for at in range(0, self.few, 10_000):
                log.append(SINGLE, singles[at : at + 10_000])
        else:
            self._ship(log, self._blocks[:SOURCES])
            if name == "worker":  # a worker in service knows where it is; one that does not looks at each row whether it is there
                self._contend({**options, "rows": SOURCES * EVENTS_PER_BLOCK}, folder)
            self._ship(log, self._blocks[SOURCES:])
        log.close()
        begun = SOURCES * EVENTS_PER_BLOCK if name == "worker" else 0
        figures = self._contend({**options, "rows": rows - begun}, folder)
        store = connect(ClickHouseSettings.model_validate(_plain(store_settings)), folder)
        table = "query_events" if name == "worker" else "published"
        there = store.counts([table])[table]
        store.client.command(f"DROP DATABASE {store.database}")
        store.close()
        if there != rows:
            sys.exit(f"{name}: {rows} events went in, {there} rows came out")
        self.figures.setdefault(name, []).append(figures)
        shutil.rmtree(folder)

    def bytes_on_disk(self, each: int) -> float:
        """Return what an event takes in the topic, of blocks of so many."""
        settings = self._cluster.settings(topic_prefix=f"size{each}.")
        self._cluster.make_topics([settings.topic_prefix + EVENTS.name], 1)
        count = 20_000 // each
        log = KafkaLog(settings)
        for block in Source("proxy/0").blocks(count, each):
            log.append(EVENTS.name, [record(block)])
        log.close()
        files = self._cluster.nodes[0].folder.glob(f"data/{settings.topic_prefix}{EVENTS.name}-*/*.log")
        return sum(file.stat().st_size for file in files) / (count * each)

    def _ship(self, log: KafkaLog, blocks: list[Block]) -> None:
        for at in range(0, len(blocks), BLOCKS_AT_ONCE):
            log.append(EVENTS.name, [record(b) for b in blocks[at : at + BLOCKS_AT_ONCE]])

    def _contend(self, options: dict[str, Any], folder: Path) -> Figures:
        command = [sys.executable, "-m", "bench.faust", "--contend", orjson.dumps(options, default=str).decode()]
        with (folder / "output").open("wb") as out:
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=out, timeout=SECONDS, check=False)
        if done.returncode:
            sys.exit(f"{options['name']} ended with {done.returncode}:\n{(folder / 'output').read_text()[-3000:]}")
        return Figures(**orjson.loads(done.stdout.splitlines()[-1]))

    def median(self, name: str, of: Callable[[Figures], float]) -> float:
        """Return the median over the rounds."""
        return statistics.median(of(f) for f in self.figures[name])


def _plain(settings: ClickHouseSettings) -> dict[str, Any]:
    return {name: value for name, value in with_secrets(settings).items() if value is not None}


def main() -> None:
    """Run the contest and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of a third of the blocks")
    parser.add_argument("--blocks", type=int, default=0, help="sealed blocks on the topic (default 768)")
    parser.add_argument("--rounds", type=int, default=0, help="how often each contender runs (default 3)")
    parser.add_argument("--only", default="worker,bare,agent", help="which contenders")
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.contend:
        contend(chosen.contend)
        return
    blocks, rounds = chosen.blocks or (256 if chosen.quick else 768), chosen.rounds or (1 if chosen.quick else 3)
    names = [name for name in CONTENDERS if name in chosen.only.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="bench-faust-"))
    try:
        with kafka.running() as cluster, clickhouse.serving() as server:
            contest = Contest(cluster, server, folder, blocks)
            for each in (500, 20):
                print(f"on the broker's disk {contest.bytes_on_disk(each):6.1f} bytes an event, of blocks of {each}", flush=True)
            for name in names * rounds:
                contest.run(name)
    finally:
        shutil.rmtree(folder)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{blocks} blocks of {EVENTS_PER_BLOCK} events, {contest.line_bytes:.0f} bytes a line; median of {rounds}\n")
    _show(contest, names)


def _show(contest: Contest, names: list[str]) -> None:
    print(f"{'':8}{'rows/s':>10}{'rows/s and worker core':>24}{'µs a row: own':>16}{'ClickHouse':>12}")
    for name in names:
        wall = contest.median(name, lambda f: f.rows / f.wall)
        core = contest.median(name, lambda f: f.rows / f.own)
        own, store = (contest.median(name, lambda f, of=of: getattr(f, of) / f.rows * 1e6) for of in ("own", "store"))  # type: ignore[misc]
        print(f"{name:8}{wall:10,.0f}{core:24,.0f}{own:16.1f}{store:12.1f}")
    for other in names:
        if "worker" in names and other != "worker":
            by_wall = contest.median("worker", lambda f: f.rows / f.wall) / contest.median(other, lambda f: f.rows / f.wall)
            both = [contest.median(n, lambda f: f.rows / (f.own + f.store)) for n in ("worker", other)]
            print(
                f"\nworker to {other}: rows a second {by_wall:.2f}, rows a second of processor time {both[0] / both[1]:.2f}",
                end="",
            )
    print()


if __name__ == "__main__":
    main()
