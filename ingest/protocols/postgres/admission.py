"""What is done when a statement may go on, and when it may not.

One that goes on is made an execution with its intent written ahead, its limits and what it may show; of one that the guard stops
the event is complete at once, for nothing of it reaches the server. `requests` says which of the two it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ingest.core.actions import Action, Intend
from ingest.core.guarding import QUERY_CANCELED, Hold, Judgement
from ingest.core.masking import Masking
from ingest.protocols.postgres.byname import acts_by_name
from ingest.protocols.postgres.cursors import UNCERTAIN
from ingest.protocols.postgres.executions import ALLOW, Denial, Execution, dynamic_fragment
from ingest.protocols.postgres.expected import Batch, Parsed, Portal, Prepared, Simple
from ingest.protocols.postgres.messages import REFUSED_PARSE, REFUSED_QUERY, message
from ingest.protocols.postgres.names import MAX_BEFORE, Names
from processors.statements import Analysis, Statement
from schemas.events import StatementFlag

if TYPE_CHECKING:
    from ingest.protocols.postgres.session import PostgresSession

_COPIES: Final = frozenset((StatementFlag.COPY_IN, StatementFlag.COPY_OUT))
_COPIES_ON_SERVER: Final = frozenset((StatementFlag.COPY_FILE, StatementFlag.COPY_PROGRAM))
"""COPY between a table and the server's own files and programs: nothing of it crosses the wire."""
_MASK = b'{"verdict":"mask"'


class Admission:
    """The way of one session's statements to the server, or back. Times are µs since the epoch."""

    def __init__(self, session: PostgresSession, names: Names) -> None:
        self._session = session
        self._names = names
        self.now = 0
        self.actions: list[Action] = []
        """Of the bytes that are read: when they came, and what is to be done."""
        self.released: Hold | None = None
        """The wait of the message that is read, where it waited."""

    def passing(self, statement: Statement, claims: Mapping[str, str], now: int) -> bytes:
        """Return the decision on a plain statement that passes, unbound, and shows nothing that may be masked; else nothing."""
        session = self._session
        if not statement.plain or (session.masking is not None and session.masking.sight(statement) is not None):
            return b""
        if session.guard is None:
            return ALLOW
        judgement = session.guard.passing(statement, claims, now)
        return b"" if judgement is None or judgement.bounds else judgement.fragment

    def may_be_another(self, portal: Portal, prepared: Prepared) -> bool:
        """Tell whether a portal may run what its statement's name stood for before, and that may not run."""
        guard, names = self._session.guard, self._names
        if guard is None or prepared.waiting is None or prepared.parsed_at == names.syncs:
            return False
        found = names.before(prepared)
        if len(found) > MAX_BEFORE:
            return True
        for before in found:
            statement = portal.reading(before)
            if before.mentions is not None:
                statement = names.by_name(statement, before.mentions, before.text)
            if guard.judge(statement, before.claims, self.now).stops:
                return True
        return False

    # What goes on

    def admit(
        self,
        statement: Statement,
        kind: bytes,
        params: Sequence[str],
        claims: Mapping[str, str],
        size: int,
        judgement: Judgement | None = None,
        sql: bytes = b"",
    ) -> Execution:
        """Make the execution of one statement and, unless it passes unaudited, its intent; `sql` is the text it stands in."""
        session = self._session
        execution = self._begin(statement, size)
        decision = ALLOW
        if judgement is not None:
            decision = judgement.fragment
            self._bind(execution, judgement)
        self._unsettle(statement)
        if execution.audited:
            self._intend(execution, kind, params, claims, decision)
        self._see(execution, decision, sql)
        session.statements += 1
        return execution

    def reissue(self, execution: Execution, portal: Portal) -> None:
        """Give an execution under way the text that its portal really has, for the Parse that it was thought to run has failed.

        The intent with the text of that Parse is one that was not executed.
        """
        session, names = self._session, self._names
        wrong = Execution(execution.statement, execution.started, 0, execution.audited)
        wrong.intent = execution.intent
        session.conclude(wrong, self.now, b"not_executed", b"", 0, 0, self.actions)
        prepared = names.actual(portal)
        if prepared.waiting is not None:
            prepared.waiting.append(execution)
        statement = portal.reading(prepared)
        if prepared.mentions is not None:
            statement = names.by_name(statement, prepared.mentions, prepared.text)
        self._unsettle(statement)
        execution.statement = statement
        self._see(execution, b"")
        if execution.audited:
            decision = ALLOW
            if session.guard is not None:
                judgement = session.guard.judge(statement, prepared.claims, self.now)
                decision = judgement.fragment
                self._bind(execution, judgement)
            self._intend(execution, b"prepared", portal.params, prepared.claims, decision)

    def skipped(self, executions: list[Execution]) -> None:
        """Conclude what the server ignores, after an error before it."""
        for execution in executions:
            self._session.conclude(execution, self.now, b"not_executed", b"", 0, 0, self.actions)

    def _begin(self, statement: Statement, size: int) -> Execution:
        execution = Execution(statement, self.now, size, not self._session.refusal)
        if self.released is not None:
            execution.started = self.released.at
            execution.held = max(0, self.now - execution.started)
        return execution

    def _bind(self, execution: Execution, judgement: Judgement) -> None:
        """Hold an execution that will run to what its judgement allows it while it does."""
        if judgement.bounds:
            self._session.bounds.bind(execution, judgement.bounds)

    def _unsettle(self, statement: Statement) -> None:
        if statement.settings:
            self._session.unsettle(statement.settings)
        if statement.changes_objects:
            self._session.objects_changed()

    def _intend(
        self, execution: Execution, kind: bytes, params: Sequence[str], claims: Mapping[str, str], decision: bytes
    ) -> None:
        session = self._session
        statement = execution.statement
        if statement.long_text:
            session.observe(statement, self.actions)
        flags = statement.facts.flags
        if flags and not _COPIES.isdisjoint(flags) and _COPIES_ON_SERVER.isdisjoint(flags):
            kind = b"copy"
        dynamic = dynamic_fragment(kind, session.transaction, params, claims, decision)
        self.actions.append(Intend(execution, execution.started, session.context, statement.fragment, dynamic))

    def _see(self, execution: Execution, decision: bytes, sql: bytes = b"") -> None:
        """Look what an execution that is about to run may show; of `sql`, the text it stands in, a plan may repeat constants."""
        masking = self._session.masking
        if masking is None:
            return
        statement, cursors = execution.statement, self._names.cursors
        sight = masking.sight(statement)
        if "search_path" in statement.settings or "*" in statement.settings:
            cursors.forget()  # what was prepared by name is read anew by the server
        if statement.changes_objects or statement.fills:
            masking.changing(statement)
        if acts_by_name(statement):
            sight = self._sight_by_name(statement, sight, masking)
        elif sight is not None and sight.code:
            cursors.forget()
        if sight is not None:
            execution.sight = sight
            execution.strict = decision.startswith(_MASK)
            execution.hides = masking.hides(sight, execution.strict)
            if sql and execution.hides and StatementFlag.EXPLAIN in statement.facts.flags:
                execution.sight = masking.saying(sight, self._session.analyser.constants(sql, self._session.lexing))

    def _sight_by_name(self, statement: Statement, sight: Any, masking: Masking) -> Any:
        """What a statement shows that declares, prepares, fetches or executes something of a name."""
        cursors = self._names.cursors
        verb = statement.facts.verbs[0] if statement.facts.verbs else ""
        if verb in ("declare", "prepare"):
            cursors.declared(statement, sight, masking.known)
        elif verb in ("fetch", "move", "execute", "explain") and sight is not None and sight.by_name:
            found = cursors.of(statement, masking.known)
            if found is not UNCERTAIN:
                return found
        elif sight is not None:
            cursors.forget()
        return sight

    # What is stopped

    @property
    def useless(self) -> bool:
        """Whether the server skips what is sent now, or will: something of its pipeline was refused. Then nobody is asked."""
        session = self._session
        if session.skipping:
            return True
        for entry in reversed(session.expected):
            if isinstance(entry, Execution | Parsed):
                if entry.denial is not None:
                    return True
            elif entry is Simple.SYNC or isinstance(entry, Batch):
                return False
        return False

    def stop(
        self,
        statement: Statement,
        judgement: Judgement,
        kind: bytes,
        params: Sequence[str],
        claims: Mapping[str, str],
        size: int,
    ) -> Execution:
        """Record a statement that is stopped, or one that was sent together with it."""
        execution = self._deny(statement, judgement, kind, params, claims, size)
        status, sqlstate = b"denied", judgement.sqlstate
        if not judgement.stops or (judgement.holds and self.useless):
            status, sqlstate = b"not_executed", b""
        elif sqlstate == QUERY_CANCELED:
            status = b"cancelled"
        self._session.stopped(execution, self.now, self.actions, status, sqlstate)
        return execution

    def stop_batch(self, analysis: Analysis, judgements: list[Judgement], size: int) -> bytes:
        """Refuse a simple Query as a whole: the server would have run its statements one by one, and none of them is to run."""
        session = self._session
        denial: Denial | None = None
        for n, judgement in enumerate(judgements):
            stopped = self.stop(
                analysis.statements[n], judgement, b"simple", analysis.params[n], analysis.claims, 0 if n else size
            ).denial
            denial = denial or (stopped if judgement.stops else None)
        if not session.skipping:
            session.expected.append(Batch([], denial))
        return message(b"Q", REFUSED_QUERY + b"\x00")

    def stop_parse(self, prepared: Prepared, judgement: Judgement, params: Sequence[str], size: int) -> bytes:
        """Refuse a Parse: planning what would be refused could already run functions."""
        session = self._session
        prepared.denial = self.stop(prepared.statement, judgement, b"prepared", params, prepared.claims, size).denial
        if session.expected and isinstance(entry := session.expected[-1], Parsed) and entry.prepared is prepared:
            entry.denial = prepared.denial
        return REFUSED_PARSE

    def refuse_execute(self, statement: Statement, denial: Denial, size: int) -> bytes:
        """Refuse an Execute that has no event: there is one of its Parse or Bind, or none can be recorded."""
        execution = Execution(statement, self.now, size, False)
        execution.denial, execution.done = denial, True
        if not self._session.skipping:
            self._session.expected.append(execution)
        return REFUSED_PARSE

    def mistaken(self, analysis: Analysis, judgement: Judgement, kind: bytes, size: int, sql: bytes) -> Execution | None:
        """Record a stopped statement whose mistake the server is to name, by failing its text with TAIL; None: it is not one."""
        session, statement = self._session, analysis.statements[0]
        if StatementFlag.UNPARSED not in statement.facts.flags:
            return None
        mistake = session.analyser.mistake(sql, session.lexing)
        if mistake is None:
            return None
        execution = self._deny(statement, judgement, kind, analysis.params[0], analysis.claims, size)
        assert execution.denial is not None
        execution.denial.mistake = mistake
        if session.skipping:
            self.skipped([execution])
        return execution

    def _deny(
        self,
        statement: Statement,
        judgement: Judgement,
        kind: bytes,
        params: Sequence[str],
        claims: Mapping[str, str],
        size: int,
    ) -> Execution:
        """Make the execution of a statement that is not to run, and its intent."""
        execution = self._begin(statement, size)
        execution.denial = Denial(judgement.sqlstate, judgement.message, judgement.hint)
        if execution.audited:
            self._intend(execution, kind, params, claims, judgement.fragment)
        self._session.statements += 1
        return execution
