"""The evasion suite through the starter bundle for production: nothing dangerous passes unseen, nothing everyday is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.policy import Policy, Values, moment_values, read_bundle, statement_values, subject_values
from processors.statements import Analyser, Lexing, Tokenizer
from schemas.events import Database, Principal, PrincipalKind, Verdict
from tests.unit.test_evasion import DANGEROUS, EVERYDAY, TOOLS

FILE = Path(__file__).parents[2] / "deploy" / "policies" / "production.yaml"
SHOP = Database(alias="shop", engine="postgres", environment="production", name="shop")
NOON = 1_790_000_000_000_000
PASSES = (Verdict.ALLOW, Verdict.ALERT)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(read_bundle({FILE.name: FILE.read_bytes()}))


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32))


def verdicts(policy: Policy, analyser: Analyser, sql: str, *groups: str) -> set[Verdict]:
    who = Principal(id="dana", kind=PrincipalKind.HUMAN, groups=groups)
    subject = subject_values(who, SHOP, "app", "127.0.0.1:5000", True)
    course: Values = dict.fromkeys(policy_counters(policy), 0)
    found = set()
    for statement in analyser.analyse(sql.encode(), Lexing()).statements:
        values = {**subject, **statement_values(statement.facts, statement.fingerprint, {}), **course}
        values |= moment_values(NOON, policy.bundle.zone, policy.bundle.frozen(NOON, SHOP.environment))
        found.add(policy.decide(values).verdict)
    return found


def policy_counters(policy: Policy) -> list[str]:
    from processors.policy import VARIABLES

    return [name for name in VARIABLES if name.startswith("session.")]


@pytest.mark.parametrize(("danger", "sql"), DANGEROUS, ids=[sql for _, sql in DANGEROUS])
def test_nothing_dangerous_passes_unseen(policy: Policy, analyser: Analyser, danger: str, sql: str) -> None:
    assert verdicts(policy, analyser, sql.replace("\\n", "\n")) != {Verdict.ALLOW}


@pytest.mark.parametrize("sql", EVERYDAY)
def test_nothing_everyday_is_stopped(policy: Policy, analyser: Analyser, sql: str) -> None:
    assert verdicts(policy, analyser, sql) <= set(PASSES)


@pytest.mark.parametrize(("tool", "sql"), TOOLS, ids=[f"{tool} {i}" for i, (tool, _) in enumerate(TOOLS)])
def test_what_tools_ask_is_not_stopped(policy: Policy, analyser: Analyser, tool: str, sql: str) -> None:
    """Django's are those of a migration, and so of whoever may migrate."""
    groups = ("migrations",) if tool.startswith("django") else ()
    assert verdicts(policy, analyser, sql, *groups) <= set(PASSES)
