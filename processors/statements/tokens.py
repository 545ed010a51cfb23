"""What stands in an event for a literal: a type and a keyed token, equal for equal values, readable by nobody.

The digest covers the value alone, so that a value keeps its token whether it came as a literal or as a bound parameter and under
whatever type. The key never leaves the proxy's data directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

MAX_PARAMS = 256
"""Tokens one statement carries, 6 KiB; the rest of a bulk insert is one `more.<count>` token over all of them."""


class Tokenizer:
    """Makes tokens under one key (16 to 64 bytes)."""

    __slots__ = ("_key", "_text")

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError(f"token key must be 16 to 64 bytes, not {len(key)}")
        self._key = key

    def token(self, type: str, value: bytes) -> str:
        """Return `type:` and 16 hex digits for a value."""
        return type + ":" + blake2b(value, digest_size=8, key=self._key).hexdigest()

    def hasher(self) -> blake2b:
        """Return a keyed hash to feed with what is too long to hold: its 32 hex digits stand for the whole."""
        return blake2b(digest_size=16, key=self._key)

    def rest(self, literals: Sequence[tuple[str, str]]) -> str:
        """Return the one token that stands for all of `literals`, with their count in its type."""
        digest = blake2b(digest_size=8, key=self._key)
        for type_, value in literals:
            data = value.encode("utf-8", "surrogatepass")
            digest.update(f"{type_}:{len(data)}:".encode())
            digest.update(data)
        return f"more.{len(literals)}:{digest.hexdigest()}"

    def tokens(self, literals: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """Return the tokens of (type, value) literals in order, at most MAX_PARAMS and then one for the rest."""
        literals = tuple(literals)
        found = [self.token(t, v.encode("utf-8", "surrogatepass")) for t, v in literals[:MAX_PARAMS]]
        if len(literals) > MAX_PARAMS:
            found.append(self.rest(literals[MAX_PARAMS:]))
        return tuple(found)
