"""The evasion suite: dangerous statements in every disguise must show their danger, everyday ones none that is blocked.

`tests/golden/evasion/dangerous.txt` and `everyday.txt` hold statements by hand; `tools.json` holds what the `d` commands of psql,
SQLAlchemy, Django (its migrations without those that drop a column) and asyncpg sent to a real server.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from processors.statements import Analyser, Lexing, Tokenizer
from schemas.events import Danger

FOLDER = Path(__file__).parents[1] / "golden" / "evasion"
HARMLESS = frozenset((Danger.ADVISORY_LOCK, Danger.UNKNOWN_CODE, Danger.SCHEMA_CHANGE))
"""Dangers that everyday work shows: recorded, and for a policy to use with other facts, never to block alone."""


def _lines(name: str) -> list[str]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


DANGEROUS = [tuple(line.split(": ", 1)) for line in _lines("dangerous.txt")]
EVERYDAY = _lines("everyday.txt")
TOOLS = [(name, sql) for name, found in json.loads((FOLDER / "tools.json").read_text()).items() for sql in found]


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32))


def dangers(analyser: Analyser, sql: str) -> set[Danger]:
    return {d for s in analyser.analyse(sql.encode(), Lexing()).statements for d in s.facts.dangers}


@pytest.mark.parametrize(("expected", "sql"), DANGEROUS, ids=[sql for _, sql in DANGEROUS])
def test_a_dangerous_statement_shows_its_danger(analyser: Analyser, expected: str, sql: str) -> None:
    assert Danger(expected) in dangers(analyser, sql.replace("\\n", "\n"))


@pytest.mark.parametrize("sql", EVERYDAY)
def test_an_everyday_statement_shows_none(analyser: Analyser, sql: str) -> None:
    assert dangers(analyser, sql) <= HARMLESS


@pytest.mark.parametrize(("tool", "sql"), TOOLS, ids=[f"{tool} {i}" for i, (tool, _) in enumerate(TOOLS)])
def test_what_tools_ask_is_no_enumeration(analyser: Analyser, tool: str, sql: str) -> None:
    assert dangers(analyser, sql) <= HARMLESS


def test_the_suite_is_as_large_as_it_says() -> None:
    assert len(DANGEROUS) >= 300
    assert len(EVERYDAY) + len(TOOLS) >= 400
    assert {Danger(d) for d, _ in DANGEROUS} >= set(Danger) - HARMLESS - {Danger.SENSITIVE_READ, Danger.INFERENCE}
