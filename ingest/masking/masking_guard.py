"""A session's guard where results are masked: it refuses what masking cannot follow, after all that policy says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ingest.core.guarding import Answer, Emergency, Hold, Judgement, Request, SessionGuard
from ingest.masking.session import SessionMasking
from processors.statements import Statement
from schemas.events import Decision, Verdict

RULE = "masking"
"""What decisions name where masking itself refuses a statement."""


class MaskingGuard(SessionGuard):
    """A guard that also refuses what masking cannot follow (`ingest.core.guarding.SessionGuard`)."""

    def __init__(self, inner: SessionGuard | None, masking: SessionMasking, session_id: str) -> None:
        self._inner = inner
        self._masking = masking
        self._session_id = session_id
        self._refused = 0

    def judge(self, statement: Statement, claims: Mapping[str, str], now: int, approval: Any = None) -> Judgement:
        """Decide on a statement; see `SessionGuard`."""
        judgement = self._inner.judge(statement, claims, now, approval) if self._inner is not None else ALLOWED
        if judgement.stops:
            return judgement
        try:
            reason = self._masking.refusal(statement)
        except Exception as error:  # whatever goes wrong in deciding stops the statement
            reason = f"What it shows could not be judged ({type(error).__name__}), so it was stopped."
        if not reason:
            return judgement
        self._refused += 1
        request = f"Request {self._session_id}/m{self._refused}."
        return Judgement(_DENIED, True, f"statement denied by {RULE}", f"{reason} {request}")

    def passing(self, statement: Statement, claims: Mapping[str, str], now: int) -> Judgement | None:
        """Decide on a statement if it passes; see `SessionGuard`. It has no sight, and so no refusal of masking's."""
        return self._inner.passing(statement, claims, now) if self._inner is not None else ALLOWED

    def ask(self, request: Request, judgements: Sequence[Judgement], now: int) -> Hold | Emergency | Judgement:
        """Say how a request that is held waits; see `SessionGuard`."""
        return self._inner.ask(request, judgements, now) if self._inner is not None else judgements[0]

    def differs(self, hold: Hold, statements: Sequence[Statement]) -> str:
        """Return how statements about to be released are not what was asked; see `SessionGuard`."""
        return self._inner.differs(hold, statements) if self._inner is not None else "nobody was asked"

    def unreleased(self, hold: Hold, answer: Answer, judgement: Judgement) -> Judgement:
        """Return what is said of a held statement that is not let through; see `SessionGuard`."""
        return self._inner.unreleased(hold, answer, judgement) if self._inner is not None else judgement

    def lapsed(self, grant: str, now: int) -> bool:
        """Whether a grant is not in force any more; see `SessionGuard`."""
        return self._inner.lapsed(grant, now) if self._inner is not None else True


ALLOWED = Judgement(orjson.dumps(Decision()), False)
_DENIED = orjson.dumps(Decision(verdict=Verdict.DENY, policies=(RULE,), risk=70))
