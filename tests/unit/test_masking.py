"""Masked rows: one or many at once the same; valid in both formats; nothing of a masked value left."""

from __future__ import annotations

import json
from collections.abc import Iterable
from struct import pack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.masking import ColumnPlan, MaskPlan, RowMasker, Style, Treatment, masked, plan_result
from processors.sensitivity import Scanner
from processors.statements import Tokenizer
from schemas.classes import DataClass as C

SCANNER = Scanner()
TOKENS = Tokenizer(b"k" * 32)
SECRET = b"zq7secret@example.org"
TEXT, INT4, BYTEA, JSON, JSONB, XML, TEXTS, CHAR = 25, 23, 17, 114, 3802, 142, 1009, 18


class Tags:
    """Table 1: column 1 a mail address, 2 free text, 3 nothing, 4 mail and card."""

    def lookup(self, table_oid: int, attribute: int) -> frozenset[C] | None:
        classes = {
            1: frozenset((C.EMAIL,)),
            2: frozenset((C.FREE_TEXT,)),
            3: frozenset[C](),
            4: frozenset((C.EMAIL, C.PAYMENT_CARD)),
        }
        return classes.get(attribute) if table_oid == 1 else None

    def has(self, table_oid: int) -> bool:
        return table_oid == 1

    def is_statement(self, table_oid: int, attribute: int) -> bool:
        return False

    def derived(self, table_oid: int, attribute: int) -> bool:
        return False

    def watched(self, table_oid: int, attribute: int) -> bool:
        return False


def description(*columns: tuple[int, int, int, int]) -> bytes:
    fields = (b"c\x00" + pack(">IhIhih", table, att, oid, -1, -1, fmt) for table, att, oid, fmt in columns)
    return pack(">h", len(columns)) + b"".join(fields)


def row(cells: Iterable[bytes | None]) -> bytes:
    values = list(cells)
    body = pack(">h", len(values)) + b"".join(b"\xff" * 4 if v is None else pack(">i", len(v)) + v for v in values)
    return b"D" + pack(">i", len(body) + 4) + body


def rows(stream: bytes) -> list[list[bytes | None]]:
    """Every DataRow of a stream, which has to be whole messages of exact lengths."""
    found, at = [], 0
    while at < len(stream):
        (length,) = unpack_from(">i", stream, at + 1)
        end = at + 1 + length
        assert end <= len(stream)
        if stream[at : at + 1] == b"D":
            (count,) = unpack_from(">h", stream, at + 5)
            pos, cells = at + 7, []
            for _ in range(count):
                (size,) = unpack_from(">i", stream, pos)
                pos += 4
                cells.append(None if size < 0 else stream[pos : pos + size])
                pos += max(size, 0)
            assert pos == end
            found.append(cells)
        at = end
    return found


def planned(
    *columns: tuple[int, int, int, int], computed: frozenset[C] | None = None, principal: MaskPlan | None = None
) -> tuple[ColumnPlan, ...]:
    return plan_result(description(*columns), Tags(), principal or MaskPlan(), lambda n, count: computed)


def masker(plan: tuple[ColumnPlan, ...]) -> RowMasker:
    return RowMasker(plan, SCANNER, TOKENS)


def test_columns_by_where_they_come_from() -> None:
    plan = planned((1, 1, TEXT, 0), (1, 2, TEXT, 0), (1, 3, TEXT, 0), (0, 0, INT4, 1), (9, 1, TEXT, 0), (1, 0, TEXT, 0))
    wanted = [Treatment.MASK, Treatment.DETECT, Treatment.PASS, Treatment.MASK, Treatment.MASK, Treatment.MASK]
    assert [c.treatment for c in plan] == wanted


def nothing(n: int, count: int) -> frozenset[C]:
    return frozenset()


def test_in_doubt_masked() -> None:
    columns = ((1, 3, TEXT, 0), (0, 0, INT4, 0))
    no_catalogue = plan_result(description(*columns), None, MaskPlan(), lambda n, count: None)
    assert {c.treatment for c in no_catalogue} == {Treatment.MASK}
    assert [c.treatment for c in planned(*columns)] == [Treatment.PASS, Treatment.MASK]
    assert [c.treatment for c in planned(*columns, computed=frozenset())] == [Treatment.PASS, Treatment.PASS]
    assert [c.treatment for c in planned(*columns, computed=frozenset((C.FREE_TEXT,)))] == [Treatment.PASS, Treatment.DETECT]
    assert {c.treatment for c in planned(*columns, principal=MaskPlan(clear=frozenset(C)))} == {Treatment.PASS}


def test_what_nobody_knows_beside_a_temporary_table_has_its_own_classes_too() -> None:
    columns = ((9, 1, TEXT, 0), (9, 2, TEXT, 0))  # one of the session's, or another that was made anew meanwhile

    def seen(*behind: frozenset[C] | None) -> list[Treatment]:
        def own(attribute: int) -> frozenset[C]:
            return frozenset()

        plan = plan_result(description(*columns), Tags(), MaskPlan(), lambda n, count: behind[n], own=own)
        return [c.treatment for c in plan]

    assert seen(frozenset(), frozenset((C.EMAIL,))) == [Treatment.WATCH, Treatment.MASK]
    assert seen(None, frozenset()) == [Treatment.MASK, Treatment.WATCH]


def test_what_a_principal_may_see() -> None:
    clear = MaskPlan(clear=frozenset((C.EMAIL,)), default=Style.PARTIAL)
    plan = planned((1, 1, TEXT, 0), (1, 4, TEXT, 0), principal=clear)
    assert [(c.treatment, c.data_class, c.style) for c in plan[1:]] == [(Treatment.MASK, C.PAYMENT_CARD, Style.PARTIAL)]
    assert plan[0].treatment is Treatment.PASS
    both = planned((1, 4, TEXT, 0), principal=MaskPlan(default=Style.PARTIAL))
    assert both[0].style is Style.REDACT, "what is kept of a mail address could be a card"


def test_formats_of_a_bind_count() -> None:
    body = description((1, 3, JSONB, 0), (1, 1, JSONB, 0))
    binary = plan_result(body, Tags(), MaskPlan(), nothing, formats=(1,))
    assert [c.binary for c in binary] == [True, True]
    assert [c.binary for c in plan_result(body, Tags(), MaskPlan(), nothing, formats=(0, 1))] == [False, True]
    with pytest.raises(ValueError, match="3 result formats for 2 columns"):
        plan_result(body, Tags(), MaskPlan(), nothing, formats=(0, 1, 1))


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_cut_description_is_refused(cut: int) -> None:
    with pytest.raises(ValueError):
        plan_result(description((1, 3, TEXT, 0))[:-cut], Tags(), MaskPlan(), nothing)


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("data_class", list(C))
def test_masks_are_valid_and_hold_nothing(style: Style, binary: bool, data_class: C) -> None:
    for oid in (TEXT, INT4, BYTEA, JSON, JSONB, XML, TEXTS, CHAR, 987654):
        out = masked(SECRET, data_class, style, oid, binary, TOKENS)
        assert out is None or b"zq7" not in out
        if out is not None and oid in (JSON, JSONB):
            assert json.loads(out[1:] if oid == JSONB and binary else out) == "[masked]"
        if oid in (INT4, BYTEA, TEXTS, CHAR, 987654):
            assert out is None


@pytest.mark.parametrize(
    ("value", "data_class", "wanted"),
    [
        (b"ada@example.org", C.EMAIL, b"***@example.org"),
        (b"ada lovelace", C.EMAIL, b"[masked]"),
        ("jörg@example.org".encode(), C.EMAIL, b"[masked]"),
        (b"x@y@z", C.EMAIL, b"[masked]"),
        (b"4539578763621486", C.PAYMENT_CARD, b"***1486"),
        (b"1486", C.PAYMENT_CARD, b"[masked]"),
        (b"157-36-8193", C.NATIONAL_ID, b"[masked]"),
    ],
)
def test_partial(value: bytes, data_class: C, wanted: bytes) -> None:
    assert masked(value, data_class, Style.PARTIAL, TEXT, False, TOKENS) == wanted


def test_tokens_join() -> None:
    one, other = (masked(v, C.EMAIL, Style.TOKEN, TEXT, False, TOKENS) for v in (b"a@b.example", b"c@b.example"))
    assert one == masked(b"a@b.example", C.EMAIL, Style.TOKEN, TEXT, True, TOKENS)
    assert one != other


def test_tokens_and_parts_of_computed_columns_would_spell_the_value() -> None:
    for style in (Style.TOKEN, Style.PARTIAL):
        [plan] = planned((0, 0, TEXT, 0), principal=MaskPlan(default=style), computed=frozenset((C.EMAIL,)))
        assert plan.style is Style.REDACT


def test_free_text_keeps_what_is_not_sensitive() -> None:
    plan = planned((1, 2, TEXT, 0), (1, 2, JSON, 0), (1, 2, JSON, 0), (1, 2, INT4, 0), (1, 2, INT4, 1), (1, 2, BYTEA, 0))
    cells = [b"call " + SECRET + b" back", b'{"a": "zq7\\u0040example.org"}', b'{"a": 1}', b"12", b"\x00\x00\x00\x0c", b"\\x61"]
    run = masker(plan)
    assert rows(run.run(row(cells), 0)[1]) == [[b"call [masked] back", b'{"a": "[masked]"}', b'{"a": 1}', b"12", None, b"\\x61"]]
    assert run.exposure.masked == {C.EMAIL: 2, C.FREE_TEXT: 1}


CELL = st.none() | st.binary(max_size=40) | st.just(SECRET)


@given(lines=st.lists(st.lists(CELL, min_size=4, max_size=4), max_size=6), cut=st.integers(0, 200))
def test_rows_are_masked_one_by_one_or_many_at_once_alike(lines: list[list[bytes | None]], cut: int) -> None:
    plan = planned((1, 1, TEXT, 0), (1, 3, TEXT, 0), (1, 2, TEXT, 0), (0, 0, INT4, 1))
    stream = b"".join(map(row, lines))
    end, whole, count = masker(plan).run(stream + row([b"a", b"b", b"c", b"d"])[:-1] + b"", 0)
    assert (end, count) == (len(stream), len(lines)), "a row that is not whole is left"
    single = masker(plan)
    assert b"".join(single.run(row(line), 0)[1] for line in lines) == whole
    for before, after in zip(lines, rows(whole), strict=True):
        assert after[0] == (None if before[0] is None else b"[masked]")
        assert after[1] == before[1]
        assert after[3] is None
        assert after[2] is None or SECRET not in after[2]


def test_what_is_seen_and_masked_is_counted_by_class_and_column() -> None:
    plan = planned((1, 1, TEXT, 0), (1, 4, TEXT, 0), principal=MaskPlan(clear=frozenset((C.EMAIL,))))
    run = RowMasker(plan, SCANNER, TOKENS, lambda column: f"t.c{column.attribute}")
    run.run(row([b"a", b"b"]) + row([None, b"b"]) + row([b"c", None]), 0)
    assert run.exposure.seen == {C.EMAIL: 4, C.PAYMENT_CARD: 2}
    assert run.exposure.masked == {C.EMAIL: 2, C.PAYMENT_CARD: 2}
    assert run.exposure.columns == {"t.c1": 2}


def test_a_row_too_long_is_a_row_of_nulls() -> None:
    run = masker(planned((1, 1, TEXT, 0), (1, 3, TEXT, 0)))
    assert rows(run.too_long()) == [[None, None]]
    assert run.oversize == 1


@pytest.mark.parametrize(
    "bad",
    [
        row([b"a"]),
        row([b"a", b"b", b"c"]),
        b"D\x00\x00\x00\x08\x00\x02\x00\x00",
        b"D\x00\x00\x00\x0a\x00\x02\x00\x00\x00\x09",
        row([b"a", b"b"])[:1] + b"\x00\x00\x00\x11" + row([b"a", b"b"])[5:] + b"z",
        b"D\x00\x00\x00\x03\x00\x00\x00",
    ],
)
def test_a_row_that_does_not_fit_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="row"):
        masker(planned((1, 3, TEXT, 0), (1, 1, TEXT, 0))).run(bad, 0)
