"""What stands in an event for a literal: a type and a keyed token, equal for equal values, readable by nobody.

The digest covers the value alone, so that a value keeps its token whether it came as a literal or as a bound parameter and under
whatever type. The key never leaves the proxy's data directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from processors.statements.lexer import BIT, HEX, INTEGER, NUMERIC, TEXT
from schemas.native import hot

MAX_PARAMS: Final = 256
"""Tokens one statement carries, 6 KiB; the rest of a bulk insert is one `more.<count>` token over all of them."""

_PREFIXES: Final = {INTEGER: "int:", NUMERIC: "numeric:", TEXT: "text:", BIT: "bit:", HEX: "bit:"}


class Tokenizer:
    """Makes tokens under one key (16 to 64 bytes). `native` does so in C, where that was built (`hot.Keyed`)."""

    __slots__ = ("_key", "_keyed", "native")

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError(f"token key must be 16 to 64 bytes, not {len(key)}")
        self._key = key
        self._keyed = blake2b(digest_size=8, key=key)
        self.native: Any = None if hot is None else hot.Keyed(key)

    def token(self, type: str, value: bytes) -> str:
        """Return `type:` and 16 hex digits for a value."""
        if self.native is not None:
            made: str = self.native.token(type, value)
            return made
        digest = self._keyed.copy()
        digest.update(value)
        return type + ":" + digest.hexdigest()

    def integers(self, values: Sequence[bytes]) -> tuple[str, ...]:
        """Return the tokens of whole numbers, at most MAX_PARAMS of them, as `tokens` gives them for literals."""
        return tuple([self.token("int", value) for value in values])

    def hasher(self) -> blake2b:
        """Return a keyed hash to feed with what is too long to hold: its 16 hex digits stand for the whole."""
        return self._keyed.copy()

    def tokens(self, literals: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return the tokens of (sentinel, value) literals in order, at most MAX_PARAMS and then one for the rest."""
        if len(literals) > MAX_PARAMS:
            return (*self.tokens(literals[:MAX_PARAMS]), self._rest(literals[MAX_PARAMS:]))
        tokens: list[str] = []
        for sentinel, value in literals:
            digest = self._keyed.copy()
            digest.update(value.encode())
            tokens.append(_PREFIXES[sentinel] + digest.hexdigest())
        return tuple(tokens)

    def _rest(self, literals: Sequence[tuple[str, str]]) -> str:
        """One token over `type:length:value` of each literal, as of bound parameters."""
        digest = self._keyed.copy()
        for sentinel, value in literals:
            data = value.encode()
            digest.update(b"%b%d:%b" % (_PREFIXES[sentinel].encode(), len(data), data))
        return f"more.{len(literals)}:{digest.hexdigest()}"
