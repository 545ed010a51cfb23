"""Rows are cut alike by both ways to do it, and as their description of the wire says; what is no row is found to be none."""

from __future__ import annotations

from struct import error, pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.masking import ColumnPlan, RowMasker, Style, Treatment
from ingest.masking.cuts import Cut, walk_compiled, walk_interpreted
from processors.sensitivity import Scanner
from schemas.classes import DataClass as C
from tests.support.pg_conversation import TOKENIZER

SCANNER = Scanner()
CELLS = st.lists(st.none() | st.binary(max_size=6) | st.just(b"x" * 300), min_size=3, max_size=3)


def row(cells: list[bytes | None]) -> bytes:
    body = pack(">h", len(cells)) + b"".join(pack(">i", -1) if c is None else pack(">i", len(c)) + c for c in cells)
    return b"D" + pack(">i", len(body) + 4) + body


def outcome(walk: object, data: bytes, pos: int, walked: int) -> object:
    places: list[int] = []
    nulls: list[int] = []
    try:
        return walk(data, pos, 3, walked, places, nulls), places, nulls  # type: ignore[operator]
    except (ValueError, error) as problem:
        return "ends within" if isinstance(problem, error) else str(problem)


@given(st.lists(CELLS, max_size=5), st.integers(0, 3), st.data())
def test_both_ways_cut_alike_whatever_comes(rows: list[list[bytes | None]], walked: int, data: st.DataObject) -> None:
    sent = bytearray(
        b"T" + b"".join(map(row, rows)) + data.draw(st.sampled_from([b"", b"C\0\0\0\x08x\0", b"D\0\0\0\4", b"D\0\0\1"]))
    )
    for _ in range(data.draw(st.integers(0, 3))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(walk_interpreted, bytes(sent), 1, walked) == outcome(walk_compiled, bytes(sent), 1, walked)


@given(st.lists(CELLS, min_size=1, max_size=5), st.integers(1, 3))
def test_cells_and_nulls_are_those_of_the_rows(rows: list[list[bytes | None]], walked: int) -> None:
    data = b"".join(map(row, rows))
    cut = Cut(data + row([b"part"] * 3)[:-1], 0, 3, walked)
    assert (cut.end, cut.count) == (len(data), len(rows))
    for n in range(walked):
        assert cut.cells(n) == [cells[n] or b"" for cells in rows]
        assert cut.null(n) == [at for at, cells in enumerate(rows) if cells[n] is None]


VALUES = st.sampled_from(
    [b"", b"x", b"zq7hidden@example.org", b"536-90-4399", b'{"full_name": "b"}', b"a\\x41", b"\\x7a71403132",
     b"call 536-90-4399 or", b"4", b"x" * 5000, b"zq7hidden@", b"example.org", b"4111 1111", b"1111 1111"]
)  # fmt: skip


@given(st.lists(st.lists(VALUES | st.none(), min_size=3, max_size=3), max_size=12))
def test_rows_together_are_masked_as_each_alone(rows: list[list[bytes | None]]) -> None:
    """What ends one cell and begins the next is never taken for one value, and none is missed among many."""
    plan = [
        ColumnPlan(Treatment.DETECT, 25, classes=frozenset((C.FREE_TEXT,)), table=1, attribute=1),
        ColumnPlan(Treatment.MASK, 25, False, C.EMAIL, Style.PARTIAL, frozenset((C.EMAIL,)), 1, 2),
        ColumnPlan(Treatment.WATCH, 1043, table=1, attribute=3),
    ]
    together = RowMasker(plan, SCANNER, TOKENIZER)
    data = b"".join(map(row, rows))
    end, masked, count = together.run(data, 0)
    alone = RowMasker(plan, SCANNER, TOKENIZER)
    assert (end, count) == (len(data), len(rows))
    assert masked == b"".join(alone.run(row(cells), 0)[1] for cells in rows)
    assert together.exposure.masked == alone.exposure.masked


@pytest.mark.parametrize(
    "data",
    [b"D\0\0\0\4", b"D\0\0\0\5\0", b"D\0\0\0\6\0\2", b"D\0\0\0\6\0\3", row([b"a"] * 3)[:4] + b"\x12" + row([b"a"] * 3)[5:]],
)
def test_what_is_no_row_of_so_many_columns_is_found_to_be_none(data: bytes) -> None:
    for tail in (b"", row([b"a"] * 3)):
        with pytest.raises((ValueError, error)):
            Cut(data + tail, 0, 3, 3)
