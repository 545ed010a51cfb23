"""How much of a table does a condition leave? By statistics that are numbers alone, and never less than it may be."""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

import pytest

from ingest.guard.guard import Guard
from processors.policy import read_bundle, subject_values
from processors.policy.decide import Policy
from processors.statements import Analyser, Lexing
from processors.statements.catalogue import Column, Relation, build
from processors.statements.sizes import Change, Size, Sizes, change_of
from schemas.events import Danger
from schemas.events.base import Database, Principal, PrincipalKind
from tests.support.pg_conversation import TOKENIZER

SIZES: Sizes = {
    "orders": {"public": Size(100_000, {"id": 1e-5, "state": 0.9, "kind": 0.25, "customer": 0.001}, {"note": 0.5, "state": 0.0}), "old": Size(2000, {"state": 0.1})},
    "kinds": {"public": Size(1500, {"name": 1 / 1500})},
}  # fmt: skip


def change(text: str, sizes: Sizes = SIZES) -> Change:
    [statement] = Analyser(TOKENIZER).analyse(text.encode(), Lexing()).statements
    return change_of(statement.shape.changes, sizes)


@pytest.mark.parametrize(
    ("text", "rows", "percent", "known"),
    [
        ("UPDATE orders SET a = 1 WHERE id = 7", 1, 1, True),
        ("UPDATE orders SET a = 1 WHERE id = $1", 1, 1, True),
        ("UPDATE orders o SET a = 1 WHERE o.id = 7::bigint", 1, 1, True),
        ("UPDATE orders SET a = 1 WHERE 7 = id AND state = 'x'", 1, 1, True),
        ("DELETE FROM orders WHERE state = 'done'", 90_000, 90, True),
        ("WITH a AS (DELETE FROM far WHERE x = 1 RETURNING 1) DELETE FROM orders WHERE id = 7", 1, 1, False),
        ("DELETE FROM old.orders WHERE state = 'done'", 200, 10, True),
        ("DELETE FROM orders WHERE state = 'a' OR kind = 'b'", 100_000, 100, True),
        ("DELETE FROM orders WHERE customer = 1 OR customer = 2", 200, 1, True),
        ("DELETE FROM orders WHERE id IN (1, 2, 3)", 100, 1, True),
        ("DELETE FROM orders WHERE customer = ANY($1)", 10_000, 10, True),
        ("DELETE FROM orders WHERE note IS NULL", 50_000, 50, True),
        ("DELETE FROM orders WHERE state IS NULL", 0, 0, True),
        ("DELETE FROM orders WHERE kind = 'a' AND placed < now()", 25_000, 25, True),
        ("DELETE FROM orders WHERE kind = 'a' OR placed < now()", 100_000, 100, False),
        ("DELETE FROM orders WHERE placed < '2025-01-01'", 100_000, 100, False),
        ("DELETE FROM orders WHERE nobody = 1", 100_000, 100, False),
        ("DELETE FROM orders WHERE kind <> 'a'", 100_000, 100, False),
        ("DELETE FROM orders WHERE NOT kind = 'a'", 100_000, 100, False),
        ("DELETE FROM orders WHERE kind = kind", 100_000, 100, False),
        ("DELETE FROM orders WHERE id = id + 0", 100_000, 100, False),
        ("DELETE FROM orders WHERE id IN (SELECT id FROM kinds)", 100_000, 100, False),
        ("DELETE FROM orders WHERE id = (SELECT max(id) FROM orders)", 100_000, 100, False),
        ("DELETE FROM orders WHERE id IN (1, id)", 100_000, 100, False),
        ("DELETE FROM orders USING kinds WHERE name = 'x'", 100_000, 100, False),
        ("UPDATE orders SET a = 1 FROM kinds k WHERE k.name = 'x' AND orders.id = 3", 1, 1, True),
        ("DELETE FROM orders", 100_000, 100, False),
        ("MERGE INTO orders o USING kinds k ON o.id = k.id WHEN MATCHED THEN DELETE", 100_000, 100, False),
        (
            "WITH x AS (DELETE FROM orders WHERE state = 'a' RETURNING 1) UPDATE kinds SET a = 1 WHERE name = 'n'",
            90_000,
            90,
            True,
        ),
        ("DO $$ BEGIN DELETE FROM orders WHERE state = 'a'; END $$", 90_000, 90, True),
        ("SELECT * FROM orders", 0, 0, False),
        ("INSERT INTO orders VALUES (1)", 0, 0, False),
    ],
)
def test_the_estimate_is_of_the_most_that_a_condition_may_leave(text: str, rows: int, percent: int, known: bool) -> None:
    found = change(text)
    assert (found.rows, found.percent, found.known) == (rows, percent, known)


def test_of_a_table_without_statistics_nothing_is_known() -> None:
    assert change("DELETE FROM orders WHERE id = 1", {}) == Change(-1, -1, 100, False)


def test_a_decision_that_is_remembered_follows_the_statistics() -> None:
    text = b"bundle: b\nrules: [{id: big, effect: deny, when: change.known && change.percent > 50, reason: Too much.}]"
    bundle = read_bundle({"b.yaml": text})
    guard = Guard(Policy(bundle))
    subject = subject_values(
        Principal(id="ana", kind=PrincipalKind.HUMAN),
        Database(alias="shop", engine="postgres", environment="production", name="shop"),
        "ana",
        "127.0.0.1:1",
        True,
    )

    class Counters:
        statements = bytes_in = bytes_out = rows = 0

    session = guard.session(subject, "s", Counters(), 0)
    [statement] = Analyser(TOKENIZER).analyse(b"DELETE FROM orders WHERE state = 'x'", Lexing()).statements
    sizes: tuple[int, Sizes] = (1, SIZES)
    session.sizes = lambda: sizes
    assert session.judge(statement, {}, 1).stops
    sizes = (2, {"orders": {"public": Size(100_000, {"state": 0.2})}})
    assert not session.judge(statement, {}, 1).stops
    sizes = (3, {})
    assert not session.judge(statement, {}, 1).stops


STAFF = (
    Column("id", 1, "integer", True), Column("on_duty", 2, "boolean"), Column("email", 3, "text"), Column("active", 4, "integer"),
    Column("archived", 5, "text"), Column("deleted_at", 6, "date"),
)  # fmt: skip
MEASURED = Size(100_000, nulls={"email": 0.01, "on_duty": 0.0}, keys={"id": (1, 100_000)}, truths={"on_duty": 0.97})
LARGE = build(
    [Relation("public", "staff", "r", 20001, 100_000, columns=STAFF)], [],
    builtins=[(1, "coalesce")], sizes={"staff": {"public": MEASURED}},
)  # fmt: skip


@pytest.mark.parametrize(
    "condition",
    [
        "on_duty = 't'", "on_duty IN (true)", "on_duty IN ('yes', NULL)", "on_duty = ANY('{t}')", "on_duty = ANY(ARRAY[true])",
        "on_duty::int = 1", "on_duty IS NOT DISTINCT FROM true", "coalesce(on_duty, true) = 'true'::boolean", "email IS NOT NULL",
        "id > 1 + 1", "id > greatest(1, 2)", "active = 1", "deleted_at IS NOT DISTINCT FROM NULL", "archived = 'N'",
        "EXISTS (SELECT FROM teams t WHERE t.lead <> staff.id)",
    ],
)  # fmt: skip
def test_what_holds_of_nearly_all_rows_does_so_however_it_is_written(condition: str) -> None:
    assert is_mass(condition)


@pytest.mark.parametrize(
    "condition",
    [
        "on_duty = 'f'", "on_duty IN (false)", "on_duty = ANY('{f}')", "NOT on_duty", "id > 99000 + 900", "id = 1 + 1", "email = 't'",
        "archived = 1", "active = 0", "deleted_at = '2024-01-01'", "active AND email = 'x'", "on_duty = (SELECT false)",
    ],
)  # fmt: skip
def test_what_leaves_most_out_restricts(condition: str) -> None:
    assert not is_mass(condition)


def is_mass(condition: str) -> bool:
    lexing = Lexing(search_path=("public",), catalogue=LARGE)
    [statement] = Analyser(TOKENIZER).analyse(f"UPDATE staff SET a = 1 WHERE {condition}".encode(), lexing).statements
    return Danger.MASS_UPDATE in statement.facts.dangers
