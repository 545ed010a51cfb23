"""A spool whose files were damaged: what can be read is kept, what cannot is reported, the file is kept, the chain goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from ingest.spool import Spool, SpoolError
from ingest.spool.frames import FRAME_OVERHEAD, scan
from ingest.spool.keeper import OwnSealer
from schemas.events import EVENT_TYPES, SpoolDamaged
from tests.support.spools import CONTEXT, OK_OUTCOME, STATEMENT, Clock, Reader, abandon, dynamic, open_spool, small


def valid(event_line: bytes) -> object:
    """Read a line as the type it says it is."""
    name = event_line.split(b'"', 4)[3].decode()
    return TypeAdapter(EVENT_TYPES[name]).validate_json(event_line)


def crashed(folder: Path, count: int = 6, concluded: int = 3, seal: bool = False) -> None:
    """Leave a spool with one commit per intent and conclusion, as a killed process would."""
    clock = Clock()
    spool = open_spool(folder, clock, small(max_events_per_block=100))
    for i in range(count):
        number = spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"n{i}"))
        spool.commit()
        if i < concluded:
            spool.conclude(number, OK_OUTCOME)
            spool.commit()
            if seal:
                spool.seal(clock())
    abandon(spool)


def newest(folder: Path, kind: str) -> Path:
    """The file of this kind that holds anything."""
    return [p for p in sorted(folder.glob(f"{kind}-*.log")) if p.read_bytes().strip(b"\0")][-1]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(bytes(data))


def reopened(folder: Path) -> tuple[Spool, Reader]:
    spool = open_spool(folder)
    reader = Reader()
    reader.drain(spool, gap=True)
    for line in reader.lines:
        valid(line)
    return spool, reader


def test_one_damaged_frame_costs_only_that_frame(tmp_path: Path) -> None:
    crashed(tmp_path, count=6, concluded=6)
    path = newest(tmp_path, "wal")
    frames = scan(path.read_bytes()).frames
    hurt = frames[8]  # head, then intent and line in turn: the line of n3; its intent stays
    flip(path, hurt.offset + FRAME_OVERHEAD)
    spool, reader = reopened(tmp_path)
    assert reader.statuses() == {**{f"n{i}": "ok" for i in range(6)}, "n3": "unknown"}
    damaged = [valid(line) for line in reader.lines if b"SpoolDamaged" in line]
    assert [(d.file, d.offset, d.bytes_lost, d.reason) for d in damaged if isinstance(d, SpoolDamaged)] == [
        (f"{path.name}.corrupt", hurt.offset, hurt.end - hurt.offset, "check sum does not hold")
    ]
    assert (tmp_path / f"{path.name}.corrupt").exists()
    assert spool.recovered.damaged == 1
    spool.close(1)
    again, reader = reopened(tmp_path)
    assert again.recovered.damaged == 0, "damage is reported once"
    assert reader.lines == []
    again.close(2)


def test_a_damaged_last_frame_is_not_mistaken_for_a_torn_one(tmp_path: Path) -> None:
    crashed(tmp_path, count=3, concluded=0)
    path = newest(tmp_path, "wal")
    last = scan(path.read_bytes()).frames[-1]
    for at in (last.offset, last.offset + 9, last.offset + 30):
        folder = tmp_path / f"at{at}"
        crashed(folder, count=3, concluded=0)
        flip(newest(folder, "wal"), at)
        spool, reader = reopened(folder)
        assert reader.names() == ["n0", "n1"]
        assert spool.recovered.damaged == 1
        spool.close(1)


def test_intents_whose_definitions_are_lost_are_still_counted_as_opaque(tmp_path: Path) -> None:
    crashed(tmp_path, count=4, concluded=0)
    path = newest(tmp_path, "wal")
    flip(path, scan(path.read_bytes()).frames[1].offset + 40)  # n0's intent, and the definitions all others use
    spool, reader = reopened(tmp_path)
    assert reader.names() == ["n1", "n2", "n3"]
    for event in reader.events:
        if event["type"] == "QueryExecuted":
            assert event["facts"]["flags"] == ["opaque"]  # type: ignore[index]
    spool.close(1)


def test_lost_sequence_numbers_leave_an_honest_gap(tmp_path: Path) -> None:
    crashed(tmp_path, count=6, concluded=6)
    path = newest(tmp_path, "wal")
    frames = scan(path.read_bytes()).frames
    data = bytearray(path.read_bytes())
    data[frames[5].offset : frames[7].offset] = bytes(frames[7].offset - frames[5].offset)  # n2's intent and line, wiped
    path.write_bytes(bytes(data))
    spool, reader = reopened(tmp_path)
    assert reader.names() == ["n0", "n1", "n3", "n4", "n5"]
    first, second = reader.headers[1], reader.headers[2]
    assert (first.first_seq, first.count, second.first_seq) == (1, 2, 4)
    assert second.prev == first.block_id
    spool.close(1)


def test_a_damaged_sealed_block_is_a_gap_in_the_chain_that_is_told(tmp_path: Path) -> None:
    crashed(tmp_path, count=4, concluded=4, seal=True)
    for path in tmp_path.glob("wal-*.log"):  # as if the write-ahead segments had gone already
        path.unlink()
    path = newest(tmp_path, "blocks")
    flip(path, scan(path.read_bytes()).frames[1].offset + 60)
    spool, reader = reopened(tmp_path)
    assert reader.names() == ["n0", "n2", "n3"]
    assert sorted(reader.headers) == [1, 3, 4, 5]
    assert reader.headers[5].prev == reader.headers[4].block_id
    reasons = [str(e["reason"]) for e in reader.events if e["type"] == "SpoolDamaged"]
    assert reasons == ["check sum does not hold", "sealed blocks are lost, the chain has a gap: 2 to 2, 1 in all"]
    assert (tmp_path / f"{path.name}.corrupt").exists()
    spool.close(1)


def test_a_damaged_sealed_block_is_sealed_again_while_its_lines_are_still_there(tmp_path: Path) -> None:
    crashed(tmp_path, count=4, concluded=4, seal=True)
    path = newest(tmp_path, "blocks")
    flip(path, scan(path.read_bytes()).frames[1].offset + 60)
    spool, reader = reopened(tmp_path)
    assert sorted(reader.names()) == ["n0", "n1", "n2", "n3"]
    assert set(reader.statuses().values()) == {"ok"}
    spool.close(1)


def test_readable_blocks_of_a_damaged_file_outlive_another_crash(tmp_path: Path) -> None:
    crashed(tmp_path, count=4, concluded=4, seal=True)
    path = newest(tmp_path, "blocks")
    flip(path, scan(path.read_bytes()).frames[1].offset + 60)
    abandon(open_spool(tmp_path))
    spool, reader = reopened(tmp_path)
    assert sorted(reader.names()) == ["n0", "n1", "n2", "n3"]
    spool.close(1)


def test_a_segment_cut_short_is_noticed_when_another_follows(tmp_path: Path) -> None:
    clock = Clock()
    spool = open_spool(tmp_path, clock)
    first = spool._files.segment.path
    for i in range(9):
        spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"n{i}", 25_000))
        spool.commit()
    assert spool._files.segment.path != first, "the scenario needs a rotation"
    abandon(spool)
    assert first.exists() is False, "with no line to seal the old segment is done with"

    folder = tmp_path / "second"
    spool = open_spool(folder, clock, small(max_events_per_block=100))
    assert isinstance(spool._keeper, OwnSealer)
    spool._keeper.sealer._closed_at = clock()  # so that the lines wait for their block
    first = spool._files.segment.path
    for i in range(9):
        spool.conclude(spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"n{i}", 20_000)), OK_OUTCOME)
        spool.commit()
    assert spool._files.segment.path != first
    abandon(spool)
    data = first.read_bytes()
    frames = scan(data).frames
    first.write_bytes(data[: frames[-1].offset])
    spool, reader = reopened(folder)
    assert [e["reason"] for e in reader.events if e["type"] == "SpoolDamaged"] == [
        f"frames {frames[-1].number} to {frames[-1].number} are missing"
    ]
    assert len(reader.names()) == 8
    spool.close(1)


def test_a_damaged_ack_sends_again_and_says_so(tmp_path: Path) -> None:
    clock = Clock()
    spool = open_spool(tmp_path, clock)
    for i in range(3):
        spool.conclude(spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"n{i}")), OK_OUTCOME)
        spool.seal(clock())
    reader = Reader()
    reader.drain(spool)
    abandon(spool)
    flip(tmp_path / "ACK", 20)
    spool = open_spool(tmp_path)
    reader.drain(spool)
    assert reader.repeats == 3
    assert reader.names() == ["n0", "n1", "n2"]
    assert [e["file"] for e in reader.events if e["type"] == "SpoolDamaged"] == ["ACK.corrupt"]
    spool.close(1)


def test_a_spool_whose_place_in_the_chain_is_lost_does_not_begin_a_second_chain(tmp_path: Path) -> None:
    crashed(tmp_path, count=1, concluded=0)
    path = newest(tmp_path, "wal")
    path.write_bytes(b"\xff" * 5000)
    with pytest.raises(SpoolError, match=r"damaged beyond telling .*move the directory aside .*new name"):
        open_spool(tmp_path)
    assert path.read_bytes() == b"\xff" * 5000, "evidence was touched"
