"""What a frame's payload says: records, one after the other, each `kind(1) length(4)` and a body.

- HEAD     first of every write-ahead segment: where the chain stood, and how many frames the segment before it had
- DEFINE   a context or statement fragment, by a number that intents of the same segment use
- INTENT   a statement about to be forwarded
- LINE     a complete event line with its sequence number, and the intent it concludes (0: none)
- BLOCK    a sealed block (in `blocks-*` files): header, signature, the intents it concludes, zstd-compressed body
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from ingest.spool.errors import SpoolError

RECORD_HEAD = struct.Struct("<BI")
_DEFINE = struct.Struct("<BII")
_INTENT = struct.Struct("<BIQqII")
_LINE = struct.Struct("<BIQQ")
_BLOCK = struct.Struct("<BIHHI")
_HEAD_BODY = "<IQQQI64s"
_HEAD = struct.Struct("<BI" + _HEAD_BODY[1:])

pack_intent = _INTENT.pack
"""(INTENT, 24 + len(dynamic), intent, at, context id, statement id); `dynamic` follows."""
pack_line = _LINE.pack
"""(LINE, 16 + len(line), intent or 0, seq); the line follows."""
INTENT_BODY = _INTENT.size - RECORD_HEAD.size
LINE_BODY = _LINE.size - RECORD_HEAD.size
RECORD_OVERHEAD = max(_INTENT.size, _LINE.size, _DEFINE.size)


class Kind(IntEnum):
    """The record kinds, as stored."""

    HEAD = 1
    DEFINE = 2
    INTENT = 3
    LINE = 4
    BLOCK = 5


@dataclass(frozen=True, slots=True)
class Head:
    """Where a source stood when a segment began. `prev` is the id of block `next_block - 1`; 64 zeros before the first."""

    epoch: int
    next_seq: int
    next_block: int
    next_intent: int
    frames_before: int
    prev: str

    def encode(self) -> bytes:
        """Return the record."""
        return _HEAD.pack(
            Kind.HEAD,
            _HEAD.size - RECORD_HEAD.size,
            self.epoch,
            self.next_seq,
            self.next_block,
            self.next_intent,
            self.frames_before,
            self.prev.encode("ascii"),
        )

    @classmethod
    def decode(cls, body: bytes) -> Head:
        """Read the record's body."""
        epoch, next_seq, next_block, next_intent, frames_before, prev = struct.unpack(_HEAD_BODY, body)
        return cls(epoch, next_seq, next_block, next_intent, frames_before, prev.decode("ascii"))


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent as read: `context` and `statement` are definition numbers of its segment."""

    number: int
    at: int
    context: int
    statement: int
    dynamic: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """An event line as read; `intent` 0 if it concludes none."""

    intent: int
    seq: int
    line: bytes


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A sealed block as stored: canonical header bytes, signature, intents it concludes, compressed body."""

    header: bytes
    signature: bytes
    intents: array[int]
    compressed: bytes

    def encode(self) -> bytes:
        """Return the record."""
        intents = self.intents.tobytes()
        size = _BLOCK.size - RECORD_HEAD.size + len(self.header) + len(self.signature) + len(intents) + len(self.compressed)
        head = _BLOCK.pack(Kind.BLOCK, size, len(self.header), len(self.signature), len(self.intents))
        return b"".join((head, self.header, self.signature, intents, self.compressed))

    @classmethod
    def decode(cls, body: bytes) -> StoredBlock:
        """Read the record's body."""
        headers, signatures, count = struct.unpack_from("<HHI", body)
        at = 8 + headers
        intents: array[int] = array("Q")
        intents.frombytes(body[at + signatures : at + signatures + 8 * count])
        return cls(body[8:at], body[at : at + signatures], intents, body[at + signatures + 8 * count :])


def encode_definition(number: int, fragment: bytes) -> bytes:
    """Return a DEFINE record."""
    return _DEFINE.pack(Kind.DEFINE, 4 + len(fragment), number) + fragment


def read_records(payload: bytes) -> Iterator[Head | tuple[int, bytes] | Intent | Line | StoredBlock]:
    """Yield the records of a frame's payload (definitions as pairs); raise SpoolError if they do not fill it exactly."""
    at = 0
    while at < len(payload):
        if at + RECORD_HEAD.size > len(payload):
            raise SpoolError(f"record cut short at byte {at} of its frame")
        kind, length = RECORD_HEAD.unpack_from(payload, at)
        body = payload[at + RECORD_HEAD.size : at + RECORD_HEAD.size + length]
        at += RECORD_HEAD.size + length
        if at > len(payload):
            raise SpoolError(f"record of kind {kind} runs past its frame")
        if kind == Kind.LINE:
            intent, seq = struct.unpack_from("<QQ", body)
            yield Line(intent, seq, body[16:])
        elif kind == Kind.INTENT:
            number, when, context, statement = struct.unpack_from("<QqII", body)
            yield Intent(number, when, context, statement, body[24:])
        elif kind == Kind.DEFINE:
            yield struct.unpack_from("<I", body)[0], body[4:]
        elif kind == Kind.HEAD:
            yield Head.decode(body)
        elif kind == Kind.BLOCK:
            yield StoredBlock.decode(body)
        else:
            raise SpoolError(f"record kind {kind} is not known: the spool was written by a newer version")
