"""Where does each frontend message begin and end, and which bytes are passed on as they are?

Messages that only carry data (CopyData) are never gathered. A Query, Parse or Bind longer than its limit streams through: its
last byte is held until its intent is on record, so that the database cannot have run it first. Everything else is forwarded in
the largest slices possible; only a refused message is replaced. What a message means is said by `Requests`, which this is the
lower half of.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Final

from ingest.core.actions import Action, Forward, Side
from ingest.core.errors import ClientProtocolError
from ingest.protocols.postgres.holding import HOLD, MORE
from schemas.native import hot

if TYPE_CHECKING:
    from ingest.protocols.postgres.session import PostgresSession

SERVER: Final = Side.SERVER
_LENGTH: Final = Struct(">I")
_MAX_MESSAGE: Final = 0x3FFFFFFF + 4
"""The server's own bound for one message (PQ_LARGE_MESSAGE_LIMIT)."""

QUERY, PARSE, BIND, EXECUTE, SYNC, COPY_DATA = b"QPBESd"


def length_of(data: bytes, pos: int) -> int:
    """Return the length that stands at a position. In C: `hot.length_at`."""
    length: int = _LENGTH.unpack_from(data, pos)[0]
    return length


length_at: Final[Callable[[bytes, int], int]] = length_of if hot is None else hot.length_at
"""Returns the length that stands at a position: four bytes, which must be there."""


class Streamed:
    """A message too long to gather: its beginning, a digest of all of it, and how much is still to come."""

    __slots__ = ("digest", "kind", "left", "prefix", "total")

    def __init__(self, kind: int, total: int, digest: blake2b) -> None:
        self.kind = kind
        self.total = total
        self.left = total
        self.prefix = b""
        self.digest = digest


class Framing:
    """Cuts the frontend messages of one session out of any cut of the stream.

    `_whole` says of each message that is read whole how long it may be, and what reads it: from a position to an end, returning
    what to send in its place, or None.
    """

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self._held = bytearray()
        self._need = 0
        self._pass = 0
        self._streamed: Streamed | None = None
        self._whole: dict[int, tuple[int, Callable[[bytes, int, int], bytes | None]]] = {}

    def read(self, data: bytes, actions: list[Action]) -> None:
        """Parse as far as the bytes reach. Raises ClientProtocolError on a message the protocol does not have."""
        if self._held:
            self._held += data
            if len(self._held) < self._need:
                return
            data = bytes(self._held)
            self._held.clear()
        size = len(data)
        start = pos = 0
        whole, unpack = self._whole, _LENGTH.unpack_from
        while pos < size:
            if self._pass:
                step = min(self._pass, size - pos)
                self._pass -= step
                pos += step
                continue
            if self._streamed is not None:
                start = pos = self._stream(data, start, pos, actions)
                continue
            while size - pos >= 5:
                length: int = unpack(data, pos + 1)[0]
                end = pos + 1 + length
                known = whole.get(data[pos])
                if known is None or end > size or not 4 <= length <= known[0]:
                    break
                replacement = known[1](data, pos + 5, end)
                if replacement is not None:
                    if pos > start:
                        actions.append(Forward(SERVER, data[start:pos]))
                    if replacement is MORE:
                        self._held += data[pos:]
                        return
                    if replacement is HOLD:
                        self._keep_back(data, pos, end)
                        return
                    if replacement:
                        actions.append(Forward(SERVER, replacement))
                    start = end
                pos = end
            if pos < size and not self._unusual(data, pos, size):
                break
        if pos > start:
            actions.append(Forward(SERVER, data if start == 0 and pos == size else data[start:pos]))
        if len(self._session.expected) > self._session.limits.pending:
            raise ClientProtocolError(f"more than {self._session.limits.pending} messages are waiting for an answer")

    def _unusual(self, data: bytes, pos: int, size: int) -> bool:
        """A message that is not whole, too long to gather, data, or none: return whether to go on with these bytes."""
        if size - pos < 5:
            self._hold(data, pos, 5)
            return False
        kind = data[pos]
        length: int = _LENGTH.unpack_from(data, pos + 1)[0]
        if length < 4 or length > _MAX_MESSAGE:
            raise ClientProtocolError(f"message {chr(kind)!r} claims a length of {length} bytes")
        if kind == COPY_DATA:
            self._pass = length + 1
            self._session.copying.count(length + 1)
            return True
        known = self._whole.get(kind)
        if known is None:
            raise ClientProtocolError(f"message type {chr(kind)!r} is not one a client may send here")
        if length > known[0]:
            if kind not in (QUERY, PARSE, BIND):
                raise ClientProtocolError(f"message {chr(kind)!r} of {length} bytes is longer than {known[0]}")
            self._streamed = Streamed(kind, length + 1, self._session.tokenizer.hasher())
            return True
        self._hold(data, pos, length + 1)
        return False

    def _hold(self, data: bytes, pos: int, need: int) -> None:
        self._held += data[pos:]
        self._need = need

    def _stream(self, data: bytes, start: int, pos: int, actions: list[Action]) -> int:
        """Pass on what there is of a long message, its last byte only with its intent. Returns the new position."""
        streamed = self._streamed
        assert streamed is not None
        step = min(streamed.left, len(data) - pos)
        part = data[pos : pos + step]
        keep = 64 * 1024 + 5
        if len(streamed.prefix) < keep:
            streamed.prefix += part[: keep - len(streamed.prefix)]
        streamed.digest.update(part)
        streamed.left -= step
        if streamed.left == 0:
            self._streamed = None
            if start < pos + step - 1:
                actions.append(Forward(SERVER, data[start : pos + step - 1]))
            last = part[-1:]
            self._end_stream(streamed, last)
        else:
            actions.append(Forward(SERVER, data[start : pos + step]))
        return pos + step

    # What each message means is the other half's to say

    def _keep_back(self, data: bytes, pos: int, end: int) -> None:
        """Keep a message that waits, which ends at `end`, and all that follows it."""
        raise NotImplementedError

    def _end_stream(self, streamed: Streamed, last: bytes) -> None:
        """Act on a message that was too long to gather, and pass on its last byte."""
        raise NotImplementedError
