"""The commonest thing a server sends: the whole answer to one plain statement, ReadyForQuery included, in one segment.

    BindComplete RowDescription DataRow* CommandComplete ReadyForQuery      each but the last two where it was asked for

One look over the headers finds out; nothing is changed until all of it is known to be so. Anything else (errors, notices, part of
an answer, two of them) is matched message by message by `responses`, with the same result (`tests/unit/test_pg_session.py` holds
the two to each other).
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final

from ingest.protocols.postgres.executions import Execution
from ingest.protocols.postgres.expected import Batch, Expected, Simple

_LENGTH: Final = Struct(">I")
_DATA_ROW: Final = ord("D")
_ROW_DESCRIPTION: Final = ord("T")
_COMPLETE: Final = ord("C")
_BIND_COMPLETE_HEAD: Final = b"2\x00\x00\x00\x04"
_READY_HEAD: Final = b"Z\x00\x00\x00\x05"
_STATUSES: Final = b"ITE"
_BIND: Final = Simple.BIND
_DESCRIBE: Final = Simple.DESCRIBE
_SYNC: Final = Simple.SYNC


Answer = tuple[Execution, int, bytes, int, int]
"""The execution, its rows, its tag, where CommandComplete ends, and how many entries of the queue are answered with it."""


def whole_answer(data: bytes, expected: deque[Expected]) -> Answer | None:
    """Return what `data` answers if it is the answer to what `expected` begins with, whole and nothing else; None otherwise."""
    if not expected:
        return None
    head = expected[0]
    pos, entries = 0, 1
    may_describe, owes_description = True, False
    if type(head) is Batch:
        executions = head.executions
        if head.at or len(executions) != 1:
            return None
        execution = executions[0]
    elif head is _BIND:
        if not data.startswith(_BIND_COMPLETE_HEAD):
            return None
        pos = 5
        entries = 3
        following: object = expected[1] if len(expected) > 2 else None
        may_describe = owes_description = following is _DESCRIBE
        if owes_description:
            following = expected[2]
            entries = 4
        if type(following) is not Execution or len(expected) < entries or expected[entries - 1] is not _SYNC:
            return None
        execution = following
    else:
        return None
    if execution.done or execution.rows or execution.copy_in or execution.sight is not None or not execution.statement.plain:
        return None
    size, rows, unpack = len(data), 0, _LENGTH.unpack_from
    while size - pos > 10:
        kind = data[pos]
        length: int = unpack(data, pos + 1)[0]
        end = pos + 1 + length
        if kind == _ROW_DESCRIPTION and may_describe:
            may_describe = owes_description = False
        elif owes_description:
            return None
        elif kind == _DATA_ROW:
            rows += 1
            may_describe = False
        elif kind == _COMPLETE:
            if length < 5 or end + 6 != size or not data.startswith(_READY_HEAD, end) or data[size - 1] not in _STATUSES:
                return None
            return execution, rows, data[pos + 5 : end - 1], end, entries
        else:
            return None
        if length < 4:
            return None
        pos = end
    return None
