"""The one door to libpg_query's parser: nothing is parsed whose tree, written out, is out of proportion to its text.

The grammar hangs the source of `SET (a, b) = (SELECT …)` under each column of the list, as one shared node. Written out it stands
there once per column, and nested in itself (`WITH q AS (UPDATE t SET (a, b) = (WITH …))`) twice per level: a kilobyte of text
becomes gigabytes before anything could look at it. So the tokens that the tree will hold are counted first, from
libpg_query's own scanner, and only where the text can have such a list at all. (gram.y, `set_clause`; the other nodes that it
shares, types of arguments, stand twice at most and cannot nest.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pglast import parser

MAX_TREE_TOKENS = 128 * 1024
"""Tokens a tree may stand for, shared ones once per use: as many as the longest template can have."""

_MAY_ASSIGN = (re.compile(r"\bset\b", re.IGNORECASE).search, re.compile(r"\)\s*(?:=|--|/\*)").search)
_OPENING = frozenset(("ASCII_40", "ASCII_91"))
_CLOSING = frozenset(("ASCII_41", "ASCII_93"))
_COMMA, _SEMICOLON, _EQUALS = "ASCII_44", "ASCII_59", "ASCII_61"
_COMMENTS = frozenset(("SQL_COMMENT", "C_COMMENT"))
_LISTS = frozenset(("IN_P", "VALUES", "ARRAY"))


class TooComplexError(Exception):
    """The tree of a text would take more than the text lets expect."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a tree comes out: tokens, shared ones once per use, and how often lists of values come out, at most."""

    tokens: int = 0
    times: int = 1


def tree_json(text: str, *, elided_from: int = 0) -> str:
    """Return libpg_query's tree of a text as JSON. Raises TooComplexError, and the parser's own error.

    `elided_from` is how many characters the text had before its lists of values were elided, where those are read too.
    """
    if all(search(text) for search in _MAY_ASSIGN):
        extent = extent_of(text)
        if extent.tokens + (extent.times - 1) * elided_from > MAX_TREE_TOKENS:
            raise TooComplexError("lists of columns that share one source multiply it")
    tree: str = parser.parse_sql_json(text)
    return tree


def extent_of(text: str) -> Extent:
    """Count the tokens of a text as its tree will hold them. Raises the scanner's error where it cannot be cut.

    A source of several columns ends with the comma, semicolon or bracket that ends its element of the list. A list of columns
    follows SET or a comma, and precedes `=`; what only looks like one (`SELECT 1, (a, b) = (c, d)`) counts as one.
    """
    tokens = 0
    times = peak = 1
    outer: list[tuple[int, int, int, bool]] = []
    base, commas, follows = 1, 0, False
    before = ""
    width = 0
    for token in parser.scan(text):
        name = token.name
        if name in _COMMENTS:
            continue
        tokens += times
        if name in _OPENING:
            outer.append((base, times, commas, follows))
            base, commas, follows = times, 0, name == "ASCII_40" and before in ("SET", _COMMA)
        elif name in _CLOSING:
            width = commas + 1 if follows and name == "ASCII_41" else 1
            base, times, commas, follows = outer.pop() if outer else (1, 1, 0, False)
        elif name in (_COMMA, _SEMICOLON):
            times = base
            commas += 1
        elif name == _EQUALS and before == "ASCII_41":
            times = max(times, base * width)
        elif name in _LISTS:
            peak = max(peak, times)
        before = name
    return Extent(tokens, peak)
