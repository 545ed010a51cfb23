"""kill -9 what writes a spool, what seals and ships it to a SQLite log, or both, again and again: each promise is in it once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def kill_sealer(folder: Path, but: int = 0) -> int:
    """Kill the sealer that is named now, once it is another than `but`; return its process id."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int((folder / "sealer").read_text())
            if pid != but:
                os.kill(pid, signal.SIGKILL)
                return pid
        time.sleep(0.001)
    raise AssertionError("no sealer appeared")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["thread", "writer", "sealer", "both"])
def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path: Path, victim: str) -> None:
    chance = random.Random(20_000)
    oracle = tmp_path / "oracle"
    oracle.touch()
    mode = "thread" if victim == "thread" else "process"
    command = [sys.executable, "-m", "tests.support.spool_child", str(tmp_path), mode]
    kills = KILLS if victim == "thread" else KILLS // 2
    sealers_killed = 0
    with (
        open(tmp_path / "errors", "w+") as errors,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as parent,
    ):
        assert parent.stdin is not None
        assert parent.stdout is not None
        for seed in range(kills):
            before = oracle.stat().st_size
            (tmp_path / "sealer").unlink(missing_ok=True)
            parent.stdin.write(f"{seed}\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            deadline = time.monotonic() + 30
            # Let it write a random amount, sometimes almost nothing, before it dies.
            target = before + chance.choice([1, 200, 2_000, 20_000, 60_000])
            if victim == "sealer":
                pid = kill_sealer(tmp_path)
                kill_sealer(tmp_path, but=pid)
                sealers_killed += 2
                target += oracle.stat().st_size - before  # and it writes on
            while oracle.stat().st_size < target and time.monotonic() < deadline:
                time.sleep(0.001)
            if victim == "both":
                sealer = int((tmp_path / "sealer").read_text()) if (tmp_path / "sealer").exists() else child
                for pid in chance.sample([child, sealer], 2):
                    with contextlib.suppress(ProcessLookupError):  # the sealer of a dead writer may be done already
                        os.kill(pid, signal.SIGKILL)
                        sealers_killed += pid == sealer
            with contextlib.suppress(ProcessLookupError):
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
    assert len(intents) > kills, "the children did too little to show anything"
    assert len(names) == len(set(names)), "a statement is in the log twice"
    assert intents - set(names) == set(), "a committed intent is lost"
    assert set(names) <= began
    assert {n for n in concluded if statuses[n] != "ok"} == set(), "a committed outcome is lost"
    assert "unknown" in statuses.values(), "no kill hit an open statement: the test shows nothing"
    assert len({h.epoch for h in reader.headers.values()}) >= kills // 2
    assert victim in ("thread", "writer") or sealers_killed >= kills // 2
    assert not list((tmp_path / "spool").glob("*.corrupt"))
