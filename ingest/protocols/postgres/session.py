"""One PostgreSQL connection after login: bytes in from either side, actions out.

The session forwards everything untouched and keeps one queue, `expected`: what the server still owes, in the order it
will answer (manual chapter 55.2). The client half (`requests`) appends to it and writes intents ahead; the server half
(`responses`) takes from it and concludes. A refused statement is replaced by one the server itself must fail, and that
failure's text is rewritten: so the error stands in its right place in the pipeline and the transaction is in the state the client
will believe. No clock, no sockets; times are passed in, µs since the epoch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

import orjson

from ingest.core.actions import Action, Close, Conclude, Forward, Intend, ObserveText, Record, Side
from ingest.core.errors import ProtocolError
from ingest.core.guarding import Answer, Hold, SessionGuard
from ingest.core.limits import Limits
from ingest.core.masking import Masking
from ingest.protocols.postgres.answers import Answer as WholeAnswer
from ingest.protocols.postgres.bounds import Bounds
from ingest.protocols.postgres.copying import Copying
from ingest.protocols.postgres.executions import Denial, Execution, outcome_fragment
from ingest.protocols.postgres.expected import Batch, Expected, Parsed
from ingest.protocols.postgres.requests import Requests
from ingest.protocols.postgres.responses import Responses
from processors.statements import Analyser, Lexing, Statement, Tokenizer
from processors.statements.catalogue import Catalogue
from processors.statements.statement import RESTORED

CLIENT: Final = Side.CLIENT
_ROLES: Final = frozenset(("role", "session_authorization"))
_LEXING_SETTINGS: Final = frozenset(("standard_conforming_strings", "client_encoding", "search_path", "*"))


class Snapshots(Protocol):
    """Whoever keeps what is known of the database's objects current."""

    @property
    def current(self) -> Catalogue | None:
        """The newest snapshot, None while there is none."""

    def changed(self) -> None:
        """Say that the newest may be out of date."""


class PostgresSession:
    """The state both halves share.

    `context(application_name)` returns the event fragment of who, where and what, constant until the name changes.
    `parameters` are the ParameterStatus values of the login; `client` is the JSON fragment of `schemas.events.Client`.
    """

    def __init__(
        self,
        *,
        session_id: str,
        context: Callable[[str], bytes],
        client: bytes,
        parameters: Mapping[str, str],
        analyser: Analyser,
        tokenizer: Tokenizer,
        limits: Limits | None = None,
        allow_replication: bool = False,
        search_path_known: bool = True,
        snapshots: Snapshots | None = None,
    ) -> None:
        self._snapshots = snapshots
        self._catalogue = snapshots.current if snapshots else None
        self.limits = limits or Limits()
        self.analyser = analyser
        self.tokenizer = tokenizer
        self.session_id = session_id
        self.refusal = ""
        self.pass_unaudited = False
        self.guard: SessionGuard | None = None
        """Decides on every statement; None where no policy is configured."""
        self.masking: Masking | None = None
        self.unaudited = 0
        self.refused = 0
        """Statements that could not be recorded: `unaudited` ran all the same, `refused` did not."""
        self.transaction = b"I"
        self.expected: deque[Expected] = deque()
        self.alone = True
        """Whether the statement that is judged is the only one of its message."""
        self.skipping = False
        """The server ignores everything up to the next Sync, after an error in the extended protocol."""
        self.copying = Copying(self.expected)
        self.settled_at = 0
        """When the server last finished an execution: the next one's work cannot have begun earlier."""
        self.statements = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.rows = 0
        """Rows that concluded executions returned."""
        self.ended = False
        self.draining = False
        self.allow_replication = allow_replication
        self._client = client
        self._make_context = context
        self._parameters = dict(parameters)
        self._own_path: tuple[str, ...] = ("public",) if search_path_known else ()
        self._search_path: tuple[str, ...] = self._own_path
        self._set_path: str | None = None
        self._ended = 0
        self.context = context(self._parameters.get("application_name", ""))
        self.lexing = self._settled_lexing()
        self._uncertain = False
        self._requests = Requests(self)
        self._responses = Responses(self)
        self.bounds = Bounds(self, self._responses)

    @property
    def catalogue(self) -> Catalogue | None:
        """The snapshot that statements are analysed by now."""
        return self._catalogue

    def mask(self, masking: Masking) -> None:
        """Mask results from here on."""
        self.masking = masking
        self._responses.mask()

    def receive(self, origin: Side, data: bytes, now: int) -> list[Action]:
        """Take bytes from a side and say what to do. What is common goes by `repeat` and `answer_of`, all else by `parse`."""
        if origin is CLIENT:
            execution = self.repeat(data, now)
            if execution is not None:
                intend = Intend(execution, now, self.context, execution.statement.fragment, execution.dynamic)
                return [intend, Forward(Side.SERVER, data)]
        else:
            answer = self.answer_of(data)
            if answer is not None:
                execution = self.answered(data, answer, now)
                forward = Forward(CLIENT, data)
                return [Conclude(execution, execution.outcome), forward] if execution.audited else [forward]
        return self.parse(origin, data, now)

    def repeat(self, data: bytes, now: int) -> Execution | None:
        """Take bytes from the client that are one plain statement, whole; return its execution. None: not that, nothing changed.

        The caller writes the intent (`context`, the statement's fragment, `dynamic`), then forwards the bytes as they are.
        """
        if self.ended or self.draining or not data:
            return None
        self._look_at_catalogue()
        execution = self._requests.repeat(data, now)
        if execution is not None:
            self.bytes_in += len(data)
        return execution

    def answer_of(self, data: bytes) -> WholeAnswer | None:
        """Return what bytes from the server answer if they are one plain statement's answer, whole. Nothing changes.

        The caller may forward them as they are before it calls `answered`; None: they are for `parse`.
        """
        if self.ended or self.draining or self.bounds.active:
            return None
        return self._responses.answer_of(data)

    def answered(self, data: bytes, answer: WholeAnswer, now: int) -> Execution:
        """Take bytes with what `answer_of` just returned of them; return the execution, concluded.

        The caller hands its `outcome` to the spool if it is audited.
        """
        self.bytes_out += len(data)
        return self._responses.answered(data, answer, now)

    def parse(self, origin: Side, data: bytes, now: int) -> list[Action]:
        """Take any bytes from a side, message by message; on bytes that are not the protocol, record a gap and close."""
        if self.ended:
            return []
        actions: list[Action] = []
        try:
            if origin is CLIENT:
                self.bytes_in += len(data)
                self._look_at_catalogue()
                if not self.draining:
                    self._requests.feed(data, now, actions)
            else:
                self.bytes_out += len(data)
                (self.bounds if self.bounds.active else self._responses).feed(data, now, actions)
                if self.skipping and self._requests.waiting.hold is not None and not self.ended:
                    # An earlier statement of its pipeline failed, so the server will not run it, whoever approves it.
                    self._requests.waiting.release(
                        Answer("cancelled", "an earlier statement of its pipeline failed"), now, actions
                    )
        except ProtocolError as error:
            self.gap(origin, str(error), len(data), now, actions)
        return actions

    def answer(self, approval_id: str, answer: Answer, now: int) -> list[Action]:
        """End the wait of a held statement: it and what came behind it go on, or it fails in its place."""
        actions: list[Action] = []
        hold = self._requests.waiting.hold
        if self.ended or hold is None or hold.approval_id != approval_id:
            return actions
        self._look_at_catalogue()
        try:
            self._requests.waiting.release(answer, now, actions)
        except ProtocolError as error:
            self.gap(CLIENT, str(error), 0, now, actions)
        return actions

    @property
    def waiting(self) -> Hold | None:
        """The statement that waits for an approval."""
        return self._requests.waiting.hold

    @property
    def behind(self) -> int:
        """Bytes kept back because a statement waits: it, and what the client sent behind it."""
        return self._requests.waiting.behind

    def tell(self, notice: bytes, actions: list[Action]) -> None:
        """Send the client a message of our own."""
        self._responses.tell(notice, actions)

    def _look_at_catalogue(self) -> None:
        if self._snapshots is not None and self._snapshots.current is not self._catalogue:
            self._catalogue = self._snapshots.current
            self.lexing = self.analyser.shared(replace(self.lexing, catalogue=self._catalogue, blind=False))

    def gap(self, origin: Side, reason: str, size: int, now: int, actions: list[Action]) -> None:
        """Record that bytes were not understood, conclude what is open, and end the session."""
        body = orjson.dumps({"session_id": self.session_id, "origin": origin.value, "reason": reason, "bytes_unparsed": size})
        actions.append(Record("ProtocolGap", now, b"," + body[1:-1] + b',"client":' + self._client))
        self.end("protocol_gap", now, actions)

    def closed(self, origin: Side, now: int) -> list[Action]:
        """A side is gone. A client that leaves while the server still works: the outcomes are awaited (draining)."""
        actions: list[Action] = []
        if self.ended:
            return actions
        if self._requests.waiting.hold is not None:
            self._requests.waiting.abandon("client_lost" if origin is CLIENT else "server_lost", now, actions)
        if origin is CLIENT and not self.draining and any(self._open_executions()):
            self.draining = True
            return actions
        reason = "client_lost" if origin is CLIENT or self.draining else "server_lost"
        if self._requests.terminated:
            reason = "terminated"
        self.end(reason, now, actions)
        return actions

    def end(self, reason: str, now: int, actions: list[Action]) -> None:
        """Conclude everything that is still open as unknown, and close."""
        if self.ended:
            return
        if self._requests.waiting.hold is not None:
            self._requests.waiting.abandon(reason, now, actions)
        for execution in self._open_executions():
            self.conclude(execution, now, b"unknown", b"", 0, 0, actions)
        self.expected.clear()
        self.ended = True
        actions.append(Close(reason))

    def _open_executions(self) -> list[Execution]:
        found: list[Execution] = []
        for entry in self.expected:
            if isinstance(entry, Execution):
                found.append(entry)
            elif isinstance(entry, Batch):
                found.extend(entry.executions)
        return [e for e in found if not e.done]

    @property
    def open_statements(self) -> int:
        """Executions sent and not concluded."""
        return len(self._open_executions())

    def conclude(
        self,
        execution: Execution,
        now: int,
        status: bytes,
        sqlstate: bytes,
        affected: int,
        bytes_out: int,
        actions: list[Action],
    ) -> None:
        """Complete an execution's event, once."""
        if execution.done:
            return
        execution.done = True
        self._ended += 1
        self.rows += execution.rows
        if self.masking is not None:
            self.masking.completed(execution.statement) if status == b"ok" else self.masking.failed()
        if execution.audited:
            outcome = outcome_fragment(execution, now, self.settled_at, status, sqlstate, affected, bytes_out)
            actions.append(Conclude(execution, outcome))
        self.settled_at = now

    def concluded(self, execution: Execution, now: int, affected: int, bytes_out: int) -> None:
        """Complete the event of an execution that succeeded; its `outcome` is the caller's to hand over."""
        execution.done = True
        self._ended += 1
        self.rows += execution.rows
        if self.masking is not None:
            self.masking.completed(execution.statement)
        if execution.audited:
            execution.outcome = outcome_fragment(execution, now, self.settled_at, b"ok", b"", affected, bytes_out)
        self.settled_at = now

    def stopped(self, execution: Execution, now: int, actions: list[Action], status: bytes, sqlstate: bytes) -> None:
        """Complete the event of an execution that the guard keeps from the server: it took none of the server's time."""
        execution.done = True
        self._ended += 1
        if execution.audited:
            actions.append(Conclude(execution, outcome_fragment(execution, now, now, status, sqlstate, 0, 0)))

    def succeeded(self, execution: Execution) -> None:
        """A statement completed: the search_path it set is the one from now on, if nothing can take it back.

        An error or a ROLLBACK before ReadyForQuery would, and so only what is alone before it counts.
        """
        self._set_path = execution.statement.settings.get("search_path")

    def intend(self, execution: Execution, dynamic: bytes) -> Intend:
        """Return the write-ahead of an execution that is about to run now."""
        return Intend(execution, execution.started, self.context, execution.statement.fragment, dynamic)

    def parse_failed(self, entry: Parsed, now: int, actions: list[Action]) -> None:
        """The server did not accept a Parse."""
        self._ended += 1
        self._requests.parse_failed(entry, now, actions)

    def is_next(self) -> bool:
        """Tell whether the statement that is judged would be the next that the server runs, after all that it ran is known."""
        return self.alone and not any(isinstance(entry, Batch | Execution) for entry in self.expected)

    def transaction_ended(self) -> None:
        """The server is idle outside any transaction."""
        self._requests.transaction_ended()

    def observe(self, statement: Statement, actions: list[Action]) -> None:
        """Publish a long text beside the event that refers to it."""
        if statement.long_text:
            actions.append(ObserveText(statement.text_hash, statement.text))

    def denial(self) -> Denial | None:
        """Why a statement arriving now must be refused; counts it when it passes unaudited instead."""
        if not self.refusal:
            return None
        if self.pass_unaudited:
            self.unaudited += 1
            return None
        self.refused += 1
        return Denial(
            b"53100",
            "statement refused: it could not be recorded",
            f"{self.refusal} Nothing was executed. Session {self.session_id}.",
        )

    # What decides how text becomes tokens

    def _settled_lexing(self) -> Lexing:
        settled = Lexing(
            standard_conforming_strings=self._parameters.get("standard_conforming_strings", "on") == "on",
            client_encoding=self._parameters.get("client_encoding", "UTF8"),
            search_path=self._search_path,
            catalogue=self._catalogue,
            blind=self._snapshots is not None and self._catalogue is None,
        )
        return self.analyser.shared(settled)

    def objects_changed(self) -> None:
        """A statement that may make, change or drop objects was sent."""
        if self._snapshots is not None:
            self._snapshots.changed()

    def unsettle(self, settings: Mapping[str, str | None]) -> None:
        """A statement that changes settings was sent: until the server is idle again, nothing about them is certain."""
        if not _ROLES.isdisjoint(settings):
            self._own_path = ()  # "$user" is another schema from now on, whatever is reset
            settings = {**settings, "search_path": None}
        if _LEXING_SETTINGS.isdisjoint(settings):
            return
        self._uncertain = True
        if "search_path" in settings or "*" in settings:
            self._search_path = ()
        lexing = self.lexing
        any_change = "*" in settings
        self.lexing = Lexing(
            standard_conforming_strings=None
            if any_change or "standard_conforming_strings" in settings
            else lexing.standard_conforming_strings,
            client_encoding="" if any_change or "client_encoding" in settings else lexing.client_encoding,
            search_path=self._search_path,
            catalogue=self._catalogue,
            blind=self._snapshots is not None and self._catalogue is None,
        )

    def settle(self, status: bytes) -> None:
        """ReadyForQuery with nothing more in flight: what the server reported is the truth again."""
        if self._set_path is not None:
            if self._ended == 1 and status == b"I" == self.transaction:
                path = self._set_path
                found = self._own_path if path == RESTORED else tuple(p.strip().strip('"') for p in path.split(","))
                self._search_path = () if "$user" in found and not self._own_path else found
            self._set_path = None
        self._ended = 0
        self.transaction = status
        if self._uncertain and not self.expected:
            self._uncertain = False
            self.lexing = self._settled_lexing()

    def reported(self) -> dict[str, str]:
        """Return what the server last reported of the settings; of the encoding nothing while settings are in flight."""
        return {**self._parameters, "client_encoding": ""} if self._uncertain else dict(self._parameters)

    def parameter_reported(self, name: str, value: str) -> None:
        """ParameterStatus: remember what changes lexing or the session's description."""
        self._parameters[name] = value
        if name == "application_name":
            self.context = self._make_context(value)
        elif name == "search_path":
            self._search_path = tuple(p.strip().strip('"') for p in value.split(","))
        if name in _LEXING_SETTINGS and not self._uncertain:
            self.lexing = self._settled_lexing()
