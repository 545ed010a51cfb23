"""Holds running statements to the limits of the policy: what exceeds one is not passed on, and the server is told to cancel.

Stands between the server and `responses`, and only in sessions one of whose statements is bound. Rows and COPY data past a limit
are withheld; the server's answer to the cancellation (57014) is reworded to say which limit it was. Where the server was done
before it heard of it, its CommandComplete is replaced by that error: ReadyForQuery then still tells the transaction's true state.
If more had been sent behind it, which the server ran and the client would believe skipped, the session ends instead.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

import orjson

from ingest.core.actions import Action, Cancel, Forward, Record, Side
from ingest.core.guarding import QUERY_CANCELED, Bound
from ingest.protocols.postgres.executions import Execution
from ingest.protocols.postgres.expected import Batch, Portal, Simple
from ingest.protocols.postgres.messages import error, fatal, parse_error_fields
from processors.statements import Statement

if TYPE_CHECKING:
    from ingest.protocols.postgres.responses import Responses
    from ingest.protocols.postgres.session import PostgresSession

_LENGTH = Struct(">I")
_ROW, _COPY_DATA, _ERROR = b"DdE"
_ENDS = frozenset(b"CsI")
"""CommandComplete, PortalSuspended, EmptyQueryResponse: an execution is over."""
_MOVES = frozenset(b"CsIEZVc")
"""What moves the queue of what is owed on: `responses` must have seen it before what follows is judged."""
AGAIN_US = 1_000_000
"""A cancellation can come before the server runs what it is meant for: it is sent again while that goes on."""
GIVE_UP_US = 15_000_000
"""A statement that goes on for so long after its first cancellation ends with its session."""
_WORDS = {
    "rows": "it would return more than {} rows",
    "bytes": "it would return more than {} bytes",
    "seconds": "it ran longer than {} s",
    "session_rows": "the session would have received more than {} rows",
    "session_bytes": "the session received more than {} bytes",
    "grant": "the grant that it relied on has ended",
}


class Bounds:
    """The limits of one session's statements, once there are any."""

    def __init__(self, session: PostgresSession, responses: Responses) -> None:
        self.active = False
        self._session = session
        self._responses = responses
        self._held = b""
        self._pass = 0
        self._dropping = False
        self._current: Execution | None = None
        self._rows = self._bytes = 0
        self._struck: Execution | None = None
        self._by: Bound | None = None
        self._struck_at = self._cancelled_at = 0
        self._leaning: list[Bound] = []
        """Grants that a cursor of this session was declared by: its rows can be fetched by name at any time."""

    def bind(self, execution: Execution, bounds: tuple[Bound, ...]) -> None:
        """Hold a statement that is about to be sent to its bounds."""
        execution.bounds = bounds
        if "declare" in execution.statement.facts.verbs:
            self._leaning += [b for b in bounds if b.kind == "grant" and b not in self._leaning]
        if not self.active:
            self.active = True
            self._held, self._pass = self._responses.take_partial()

    def feed(self, data: bytes, now: int, actions: list[Action]) -> None:
        """Take bytes from the server; what may go on goes to `responses`."""
        if self._held:
            data, self._held = self._held + data, b""
        size, start, pos = len(data), 0, 0
        while pos < size and not self._session.ended:
            if self._pass:
                step = min(self._pass, size - pos)
                self._pass -= step
                pos += step
                if self._dropping:
                    start = pos
                    self._dropping = self._pass > 0
                continue
            if size - pos < 5:
                break
            kind = data[pos]
            length: int = _LENGTH.unpack_from(data, pos + 1)[0] + 1
            if kind in (_ROW, _COPY_DATA) and length > 4:
                if self._withheld(length, now, actions):
                    self._on(data[start:pos], now, actions)
                    start, self._dropping = pos, True
                self._pass = length
                continue
            if pos + length > size and kind in _MOVES and 4 < length <= self._session.limits.error:
                break
            end = min(size, pos + max(length, 5))
            if kind in _MOVES:
                self._on(data[start:pos], now, actions)
                self._moved(kind, data[pos:end], now, actions)
                start = end
            elif pos + length > size:
                self._pass = pos + length - size
            pos = end
        if not self._session.ended:
            self._on(data[start:pos], now, actions)
            self._held = data[pos:]

    def overdue(self, now: int) -> list[Action]:
        """Look whether what runs has run for too long, or by a grant that has ended; called now and then."""
        actions: list[Action] = []
        session = self._session
        if session.ended:
            return actions
        for bound in self._leaning:
            if session.guard is not None and session.guard.lapsed(bound.limit, now):
                self._by = bound
                self._end(actions, now)
                return actions
        head = self._head()
        if head is None:
            return actions
        if self._struck is head:
            if now - self._struck_at > GIVE_UP_US:
                self._end(actions, now)
            elif now - self._cancelled_at > AGAIN_US:
                self._cancelled_at = now
                actions.append(Cancel())
            return actions
        began = max(head.started + head.held, session.settled_at)
        for bound in head.bounds:
            late = bound.kind == "seconds" and now - began > bound.at * 1_000_000
            lapsed = bound.kind == "grant" and session.guard is not None and session.guard.lapsed(bound.limit, now)
            if (late or lapsed) and self._strike(head, bound, now, actions):
                break
        return actions

    def _head(self) -> Execution | None:
        """The execution the server is at: what it sends rows of."""
        for entry in self._session.expected:
            if type(entry) is Execution:
                return None if entry.done else entry
            if type(entry) is Batch:
                return entry.executions[entry.at] if entry.at < len(entry.executions) else None
        return None

    def _withheld(self, size: int, now: int, actions: list[Action]) -> bool:
        """Whether a row, or COPY data, of `size` bytes exceeds a limit; count it if not."""
        head = self._head()
        if head is not self._current:
            self._current, self._rows, self._bytes = head, 0, 0
            if head is not None and isinstance(head.portal, Portal):
                self._rows, self._bytes = head.portal.rows, head.portal.bytes_out
        if head is None or not head.bounds:
            return False
        if head is self._struck:
            return True
        for bound in head.bounds:
            if self._reached(bound, size) and self._strike(head, bound, now, actions):
                return True
        self._rows += 1
        self._bytes += size
        return False

    def _reached(self, bound: Bound, size: int) -> bool:
        match bound.kind:
            case "rows":
                return self._rows + 1 > bound.at
            case "bytes":
                return self._bytes + size > bound.at
            case "session_rows":
                return self._session.rows + self._rows + 1 > bound.at
            case "session_bytes":
                return self._session.bytes_out > bound.at
            case _:
                return False

    def _strike(self, execution: Execution, bound: Bound, now: int, actions: list[Action]) -> bool:
        """A limit is exceeded: say so in the trail and, if it is enforced, stop the statement."""
        actions.append(Record("LimitExceeded", now, exceeded(self._session.session_id, bound, execution.statement)))
        if not bound.enforced:
            execution.bounds = tuple(b for b in execution.bounds if b is not bound)
            return False
        self._struck, self._by, self._struck_at, self._cancelled_at = execution, bound, now, now
        actions.append(Cancel())
        return True

    def _moved(self, kind: int, message: bytes, now: int, actions: list[Action]) -> None:
        """Pass on what ends an execution, or its error; reworded where a limit is behind it."""
        struck, head = self._struck, self._head()
        if struck is not None and (head is not struck or struck.done):
            struck = self._struck = None
        if struck is not None and kind in _ENDS:
            if self._more_behind(struck):
                self._end(actions, now)
                return
            message = self._error()
        elif struck is not None and kind == _ERROR and parse_error_fields(message[5:]).get("C") == QUERY_CANCELED:
            message = self._error()
        if kind in _ENDS and head is not None and head is self._current and isinstance(head.portal, Portal):
            head.portal.rows, head.portal.bytes_out = self._rows, self._bytes
        self._on(message, now, actions)

    def _more_behind(self, struck: Execution) -> bool:
        """Whether the server has, or will, run something else that the client is to believe skipped after an error."""
        found = False
        for entry in self._session.expected:
            if type(entry) is Batch and struck in entry.executions:
                return entry.at < len(entry.executions) - 1
            if entry is struck:
                found = True
            elif found:
                return entry is not Simple.SYNC
        return True  # what comes next is not known yet, and after an error it would be skipped

    def _words(self) -> tuple[str, str]:
        assert self._by is not None
        bound = self._by
        what = _WORDS[bound.kind].format(bound.at)
        name = f"grant {bound.limit}" if bound.kind == "grant" else f"policy limit {bound.limit}"
        return f"statement stopped by {name}: {what}", f"{bound.reason} Session {self._session.session_id}."

    def _error(self) -> bytes:
        text, hint = self._words()
        return error(QUERY_CANCELED.decode(), text, hint=hint)

    def _end(self, actions: list[Action], now: int) -> None:
        text, hint = self._words()
        actions.append(Forward(Side.CLIENT, fatal(QUERY_CANCELED.decode(), text, hint=hint)))
        self._session.end("limit", now, actions)

    def _on(self, data: bytes, now: int, actions: list[Action]) -> None:
        if data:
            self._responses.feed(data, now, actions)


def exceeded(session_id: str, bound: Bound, statement: Statement) -> bytes:
    """Return the body of the event that says which limit a statement came up against."""
    body = {
        "session_id": session_id,
        "limit": bound.limit,
        "kind": bound.kind,
        "at_most": bound.at,
        "enforced": bound.enforced,
        "text_hash": statement.text_hash,
        "fingerprint": statement.fingerprint,
    }
    return b"," + orjson.dumps(body)[1:-1]
