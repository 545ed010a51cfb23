"""The shipper: every sealed block reaches the log in order, whatever the log does, and files go only after it took them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ingest.spool import Shipper, Spool
from ingest.spool import shipper as shipper_module
from schemas.integrity import Block
from schemas.log import LogCorruptError, LogError, LogUnavailableError, NewRecord, Record
from schemas.topics import EVENTS
from tests.support.spools import CONTEXT, OK_OUTCOME, SOURCE, STATEMENT, Clock, Reader, abandon, dynamic, open_spool, small


class FakeLog:
    """A log in memory that fails as told: `failures` are raised one an append, before or (with `late`) after it took effect."""

    def __init__(self, failures: Sequence[LogError] = (), late: bool = False) -> None:
        self.records: list[NewRecord] = []
        self.failures, self.late = list(failures), late
        self.appends = 0

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        assert topic == EVENTS.name
        self.appends += 1
        if self.failures and not self.late:
            raise self.failures.pop(0)
        self.records += records
        if self.failures:
            raise self.failures.pop(0)

    def read(self, topic: str, offset: int, limit: int, max_bytes: int = 0) -> list[Record]:
        raise NotImplementedError

    def interrupt(self) -> None:
        pass

    def end_offset(self, topic: str) -> int:
        return len(self.records)

    def close(self) -> None:
        pass

    def reader(self) -> Reader:
        reader = Reader()
        for record in self.records:
            assert record.key == SOURCE.encode()
            reader.take(Block.from_log(record.value, dict(record.headers)))
        return reader


def fill(spool: Spool, count: int, size: int = 0) -> list[str]:
    names = [f"n{i}" for i in range(count)]
    for name in names:
        spool.conclude(spool.intend(1, CONTEXT, STATEMENT, dynamic(name, size)), OK_OUTCOME)
        spool.seal(1_700_000_000_000_000)
    return names


def wait_for(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_blocks_arrive_in_order_and_the_spool_empties(tmp_path: Path) -> None:
    clock, log = Clock(), FakeLog()
    spool = open_spool(tmp_path, clock)
    names = fill(spool, 40)
    shipper = Shipper(spool, log, clock)
    assert [shipper.step(), shipper.step(), shipper.step()] == [32, 8, 0]
    assert log.reader().names() == names
    assert spool.stats.unacked_bytes == spool.stats.unacked_blocks == 0
    assert shipper.blocks_shipped == 40
    assert shipper.last_latency_us > 0
    spool.close(1)


def test_an_append_is_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper_module, "MAX_BYTES", 50_000)
    log = FakeLog()
    spool = open_spool(tmp_path, settings=small(wal_segment_bytes=1024**2))
    fill(spool, 5, 20_000)
    shipper = Shipper(spool, log, Clock())
    assert [shipper.step() for _ in range(4)] == [2, 2, 1, 0]
    spool.close(1)


def test_an_unavailable_log_is_tried_until_it_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper_module, "FIRST_WAIT_SECONDS", 0.001)
    log = FakeLog([LogUnavailableError("the log is away")] * 5)
    spool = open_spool(tmp_path)
    names = fill(spool, 7)
    shipper = Shipper(spool, log, Clock(), poll_seconds=0.001)
    shipper.start()
    wait_for(lambda: spool.stats.unacked_blocks == 0 and shipper.problem == "")
    assert shipper.failures == 5
    assert shipper.stop()
    assert log.reader().names() == names
    spool.close(1)


def test_nothing_is_deleted_while_the_log_fails_and_the_problem_is_told(tmp_path: Path) -> None:
    log = FakeLog([LogCorruptError("log.db is damaged")] * 1000)
    spool = open_spool(tmp_path)
    names = fill(spool, 7)
    shipper = Shipper(spool, log, Clock())
    shipper.start()
    wait_for(lambda: shipper.failures)
    assert shipper.stop() is False
    assert shipper.problem == "log.db is damaged"
    assert spool.stats.unacked_blocks == 7
    abandon(spool)
    spool, log = open_spool(tmp_path), FakeLog()
    while Shipper(spool, log, Clock()).step():
        pass
    assert log.reader().names() == names
    spool.close(1)


def test_an_append_whose_answer_was_lost_repeats_the_same_blocks(tmp_path: Path) -> None:
    log = FakeLog([LogUnavailableError("the answer was lost")], late=True)
    spool = open_spool(tmp_path)
    names = fill(spool, 3)
    shipper = Shipper(spool, log, Clock())
    with pytest.raises(LogUnavailableError):
        shipper.step()
    abandon(spool)
    spool = open_spool(tmp_path)
    Shipper(spool, log, Clock()).step()
    reader = log.reader()
    assert reader.repeats == 3
    assert reader.names() == names
    spool.close(1)


@pytest.mark.parametrize("durability", ["write", "fsync"])
def test_a_stop_with_time_drains_first(tmp_path: Path, durability: str) -> None:
    log = FakeLog()
    clock = lambda: time.time_ns() // 1000  # noqa: E731
    spool = Spool.open(tmp_path, SOURCE, small(durability=durability), clock, None)
    shipper = Shipper(spool, log, clock, poll_seconds=0.001)
    shipper.start()
    names = []
    for i in range(200):
        names.append(f"n{i}")
        spool.conclude(spool.intend(1, CONTEXT, STATEMENT, dynamic(names[-1], 3_000)), OK_OUTCOME)
        spool.commit()
        if i % 20 == 0:
            spool.sync()
    spool.seal(clock(), wait=True)
    assert shipper.stop(drain_seconds=10)
    assert log.reader().names() == names
    spool.close(clock())
    assert not any(t.name.startswith(("spool ", "shipper ")) for t in threading.enumerate())
