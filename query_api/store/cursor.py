"""Where the next page starts: an opaque text that holds the last row's place and the range the search began with.

The range is kept because `from=-15m` moves between two pages; the search's digest, so that a cursor cannot silently continue
another search.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

import orjson

from query_api.problems import ProblemError


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row given is (`at`, `key`); the range is [`low`, `high`) in µs, None where open."""

    at: int
    key: str
    low: int | None
    high: int | None
    search: str

    def encode(self) -> str:
        """As it stands in `next_cursor`."""
        raw = orjson.dumps([self.at, self.key, self.low, self.high, self.search])
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def digest(*parts: str) -> str:
    """A short name of a search."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def decode(text: str, search: str) -> Cursor:
    """The cursor of a text given out before for the same search. Raises ProblemError `bad-cursor`."""
    try:
        at, key, low, high, of = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, TypeError):
        raise ProblemError("bad-cursor", "This cursor was not given out by this API. Start again without one.") from None
    whole = all(type(n) is int and 0 <= n < 2**62 for n in (at, low or 0, high or 0))
    if not whole or type(key) is not str or len(key) > 256 or type(of) is not str:
        raise ProblemError("bad-cursor", "This cursor was not given out by this API. Start again without one.")
    if of != search:
        raise ProblemError("bad-cursor", "This cursor belongs to another search. Start again without one.")
    return Cursor(at, key, low, high, of)
