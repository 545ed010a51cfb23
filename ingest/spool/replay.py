"""What write-ahead frames say when they are read again: which intents are open, and the event lines of those that ended.

The sealer reads the frames of the running epoch this way while they are written, recovery those of an epoch that ended. Both get
the same lines, because a line is made here and nowhere else.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from ingest.spool.errors import SpoolError
from ingest.spool.lines import LOST_CONTEXT, LOST_STATEMENT, LineFormat
from ingest.spool.records import RECORD_HEAD, Head, Kind

_HEAD: Final = int(Kind.HEAD)
_DEFINE: Final = int(Kind.DEFINE)
_INTENT: Final = int(Kind.INTENT)
_OUTCOME: Final = int(Kind.OUTCOME)
_EVENT: Final = int(Kind.EVENT)
_read_head: Final = RECORD_HEAD.unpack_from
_read_define: Final = Struct("<I").unpack_from
_read_intent: Final = Struct("<QqII").unpack_from
_read_outcome: Final = Struct("<QQ").unpack_from
_read_event: Final = Struct("<QqB").unpack_from

OpenIntent = tuple[int, int, bytes, bytes, bytes]
"""An intent without an outcome: number, at, and its fragments context, statement, dynamic."""


class Concluded:
    """An event whose line can be made: a statement that ended (`type` empty), or anything else (`intent` None)."""

    __slots__ = ("at", "intent", "number", "outcome", "seq", "type")

    def __init__(self, seq: int, number: int, intent: OpenIntent | None, outcome: bytes, type: str = "", at: int = 0) -> None:
        self.seq = seq
        self.number = number
        self.intent = intent
        self.outcome = outcome
        self.type = type
        self.at = at

    def line(self, format: LineFormat) -> bytes:
        """Return the event line."""
        if self.type:
            return format.event(self.type, self.seq, self.at, self.outcome)
        intent = self.intent
        if intent is None:
            return format.lost(self.seq, self.outcome)
        _, at, context, statement, dynamic = intent
        return format.query(self.seq, at, dynamic, context, statement, self.outcome)


class Replay:
    """Reads the frames of one epoch in order. `intents` are those open so far, `head` the newest segment's.

    `definitions` are the fragments that intents of this segment name by number.
    """

    def __init__(self) -> None:
        self.intents: dict[int, OpenIntent] = {}
        self.head: Head | None = None
        self.definitions: dict[int, bytes] = {}

    def begin_segment(self) -> None:
        """What follows is from another file: definitions count anew there."""
        self.definitions = {}

    def read(self, payload: bytes, after: int = 0) -> list[Concluded]:
        """Take one frame; return what it concludes past sequence number `after`. Raises SpoolError if it makes no sense."""
        concluded: list[Concluded] = []
        intents, definitions = self.intents, self.definitions
        at, end = 0, len(payload)
        while at < end:
            if at + 5 > end:
                raise SpoolError(f"record cut short at byte {at} of its frame")
            kind, length = _read_head(payload, at)
            start = at + 5
            at = start + length
            if at > end:
                raise SpoolError(f"record of kind {kind} runs past its frame")
            if kind == _INTENT:
                number, when, context, statement = _read_intent(payload, start)
                intents[number] = (
                    number,
                    when,
                    definitions.get(context, LOST_CONTEXT),
                    definitions.get(statement, LOST_STATEMENT),
                    payload[start + 24 : at],
                )
            elif kind == _OUTCOME:
                number, seq = _read_outcome(payload, start)
                intent = intents.pop(number, None)
                if seq > after:
                    concluded.append(Concluded(seq, number, intent, payload[start + 16 : at]))
            elif kind == _EVENT:
                seq, when, size = _read_event(payload, start)
                body = start + 17 + size
                if seq > after:
                    concluded.append(Concluded(seq, 0, None, payload[body:at], payload[start + 17 : body].decode("ascii"), when))
            elif kind == _DEFINE:
                definitions[_read_define(payload, start)[0]] = payload[start + 4 : at]
            elif kind == _HEAD:
                self.head = Head.decode(payload[start:at])
            else:
                raise SpoolError(f"record kind {kind} is not known here: the spool was written by another version")
        return concluded
