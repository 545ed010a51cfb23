"""How many requests for approval may somebody raise? So many open at a time, so many in an hour: nobody floods approvers.

People who are asked too often approve without looking. Counted is who asks; of those who act for somebody, all that act for
the same person count together, so that more agents are not more requests. One worker counts for itself, and forgets at its end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ingest.core.guarding import Bound
from schemas.events import Principal

HOUR = 3_600_000_000
MAX_ASKERS = 10_000
"""Different askers counted; past it those with nothing in the last hour are dropped, then the one that asked first."""

MAX_OPEN = "approvals.max_open"
MAX_HOURLY = "approvals.max_hourly"
_WAIT = "Wait until some of them are decided, or cancel them; ask for one thing at a time."
_LATER = "Try again later, or ask for a grant (affidavit grant) if it is needed that often."


@dataclass(slots=True)
class _Asker:
    open: dict[str, int] = field(default_factory=dict)
    """Request ids, and until when (µs) each is open at most."""
    raised: deque[int] = field(default_factory=deque)


class Allowance:
    """The requests of one worker. Times are µs."""

    def __init__(self, max_open: int, max_hourly: int) -> None:
        self._max_open, self._max_hourly = max_open, max_hourly
        self._askers: dict[str, _Asker] = {}
        self._of: dict[str, _Asker] = {}

    def exceeded(self, principal: Principal, now: int) -> Bound | None:
        """Return which limit another request would exceed, with what to do about it; None if it may be raised."""
        asker = self._askers.get(_name(principal))
        if asker is None:
            return None
        self._look(asker, now)
        if len(asker.open) >= self._max_open:
            return Bound("requests", self._max_open, MAX_OPEN, _WAIT)
        if len(asker.raised) >= self._max_hourly:
            return Bound("requests_hourly", self._max_hourly, MAX_HOURLY, _LATER)
        return None

    def raised(self, principal: Principal, approval_id: str, now: int, expires_at: int) -> None:
        """Count a request."""
        name = _name(principal)
        if name not in self._askers and len(self._askers) >= MAX_ASKERS:
            self._forget(now)
        asker = self._askers.setdefault(name, _Asker())
        asker.open[approval_id] = expires_at
        asker.raised.append(now)
        self._of[approval_id] = asker

    def ended(self, approval_id: str) -> None:
        """A request is not open any more; one that is not known is no concern."""
        asker = self._of.pop(approval_id, None)
        if asker is not None:
            asker.open.pop(approval_id, None)

    def _look(self, asker: _Asker, now: int) -> None:
        """Drop what is over, and what a clock that was wrong left in the future."""
        for approval_id in [i for i, until in asker.open.items() if now >= until]:
            self.ended(approval_id)
        while asker.raised and not now - HOUR < asker.raised[0] <= now:
            asker.raised.popleft()

    def _forget(self, now: int) -> None:
        for name, asker in list(self._askers.items()):
            self._look(asker, now)
            if not asker.open and not asker.raised:
                del self._askers[name]
        while len(self._askers) >= MAX_ASKERS:
            first = next(iter(self._askers))
            for approval_id in list(self._askers.pop(first).open):
                self._of.pop(approval_id, None)


def _name(principal: Principal) -> str:
    return f"for {principal.on_behalf_of}" if principal.on_behalf_of else f"by {principal.id}"
