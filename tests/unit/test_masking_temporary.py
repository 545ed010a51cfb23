"""A session's temporary tables are known by what was put into them, while it is certain that they are there."""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

import pytest

from ingest.masking.temporary import Temporary
from processors.statements import Analyser, Lexing
from tests.support.pg_conversation import TOKENIZER

ANALYSER = Analyser(TOKENIZER)
T = frozenset({"t"})


def after(*texts: str, own: bool = True) -> Temporary:
    """Each text is a statement that succeeded, `!` one that failed, `.` the end of a transaction."""
    there = Temporary()
    for text in texts:
        if text == "!":
            there.undone()
        elif text == ".":
            there.transaction_ended()
        else:
            for statement in ANALYSER.analyse(text.encode(), Lexing()).statements:
                there.judged(statement)
                there.completed(statement, own)
    return there


MADE = "CREATE TEMP TABLE t AS SELECT 1 AS a"


@pytest.mark.parametrize(
    "texts",
    [
        (MADE,), (MADE, "."), (MADE, ".", "!"), ("SELECT 1 AS a INTO TEMP t",), ("CREATE TEMPORARY TABLE t (a int)",),
        (MADE, ".", "DROP TABLE t", MADE), (MADE, "INSERT INTO t VALUES (2)", "CREATE INDEX ON t (a)", "ANALYZE t", "."),
        (MADE, ".", "BEGIN", "ROLLBACK", "."), (MADE, "DROP TABLE other"), ("SET search_path = a, b", MADE),
        ("SET search_path = a, pg_temp", "DISCARD ALL", MADE), (MADE, ".", "DELETE FROM t"), ("SET search_path = a", MADE),
        ("DECLARE c CURSOR FOR SELECT 1", MADE, "FETCH c"), ("DO $$ BEGIN DROP TABLE u; END $$", MADE, "."),
    ],
)  # fmt: skip
def test_it_is_there(texts: tuple[str, ...]) -> None:
    assert after(*texts).has(T)


@pytest.mark.parametrize(
    "texts",
    [
        (), ("CREATE TABLE t (a int)",), (MADE, "DROP TABLE t"), (MADE, "DROP TABLE t", ".", "ROLLBACK"), (MADE, "ROLLBACK"), (MADE, "!"),
        (MADE, "ROLLBACK TO SAVEPOINT s"), (MADE, ".", "ALTER TABLE t RENAME TO u"), (MADE, ".", "ALTER TABLE t ADD b text"),
        (MADE, ".", "ALTER TABLE u INHERIT t"), (MADE, ".", "DISCARD ALL"), (MADE, ".", "DISCARD TEMP"), (MADE, ".", "DROP SCHEMA x CASCADE"),
        (f"CREATE TEMP TABLE IF NOT EXISTS {MADE.partition('TABLE ')[2]}",), ("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS a", "."),
        ("CREATE TEMP TABLE t (LIKE u INCLUDING ALL)",), ("CREATE TEMP TABLE t () INHERITS (u)",), (MADE, "CREATE TEMP TABLE u () INHERITS (t)"),
        ("CREATE TEMP TABLE t (b text, a text GENERATED ALWAYS AS (b) STORED)",), (MADE, "SET search_path = a, pg_temp"),
        (MADE, "SELECT set_config('search_path', x, false) FROM y"), (MADE, "CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()"),
        (MADE, "CREATE RULE r AS ON INSERT TO t DO NOTHING"), ("DO $$ BEGIN IF false THEN CREATE TEMP TABLE t (a int); END IF; END $$",),
        ("SET search_path = a, pg_temp", "RESET search_path", MADE), ("SELECT set_config('search_path', 'a, PG_TEMP', true)", MADE),
        ("DO $$ BEGIN DROP TABLE t; END $$", MADE, "FETCH c"), ("DO $$ BEGIN ALTER TABLE t RENAME TO u; END $$", MADE, "."),
        ("DO $$ BEGIN EXECUTE x(); END $$", MADE), ("DO $$ BEGIN DROP TYPE y CASCADE; END $$", MADE), (MADE, ".", "DROP TYPE y CASCADE"),
        (f"EXPLAIN {MADE}",), ("CREATE TEMP TABLE t AS EXECUTE p",), (MADE, ".", "DO $$ BEGIN EXECUTE x(); END $$"),
    ],
)  # fmt: skip
def test_it_may_not_be_there(texts: tuple[str, ...]) -> None:
    assert not after(*texts).has(T)


def test_a_default_of_anybodys_function_fills_it_unseen() -> None:
    assert not after("CREATE TEMP TABLE t (a text DEFAULT f())", own=False).has(T)
    assert after("CREATE TEMP TABLE t AS SELECT f(1) AS a", own=False).has(T), "what a query's functions give is known"


def test_what_code_may_do_ends_with_its_transaction() -> None:
    assert after("DO $$ BEGIN DROP TABLE t; END $$", ".", MADE).has(T), "no cursor or deferred trigger is left"
    there = after("DO $$ BEGIN DROP TABLE t; END $$")
    there.transaction_ended(busy=True)
    there.completed(*ANALYSER.analyse(MADE.encode(), Lexing()).statements, True)
    assert not there.has(T), "it may have been judged for what is sent already"


def test_the_path_of_the_session_counts() -> None:
    there = Temporary(path=False)
    for statement in ANALYSER.analyse(f"{MADE}; DISCARD ALL; {MADE}".encode(), Lexing()).statements:
        there.completed(statement, True)
        assert not there.has(T)


def test_all_that_are_named_must_be_there() -> None:
    there = after(MADE)
    assert there.has(frozenset()) and not there.has(frozenset({"t", "u"}))
