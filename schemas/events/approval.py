"""Events of approvals: a statement waits for people; they decide; its wait ends. Or somebody breaks the glass and does not wait.

    ApprovalRequested   by the proxy, when the statement begins to wait: one for each request
    ApprovalDecided     by whoever took a decision down: one for each person that decided
    ApprovalClosed      by the proxy, when the wait is over, whatever ended it; after a crash by its next start
    BreakGlassUsed      by the proxy, instead of a request; reviewed afterwards: ApprovalDecided with `review`

All of one request carry its `approval_id`, and so does the decision of the QueryExecuted that it became. `schemas.approvals` says
who may decide and what a decision is bound to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from schemas.events.base import Client, Database, Event, Principal
from schemas.events.statement import ExecutionKind, Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproversNeeded:
    """What one rule asks for: `count` different people, each in one of `groups`. All rules that hold must be satisfied."""

    rule: str
    groups: tuple[str, ...]
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """How many rows the statement's condition met when it was asked for, counted without running it; only if `known`.

    Counting ends at `rows` if there are `more`. `absent` says why nothing was counted.
    """

    known: bool = False
    rows: int = 0
    more: bool = False
    absent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the database's planner expects, from EXPLAIN; `rows` and `cost` mean something only if `known`.

    `rows` are those the statement returns or, where it changes rows, those it would change. `absent` says why nothing is known.
    `dry_run` is no expectation, but what is there.
    """

    known: bool = False
    rows: int = 0
    cost: int = 0
    absent: str = ""
    dry_run: DryRun = field(default_factory=DryRun)


class ApprovalStatus(StrEnum):
    """How a wait ended. `approved`: it was released to the database; whether it then succeeded stands in its QueryExecuted.

    `cancelled`: by the client, or because its session ended. `lost`: the proxy died; nothing was executed.
    """

    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LOST = "lost"


class ApprovalChannel(StrEnum):
    """By which way somebody decided."""

    CLI = "cli"
    API = "api"
    UI = "ui"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequested(Event):
    """A statement waits. `at` is since when, `expires_at` until when at most (µs).

    A simple query of several `statements` waits as a whole: `text` is theirs joined by "; ", `params` those of all in order,
    `facts` what any of them does. `text` is empty where it is longer than `MAX_INLINE_TEXT`: `text_hash` names its
    `TextObserved`. `rule` and `reason` are of the first rule that holds, `needs` what all of them ask for; `policies`, `bundle`
    and `risk` are of the decision. `break_glass` are the groups that could have run it at once. `binding` is
    `schemas.approvals.binding_of` this event. `data_classes` are those of what it touches, complete only if `classes_known`.
    """

    approval_id: str
    session_id: str
    principal: Principal
    database: Database
    db_user: str
    client: Client
    kind: ExecutionKind
    transaction: str
    statements: int
    text: str
    text_hash: str
    fingerprint: str
    params: tuple[str, ...]
    claims: dict[str, str]
    facts: Facts
    data_classes: tuple[str, ...]
    classes_known: bool
    rule: str
    reason: str
    policies: tuple[str, ...]
    bundle: str
    risk: int
    needs: tuple[ApproversNeeded, ...]
    binding: str
    expires_at: int
    estimate: Estimate = field(default_factory=Estimate)
    break_glass: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided(Event):
    """Somebody approved or denied, or (`review`) looked at a use of break-glass afterwards and found it right or not.

    `binding` is what was shown to them. `nth` of `needed` approvals as far as whoever took it down knew; both 0 for a denial.
    """

    approval_id: str
    binding: str
    decider: Principal
    approved: bool
    reason: str
    channel: ApprovalChannel
    nth: int = 0
    needed: int = 0
    review: bool = False
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalClosed(Event):
    """The wait is over. `deciders` are those whose decisions the proxy took; `reason` is theirs, or why nobody's was needed."""

    approval_id: str
    session_id: str
    principal: Principal
    database: Database
    db_user: str
    client: Client
    status: ApprovalStatus
    reason: str = ""
    deciders: tuple[str, ...] = ()
    held_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassUsed(Event):
    """A statement that had to wait was run at once, by somebody who may in an emergency. Risk 100; to be reviewed afterwards.

    `justification` is the client's own reason; `groups` are those that allowed it. The rest is as in ApprovalRequested.
    """

    approval_id: str
    session_id: str
    principal: Principal
    database: Database
    db_user: str
    client: Client
    justification: str
    groups: tuple[str, ...]
    kind: ExecutionKind
    statements: int
    text: str
    text_hash: str
    fingerprint: str
    params: tuple[str, ...]
    claims: dict[str, str]
    facts: Facts
    data_classes: tuple[str, ...]
    classes_known: bool
    rule: str
    reason: str
    policies: tuple[str, ...]
    bundle: str
    risk: int
    needs: tuple[ApproversNeeded, ...]
    binding: str
