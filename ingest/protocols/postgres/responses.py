"""The server half of a session: every answer is matched to what the server owes, and forwarded.

Only headers are read, except of messages that say how an execution ended. Rows and COPY data pass in the largest slices
possible and are never gathered; an ErrorResponse is held until whole, because a refusal's text replaces it.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING, Final

from ingest.core.actions import Action, Forward, Side
from ingest.core.errors import ServerProtocolError
from ingest.core.guarding import QUERY_CANCELED
from ingest.protocols.postgres.answers import Answer, Answers
from ingest.protocols.postgres.executions import ALLOW, Denial, Execution, dynamic_fragment, finished
from ingest.protocols.postgres.expected import Batch, Described, Parsed, Portal, Simple, current, owed
from ingest.protocols.postgres.messages import error, message, parse_error_fields
from ingest.protocols.postgres.mistaken import told
from ingest.protocols.postgres.results import Results

if TYPE_CHECKING:
    from ingest.protocols.postgres.session import PostgresSession

_LENGTH: Final = Struct(">I")
_DATA_ROW: Final = ord("D")
_COMPLETE: Final = ord("C")
_ROW_DESCRIPTION, _READY, _ERROR, _BIND_COMPLETE = b"TZE2"
_NOTICE, _NOTIFICATION, _COPY_DATA = b"NAd"
CLIENT: Final = Side.CLIENT
_BIND: Final = Simple.BIND
_DESCRIBE: Final = Simple.DESCRIBE
_SYNC: Final = Simple.SYNC
_STREAMED: Final = frozenset(b"DdTNA")
"""Messages whose content the session does not need: passed on while they arrive."""
_NULL_RESULT = b"V\x00\x00\x00\x08\xff\xff\xff\xff"
_SQLSTATE = re.compile(rb"[0-9A-Z]{5}").fullmatch
_STATUSES: Final = frozenset((b"I", b"T", b"E"))
_KNOWN: Final = frozenset(b"DdTCZENtA123nsISKGHWcVv")


class Responses:
    """Parses backend messages of one session; fed any cut of the stream."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self._expected = session.expected
        self._copying = session.copying
        self._results = Results(session)
        self._answers = Answers()
        self._held = bytearray()
        self._need = 0
        self._pass = 0
        self._told = b""
        self._drop = 0
        """Bytes still to come of a message that is left out."""
        self._out = 0
        """Bytes sent to the client since the last execution ended."""
        self._actions: list[Action] = []
        self._now = 0
        self._handlers = {
            _ERROR: self._error,
            ord("1"): self._parse_complete,
            ord("2"): self._bind_complete,
            ord("3"): self._close_complete,
            ord("n"): self._described,
            ord("t"): self._parameter_types,
            ord("s"): self._suspended,
            ord("I"): self._empty,
            ord("S"): self._parameter,
            ord("G"): self._copy_in,
            ord("W"): self._copy_both,
            ord("V"): self._function_result,
        }

    def mask(self) -> None:
        """Results are masked from here on."""
        self._handlers[ord("H")] = self._results.copy_out
        self._handlers[_NOTICE] = self._results.notice
        self._handlers[_NOTIFICATION] = self._results.notification

    def take_partial(self) -> tuple[bytes, int]:
        """Give away the beginning of a message that is not whole yet, and say how much of one that passes is still to come."""
        held = bytes(self._held)
        self._held.clear()
        return held, self._pass or self._drop

    def answer_of(self, data: bytes) -> Answer | None:
        """Return what `data` answers if it is the answer to one plain statement, whole. Nothing changes."""
        session = self._session
        if self._held or self._pass or self._drop or self._copying.swallowed or session.skipping:
            return None
        return self._answers.find(data, self._expected)

    def answered(self, data: bytes, answer: Answer, now: int) -> Execution:
        """Take the answer that `answer_of` found `data` to be; return its execution, concluded."""
        session = self._session
        status = data[-1:]
        execution, rows, tag, end, entries = answer
        execution.rows = rows
        affected = finished(tag, execution)
        for _ in range(entries):
            self._expected.popleft()
        session.concluded(execution, now, affected, self._out + end)
        if execution.statement.settings:
            session.succeeded(execution)
        self._out = 0
        self._copying.reading = False
        if status == b"I":
            session.transaction_ended()
        session.settle(status)
        return execution

    def feed(self, data: bytes, now: int, actions: list[Action]) -> None:
        """Parse as far as the bytes reach. Raises ServerProtocolError on an answer to nothing that was asked."""
        if self._held:
            self._held += data
            if len(self._held) < self._need:
                return
            data = bytes(self._held)
            self._held.clear()
        session = self._session
        expected = self._expected
        self._actions = actions
        self._now = now
        masking = session.masking is not None
        unpack = _LENGTH.unpack_from
        size = len(data)
        start = pos = mark = 0
        need = 5
        out: list[bytes] = []
        if self._pass:
            pos = min(self._pass, size)
            self._pass -= pos
            if self._told and not self._pass:
                out += (data[:pos], self._told)
                self._told = b""
                start = pos
        elif self._drop:
            start = pos = mark = min(self._drop, size)
            self._drop -= pos
        while size - pos >= 5:
            kind = data[pos]
            length: int = unpack(data, pos + 1)[0]
            if length < 4:
                raise ServerProtocolError(f"message {chr(kind)!r} claims a length of {length} bytes")
            end = pos + 1 + length
            if end > size:
                need = end - pos
                if kind in _STREAMED:
                    if not masking or (limit := self._results.gathered(kind)) == 0:
                        self._account(kind)
                        self._pass = end - size
                        pos = size
                    elif length > limit:
                        if pos > start:
                            out.append(data[start:pos])
                        self._out += pos - mark
                        out.append(self._results.too_long(kind, length))
                        self._drop = end - size
                        start = pos = mark = size
                elif length > session.limits.error:
                    raise ServerProtocolError(f"message {chr(kind)!r} claims a length of {length} bytes")
                break
            if kind == _DATA_ROW or (kind == _COPY_DATA and masking):
                if expected:
                    head = expected[0]
                    execution = None
                    if type(head) is Batch:
                        if head.at < len(head.executions):
                            execution = head.executions[head.at]
                    elif type(head) is Execution:
                        execution = head
                    if execution is not None:
                        if execution.sight is not None:
                            masker = execution.masker or self._results.masker(execution)
                            if masker is not None and not masker.passes:
                                if pos > start:
                                    out.append(data[start:pos])
                                self._out += pos - mark
                                pos, masked, rows = self._results.masked(masker, data, pos)
                                execution.rows += rows
                                out.append(masked)
                                self._out += len(masked)
                                start = mark = pos
                                continue
                        execution.rows += kind == _DATA_ROW
            elif kind == _COMPLETE:
                self._out += end - mark
                mark = end
                self._complete(data[pos + 5 : end - 1])
            elif kind == _READY:
                self._ready(data[pos + 5 : end])
                mark = end
            elif kind == _ROW_DESCRIPTION:
                if masking and expected and self._columns(data[pos + 5 : end]):
                    if pos > start:
                        out.append(data[start:pos])
                    self._out += pos - mark
                    start = mark = end
                elif expected and (expected[0] is _DESCRIBE or type(expected[0]) is Described):
                    expected.popleft()
            elif kind == _BIND_COMPLETE and expected and expected[0] is _BIND:
                expected.popleft()
            else:
                if kind not in _KNOWN:
                    raise ServerProtocolError(f"message type {chr(kind)!r} is not one a server may send here")
                handle = self._handlers.get(kind)
                if handle is not None:
                    self._out += end - mark
                    mark = end
                    replacement = handle(data, pos + 5, end)
                    if session.ended:
                        if pos > start:
                            out.append(data[start:pos])
                        if out:
                            actions.insert(len(actions) - 1, Forward(CLIENT, b"".join(out)))
                        return
                    if replacement is not None:
                        if pos > start:
                            out.append(data[start:pos])
                        out.append(replacement)
                        start = end
            pos = end
        self._out += pos - mark
        if pos < size:
            self._held += data[pos:]
            self._need = need
        if pos > start:
            out.append(data if start == 0 and pos == size else data[start:pos])
        if out:
            whole = out[0] if len(out) == 1 else b"".join(out)
            if whole:
                actions.append(Forward(CLIENT, whole))

    def tell(self, notice: bytes, actions: list[Action]) -> None:
        """Send the client a message of our own, at the next boundary between the server's."""
        if self._pass:
            self._told += notice
        else:
            actions.append(Forward(CLIENT, notice))

    def _account(self, kind: int) -> None:
        """A message that passes while it arrives: count its row, take what it answers."""
        expected = self._expected
        head = expected[0] if expected else None
        if kind == _DATA_ROW:
            execution = current(expected)
            if execution is not None:
                execution.rows += 1
        elif kind == _ROW_DESCRIPTION and (head is _DESCRIBE or type(head) is Described):
            expected.popleft()

    def _columns(self, body: bytes) -> bool:
        """A RowDescription: remember it for the rows to come. Returns whether it answers what the client did not ask."""
        head = self._expected[0]
        if type(head) is Described:
            self._expected.popleft()
            if head.portal is not None:
                head.portal.description = body
            elif head.prepared is not None:
                head.prepared.description, head.prepared.catalogue = body, self._session.catalogue
            return head.ours
        if head is _DESCRIBE:
            self._expected.popleft()
        elif type(head) is Batch:
            if head.at >= len(head.executions):
                self._extra(head)
            execution = head.executions[head.at]
            if execution.sight is not None:
                self._results.described(execution, body, None)
        return False

    def _conclude(self, execution: Execution, status: bytes, sqlstate: bytes = b"", affected: int = 0) -> None:
        out, self._out = self._out, 0
        self._session.conclude(execution, self._now, status, sqlstate, affected, out, self._actions)

    # How executions end

    def _complete(self, tag: bytes) -> None:
        session = self._session
        head = owed(self._expected)
        if type(head) is Execution:
            self._expected.popleft()
            execution = head
        elif type(head) is Batch:
            if head.at >= len(head.executions):
                self._extra(head)
            execution = head.executions[head.at]
            head.at += 1
        else:
            raise ServerProtocolError("CommandComplete answers nothing that was asked")
        out, self._out = self._out, 0
        session.conclude(execution, self._now, b"ok", b"", finished(tag, execution), out, self._actions)
        if execution.statement.settings:
            session.succeeded(execution)
        self._copying.reading = False

    def _extra(self, batch: Batch) -> None:
        """The server ran more statements than the text was split into: each still gets its event."""
        session = self._session
        statement = (
            batch.executions[-1].statement if batch.executions else session.analyser.analyse(b"(", session.lexing).statements[0]
        )
        execution = Execution(statement, self._now, 0, True)
        dynamic = dynamic_fragment(b"simple", session.transaction, (), {}, ALLOW)
        self._actions.append(session.intend(execution, dynamic))
        batch.executions.append(execution)

    def _empty(self, data: bytes, pos: int, end: int) -> bytes | None:
        self._complete(b"")
        return None

    def _suspended(self, data: bytes, pos: int, end: int) -> bytes | None:
        head = owed(self._expected)
        if type(head) is not Execution:
            raise ServerProtocolError("PortalSuspended answers nothing that was asked")
        if isinstance(head.portal, Portal):
            head.portal.fetched = True
        self._expected.popleft()
        self._conclude(head, b"ok")
        return None

    def _function_result(self, data: bytes, pos: int, end: int) -> bytes | None:
        head = owed(self._expected)
        if type(head) is not Batch or head.at >= len(head.executions):
            raise ServerProtocolError("FunctionCallResponse answers nothing that was asked")
        execution = head.executions[head.at]
        self._conclude(execution, b"ok")
        head.at += 1
        return _NULL_RESULT if execution.hides else None

    def _error(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        reported = self._results.reported(b"E", data[pos:end]) if session.masking is not None else None
        fields = parse_error_fields(data[pos:end])
        sqlstate = fields.get("C", b"")
        if not _SQLSTATE(sqlstate):  # it stands in the event as it is
            sqlstate = b"XX000"
        status = b"cancelled" if sqlstate == QUERY_CANCELED else b"error"
        head = owed(self._expected)
        self._copying.reading = False
        asked = head.denial if isinstance(head, Batch | Parsed) else None
        answer: bytes | None = None
        if asked is not None and asked.mistake is not None:
            found = told(asked.mistake, data[pos:end])
            if found is None:  # it would have run the text
                status, sqlstate = b"denied", asked.sqlstate
            else:
                answer = message(b"E", found)
        if head is None or head is _SYNC:
            if head is _SYNC and fields.get("V", fields.get("S")) == b"ERROR":
                self._commit_failed(status, sqlstate)
            return reported
        if type(head) is Batch:
            for n, execution in enumerate(head.executions):
                if not execution.done:
                    self._conclude(execution, status if n == head.at else b"not_executed", sqlstate if n == head.at else b"")
            head.at = len(head.executions)
            return answer or self._rewrite(head.denial) or reported
        first = True
        blamed = False  # of a Parse or Bind that failed, the execution right behind it is the statement that failed
        denial: Denial | None = None
        expected = self._expected
        failed: list[Parsed] = []
        while expected and expected[0] is not _SYNC and type(expected[0]) is not Batch:
            entry = expected.popleft()
            if type(entry) is Execution:
                mistaken = entry.denial is not None and entry.denial.mistake is not None and entry.denial is not asked
                apart = blamed or mistaken  # behind what failed: the server did not look at it
                self._conclude(entry, b"not_executed" if apart else status, b"" if apart else sqlstate)
                blamed = True
                denial = entry.denial if first else denial
            elif type(entry) is Parsed:
                failed.append(entry)
                denial = entry.denial if first else denial
            first = False
        for parsed in failed:
            session.parse_failed(parsed, self._now, self._actions)
        self._drop_ignored()
        return answer or self._rewrite(denial) or reported

    def _commit_failed(self, status: bytes, sqlstate: bytes) -> None:
        """A Sync ends the transaction that nobody began; where that fails (a deferred constraint), a COMMIT failed.

        What ran before it has its outcome already, as in a transaction whose own COMMIT fails.
        """
        session = self._session
        statement = session.analyser.analyse(b"COMMIT", session.lexing).statements[0]
        execution = Execution(statement, self._now, 0, True)
        self._actions.append(session.intend(execution, dynamic_fragment(b"prepared", session.transaction, (), {}, ALLOW)))
        self._conclude(execution, status, sqlstate)

    def _drop_ignored(self) -> None:
        """After an error in the extended protocol the server ignores everything, Query too, until a Sync it has or will get."""
        expected = self._expected
        while expected and expected[0] is not _SYNC:
            entry = expected.popleft()
            if type(entry) is Batch:
                for execution in entry.executions:
                    self._conclude(execution, b"not_executed")
            elif type(entry) is Execution:
                self._conclude(entry, b"not_executed")
            elif type(entry) is Parsed:
                self._session.parse_failed(entry, self._now, self._actions)
        if not expected:
            self._session.skipping = True

    def _rewrite(self, denial: Denial | None) -> bytes | None:
        if denial is None:
            return None
        return error(denial.sqlstate.decode(), denial.message, hint=denial.hint)

    def _ready(self, status: bytes) -> None:
        session = self._session
        if status not in _STATUSES:
            raise ServerProtocolError("ReadyForQuery must hold one of I, T, E")
        head = owed(self._expected)
        if head is not _SYNC and self._copying.swallowed and not (type(head) is Batch and head.at):
            # COPY failed before it read any data, and so before it read the Sync it would have ignored.
            self._copying.swallowed -= 1
            session.skipping = False
            self._out = 0
            if status == b"I":
                session.transaction_ended()
            session.settle(status)
            return
        if type(head) is Batch:
            for execution in head.executions[head.at :]:
                self._conclude(execution, b"not_executed")
        elif head is not _SYNC:
            raise ServerProtocolError("ReadyForQuery answers nothing that was asked")
        self._expected.popleft()
        self._out = 0
        if status == b"I":
            session.transaction_ended()
        elif status == b"E" and session.masking is not None:
            session.masking.failed()  # a Parse or Bind may have, which no execution tells of
        session.settle(status)

    # Answers that end nothing

    def _take(self, wanted: object, name: str) -> None:
        head = owed(self._expected)
        if head is wanted:
            self._expected.popleft()
            return
        raise ServerProtocolError(f"{name} answers nothing that was asked")

    def _parse_complete(self, data: bytes, pos: int, end: int) -> bytes | None:
        head = owed(self._expected)
        if type(head) is not Parsed:
            raise ServerProtocolError("ParseComplete answers nothing that was asked")
        head.prepared.waiting = head.prepared.instead = None
        self._expected.popleft()
        return None

    def _bind_complete(self, data: bytes, pos: int, end: int) -> bytes | None:
        self._take(_BIND, "BindComplete")
        return None

    def _close_complete(self, data: bytes, pos: int, end: int) -> bytes | None:
        self._take(Simple.CLOSE, "CloseComplete")
        return None

    def _described(self, data: bytes, pos: int, end: int) -> bytes | None:
        head = owed(self._expected)
        if head is _DESCRIBE or type(head) is Described:
            self._expected.popleft()
            if type(head) is Described and head.ours:
                return b""
        return None

    def _parameter_types(self, data: bytes, pos: int, end: int) -> bytes | None:
        """ParameterDescription: the types a Parse left to the server."""
        head = owed(self._expected)
        if type(head) is Described and head.prepared is not None:
            count = int.from_bytes(data[pos : pos + 2], "big")
            if end - pos == 2 + 4 * count:
                head.prepared.oids = tuple(_LENGTH.unpack_from(data, pos + 2 + 4 * n)[0] for n in range(count))
        return None

    def _parameter(self, data: bytes, pos: int, end: int) -> bytes | None:
        name, _, value = data[pos : end - 1].partition(b"\x00")
        if b"\x00" in value:  # more than two strings: what is in it could be anything, and would be taken for a name
            raise ServerProtocolError("ParameterStatus holds more than a name and a value")
        self._session.parameter_reported(name.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
        return None

    def _copy_in(self, data: bytes, pos: int, end: int) -> bytes | None:
        self._copying.begins()
        return None

    def _copy_both(self, data: bytes, pos: int, end: int) -> bytes | None:
        if not self._session.allow_replication:
            raise ServerProtocolError("replication was started, and is not allowed for this database")
        return None
