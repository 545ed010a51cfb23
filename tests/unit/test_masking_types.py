"""Columns whose type says what they hold: composite types, arrays of them, ranges; triggers that give to columns in quotes."""

from __future__ import annotations

import pytest

from ingest.masking.reports import without_values
from ingest.masking.tags import PROSE, CatalogueTags
from processors.sensitivity import Scanner
from processors.statements import Analyser, Lexing
from processors.statements.catalogue import Column, Function, Relation, build
from schemas.classes import DataClass as C
from tests.support.pg_conversation import TOKENIZER

CONTACT = Relation("hr", "contact", "c", 20001, columns=(Column("full_name", 1, "text"), Column("phone", 2, "text")))


@pytest.mark.parametrize(
    ("name", "type", "expected"),
    [
        ("kin", "hr.contact", {C.PERSON_NAME, C.PHONE}),
        ("kin", "hr.contact[]", {C.PERSON_NAME, C.PHONE}),
        ("born", "daterange", {C.DATE_OF_BIRTH}),
        ("born", "tstzrange", {C.DATE_OF_BIRTH}),
        ("phone", "int8range", {C.PHONE}),
        ("valid", "daterange", set()),
        ("price", "numrange", set()),
    ],
)
def test_a_type_says_what_a_column_holds(name: str, type: str, expected: set[C]) -> None:
    table = Relation("hr", "staff", "r", 20002, columns=(Column("id", 1, "integer"), Column(name, 2, type)))
    tags = CatalogueTags(build([CONTACT, table], []), TOKENIZER, Scanner())
    assert tags.lookup(20002, 2) == expected
    assert tags.lookup(20002, 1) == set()


@pytest.mark.parametrize(
    ("given", "column"),
    [
        ('NEW."Dept" := OLD."FULL_NAME"', "Dept"),
        ('NEW."Dept" = OLD.x', "Dept"),
        ("NEW.Dept := OLD.x", "dept"),
        ('NEW."Dept"[1] := OLD.x', "Dept"),
        ('SELECT x INTO NEW."Dept" FROM t', "Dept"),
        ('DECLARE "V" text; BEGIN SELECT x INTO "V" FROM t; NEW."Dept" := "V"; END', "Dept"),
    ],
)
def test_a_trigger_gives_to_columns_by_their_spelling(given: str, column: str) -> None:
    names = ("id", "Dept", "dept", "FULL_NAME", "x")
    columns = tuple(Column(name, n, "text") for n, name in enumerate(names, 1))
    table = Relation("public", "t", "r", 20002, columns=columns, triggers=(("update", "public.f"),))
    code = Function("public", "f", "plpgsql", "v", f"BEGIN {given}; RETURN NEW; END")
    analyser = Analyser(TOKENIZER)
    [statement] = analyser.analyse(b"UPDATE public.t SET id = 1", Lexing(catalogue=build([table], [code]))).statements
    assert column in {target.rpartition(".")[2] for target, behind in statement.shape.flows if behind}


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("SELECT doc @> '{\"a\": {\"full_name\": \"x\"}}' FROM d", ("a", "full_name")),
        ("SELECT doc @@ '$.member.full_name starts with \"x\"' FROM d", ("member", "full_name")),
        ("SELECT doc @? '$.*.name' FROM d", None),
        ("SELECT doc @> $1 FROM d", None),
        ("SELECT doc <@ '{\"born\": 1}' FROM d", ("born",)),
        ("SELECT '{\"born\": 1}'::jsonb <@ doc, doc > '{\"a\": 1}' FROM d", ("born", "a")),
        ("SELECT id = 1, city < 'x', doc = $1 FROM d", ()),
        ("SELECT id FROM d WHERE doc @> '{\"full_name\": \"x\"}'", ()),
        ("SELECT x.* FROM d, xmltable('/f/m' PASSING page COLUMNS p text PATH 'last_name') x", ("f", "m", "last_name", "p")),
        ("SELECT x.* FROM d, xmltable('//*' PASSING page COLUMNS plan text PATH '.') x", None),
        ("SELECT x.* FROM d, xmltable(path PASSING page COLUMNS plan text) x", None),
    ],
)  # fmt: skip
def test_members_are_known_by_keys_and_paths(sql: str, keys: tuple[str, ...] | None) -> None:
    [statement] = Analyser(TOKENIZER).analyse(sql.encode(), Lexing()).statements
    assert statement.shape.keys == keys


@pytest.mark.parametrize(("state", "shown"), [("P0016", "P0001"), ("01234", "P0001"), ("P0004", "P0004"), ("22012", "P0001")])
def test_raised_code_cannot_make_a_sqlstate_of_a_value(state: str, shown: str) -> None:
    body = b"SERROR\x00C" + state.encode() + b"\x00Mx\x00Rexec_stmt_raise\x00\x00"
    assert f"C{shown}".encode() in without_values(body, "", True).split(b"\x00")


def test_definitions_are_watched_for_values() -> None:
    system = [(2604, "pg_catalog.pg_enum", [(1, "oid"), (2, "enumlabel")])]
    tags = CatalogueTags(build([], [], system=system), TOKENIZER, Scanner())
    assert tags.watched(2604, 2)
    assert not tags.watched(2604, 1)
    assert tags.lookup(2604, 2) == set() != PROSE
