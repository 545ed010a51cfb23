"""The commonest thing a client sends: Bind, Execute, Sync for the statement it ran last, in one segment.

Every driver that prepares statements sends just this, again and again, and only the values differ. What precedes the values
is compared as bytes with the last Bind, what follows them with the few tails drivers use; anything else is parsed
message by message as ever, with the same result (`tests/unit/test_pg_session.py` holds the two to each other).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from ingest.protocols.postgres.expected import Prepared
from ingest.protocols.postgres.parameters import NULL_TOKEN, parameter_plan
from ingest.protocols.postgres.values import Canoniser, unspecified_text
from processors.statements import Tokenizer

MAX_PARAMETERS: Final = 64
"""Statements with more are parsed the long way: their values cost far more than their framing."""

_LENGTH: Final = Struct(">i")
_DESCRIBE_PORTAL: Final = b"D\x00\x00\x00\x06P\x00"
_EXECUTE_ALL: Final = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"
_SYNC: Final = b"S\x00\x00\x00\x04"
_TAILS: Final = {_EXECUTE_ALL + _SYNC: False, _DESCRIBE_PORTAL + _EXECUTE_ALL + _SYNC: True}
_BIND: Final = ord("B")


class Repeats:
    """Remembers the last Bind to the unnamed portal and recognises the next one like it."""

    __slots__ = ("_oids", "_plan", "_prefix", "_start", "_values", "describes", "end", "prepared")

    def __init__(self) -> None:
        self._prefix = b""
        self._start = 0
        self._values = 0
        self._plan: tuple[Canoniser, ...] = ()
        self._oids: tuple[int, ...] = ()
        self.prepared: Prepared | None = None
        self.describes = False
        self.end = 0

    def forget(self) -> None:
        """Statement names may mean something else from here on."""
        self._prefix = b""

    @property
    def start(self) -> int:
        """Where in a repetition the formats and values of its Bind begin."""
        return self._values

    def learn(self, data: bytes, pos: int, values: int, end: int, prepared: Prepared) -> None:
        """A Bind to the unnamed portal was parsed: its body is `data[pos:end]`, its formats begin at `values`."""
        found = parameter_plan(data, values, prepared.oids)
        if found is None or len(found[0]) > MAX_PARAMETERS:
            self._prefix = b""
            return
        self._plan, start = found
        self._prefix = data[pos:start]
        self._start = start - pos + 5
        self._values = values - pos + 5
        self._oids = prepared.oids
        self.prepared = prepared

    def match(self, data: bytes, tokenizer: Tokenizer) -> list[str] | None:
        """Return the parameters' tokens if `data` is wholly such a repetition; `end` is then where its Bind ends."""
        prefix = self._prefix
        if not prefix or data[0] != _BIND or not data.startswith(prefix, 5):
            return None
        assert self.prepared is not None
        if self.prepared.oids is not self._oids:
            return None
        native = tokenizer.native
        found: tuple[list[str], int] | None
        if native is not None:
            found = native.bound(data, prefix, self._start, self._plan, unspecified_text, NULL_TOKEN)
        else:
            found = self.bound(data, tokenizer)
        if found is None:
            return None
        tokens, end = found
        describes = _TAILS.get(data[end:])
        if describes is None:
            return None
        self.describes = describes
        self.end = end
        return tokens

    def bound(self, data: bytes, tokenizer: Tokenizer) -> tuple[list[str], int] | None:
        """Return the values' tokens and where the Bind ends, None if it is malformed. In C: `hot.Keyed.bound`."""
        pos = self._start
        unpack, token, size = _LENGTH.unpack_from, tokenizer.token, len(data)
        tokens: list[str] = []
        for canonise in self._plan:
            if pos + 4 > size:
                return None
            length: int = unpack(data, pos)[0]
            pos += 4
            if length >= 0:
                tokens.append(token(*canonise(data[pos : pos + length])))
                pos += length
            elif length == -1:
                tokens.append(NULL_TOKEN)
            else:
                return None
        end: int = unpack(data, 1)[0] + 1
        if end > size or end < pos + 2 or end != pos + 2 + 2 * (data[pos] << 8 | data[pos + 1]):
            return None
        return tokens, end
