"""Dangers that only the classes of columns tell: what is shown as it is, and what is asked of what is masked."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ingest.guard.guard import Guard
from ingest.masking import DatabaseMasking
from processors.policy.context import DEFAULTS, SUBJECT
from processors.statements import Analyser, Lexing, Statement
from schemas.classes import DataClass as C
from schemas.classes import Style
from schemas.events import Danger
from tests.support.pg_conversation import TOKENIZER, Conversation
from tests.unit.test_pg_guard import make_policy
from tests.unit.test_pg_masking import CATALOGUE, SCANNER, Snapshots

SHOWS, ASKS = Danger.SENSITIVE_READ, Danger.INFERENCE
NOTHING: frozenset[C] = frozenset()
ALL = frozenset(C)


@pytest.fixture(scope="module")
def masks() -> DatabaseMasking:
    return DatabaseMasking(Snapshots(CATALOGUE), TOKENIZER, SCANNER, {}, Style.REDACT)


def statement(sql: str) -> Statement:
    lexing = Lexing(search_path=("public",), catalogue=CATALOGUE)
    return Analyser(TOKENIZER).analyse(sql.encode(), lexing).statements[0]


@pytest.mark.parametrize(("sql", "masked", "clear"), [
    ("SELECT email FROM people", (), (SHOWS,)),
    ("SELECT * FROM people", (), (SHOWS,)),
    ("SELECT id FROM people WHERE email = 'x'", (ASKS,), ()),
    ("SELECT id FROM people ORDER BY email", (ASKS,), ()),
    ("SELECT count(*) FROM people GROUP BY email", (ASKS,), ()),
    ("SELECT p.id FROM people p JOIN plain q ON q.a = p.email", (ASKS,), ()),
    ("SELECT id FROM people WHERE CASE WHEN email LIKE 'a%' THEN 1 ELSE 0 END = 1", (ASKS,), ()),
    ("SELECT id FROM listed WHERE x LIKE 'a%'", (ASKS,), ()),
    ("UPDATE people SET id = 1 WHERE email LIKE 'a%'", (ASKS,), ()),
    ("SELECT id FROM people WHERE id = 1", (), ()),
    ("SELECT a FROM plain WHERE a = 'x'", (), ()),
    ("SELECT relname FROM pg_catalog.pg_class", (), ()),
    ("SELECT 1", (), ()),
])  # fmt: skip
def test_harms(masks: DatabaseMasking, sql: str, masked: tuple[Danger, ...], clear: tuple[Danger, ...]) -> None:
    assert masks.harms(statement(sql), NOTHING) == masked
    assert masks.harms(statement(sql), ALL) == clear


def test_without_a_catalogue_nothing_is_told() -> None:
    blind = DatabaseMasking(None, TOKENIZER, SCANNER, {}, Style.REDACT)
    assert blind.harms(statement("SELECT email FROM people ORDER BY email"), NOTHING) == ()


def test_rules_see_them_by_what_each_session_may_see(masks: DatabaseMasking) -> None:
    rules = [
        {"id": "asks", "effect": "deny", "when": "'inference' in statement.dangers", "reason": "x"},
        {"id": "shows", "effect": "alert", "when": "'sensitive_read' in statement.dangers", "reason": "x"},
    ]
    see = {"id": "support", "classes": ["email"], "when": "'support' in principal.groups", "reason": "x"}
    guard = Guard(make_policy(rules, clear=[see]))

    def verdict(sql: str, groups: list[str]) -> tuple[str, list[str]]:
        subject: dict[str, Any] = {**{name: DEFAULTS[name] for name in SUBJECT}, "principal.groups": groups}
        session = guard.session(subject, "s", Conversation().session, 0)
        session.classes, session.columns = masks.classes, masks
        decision = orjson.loads(session.judge(statement(sql), {}, 1).fragment)
        return decision["verdict"], decision["policies"]

    for _ in range(2):
        assert verdict("SELECT id FROM people WHERE email = 'x'", []) == ("deny", ["asks"])
        assert verdict("SELECT id FROM people WHERE email = 'x'", ["support"]) == ("allow", [])
        assert verdict("SELECT email FROM people", ["support"]) == ("alert", ["shows"])
        assert verdict("SELECT email FROM people", []) == ("allow", [])
