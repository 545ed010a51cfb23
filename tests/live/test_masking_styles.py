"""Masks that keep a part, or are equal for equal values, stand for values as they are alone: of what is computed they would tell.

Of `a@` and a name as a mail address, the mask of a mail address keeps the name. Views, tables and columns may hold such values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.affidavit import proxy as running_proxy
from tests.support.ports import wait_for
from tests.support.postgres import running as running_postgres

STYLES = {"email": "partial", "phone": "partial", "person_name": "token", "date_of_birth": "bucket"}
UPSERT = "INSERT INTO people (id, email) VALUES (1, 'x@y.org') ON CONFLICT (id)"
MADE = "'a@' || replace(email, '@', '.')"
SCHEMA = f"""
CREATE TABLE people (id int PRIMARY KEY, full_name text, email text, birth_date date, city text);
INSERT INTO people VALUES (1, 'Zyxwana Quorvath', 'zyxwana.quorvath@example.org', '1984-02-03', 'Bremen');
CREATE TABLE contacts (id int, full_name text, email text);
CREATE VIEW as_it_is AS SELECT p.id, p.email, p.full_name AS x FROM people p JOIN people q ON p.id = q.id;
CREATE VIEW twice AS SELECT x AS full_name FROM as_it_is;
CREATE VIEW made AS SELECT id, {MADE} AS email, left(full_name, 1) AS full_name FROM people;
CREATE VIEW of_made AS SELECT email, full_name FROM made;
CREATE VIEW either AS SELECT full_name FROM people UNION ALL SELECT city FROM people;
CREATE MATERIALIZED VIEW kept AS SELECT {MADE} AS email FROM people;
CREATE TABLE touched (email text);
INSERT INTO touched VALUES ('zyxwana.quorvath@example.org');
CREATE FUNCTION rework() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.email := {MADE.replace("'", "''").replace("email", "NEW.email")}; RETURN NEW; END';
CREATE TRIGGER rework BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION rework();
"""  # noqa: E501 - text of the test's own


@pytest.fixture(scope="module")
def masked() -> Iterator[psycopg.Connection[Any]]:
    with running_postgres(oracle=False) as server:
        with psycopg.connect(**server.app(), autocommit=True) as owner:
            owner.execute(SCHEMA)
        with (
            running_proxy(server, {"policy": {"files": []}, "masking": {"styles": STYLES}}) as proxy,
            psycopg.connect(**proxy.app(), autocommit=True) as connection,
        ):
            wait_for(lambda: connection.execute("SELECT city FROM people").fetchone() == ("Bremen",), "the catalogue", 20)
            yield connection


def cell(connection: psycopg.Connection[Any], statement: str) -> str:
    """Return the first cell that a statement gives, or what it is denied with."""
    try:
        if statement.startswith("COPY"):
            with connection.cursor().copy(statement) as copy:
                return b"".join(map(bytes, copy)).decode().split("\t")[0].strip()
        row = connection.execute(statement).fetchone()
        return str(row[0]) if row is not None else ""
    except psycopg.errors.InsufficientPrivilege as error:
        return str(error.diag.message_primary)


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT email FROM people", "***@example.org"),
        ("SELECT email FROM as_it_is", "***@example.org"),
        ("COPY (SELECT email FROM as_it_is) TO STDOUT", "***@example.org"),
        ("SELECT birth_date FROM people", "1984-01-01"),
        ("SELECT email FROM made", "[masked]"),
        ("SELECT full_name FROM made", "[masked]"),
        ("SELECT email FROM of_made", "[masked]"),
        ("SELECT full_name FROM either", "[masked]"),
        ("SELECT email FROM kept", "[masked]"),
        ("SELECT email FROM touched", "[masked]"),
        ("UPDATE touched SET email = email RETURNING email", "[masked]"),
        ("COPY (SELECT email FROM made) TO STDOUT", "[masked]"),
        ("COPY touched TO STDOUT", "[masked]"),
    ],
)
def test_what_was_computed_is_redacted(masked: psycopg.Connection[Any], statement: str, shown: str) -> None:
    assert cell(masked, statement) == shown


def test_a_name_has_its_token_through_views(masked: psycopg.Connection[Any]) -> None:
    token = cell(masked, "SELECT full_name FROM people")
    assert token.startswith("person_name:")
    assert cell(masked, "SELECT full_name FROM twice") == token == cell(masked, "COPY people (full_name) TO STDOUT")


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE people SET email = {MADE}",
        "UPDATE people SET email = s.e FROM (SELECT 'a@' || email AS e FROM people) s",
        "UPDATE people SET (email, city) = (SELECT 'a@' || email, 'x')",
        f"INSERT INTO contacts (email) SELECT {MADE} FROM people",
        "INSERT INTO contacts SELECT id, left(full_name, 1), NULL FROM people",
        f"WITH m AS (SELECT {MADE} AS email FROM people) INSERT INTO contacts (email) SELECT email FROM m",
        "INSERT INTO contacts (full_name) SELECT substr(full_name, i, 1) FROM people, generate_series(1, 9) i",
        "MERGE INTO contacts c USING people p ON false WHEN NOT MATCHED THEN INSERT (email) VALUES ('a@' || p.email)",
        "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET email = 'a@' || people.email",
        f"ALTER TABLE people ALTER email TYPE text USING {MADE}",
    ],
)
def test_nothing_computed_is_written_where_masks_speak(masked: psycopg.Connection[Any], statement: str) -> None:
    assert cell(masked, statement) == "statement denied by masking"


@pytest.mark.parametrize(
    ("statements", "shown"),
    [
        (["INSERT INTO contacts (email) SELECT email FROM people RETURNING email"], "***@example.org"),
        (["INSERT INTO contacts SELECT id, full_name, email FROM people", "SELECT email FROM contacts"], "***@example.org"),
        (["UPDATE people SET email = 'ann@example.net' RETURNING email"], "***@example.net"),
        (["UPDATE people SET email = q.email FROM people q RETURNING people.email"], "***@example.org"),
        ([f"{UPSERT} DO UPDATE SET email = excluded.email RETURNING email"], "***@y.org"),
        (["UPDATE people SET email = lower(trim(email)) RETURNING email"], "***@example.org"),
        (["INSERT INTO contacts (email) SELECT lower(email) FROM people RETURNING email"], "***@example.org"),
        ([f"CREATE TEMP TABLE t AS SELECT {MADE} AS email FROM people", "SELECT email FROM t"], "[masked]"),
    ],
)  # fmt: skip
def test_values_as_they_are_are_written_as_ever(masked: psycopg.Connection[Any], statements: list[str], shown: str) -> None:
    masked.execute("BEGIN")
    try:
        for statement in statements[:-1]:
            masked.execute(statement)
        assert cell(masked, statements[-1]) == shown
    finally:
        masked.execute("ROLLBACK")


def test_a_table_made_of_what_was_computed_stays_redacted(masked: psycopg.Connection[Any]) -> None:
    masked.execute(f"CREATE TABLE report AS SELECT {MADE} AS email, city FROM people")
    wait_for(lambda: cell(masked, "SELECT city FROM report") == "Bremen", "the table to be known", 20)
    assert cell(masked, "SELECT email FROM report") == "[masked]"
