"""The client half of a session: what each frontend message will cause, written ahead, and the bytes passed on.

`framing` cuts the messages out of the stream, `names` knows what they refer to, `admission` makes of a statement what is to run
or to fail, `waiting` keeps back what is held and all that follows it.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from ingest.core.actions import Action, Forward
from ingest.core.errors import ClientProtocolError
from ingest.core.guarding import Judgement, Request, SessionGuard
from ingest.protocols.postgres.admission import Admission
from ingest.protocols.postgres.byname import acts_by_name, names_in
from ingest.protocols.postgres.executions import DENY, Denial, Execution, dynamic_fragment
from ingest.protocols.postgres.expected import Batch, Described, Parsed, Portal, Prepared, Simple
from ingest.protocols.postgres.framing import BIND, EXECUTE, PARSE, QUERY, SERVER, SYNC, Framing, Streamed, length_at
from ingest.protocols.postgres.holding import HOLD, OWN_NAMES, Granted, renamed
from ingest.protocols.postgres.messages import REFUSED_PARSE, REFUSED_QUERY, message
from ingest.protocols.postgres.mistaken import TAIL
from ingest.protocols.postgres.names import MAX_KEPT_TEXT, MAX_NAME, Names
from ingest.protocols.postgres.parameters import function_call_tokens, parameter_tokens, result_formats
from ingest.protocols.postgres.repeats import Repeats
from ingest.protocols.postgres.waiting import Waiting
from processors.statements import Analysis
from processors.statements.catalogue import FIRST_OWN_OID
from schemas.events import Danger, StatementFlag

if TYPE_CHECKING:
    from ingest.protocols.postgres.session import PostgresSession

_BIND_ENTRY: Final = Simple.BIND
_DESCRIBE_ENTRY: Final = Simple.DESCRIBE
_SYNC_ENTRY: Final = Simple.SYNC
_LENGTH: Final = Struct(">I")
_OIDS: Final = Struct(">H")
_FLUSH_MESSAGE = b"H\x00\x00\x00\x04"


class Requests(Framing):
    """Parses frontend messages of one session; fed any cut of the stream."""

    def __init__(self, session: PostgresSession) -> None:
        super().__init__(session)
        self.names = Names(session)
        # Of the names, what each message needs, by itself: read as typed fields where this is compiled.
        self._prepared: dict[bytes, Prepared] = self.names.prepared
        self._portals: dict[bytes, Portal] = self.names.portals
        self._repeats: Repeats = self.names.repeats
        self._copying = session.copying
        self.terminated = False
        self.admission = Admission(session, self.names)
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
        self.admission.now, self.admission.actions = now, actions
        if self.waiting.hold is not None:
            self.waiting.keep(data)
        else:
            self.read(data, actions)

    def _keep_back(self, data: bytes, pos: int, end: int) -> None:
        expected = self._session.expected
        if expected and expected[-1] is not _SYNC_ENTRY and type(expected[-1]) is not Batch:
            # What came before it must not wait in the server's buffer for a Sync that is kept back here.
            self.admission.actions.append(Forward(SERVER, _FLUSH_MESSAGE))
        self.waiting.keep_first(data[pos:], end - pos)

    def _query(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        denial = session.denial() if session.refusal else None
        analysis = session.analyser.analyse(data[pos : end - 1], session.lexing)
        if not session.skipping:
            analysis = self.names.resolved(analysis, data[pos : end - 1])
        return self._run_batch(analysis, denial, end - pos + 5, data[pos : end - 1])

    def _run_batch(self, analysis: Analysis, denial: Denial | None, size: int, sql: bytes, waits: bool = True) -> bytes | None:
        session, admission = self._session, self.admission
        if self._prepared.pop(b"", None) is not None:
            self._repeats.forget()
        self._portals.pop(b"", None)
        if denial is not None:
            session.expected.append(Batch([], denial))
            return message(b"Q", REFUSED_QUERY + b"\x00")
        judgements: list[Judgement] | None = None
        if session.guard is not None:
            session.alone = len(analysis.statements) == 1
            judgements = [session.guard.judge(s, analysis.claims, admission.now) for s in analysis.statements]
            session.alone = True
            if any(j.stops for j in judgements) or self.waiting.settled is not None:
                if self.waiting.settled is None and (
                    mistaken := admission.mistaken(analysis, judgements[0], b"simple", size, sql)
                ):
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
                    return admission.stop_batch(analysis, judgements, size)
        executions = [
            admission.admit(
                statement,
                b"simple",
                analysis.params[n],
                analysis.claims,
                0 if n else size,
                None if judgements is None else judgements[n],
                sql,
            )
            for n, statement in enumerate(analysis.statements)
        ]
        if session.skipping:
            admission.skipped(executions)
        else:
            session.expected.append(Batch(executions))
        return None

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
        prepared = Prepared(analysis.statements[0], analysis.params[0], dict(analysis.claims), oids)
        judgement: Judgement | None = None
        by_name = acts_by_name(analysis.statements[0])
        # What cannot be read stays so whatever its names stand for, and planning it at Bind could already run functions.
        unread = StatementFlag.UNPARSED in analysis.statements[0].facts.flags
        if session.guard is not None and (unread or not by_name):
            judgement = session.guard.judge(analysis.statements[0], analysis.claims, self.admission.now)
            if judgement.stops and unread and self.waiting.settled is None:
                sql = data[name_end + 1 : text_end]
                mistaken = self.admission.mistaken(analysis, judgement, b"prepared", end - pos + 5, sql)
                if mistaken is not None:
                    prepared.denial = mistaken.denial
                    self.names.remember(name, prepared)
                    if not session.skipping and isinstance(entry := session.expected[-1], Parsed):
                        entry.denial = mistaken.denial
                        session.expected.append(mistaken)
                    return message(b"P", data[pos:text_end] + TAIL + data[text_end:end])
            if judgement.holds or self.waiting.settled is not None:
                return self.waiting.parse_held(data, pos, end, prepared, judgement)
        self.names.remember(name, prepared)
        prepared.lexing = session.lexing
        prepared.text = data[name_end + 1 : min(text_end, name_end + 2 + MAX_KEPT_TEXT)]
        if by_name:
            prepared.mentions = names_in(data[name_end + 1 : text_end])
        if judgement is not None and judgement.stops:
            return self.admission.stop_parse(prepared, judgement, prepared.literals, end - pos + 5)
        if name.startswith(OWN_NAMES):
            return self.admission.stop_parse(prepared, _OWN_NAME, prepared.literals, end - pos + 5)
        return None

    def tokens_of(self, bound: bytes, prepared: Prepared) -> list[str]:
        """Return the tokens of the values in a Bind's body."""
        name_end = _terminator(bound, _terminator(bound, 0, len(bound)) + 1, len(bound))
        return parameter_tokens(bound, name_end + 1, len(bound), prepared.oids, self._session.tokenizer)

    def parse_failed(self, entry: Parsed, now: int, actions: list[Action]) -> None:
        """The server did not accept a Parse, or skipped it. Failures are told in the order of their Parses."""
        self.admission.now, self.admission.actions = now, actions
        for execution in self.names.parse_failed(entry):
            if not execution.done and isinstance(portal := execution.portal, Portal):
                self.admission.reissue(execution, portal)

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
            self.names.bound(portal, prepared, earlier, data, name_end + 1)
            if portal.valued and Danger.RESOURCE_EXHAUSTION in portal.valued[0][1].facts.dangers:
                return self._bound_too_much(portal, prepared, session.guard, end - pos + 5)
        return None

    def _bound_too_much(self, portal: Portal, prepared: Prepared, guard: SessionGuard, size: int) -> bytes | None:
        """Refuse a Bind whose values make too much: planning it computes what depends on no row (`repeat('x', $1)`)."""
        statement = portal.valued[0][1]
        judgement = guard.judge(statement, prepared.claims, self.admission.now)
        if not judgement.stops or judgement.holds:
            return None
        stopped = self.admission.stop(statement, judgement, b"prepared", portal.params, prepared.claims, size)
        self._session.expected[-1] = stopped  # where its BindComplete was expected
        portal.denial = stopped.denial
        return REFUSED_PARSE

    def repeat(self, data: bytes, now: int) -> Execution | None:
        """Take Bind, Execute, Sync of the statement run last, or a Query of one plain statement, whole; return its execution.

        Its intent is the caller's to write, the bytes are the caller's to forward as they are. None: it is not that, or something
        about it needs the long way; nothing has changed then.
        """
        session = self._session
        if self._held or self._pass or session.refusal or session.skipping or self._copying.reading:
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
        decision = self.admission.passing(statement, claims, now)
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
        if size < 6 or data[-1] or size > session.limits.statement or length_at(data, 1) != size - 1:
            return None
        analysis = session.analyser.analyse(data[5:-1], session.lexing)
        if len(analysis.statements) != 1:
            return None
        statement, claims = analysis.statements[0], analysis.claims
        decision = self.admission.passing(statement, claims, now)
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

    def _execute(self, data: bytes, pos: int, end: int) -> bytes | None:
        session, admission = self._session, self.admission
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
            return admission.refuse_execute(statement, denial, size)
        kind = b"fetch" if portal.fetched else b"prepared"
        judgement: Judgement | None = None
        if session.guard is not None:
            denial = prepared.denial or portal.denial
            if denial is not None:  # its Parse or Bind has the event
                return admission.refuse_execute(statement, denial, size)
            granted: Granted | None = portal.granted
            if granted is not None and granted.prepared is not prepared:  # its Parse failed: this is another statement
                granted = portal.granted = None
            judgement = session.guard.judge(statement, prepared.claims, admission.now, granted.approval if granted else None)
            if not session.skipping and not judgement.stops and admission.may_be_another(portal, prepared):
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
                    portal.granted = Granted(self.waiting.approval, admission.released, prepared, request.params)
            elif granted is not None and not portal.fetched:
                admission.released = granted.hold
            if judgement.stops:
                portal.bytes_in = 0
                execution = admission.stop(statement, judgement, kind, portal.params, prepared.claims, size)
                admission.released = None
                if not session.skipping:
                    session.expected.append(execution)
                return REFUSED_PARSE
        sql = prepared.text[:MAX_KEPT_TEXT]
        execution = admission.admit(statement, kind, portal.params, prepared.claims, size, judgement, sql)
        admission.released = None
        execution.portal = portal
        portal.bytes_in = 0
        if session.skipping:
            admission.skipped([execution])
            return None
        asks = execution.hides and not portal.described and portal.shape(session.catalogue) is None
        if asks:
            portal.described = True
            session.expected.append(Described(None, portal, ours=True))
        session.expected.append(execution)
        if prepared.waiting is not None:
            prepared.waiting.append(execution)
        return message(b"D", b"P" + name + b"\x00") + data[pos - 5 : end] if asks else None

    # Everything else

    def _sync(self, data: bytes, pos: int, end: int) -> bytes | None:
        session = self._session
        self.waiting.granted = None
        self.names.syncs += 1
        if not self._copying.reading:
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
        session, admission = self._session, self.admission
        denial = session.denial()
        if denial is not None:
            session.expected.append(Batch([], denial))
            return message(b"Q", REFUSED_QUERY + b"\x00")
        oid, tokens = function_call_tokens(data[pos:end], session.tokenizer)
        statement = session.analyser.analyse(b"SELECT function_oid_%d()" % oid, session.lexing).statements[0]
        judgement: Judgement | None = None
        if session.guard is not None:
            request = Request((statement,), tuple(tokens), {}, b"function", session.transaction)
            judgements = self.waiting.decide(request, [session.guard.judge(statement, {}, admission.now)])
            if judgements is None:
                return HOLD
            judgement = judgements[0]
        if judgement is not None and judgement.stops:
            denial = admission.stop(statement, judgement, b"function", tokens, {}, end - pos + 5).denial
            if not session.skipping:
                session.expected.append(Batch([], denial))
            return message(b"Q", REFUSED_QUERY + b"\x00")
        execution = admission.admit(statement, b"function", tokens, {}, end - pos + 5, judgement)
        if session.skipping:
            admission.skipped([execution])
        else:
            session.expected.append(Batch([execution]))
        return None

    def _copy_end(self, data: bytes, pos: int, end: int) -> bytes | None:
        self._copying.sent(self._session.skipping)
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
        self.admission.actions.append(Forward(SERVER, last))


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
