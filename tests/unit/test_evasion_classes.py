"""Classes of evasion that a suite by another hand found, each by its shape: over a small catalogue with statistics."""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

import pytest

from processors.statements import Analyser, Lexing
from processors.statements.catalogue import Catalogue, Column, Function, Relation, build
from processors.statements.sizes import Size
from schemas.events import Danger
from tests.support.pg_conversation import TOKENIZER

D = Danger


def table(name: str, *columns: str, rows: float = 0, **more: object) -> Relation:
    numbered = tuple(Column(c, n, "bigint", not_null=True) for n, c in enumerate(columns, 1))
    return Relation("public", name, more.pop("kind", "r"), 1, rows, columns=numbered, **more)  # type: ignore[arg-type]


WIPE = Function("public", "wipe", "sql", "v", "DELETE FROM customers", 20_001)
CATALOGUE: Catalogue = build(
    [
        table("branches", "id", rows=40),
        table("customers", "id", "branch_id", rows=12_000, belongs=(("public.branches", "branch_id"),)),
        table("accounts", "id", "customer_id", "state", rows=60_000, belongs=(("public.customers", "customer_id"),)),
        table("entries", "id", "account_id", rows=120_000),
        table("entries_a", "id", rows=70_000, kin=("public.entries",)),
        table("entries_b", "id", rows=50_000, kin=("public.entries",)),
        table("settings", "id", rows=50),
        table("on_delete", "id", triggers=(("delete", "public.wipe"),)),
        table("on_update", "id", rules=(("update", "DELETE FROM customers"),)),
        table("children", "id", triggers=(("update", "public.wipe"),)),
        table("parents", "id", cascades=(("delete", "public.children", ("id",)),)),
        table("half", "id", triggers=(("insert", "public.wipe"),), kin=("public.halves",)),
        table("open_accounts", "id", "state", kind="v", definition="SELECT id, state FROM public.accounts WHERE state = 1"),
    ],
    [WIPE],
    sizes={
        "accounts": {"public": Size(60_000, {"state": 0.95}, keys={"id": (1.0, 60_000.0)})},
        "customers": {"public": Size(12_000)},
    },
)


def dangers(text: str) -> set[Danger]:
    found = Analyser(TOKENIZER)._select(Lexing(search_path=("public",), catalogue=CATALOGUE)).analyse(text.encode()).statements
    return {danger for statement in found for danger in statement.facts.dangers}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DELETE FROM on_delete WHERE id = 1", {D.MASS_DELETE}),
        ("INSERT INTO on_delete VALUES (1)", set()),
        ("UPDATE on_delete SET id = 2 WHERE id = 1", set()),
        ("UPDATE on_update SET id = 2 WHERE id = 1", {D.MASS_DELETE}),
        ("INSERT INTO on_update VALUES (1)", set()),
        ("INSERT INTO on_update VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2", {D.MASS_DELETE}),
        ("MERGE INTO on_delete t USING (VALUES (1)) AS v (id) ON t.id = v.id WHEN MATCHED THEN DELETE", {D.MASS_DELETE}),
        ("MERGE INTO on_delete t USING (VALUES (1)) AS v (id) ON t.id = v.id WHEN NOT MATCHED THEN INSERT VALUES (1)", set()),
        ("DELETE FROM parents WHERE id = 1", {D.MASS_DELETE}),  # the children may be updated: ON DELETE SET NULL
        ("UPDATE half SET id = 2 WHERE id = 1", {D.MASS_DELETE}),  # a row that moves is inserted where it belongs
        ("COPY half FROM STDIN", {D.MASS_DELETE}),
    ],
)
def test_triggers_and_rules_run_at_their_events(text: str, expected: set[Danger]) -> None:
    assert dangers(text) & {D.MASS_DELETE} == expected


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE accounts a SET state = 2 FROM customers c JOIN branches b ON b.id = c.branch_id WHERE c.id = a.customer_id",
        "DELETE FROM accounts a USING customers c, branches b WHERE b.id = c.branch_id AND c.id = a.customer_id",
        "DELETE FROM accounts a USING customers c LEFT JOIN branches b ON b.id = 3 WHERE c.id = a.customer_id",
        "DELETE FROM open_accounts WHERE id IN (SELECT id FROM open_accounts)",
        "DELETE FROM accounts WHERE id IN (SELECT id FROM accounts FETCH FIRST 60000 ROWS ONLY)",
        "DELETE FROM accounts WHERE id IN (SELECT id LIMIT 1)",
        "DELETE FROM accounts WHERE id = (SELECT id LIMIT $1)",
        "DELETE FROM accounts WHERE id IN (SELECT accounts.id FROM (VALUES (1)) v)",
        "DELETE FROM accounts WHERE id IN (SELECT accounts.id FROM customers WHERE customers.id = 3)",
        "UPDATE accounts a SET state = 2 WHERE a.id = (SELECT a.id FROM customers c WHERE c.id = 3)",
        "DELETE FROM accounts WHERE id IN (SELECT accounts.id FROM customers LIMIT 1)",
        "DELETE FROM accounts WHERE id = (SELECT accounts.id FROM customers LIMIT $1)",
        "DELETE FROM accounts WHERE id IN (SELECT accounts.id FROM (VALUES (1)) v LIMIT 1)",
        "DELETE FROM accounts WHERE id IN (SELECT id FROM (VALUES (1)) v LIMIT 1)",
        "DELETE FROM accounts WHERE id IN (SELECT a FROM (SELECT accounts.id AS a LIMIT 1) s LIMIT 1)",
        "DELETE FROM accounts WHERE id IN (SELECT id LIMIT 999999999)",
        "DELETE FROM accounts WHERE EXISTS (SELECT 1 LIMIT 5)",
        "DELETE FROM accounts WHERE EXISTS (SELECT LIMIT 2000000)",
        "DELETE FROM accounts WHERE id IN (WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n)",
        "DELETE FROM accounts WHERE state = ANY (enum_range(NULL::kind))",
        "DELETE FROM accounts WHERE state @> now()",
        "DELETE FROM accounts a WHERE a.state @> current_date",
    ],
)
def test_what_picks_every_row_restricts_nothing(text: str) -> None:
    assert dangers(text) & {D.MASS_UPDATE, D.MASS_DELETE}


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE accounts a SET state = 2 FROM customers c JOIN branches b ON b.id = c.branch_id WHERE c.id = a.customer_id AND b.id = 3",
        "DELETE FROM open_accounts WHERE id IN (SELECT id FROM open_accounts WHERE id = 3)",
        "DELETE FROM accounts WHERE id = 3 AND state @> now()",
        "DELETE FROM accounts WHERE state @> '2026-01-01'",
        "DELETE FROM accounts WHERE id IN (SELECT id FROM accounts ORDER BY id LIMIT 500)",
        "DELETE FROM accounts WHERE id IN (SELECT s.id FROM (SELECT id FROM accounts ORDER BY id) s LIMIT 500)",
        "DELETE FROM accounts WHERE id = (SELECT b.customer_id FROM entries b WHERE b.account_id = accounts.id LIMIT 1) AND state = 2",
        "DELETE FROM accounts WHERE id IN (SELECT accounts.id FROM customers c WHERE c.id = accounts.customer_id AND c.branch_id = 3)",
        "DELETE FROM accounts WHERE EXISTS (SELECT 1 FROM branches b WHERE b.id = accounts.id AND b.id = 3 LIMIT 1)",
        "DELETE FROM settings WHERE id IN (SELECT id FROM settings ORDER BY id LIMIT 500)",  # nobody counts small tables
    ],
)
def test_what_picks_some_rows_restricts(text: str) -> None:
    assert not dangers(text) & {D.MASS_UPDATE, D.MASS_DELETE}


def test_shares_are_known_through_a_view_of_one_table() -> None:
    lexing = Lexing(search_path=("public",), catalogue=CATALOGUE)
    [statement] = Analyser(TOKENIZER)._select(lexing).analyse(b"DELETE FROM open_accounts WHERE state = 1").statements
    assert statement.shape.changes == (("public.accounts", ("equal", "state", 1)),)


@pytest.mark.parametrize(
    ("text", "is_much"),
    [
        ("SELECT count(*) FROM entries a, accounts b, customers c WHERE a.account_id = c.id", True),
        ("SELECT count(*) FROM entries a JOIN entries b ON a.id < b.id", True),
        ("SELECT count(*) FROM entries a JOIN customers c USING (id) CROSS JOIN accounts b", True),
        ("SELECT count(*) FROM entries a, accounts b, customers c WHERE a.account_id = b.id AND b.customer_id = c.id", False),
        ("SELECT count(*) FROM entries a, accounts b, customers c WHERE a.account_id = c.id AND b.id = 5", False),
        ("SELECT count(*) FROM entries a JOIN entries b ON a.id < b.id AND a.account_id = b.account_id", False),
        ("SELECT count(*) FROM entries a JOIN entries b ON b.id > a.id AND b.id < a.id + 10", False),
        ("SELECT count(*) FROM entries a JOIN settings s ON a.id < s.id JOIN accounts b ON b.id = a.account_id", False),
        (
            "SELECT * FROM entries a, LATERAL (SELECT 1 FROM accounts b WHERE b.id = a.account_id) x, customers c WHERE c.id = a.id",
            False,
        ),
        ("DO $$ DECLARE s text := 'x'; BEGIN FOR i IN 1..40 LOOP s := s || s; END LOOP; END $$", True),
        ("DO $$ DECLARE s text := 'x'; BEGIN WHILE length(s) < 1000000000 LOOP s := concat(s, s); END LOOP; END $$", True),
        ("DO $$ DECLARE s text := 'x'; BEGIN FOR i IN 1..40 LOOP s := s || ',' || i; END LOOP; END $$", False),
        ("DO $$ DECLARE s text := 'x'; BEGIN s := s || s; END $$", False),
        ("SELECT repeat('a', 100000) ~ '(?=.*b)a*c'", True),
        ("SELECT repeat('a', 100000) ~ '(a+)(a+)\\2\\1b'", True),
        ("SELECT repeat('a', 100000) ~ '^a+$'", False),
        ("SELECT id FROM settings WHERE name ~ '(?=.*b)a*c'", False),
        ("SET hash_mem_multiplier = 1000", True),
        ("SET hash_mem_multiplier = 4", False),
        ("SELECT count(*) FROM generate_series(1, '10000000000'::bigint)", True),
    ],
)
def test_products_and_doublings_are_much(text: str, is_much: bool) -> None:
    assert (D.RESOURCE_EXHAUSTION in dangers(text)) == is_much


@pytest.mark.parametrize(
    ("text", "danger", "shows"),
    [
        ("SELECT id FROM entries WHERE id = CAST((SELECT password_hash FROM users LIMIT 1) AS int)", D.INJECTION_SIGNS, True),
        ("SELECT id FROM entries WHERE id > CAST((SELECT value FROM settings WHERE id = 1) AS int)", D.INJECTION_SIGNS, False),
        ("SELECT id FROM entries WHERE (SELECT substr(login, 1, 1) FROM users LIMIT 1) = 'a'", D.INJECTION_SIGNS, True),
        ("SELECT id FROM entries WHERE name = (SELECT left(name, 3) FROM settings WHERE id = 1)", D.INJECTION_SIGNS, False),
        ("SELECT id, name FROM entries WHERE id = 1 UNION SELECT id, card_number FROM cards", D.INJECTION_SIGNS, True),
        ("INSERT INTO settings (id) VALUES ('' || (SELECT a FROM b) || '')", D.INJECTION_SIGNS, True),
        ("INSERT INTO settings (id) VALUES ('x' || (SELECT a FROM b))", D.INJECTION_SIGNS, False),
        ("SELECT e.* FROM entries e, branches b WHERE b.id = 1", D.BULK_EXPORT, True),
        ("SELECT e.* FROM entries e, branches b WHERE e.id = b.id", D.BULK_EXPORT, False),
        ("SELECT * FROM entries_a UNION ALL SELECT * FROM entries_b", D.BULK_EXPORT, True),
        ("SELECT * FROM entries_a", D.BULK_EXPORT, False),
        ("REFRESH MATERIALIZED VIEW daily WITH NO DATA", D.TRUNCATE, True),
        ("REFRESH MATERIALIZED VIEW daily", D.TRUNCATE, False),
        ("CREATE SCHEMA AUTHORIZATION somebody", D.PRIVILEGE_CHANGE, True),
        ("CREATE SCHEMA mine", D.PRIVILEGE_CHANGE, False),
        (
            "DO $$ #variable_conflict use_variable\nDECLARE id int := 5; BEGIN DELETE FROM entries WHERE id = 5; END $$",
            D.OPAQUE,
            True,
        ),
    ],
)
def test_signs(text: str, danger: Danger, shows: bool) -> None:
    assert (danger in dangers(text)) == shows
