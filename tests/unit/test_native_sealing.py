"""What a sealer does in C has the same result as in Python: a block's root, event lines from frames, damaged ones included."""

from __future__ import annotations

import struct
from pathlib import Path
from struct import pack
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.spool.errors import SpoolError
from ingest.spool.frames import frame_bytes
from ingest.spool.lines import LineFormat
from ingest.spool.records import encode_definition, intent_record, outcome_record
from ingest.spool.sealing import Sealer, SealRules
from schemas.integrity import root_of
from tests.support.native import built

EPOCH, SEQ = 3, 40
RULES = SealRules(200_000, 500, 1 << 20, False)


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return built(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=20))
@example([bytes(size) for size in range(200)])
@example([b"a" * 62, b"b" * 63, b"c" * 64, b"d" * 118, b"e" * 119, b"f" * 5000, b""])
@example([b"%d" % n * 200 for n in range(500)])
def test_roots_are_alike(hot: ModuleType, lines: list[bytes]) -> None:
    if not hasattr(hot, "root"):
        pytest.skip("this processor does not hash by itself")
    assert hot.root(lines) == hot.root(tuple(lines)) == root_of(lines)


def test_a_root_is_of_lines(hot: ModuleType) -> None:
    if not hasattr(hot, "root"):
        pytest.skip("this processor does not hash by itself")
    for given_ in (None, [b"a", "b"], ["a"], [bytearray(b"a")]):
        with pytest.raises(TypeError):
            hot.root(given_)
    with pytest.raises(ValueError, match="no lines"):
        hot.root([])


SMALL = st.integers(0, 3)
TIME = st.sampled_from([0, 999, 1_700_000_000_123_456, 2**48 * 1000 - 1, 2**48 * 1000, 2**63 - 1, -1, -(2**63)])
FRAGMENT = st.binary(max_size=40)
RECORD = st.one_of(
    st.builds(encode_definition, SMALL, FRAGMENT),
    st.builds(intent_record, SMALL, TIME, SMALL, SMALL, FRAGMENT),
    st.builds(intent_record, SMALL, TIME, SMALL, SMALL, FRAGMENT),
    st.tuples(SMALL, st.sampled_from([1] * 30 + [0, 2]), FRAGMENT | st.just(b',"ended_at":1700000000000000,')),
    st.tuples(SMALL, st.just(1), FRAGMENT),
)
ODD = st.sampled_from([b"", b"\3", pack("<BI", 3, 9) + bytes(9), pack("<BI", 6, 3) + bytes(3), pack("<BI", 2, 1) + b"x",
                       pack("<BI", 6, 99), pack("<BI", 9, 0), pack("<BIQqB", 7, 19, SEQ + 1, 5, 1) + b"Tx"])  # fmt: skip


def written(frames: list[list[Any]], odd: list[tuple[int, bytes]]) -> bytes:
    """Frames of records; an outcome is (intent, how far on its sequence number is, fragment)."""
    seq, data = SEQ, b""
    for number, records in enumerate(frames):
        payload = b"".join(extra for at, extra in odd if at == number)
        for record in records:
            if isinstance(record, tuple):
                seq += record[1]
                record = outcome_record(record[0], seq, record[2])
            payload += record
        data += frame_bytes(EPOCH, number, payload)
    return data


def sealer(folder: Path, native: Any) -> Sealer:
    """One that has read the beginning of its epoch."""
    made = Sealer(folder, "proxy/0", RULES, None)
    made.native, made._epoch, made._read_seq = native, EPOCH, SEQ
    made._format = LineFormat("proxy/0", EPOCH)
    made._parts = made._format.parts()
    return made


def outcome_of(made: Sealer, data: bytes) -> tuple[object, ...]:
    """Everything that reading leaves behind."""
    try:
        end: object = made._take_all(data)
    except (SpoolError, OverflowError, struct.error) as error:
        end = str(error)
    replay = made._replay
    counts = made._frames, made._read_seq, made._queue_bytes
    return end, made._lines, made._concludes, replay.intents, replay.definitions, counts


@given(st.lists(st.lists(RECORD, max_size=8), max_size=5), st.lists(st.tuples(SMALL, ODD), max_size=1), st.data())
def test_frames_are_read_alike(
    hot: ModuleType, folder: Path, frames: list[list[Any]], odd: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    whole = bytearray(written(frames, odd))
    python, c = sealer(folder, None), sealer(folder, hot.replay)
    cut = data.draw(st.integers(0, len(whole)))
    first = bytes(whole[:cut])  # as a reader sees it while it is written
    assert outcome_of(python, first) == outcome_of(c, first)
    for _ in range(data.draw(st.integers(0, 2))):
        if whole:
            whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.sampled_from([1, 2, 128, 255]))
    python, c = sealer(folder, None), sealer(folder, hot.replay)
    assert outcome_of(python, bytes(whole)) == outcome_of(c, bytes(whole))


def test_what_is_common_is_read_in_c(hot: ModuleType, folder: Path) -> None:
    frames = [[encode_definition(1, b",c"), intent_record(7, 5_000_000, 1, 2, b",d")], [(7, 1, b",o"), (8, 1, b"")]]
    data = written(frames, [])
    c = sealer(folder, hot.replay)
    arguments = (data, 0, EPOCH, 0, SEQ, c._parts, {}, {}, [], [])
    at, count, seq, size = hot.replay(*arguments)
    assert (at, count, seq) == (len(data), 2, SEQ + 2)
    lines = arguments[8]
    assert size == sum(map(len, lines)) and arguments[9] == [7, 8]
    assert lines[0].startswith(b'{"type":"QueryExecuted","v":1,"source":"proxy/0","epoch":3,"seq":41,"event_id":"00000000-1388-7')
    assert b'"opaque"' in lines[0] and lines[0].endswith(b",o}")  # its text's definition is lost
    assert hot.replay(data, 0, EPOCH, 1, SEQ, *arguments[5:])[:2] == (0, 1)  # another frame was to come


def test_a_failure_leaves_no_line_behind(hot: ModuleType, folder: Path) -> None:
    c = sealer(folder, hot.replay)
    data = written([[intent_record(7, 5, 1, 2, b""), (7, 1, b"")], [(9, 1, b"")]], [])
    *parts, _, query = c._parts

    def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    lines, concludes = [b"before"], [1]
    for lost, error in ((broken, ZeroDivisionError), (lambda *_: "text", TypeError)):
        with pytest.raises(error):
            hot.replay(data, 0, EPOCH, 0, SEQ, (*parts, lost, query), {}, {}, lines, concludes)
        assert (lines, concludes) == ([b"before"], [1])


def test_wrong_arguments_are_errors_and_not_crashes(hot: ModuleType, folder: Path) -> None:
    good: list[Any] = [b"", 0, 1, 0, 0, sealer(folder, None)._parts, {}, {}, [], []]
    assert hot.replay(*good) == (0, 0, 0, 0)
    for place, wrong in (
        (0, "text"),
        (1, "0"),
        (1, -1),
        (2, None),
        (5, ()),
        (5, (1, b"", b"", b"", 0, 0)),
        (6, []),
        (7, None),
        (8, ()),
        (9, {}),
    ):
        with pytest.raises(TypeError):
            hot.replay(*good[:place], wrong, *good[place + 1 :])
    with pytest.raises(TypeError):
        hot.replay(b"")
    data = written([[(7, 1, b"")]], [])
    for intent in (None, (), (7, "5", b"", b"", b""), (7, 5, "", b"", b"")):
        with pytest.raises(TypeError):
            hot.replay(data, 0, EPOCH, 0, SEQ, *good[5:6], {7: intent}, {}, [], [])
