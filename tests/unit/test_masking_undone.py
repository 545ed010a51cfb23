"""What a transaction changed is doubted until a snapshot has it; what failed, or was rolled back as a whole, changed nothing."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

import pytest

from ingest.masking import DatabaseMasking, SessionMasking
from processors.statements import Analyser, Lexing
from processors.statements.catalogue import Column, Relation, build
from schemas.classes import Style
from tests.support.pg_conversation import TOKENIZER
from tests.unit.test_pg_masking import SCANNER, Snapshots

ANALYSER = Analyser(TOKENIZER)
CATALOGUE = build([Relation("public", "t", "r", 20000, columns=(Column("a", 1, "integer"),))], [])
ALTER = "ALTER TABLE t ADD b text"


def doubts(*texts: str) -> bool:
    """Each text is a statement that succeeded, `!` before it one that failed; `.` is the end of a transaction."""
    masks = DatabaseMasking(Snapshots(CATALOGUE), TOKENIZER, SCANNER, {}, Style.REDACT)
    session = SessionMasking(masks)
    for text in texts:
        if text.startswith("."):
            session.transaction_ended(busy=text == ".busy")
            continue
        for statement in ANALYSER.analyse(text.removeprefix("!").encode(), Lexing(search_path=("public",))).statements:
            session.sight(statement)
            if statement.changes_objects or statement.fills:
                session.changing(statement)
            if text.startswith("!"):
                session.failed()
            else:
                session.completed(statement)
    return masks.doubts


@pytest.mark.parametrize(
    "texts",
    [
        (f"!{ALTER}", "."), (f"!{ALTER}", "!SELECT 1", "."), ("BEGIN", ALTER, "ROLLBACK", "."), ("BEGIN", f"!{ALTER}", "ROLLBACK", "."),
        ("BEGIN", ALTER, "!SELECT 1", "ABORT", "."), ("!DROP TABLE t", "."), ("BEGIN", ALTER, "rollback work", "."),
        ("SELECT 1", ".", f"!{ALTER}", "."), ("BEGIN", "SAVEPOINT s", ALTER, "ROLLBACK TO SAVEPOINT s", "ROLLBACK", "."),
    ],
)  # fmt: skip
def test_nothing_is_another(texts: tuple[str, ...]) -> None:
    assert not doubts(*texts)


@pytest.mark.parametrize(
    "texts",
    [
        (ALTER, "."), ("BEGIN", ALTER, "COMMIT", "."), ("BEGIN", ALTER, "COMMIT AND CHAIN", "ROLLBACK", "."),
        ("BEGIN", ALTER, "SAVEPOINT s", "!SELECT x", "ROLLBACK TO SAVEPOINT s", "COMMIT", "."), (ALTER, "!SELECT 1", "."),
        ("BEGIN", ALTER, "ROLLBACK TO SAVEPOINT s", "."), ("BEGIN", ALTER, "ROLLBACK AND CHAIN", "COMMIT", "."),
        ("!ALTER TABLE t DETACH PARTITION u CONCURRENTLY", "."), ("!DO $$ BEGIN ALTER TABLE t ADD b text; COMMIT; PERFORM 1/0; END $$", "."),
        ("BEGIN", "ROLLBACK", ALTER, "."), (ALTER, ".busy", "!SELECT 1", "."), (f"!{ALTER}", ".busy"), ("BEGIN", ALTER, "PREPARE TRANSACTION 'x'", "."),
        (ALTER, "DO $$ BEGIN COMMIT; END $$", "ROLLBACK", "."), (ALTER, "CALL p()", "ROLLBACK", "."),
        ("BEGIN", ALTER, "PREPARE TRANSACTION 'x'", "ROLLBACK", "."), (ALTER, "VACUUM t", "ROLLBACK", "."), ("COMMIT PREPARED 'x'", "."),
    ],
)  # fmt: skip
def test_something_may_be_another(texts: tuple[str, ...]) -> None:
    assert doubts(*texts)


def test_what_is_remembered_for_a_session_does_not_keep_it() -> None:
    masks = DatabaseMasking(Snapshots(CATALOGUE), TOKENIZER, SCANNER, {}, Style.REDACT)
    keys = []
    for session in (SessionMasking(masks), SessionMasking(masks)):
        for sql in (b"CREATE TEMP TABLE own AS SELECT a FROM t", b"SELECT a FROM own"):
            [statement] = ANALYSER.analyse(sql, Lexing(search_path=("public",))).statements
            session.changing(statement)
            keys.append(session.own(statement))
            session.completed(statement)
    assert keys[0] is keys[2] is None
    assert keys[1] != keys[3]
    assert all(isinstance(part, int) for key in (keys[1], keys[3]) for part in key)  # type: ignore[attr-defined]
