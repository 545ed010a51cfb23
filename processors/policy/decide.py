"""What does a bundle say to a statement? Every rule compiled once; all of them evaluated in one CEL expression.

Effects are ordered deny > hold > mask > alert > allow; the strongest matching rule wins. A rule that holds and has the approval
it asks for allows. A rule that errors denies: CEL gives errors as values of a type of their own, so the type of each result is
looked at and anything but a boolean is an error.
Of `a && b` CEL drops the error of one side where the other is false: that rule then did not match, which is its meaning.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cel_expr_python import cel

from processors.policy.approval import Approval
from processors.policy.bundle import BoundRule, Bundle, CounterRule, Mode, PolicyError, Rule
from processors.policy.context import APPROVAL, COUNTERS, GRANTED, MOMENT, STATEMENT, SUBJECT, VARIABLES, Values
from schemas.classes import DataClass
from schemas.events import Verdict

STRENGTH = {Verdict.ALLOW: 0, Verdict.ALERT: 1, Verdict.MASK: 2, Verdict.HOLD: 3, Verdict.DENY: 4}
FAILED_RISK = 100
DEFAULT_DENY = "default"
_PERMITS = frozenset((Verdict.ALLOW, Verdict.MASK, Verdict.HOLD))


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision: `policies` are the ids of the rules that matched, those in shadow with `shadow:` before them, and limits that
    bind the statement while it runs (`bounds`) with `limit:`.

    `rule` and `reason` are of the strongest; `error` says which rule could not be evaluated, and why, empty if none. `holds` are
    all rules that hold, where the verdict is that.
    """

    verdict: Verdict
    policies: tuple[str, ...] = ()
    risk: int = 0
    rule: str = ""
    reason: str = ""
    error: str = ""
    holds: tuple[Rule, ...] = ()
    bounds: tuple[BoundRule, ...] = ()

    @property
    def stops(self) -> bool:
        """Whether the statement must not run as things are."""
        return self.verdict in (Verdict.DENY, Verdict.HOLD)


class Matches(NamedTuple):
    """Which rules match, and which err and how, by their places in the bundle."""

    rules: tuple[int, ...] = ()
    errors: tuple[tuple[int, str], ...] = ()


NOTHING = Matches()


class _Part:
    """Some rules of a bundle, evaluated as one expression."""

    def __init__(self, indices: list[int], texts: list[str], each: list[Any], environment: Any) -> None:
        self.indices = indices
        self._each = each
        self._all = environment.compile(joined(texts)) if texts else None

    def match(self, values: Mapping[str, Any]) -> Matches:
        if self._all is None:
            return NOTHING
        try:
            result = self._all.eval(data=values)
            # Looked at by type: a list that holds an error is an error as a whole.
            found = result.plain_value() if result.type() == cel.Type.LIST else None
        except Exception:
            found = None
        if type(found) is list and len(found) == len(self.indices) and all(type(f) is bool for f in found):
            return Matches(tuple(i for i, f in zip(self.indices, found, strict=True) if f))
        return self._one_by_one(values)

    def _one_by_one(self, values: Mapping[str, Any]) -> Matches:
        """Some rule erred: find out which ones, for the trail and for whoever has to mend them."""
        matched: list[int] = []
        errors: list[tuple[int, str]] = []
        for i, expression in zip(self.indices, self._each, strict=True):
            found = evaluated(expression, values)
            if found is True:
                matched.append(i)
            elif found is not False:
                errors.append((i, str(found)))
        if not errors:
            errors = [(self.indices[0], "the rules could not be evaluated together")]
        return Matches(tuple(matched), tuple(errors))


class Policy:
    """A bundle ready to decide. Raises PolicyError where a rule does not compile to a boolean."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.version = bundle.version
        environment = cel.NewEnv(variables={name: v.type for name, v in VARIABLES.items()})
        problems: list[str] = []
        self._texts = [_expression(rule) for rule in bundle.rules]
        self._each: list[Any] = []
        for rule, text in zip(bundle.rules, self._texts, strict=True):
            try:
                compile_rule(environment, rule.when)  # alone first: what is wrong is said of what was written
                self._each.append(compile_rule(environment, text))
            except PolicyError as error:
                problems.append(f"rule {rule.id}: {error}")
        subject = cel.NewEnv(variables={name: v.type for name, v in SUBJECT.items()})
        self._clear: list[tuple[Any, frozenset[DataClass]]] = []
        for part in bundle.clear:
            try:
                self._clear.append((compile_rule(subject, part.when), part.all))
            except PolicyError as error:
                problems.append(f"clear {part.id}: {error}")
        if problems:
            raise PolicyError("\n".join(problems))
        self._still, self._moving = self._parts(environment)
        self.reads = names_read(self._texts)
        """The variables that the rules read."""
        self.reads_subject = tuple(n for n in SUBJECT if n in self.reads)
        self.reads_statement = any(n in STATEMENT or n in GRANTED for n in self.reads)
        self.reads_granted = any(n in GRANTED for n in self.reads)
        self.reads_claims = "claims" in self.reads
        self.reads_change = any(n.startswith("change.") for n in self.reads)
        self.reads_approval = any(n in APPROVAL for n in self.reads)
        self.reads_moment = any(n in MOMENT for n in self.reads)
        self.reads_counters = any(n in COUNTERS for n in self.reads)
        moving = names_read([self._texts[i] for i in self._moving.indices])
        self.counts_by_statement = any(n in STATEMENT or n in GRANTED for n in moving)
        """Whether a rule that reads counters reads the statement, too."""

    @classmethod
    def only(cls, policy: Policy, rule: Rule) -> Policy:
        """Return a policy of one rule of another, enforced."""
        bundle = copy(policy.bundle)
        bundle.rules = (rule.model_copy(update={"mode": Mode.ENFORCE}),)
        return cls(bundle)

    def clear(self, subject: Mapping[str, Any]) -> frozenset[DataClass]:
        """Return the data classes that a session sees as they are. What errs gives nothing."""
        return frozenset[DataClass]().union(*(classes for when, classes in self._clear if evaluated(when, subject) is True))

    def decide(self, values: Mapping[str, Any]) -> Ruling:
        """Decide on the values of `processors.policy.context`; every variable that is read must be among them."""
        return self.settle(self.match(values), self.match_counters(values), counters=values)

    def match(self, values: Mapping[str, Any]) -> Matches:
        """Return which of the rules match that read no counters of the session: the same for as long as the other values are."""
        return self._still.match(values)

    def match_counters(self, values: Mapping[str, Any]) -> Matches:
        """Return which of the other rules match."""
        return self._moving.match(values)

    def settle(
        self, still: Matches, moving: Matches, approval: Approval | None = None, counters: Mapping[str, Any] | None = None
    ) -> Ruling:
        """Return the decision that follows from which rules match, for a statement that was approved if it was.

        Limits of a session match as far as `counters` reach them: none where nothing is given.
        """
        matched = [i for i in sorted(still.rules + moving.rules) if self._reached(self.bundle.rules[i], counters)]
        return self._settle(matched, sorted(still.errors + moving.errors), approval)

    def thresholds(self, still: Matches) -> tuple[tuple[str, int], ...]:
        """Return the counters, and from what number on, that would add a limit to what matches."""
        rules = (self.bundle.rules[i] for i in still.rules)
        return tuple((r.counter, r.at_least) for r in rules if isinstance(r, CounterRule))

    @staticmethod
    def _reached(rule: Rule, counters: Mapping[str, Any] | None) -> bool:
        return not isinstance(rule, CounterRule) or (counters is not None and counters[rule.counter] >= rule.at_least)

    def _parts(self, environment: Any) -> tuple[_Part, _Part]:
        without = cel.NewEnv(variables={name: v.type for name, v in VARIABLES.items() if name not in COUNTERS})
        parts: tuple[list[int], list[int]] = ([], [])
        for i, text in enumerate(self._texts):
            try:
                without.compile(text)
            except Exception:
                parts[1].append(i)
            else:
                parts[0].append(i)
        still, moving = (_Part(p, [self._texts[i] for i in p], [self._each[i] for i in p], environment) for p in parts)
        return still, moving

    def _settle(self, matched: list[int], errors: list[tuple[int, str]], approval: Approval | None = None) -> Ruling:
        rules = self.bundle.rules
        bounds = tuple(rule for i in matched if isinstance(rule := rules[i], BoundRule))
        matched = [i for i in matched if not isinstance(rules[i], BoundRule)]
        enforced = [rules[i] for i in matched if rules[i].mode is Mode.ENFORCE]
        policies = [r.id for r in enforced]
        policies += [f"shadow:{rules[i].id}" for i in matched if rules[i].mode is Mode.SHADOW]
        failed = [(rules[i].id, text) for i, text in errors if rules[i].mode is Mode.ENFORCE]
        policies += [f"error:{rules[i].id}" for i, _ in errors]
        policies += [f"limit:{r.id}" if r.mode is Mode.ENFORCE else f"shadow:limit:{r.id}" for r in bounds]
        if failed:
            name, text = failed[0]
            reason = f"Rule {name} of the policy could not be evaluated; until it is mended, what it judges is denied."
            return Ruling(Verdict.DENY, tuple(policies), FAILED_RISK, name, reason, f"{name}: {text}"[:500])
        if approval is not None:
            enforced = [_released(r) if r.approvers and approval.satisfies(r.approvers) else r for r in enforced]
        strongest: Rule | None = max(enforced, key=lambda r: STRENGTH[r.effect], default=None)
        risk = max((r.risk for r in enforced), default=0)
        stops = strongest is not None and strongest.effect is Verdict.DENY
        if self.bundle.default is Verdict.DENY and not stops and not any(r.effect in _PERMITS for r in enforced):
            reason = "No rule of the policy allows it, and what no rule allows is denied here."
            return Ruling(Verdict.DENY, (*policies, DEFAULT_DENY), risk, DEFAULT_DENY, reason)
        if strongest is None:
            return Ruling(Verdict.ALLOW, tuple(policies), risk, bounds=bounds)
        holds = tuple(r for r in enforced if r.effect is Verdict.HOLD) if strongest.effect is Verdict.HOLD else ()
        return Ruling(strongest.effect, tuple(policies), risk, strongest.id, strongest.reason, "", holds, bounds)


def strictest(rulings: Sequence[tuple[str, Ruling]]) -> Ruling:
    """Return what the rulings of all who must be allowed a statement come to: the first acts, for the others.

    The strictest verdict wins, and the first of equals. Rules that matched for one of the others only stand as `behalf:<id>`.
    Limits of all hold, and so do all rules that hold, where that is the verdict.
    """
    own = rulings[0][1]
    who, strongest = max(rulings, key=lambda r: STRENGTH[r[1].verdict])
    policies = dict.fromkeys(own.policies)
    for _, ruling in rulings[1:]:
        policies.update(dict.fromkeys(f"behalf:{p}" for p in ruling.policies if p not in own.policies))
    holds = dict.fromkeys(r.id for _, ruling in rulings for r in ruling.holds) if strongest.verdict is Verdict.HOLD else {}
    rules = {r.id: r for _, ruling in rulings for r in ruling.holds}
    bounds = {(r.id, r.bound.kind): r for _, ruling in rulings for r in ruling.bounds}
    return replace(
        strongest,
        policies=tuple(policies),
        risk=max(ruling.risk for _, ruling in rulings),
        reason=strongest.reason if strongest is own or not strongest.stops else f"{strongest.reason} It holds for {who}, too.",
        holds=tuple(rules[name] for name in holds),
        bounds=tuple(bounds.values()),
    )


def _released(rule: Rule) -> Rule:
    return rule.model_copy(update={"effect": Verdict.ALLOW})


def compile_rule(environment: Any, text: str) -> Any:
    """Compile an expression that must give a boolean. Raises PolicyError."""
    try:
        expression = environment.compile(text)
    except Exception as error:
        raise PolicyError(_compiler_said(error)) from None
    if expression.return_type() != cel.Type.BOOL:
        raise PolicyError(f"`when` must be true or false, not {expression.return_type()!r}".replace("<", " of ").replace(">", ""))
    return expression


def evaluated(expression: Any, values: Mapping[str, Any]) -> bool | str:
    """Evaluate one rule: whether it matches, or the text of its error."""
    try:
        result = expression.eval(data=values)
        if result.type() == cel.Type.BOOL and type(found := result.value()) is bool:
            return found
        return str(result.value())[:300]
    except Exception as error:
        return f"{type(error).__name__}"


def joined(texts: list[str]) -> str:
    """Return one expression that gives the list of what all give."""
    return "[" + ",".join(f"(\n{text}\n)" for text in texts) + "]"


def names_read(texts: list[str]) -> frozenset[str]:
    """Return the variables that expressions read: those without which they no longer compile."""
    if not texts:
        return frozenset()
    found = set()
    for name in VARIABLES:
        without = cel.NewEnv(variables={n: v.type for n, v in VARIABLES.items() if n != name})
        try:
            without.compile(joined(texts))
        except Exception:
            found.add(name)
    return frozenset(found)


def _expression(rule: Rule) -> str:
    if not rule.environments:
        return rule.when
    names = ", ".join('"' + e.replace("\\", "\\\\").replace('"', '\\"') + '"' for e in rule.environments)
    return f"database.environment in [{names}] && (\n{rule.when}\n)"


def _compiler_said(error: Exception) -> str:
    """The compiler's own words, on one line, without its drawing of the place; and what was likely meant."""
    lines = [line for line in str(error).splitlines() if not line.lstrip().startswith("|") and "'*error*'" not in line]
    said = " ".join(lines).replace("INVALID_ARGUMENT: ", "").replace(" [INVALID_ARGUMENT]", "").replace(" (in container '')", "")
    said = re.sub(r"ERROR: <input>:(\d+):(\d+): ", r"line \1, character \2 of `when`: ", said).strip()[:500]
    unknown = re.search(r"undeclared reference to '([^']+)'", said)
    if unknown and (near := difflib.get_close_matches(unknown[1], VARIABLES, n=1, cutoff=0.6)):
        return f"{said}; did you mean {near[0]}?"
    if unknown:
        return f"{said}; docs/policy.md lists the variables"
    if "token recognition error at: '= '" in said:
        return f"{said}; values are compared with =="
    return said


__all__ = ["Matches", "Policy", "Ruling", "Values", "compile_rule", "evaluated", "joined", "names_read"]
