"""Runs the cases that stand beside rules and bundles: each says what a statement, or some values, must lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from processors.policy.bundle import Mode
from processors.policy.context import DEFAULTS, SUBJECT, VARIABLES, Values
from processors.policy.decide import Policy

Analyse = Callable[[str], Values]
"""Returns the values of a statement's text (`statement_values`)."""

_PYTHON = {"string": str, "int": int, "bool": bool, "list of string": list, "map": dict}


def failures(policy: Policy, analyse: Analyse) -> Iterator[str]:
    """Yield one line for each case that does not hold."""
    for rule in policy.bundle.rules:
        for number, case in enumerate(rule.tests, 1):
            name = f"rule {rule.id}, test {number}"
            try:
                values = case_values(case.given, case.sql, analyse, rule.environments)
            except ValueError as error:
                yield f"{name}: {error}"
                continue
            policies = policy.decide(values).policies
            said = f"shadow:{rule.id}" if rule.mode is Mode.SHADOW else rule.id
            if f"error:{rule.id}" in policies:
                yield f"{name}: the rule errs"
            elif (said in policies) != case.matches:
                yield f"{name}: {'does not match, and must' if case.matches else 'matches, and must not'}"
    for whole in policy.bundle.cases:
        try:
            values = case_values(whole.given, whole.sql, analyse, ())
        except ValueError as error:
            yield f"test {whole.name!r}: {error}"
            continue
        ruling = policy.decide(values)
        by = ", ".join(ruling.policies) or "no rule"
        if ruling.verdict is not whole.expect:
            yield f"test {whole.name!r}: gives {ruling.verdict} by {by}, not {whole.expect}"
        elif missing := set(whole.rules) - set(ruling.policies):
            yield f"test {whole.name!r}: {', '.join(sorted(missing))} did not match; {by} did"


def count(policy: Policy) -> int:
    """Return how many cases there are."""
    return len(policy.bundle.cases) + sum(len(rule.tests) for rule in policy.bundle.rules)


def case_values(given: Mapping[str, Any], sql: str, analyse: Analyse, environments: tuple[str, ...]) -> Values:
    """Return all values of a case: what is given, over what its statement says, over defaults. Raises ValueError."""
    values = dict(DEFAULTS)
    if environments:
        values["database.environment"] = environments[0]
    if sql:
        values.update(analyse(sql))
    for name, value in given.items():
        if name not in VARIABLES:
            near = ", ".join(v for v in VARIABLES if v.partition(".")[0] == name.partition(".")[0]) or ", ".join(SUBJECT)
            raise ValueError(f"there is no variable {name}; known: {near}")
        if type(value) is not _PYTHON[VARIABLES[name].type_name]:
            raise ValueError(f"{name} must be a {VARIABLES[name].type_name}")
        values[name] = value
    return values
