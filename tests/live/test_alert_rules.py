"""The alert rules, by promtool: they parse, fire and stay quiet as their tests say, and name no metric that is not there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promtool import promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
MANUAL = "".join((ROOT / "docs" / name).read_text() for name in ("api.md", "metrics.md"))
METRICS = set(re.findall(r"^\| `(affidavit_\w+)` \|", MANUAL, re.M))


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return run("check", "rules", str(folder / "alerts.yaml"))


def try_rules(folder: Path) -> subprocess.CompletedProcess[str]:
    return run("test", "rules", str(folder / "alerts_test.yaml"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool(), *arguments], capture_output=True, text=True, check=False)


def written(tmp_path: Path, rules: list[dict[str, Any]]) -> Path:
    """Write other rules beside the tests of ours."""
    shutil.copy(FOLDER / "alerts_test.yaml", tmp_path)
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump({"groups": [{"name": "affidavit", "rules": rules}]}))
    return tmp_path


def unknown(rules: list[dict[str, Any]]) -> set[str]:
    named = {name for rule in rules for name in re.findall(r"\baffidavit_\w+", rule["expr"])}
    return {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in named} - METRICS


def test_the_rules_parse_and_fire_as_their_tests_say() -> None:
    for done in (check(FOLDER), try_rules(FOLDER)):
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_name_only_metrics_of_the_manual() -> None:
    assert unknown(RULES) == set()
    assert unknown([{"expr": "affidavit_pipeline_lagg_blocks > 0"}]) == {"affidavit_pipeline_lagg_blocks"}


def test_an_expression_that_does_not_parse_is_found(tmp_path: Path) -> None:
    done = check(written(tmp_path, [{**RULES[0], "expr": "affidavit_node_ready =="}]))
    assert done.returncode != 0
    assert "parse error" in done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
@pytest.mark.parametrize("fault", ["never", "always"])
def test_a_rule_that_never_or_always_fires_fails_its_test(tmp_path: Path, rule: dict[str, Any], fault: str) -> None:
    metric = re.findall(r"\baffidavit_\w+", rule["expr"])[0]
    expression = f"{metric} < -1" if fault == "never" else f"{metric} >= 0"
    changed = [{**r, "expr": expression} if r is rule else r for r in RULES]
    folder = written(tmp_path, changed)
    assert check(folder).returncode == 0, "the fault must be one of meaning, not of syntax"
    assert try_rules(folder).returncode != 0
