"""The commonest thing a server sends: the whole answer to one plain statement, ReadyForQuery included, in one segment.

    BindComplete RowDescription DataRow* CommandComplete ReadyForQuery      each but the last two where it was asked for

One look over the headers finds out, or a comparison with the last answer; the session is not changed. Anything else (errors,
notices, part of an answer, two of them) is matched message by message by `responses`, with the same result
(`tests/unit/test_pg_session.py` holds the two to each other).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ingest.protocols.postgres.executions import Execution
from ingest.protocols.postgres.expected import Batch, Expected, Simple
from ingest.protocols.postgres.framing import length_at

_DATA_ROW: Final = ord("D")
_ROW_DESCRIPTION: Final = ord("T")
_COMPLETE: Final = ord("C")
_BIND_COMPLETE_HEAD: Final = b"2\x00\x00\x00\x04"
_READY_HEAD: Final = b"Z\x00\x00\x00\x05"
_READY_SIZE: Final = 6
_STATUSES: Final = b"ITE"
_BIND: Final = Simple.BIND
_DESCRIBE: Final = Simple.DESCRIBE
_SYNC: Final = Simple.SYNC


Answer = tuple[Execution, int, bytes, int, int]
"""The execution, its rows, its tag, where CommandComplete ends, and how many entries of the queue are answered with it."""


class Answers:
    """Finds whole answers, and remembers the last one of at most one row: the next is nearly always the same but for its row."""

    __slots__ = ("_before", "_behind", "_entries", "_tag")

    def __init__(self) -> None:
        self._entries = 0
        self._before = b""
        """What stood before the row, in answer to so many entries of the queue, and what behind it; the tag is in the latter."""
        self._behind = b""
        self._tag = b""

    def find(self, data: bytes, expected: deque[Expected]) -> Answer | None:
        """Return what `data` answers if it is the answer to what `expected` begins with, whole and nothing else; else None."""
        if not expected:
            return None
        head = expected[0]
        entries = 1
        describes = False
        if type(head) is Batch:
            executions = head.executions
            if head.at or len(executions) != 1:
                return None
            execution = executions[0]
        elif head is _BIND:
            entries = 3
            following: object = expected[1] if len(expected) > 2 else None
            describes = following is _DESCRIBE
            if describes:
                following = expected[2]
                entries = 4
            if type(following) is not Execution or len(expected) < entries or expected[entries - 1] is not _SYNC:
                return None
            execution = following
        else:
            return None
        if execution.done or execution.rows or execution.copy_in or execution.sight is not None or not execution.statement.plain:
            return None
        if entries == self._entries and data.startswith(self._before) and data.endswith(self._behind):
            row = len(self._before)
            end = len(data) - len(self._behind)
            if row == end:
                return execution, 0, self._tag, len(data) - _READY_SIZE, entries
            if end - row > 5 and data[row] == _DATA_ROW and length_at(data, row + 1) == end - row - 1:
                return execution, 1, self._tag, len(data) - _READY_SIZE, entries
        return self._read(data, execution, entries, describes)

    def _read(self, data: bytes, execution: Execution, entries: int, describes: bool) -> Answer | None:
        """Look over the headers; `describes`: the client asked for a description of the columns."""
        pos = 0
        may_describe, owes_description = describes or entries == 1, describes
        if entries > 1:
            if not data.startswith(_BIND_COMPLETE_HEAD):
                return None
            pos = 5
        size, rows, row = len(data), 0, -1
        while size - pos > 10:
            kind = data[pos]
            length = length_at(data, pos + 1)
            end = pos + 1 + length
            if kind == _ROW_DESCRIPTION and may_describe:
                may_describe = owes_description = False
            elif owes_description:
                return None
            elif kind == _DATA_ROW:
                rows += 1
                if row < 0:
                    row = pos
                may_describe = False
            elif kind == _COMPLETE:
                if (
                    length < 5
                    or end + _READY_SIZE != size
                    or not data.startswith(_READY_HEAD, end)
                    or data[size - 1] not in _STATUSES
                ):
                    return None
                tag = data[pos + 5 : end - 1]
                if rows < 2:
                    self._entries, self._before, self._behind, self._tag = entries, data[: row if rows else pos], data[pos:], tag
                return execution, rows, tag, end, entries
            else:
                return None
            if length < 4:
                return None
            pos = end
        return None
