"""The client half of a session: what each frontend message will cause, written ahead, and the bytes passed on.

`framing` cuts the messages out of the stream, `names` knows what they refer to, `waiting` keeps back what is held and all that
follows it. One file past 500 lines, because what the messages do can only be judged together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from ingest.core.actions import Action, Forward, Intend
from ingest.core.errors import ClientProtocolError
from ingest.core.guarding import QUERY_CANCELED, Judgement, Request
from ingest.core.masking import Masking
from ingest.protocols.postgres.byname import acts_by_name, names_in
from ingest.protocols.postgres.cursors import UNCERTAIN
from ingest.protocols.postgres.executions import ALLOW, DENY, Denial, Execution, dynamic_fragment
from ingest.protocols.postgres.expected import Batch, Described, Parsed, Portal, Prepared, Simple
from ingest.protocols.postgres.framing import BIND, EXECUTE, PARSE, QUERY, SERVER, SYNC, Framing, Streamed
from ingest.protocols.postgres.holding import HOLD, OWN_NAMES, Granted, renamed
from ingest.protocols.postgres.messages import REFUSED_PARSE, REFUSED_QUERY, message
from ingest.protocols.postgres.mistaken import TAIL
from ingest.protocols.postgres.names import MAX_BEFORE, MAX_KEPT_TEXT, MAX_NAME, Names
from ingest.protocols.postgres.parameters import function_call_tokens, parameter_tokens, parameter_values, result_formats
from ingest.protocols.postgres.repeats import Repeats
from ingest.protocols.postgres.waiting import Waiting
from processors.statements import Analysis, Statement
from processors.statements.catalogue import FIRST_OWN_OID
from processors.statements.statement import with_dangers
from schemas.events import StatementFlag

if TYPE_CHECKING:
    from ingest.protocols.postgres.session import PostgresSession

_BIND_ENTRY: Final = Simple.BIND
_DESCRIBE_ENTRY: Final = Simple.DESCRIBE
_SYNC_ENTRY: Final = Simple.SYNC
_LENGTH: Final = Struct(">I")
_OIDS: Final = Struct(">H")
_COPIES: Final = frozenset((StatementFlag.COPY_IN, StatementFlag.COPY_OUT))
_COPIES_ON_SERVER: Final = frozenset((StatementFlag.COPY_FILE, StatementFlag.COPY_PROGRAM))
"""COPY between a table and the server's own files and programs: nothing of it crosses the wire."""
_FLUSH_MESSAGE = b"H\x00\x00\x00\x04"
_MASK = b'{"verdict":"mask"'


class Requests(Framing):
    """Parses frontend messages of one session; fed any cut of the stream."""

    def __init__(self, session: PostgresSession) -> None:
        super().__init__(session)
        self.names = Names(session)
        # Of the names, what each message needs, by itself: read as typed fields where this is compiled.
        self._prepared: dict[bytes, Prepared] = self.names.prepared
        self._portals: dict[bytes, Portal] = self.names.portals
        self._repeats: Repeats = self.names.repeats
        self.terminated = False
        self.waiting = Waiting(self, session)
        limits = session.limits
        self._whole = {
            QUERY: (limits.statement, self._query),
            PARSE: (limits.statement, self._parse),
            BIND: (limits.bind, self._bind),
            EXECUTE: (limits.control, self._execute),
            SYNC: (limits.control, self._sync),
            ord("D"): (limits.control, self._describe),
            ord("C"): (limits.control, self._close),
            ord("H"): (limits.control, self._flush),
            ord("F"): (limits.bind, self._function_call),
            ord("c"): (limits.control, self._copy_end),
            ord("f"): (limits.control, self._copy_end),
            ord("X"): (limits.control, self._terminate),
        }

    def feed(self, data: bytes, now: int, actions: list[Action]) -> None:
        """Parse as far as the bytes reach. Raises ClientProtocolError on a message the protocol does not have."""
        self.names.read_again = 0
        if self.waiting.hold is not None:
            self.waiting.keep(data)
        else:
            self.read(data, now, actions)

    def _keep_back(self, data: bytes, pos: int, end: int) -> None:
        expected = self._session.expected
        if expected and expected[-1] is not _SYNC_ENTRY and type(expected[-1]) is not Batch:
            # What came before it must not wait in the server's buffer for a Sync that is kept back here.
            self._actions.append(Forward(SERVER, _FLUSH_MESSAGE))
        self.waiting.keep_first(data[pos:], end - pos)

    def _count_copy(self, size: int) -> None:
        head = self._session.expected[0] if self._session.expected else None
        if isinstance(head, Batch):
            if head.at < len(head.executions):
                head.executions[head.at].bytes_in += size
        elif isinstance(head, Execution):
            head.bytes_in += size

    # Statements

    def _admit(
        self,
        analysis: Analysis,
        index: int,
        kind: bytes,
        params: list[str] | tuple[str, ...],
        size: int,
        decision: bytes = ALLOW,
        sql: bytes = b"",
    ) -> Execution:
        """Make the execution of one statement and, unless it passes unaudited, its intent."""
        session = self._session
        statement = analysis.statements[index]
        execution = self._begin(statement, size)
        if statement.settings:
            session.unsettle(statement.settings)
        if statement.changes_objects:
            session.objects_changed()
        if execution.audited:
            self._intend(execution, kind, params, analysis.claims, decision)
        self._see(execution, decision, sql)
        session.statements += 1
        return execution

    def _begin(self, statement: Statement, size: int) -> Execution:
        execution = Execution(statement, self._now, size, not self._session.refusal)
        if self.waiting.released is not None:
            execution.started = self.waiting.released.at
            execution.held = max(0, self._now - execution.started)
        return execution

    def _see(self, execution: Execution, decision: bytes, sql: bytes = b"") -> None:
        """Look what an execution that is about to run may show; of `sql`, the text it stands in, a plan may repeat constants."""
        masking = self._session.masking
        if masking is None:
            return
        sight = masking.sight(execution.statement)
        if "search_path" in execution.statement.settings or "*" in execution.statement.settings:
            self.names.cursors.forget()  # what was prepared by name is read anew by the server
        if execution.statement.changes_objects or execution.statement.fills:
            masking.changing(execution.statement)
        if acts_by_name(execution.statement):
            sight = self._sight_by_name(execution.statement, sight, masking)
        elif sight is not None and sight.code:
            self.names.cursors.forget()
        if sight is not None:
            execution.sight = sight
            execution.strict = decision.startswith(_MASK)
            execution.hides = masking.hides(sight, execution.strict)
            if sql and execution.hides and StatementFlag.EXPLAIN in execution.statement.facts.flags:
                execution.sight = masking.saying(sight, self._session.analyser.constants(sql, self._session.lexing))

    def _sight_by_name(self, statement: Statement, sight: Any, masking: Masking) -> Any:
        """What a statement shows that declares, prepares, fetches or executes something of a name."""
        verb = statement.facts.verbs[0] if statement.facts.verbs else ""
        if verb in ("declare", "prepare"):
            self.names.cursors.declared(statement, sight, masking.known)
        elif verb in ("fetch", "move", "execute", "explain") and sight is not None and sight.by_name:
            found = self.names.cursors.of(statement, masking.known)
            if found is not UNCERTAIN:
                return found
        elif sight is not None:
            self.names.cursors.forget()
        return sight

    # What the guard stops: its event is complete at once, for nothing of it reaches the server

    def _bind_to(self, execution: Execution, judgement: Judgement | None) -> None:
        """Hold an execution that will run to what its judgement allows it while it does."""
        if judgement is not None and judgement.bounds:
            self._session.bounds.bind(execution, judgement.bounds)

    def _judge(self, statement: Statement, claims: Mapping[str, str]) -> Judgement | None:
        guard = self._session.guard
        return None if guard is None else guard.judge(statement, claims, self._now)

    def _stop(
        self, statement: Statement, judgement: Judgement, kind: bytes, params: object, claims: object, size: int
    ) -> Execution:
        """Record a statement that is stopped, or one that was sent together with it."""
        session = self._session
        execution = self._begin(statement, size)
        execution.denial = Denial(judgement.sqlstate, judgement.message, judgement.hint)
        if execution.audited:
            self._intend(execution, kind, params, claims, judgement.fragment)
        session.statements += 1
        status, sqlstate = b"denied", judgement.sqlstate
        if not judgement.stops or (judgement.holds and self.waiting.useless):
            status, sqlstate = b"not_executed", b""
        elif sqlstate == QUERY_CANCELED:
            status = b"cancelled"
        session.stopped(execution, self._now, self._actions, status, sqlstate)
        return execution

    def _stop_batch(self, analysis: Analysis, judgements: list[Judgement], kind: bytes, size: int) -> bytes:
        """Refuse a simple Query as a whole: the server would have run its statements one by one, and none of them is to run."""
        session = self._session
        denial: Denial | None = None
        for n, judgement in enumerate(judgements):
            stopped = self._stop(
                analysis.statements[n], judgement, kind, analysis.params[n], analysis.claims, 0 if n else size
            ).denial
            denial = denial or (stopped if judgement.stops else None)
        if not session.skipping:
            session.expected.append(Batch([], denial))
        return message(b"Q", REFUSED_QUERY + b"\x00")

    def _stop_parse(self, prepared: Prepared, judgement: Judgement, params: Sequence[str], size: int) -> bytes:
        """Refuse a Parse: planning what would be refused could already run functions."""
        session = self._session
        prepared.denial = self._stop(prepared.statement, judgement, b"prepared", params, prepared.claims, size).denial
        if session.expected and isinstance(entry := session.expected[-1], Parsed) and entry.prepared is prepared:
            entry.denial = prepared.denial
        return REFUSED_PARSE

    def _mistaken(self, analysis: Analysis, judgement: Judgement, kind: bytes, size: int, sql: bytes) -> Execution | None:
        """Record a stopped statement whose mistake the server is to name, by failing its text with TAIL; None: it is not one."""
        session, statement = self._session, analysis.statements[0]
        if self.waiting.settled is not None or StatementFlag.UNPARSED not in statement.facts.flags:
            return None
        mistake = session.analyser.mistake(sql, session.lexing)
        if mistake is None:
            return None
        execution = self._begin(statement, size)
        execution.denial = denial = Denial(judgement.sqlstate, judgement.message, judgement.hint)
        denial.mistake = mistake
        if execution.audited:
            self._intend(execution, kind, analysis.params[0], analysis.claims, judgement.fragment)
        session.statements += 1
        if session.skipping:
            self._never_run([execution])
        return execution

    def _intend(self, execution: Execution, kind: bytes, params: object, claims: object, decision: bytes = ALLOW) -> None:
        session = self._session
        statement = execution.statement
        if statement.long_text:
            session.observe(statement, self._actions)
        flags = statement.facts.flags
        if flags and not _COPIES.isdisjoint(flags) and _COPIES_ON_SERVER.isdisjoint(flags):
            kind = b"copy"
        dynamic = dynamic_fragment(kind, session.transaction, params, claims, decision)  # type: ignore[arg-type]
        self._actions.append(Intend(execution, execution.started, session.context, statement.fragment, dynamic))

    def _query(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        denial = session.denial() if session.refusal else None
        analysis = session.analyser.analyse(data[pos : end - 1], session.lexing)
        if not session.skipping:
            analysis = self.names.resolved(analysis, data[pos : end - 1])
        return self._run_batch(analysis, denial, end - pos + 5, data[pos : end - 1])

    def _run_batch(self, analysis: Analysis, denial: Denial | None, size: int, sql: bytes, waits: bool = True) -> bytes | None:
        session = self._session
        if self._prepared.pop(b"", None) is not None:
            self._repeats.forget()
        self._portals.pop(b"", None)
        if denial is not None:
            session.expected.append(Batch([], denial))
            return message(b"Q", REFUSED_QUERY + b"\x00")
        if session.guard is not None:
            judgements = [session.guard.judge(s, analysis.claims, self._now) for s in analysis.statements]
            if any(j.stops for j in judgements) or self.waiting.settled is not None:
                mistaken = self._mistaken(analysis, judgements[0], b"simple", size, sql)
                if mistaken is not None:
                    if not session.skipping:
                        session.expected.append(Batch([mistaken], mistaken.denial))
                    return message(b"Q", sql + TAIL + b"\x00")
                params = tuple(token for tokens in analysis.params for token in tokens)
                request = Request(analysis.statements, params, analysis.claims, b"simple", session.transaction)
                together = self.waiting.decide(request, judgements, sql, waits=waits)
                if together is None:
                    return HOLD
                judgements = together
                if any(j.stops for j in judgements):
                    return self._stop_batch(analysis, judgements, b"simple", size)
            executions = [
                self._admit(analysis, n, b"simple", analysis.params[n], 0 if n else size, j.fragment, sql)
                for n, j in enumerate(judgements)
            ]
            for execution, judgement in zip(executions, judgements, strict=True):
                self._bind_to(execution, judgement)
        elif len(analysis.statements) == 1:
            executions = [self._admit(analysis, 0, b"simple", analysis.params[0], size, sql=sql)]
        else:
            executions = [
                self._admit(analysis, n, b"simple", analysis.params[n], size if n == 0 else 0, sql=sql)
                for n in range(len(analysis.statements))
            ]
        if session.skipping:
            self._never_run(executions)
        else:
            session.expected.append(Batch(executions))
        return None

    def _never_run(self, executions: list[Execution]) -> None:
        for execution in executions:
            self._session.conclude(execution, self._now, b"not_executed", b"", 0, 0, self._actions)

    def _parse(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        name_end = _terminator(data, pos, end)
        text_end = _terminator(data, name_end + 1, end)
        name = data[pos:name_end]
        analysis = session.analyser.analyse(data[name_end + 1 : text_end], session.lexing)
        if end - text_end < 3:
            raise ClientProtocolError("Parse message ends before its parameter count")
        count: int = _OIDS.unpack_from(data, text_end + 1)[0]
        if end - (text_end + 3) != 4 * count:
            raise ClientProtocolError(f"Parse message does not hold the {count} parameter types it announces")
        oids = tuple(_LENGTH.unpack_from(data, text_end + 3 + 4 * n)[0] for n in range(count))
        if any(oid >= FIRST_OWN_OID for oid in oids):
            # Values of these types run the checks of domains, and input functions, before the statement does anything.
            made = session.analyser.with_types(analysis.statements[0], oids, session.lexing)
            if made is not analysis.statements[0]:
                analysis = Analysis((made,), analysis.params, analysis.claims)
        judgement: Judgement | None = None
        by_name = acts_by_name(analysis.statements[0])
        # What cannot be read stays so whatever its names stand for, and planning it at Bind could already run functions.
        unread = StatementFlag.UNPARSED in analysis.statements[0].facts.flags
        if session.guard is not None and (unread or not by_name):
            judgement = session.guard.judge(analysis.statements[0], analysis.claims, self._now)
            if judgement.stops and unread:
                sql = data[name_end + 1 : text_end]
                mistaken = self._mistaken(analysis, judgement, b"prepared", end - pos + 5, sql)
                if mistaken is not None:
                    prepared = Prepared(analysis.statements[0], analysis.params[0], dict(analysis.claims), oids)
                    prepared.denial = mistaken.denial
                    self.names.remember(name, prepared)
                    if not session.skipping and isinstance(entry := session.expected[-1], Parsed):
                        entry.denial = mistaken.denial
                        session.expected.append(mistaken)
                    return message(b"P", data[pos:text_end] + TAIL + data[text_end:end])
            if judgement.holds or self.waiting.settled is not None:
                held = Prepared(analysis.statements[0], analysis.params[0], dict(analysis.claims), oids)
                return self.waiting.parse_held(data, pos, end, held, judgement)
        prepared = self.names.remember(name, Prepared(analysis.statements[0], analysis.params[0], dict(analysis.claims), oids))
        prepared.lexing = session.lexing
        prepared.text = data[name_end + 1 : min(text_end, name_end + 2 + MAX_KEPT_TEXT)]
        if by_name:
            prepared.mentions = names_in(data[name_end + 1 : text_end])
        if judgement is not None and judgement.stops:
            return self._stop_parse(prepared, judgement, prepared.literals, end - pos + 5)
        if name.startswith(OWN_NAMES):
            return self._stop_parse(prepared, _OWN_NAME, prepared.literals, end - pos + 5)
        return None

    def tokens_of(self, bound: bytes, prepared: Prepared) -> list[str]:
        """Return the tokens of the values in a Bind's body."""
        name_end = _terminator(bound, _terminator(bound, 0, len(bound)) + 1, len(bound))
        return parameter_tokens(bound, name_end + 1, len(bound), prepared.oids, self._session.tokenizer)

    def parse_failed(self, entry: Parsed, now: int, actions: list[Action]) -> None:
        """The server did not accept a Parse, or skipped it: the name means what it meant before, also for what is under way.

        A client that sent Bind and Execute ahead, behind a Sync, runs the statement of before: its event gets that text, and the
        intent with the text of the Parse is one that was not executed. Failures are told in the order of their Parses.
        """
        self._repeats.forget()
        failed, before = entry.prepared, entry.before
        if before is not None and before.failed:
            before = before.instead
        failed.failed, failed.instead = True, before
        waiting, failed.waiting = failed.waiting, None
        if self._prepared.get(entry.name) is failed:
            if before is None:
                del self._prepared[entry.name]
            else:
                self._prepared[entry.name] = before
        if (before is None and not entry.name) or (before is not None and before.own_name):
            return  # the server has no statement of that name: it fails what relies on it
        self._actions, self._now = actions, now
        for execution in waiting or ():
            if not execution.done and isinstance(portal := execution.portal, Portal):
                self._reissue(execution, portal)

    def _reissue(self, execution: Execution, portal: Portal) -> None:
        session = self._session
        wrong = Execution(execution.statement, execution.started, 0, execution.audited)
        wrong.intent = execution.intent
        session.conclude(wrong, self._now, b"not_executed", b"", 0, 0, self._actions)
        prepared = self.names.actual(portal)
        if prepared.waiting is not None:
            prepared.waiting.append(execution)
        statement = portal.reading(prepared)
        if prepared.mentions is not None:
            statement = self.names.by_name(statement, prepared.mentions, prepared.text)
        if statement.settings:
            session.unsettle(statement.settings)
        if statement.changes_objects:
            session.objects_changed()
        execution.statement = statement
        self._see(execution, b"")
        if execution.audited:
            judgement = self._judge(statement, prepared.claims)
            self._bind_to(execution, judgement)
            self._intend(execution, b"prepared", portal.params, prepared.claims, judgement.fragment if judgement else ALLOW)

    def _bind(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        portal_end = _terminator(data, pos, end)
        name_end = _terminator(data, portal_end + 1, end)
        name = data[portal_end + 1 : min(name_end, portal_end + 1 + MAX_NAME)]
        prepared = self.names.own.get(name) or self._prepared.get(name)
        if prepared is not None and prepared.lexing is not None and prepared.lexing is not session.lexing:
            prepared = self.names.afresh(name, prepared)
        tokens = parameter_tokens(data, name_end + 1, end, prepared.oids if prepared else (), session.tokenizer)
        if prepared is not None and prepared.own_name:
            return self.waiting.bind_held(data, pos, portal_end, name_end, end, prepared, tokens)
        asks = prepared is not None and prepared.statement.asks_values
        if portal_end == pos and prepared is not None and prepared.waiting is None and prepared.mentions is None and not asks:
            self._repeats.learn(data, pos, name_end + 1, end, prepared)
        earlier = self._portals.get(data[pos:portal_end][:MAX_NAME]) if portal_end > pos else None
        portal = self.names.open_portal(data[pos:portal_end], prepared, tokens, end - pos + 5)
        if portal is not None and session.masking is not None:
            portal.formats = result_formats(data, name_end + 1, end)
        if portal is not None and prepared is not None and session.guard is not None:
            self._value(portal, prepared, earlier, data, name_end + 1)
        return None

    def _value(self, portal: Portal, prepared: Prepared, earlier: Portal | None, data: bytes, at: int) -> None:
        """Take down what the values of a Bind make of all that it may have bound."""
        names, statement = self.names, portal.prepared.statement
        if prepared.statement.asks_values:
            statement = names.valued(statement, prepared.text, 0, parameter_values(data, at, prepared.oids))
        if earlier is not None:
            portal.doubtful = earlier.doubtful or earlier.params != portal.params
            statement = with_dangers(statement, (d for _, s in earlier.valued for d in s.facts.dangers))
        found = [(portal.prepared, statement)] if statement is not portal.prepared.statement else []
        if prepared.waiting is not None and prepared.parsed_at != names.syncs:
            for before in names.before(prepared):
                statement = names.anew(before)
                if statement.asks_values:
                    statement = names.valued(statement, before.text, 0, parameter_values(data, at, before.oids))
                found.append((before, statement))
        portal.valued = tuple(found)

    def repeat(self, data: bytes, now: int) -> Execution | None:
        """Take Bind, Execute, Sync of the statement run last, or a Query of one plain statement, whole; return its execution.

        Its intent is the caller's to write, the bytes are the caller's to forward as they are. None: it is not that, or something
        about it needs the long way; nothing has changed then.
        """
        session = self._session
        if self._held or self._pass or session.refusal or session.skipping or session.copying_in:
            return None
        if self._streamed is not None or self.waiting.hold is not None or len(session.expected) + 4 > session.limits.pending:
            return None
        if data[0] == QUERY:
            return self._plain_query(data, now)
        tokens = self._repeats.match(data, session.tokenizer)
        if tokens is None:
            return None
        prepared = self._repeats.prepared
        assert prepared is not None
        if prepared.lexing is not session.lexing:
            return None
        statement, claims = prepared.statement, prepared.claims
        decision = self._passing(statement, claims, now)
        if not decision:
            return None
        params = [*prepared.literals, *tokens] if prepared.literals else tokens
        self._portals[b""] = portal = Portal(prepared, params, 0)
        execution = Execution(statement, now, self._repeats.end + 10, True)
        execution.portal = portal
        execution.dynamic = dynamic_fragment(b"prepared", session.transaction, params, claims, decision)
        session.statements += 1
        if self._repeats.describes:
            session.expected.extend((_BIND_ENTRY, _DESCRIBE_ENTRY, execution, _SYNC_ENTRY))
        else:
            session.expected.extend((_BIND_ENTRY, execution, _SYNC_ENTRY))
        return execution

    def _plain_query(self, data: bytes, now: int) -> Execution | None:
        session = self._session
        size = len(data)
        if size < 6 or data[-1] or size > session.limits.statement or _LENGTH.unpack_from(data, 1)[0] != size - 1:
            return None
        analysis = session.analyser.analyse(data[5:-1], session.lexing)
        if len(analysis.statements) != 1:
            return None
        statement, claims = analysis.statements[0], analysis.claims
        decision = self._passing(statement, claims, now)
        if not decision:
            return None
        if self._prepared and self._prepared.pop(b"", None) is not None:
            self._repeats.forget()
        if self._portals:
            self._portals.pop(b"", None)
        execution = Execution(statement, now, size, True)
        execution.dynamic = dynamic_fragment(b"simple", session.transaction, analysis.params[0], claims, decision)
        session.statements += 1
        session.expected.append(Batch([execution]))
        return execution

    def _passing(self, statement: Statement, claims: Mapping[str, str], now: int) -> bytes:
        """Return the decision on a plain statement that passes, unbound, and shows nothing that may be masked; else nothing."""
        session = self._session
        if not statement.plain or (session.masking is not None and session.masking.sight(statement) is not None):
            return b""
        if session.guard is None:
            return ALLOW
        judgement = session.guard.passing(statement, claims, now)
        return b"" if judgement is None or judgement.bounds else judgement.fragment

    def _execute(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        name = data[pos : _terminator(data, pos, end)]
        portal = self._portals.get(name[:MAX_NAME])
        if portal is None:
            portal = Portal(self.names.unknown(b"a portal this session does not remember"), (), 0)
        prepared = self.names.actual(portal) if portal.prepared.failed else portal.prepared
        statement = prepared.statement
        if prepared.mentions is not None and not session.skipping:
            statement = self.names.by_name(statement, prepared.mentions, prepared.text)
        else:
            statement = portal.reading(prepared)
        size = portal.bytes_in + end - pos + 5
        if session.refusal and (denial := session.denial()) is not None:
            portal.bytes_in = 0
            return self._refuse_execute(Execution(statement, self._now, size, False), denial)
        kind, decision = b"fetch" if portal.fetched else b"prepared", ALLOW
        judgement: Judgement | None = None
        if session.guard is not None:
            denial = prepared.denial or portal.denial
            if denial is not None:  # its Parse or Bind has the event
                return self._refuse_execute(Execution(statement, self._now, size, False), denial)
            granted: Granted | None = portal.granted
            if granted is not None and granted.prepared is not prepared:  # its Parse failed: this is another statement
                granted = portal.granted = None
            judgement = session.guard.judge(statement, prepared.claims, self._now, granted.approval if granted else None)
            if not session.skipping and not judgement.stops and self._may_be_another(portal, prepared):
                judgement = _ANOTHER
            elif judgement.holds and granted is None and portal.doubtful:
                judgement = _ANOTHER  # approvers would be shown values of one portal, and the other might run
            if self.waiting.settled is not None or (judgement.holds and granted is None):
                request = Request((statement,), tuple(portal.params), prepared.claims, kind, session.transaction)
                judgements = self.waiting.decide(request, [judgement])
                if judgements is None:
                    return HOLD
                judgement = judgements[0]
                if self.waiting.approval is not None and not judgement.stops:
                    portal.granted = Granted(self.waiting.approval, self.waiting.released, prepared, request.params)
            elif granted is not None and not portal.fetched:
                self.waiting.released = granted.hold
            decision = judgement.fragment
            if judgement.stops:
                portal.bytes_in = 0
                execution = self._stop(statement, judgement, kind, portal.params, prepared.claims, size)
                self.waiting.released = None
                if not session.skipping:
                    session.expected.append(execution)
                return REFUSED_PARSE
        execution = self._begin(statement, size)
        self.waiting.released = None
        execution.portal = portal
        self._bind_to(execution, judgement)
        portal.bytes_in = 0
        if statement.settings:
            session.unsettle(statement.settings)
        if statement.changes_objects:
            session.objects_changed()
        if execution.audited:
            self._intend(execution, kind, portal.params, prepared.claims, decision)
        self._see(execution, decision, prepared.text[:MAX_KEPT_TEXT])
        session.statements += 1
        if session.skipping:
            self._never_run([execution])
            return None
        asks = execution.hides and not portal.described and portal.shape(session.catalogue) is None
        if asks:
            portal.described = True
            session.expected.append(Described(None, portal, ours=True))
        session.expected.append(execution)
        if prepared.waiting is not None:
            prepared.waiting.append(execution)
        return message(b"D", b"P" + name + b"\x00") + data[pos - 5 : end] if asks else None

    def _may_be_another(self, portal: Portal, prepared: Prepared) -> bool:
        """Tell whether a portal may run what its statement's name stood for before, and that may not run."""
        guard, names = self._session.guard, self.names
        if guard is None or prepared.waiting is None or prepared.parsed_at == names.syncs:
            return False
        found = names.before(prepared)
        if len(found) > MAX_BEFORE:
            return True
        for before in found:
            statement = portal.reading(before)
            if before.mentions is not None:
                statement = names.by_name(statement, before.mentions, before.text)
            if guard.judge(statement, before.claims, self._now).stops:
                return True
        return False

    def _refuse_execute(self, execution: Execution, denial: Denial) -> bytes:
        execution.denial, execution.done = denial, True
        if not self._session.skipping:
            self._session.expected.append(execution)
        return REFUSED_PARSE

    # Everything else

    def _sync(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        self.waiting.granted = None
        self.names.syncs += 1
        if not session.copying_in:
            session.skipping = False
            session.expected.append(Simple.SYNC)
        return None

    def _flush(self, data: bytes, pos: int, end: int) -> bytes | None:
        return None

    def _describe(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        if session.skipping:
            return None
        if data[pos : pos + 1] == b"S":
            name = data[pos + 1 : _terminator(data, pos + 1, end)]
            prepared = self._prepared.get(name[:MAX_NAME])
            session.expected.append(Described(prepared))
            if prepared is not None and prepared.own_name:
                return renamed(b"D", prepared.own_name)
        elif session.masking is not None and (portal := self._portals.get(data[pos + 1 : end - 1][:MAX_NAME])) is not None:
            portal.described = True
            session.expected.append(Described(None, portal))
        else:
            session.expected.append(Simple.DESCRIBE)
        return None

    def _close(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        if session.skipping:
            return None
        name = data[pos + 1 : _terminator(data, pos + 1, end)][:MAX_NAME]
        session.expected.append(Simple.CLOSE)
        if data[pos : pos + 1] == b"S":
            closed = self._prepared.pop(name, None)
            self._repeats.forget()
            if closed is not None and closed.own_name:
                return renamed(b"C", closed.own_name)
        else:
            self._portals.pop(name, None)
        return None

    def _function_call(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        denial = session.denial()
        if denial is not None:
            session.expected.append(Batch([], denial))
            return message(b"Q", REFUSED_QUERY + b"\x00")
        oid, tokens = function_call_tokens(data[pos:end], session.tokenizer)
        analysis = session.analyser.analyse(b"SELECT function_oid_%d()" % oid, session.lexing)
        judgement: Judgement | None = None
        if session.guard is not None:
            request = Request(analysis.statements, tuple(tokens), {}, b"function", session.transaction)
            judgements = self.waiting.decide(request, [session.guard.judge(analysis.statements[0], {}, self._now)])
            if judgements is None:
                return HOLD
            judgement = judgements[0]
        if judgement is not None and judgement.stops:
            denial = self._stop(analysis.statements[0], judgement, b"function", tokens, {}, end - pos + 5).denial
            if not session.skipping:
                session.expected.append(Batch([], denial))
            return message(b"Q", REFUSED_QUERY + b"\x00")
        execution = self._begin(analysis.statements[0], end - pos + 5)
        self._bind_to(execution, judgement)
        if execution.statement.settings:
            session.unsettle(execution.statement.settings)
        if execution.statement.changes_objects:
            session.objects_changed()
        if execution.audited:
            self._intend(execution, b"function", tokens, {}, judgement.fragment if judgement else ALLOW)
        self._see(execution, judgement.fragment if judgement else ALLOW)
        session.statements += 1
        if session.skipping:
            self._never_run([execution])
        else:
            session.expected.append(Batch([execution]))
        return None

    def _copy_end(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        if session.copying_in:
            session.copying_in = False
        elif not session.skipping:
            session.expected.append(Simple.COPY_END)
        return None

    def _terminate(self, data: bytes, pos: int, end: int) -> bytes | None:
        self.terminated = True
        return None

    def transaction_ended(self) -> None:
        """Portals do not outlive their transaction."""
        if self._portals:
            self._portals.clear()
        self.names.cursors.transaction_ended()
        if self._session.masking is not None:
            self._session.masking.transaction_ended(bool(self._session.expected))

    # Messages too long to gather

    def _end_stream(self, streamed: Streamed, last: bytes) -> None:
        session = self._session
        body = streamed.prefix[5:]
        digest = streamed.digest.hexdigest()
        if streamed.kind == BIND:
            portal, _, rest = body.partition(b"\x00")
            name = rest.partition(b"\x00")[0][:MAX_NAME]
            prepared = self.names.own.get(name) or self._prepared.get(name)
            self.names.open_portal(portal, prepared, [f"bind:{digest}"], streamed.total)
        elif streamed.kind == PARSE:
            name, _, text = body.partition(b"\x00")
            analysis = session.analyser.oversize(text, streamed.total, digest, session.lexing)
            self.names.remember(name, Prepared(analysis.statements[0], analysis.params[0], dict(analysis.claims), ()))
        else:
            denial = session.denial()
            if denial is not None:
                raise ClientProtocolError(f"a statement of {streamed.total} bytes arrived while none can be recorded")
            analysis = session.analyser.oversize(body, streamed.total, digest, session.lexing)
            if self._run_batch(analysis, None, streamed.total, b"", waits=False) is not None:
                raise ClientProtocolError(f"a statement of {streamed.total} bytes, too long to be read, is denied by policy")
        self._actions.append(Forward(SERVER, last))


_OWN_NAME = Judgement(
    DENY,
    True,
    "this name of a prepared statement is kept for the proxy",
    f"Use one that does not begin with {OWN_NAMES.decode()}. It was not executed.",
)

_ANOTHER = Judgement(
    DENY,
    True,
    "what a name stands for here is not certain, and what it stood for before may not run",
    "Use another name, or wait for the answer to its Parse or Bind. It was not executed.",
)


def _terminator(data: bytes, pos: int, end: int) -> int:
    found = data.find(b"\x00", pos, end)
    if found < 0:
        raise ClientProtocolError("a name in the message is not terminated")
    return found
