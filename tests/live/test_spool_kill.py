"""kill -9 a process that writes a spool and ships it to a SQLite log, again and again: each promise is in it once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from ingest.spool import Shipper, Spool
from schemas.config import AuditSettings
from schemas.integrity import Block
from schemas.log.sqlite import SqliteLog
from schemas.topics import EVENTS
from tests.support.spools import SOURCE, Reader

KILLS = 24
ROOT = Path(__file__).parents[2]


def clock() -> int:
    return time.time_ns() // 1000


def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20_000)
    oracle = tmp_path / "oracle"
    oracle.touch()
    command = [sys.executable, "-m", "tests.support.spool_child", str(tmp_path)]
    with (
        open(tmp_path / "errors", "w+") as errors,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as parent,
    ):
        assert parent.stdin is not None
        assert parent.stdout is not None
        for seed in range(KILLS):
            before = oracle.stat().st_size
            parent.stdin.write(f"{seed}\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            deadline = time.monotonic() + 20
            # Let it write a random amount, sometimes almost nothing, before it dies.
            target = before + chance.choice([1, 200, 2_000, 20_000, 60_000])
            while oracle.stat().st_size < target and time.monotonic() < deadline:
                time.sleep(0.001)
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "gone\n"
            assert oracle.stat().st_size >= target, (tmp_path / "errors").read_text()
        parent.stdin.close()
    began, intents, concluded = (
        {line[2:] for line in oracle.read_text().splitlines() if line[0] == kind} for kind in ("b", "i", "c")
    )

    spool = Spool.open(tmp_path / "spool", SOURCE, AuditSettings(), clock, None)
    log = SqliteLog(tmp_path / "log.db")
    shipper = Shipper(spool, log, clock)
    while shipper.step():
        pass
    reader = Reader()
    offset = 0
    while records := log.read(EVENTS.name, offset, 100):
        for record in records:
            assert record.key == SOURCE.encode()
            reader.take(Block.from_log(record.value, dict(record.headers)))
        offset = records[-1].offset + 1
    spool.close(clock())
    log.close()

    names, statuses = reader.names(), reader.statuses()
    assert len(intents) > KILLS, "the children did too little to show anything"
    assert len(names) == len(set(names)), "a statement is in the log twice"
    assert intents - set(names) == set(), "a committed intent is lost"
    assert set(names) <= began
    assert {n for n in concluded if statuses[n] != "ok"} == set(), "a committed outcome is lost"
    assert "unknown" in statuses.values(), "no kill hit an open statement: the test shows nothing"
    assert len({h.epoch for h in reader.headers.values()}) >= KILLS // 2
