"""Starter bundles hold their own tests, `policy check` finds what is wrong, `policy test` fails where a case does not hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli import run
from deploy.policy_commands import analysed, check, load_policy, simulated
from deploy.policy_commands import test as run_cases
from processors.policy.bundle import BoundRule, CounterRule, PolicyError, read_bundle
from processors.policy.context import DEFAULTS
from query_api.examples import EXAMPLES
from schemas.events import Verdict

POLICIES = Path(__file__).parents[2] / "deploy" / "policies"
PRODUCTION, AGENTS = POLICIES / "production.yaml", POLICIES / "agents.yaml"


@pytest.mark.parametrize("files", [[PRODUCTION], [AGENTS], [PRODUCTION, AGENTS]], ids=["production", "agents", "both"])
def test_a_starter_bundle_is_in_order_and_its_cases_hold(files: list[Path]) -> None:
    assert check(files)[1], check(files)[0]
    assert run_cases(files)[1], run_cases(files)[0]


@pytest.mark.parametrize("files", [[PRODUCTION], [AGENTS]], ids=["production", "agents"])
def test_every_rule_of_a_starter_bundle_has_a_case_that_matches_and_one_that_does_not(files: list[Path]) -> None:
    for rule in load_policy(files).bundle.rules:
        if isinstance(rule, BoundRule | CounterRule):  # of a limit: it matches statements that are allowed as well
            continue
        if not rule.when.startswith("session."):
            assert {case.matches for case in rule.tests} == {True, False}, rule.id
        assert rule.reason and rule.risk


@pytest.mark.parametrize(
    ("sql", "given"),
    [
        ("SELECT * FROM orders WHERE id = 1", {}),
        (
            "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer WHERE o.state = 'open' ORDER BY 1 LIMIT 20",
            {},
        ),
        ("INSERT INTO orders (customer) VALUES (1) RETURNING id", {}),
        ("DELETE FROM orders WHERE id = 1", {}),
        ("SELECT count(*), max(created) FROM orders GROUP BY state", {}),
        ("SHOW server_version", {}),
        ("ROLLBACK TO SAVEPOINT a", {}),
        ("EXPLAIN SELECT * FROM orders", {}),
        ("SELECT * FROM orders WHERE id = 1 FOR UPDATE", {}),
        ("SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a", {}),
        ("CREATE INDEX ON orders (state)", {"principal.groups": ["migrations"]}),
    ],
)
def test_everyday_statements_pass_the_production_bundle(sql: str, given: dict[str, Any]) -> None:
    ruling = load_policy([PRODUCTION]).decide({**DEFAULTS, **analysed(sql), **given})
    assert ruling.verdict in (Verdict.ALLOW, Verdict.ALERT), ruling


def bundle(path: Path, *rules: dict[str, Any], **members: Any) -> list[Path]:
    whole = [{"reason": "x", "effect": "deny", "tests": [{"matches": True}], **r} for r in rules]
    path.write_text(yaml.safe_dump({"bundle": "b", "rules": whole, **members}))
    return [path]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"id": "a", "when": "'dorp' in statement.dangers"}], "'dorp' is never among statement.dangers"),
        ([{"id": "a", "when": "statement.flags.exists(f, f in ['ddl', 'dll'])"}], "'dll' is never among statement.flags"),
        ([{"id": "a", "when": "principal.kind == 'robot'"}], "never 'robot'"),
        ([{"id": "a", "when": "1 == 2"}], "can never match"),
        ([{"id": "a", "when": "time.frozen", "effect": "allow"}], "can change nothing"),
        (
            [{"id": "a", "when": "time.frozen"}, {"id": "b", "when": " time.frozen ", "effect": "mask"}],
            "rule b: conflicts with a",
        ),
        ([{"id": "a", "when": "time.frozen"}, {"id": "b", "when": "time.frozen"}], "rule b: repeats a"),
        ([{"id": "a", "when": "true"}, {"id": "b", "when": "time.frozen"}], "denies everything"),
        ([{"id": "a", "when": "time.frozen", "tests": []}], "has no tests"),
    ],
)
def test_check_doubts_what_is_probably_not_meant(rules: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    lines, good = check(bundle(tmp_path / "p.yaml", *rules))
    assert not good and any(said in line for line in lines), lines


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"given": {"time.frozen": False}, "matches": True}, "does not match, and must"),
        ({"given": {"time.frozen": True}, "matches": False}, "matches, and must not"),
        ({"given": {"time.frozn": True}, "matches": True}, "there is no variable time.frozn"),
        ({"given": {"time.hour": "3"}, "matches": True}, "must be a int"),
        ({"sql": "SELECT 1; SELECT 2", "matches": True}, "holds 2 statements"),
    ],
)
def test_a_case_that_does_not_hold_is_told(case: dict[str, Any], said: str, tmp_path: Path) -> None:
    lines, good = run_cases(bundle(tmp_path / "p.yaml", {"id": "a", "when": "time.frozen", "tests": [case]}))
    assert not good and said in lines[0]


def test_a_case_of_the_bundle_names_verdict_and_rules(tmp_path: Path) -> None:
    cases = [
        {"name": "wrong", "expect": "deny"},
        {"name": "who", "given": {"time.frozen": True}, "expect": "deny", "rules": ["b"]},
    ]
    lines, good = run_cases(bundle(tmp_path / "p.yaml", {"id": "a", "when": "time.frozen", "tests": []}, tests=cases))
    assert not good
    assert lines[0] == "test 'wrong': gives allow by no rule, not deny"
    assert lines[1] == "test 'who': b did not match; a did"


def test_the_commands_print_and_exit_as_they_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "check", str(PRODUCTION)]) == 0
    assert run(["policy", "test", str(PRODUCTION)]) == 0
    assert "0 failed" in capsys.readouterr().out
    for command, numbers in (("check", {"rules", "doubts"}), ("test", {"cases", "failed"})):
        assert run(["policy", command, str(PRODUCTION), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert set(said) == {"bundle"} | numbers and said["bundle"].startswith("production@")
    bad = tmp_path / "bad.yaml"
    bad.write_text("bundle: b\nrules: [{id: a, effect: deny, when: principal.nam == 'x', reason: x}]")
    assert run(["policy", "check", str(bad)]) == 1
    assert "rule a" in capsys.readouterr().err
    assert run(["policy", "check", str(tmp_path / "none.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_what_a_simulation_tells_of_recorded_text_is_nothing_a_terminal_obeys(tmp_path: Path) -> None:
    denies = bundle(tmp_path / "p.yaml", {"id": "a", "when": "true"})
    event = EXAMPLES["/api/v1/events"]["items"][0]
    event = event | {"text": "SELECT \x1b]0;owned\x07", "principal": event["principal"] | {"id": "ana\x1b[2J"}}
    line, summary = simulated(denies, [event])
    assert line == "      1  allow -> deny  ana�[2J  a  SELECT �]0;owned�" and line.isprintable()
    assert summary.endswith(": 1 executions (1 deny), 1 decided otherwise")
    first, last = (json.loads(line) for line in simulated(denies, [event], as_json=True))
    assert (first["count"], first["was"], first["would"], first["policies"]) == (1, "allow", "deny", ["a"])
    assert {name: last[name] for name in ("judged", "otherwise", "verdicts")} == {
        "judged": 1,
        "otherwise": 1,
        "verdicts": {"deny": 1},
    }


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("id: A b", "rules[0].id: must be lower case letters, digits, `-`, `_` and `.`, at most 64, not 'A b'"),
        ("reason: no", "rules[0].reason: must be text, and YAML reads this as false: put it in quotes"),
        ("reason: 12", "rules[0].reason: must be text, not 12: put it in quotes"),
        ("effect: denyy", "rules[0].effect: must be 'allow', 'alert', 'mask', 'hold' or 'deny', not 'denyy'"),
        ("risk: many", "rules[0].risk: must be a whole number, not 'many'"),
        ("wen: 'true'", "rules[0].wen: is no member here; docs/policy.md lists them"),
        ("tests: none", "rules[0].tests: must be a list, each item behind `- `, not 'none'"),
    ],
)
def test_a_mistake_in_a_rule_is_told_with_what_stands_there(rule: str, said: str) -> None:
    lines = {"id": "id: a", "effect": "effect: deny", "when": "when: 'true'", "reason": "reason: because"}
    lines[rule.partition(":")[0]] = rule
    text = "bundle: b\nrules:\n  - " + "\n    ".join(lines.values())
    with pytest.raises(PolicyError) as caught:
        read_bundle({"b.yaml": text.encode()})
    assert str(caught.value) == f"b.yaml: {said}"
