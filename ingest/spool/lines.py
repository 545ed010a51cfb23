"""How an event line is put together from fragments, and where its id comes from.

An event id is a UUIDv7 (RFC 9562) without randomness: 48 bits milliseconds of `at`, 42 bits of SHA-256 over source and epoch, 32
bits of the sequence number. Two events share one only if their sources' hashes collide in the same millisecond at the same
sequence number, and the trail's bytes follow from what happened.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import orjson

UNKNOWN_OUTCOME: Final = (
    b',"ended_at":0,"outcome":{"status":"unknown","sqlstate":"","rows_returned":0,"rows_affected":0,"bytes_in":0,'
    b'"bytes_out":0,"db_us":0,"held_us":0,"total_us":0},"exposure":{}'
)
"""The outcome of an intent that was never concluded."""

LOST_CONTEXT: Final = (
    b',"session_id":"","principal":{"id":"","kind":"service","groups":[],"auth_method":"","credential_id":"","on_behalf_of":"",'
    b'"delegation":[]},"database":{"alias":"","engine":"","environment":"","name":""},"db_user":"","client":{"address":"",'
    b'"application":"","driver":"","tls":""}'
)
"""Stands for a context whose definition was in a damaged region: the statement is still counted."""

LOST_STATEMENT: Final = (
    b',"text":"","text_hash":"","fingerprint":"","facts":{"verbs":[],"reads":[],"writes":[],"columns":[],"functions":[],'
    b'"flags":["opaque"]}'
)
"""Stands for a statement whose definition was in a damaged region: opaque, the riskiest thing it could be."""

LOST_DYNAMIC: Final = (
    b',"kind":"simple","transaction":"I","params":[],"claims":{},"decision":{"verdict":"allow","policies":[],"bundle":"","risk":0,'
    b'"approval_id":""}'
)
"""Stands for what was particular to a statement when only its outcome can still be read."""

_ENDED_AT: Final = re.compile(rb',"ended_at":(\d{1,18})')

LINE_OVERHEAD: Final = 2048
"""Bytes kept for a statement beyond its fragments: heads of records, and its outcome, generously."""


class LineFormat:
    """Formats the lines of one source and epoch."""

    __slots__ = ("_envelope", "_id", "_id_middle", "_millisecond", "_query_prefix")

    def __init__(self, source: str, epoch: int) -> None:
        digest = int.from_bytes(sha256(f"{source}\n{epoch}".encode()).digest()[:8], "big")
        a, b, c = digest & 0xFFF, (digest >> 12) & 0x3FFF | 0x8000, (digest >> 26) & 0xFFFF
        self._id_middle = b"-7%03x-%04x-%04x" % (a, b, c)
        self._envelope = b'","v":1,"source":' + orjson.dumps(source) + b',"epoch":%d,"seq":' % epoch
        self._query_prefix = b'{"type":"QueryExecuted' + self._envelope
        self._millisecond = -1
        self._id = b""

    def query(self, seq: int, at: int, dynamic: bytes, context: bytes, statement: bytes, outcome: bytes) -> bytes:
        """Return the line of a QueryExecuted event."""
        middle = b'%d%b%08x","at":%d' % (seq, self._id_until_seq(at // 1000), seq & 0xFFFFFFFF, at)
        return b"".join((self._query_prefix, middle, dynamic, context, statement, outcome, b"}"))

    def lost(self, seq: int, outcome: bytes) -> bytes:
        """Return the line of a statement whose intent's frame is damaged: it is counted, as the riskiest it could be."""
        ended = _ENDED_AT.match(outcome)
        return self.query(seq, int(ended[1]) if ended else 0, LOST_DYNAMIC, LOST_CONTEXT, LOST_STATEMENT, outcome)

    def parts(self) -> tuple[bytes, bytes, bytes, bytes, Callable[[int, bytes], bytes], Callable[..., bytes]]:
        """Return what `hot.replay` makes lines of: prefix, middle of ids, what stands for what is lost, and the long way."""
        return self._query_prefix, self._id_middle, LOST_CONTEXT, LOST_STATEMENT, self.lost, self.query

    def _id_until_seq(self, millisecond: int) -> bytes:
        """Return the event id of this millisecond without its last part, with what stands before it; many events share one."""
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._id = b',"event_id":"%08x-%04x%b' % (millisecond >> 16, millisecond & 0xFFFF, self._id_middle)
        return self._id

    def event_id(self, seq: int, at: int) -> str:
        """Return the id of an event, as it stands in its line."""
        return (b"%b%08x" % (self._id_until_seq(at // 1000), seq & 0xFFFFFFFF)).decode("ascii").rpartition('"')[2]

    def event(self, type: str, seq: int, at: int, body: bytes) -> bytes:
        """Return the line of any event; `body` is its fragment, beginning with a comma, or empty."""
        ms = at // 1000
        return b'{"type":"%b%b%d,"event_id":"%08x-%04x%b%08x","at":%d%b}' % (
            type.encode("ascii"),
            self._envelope,
            seq,
            ms >> 16,
            ms & 0xFFFF,
            self._id_middle,
            seq & 0xFFFFFFFF,
            at,
            body,
        )
