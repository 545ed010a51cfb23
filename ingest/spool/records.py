"""What a frame's payload says: records, one after the other, each `kind(1) length(4)` and a body.

- HEAD     first of every write-ahead segment: where the chain stood, and how many frames the segment before it had
- DEFINE   a context or statement fragment, by a number that intents of the same segment use
- INTENT   a statement about to be forwarded
- OUTCOME  how a statement ended: the sequence number of its event and its outcome fragment; with the intent that makes the line
- EVENT    any other event: sequence number, time, type and body fragment
- BLOCK    a sealed block (in `blocks-*` files): header, signature, the intents it concludes, zstd-compressed body

Definitions and intents stand before what uses them in the same segment: a segment needs nothing of the one before it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from schemas.native import hot

RECORD_HEAD: Final = struct.Struct("<BI")
_DEFINE: Final = struct.Struct("<BII")
_INTENT: Final = struct.Struct("<BIQqII")
_OUTCOME: Final = struct.Struct("<BIQQ")
_EVENT: Final = struct.Struct("<BIQqB")
_BLOCK: Final = struct.Struct("<BIHHI")
_HEAD_BODY: Final = "<IQQQI64s"
_HEAD: Final = struct.Struct("<BI" + _HEAD_BODY[1:])

pack_event: Final = _EVENT.pack
"""(EVENT, 17 + len(type) + len(body), seq, at, len(type)); type and body follow."""
EVENT_BODY: Final = _EVENT.size - RECORD_HEAD.size


class Kind(IntEnum):
    """The record kinds, as stored."""

    HEAD = 1
    DEFINE = 2
    INTENT = 3
    BLOCK = 5
    OUTCOME = 6
    EVENT = 7


_INTENT_KIND: Final = int(Kind.INTENT)
_OUTCOME_KIND: Final = int(Kind.OUTCOME)


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


def intent_record(number: int, at: int, context: int, statement: int, dynamic: bytes) -> bytes:
    """Return an INTENT record; `context` and `statement` are numbers of definitions. In C: `hot.intent`."""
    return _INTENT.pack(_INTENT_KIND, _INTENT.size - RECORD_HEAD.size + len(dynamic), number, at, context, statement) + dynamic


def outcome_record(number: int, seq: int, outcome: bytes) -> bytes:
    """Return an OUTCOME record. In C: `hot.ended`."""
    return _OUTCOME.pack(_OUTCOME_KIND, _OUTCOME.size - RECORD_HEAD.size + len(outcome), number, seq) + outcome


encode_intent: Final[Callable[[int, int, int, int, bytes], bytes]] = intent_record if hot is None else hot.intent
encode_outcome: Final[Callable[[int, int, bytes], bytes]] = outcome_record if hot is None else hot.ended


def encode_definition(number: int, fragment: bytes) -> bytes:
    """Return a DEFINE record."""
    return _DEFINE.pack(Kind.DEFINE, 4 + len(fragment), number) + fragment
