"""A spool whose sealer is a process: what the writer sees of it, and what happens when log, sealer or writer is away."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.spool import Destination, Spool, SpoolFullError, load_or_create_signer
from ingest.spool import room as room_module
from schemas.integrity import Block
from schemas.log import Record
from schemas.log.place import LogPlace
from schemas.log.sqlite import SqliteLog
from schemas.topics import EVENTS
from tests.support.spools import CONTEXT, OK_OUTCOME, SOURCE, STATEMENT, Reader, dynamic, small


def clock() -> int:
    return time.time_ns() // 1000


def opened(folder: Path, **changes: object) -> Spool:
    keys = folder / "keys"
    signer = load_or_create_signer(keys, SOURCE)
    settings = small(**{"seal_interval_ms": 20, "wal_segment_bytes": 1024**2, **changes})
    return Spool.open(
        folder / "spool", SOURCE, settings, clock, signer, destination=Destination(LogPlace(folder / "log.db"), keys)
    )


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = opened(tmp_path)
    yield spool
    spool.close(clock(), 10)


def run(spool: Spool, names: list[str], size: int = 0) -> None:
    for name in names:
        spool.conclude(spool.intend(clock(), CONTEXT, STATEMENT, dynamic(name, size)), OK_OUTCOME)
        spool.commit()


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def records_of(folder: Path) -> list[Record]:
    log = SqliteLog(folder / "log.db")
    found = log.read(EVENTS.name, 0, 1_000_000, 1 << 40)
    log.close()
    return found


def read(folder: Path) -> Reader:
    reader = Reader()
    for record in records_of(folder):
        reader.take(Block.from_log(record.value, dict(record.headers)))
    return reader


@contextlib.contextmanager
def log_held(folder: Path) -> Iterator[None]:
    """The log takes nothing: another process is in the middle of a transaction."""
    holder = sqlite3.connect(folder / "log.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


@pytest.mark.parametrize("durability", ["write", "fsync"])
def test_lines_are_sealed_signed_shipped_and_files_deleted_by_another_process(tmp_path: Path, durability: str) -> None:
    spool = opened(tmp_path, durability=durability)
    names = [f"n{i}" for i in range(400)]
    for at in range(0, 400, 20):
        run(spool, names[at : at + 20], 8_000)
        spool.sync()
    wait_for(lambda: spool.stats.unsealed_bytes == 0 and spool.stats.blocks_acked and spool.stats.unacked_blocks == 0)
    assert spool.sealer.pid == spool.sealer_pid != os.getpid()
    assert read(tmp_path).names() == names
    assert spool.sealer.sealed_seq == 400
    assert spool.sealer.latency_us > 0
    wait_for(lambda: len(list((tmp_path / "spool").glob("wal-*.log"))) <= 2)
    assert len(list((tmp_path / "spool").glob("blocks-*.log"))) <= 1
    assert {len(bytes(r.headers["signature"])) for r in records_of(tmp_path)} == {64}
    spool.close(clock(), 10)


def test_a_killed_sealer_is_replaced_and_statements_go_on(tmp_path: Path, spool: Spool) -> None:
    names: list[str] = []
    for life in range(3):
        pid = spool.sealer_pid
        os.kill(pid, signal.SIGKILL)
        more = [f"{life}.{i}" for i in range(300)]
        run(spool, more)
        names += more
        assert spool.accepting
        wait_for(lambda: spool.sealer_pid not in (0, pid))  # noqa: B023
    wait_for(lambda: spool.sealer.sealed_seq == len(names))
    spool.close(clock(), 10)
    assert read(tmp_path).names() == names


def test_signals_to_the_group_do_not_end_it(spool: Spool) -> None:
    run(spool, ["a"])
    wait_for(lambda: spool.sealer.sealed_seq == 1)
    pid = spool.sealer_pid
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    run(spool, ["b"])
    wait_for(lambda: spool.sealer.sealed_seq == 2)
    assert spool.sealer_pid == pid


def test_a_log_that_is_away_fills_the_spool_to_its_limit_and_is_named(tmp_path: Path) -> None:
    spool, names = opened(tmp_path, spool_limit_bytes=2_000_000), []
    run(spool, ["first"])
    wait_for(lambda: spool.stats.blocks_acked)
    with log_held(tmp_path):
        deadline = time.monotonic() + 30
        with pytest.raises(SpoolFullError, match=r"bytes the log has not taken, audit.spool_limit_bytes is 2000000"):
            while time.monotonic() < deadline:
                run(spool, [f"n{len(names)}"], 20_000)
                names.append(f"n{len(names)}")
                spool.seal(clock())
        assert len(names) > 40
        wait_for(lambda: spool.sealer.ship_problem)
        assert "log.db" in spool.sealer.ship_problem
    wait_for(lambda: spool.seal(clock()) or spool.accepting)
    run(spool, ["after"])
    spool.close(clock(), 20)
    assert read(tmp_path).names() == ["first", *names, "after"]


def test_a_sealer_that_is_stopped_is_named_when_too_much_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "MAX_UNSEALED_BYTES", 500_000)
    monkeypatch.setattr(room_module, "SILENT_SECONDS", 0.2)
    spool = opened(tmp_path)
    run(spool, ["first"])
    wait_for(lambda: spool.sealer.sealed_seq == 1)
    pid, names = spool.sealer_pid, []
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: clock() - spool.sealer.beat > 300_000)
    with pytest.raises(SpoolFullError, match=rf"sealing is \d+ bytes behind; the sealer \(process {pid}\) has said nothing for"):
        while len(names) < 200:
            run(spool, [f"n{len(names)}"], 20_000)
            names.append(f"n{len(names)}")
            spool.seal(clock())
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: spool.seal(clock()) or spool.accepting)
    spool.close(clock(), 20)
    assert read(tmp_path).names() == ["first", *names]


def test_close_is_bounded_when_the_log_is_away_and_the_next_start_ships(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    run(spool, ["a"])
    wait_for(lambda: spool.stats.blocks_acked)
    with log_held(tmp_path):
        run(spool, ["b", "c"])
        began = time.monotonic()
        spool.close(clock(), 0.2)
        assert time.monotonic() - began < 12
    spool = opened(tmp_path)
    assert spool.recovered.events == 0, "the sealer had sealed everything before it ended"
    spool.close(clock(), 10)
    assert read(tmp_path).names() == ["a", "b", "c"]


_WRITER = """
import sys, time
from pathlib import Path
from tests.live.test_spool_sealer import opened, run
spool = opened(Path(sys.argv[1]))
run(spool, ["a", "b"])
print("written", flush=True)
time.sleep(600)
"""
_HANGING = """
import threading, time
real = threading.Thread.join
threading.Thread.join = lambda self, timeout=None: time.sleep(600) if self.name.startswith("shipper") else real(self, timeout)
"""


def test_a_sealer_whose_log_hangs_at_its_end_keeps_no_next_writer_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hanging").mkdir()
    (tmp_path / "hanging" / "sitecustomize.py").write_text(_HANGING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hanging"))
    line = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(line, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
    monkeypatch.delenv("PYTHONPATH")
    spool = opened(tmp_path)
    run(spool, ["c"])
    spool.close(clock(), 10)
    assert read(tmp_path).names() == ["a", "b", "c"]


def test_a_log_that_cannot_be_opened_keeps_nobody_from_sealing(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, not a database, not a database" * 100)
    spool = opened(tmp_path)
    run(spool, ["a"])
    wait_for(lambda: spool.sealer.sealed_seq == 1 and spool.sealer.ship_problem)
    assert "not a SQLite database" in spool.sealer.ship_problem
    spool.close(clock(), 0)
    (tmp_path / "log.db").unlink()
    opened(tmp_path).close(clock(), 10)
    assert read(tmp_path).names() == ["a"]
