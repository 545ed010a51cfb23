"""Taking a decision down: may this person decide on this request, now; and if so, record it and tell the proxies.

`schemas.approvals` has the rules; the proxy that holds the statement applies them again. What stands already is read from the
control topic, not from the store: the store is a second behind, and of two who decide at once both must see the other. One thread
at a time, so within a process nobody decides twice. Where several processes take decisions, each person's message replaces only
their own, and the proxy counts people.

The trail first: a decision that was recorded and could not be told is answered with an error and may be made again; one that was
told is on record.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from query_api.identity import Clock
from query_api.problems import ProblemError
from query_api.store.approvals import Asked, State
from schemas.approvals import Decider, objection, same_binding, same_person, standing, untimely
from schemas.control import ApprovalDecided
from schemas.events import ApprovalChannel, BreakGlassUsed, Principal, PrincipalKind

MAX_REASON = 1000
"""Characters of a reason: it stands in events and on the topic, and people read it."""


class Ballot(Protocol):
    """Where decisions are kept and told; `deploy` wires it. Called in threads, one at a time."""

    def said(self, approval_id: str) -> Sequence[ApprovalDecided]:
        """Return what the control topic says about a request, oldest first. Raises if the topic cannot be read now."""

    def suspended(self, who: Principal) -> str:
        """Return whose suspension bars somebody, as far as was read by the last `said`; empty if nobody's."""

    def record(self, event: Mapping[str, object]) -> None:
        """Write the members of an `ApprovalDecided` event, durably. Raises if it cannot."""

    def tell(self, message: ApprovalDecided) -> None:
        """Tell the proxies. Raises if it is not certain that they will hear it."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was taken down: the decider is the `nth` of `needed`, both 0 for a denial. `settled`: nothing more is needed.

    `review`: of a use of break-glass that was over already.
    """

    approved: bool
    nth: int
    needed: int
    settled: bool
    review: bool = False


class Approving:
    """Takes decisions down. Thread-safe."""

    def __init__(self, ballot: Ballot, clock: Clock) -> None:
        self._ballot, self._clock = ballot, clock
        self._lock = threading.Lock()

    def decide(
        self, asked: Asked, who: Principal, approved: bool, reason: str, channel: ApprovalChannel, address: str = ""
    ) -> Decided:
        """Take one decision down. Raises ProblemError: forbidden, conflict, bad-request, not-recorded, not-told."""
        reason = " ".join(reason.split())
        if not approved and not reason:
            raise ProblemError("bad-request", "Say why: the one who asked reads the reason of a denial.", parameter="reason")
        if len(reason) > MAX_REASON:
            raise ProblemError("bad-request", f"A reason has at most {MAX_REASON} characters.", parameter="reason")
        if not asked.binding:
            raise ProblemError("conflict", "What was asked cannot be read as it was published, so nobody can decide on it here.")
        decider = Decider.of(who)
        if why := objection(asked.rules, decider):
            raise ProblemError("forbidden", f"{who.id} may not decide on this: {why}.")
        with self._lock:
            try:
                said = [m for m in self._ballot.said(asked.approval_id) if same_binding(m.binding, asked.binding)]
                # Who was suspended since does not count any more, at the proxy neither.
                said = [m for m in said if not self._ballot.suspended(Principal(id=m.principal, kind=PrincipalKind.HUMAN))]
            except Exception as error:
                raise ProblemError("not-told", "The control topic cannot be read now; nothing was decided.") from error
            if by := self._ballot.suspended(who):
                raise ProblemError("forbidden", f"{by} is suspended.")
            if isinstance(asked.event, BreakGlassUsed):
                return self._review(asked, who, approved, reason, channel, address)
            now = self._clock()
            self._refuse_late(asked, decider, said, now)
            votes = [(Decider.who_said(m), m.approved, m.reason) for m in said]
            after = standing(asked.rules, [*votes, (decider, approved, reason)])
            nth = len(after.deciders) if approved else 0
            needed = nth + max((need.count for need in after.missing), default=0) if approved else 0
            self._record(asked, who, approved, reason, channel, address, nth=nth, needed=needed)
            message = ApprovalDecided(
                at=now,
                actor=who.id,
                expires_at=asked.rules.expires_at,
                approval_id=asked.approval_id,
                approved=approved,
                binding=asked.binding,
                reason=reason,
                principal=decider.id,
                kind=decider.kind,
                groups=decider.groups,
                acts_for=decider.acts_for,
                channel=str(channel),
            )
            try:
                self._ballot.tell(message)
            except Exception as error:
                told = "The decision is on record, but it is not certain that the proxies hear of it. Make it again."
                raise ProblemError("not-told", told, headers={"Retry-After": "5"}) from error
            return Decided(approved, nth, needed, after.decided is not None)

    def _refuse_late(self, asked: Asked, decider: Decider, said: Sequence[ApprovalDecided], now: int) -> None:
        if why := untimely(asked.rules, now, now):
            raise ProblemError("conflict", f"This request is not open any more: {why}.", state=str(asked.state))
        if asked.state is not State.OPEN:
            raise ProblemError("conflict", f"This request is not open any more: it is {asked.state}.", state=str(asked.state))
        mine = [m for m in said if same_person(m.principal, decider.id)]
        if mine:
            verb = "approved" if mine[-1].approved else "denied"
            raise ProblemError("conflict", f"{mine[-1].principal} {verb} this already; a decision is made once.")
        stands = standing(asked.rules, [(Decider.who_said(m), m.approved, m.reason) for m in said])
        if stands.decided is not None:
            by = ", ".join(d.id for d in stands.deciders)
            word = "approved" if stands.decided else "denied"
            raise ProblemError("conflict", f"This request was {word} by {by} already.", state=word)

    def _review(self, asked: Asked, who: Principal, right: bool, reason: str, channel: ApprovalChannel, address: str) -> Decided:
        if asked.state is State.REVIEWED and any(s["step"] == "reviewed" and s["who"] == who.id for s in asked.steps):
            raise ProblemError("conflict", f"{who.id} reviewed this already.", state=str(asked.state))
        self._record(asked, who, right, reason, channel, address, review=True)
        return Decided(right, 0, 0, True, review=True)

    def _record(
        self,
        asked: Asked,
        who: Principal,
        approved: bool,
        reason: str,
        channel: ApprovalChannel,
        address: str,
        nth: int = 0,
        needed: int = 0,
        review: bool = False,
    ) -> None:
        event = {
            "approval_id": asked.approval_id,
            "binding": asked.binding,
            "decider": asdict(who),
            "approved": approved,
            "reason": reason,
            "channel": str(channel),
            "nth": nth,
            "needed": needed,
            "review": review,
            "address": address,
        }
        try:
            self._ballot.record(event)
        except Exception as error:
            raise ProblemError("not-recorded", "Decisions are recorded first, and recording this one failed.") from error
