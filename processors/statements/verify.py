"""Does libpg_query's own scanner cut this text as our lexer did? Asked once per template; a disagreement makes the text opaque.

The scanner only reads plain quotes the conforming way. Text read the other way is given to it with each plain string marked
`E`, which is the same reading.
"""

from __future__ import annotations

import re

from pglast import parser

from processors.statements.lexer import COMMENT, COMMON, CONFORMING, ESCAPING, ODD, RARE, SKIP

_QUOTED = re.compile(r'"[^"]*"(?:"[^"]*")*')
_LITERALS = frozenset(("SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"))
_COMMENTS = frozenset(("SQL_COMMENT", "C_COMMENT"))

Span = tuple[int, int, str]


def agrees(text: str, *, conforming: bool) -> bool:
    """Tell whether both lexers find the same literals, comments and quoted names, at the same places."""
    pieces: list[str] = []
    ours: list[Span] = []
    at = 0
    for match in (CONFORMING if conforming else ESCAPING).finditer(text):
        skip = match[SKIP]
        ours += [(at + q.start(), at + q.end(), "name") for q in _QUOTED.finditer(skip)]
        pieces.append(skip)
        at += len(skip)
        token = match[COMMON] or match[RARE] or match[COMMENT] or match[ODD]
        if not token:
            continue
        if match[ODD]:
            return False
        if not conforming and token[0] == "'":
            pieces.append(" ")
            at, token = at + 1, "E" + token
        ours.append((at, at + len(token), "comment" if match[COMMENT] else "literal"))
        pieces.append(token)
        at += len(token)
    return ours == _theirs("".join(pieces))


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
