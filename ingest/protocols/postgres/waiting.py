"""What waits in a session for an approval, and what of it the server may see before (`holding` says where in the protocol).

Everything from the first held message on is kept as bytes and read again when the wait ends: `Requests` reads all messages, this
decides on those that are held. It is the other half of `Requests`, apart from it only so that each can be read at once, and
so uses what that knows of names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from ingest.core.actions import Action, Forward, ObserveText, Record, Wait, Waited
from ingest.core.errors import ClientProtocolError
from ingest.core.guarding import Answer, Emergency, Hold, Judgement, Request, SessionGuard
from ingest.protocols.postgres.bounds import exceeded
from ingest.protocols.postgres.executions import DENY
from ingest.protocols.postgres.expected import Portal, Prepared
from ingest.protocols.postgres.holding import (
    HOLD,
    MORE,
    OWN_NAMES,
    Granted,
    look_ahead,
    notice,
    renamed_bind,
    renamed_parse,
)
from ingest.protocols.postgres.messages import REFUSED_PARSE
from ingest.protocols.postgres.names import MAX_NAME
from ingest.protocols.postgres.parameters import result_formats

if TYPE_CHECKING:
    from ingest.protocols.postgres.requests import Requests
    from ingest.protocols.postgres.session import PostgresSession


class Waiting:
    """The wait of one session, if there is one, and the names of what is held."""

    def __init__(self, requests: Requests, session: PostgresSession) -> None:
        self._requests = requests
        self._names = requests.names
        self._admission = requests.admission
        self._session = session
        self.hold: Hold | None = None
        """What waits; everything from its first message on is in `_behind`."""
        self._behind = bytearray()
        self._first = 0
        self.settled: tuple[Hold, Answer] | None = None
        """How the wait ended, for the message that waited, while that is read again."""
        self.approval: object = None
        """The approval of the message that is being read."""
        self.granted: Granted | None = None
        """What was approved together with its Parse, and is not bound yet."""

    def keep_first(self, data: bytes, size: int) -> None:
        """Keep what is to be read later, from the message of `size` bytes that waits."""
        self._behind += data
        self._first = size

    def keep(self, data: bytes) -> None:
        """Keep what a client sends behind what waits. Raises ClientProtocolError."""
        self._behind += data
        limits = self._session.limits
        most = 4 * (limits.behind + limits.statement + limits.bind)
        if len(self._behind) > most:
            raise ClientProtocolError(f"more than {most} bytes were sent behind a statement that waits")

    @property
    def behind(self) -> int:
        """Bytes kept back because a statement waits."""
        return len(self._behind)

    def release(self, answer: Answer, now: int, actions: list[Action]) -> None:
        """Read on from the message that waited, judged again as the answer allows. Raises ClientProtocolError."""
        hold, self.hold = self.hold, None
        assert hold is not None
        data = bytes(self._behind)
        self._behind.clear()
        self._settle(hold, answer)
        self._requests.feed(data[: self._first], now, actions)
        if self.settled is not None:  # it means something else by now, which was judged by itself
            self.settled = None
            self._close_wait(hold, Answer("cancelled", "the message that waited means something else by now"))
        self.approval = self._admission.released = None
        if len(data) > self._first:
            self._requests.feed(data[self._first :], now, actions)

    def _settle(self, hold: Hold, answer: Answer) -> None:
        self.settled = (hold, answer)  # by itself: compiled, `release` would take it for granted that this stays

    def abandon(self, reason: str, now: int, actions: list[Action]) -> None:
        """The session ends: record what became of the statement that waits, and send nothing more."""
        data = bytes(self._behind[self._first :])
        del self._behind[self._first :]
        found: list[Action] = []
        self.release(Answer("cancelled", reason), now, found)
        actions += [a for a in found if not isinstance(a, Forward)]
        if data.endswith(b"X\x00\x00\x00\x04"):
            self._requests.terminated = True

    def _wait(self, hold: Hold, request: Request, sql: bytes, bound: bytes, oids: tuple[int, ...]) -> None:
        session = self._session
        hold.context, hold.params, hold.search_path = session.context, request.params, session.lexing.search_path
        hold.sql, hold.bound, hold.oids = sql, bound, oids
        hold.seen_through = session.lexing.catalogue is not None
        hold.settings = session.reported()
        self.hold = hold
        if hold.long_text:
            self._admission.actions.append(ObserveText(hold.text_hash, hold.long_text))
        session.tell(notice(hold), self._admission.actions)
        self._admission.actions.append(Wait(hold))

    def _close_wait(self, hold: Hold, answer: Answer) -> None:
        said = {
            "approval_id": hold.approval_id,
            "status": answer.status,
            "reason": answer.reason,
            "deciders": answer.deciders,
            "held_us": max(0, self._admission.now - hold.at),
        }
        self._admission.actions.append(Waited(hold, answer.status))
        self._admission.actions.append(
            Record("ApprovalClosed", self._admission.now, hold.context + b"," + orjson.dumps(said)[1:-1])
        )

    def decide(
        self,
        request: Request,
        judgements: list[Judgement],
        sql: bytes = b"",
        bound: bytes = b"",
        oids: tuple[int, ...] = (),
        waits: bool = True,
    ) -> list[Judgement] | None:
        """Return what holds of statements that are sent together, judged as if nobody had been asked; None if they wait now.

        An approval that lets them through is `approval`.
        """
        session, guard = self._session, self._session.guard
        assert guard is not None
        self.approval = self._admission.released = None
        settled, self.settled = self.settled, None
        if settled is not None:
            return self._judge_again(*settled, request, judgements)
        held = any(j.holds for j in judgements) and all(j.holds or not j.stops for j in judgements)
        if not held or not waits or self._admission.useless:
            return judgements
        asked = guard.ask(request, judgements, self._admission.now)
        if isinstance(asked, Hold):
            self._wait(asked, request, sql, bound, oids)
            return None
        if isinstance(asked, Emergency):
            if asked.long_text:
                self._admission.actions.append(ObserveText(asked.text_hash, asked.long_text))
            self._admission.actions.append(Record("BreakGlassUsed", self._admission.now, session.context + asked.body))
            self.approval = asked.approval
            return self._judged(guard, request, asked.approval)
        for limit in asked.bounds:
            body = exceeded(session.session_id, limit, request.statements[0])
            self._admission.actions.append(Record("LimitExceeded", self._admission.now, body))
        return [asked if j.holds else j for j in judgements]

    def _judged(self, guard: SessionGuard, request: Request, approval: Any) -> list[Judgement]:
        session, now = self._session, self._admission.now
        session.alone = len(request.statements) == 1
        found = [guard.judge(s, request.claims, now, approval) for s in request.statements]
        session.alone = True
        return found

    def _judge_again(self, hold: Hold, answer: Answer, request: Request, judgements: list[Judgement]) -> list[Judgement]:
        """Judge what waited, with what came of it; say that the wait is over."""
        guard = self._session.guard
        assert guard is not None
        self._admission.released = hold
        if answer.approval is not None:
            if differs := guard.differs(hold, request.statements):
                self._close_wait(hold, Answer("denied", differs, answer.deciders))
                answer = Answer("denied", differs)  # nobody did: those who decided approved something else
            else:
                found = self._judged(guard, request, answer.approval)
                stopped = next((j for j in found if j.stops), None)
                if stopped is None:
                    self.approval = answer.approval
                    self._close_wait(hold, answer)
                else:
                    self._close_wait(hold, Answer("denied", stopped.message, answer.deciders))
                return found
        else:
            self._close_wait(hold, answer)
        stops = any(j.stops for j in judgements)
        return [guard.unreleased(hold, answer, j) if j.holds or not stops else j for j in judgements]

    def parse_held(self, data: bytes, pos: int, end: int, prepared: Prepared, judgement: Judgement) -> bytes:
        """A Parse of what is held: it waits for what its Bind would run, or goes to the server under a name of ours alone."""
        session = self._session
        name_end = data.index(0, pos)
        name, size = data[pos:name_end], end - pos + 5
        prepared.text = data[name_end + 1 : data.index(0, name_end + 1)]
        params: tuple[str, ...] = prepared.literals
        if self.settled is not None or not session.skipping:
            bound = b""
            if self.settled is not None:
                params = self.settled[0].params
                ahead = True
            else:
                found = look_ahead(data, end, name[:MAX_NAME], session.limits.bind)
                if found.need and found.need - pos + 5 <= session.limits.statement + session.limits.bind:
                    self._requests._need = found.need - (pos - 5)
                    return MORE
                ahead = bool(found.end)
                if ahead:
                    bound = data[found.start : found.end]
                    params = (*params, *self._requests.tokens_of(bound, prepared))
            if ahead:
                request = Request((prepared.statement,), params, prepared.claims, b"prepared", session.transaction)
                judgements = self.decide(request, [judgement], prepared.text, bound, prepared.oids)
                if judgements is None:
                    return HOLD
                self._names.remember(name, prepared)
                if judgements[0].stops:
                    return self._admission.stop_parse(prepared, judgements[0], params, size)
                self.granted = Granted(self.approval, self._admission.released, prepared, params)
                return self._under_own_name(prepared, data[name_end:end])
        if session.skipping:  # it is ignored, and must be even if we are mistaken
            return REFUSED_PARSE
        self._names.remember(name, prepared)
        if len(self._names.own) >= session.limits.held_prepared:
            return self._admission.stop_parse(prepared, _TOO_MANY, params, size)
        return self._under_own_name(prepared, data[name_end:end])

    def _under_own_name(self, prepared: Prepared, rest: bytes) -> bytes:
        prepared.own_name = OWN_NAMES + b"%d" % len(self._names.own)
        self._names.own[prepared.own_name] = prepared
        return renamed_parse(prepared.own_name, rest)

    def bind_held(
        self, data: bytes, pos: int, portal_end: int, name_end: int, end: int, prepared: Prepared, tokens: list[str]
    ) -> bytes:
        """A Bind of what is held: it waits, unless it was approved with its Parse; planning it could already run functions."""
        session = self._session
        portal_name, params = data[pos:portal_end], (*prepared.literals, *tokens)
        granted, self.granted = self.granted, None
        if session.skipping and self.settled is None:
            return renamed_bind(portal_name, prepared.own_name, data[name_end:end])
        if granted is None or granted.prepared is not prepared or granted.params != params:
            assert session.guard is not None
            self._look_afresh(prepared)
            judgement = session.guard.judge(prepared.statement, prepared.claims, self._admission.now)
            request = Request((prepared.statement,), params, prepared.claims, b"prepared", session.transaction)
            judgements = self.decide(request, [judgement], prepared.text, data[pos:end], prepared.oids)
            if judgements is None:
                return HOLD
            if judgements[0].stops:
                stopped = self._admission.stop(
                    prepared.statement, judgements[0], b"prepared", params, prepared.claims, end - pos + 5
                )
                if not session.skipping:
                    session.expected.append(stopped)
                    self._names.portals[portal_name[:MAX_NAME]] = portal = Portal(prepared, params, 0)
                    portal.denial = stopped.denial
                return REFUSED_PARSE
            granted = Granted(self.approval, self._admission.released, prepared, params)
        opened = self._names.open_portal(portal_name, prepared, tokens, end - pos + 5)
        if opened is not None and session.masking is not None:
            opened.formats = result_formats(data, name_end + 1, end)
        if opened is not None and opened.prepared is prepared and granted.approval is not None:
            opened.granted = granted
        return renamed_bind(portal_name, prepared.own_name, data[name_end:end])

    def _look_afresh(self, prepared: Prepared) -> None:
        """Read a statement again that was prepared a while ago: a view it uses may be another by now, and the search_path."""
        found = self._session.analyser.analyse(prepared.text, self._session.lexing).statements
        if len(found) == 1 and found[0].text_hash == prepared.statement.text_hash:
            prepared.statement = found[0]


_TOO_MANY = Judgement(
    DENY,
    True,
    "too many prepared statements of this session need approvals",
    "It was not executed. Connect anew, or send it unprepared.",
)
