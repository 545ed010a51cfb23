"""Texts that differ from one seen before in nothing but whole numbers: applications that put values into their SQL send these.

A run of digits that was a literal is one again whatever digits it has, as long as what stands before and behind it is the same:
no other rule of the scanner begins or ends with digits only. So such a text need not be read by the lexer: what stands between
its numbers is compared as bytes. Anything else is read as ever, with the same result (tests/unit/test_statements_cache.py
holds the two to each other). Only texts whose facts depend on none of their literals are kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from processors.statements.claims import NO_CLAIMS
from processors.statements.lexer import INTEGER
from processors.statements.statement import Analysis, Statement
from processors.statements.tokens import Tokenizer
from schemas.native import hot

MAX_SHAPES: Final = 1024
"""Known at once, about 3 MB at most; past it all are forgotten."""
MAX_BYTES: Final = 1024
"""Longer texts are not kept."""
MAX_NUMBERS: Final = 16
MAX_DIGITS: Final = 18
"""What fits 64 bits whatever the digits; longer ones are rare."""
_DIGITS: Final = b"0123456789"


def without_digits(text: bytes) -> bytes:
    """Return a text without its digits. In C: `hot.without_digits`."""
    return text.translate(None, _DIGITS)


_without_digits: Final[Callable[[bytes], bytes]] = without_digits if hot is None else hot.without_digits


class Shape:
    """What stands before the first number, and behind each; and the one statement it is."""

    __slots__ = ("_behind", "_first", "statements")

    def __init__(self, first: bytes, behind: tuple[bytes, ...], statements: tuple[Statement, ...]) -> None:
        self._first = first
        self._behind = behind
        self.statements = statements

    def tokens(self, text: bytes, tokenizer: Tokenizer) -> tuple[str, ...] | None:
        """Return the tokens of the numbers of a text of this shape, None if it has another. In C: `hot.Keyed.numbers`."""
        native = tokenizer.native
        if native is not None:
            made: tuple[str, ...] | None = native.numbers(text, self._first, self._behind, MAX_DIGITS)
            return made
        numbers = self.numbers(text)
        return None if numbers is None else tokenizer.integers(numbers)

    def numbers(self, text: bytes) -> list[bytes] | None:
        """Return the numbers of a text of this shape, None if it has another."""
        if not text.startswith(self._first):
            return None
        pos = len(self._first)
        found: list[bytes] = []
        for part in self._behind:
            end = text.find(part, pos) if part else len(text)
            if not pos < end <= pos + MAX_DIGITS:
                return None
            number = text[pos:end]
            if not number.isdigit():
                return None
            found.append(number)
            pos = end + len(part)
        return found if pos == len(text) else None


class Shapes:
    """The shapes that an analyser's readers know; `reader` is a reader's number."""

    __slots__ = ("_known", "_last", "_reader")

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], Shape] = {}
        self._last: Shape | None = None
        self._reader = 0
        """The shape found last, and for which reader: the next text is often of it, too."""

    def of_last(self, reader: int, text: bytes, tokenizer: Tokenizer) -> Analysis | None:
        """Return what a text says if it has the shape found last."""
        last = self._last
        if last is None or reader != self._reader:
            return None
        tokens = last.tokens(text, tokenizer)
        return None if tokens is None else Analysis(last.statements, (tokens,), NO_CLAIMS)

    def find(self, reader: int, text: bytes) -> Shape | None:
        """Return the shape a text may have."""
        return self._known.get((reader, _without_digits(text))) if len(text) <= MAX_BYTES else None

    def of_any(self, reader: int, text: bytes, tokenizer: Tokenizer) -> Analysis | None:
        """Return what a text says if it has a shape that is known."""
        shape = self.find(reader, text)
        tokens = None if shape is None else shape.tokens(text, tokenizer)
        if shape is None or tokens is None:
            return None
        self._last, self._reader = shape, reader
        return Analysis(shape.statements, (tokens,), NO_CLAIMS)

    def learn(
        self, reader: int, text: bytes, template: str, literals: Sequence[tuple[str, str]], statements: tuple[Statement, ...]
    ) -> None:
        """Keep the shape of a text without comments, if its literals are whole numbers and it is one statement.

        `template` is the text with each literal's sentinel in its place.
        """
        if len(statements) != 1 or len(text) > MAX_BYTES or len(literals) > MAX_NUMBERS:
            return
        if any(sentinel != INTEGER for sentinel, _ in literals):
            return
        first, *behind = template.encode().split(INTEGER.encode())
        shape = Shape(first, tuple(behind), statements)
        if shape.numbers(text) != [value.encode() for _, value in literals]:
            return
        if len(self._known) >= MAX_SHAPES:
            self._known.clear()
        self._known[reader, _without_digits(text)] = shape
