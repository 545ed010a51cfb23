"""Decides on the statements of sessions by the policy in force, and remembers decisions for as long as they hold.

A decision may be kept by exactly what the rules read: the subject (who, where, with which grants), the statement, its claims if a
rule reads those, and the minute if a rule reads the time. Of rules that read counters of the session nothing is kept: they are
evaluated for each statement, by themselves. A new bundle starts with nothing remembered. Whatever goes wrong in deciding stops
the statement (invariant 6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter_ns
from typing import NamedTuple, Protocol

import orjson

from ingest.core.guarding import Answer, Bound, Emergency, Hold, Judgement, Request, SessionGuard
from ingest.guard.asking import EMERGENCY_RISK, Asked, Asking, Shown, groups_of, merged, too_many, unreleased
from ingest.guard.rights import Acting, Grants, NoGrants, acting
from processors.policy import (
    Approval,
    Matches,
    Policy,
    Ruling,
    Values,
    approval_values,
    granted_values,
    moment_values,
    statement_values,
)
from processors.policy.bundle import Mode
from processors.policy.decide import NOTHING, strictest
from processors.policy.grants import NOTHING_GIVEN, given
from processors.statements import Statement
from processors.statements.cache import ByteBoundedCache
from processors.statements.sizes import NO_CHANGE, Sizes, change_of
from schemas.classes import DataClass
from schemas.events import Danger, Decision, Facts, Verdict
from schemas.latencies import WORK_US, Latencies

REMEMBERED_BYTES = 16 * 1024**2
"""What decisions kept by a worker may take, the statements they are of included."""
MAX_SUBJECTS = 10_000
"""Different subjects known; past it all is forgotten, which costs one evaluation per statement."""
MINUTE = 60_000_000
CLOCK_TOLERANCE = 5 * MINUTE
"""How far the clock may go back, as time services do, before rules about time are not believed any more."""

MAX_JUDGED = 2_000
"""Combinations of matching rules worded ahead, where some read counters; in practice a handful."""


class ClockError(Exception):
    """The clock went back by more than is tolerated."""


class Columns(Protocol):
    """Whoever knows what a statement does with columns of which classes. `clear` are those that somebody sees as they are."""

    def harms(self, statement: Statement, clear: frozenset[DataClass]) -> Iterable[Danger]:
        """Return the dangers that only the classes of its columns tell."""

    def written(self, statement: Statement) -> tuple[Iterable[str], Iterable[str]]:
        """Return the classes of what it gives values, and of what it removes."""

    def looks_up(self, statement: Statement, clear: frozenset[DataClass]) -> bool:
        """Tell whether it asks of what is masked only for the row of one whole value."""

    def own(self, statement: Statement) -> object:
        """Return what of the session's own the answers depend on, and what of `classes` and `harms`; None for nothing."""


Classes = Callable[[Statement], tuple[Iterable[str], bool]]
"""Returns the data classes of what a statement touches, and whether they are known for all of it."""


class Counters(Protocol):
    """What rules may read of a session's course: a `PostgresSession` has these."""

    statements: int
    bytes_in: int
    bytes_out: int
    rows: int


def no_classes(statement: Statement) -> tuple[Iterable[str], bool]:
    """Without a catalogue nothing is known of data classes."""
    return (), False


def no_sizes() -> tuple[int, Sizes]:
    """Without a catalogue nothing is known of how large tables are."""
    return 0, {}


def no_code(facts: Facts) -> Mapping[str, str]:
    """Without a catalogue nothing is known of what functions and views do."""
    return {}


class Kept(NamedTuple):
    """What is remembered of a statement: which rules match, and the judgement that follows unless others read counters."""

    matches: tuple[Matches, ...]
    judgement: Judgement
    grants: tuple[str, ...] = ()
    thresholds: tuple[tuple[str, int], ...] = ()
    """Counters, and from what number on, that add a limit to it."""


class Guard:
    """The policy in force in one worker, shared by its sessions."""

    def __init__(self, policy: Policy, classes: Classes = no_classes) -> None:
        self.policy = policy
        self.classes = classes
        self.grants: Grants = NoGrants()
        """Set once, by whoever hears of grants."""
        self.asking: Asking | None = None
        """Set once, by whoever hears of decisions; without it nothing waits, and what is held is refused."""
        self.denied = self.held = 0
        """Statements stopped for good, and those that were made to wait, of all sessions so far."""
        self.decisions = Latencies(WORK_US)
        """How long decisions took that were not remembered."""
        self.latest = 0
        self.minute = 0
        self.kept: ByteBoundedCache[object, Kept] = ByteBoundedCache(REMEMBERED_BYTES)
        self.judged: dict[object, Judgement] = {}
        self._subjects: dict[tuple[object, ...], object] = {}

    def replace(self, policy: Policy) -> None:
        """Put another policy in force from the next statement on."""
        self.policy = policy
        self.forget()

    def forget(self) -> None:
        """Remember no decision any more."""
        self.kept = ByteBoundedCache(REMEMBERED_BYTES)
        self.judged = {}

    def session(
        self, subject: Values, session_id: str, counters: Counters, opened_at: int, behalf: Sequence[Values] = ()
    ) -> PolicyGuard:
        """Return the guard of a session; `behalf` are those it acts for, each as if acting directly."""
        return PolicyGuard(self, subject, session_id, counters, opened_at, behalf)

    def subject_key(self, who: Acting) -> object:
        """Return a key that is the same for all subjects that look the same to the rules."""
        subject = who.values
        if len(self._subjects) >= MAX_SUBJECTS:
            self._subjects = {}
            self.forget()
        names = (*self.policy.reads_subject, *_BEHIND)
        seen = (self.policy.version, who.grants, *(_hashable(subject[name]) for name in names))
        return self._subjects.setdefault(seen, object())


class PolicyGuard(SessionGuard):
    """Decides for one session (`ingest.core.guarding.SessionGuard`)."""

    def __init__(
        self,
        guard: Guard,
        subject: Values,
        session_id: str,
        counters: Counters,
        opened_at: int,
        behalf: Sequence[Values] = (),
    ) -> None:
        self._guard = guard
        self._subject = subject
        self._subjects = (subject, *behalf)
        self._session_id = session_id
        self._counters = counters
        self._opened_at = opened_at
        self.classes = guard.classes
        self.sizes: Callable[[], tuple[int, Sizes]] = no_sizes
        """Returns the statistics of the database's tables, and a number that is another where they are others."""
        self.code: Callable[[Facts], Mapping[str, str]] = no_code
        """Returns digests of the code in the database that a statement runs, as far as it is known."""
        self.columns: Columns | None = None
        """Set where results are masked."""
        self.owns: Callable[[Statement], bool] | None = None
        """And there: whether all that a statement changes now are temporary tables of the session's own."""
        self._clear: tuple[Policy, Acting, frozenset[DataClass]] | None = None
        self._policy: Policy | None = None
        self._acting = Acting(subject, ())
        self._selves = tuple(Acting(s, ()) for s in self._subjects)
        self._names = tuple(str(s["principal.id"]) for s in self._subjects)
        self._key: object = None
        self._changes = -1
        self._from = self._until = 0
        self._minute = 0
        self._before_minute = 0
        self._stopped = 0

    def clear(self) -> frozenset[DataClass]:
        """Return the data classes that the session sees as they are, by the policy and the grants of the last statement."""
        policy, acting = self._guard.policy, self._acting
        if self._clear is None or self._clear[0] is not policy or self._clear[1] is not acting:
            clear = policy.clear(acting.values)
            for other in self._selves[1:]:
                clear &= policy.clear(other.values)
            self._clear = policy, acting, clear
        return self._clear[2]

    def granted(self, statement: Statement) -> frozenset[DataClass]:
        """Return the data classes that this statement may show as they are by grants: everybody it is judged as must see them.

        By the grants of the last statement that was judged, so that one that ended counts no more.
        """
        if not any(grant.classes for who in self._selves for grant in who.grants):
            return _NONE
        policy, touched = self._guard.policy, list(self.classes(statement)[0])
        sees = [
            policy.clear(who.values).union(DataClass(c) for c in given(who.grants, statement.facts, touched).classes)
            for who in self._selves
        ]
        return sees[0].intersection(*sees[1:])

    def judge(self, statement: Statement, claims: Mapping[str, str], now: int, approval: Approval | None = None) -> Judgement:
        """Decide on one statement; see `SessionGuard`."""
        judgement = self._decided(statement, claims, now, approval)
        return self._numbered(judgement) if judgement.stops and not judgement.holds else judgement

    def passing(self, statement: Statement, claims: Mapping[str, str], now: int) -> Judgement | None:
        """Decide on one statement if it passes; see `SessionGuard`."""
        judgement = self._decided(statement, claims, now, None)
        return None if judgement.stops else judgement

    def _decided(self, statement: Statement, claims: Mapping[str, str], now: int, approval: Approval | None) -> Judgement:
        guard = self._guard
        policy = guard.policy
        try:
            if policy is not self._policy or not self._from <= now < self._until or guard.grants.changes != self._changes:
                self._look_again(policy, now)
            if policy.reads_moment and now // MINUTE != guard.minute:
                self._check_clock(now)
                guard.minute = now // MINUTE
                guard.forget()
            if approval is not None:
                judgement = self._approved(policy, statement, claims, now, approval)
            else:
                judgement = self._remembered(policy, statement, claims, now)
        except ClockError:
            judgement = judged(Ruling(Verdict.DENY, ("error:clock",), 100, "clock", _CLOCK), policy.version)
        except Exception as error:
            judgement = judged(
                Ruling(Verdict.DENY, ("error:guard",), 100, "guard", _BROKEN, type(error).__name__), policy.version
            )
        return judgement

    def ask(self, request: Request, judgements: Sequence[Judgement], now: int) -> Hold | Emergency | Judgement:
        """Say how what is held waits; see `SessionGuard`."""
        asking = self._guard.asking
        held = next(j for j in judgements if j.holds)
        if asking is None:
            return self._numbered(held)
        self._guard.held += 1
        try:
            facts = merged([s.facts for s in request.statements])
            classes, known = self._classes_of(request.statements)
            shown = Shown(facts, tuple(sorted(classes)), known, self.code(facts))
            groups = tuple(self._acting.values["principal.groups"])
            asked = asking.ask(self._subject, groups, request, judgements, shown, now)
            if isinstance(asked, Hold) and asking.allowance is not None:
                principal = asked.asked.principal
                if exceeded := asking.allowance.exceeded(principal, now):
                    return too_many(exceeded, self._numbered(held))
                asking.allowance.raised(principal, asked.approval_id, now, asked.expires_at)
            return asked
        except Exception as error:
            return self._numbered(
                judged(
                    Ruling(Verdict.DENY, ("error:guard",), 100, "guard", _BROKEN, type(error).__name__),
                    self._guard.policy.version,
                )
            )

    def differs(self, hold: Hold, statements: Sequence[Statement]) -> str:
        """Return how statements are not as they were shown; see `SessionGuard`."""
        try:
            facts = merged([s.facts for s in statements])
            classes, known = self._classes_of(statements)
            asked: Asked = hold.asked
            return asked.differs(statements, Shown(facts, tuple(sorted(classes)), known, self.code(facts)))
        except Exception:
            return "it could not be compared with what was approved"

    def unreleased(self, hold: Hold, answer: Answer, judgement: Judgement) -> Judgement:
        """Return what is said of a held statement that is not let through; see `SessionGuard`."""
        self._stopped += 1
        self._guard.denied += 1
        return unreleased(hold, answer, judgement)

    def _classes_of(self, statements: Sequence[Statement]) -> tuple[set[str], bool]:
        found = [self.classes(statement) for statement in statements]
        return {c for classes, _ in found for c in classes}, all(known for _, known in found)

    def _numbered(self, judgement: Judgement) -> Judgement:
        self._stopped += 1
        self._guard.denied += 1
        hint = f"{judgement.hint} Request {self._session_id}/{self._stopped}."
        return Judgement(judgement.fragment, True, judgement.message, hint)

    def _remembered(self, policy: Policy, statement: Statement, claims: Mapping[str, str], now: int) -> Judgement:
        guard = self._guard
        key: object = (self._key, statement)
        if policy.reads_claims and claims:
            key = (self._key, statement, tuple(sorted(claims.items())))
        if policy.reads_change and statement.shape.changes:
            key = (key, self.sizes()[0])
        if self._owns(statement):
            key = (key, _OWN)
        own = (
            self.columns.own(statement)
            if self.columns is not None and (statement.facts.reads or statement.facts.writes)
            else None
        )
        if own is not None:
            key = (key, own)
        kept = guard.kept.get(key)
        if kept is None:
            began = perf_counter_ns()
            found = [self._values(policy, who, statement, claims, now) for who in self._selves]
            used = tuple(dict.fromkeys(grant for _, grants in found for grant in grants))
            matches = tuple(policy.match(values) for values, _ in found)
            kept = Kept(matches, judged(self._settled(policy, matches, (NOTHING,) * len(matches)), policy.version, used), used)
            guard.decisions.observe((perf_counter_ns() - began) // 1000)
            if thresholds := tuple(t for m in matches for t in policy.thresholds(m)):
                kept = kept._replace(thresholds=thresholds)
            guard.kept.put(key, kept, 800 + len(statement.text) + len(statement.fragment) + len(kept.judgement.fragment))
        if policy.reads_counters or kept.thresholds:
            return self._counted_in(policy, kept, statement, claims, now)
        return kept.judgement

    def _approved(
        self, policy: Policy, statement: Statement, claims: Mapping[str, str], now: int, approval: Approval
    ) -> Judgement:
        """Judge with an approval in context: anew, for nothing of that is worth remembering."""
        matches: list[Matches] = []
        moving: list[Matches] = []
        used: list[str] = []
        counted = self._counted(now)
        for who in self._selves:
            values, grants = self._values(policy, who, statement, claims, now)
            values.update(approval_values(approval))
            values.update(counted)
            used += (g for g in grants if g not in used)
            matches.append(policy.match(values))
            moving.append(policy.match_counters(values) if policy.reads_counters else NOTHING)
        return judged(self._settled(policy, matches, moving, approval, counted), policy.version, tuple(used), approval)

    def _counted_in(self, policy: Policy, kept: Kept, statement: Statement, claims: Mapping[str, str], now: int) -> Judgement:
        """Return the judgement with what the rules over counters say now."""
        counted = self._counted(now)
        reached = tuple(t for t in kept.thresholds if counted[t[0]] >= t[1])
        if not (policy.reads_counters or reached):
            return kept.judgement
        moving: list[Matches] = []
        for who in self._selves:
            values, _ = self._values(policy, who, statement if policy.counts_by_statement else None, claims, now)
            values.update(counted)
            moving.append(policy.match_counters(values))
        if not reached and all(m == NOTHING for m in moving):
            return kept.judgement
        key = (kept.matches, tuple(moving), kept.grants, self._names, reached)
        found = self._guard.judged.get(key)
        if found is None:
            found = judged(self._settled(policy, kept.matches, moving, None, counted), policy.version, kept.grants)
            if len(self._guard.judged) < MAX_JUDGED:
                self._guard.judged[key] = found
        return found

    def _settled(
        self,
        policy: Policy,
        still: Sequence[Matches],
        moving: Sequence[Matches],
        approval: Approval | None = None,
        counters: Values | None = None,
    ) -> Ruling:
        """Return the decision on a statement that all whom it is judged as must be allowed."""
        rulings = [policy.settle(s, m, approval, counters) for s, m in zip(still, moving, strict=True)]
        return rulings[0] if len(rulings) == 1 else strictest(list(zip(self._names, rulings, strict=True)))

    def lapsed(self, grant: str, now: int) -> bool:
        """Whether a grant is not in force any more; see `SessionGuard`."""
        guard = self._guard
        if guard.grants.changes != self._changes or not self._from <= now < self._until:
            self._look_again(guard.policy, now)
        return all(g.grant_id != grant for who in self._selves for g in who.grants)

    def _look_again(self, policy: Policy, now: int) -> None:
        """What is granted, or what the rules read, is another than before."""
        guard = self._guard
        self._policy, self._changes = policy, guard.grants.changes
        found = [acting(subject, guard.grants, now) for subject in self._subjects]
        self._selves, self._until = tuple(who for who, _ in found), min(until for _, until in found)
        self._from, self._acting = now, self._selves[0]
        keys = [guard.subject_key(who) for who in self._selves]
        self._key = keys[0] if len(keys) == 1 else (*keys, self._names)
        if self.columns is not None:
            self._key = (self._key, self.clear())

    def _values(
        self, policy: Policy, who: Acting, statement: Statement | None, claims: Mapping[str, str], now: int
    ) -> tuple[Values, tuple[str, ...]]:
        """Return what the rules may read of one whom a statement is judged as, and the ids of the grants that are in it."""
        values, grants = dict(who.values), who.grants
        if policy.reads_approval:
            values.update(_UNAPPROVED)
        used = tuple(g.grant_id for g in grants if g.groups)
        columns = self.columns
        masks = columns is not None
        if (policy.reads_statement or (masks and grants)) and statement is not None:
            classes, known = self.classes(statement)
            touched = list(classes)
            change = change_of(statement.shape.changes, self.sizes()[1]) if policy.reads_change else NO_CHANGE
            clear = self.clear() | self.granted(statement) if masks and grants else self.clear() if masks else _NONE
            written = columns.written(statement) if columns is not None else None
            looks_up = columns is not None and columns.looks_up(statement, clear)
            facts, settings = statement.facts, statement.settings
            seen = statement_values(facts, statement.fingerprint, claims, touched, known, change, written, looks_up, settings)
            if self._owns(statement):
                seen["statement.dangers"] = [d for d in seen["statement.dangers"] if d not in _OF_OBJECTS]
            values.update(seen)
            if columns is not None:
                values["statement.dangers"] += [str(danger) for danger in columns.harms(statement, clear)]
            gives = given(grants, statement.facts, touched) if grants and (policy.reads_granted or masks) else NOTHING_GIVEN
            values.update(granted_values(gives.objects, gives.classes))
            used = tuple(g.grant_id for g in grants if g.groups or g.grant_id in gives.grants)
        if policy.reads_moment:
            frozen = policy.bundle.frozen(now, str(self._subject["database.environment"]))
            values.update(moment_values(now, policy.bundle.zone, frozen))
        return values, used

    def _owns(self, statement: Statement) -> bool:
        facts = statement.facts
        return self.owns is not None and bool(facts.dangers) and bool(facts.writes) and self.owns(statement)

    def _check_clock(self, now: int) -> None:
        guard = self._guard
        if now < guard.latest - CLOCK_TOLERANCE:
            raise ClockError
        guard.latest = max(guard.latest, now)

    def _counted(self, now: int) -> Values:
        counters, minute = self._counters, now // MINUTE
        if minute != self._minute:
            self._minute, self._before_minute = minute, counters.statements
        return {
            "session.statements": counters.statements,
            "session.statements_last_minute": counters.statements - self._before_minute,
            "session.denied": self._stopped,
            "session.bytes_in": counters.bytes_in,
            "session.bytes_out": counters.bytes_out,
            "session.rows": counters.rows,
            "session.age_seconds": max(0, now - self._opened_at) // 1_000_000,
        }


_OWN = "own"
_OF_OBJECTS = frozenset((Danger.DROP, Danger.TRUNCATE, Danger.SCHEMA_CHANGE, Danger.MASS_UPDATE, Danger.MASS_DELETE))
"""Dangers that are none where the objects are temporary ones of the session's own."""
_BEHIND = ("database.alias", "database.environment")
"""What freezes and data classes depend on, whether or not a rule reads it."""
_BROKEN = "The policy could not be applied to this statement, so it was stopped."
_CLOCK = "The proxy's clock went back, so rules about time cannot be applied; its administrator has to look."


_UNAPPROVED = approval_values()
_NONE: frozenset[DataClass] = frozenset()


def judged(ruling: Ruling, version: str, grants: tuple[str, ...] = (), approval: Approval | None = None) -> Judgement:
    """Return a ruling as a session needs it; `grants` are those that were looked at, and stand in the event as `grant:ID`."""
    policies = (*ruling.policies, *(f"grant:{grant}" for grant in grants))
    risk = EMERGENCY_RISK if approval is not None and approval.break_glass else ruling.risk
    approval_id = approval.approval_id if approval is not None else ""
    decision = Decision(verdict=ruling.verdict, policies=policies, bundle=version, risk=risk, approval_id=approval_id)
    if not ruling.stops:
        judgement = Judgement(orjson.dumps(decision), False)
        judgement.bounds = (
            *(Bound(r.bound.kind, r.bound.at, r.id, r.reason, r.mode is Mode.ENFORCE) for r in ruling.bounds),
            *(Bound("grant", 0, grant, "Ask for another one if it is still needed.") for grant in grants),
        )
        return judgement
    if ruling.verdict is Verdict.HOLD:
        message = f"statement needs an approval by policy rule {ruling.rule}"
        hint = f"{ruling.reason} It was not executed. Approvers are in: {', '.join(groups_of(ruling.holds))}."
        return Judgement(orjson.dumps(decision), True, message, hint, ruling if approval is None else None)
    message = f"statement denied by policy rule {ruling.rule}"
    hint = f"{ruling.reason} It was not executed."
    return Judgement(orjson.dumps(decision), True, message, hint)


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
