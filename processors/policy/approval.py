"""What lets a held statement run: the people who approved it, or an emergency. A rule that holds is satisfied by it or not.

The people were counted before (`schemas.approvals.standing`), for the rules that held at the time. Here each rule that holds now
is asked again, for the bundle may have changed while the statement waited.
"""

from __future__ import annotations

from dataclasses import dataclass

from processors.policy.bundle import Approvers
from schemas.approvals import Decider


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval in the context of a decision. With `break_glass` nobody approved: `groups` are those of who runs it."""

    approval_id: str
    deciders: tuple[Decider, ...] = ()
    reason: str = ""
    waited_us: int = 0
    break_glass: bool = False
    groups: tuple[str, ...] = ()

    def satisfies(self, asked: Approvers) -> bool:
        """Whether it is what a rule asks for."""
        if self.break_glass:
            return not set(self.groups).isdisjoint(asked.break_glass)
        return sum(1 for d in self.deciders if not set(d.groups).isdisjoint(asked.groups)) >= asked.count
