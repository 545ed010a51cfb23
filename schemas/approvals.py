"""Who may decide on a held statement, what a decision is bound to, and when it is decided. Pure; read by all who take decisions.

The same rules are applied twice: where a decision is taken down (API, command line, signed link), so that nobody is fooled, and
in the proxy that holds the statement, which trusts no one else's judgement. In words:

1. People decide. An agent or a service never does, nor a person's agent in their name.
2. Nobody decides on their own: not the principal that asks, nor anybody in whose name it acts, however long the chain; nor
   anyone who acts for one of those. So four eyes are always at work, whatever the count. Names that may be one person's are one
   person's: a token may say `dave` where an identity token says `Dave@example.com` (`same_person`).
3. Each rule that holds names groups and a count. It is satisfied by so many different people, each in one of its groups. All
   rules must be satisfied. One person may count for several rules, and for each only once.
4. One denial by somebody who may decide ends it. A denial does not need to be repeated, and cannot be outvoted.
5. A decision names the request's id and its binding: a hash over exactly what was asked. The proxy computes its own and compares
   in constant time; whoever takes a decision down computes it from what it shows. An id belongs to one wait of one statement of
   one session, and that wait ends with the decision: an approval is used once, by whom it was given to, or never.
6. A decision counts from the request's time until it expires, and not while the clock tells anything else.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol
from unicodedata import normalize

import orjson

from schemas.control import ApprovalDecided
from schemas.events.approval import ApproversNeeded
from schemas.events.base import Database, Principal, PrincipalKind

CLOCK_TOLERANCE = 60_000_000
"""How far (µs) a decision's time may lie before the request's: clocks of different machines."""


class Asked(Protocol):
    """What a request says, as far as decisions depend on it: `ApprovalRequested` has these, and so has a row read back."""

    @property
    def approval_id(self) -> str: ...
    @property
    def at(self) -> int: ...
    @property
    def expires_at(self) -> int: ...
    @property
    def principal(self) -> Principal: ...
    @property
    def database(self) -> Database: ...
    @property
    def db_user(self) -> str: ...
    @property
    def text_hash(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def params(self) -> Sequence[str]: ...
    @property
    def needs(self) -> Sequence[ApproversNeeded]: ...


def binding_of(asked: Asked) -> str:
    """Return the hash (64 hex digits) over who asks what of which database as which user. Never over how it is displayed."""
    principal, database = asked.principal, asked.database
    said = [
        "affidavit/approval/v1",
        asked.approval_id,
        [principal.id, principal.kind, principal.on_behalf_of, list(principal.delegation)],
        [database.alias, database.engine, database.environment, database.name, asked.db_user],
        [asked.text_hash, asked.fingerprint, list(asked.params)],
    ]
    return sha256(orjson.dumps(said)).hexdigest()


def same_binding(one: str, other: str) -> bool:
    """Compare in constant time; nothing is equal to an empty one."""
    return bool(one) and hmac.compare_digest(one.encode(), other.encode())


@dataclass(frozen=True, slots=True)
class Decider:
    """Who decides, as their credential says. `acts_for`: everybody the credential acts in the name of."""

    id: str
    kind: str
    groups: tuple[str, ...] = ()
    acts_for: tuple[str, ...] = ()

    @classmethod
    def of(cls, principal: Principal) -> Decider:
        """Return the decider a credential stands for."""
        return cls(principal.id, str(principal.kind), principal.groups, _acts_for(principal))

    @classmethod
    def who_said(cls, message: ApprovalDecided) -> Decider:
        """Return the decider a control message names."""
        return cls(message.principal, message.kind, message.groups, message.acts_for)


def objection(asked: Asked, decider: Decider) -> str:
    """Return why somebody may not decide on a request; empty if they may. The words are for the one who tries."""
    if not decider.id:
        return "the decision does not say whose it is"
    if decider.kind != PrincipalKind.HUMAN or decider.acts_for:
        return "only people decide, and in their own name: not agents, not services"
    if is_own(asked.principal, decider):
        return "nobody decides on their own statement, nor on one that is run in their name"
    if not any(set(need.groups) & set(decider.groups) for need in asked.needs):
        groups = ", ".join(sorted({g for need in asked.needs for g in need.groups}))
        return f"approvers of this statement are in: {groups}"
    return ""


def is_own(asking: Principal, decider: Decider) -> bool:
    """Tell whether somebody is who asks, or one of those in whose name that is done, or acts for one of them."""
    own = (asking.id, *_acts_for(asking))
    return any(same_person(one, other) for one in (decider.id, *decider.acts_for) for other in own)


def same_person(one: str, other: str) -> bool:
    """Tell whether two names may be one person's: equal but for case, form and what cannot be seen, or one the local part of the
    other's address.

    Two addresses of different domains are two people's.
    """
    first, second = _folded(one), _folded(other)
    if first == second:
        return True
    (local, at, _), (other_local, other_at, _) = first.partition("@"), second.partition("@")
    return bool(local) and local == other_local and not (at and other_at)


def person(name: str) -> str:
    """Return what all names that may be one person's have in common: a key to find them by, not a proof that they are."""
    folded = _folded(name)
    return folded.partition("@")[0] or folded


def untimely(asked: Asked, at: int, now: int) -> str:
    """Return why a decision made `at` does not count at `now` (µs); empty if it does."""
    if now >= asked.expires_at:
        return "the request has expired"
    if at < asked.at - CLOCK_TOLERANCE or now < asked.at - CLOCK_TOLERANCE:
        return "the decision is older than the request: a clock is wrong"
    return ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands: `decided` is None while it is open. `deciders` are those that count, in order."""

    decided: bool | None
    deciders: tuple[Decider, ...] = ()
    missing: tuple[ApproversNeeded, ...] = ()
    """What is still needed, `count` being how many more."""
    reason: str = ""
    """What the one who settled it said."""


def standing(asked: Asked, decisions: Iterable[tuple[Decider, bool, str]]) -> Standing:
    """Return how a request stands after decisions (who, approved or denied, reason) in order; ineligible ones are ignored."""
    approved: list[Decider] = []
    last = ""
    for decider, yes, reason in decisions:
        if objection(asked, decider):
            continue
        if not yes:
            return Standing(False, (decider,), reason=reason)
        if not any(same_person(decider.id, other.id) for other in approved):
            approved.append(decider)
            last = reason
    missing = tuple(
        ApproversNeeded(rule=need.rule, groups=need.groups, count=short)
        for need in asked.needs
        if (short := need.count - sum(1 for d in approved if set(d.groups) & set(need.groups))) > 0
    )
    if missing or not asked.needs:
        return Standing(None, tuple(approved), missing)
    return Standing(True, tuple(approved), reason=last)


def _acts_for(principal: Principal) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*principal.delegation, *filter(None, (principal.on_behalf_of,)))))


def _folded(name: str) -> str:
    seen = "".join(c for c in normalize("NFKC", name) if c.isprintable())
    return normalize("NFKC", seen.strip().casefold())
