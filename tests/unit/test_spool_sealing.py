"""The sealer by itself: the same bytes whoever makes the line, a sealer put in another's place goes on where that one stopped."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ingest.spool import SpoolFullError, SpoolLockedError
from ingest.spool import room as room_module
from ingest.spool import spool as spool_module
from ingest.spool.frames import FRAME_OVERHEAD, scan
from ingest.spool.keeper import OwnSealer
from ingest.spool.lines import UNKNOWN_OUTCOME, LineFormat
from ingest.spool.lock import lock_sealer
from ingest.spool.sealing import Sealer
from ingest.spool.status import PAGE_BYTES, SealerState, StatusPage
from schemas.log import NewRecord
from schemas.log.sqlite import SqliteLog
from tests.support.spools import (
    CONTEXT,
    OK_OUTCOME,
    SOURCE,
    STARTED,
    STATEMENT,
    Clock,
    Reader,
    abandon,
    dynamic,
    open_spool,
    small,
)

AT = 1_700_000_000_000_000


def lines(epoch: int = 1) -> list[bytes]:
    """What `life` must leave in the trail, put together by hand."""
    format = LineFormat(SOURCE, epoch)
    return [
        format.event("ProxyStarted", 1, AT, STARTED),
        format.query(2, AT + 2, dynamic("b"), CONTEXT, STATEMENT, OK_OUTCOME),
        format.query(3, AT + 1, dynamic("a"), CONTEXT, STATEMENT, OK_OUTCOME),
        format.query(4, AT + 3, dynamic("c"), CONTEXT, STATEMENT, UNKNOWN_OUTCOME),
    ]


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("crash", [False, True])
def test_a_line_has_the_same_bytes_whoever_makes_it(tmp_path: Path, rotate: bool, crash: bool) -> None:
    """Sealed as it runs, carried into another segment, or made by the next start: one line."""
    spool, reader = open_spool(tmp_path, settings=small(max_events_per_block=1000)), Reader()
    spool.record("ProxyStarted", AT, STARTED)
    a = spool.intend(AT + 1, CONTEXT, STATEMENT, dynamic("a"))
    b = spool.intend(AT + 2, CONTEXT, STATEMENT, dynamic("b"))
    spool.intend(AT + 3, CONTEXT, STATEMENT, dynamic("c"))
    spool.commit()
    spool.conclude(b, OK_OUTCOME)
    if rotate:
        spool._rotate()
        spool._records.clear()
        spool._outcomes.clear()
        spool._ended.clear()
    spool.conclude(a, OK_OUTCOME)
    spool.commit()
    if not crash:
        spool.seal(AT)
        reader.drain(spool)
        assert reader.lines == lines()[:3]
    abandon(spool)
    spool = open_spool(tmp_path)
    reader.drain(spool)
    assert reader.lines == lines()
    spool.close(AT)


def replaced(spool: object) -> Sealer:
    """Put another sealer in the place of a spool's, as if that one had been killed."""
    keeper = spool._keeper  # type: ignore[attr-defined]
    assert isinstance(keeper, OwnSealer)
    old = keeper.sealer
    if old._fd >= 0:
        os.close(old._fd)
    for file in {id(b.file): b.file for b in old.blocks._unacked}.values():
        if file.segment is not None:
            file.segment.close()
    keeper.sealer = Sealer(old._directory, old.source, old._rules, None, before=old.state(1))
    return keeper.sealer


@pytest.mark.parametrize("size", [0, 30_000])
@pytest.mark.parametrize("ship", [False, True])
def test_a_sealer_replaced_after_every_step_loses_and_doubles_nothing(tmp_path: Path, size: int, ship: bool) -> None:
    clock, reader = Clock(), Reader()
    spool = open_spool(tmp_path, clock)
    waiting: list[int] = []
    for i in range(40):
        waiting.append(spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"n{i}", size)))
        spool.commit()
        if i % 4 == 3:
            for number in (waiting.pop(2), waiting.pop(0)):
                spool.conclude(number, OK_OUTCOME)
        replaced(spool)
        if i % 6 == 5:
            spool.seal(clock())
            if ship:
                reader.drain(spool)
            replaced(spool)
    for number in waiting:
        spool.conclude(number, OK_OUTCOME)
    spool.seal(clock())
    replaced(spool)
    reader.drain(spool)
    assert sorted(reader.names()) == sorted(f"n{i}" for i in range(40))
    assert [e["seq"] for e in reader.events] == list(range(1, 41))
    replaced(spool)
    spool.seal(clock())
    assert spool.stats.unsealed_bytes == 0
    assert spool.stats.blocks_acked == spool.stats.blocks_sealed == len(reader.headers)
    assert len(list(tmp_path.glob("blocks-*.log"))) == 0, "files of sealers that are gone stay behind"
    spool.close(clock())


@pytest.mark.replaces
def test_what_no_sealer_takes_is_refused_past_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "MAX_UNSEALED_BYTES", 300_000)
    spool, names = open_spool(tmp_path), []
    sealer = spool._keeper.sealer  # type: ignore[attr-defined]
    monkeypatch.setattr(sealer, "step", lambda now, flush=False: False)
    with pytest.raises(SpoolFullError, match=r"sealing is 3\d{5} bytes behind"):
        for i in range(100):
            spool.conclude(spool.intend(1, CONTEXT, STATEMENT, dynamic(f"n{i}", 20_000)), OK_OUTCOME)
            names.append(f"n{i}")
            spool.commit()
            spool.seal(1)
    assert len(names) > 10
    monkeypatch.undo()
    spool.seal(1)
    assert spool.accepting
    reader = Reader()
    reader.drain(spool)
    assert reader.names() == names
    spool.close(1)


def test_damage_under_a_running_sealer_is_told_and_salvaged_by_the_next_start(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, settings=small(max_events_per_block=1000))
    for i in range(6):
        spool.conclude(spool.intend(1, CONTEXT, STATEMENT, dynamic(f"n{i}")), OK_OUTCOME)
        spool.commit()
    path = spool._files.segment.path
    data = bytearray(path.read_bytes())
    hurt = scan(bytes(data)).frames[4]
    data[hurt.offset + FRAME_OVERHEAD + 5] ^= 1
    path.write_bytes(bytes(data))
    spool._rotate()
    spool.seal(1)
    assert f"{path} is not as it was written, from byte {hurt.offset}" in spool.sealer.problem
    assert "restart the proxy" in spool.sealer.problem
    assert spool.stats.unsealed_bytes > 0
    assert path.exists()
    abandon(spool)
    spool, reader = open_spool(tmp_path), Reader()
    reader.drain(spool, gap=True)
    assert reader.names() == ["n0", "n1", "n2", "n4", "n5"]
    assert [e["file"] for e in reader.events if e["type"] == "SpoolDamaged"] == [f"{path.name}.corrupt"]
    spool.close(1)


def test_an_outcome_whose_intent_is_lost_is_still_an_event(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, settings=small(max_events_per_block=1000))
    number = spool.intend(1, CONTEXT, STATEMENT, dynamic("a"))
    spool.commit()
    spool.conclude(number, OK_OUTCOME)
    spool.commit()
    path = spool._files.segment.path
    abandon(spool)
    data = bytearray(path.read_bytes())
    data[scan(bytes(data)).frames[1].offset + FRAME_OVERHEAD + 5] ^= 1
    path.write_bytes(bytes(data))
    spool, reader = open_spool(tmp_path), Reader()
    reader.drain(spool)
    event = next(e for e in reader.events if e["type"] == "QueryExecuted")
    assert event["outcome"]["status"] == "ok"  # type: ignore[index]
    assert event["facts"]["flags"] == ["opaque"]  # type: ignore[index]
    assert event["at"] == 1_700_000_000_000_001, "the time it ended, for when it began is lost"
    assert spool.recovered.unknown == 0
    spool.close(1)


def test_a_start_waits_for_a_sealer_at_work_and_says_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lock_sealer(tmp_path, 0)
    monkeypatch.setattr(spool_module, "SEALER_PATIENCE_SECONDS", 0.05)
    with pytest.raises(SpoolLockedError, match=f"sealer of an earlier proxy, process {os.getpid()}, is still at work after 0 s"):
        open_spool(tmp_path)
    monkeypatch.setattr(spool_module, "SEALER_PATIENCE_SECONDS", 20)
    opened: list[object] = []
    thread = threading.Thread(target=lambda: opened.append(open_spool(tmp_path)))
    thread.start()
    held.release()
    thread.join(20)
    assert len(opened) == 1
    opened[0].close(1)  # type: ignore[attr-defined]


def test_a_page_half_written_is_not_believed() -> None:
    page = StatusPage.create()
    reader = StatusPage(os.dup(page.fd))
    assert reader.read() == SealerState()
    first = SealerState(beat=5, sealed_seq=7, number=3, block_id="ab" * 32, problem="disk \u00e9", ship_problem="x" * 9000)
    page.write(first)
    seen = reader.read()
    assert (seen.beat, seen.sealed_seq, seen.number, seen.block_id, seen.problem) == (5, 7, 3, "ab" * 32, "disk \u00e9")
    assert len(first.encode()) <= PAGE_BYTES
    half = SealerState(beat=6, sealed_seq=9).encode()
    page._map[:40] = half[:40]
    assert reader.read() == seen
    page._map[: len(half)] = half
    assert reader.read().sealed_seq == 9
    reader.close()
    page.close()


def test_the_log_stores_a_compressed_block_as_it_is(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool")
    spool.record("ProxyStarted", 1, STARTED)
    spool.seal(1)
    ((block, zstd),) = spool.blocks.oldest_compressed(1, 1)
    log = SqliteLog(tmp_path / "log.db")
    log.append("t", [NewRecord(b"k", block.body, {}, zstd)])
    assert [r.value for r in log.read("t", 0, 9)] == [block.body]
    assert log._db.execute("SELECT value FROM records").fetchone()[0] == zstd
    log.close()
    spool.close(1)


def test_what_comes_alone_waits_for_nothing_and_what_comes_soon_after_for_the_interval(tmp_path: Path) -> None:
    clock = Clock()
    spool = open_spool(tmp_path, clock)
    assert isinstance(spool._keeper, OwnSealer)
    sealer = spool._keeper.sealer
    interval = spool.settings.seal_interval_ms * 1000
    began = clock.now
    blocks = []
    for after in (0, 1, interval - 1, interval, interval + 1, 2 * interval - 1, 3 * interval):
        spool.record("ProxyStarted", began + after, STARTED)
        spool.commit()
        sealer.step(began + after)
        blocks.append(sealer.blocks.number)
    assert blocks == [1, 1, 1, 2, 2, 2, 3]
    spool.close(clock())


def test_a_clock_set_back_by_an_hour_holds_up_no_block(tmp_path: Path) -> None:
    clock, reader = Clock(), Reader()
    spool = open_spool(tmp_path, clock)
    assert isinstance(spool._keeper, OwnSealer)
    sealer = spool._keeper.sealer
    spool.seal(clock())
    for hours in (0, -1, 1):
        now = clock.now + hours * 3_600_000_000
        spool.record("ProxyStarted", now, STARTED)
        spool.commit()
        sealer.step(now, flush=True)
        spool.record("ProxyStarted", now, STARTED)
        spool.commit()
        assert sealer.step(now), "it was read, and waits for its interval"
        before = sealer.blocks.number
        sealer.step(now - 3_600_000_000)
        assert sealer.blocks.number == before
        sealer.step(now - 3_600_000_000 + spool.settings.seal_interval_ms * 1000)
        assert sealer.blocks.number == before + 1
    assert min(sealer.seals.numbers()) >= 0
    reader.drain(spool)
    assert len(reader.lines) == 6
    spool.close(clock())
