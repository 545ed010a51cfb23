"""What in a bundle that compiles is still most likely a mistake? Words that no statement has, rules that can change nothing.

What is found by reading, not by proof: a rule of which nothing is said here may still never match. Its tests show that it can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from processors.policy.bundle import BoundRule, CounterRule, Mode, Rule
from processors.policy.decide import Policy, names_read
from schemas.events import PrincipalKind, StatementFlag, Verdict
from schemas.events.statement import Danger

_WORDS = {
    "statement.dangers": {str(d) for d in Danger},
    "statement.flags": {str(f) for f in StatementFlag},
}
_IN = re.compile(r"""(["'])([^"'\\]*)\1\s+in\s+(statement\.dangers|statement\.flags)\b""")
_EXISTS = re.compile(r"""(statement\.dangers|statement\.flags)\.exists(?:_one)?\(\s*(\w+)\s*,\s*\2\s+in\s+\[([^\]]*)\]""")
_KIND = re.compile(r"""principal\.kind\s*[!=]=\s*(["'])([^"'\\]*)\1""")
_STRING = re.compile(r"""(["'])([^"'\\]*)\1""")


def doubts(policy: Policy) -> Iterator[str]:
    """Yield one line for each thing that is probably not meant."""
    seen: dict[tuple[str, tuple[str, ...]], Rule] = {}
    for rule in policy.bundle.rules:
        if isinstance(rule, BoundRule | CounterRule):
            yield from (f"limit {rule.id}: {text}" for text in _unknown_words(rule.when))
            if not names_read([rule.when]) and policy_constant(policy, rule) is False:
                yield f"limit {rule.id}: can never match; its condition is always false"
            continue
        yield from (f"rule {rule.id}: {text}" for text in _unknown_words(rule.when))
        same = seen.setdefault((" ".join(rule.when.split()), rule.environments), rule)
        if same is not rule:
            what = "conflicts with" if same.effect is not rule.effect else "repeats"
            yield f"rule {rule.id}: {what} {same.id}, which has the same condition and says {same.effect}"
        if not names_read([rule.when]) and policy_constant(policy, rule) is False:
            yield f"rule {rule.id}: can never match; its condition is always false"
        if rule.effect is Verdict.ALLOW and policy.bundle.default is Verdict.ALLOW and rule.mode is Mode.ENFORCE:
            yield f"rule {rule.id}: can change nothing; what no rule stops is allowed anyway (default: allow)"
        if not rule.tests and not rule.when.startswith("session."):
            yield f"rule {rule.id}: has no tests; nothing shows that it can match"
    for rule in policy.bundle.rules:
        if (
            rule.effect is Verdict.DENY
            and not isinstance(rule, CounterRule)
            and rule.mode is Mode.ENFORCE
            and not rule.environments
            and policy_constant(policy, rule)
        ):
            yield f"rule {rule.id}: denies everything, so no other rule matters"


def policy_constant(policy: Policy, rule: Rule) -> bool | None:
    """Return what a condition that reads nothing always is; None for one that reads something, or errs."""
    if names_read([rule.when]):
        return None
    ruling = Policy.only(policy, rule).decide({})
    return None if ruling.error else bool(ruling.policies)


def _unknown_words(when: str) -> Iterator[str]:
    used = [(m[3], m[2]) for m in _IN.finditer(when)]
    used += [(m[1], word[2]) for m in _EXISTS.finditer(when) for word in _STRING.finditer(m[3])]
    for variable, word in used:
        if word not in _WORDS[variable]:
            yield f"{word!r} is never among {variable}; known: {', '.join(sorted(_WORDS[variable]))}"
    for match in _KIND.finditer(when):
        if match[2] not in {str(k) for k in PrincipalKind}:
            yield f"principal.kind is never {match[2]!r}; it is human, agent or service"
