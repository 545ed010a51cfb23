"""Does libpg_query's own scanner cut this text as our lexer did? Asked once per template; a disagreement makes the text opaque.

The scanner only reads plain quotes the conforming way. Text read the other way is given to it with each plain string marked
`E`, which is the same reading.
"""

from __future__ import annotations

import re

from pglast import parser

from processors.statements.lexer import COMMENT, COMMON, CONFORMING, CONTINUE, ESCAPING, ODD, RARE, SKIP, UNICODE

_QUOTED = re.compile(r'"[^"]*"(?:"[^"]*")*')
_NAME = r'"[^"]*+"(?:"[^"]*+")*+'
_STRING = rf"'[^']*+(?:''[^']*+)*+'(?:{CONTINUE}'[^']*+(?:''[^']*+)*+')*+"
_LITERALS = frozenset(("SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"))
_COMMENTS = frozenset(("SQL_COMMENT", "C_COMMENT"))

MAX_SCANNED_CHARS = 64 * 1024
"""Longer texts, bulk inserts mostly, are held to the fingerprint of the whole instead: 2 µs a token are too many."""

_OPERATORS = re.compile(r"[~!@#^&|`?+\-*/%<>=]{256,}")

Span = tuple[int, int, str]


def agrees(text: str, *, conforming: bool) -> bool:
    """Tell whether both lexers find the same literals, comments and quoted names, at the same places."""
    pieces: list[str] = []
    ours = _ours(text, 0, pieces, conforming)
    return ours is not None and ours == _theirs("".join(pieces))


def is_slow_to_scan(text: str) -> bool:
    """Tell whether scan.l needs quadratic time: at each `/*` it first takes every operator character that follows."""
    return any(run.count("/*") > 16 for run in _OPERATORS.findall(text))


def marked(text: str, *, conforming: bool) -> str:
    """Return the text as libpg_query, which knows only conforming strings, reads it as the server does."""
    if conforming:
        return text
    pieces: list[str] = []
    _ours(text, 0, pieces, conforming)
    return "".join(pieces)


def _ours(text: str, at: int, pieces: list[str], conforming: bool) -> list[Span] | None:
    spans: list[Span] = []
    for match in (CONFORMING if conforming else ESCAPING).finditer(text):
        skip = match[SKIP]
        if odd := match[ODD]:
            pieces += (skip, " E" + odd if odd[0] == "'" and not conforming else odd)
            return None
        spans += [(at + q.start(), at + q.end(), "name") for q in _QUOTED.finditer(skip)]
        pieces.append(skip)
        at += len(skip)
        token = match[COMMON] or match[RARE] or match[COMMENT]
        if match[UNICODE]:
            at = _unicode(match[UNICODE], at, pieces, spans, conforming)
        elif token:
            if not conforming and token[0] == "'":
                pieces.append(" ")
                at, token = at + 1, "E" + token
            spans.append((at, at + len(token), "comment" if match[COMMENT] else "literal"))
            pieces.append(token)
            at += len(token)
    return spans


def _unicode(token: str, at: int, pieces: list[str], spans: list[Span], conforming: bool) -> int:
    """`U&'…' UESCAPE '!'` is three tokens to the scanner: the tail is lexed as a text of its own."""
    begin = re.match(_NAME if token[2] == '"' else _STRING, token[2:], re.DOTALL)
    end = begin.end() + 2 if begin else len(token)
    spans.append((at, at + end, "name" if token[2] == '"' else "literal"))
    pieces.append(token[:end])
    spans += _ours(token[end:], at + end, pieces, conforming) or []
    return at + len(token) + (1 if not conforming and end < len(token) else 0)


def _theirs(text: str) -> list[Span] | None:
    try:
        tokens = parser.scan(text)
    except Exception:
        return None
    spans: list[Span] = []
    for token in tokens:
        start, end, name = token.start, token.end + 1, token.name
        if name in _LITERALS:
            spans.append((start, end, "literal"))
        elif name in _COMMENTS:
            spans.append((start, end, "comment"))
        elif name == "UIDENT" or text[start] == '"':
            spans.append((start, end, "name"))
    return spans
