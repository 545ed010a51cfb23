"""How fast sealed blocks become ClickHouse rows, and how many bytes an event takes at rest.

    python -m bench.pipeline [--quick] [--blocks N] [--events N] [--sources N] [--http]

Blocks of 500 realistic events of about 1.3 KB are put in the embedded log (`--events`, `--sources`: what is paid by the block or
the source weighs more where these are many). Then one pipeline works them off: read, hash every line and check the Merkle root,
the signature and the chain, parse, project, archive with fdatasync, insert into chDB with fsync. CPU is the whole process's, user
and system, over all threads, so chDB's inserting and merging is in it. The baseline of the same run is what it takes merely to
parse the lines as JSON (orjson) and to hash them (SHA-256). Then single blocks are shipped to an idle pipeline, and the time from
sealing to a row that a query finds is taken.

With `--http` the store is chDB behind ClickHouse's HTTP interface, in a process of its own: CPU is then the worker's alone, which
compresses what it sends, and none of the engine's.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import platform
import shutil
import statistics
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors.archive import Archive
from processors.pipeline import STEPS
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import Store, connect
from processors.steps.work import Batch, State
from schemas.config import ClickHouseSettings
from schemas.integrity import Block
from schemas.log import Record
from schemas.log.sqlite import SqliteLog
from schemas.topics import EVENTS
from tests.support.clickhouse import serving
from tests.support.event_blocks import Source, record

WARM_BLOCKS = 64


def main() -> None:
    """Run all measurements and print them."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="a fifth of the blocks")
    arguments.add_argument("--blocks", type=int, default=0, help="sealed blocks to work off (default 512)")
    arguments.add_argument("--events", type=int, default=500, help="events in a block (default 500, as the sealer's)")
    arguments.add_argument("--sources", type=int, default=1, help="sources that the blocks are of, in turn (default 1)")
    arguments.add_argument("--http", action="store_true", help="the store is a server, reached by HTTP")
    chosen = arguments.parse_args()
    count = chosen.blocks or (128 if chosen.quick else 512)
    folder = Path(tempfile.mkdtemp(prefix="bench-pipeline-"))
    try:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(serving()) if chosen.http else None
            _measure(
                folder, count, chosen.events, chosen.sources, server.settings() if server is not None else ClickHouseSettings()
            )
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, count: int, each: int, several: int, settings: ClickHouseSettings) -> None:
    key = Ed25519PrivateKey.generate()
    sources = [Source(f"proxy/{n}", key=key) for n in range(several)]
    _register(folder / "keys", key, several)
    blocks = [next(sources[n % several].blocks(1, each)) for n in range(count)]
    events = count * each
    published = sum(len(b.body) for b in blocks)
    baseline = _baseline(blocks) / events
    log = SqliteLog(folder / "log.db")
    store = connect(settings, folder)
    store.migrate()
    archive = Archive(folder / "archive")
    runtime = EmbeddedRuntime(log, store, archive, folder / "pipeline.db", _now)
    # Some first, so that imports, caches and the engine's threads are warm, and each source's files are open.
    warm = max(WARM_BLOCKS, several)
    _ship(log, blocks[:warm])
    while runtime.step():
        pass
    for at in range(warm, count, WARM_BLOCKS):
        _ship(log, blocks[at : at + WARM_BLOCKS])
    timed = (count - warm) * each
    wall, cpu = time.perf_counter(), time.process_time()
    while runtime.step():
        pass
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows = store.counts()
    if rows["query_events"] != events:
        sys.exit(f"{events} events went in, {rows['query_events']} rows came out")

    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, chDB {store.client.server_version}")
    print(f"{count} blocks of {each} events, {several} sources, {published / events:.0f} bytes a line\n")
    print(f"CPU against parsing and hashing alone    {cpu / timed / baseline:6.2f} x  ({baseline * 1e6:.2f} µs an event)")
    print(f"events a second and core                 {timed / cpu:10,.0f}  ({cpu / timed * 1e6:.1f} µs CPU an event)")
    print(f"events a second, wall                    {timed / wall:10,.0f}  ({cpu / wall:.2f} cores busy)")
    for name, seconds in _stages(blocks[: 2 * WARM_BLOCKS], each, key).items():
        print(f"  of which {name:29} {seconds * 1e6:10.2f} µs CPU an event")
    _print_sizes(store, folder, events, published)
    _print_latency(runtime, log, store, sources[0])
    runtime.close()
    archive.close()
    store.close()
    log.close()


def _register(folder: Path, key: Ed25519PrivateKey, several: int) -> None:
    folder.mkdir()
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for n in range(several):
        (folder / f"proxy_{n}.pub").write_bytes(pem)


def _ship(log: SqliteLog, blocks: list[Block]) -> None:
    log.append(EVENTS.name, [record(b) for b in blocks])


def _now() -> int:
    return time.time_ns() // 1000


def _baseline(blocks: list[Block]) -> float:
    """CPU seconds to parse and hash every line, and do nothing else."""
    lines = [line for b in blocks for line in b.lines()]
    began = time.process_time()
    for line in lines:
        orjson.loads(line)
        sha256(line).digest()
    return time.process_time() - began


def _stages(blocks: list[Block], each: int, key: Ed25519PrivateKey) -> dict[str, float]:
    """CPU seconds an event of each step, over whole batches."""
    records = tuple(Record(EVENTS.name, i, b"", b.body, b.log_headers()) for i, b in enumerate(blocks))
    state, batch = State(), Batch(records, {b.header.source: key.public_key().public_bytes_raw() for b in blocks})
    spent = {}
    gc.disable()  # as the runtime does
    for step in STEPS:
        began = time.process_time()
        state, batch = step(state, batch, 0)
        spent[getattr(step, "__name__", "step")] = (time.process_time() - began) / (len(blocks) * each)
    gc.enable()
    return spent


def _print_sizes(store: Store, folder: Path, events: int, published: int) -> None:
    as_written = store.bytes_at_rest()["query_events"][1] / events
    store.client.command(f"OPTIMIZE TABLE {store.database}.query_events FINAL")
    merged = store.bytes_at_rest()["query_events"][1] / events
    archived = sum(p.stat().st_size for p in (folder / "archive").glob("*/*") if p.is_file()) / events
    print(f"\nbytes an event at rest                   {merged + archived:6.1f}  of {published / events:.0f} published")
    print(f"  ClickHouse, indexes included           {merged:6.1f}  ({as_written:.1f} as first written)")
    print(f"  archive                                {archived:6.1f}")


def _print_latency(runtime: EmbeddedRuntime, log: SqliteLog, store: Store, source: Source) -> None:
    stop = Event()
    runner = Thread(target=runtime.run, args=(stop,))
    runner.start()
    reader = store.new_client()
    taken, cpu = [], time.process_time()
    began = time.perf_counter()
    for _ in range(30):
        source.now = _now()
        block = next(source.blocks(1, 50))
        sealed = time.perf_counter()
        _ship(log, [block])
        query = f"SELECT count() FROM {store.database}.blocks WHERE source = 'proxy/0' AND number = {block.header.number}"
        while reader.command(query) == 0:
            time.sleep(0.005)
        taken.append(time.perf_counter() - sealed)
        time.sleep(max(0.0, 0.2 - (time.perf_counter() - sealed)))
    busy = (time.process_time() - cpu) / (time.perf_counter() - began)
    stop.set()
    runner.join()
    taken.sort()
    p50, p99 = statistics.median(taken), taken[-1]
    print(f"\nseal to visible row, idle, one block at a time: median {p50 * 1e3:.0f} ms, slowest of 30 {p99 * 1e3:.0f} ms")
    print(f"  at {busy:.2f} cores busy, the polling queries of this measurement included")


if __name__ == "__main__":
    main()
