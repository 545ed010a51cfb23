"""A plan shows the constants that the client wrote itself, and no value that it did not."""

from __future__ import annotations

import random

import pytest

from ingest.masking.own_words import MAX_WORDS, OwnWords
from ingest.masking.plan import ColumnPlan, Treatment
from ingest.masking.rows import RowMasker
from processors.sensitivity import Scanner
from processors.statements import Analyser, Lexing
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import TOKENIZER, client, cuts, play_cut, server
from tests.unit.test_pg_masking import described, make

SCANNER = Scanner()
MINE, OTHER = b"ada@example.org", b"zyxwana.quorvath@example.org"
PLAN_TEXT = 25


def masker(*said: bytes) -> OwnWords:
    return OwnWords(RowMasker([ColumnPlan(Treatment.DETECT)], SCANNER, TOKENIZER), said)


def shown(cell: bytes, *said: bytes) -> bytes:
    rows = pg.row(cell)
    end, masked, count = masker(*said).run(rows, 0)
    assert (end, count) == (len(rows), 1)
    return masked[11:]


@pytest.mark.parametrize(
    "cell",
    [
        b"  Filter: (email = '%b'::text)",
        b"  Filter: (email = '%b'::text) AND (b = '%b'::citext)",
        b"  Filter: (email = ANY ('{%b,\"%b\"}'::text[]))",
        b"    Filter: \"(email = '%b'::text)\"",
    ],
)
def test_what_the_client_wrote_is_repeated(cell: bytes) -> None:
    plan = cell.replace(b"%b", MINE)
    assert shown(plan, MINE) == plan
    assert MINE not in shown(plan), "the case does not test what it says"


@pytest.mark.parametrize(
    "cell",
    [
        b"  Filter: (email = '%b'::text)" % OTHER,  # a policy's, or a view's
        b"  Filter: (email = '%b'::text) AND (b = '%b'::text)" % (MINE, OTHER),
        b"  Filter: (email = ANY ('{%b,%b}'::text[]))" % (MINE, OTHER),
        b"  Filter: (email = 'x%b'::text)" % OTHER,
    ],
)
@pytest.mark.parametrize("said", [(), (MINE,), (MINE, b"quorvath"), (b"example.org", b".org", b"zyxwana."), (b"@example", b"xz")])
def test_what_it_did_not_write_is_masked_whatever_parts_of_it_it_wrote(cell: bytes, said: tuple[bytes, ...]) -> None:
    masked = shown(cell, *said)
    assert b"quorvath" not in masked and b"zyxwana" not in masked


@pytest.mark.parametrize("word", [b"it's", b'a"b', b"a\\b", b"a\nb", b"a", b""])
def test_words_that_a_plan_writes_otherwise_are_left_alone(word: bytes) -> None:
    cell = b"  Filter: (a = '%b'::text) AND (email = '%b')" % (word, OTHER)
    assert OTHER not in shown(cell, word, OTHER[:5])


def test_rows_of_any_form_keep_their_form() -> None:
    said = [MINE, *(b"w%d@example.org" % n for n in range(2 * MAX_WORDS))]
    dice = random.Random(7)
    for _ in range(300):
        cells = [dice.choice([b"", b"x", b"'%b'" % MINE, b"'qazzzzzzzzzzzzz'", b"'%b" % MINE, b"D", MINE]) for _ in range(3)]
        rows = b"".join(pg.row(cell) for cell in cells)
        alone = RowMasker([ColumnPlan(Treatment.DETECT)], SCANNER, TOKENIZER)
        end, masked, count = masker(*said).run(rows + pg.complete("EXPLAIN"), 0)
        assert (end, count) == (len(rows), 3)
        if b"'%b'" % MINE not in cells or b"'qazzzzzzzzzzzzz'" in cells:
            assert masked == alone.run(rows, 0)[1]


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"D\0\0\0\7\0\1\0",
        b"D\0\0\0\x0b\0\1\0\0\0\x09x",
        b"D\xff\xff\xff\xff\0\1\0\0\0\1x",
        b"D\0\0\0\x0a\0\1\xff\xff\xff\xff",
    ],
)
def test_odd_rows_are_what_they_are_without_it(odd: bytes) -> None:
    def outcome(rows: RowMasker | OwnWords) -> object:
        try:
            return rows.run(odd, 0)
        except ValueError as error:
            return str(error)

    assert outcome(masker(MINE)) == outcome(RowMasker([ColumnPlan(Treatment.DETECT)], SCANNER, TOKENIZER))


@pytest.mark.parametrize("cut", cuts())
def test_an_explain_of_either_protocol_repeats_its_constants(cut: object) -> None:
    text = f"EXPLAIN SELECT id FROM people WHERE email = '{MINE.decode()}'"
    plan = [b"Seq Scan on people", b"  Filter: (email = '%b'::text)" % MINE, b"  Policy: (email <> '%b'::text)" % OTHER]
    rows = b"".join(pg.row(line) for line in plan)
    column = described(("QUERY PLAN", 0, 0, PLAN_TEXT, 0))
    heard = play_cut(
        [
            client(pg.query(text)),
            server(column, rows, pg.complete("EXPLAIN"), pg.ready()),
            client(pg.parse("", text), pg.bind("", ""), pg.describe("P"), pg.execute(), pg.SYNC),
            server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, column, rows, pg.complete("EXPLAIN"), pg.ready()),
        ],
        cut,  # type: ignore[arg-type]
        make,
    )
    assert heard.to_client.count(pg.row(plan[1])) == 2 and OTHER not in heard.to_client
    assert MINE.decode() not in str(heard.events)


def test_constants_are_found_where_they_are_certain() -> None:
    analyser = Analyser(TOKENIZER)
    assert analyser.constants("SELECT 'é', $$b'c$$, 12".encode(), Lexing()) == ["é".encode(), b"b'c", b"12"]
    assert analyser.constants(b"SELECT 'a\\'", Lexing(standard_conforming_strings=None)) == []
    assert analyser.constants("SELECT 'é'".encode("latin-1"), Lexing(client_encoding="LATIN1")) == ["é".encode("latin-1")]
    assert analyser.constants(b"SELECT '\xff'", Lexing()) == []
