"""Differential: our lexer against libpg_query's scanner, on text made of everything that makes lexing hard.

The comparison has an oracle of its own, apart from `verify`: template and literals are rebuilt from the scanner's tokens.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pglast import parser

from processors.statements import Analyser, Lexing, Tokenizer
from processors.statements.lexer import COMMENT, COMMON, CONFORMING, ESCAPING, ODD, RARE, SKIP, UNICODE
from processors.statements.verify import agrees

PIECES = [
    *"'\"$\\-/*.eExXbBuUnN&0_ \n\t\r();,@#=<>+%|!~:[]?`{}é¥\u00a0",
    "''", "'a'", "e'", "E'\\''", "x'1f'", "b'01'", "u&'", 'u&"', "U&'\\0041'", "uescape '!'",
    "$$", "$a$", "$1", "a$b", "--", "--x\n",
    "/*", "*/", "/*/*", "*/*/", "1", "1.", ".5", "1e5", "1..2", "0x1F", "1_000", "select", " from ",
    "'\n'", "' --c\n '", "1=1", '""', '"a"',
]  # fmt: skip

text = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


def spans(source: str, conforming: bool) -> list[tuple[int, int, str]] | None:
    """Ours: None where the lexer does not vouch for the text."""
    found = []
    for m in (CONFORMING if conforming else ESCAPING).finditer(source):
        if m[ODD] or m[UNICODE]:
            return None
        for group, kind in ((COMMON, "literal"), (RARE, "literal"), (COMMENT, "comment")):
            if m[group]:
                found.append((*m.span(group), kind))
        assert not any("\x00" <= c <= "\x08" for c in m[SKIP])
    return found


def scanned(source: str) -> list[tuple[int, int, str]] | None:
    try:
        tokens = parser.scan(source)
    except Exception:
        return None
    kinds = {"SQL_COMMENT": "comment", "C_COMMENT": "comment"}
    kinds |= dict.fromkeys(("SCONST", "BCONST", "XCONST", "ICONST", "FCONST", "USCONST"), "literal")
    return [(t.start, t.end + 1, kinds[t.name]) for t in tokens if t.name in kinds]


@settings(max_examples=1500, deadline=None)
@given(text)
@example("a$b$1$$x$$")
@example("1$$--$$2")
@example("/*/**//*/*/ 1 */ 2")
@example("'a'--'\n'b'")
@example("+--1\n-/*2*/3")
@example("1...5")
@example('"a""$1" 7')
@example("e'\\'' 'x\\' '")
def test_lexer_cuts_as_the_server_does(source: str) -> None:
    ours, theirs = spans(source, True), scanned(source)
    if ours is not None and theirs is not None:
        assert ours == theirs
    if theirs is None:
        assert ours is None or not agrees(source, conforming=True), "text the scanner refuses was vouched for"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["'", "\\", "''", "a", " ", "\n", "--", "$$", "1", '"', "E'x'"]), max_size=12).map("".join))
@example("'a\\'b' 1")
def test_escaping_strings_are_read_as_marked_ones(source: str) -> None:
    """With standard_conforming_strings off, `'…'` is `E'…'`: strings found one way are found marked the other way."""
    ours = spans(source, False)
    if ours is None:
        return
    marked, shift, expected = [], 0, []
    at = 0
    for start, end, kind in ours:
        marked.append(source[at:start])
        if source[start] == "'":
            marked.append(" E")
            shift += 2
            expected.append((start + shift - 1, end + shift, kind))
        else:
            expected.append((start + shift, end + shift, kind))
        marked.append(source[start:end])
        at = end
    marked.append(source[at:])
    theirs = scanned("".join(marked))
    if theirs is not None:
        assert theirs == expected


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32), cache_bytes=1024 * 1024)


LEXINGS = [
    Lexing(),
    Lexing(standard_conforming_strings=False),
    Lexing(standard_conforming_strings=None),
    Lexing(client_encoding="SJIS"),
    Lexing(client_encoding="no such"),
]


@settings(max_examples=600, deadline=None)
@given(source=st.one_of(text.map(str.encode), st.binary(max_size=60)), lexing=st.sampled_from(LEXINGS))
@example(b"\x00", LEXINGS[0])
@example(b"select '\xed\xa0\x80'", LEXINGS[0])
@example(b"select E'\\ud800'", LEXINGS[0])
@example(b"select U&'\\d83d\\de00'", LEXINGS[0])
def test_any_bytes_give_an_analysis(analyser: Analyser, source: bytes, lexing: Lexing) -> None:
    analysis = analyser.analyse(source, lexing)
    Analyser(Tokenizer(b"k" * 32), cache_bytes=0)._select(lexing).analyse(source)  # `analyse` hides exceptions of ours
    assert len(analysis.statements) == len(analysis.params) >= 1
    for statement in analysis.statements:
        assert statement.fragment.startswith(b',"text":')
        assert "internal" not in statement.text
    again = Analyser(Tokenizer(b"k" * 32), cache_bytes=0).analyse(source, lexing)
    assert repr(again) == repr(analysis), "the cache changes the answer"
