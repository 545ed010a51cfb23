"""How long after a decision is written does a proxy's event loop have it? Prints milliseconds, for both logs.

    python -m bench.control [--quick] [--messages 300] [--workers 4]

From the call that writes (another process's, on the machine's monotonic clock) to the callback on each of `workers` event loops,
each with a reader of its own as a proxy has. Kafka: one broker started here; without Java, only the embedded log.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ingest.net.control import Change, Control
from schemas.config import KafkaSettings
from schemas.control import ApprovalDecided, publish
from schemas.log import Log
from schemas.topics import CONTROL
from tests.support.control_key import SIGNER, TRUST

PAUSE_SECONDS = 0.15
"""On average, between two messages: readers are waiting when one comes, as they are when a person decides."""


def open_sqlite(path: Path) -> Log:
    from schemas.log.sqlite import SqliteLog

    return SqliteLog(path)


def open_kafka(settings: KafkaSettings, reads_only: bool = True) -> Log:
    from schemas.log.kafka import KafkaLog

    return KafkaLog(settings, reads_only)


def write(open_log: Callable[[], Log], messages: int) -> None:
    """Write one message after the other; each says when writing it began."""
    log, moments = open_log(), random.Random(7)
    for number in range(-1, messages):  # the first makes the connection, and is not counted
        time.sleep(moments.uniform(0.5, 1.5) * PAUSE_SECONDS)
        message = ApprovalDecided(at=time.monotonic_ns(), actor="bench", approval_id=str(number), approved=True)
        publish(log, [message], SIGNER)
    log.close()


class Reader(threading.Thread):
    """One event loop with its reader; `millis` is how long each message took."""

    def __init__(self, open_log: Callable[[], Log], messages: int) -> None:
        super().__init__(daemon=True)
        self.millis: list[float] = []
        self.known = threading.Event()
        self._open, self._messages = open_log, messages

    def run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        done = asyncio.Event()

        def heard(change: Change) -> None:
            took = (time.monotonic_ns() - change.message.at) / 1e6 if isinstance(change.message, ApprovalDecided) else 0.0
            if change.key != "approval/-1":
                self.millis.append(took)
            if len(self.millis) == self._messages:
                done.set()

        control = Control(self._open, asyncio.get_running_loop(), time.monotonic_ns, TRUST)
        control.subscribe(heard)
        control.start()
        while not control.known:  # noqa: ASYNC110 - nothing tells it, and nobody else needs to be told
            await asyncio.sleep(0.01)
        self.known.set()
        await asyncio.wait_for(done.wait(), 600)
        control.close()


def measure(name: str, open_reader: Callable[[], Log], open_writer: Callable[[], Log], messages: int, workers: int) -> None:
    readers = [Reader(open_reader, messages) for _ in range(workers)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.known.wait(60)
    writer = multiprocessing.get_context("spawn").Process(target=write, args=(open_writer, messages))
    writer.start()
    for reader in readers:
        reader.join()
    writer.join()
    took = sorted(ms for reader in readers for ms in reader.millis)
    p99 = took[len(took) * 99 // 100]
    print(
        f"{name:>8}: median {statistics.median(took):6.1f} ms, p99 {p99:6.1f} ms, max {took[-1]:6.1f} ms "
        f"({messages} messages to {workers} proxies; aim: median under 200 ms)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--workers", type=int, default=4)
    asked = parser.parse_args()
    messages = 60 if asked.quick else asked.messages
    with tempfile.TemporaryDirectory(prefix="affidavit-bench-") as folder:
        opener = partial(open_sqlite, Path(folder) / "log.db")
        measure("embedded", opener, opener, messages, asked.workers)
    from tests.support import kafka, kafka_jars

    if reason := kafka_jars.missing():
        print(f"   kafka: not measured: {reason}")
        return
    with kafka.running() as cluster:
        cluster.make_topics([CONTROL.name], config={"cleanup.policy": "compact"})
        settings = cluster.settings()
        measure("kafka", partial(open_kafka, settings), partial(open_kafka, settings, False), messages, asked.workers)


if __name__ == "__main__":
    main()
