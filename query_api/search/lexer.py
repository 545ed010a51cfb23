"""Which words a search is made of: characters to tokens, each with its place.

Two modes, as in the language: before a term (parentheses, AND OR NOT, `-`, `field:`, words), and directly after `field:`, where
a value stands and `:`, `<`, `>`, `[` belong to it. A backslash makes the next character literal in words and quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from query_api.search.ast import Pattern, pattern
from query_api.search.errors import SearchError


class Kind(StrEnum):
    """What a token is."""

    OPEN = "("
    CLOSE = ")"
    AND = "AND"
    OR = "OR"
    NOT = "NOT"
    MINUS = "-"
    FIELD = "field"
    VALUE = "value"
    COMPARE = "comparison"
    RANGE = "range"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """`text`: the field's name, the operator or the raw word. `pattern`: of a VALUE. `ends`: of a RANGE or COMPARE."""

    kind: Kind
    position: int
    length: int
    text: str = ""
    pattern: Pattern | None = None
    ends: tuple[str, ...] = ()


_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_.\-]+)?:")
_RANGE = re.compile(r"\[\s*([^\s\[\]()\"]+)\s+TO\s+([^\s\[\]()\"]+)\s*\]")
_COMPARE = re.compile(r"(>=|<=|>|<)([^\s()\"]*)")
_ENDS_WORD = frozenset('()"')
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Lexer:
    """Reads one search text from left to right; `next(value=True)` reads in the mode after `field:`."""

    def __init__(self, text: str) -> None:
        if bad := _FORBIDDEN.search(text):
            raise SearchError(f"character U+{ord(bad[0]):04X} cannot be searched for", bad.start(), 1)
        self._text = text
        self.position = 0

    def at_value(self) -> bool:
        """Whether something other than white space follows directly."""
        return self.position < len(self._text) and not self._text[self.position].isspace()

    def next(self, *, value: bool = False) -> Token:
        """The next token; `value`: a number comparison or range may stand here. Raises SearchError."""
        text = self._text
        while self.position < len(text) and text[self.position].isspace():
            self.position += 1
        start = self.position
        if start == len(text):
            return Token(Kind.END, start, 0)
        char = text[start]
        if char in "()":
            self.position += 1
            return Token(Kind(char), start, 1, char)
        if char == '"':
            return self._quoted(start)
        if value:
            if char in "<>":
                return self._compare(start)
            if char == "[":
                return self._range(start)
        else:
            if char == "-":
                self.position += 1
                return Token(Kind.MINUS, start, 1, char)
            if found := _FIELD.match(text, start):
                self.position = found.end()
                return Token(Kind.FIELD, start, found.end() - start, found[0][:-1])
        return self._word(start)

    def _compare(self, start: int) -> Token:
        found = _COMPARE.match(self._text, start)
        assert found is not None
        self.position = found.end()
        return Token(Kind.COMPARE, start, found.end() - start, found[1], ends=(found[2],))

    def _range(self, start: int) -> Token:
        found = _RANGE.match(self._text, start)
        if found is None:
            raise SearchError("this is not a range", start, 1, "Write [10 TO 100]; * leaves an end open.")
        self.position = found.end()
        return Token(Kind.RANGE, start, found.end() - start, found[0], ends=(found[1], found[2]))

    def _quoted(self, start: int) -> Token:
        text, out, at = self._text, [], start + 1
        while at < len(text) and text[at] != '"':
            if text[at] == "\\" and at + 1 < len(text):
                at += 1
            out.append(text[at])
            at += 1
        if at >= len(text):
            raise SearchError('this quote " is never closed', start, 1, 'Close it, or write \\" for the character itself.')
        self.position = at + 1
        return Token(Kind.VALUE, start, self.position - start, text[start : self.position], Pattern(("".join(out),)))

    def _word(self, start: int) -> Token:
        text, parts, at = self._text, [""], start
        while at < len(text) and not text[at].isspace() and text[at] not in _ENDS_WORD:
            if text[at] == "\\":
                at += 1
                if at == len(text):
                    raise SearchError("a backslash needs a character after it", at - 1, 1)
                parts[-1] += text[at]
            elif text[at] == "*":
                parts.append("")
            else:
                parts[-1] += text[at]
            at += 1
        self.position = at
        raw = text[start:at]
        if raw in ("AND", "OR", "NOT"):
            return Token(Kind(raw), start, len(raw), raw)
        return Token(Kind.VALUE, start, len(raw), raw, pattern(parts))
