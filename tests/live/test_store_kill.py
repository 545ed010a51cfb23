"""kill -9 of the pipeline at random moments, over a real log, store and archive: every event stays exactly one row.

On chDB, which dies with the pipeline, and by HTTP on a server, which goes on with the insert that nobody waits for any more.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processors.archive import Archive
from processors.sinks.clickhouse import connect
from schemas.config import ClickHouseSettings, with_secrets
from schemas.integrity import Block
from schemas.log.sqlite import SqliteLog
from schemas.topics import EVENTS
from tests.support import clickhouse
from tests.support.event_blocks import Source, record

KILLS = {"chdb": 22, "http": 6}
BLOCKS = {"chdb": 500, "http": 120}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("interface", ["chdb", "http"])
def test_killed_at_random_moments_every_event_is_exactly_one_row(tmp_path: Path, interface: str) -> None:
    with contextlib.ExitStack() as stack:
        by_http = interface == "http"
        settings = stack.enter_context(clickhouse.serving()).settings() if by_http else ClickHouseSettings()
        _killed(tmp_path, settings, KILLS[interface], _blocks(BLOCKS[interface]))


def _killed(tmp_path: Path, settings: ClickHouseSettings, kills: int, blocks: list[Block]) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.append(EVENTS.name, [record(b) for b in blocks])
    log.close()
    rng = random.Random(20)
    interrupted = 0
    for _ in range(kills):
        child = _start(tmp_path, settings)
        try:
            child.wait(rng.uniform(0.0, 0.25))
        except subprocess.TimeoutExpired:
            interrupted += 1
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert interrupted >= kills - 2, "the log ran dry before the kills did: make it longer"
    child = _start(tmp_path, settings)
    last, _ = child.communicate(timeout=240)
    assert last.split() == ["done", str(len(blocks)), "0", "0", "0"]

    headers = [b.header for b in blocks]
    expected = sorted((h.source, h.epoch, h.first_seq + i) for h in headers for i in range(h.count))
    store = connect(settings, tmp_path)
    try:
        found = store.client.query(
            "SELECT source, epoch, seq FROM affidavit.query_events "
            "UNION ALL SELECT source, epoch, seq FROM affidavit.other_events"
        ).result_rows
        assert sorted(found) == expected
        numbers = store.client.query("SELECT source, number FROM affidavit.blocks FINAL").result_rows
        assert sorted(numbers) == sorted((h.source, h.number) for h in headers)
    finally:
        store.close()
    archive = Archive(tmp_path / "archive")
    assert archive.verify().ok
    assert sorted(archive.blocks(), key=_place) == sorted(blocks, key=_place)


def _blocks(count: int) -> list[Block]:
    """Two sources' blocks, interleaved, queries and other events in each."""
    sources = [Source("proxy/0"), Source("proxy/1")]
    made = []
    for n in range(count):
        source = sources[n % 2]
        if n % 100 == 98:
            source.next_epoch()
        made.append(source.seal([source.session_opened(n % 8), *(source.query() for _ in range(10))]))
    return made


def _start(data_dir: Path, settings: ClickHouseSettings) -> subprocess.Popen[str]:
    arguments = [str(data_dir), "2", json.dumps({k: v for k, v in with_secrets(settings).items() if v is not None})]
    command = [sys.executable, "-m", "tests.support.pipeline_child", *arguments]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while (line := child.stdout.readline()) and line.strip() != "ready":
        pass
    assert line, f"the pipeline did not start: {child.wait()}"
    return child


def _place(block: Block) -> tuple[str, int]:
    return block.header.source, block.header.number
