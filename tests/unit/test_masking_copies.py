"""A field of COPY looks as the same column in a result: by style and type where it is a table's, NULL where it is computed."""

from __future__ import annotations

from struct import pack

import pytest

from ingest.masking import DatabaseMasking, MaskingGuard, SessionMasking
from ingest.masking.structures import names_keys
from processors.sensitivity import Scanner
from processors.statements.catalogue import Column, Relation, build
from schemas.classes import DataClass as C
from schemas.classes import Style
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import TOKENIZER, Conversation, client, server
from tests.unit.test_pg_masking import HEAD, Snapshots, copy_out, packed

COLUMNS = (
    Column("id", 1, "integer"),
    Column("email", 2, "text"),
    Column("full_name", 3, "character varying(40)"),
    Column("phone", 4, "character varying(6)"),
    Column("birth_date", 5, "date"),
    Column("profile", 6, "jsonb"),
    Column("last_ip", 7, "inet"),
)
PEOPLE = Relation("public", "people", "r", 20001, columns=COLUMNS)
ORDERS = Relation("public", "orders", "r", 20002, columns=(Column("id", 1, "integer"), Column("person", 2, "integer")))
CATALOGUE = build([PEOPLE, ORDERS], [], builtins=[(1, "lower"), (2, "max")])
EMAIL, NAME = b"ada@example.org", b"Ada Lovelace"
TOKEN = TOKENIZER.token(C.PERSON_NAME, NAME).encode()


def heard(sql: str, count: int, row: bytes, form: int = 0) -> bytes:
    """Return what a client gets of one row of a COPY."""
    snapshots = Snapshots(CATALOGUE)
    conversation = Conversation(snapshots=snapshots)
    styles = {C.EMAIL: Style.PARTIAL, C.PERSON_NAME: Style.TOKEN, C.DATE_OF_BIRTH: Style.BUCKET}
    masking = SessionMasking(DatabaseMasking(snapshots, TOKENIZER, Scanner(), styles, Style.REDACT), frozenset)
    conversation.session.mask(masking)
    conversation.session.guard = MaskingGuard(None, masking, "s1")
    conversation.say(*client(pg.query(sql)))
    conversation.say(*server(copy_out(form, count), pg.copy_data(row), pg.COPY_DONE, pg.complete("COPY 1"), pg.ready()))
    assert not conversation.heard.closed
    shown = conversation.heard.to_client
    return shown[len(copy_out(form, count)) + 5 : -len(pg.COPY_DONE + pg.complete("COPY 1") + pg.ready())]


@pytest.mark.parametrize(
    ("what", "fields", "shown"),
    [
        ("people (email, full_name)", [EMAIL, NAME], [b"***@example.org", TOKEN]),
        ("(SELECT email, full_name FROM people)", [EMAIL, NAME], [b"***@example.org", TOKEN]),
        ("(SELECT p.full_name AS x, o.id FROM people p JOIN orders o ON o.person = p.id)", [NAME, b"1"], [TOKEN, b"1"]),
        ("(SELECT o.*, p.email FROM people p, orders o)", [b"1", b"2", EMAIL], [b"1", b"2", b"***@example.org"]),
        ("people (birth_date, phone, last_ip)", [b"1984-02-03", b"030 5551234", b"10.0.0.1"], [b"1984-01-01", b"\\N", b"\\N"]),
        # What is computed, or may be: no tokens and no parts.
        ("(SELECT lower(full_name) FROM people)", [b"ada"], [b"\\N"]),
        ("(SELECT full_name || '' FROM people)", [b"ada"], [b"\\N"]),
        ("(SELECT full_name::text FROM people)", [b"ada"], [b"\\N"]),
        ("(SELECT max(full_name) FROM people)", [b"ada"], [b"\\N"]),
        ("(SELECT full_name FROM people UNION ALL VALUES ('Ada Lovelace'))", [NAME], [b"\\N"]),
        ("(SELECT x FROM (SELECT full_name FROM people UNION ALL VALUES ('Ada Lovelace')) s(x))", [NAME], [b"\\N"]),
        ("(WITH p AS (SELECT full_name FROM people) SELECT full_name FROM p)", [NAME], [b"\\N"]),
        ("(SELECT id, people FROM people)", [b"1", b"(1,ada)"], [b"1", b"\\N"]),
        ("(SELECT * FROM people p(a, b, c), orders)", [b"1", EMAIL, NAME, *[b"\\N"] * 4, b"1", b"2"],
         [b"1", b"***@example.org", TOKEN, *[b"\\N"] * 4, b"1", b"2"]),
        ("(SELECT b FROM people p(a, b))", [EMAIL], [b"\\N"]),
        ("(SELECT * FROM people JOIN orders USING (id))", [b"1", EMAIL, NAME, *[b"\\N"] * 4, b"2"], None),
    ],
)  # fmt: skip
def test_a_field_is_masked_as_its_column(what: str, fields: list[bytes], shown: list[bytes] | None) -> None:
    line = heard(f"COPY {what} TO STDOUT", len(fields), b"\t".join(fields) + b"\n")
    assert EMAIL not in line
    assert NAME not in line
    if shown is not None:
        assert line == b"\t".join(shown) + b"\n"


def test_csv_and_binary_have_the_same_masks() -> None:
    what = "people (id, email, full_name, birth_date)"
    assert heard(f"COPY {what} TO STDOUT (FORMAT csv)", 4, b'1,"%b",%b,1984-02-03\n' % (EMAIL, NAME)) == (
        b"1,***@example.org,%b,1984-01-01\n" % TOKEN
    )
    born, year = pack(">i", -5811), pack(">i", -5844)  # days from 2000-01-01
    row = heard(f"COPY {what} TO STDOUT (FORMAT binary)", 4, HEAD + packed(pack(">i", 1), EMAIL, NAME, born), 1)
    assert row == HEAD + packed(pack(">i", 1), b"***@example.org", TOKEN, year)


@pytest.mark.parametrize(
    ("what", "null", "shown"),
    [
        ("people (email)", EMAIL, b"***@example.org"),
        ("people (full_name)", NAME, TOKEN),
        ("people (birth_date)", b"1984-02-03", b"1984-01-01"),
        # All that is computed is NULL, as is a date that cannot be one.
        ("(SELECT lower(full_name) FROM people)", b"ada", b"ada"),
        ("people (birth_date)", b"none", b"none"),
    ],
)
def test_nobody_asks_for_a_value_by_calling_it_null(what: str, null: bytes, shown: bytes) -> None:
    assert heard(f"COPY {what} TO STDOUT (NULL '{null.decode()}')", 1, null + b"\n") == shown + b"\n"


def test_null_stays_null_where_nothing_is_masked_or_a_value_reads_otherwise() -> None:
    assert heard("COPY people (id, email) TO STDOUT (NULL 'x')", 2, b"x\tx\n") == b"x\t[masked]\n"
    assert heard("COPY people (id, email) TO STDOUT (NULL '')", 2, b"\t\n") == b"\t\n"
    assert heard("COPY people (id, email) TO STDOUT (FORMAT csv, NULL 'x')", 2, b"x,x\n") == b"x,x\n"


def test_a_mask_that_its_column_has_no_room_for_is_null() -> None:
    assert heard("COPY people (phone) TO STDOUT", 1, b"030 55\n") == b"\\N\n"


@pytest.mark.parametrize(
    ("value", "telling"),
    [
        (b'"last_name"=>"Lovelace", "plan"=>"gold"', True),
        (b'"plan"=>"gold"', False),
        (pack(">i", 1) + pack(">i", 9) + b"last_name" + pack(">i", 3) + b"Ada", True),
        (pack(">i", 1) + pack(">i", 9) + b"last_name" + pack(">i", -1), True),
        (pack(">i", 1) + pack(">i", 4) + b"plan" + pack(">i", 3) + b"Ada", False),
        (pack(">i", 1) + pack(">i", 9) + b"last_name" + pack(">i", 3), False),
        (bytes(40), False),
    ],
)
def test_keys_of_an_hstore_speak(value: bytes, telling: bool) -> None:
    assert names_keys(value, b"", frozenset()) == telling
