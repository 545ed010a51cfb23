"""The evasion suite through both starter bundles, as an agent: for a person everyday work goes on, for nobody all that reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.policy import Policy, Ruling, read_bundle, statement_values, subject_values
from processors.policy.context import DEFAULTS
from processors.statements import Analyser, Lexing, Tokenizer
from schemas.events import Database, Principal, PrincipalKind, Verdict
from tests.unit.test_evasion import DANGEROUS, EVERYDAY, TOOLS

FOLDER = Path(__file__).parents[2] / "deploy" / "policies"
SHOP = Database(alias="shop", engine="postgres", environment="production", name="shop")
SENT = [*EVERYDAY, *(sql for tool, sql in TOOLS if not tool.startswith("django"))]
"""Django's are those of a migration, which is no agent's."""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(read_bundle({p.name: p.read_bytes() for p in (FOLDER / "production.yaml", FOLDER / "agents.yaml")}))


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32))


def rulings(policy: Policy, analyser: Analyser, sql: str, behalf: str) -> list[tuple[Ruling, bool]]:
    """Return what is said to each statement of a text, and whether it writes."""
    chain = (behalf,) if behalf else ()
    who = Principal(id="copilot", kind=PrincipalKind.AGENT, on_behalf_of=behalf, delegation=chain)
    values = {**DEFAULTS, **subject_values(who, SHOP, "app", "127.0.0.1:5000", True)}
    found = []
    for statement in analyser.analyse(sql.encode(), Lexing()).statements:
        seen = statement_values(statement.facts, statement.fingerprint, {})
        found.append((policy.decide({**values, **seen}), bool(statement.facts.writes)))
    return found


@pytest.mark.parametrize("sql", SENT)
def test_nothing_everyday_is_stopped_for_a_person_and_no_reading_for_nobody(policy: Policy, analyser: Analyser, sql: str) -> None:
    assert not any(ruling.stops for ruling, _ in rulings(policy, analyser, sql, "ana"))
    for ruling, writes in rulings(policy, analyser, sql, ""):
        assert ruling.stops == writes
        assert not ruling.stops or ruling.rule == "agents-write-for-somebody"


@pytest.mark.parametrize(("danger", "sql"), DANGEROUS, ids=[sql for _, sql in DANGEROUS])
@pytest.mark.parametrize("behalf", ["", "ana"])
def test_nothing_dangerous_passes_unseen(policy: Policy, analyser: Analyser, danger: str, sql: str, behalf: str) -> None:
    found = rulings(policy, analyser, sql.replace("\\n", "\n"), behalf)
    assert {ruling.verdict for ruling, _ in found} != {Verdict.ALLOW}
