"""Can anything the user writes reach the SQL itself? (It must only ever be a parameter.)"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from query_api.search import FIELDS, SearchError, compile_search, parse
from query_api.search.ast import Pattern, Term
from query_api.search.fields import Shape

_FIXED = {
    "AND", "OR", "NOT", "LIKE", "ILIKE", "IN", "SELECT", "FROM", "WHERE", "has", "arrayExists", "x", "lower", "endsWith",
    "mapContains", "notEmpty", "claims", "text", "text_hash", "affidavit", "texts", "0", "1",
}  # fmt: skip
_COLUMNS = {column for field in FIELDS.values() for column in field.columns}
_PARAMETER = re.compile(r"\{(p\d+):(String|UInt64|UUID)\}")
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\d+")
_ALLOWED_REST = re.compile(r"[\s(),.\[\]=!<>'-]*")


def check(sql: str, parameters: dict[str, object]) -> None:
    """The SQL is made of our words, our columns, comparison signs and named parameters; nothing else."""
    assert {name for name, _ in _PARAMETER.findall(sql)} == set(parameters)
    bare = _PARAMETER.sub(" ", sql)
    assert set(_TOKEN.findall(bare)) <= _FIXED | _COLUMNS
    assert _ALLOWED_REST.fullmatch(_TOKEN.sub("", bare))
    assert bare.count("'") == 2 * bare.count("''")
    assert bare.count("(") == bare.count(")")


_INJECTIONS = [
    "'", "''", "\\'", "';DROP TABLE x;--", "{p0:String}", "{p1:Identifier}", "/*", "*/", "--", "`", "%", "_", "\\", "\n",
    "\u2028", ") OR 1=1 --", "' OR ''='", "}", "{", "::", "x' UNION ALL SELECT * FROM system.users --",
]  # fmt: skip
_VALUES = st.one_of(st.sampled_from(_INJECTIONS), st.text(max_size=20))
_FIELDS = st.sampled_from([*FIELDS, "", "claim.a", "claim.a.b-c"])


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(st.tuples(_FIELDS, _VALUES, st.booleans()), min_size=1, max_size=5))
def test_values_are_parameters_quoted_or_bare(parts: list[tuple[str, str, bool]]) -> None:
    text = " ".join((f"{f}:" if f else "") + (quoted(v) if q else v) for f, v, q in parts)
    try:
        tree = parse(text)
    except SearchError:
        return
    condition = compile_search(tree, "affidavit.texts")
    check(condition.sql, condition.parameters)


@given(st.text(max_size=60))
def test_any_text_that_is_a_search_compiles_to_our_words(text: str) -> None:
    try:
        tree = parse(text)
    except SearchError:
        return
    condition = compile_search(tree, "affidavit.texts")
    check(condition.sql, condition.parameters)


@given(_VALUES, _VALUES)
def test_the_sql_of_a_shape_is_the_same_whatever_the_value(one: str, other: str) -> None:
    for field in FIELDS.values():
        if field.shape in (Shape.TEXT, Shape.LIST, Shape.STATEMENT):
            compiled = {compile_search(Term(field.name, Pattern((v,))), "affidavit.texts").sql for v in (one, other)}
            assert len(compiled) == 1


@given(st.text(min_size=1, max_size=10))
def test_like_wildcards_of_the_value_are_literal(value: str) -> None:
    condition = compile_search(Term("db", Pattern((value, ""))), "affidavit.texts")
    (like,) = condition.parameters.values()
    assert re.sub(r"\\(.)", r"\1", like[:-1], flags=re.DOTALL) == value
    assert not re.search(r"(?<!\\)(?:\\\\)*[%_]", like[:-1])


def test_the_check_itself_notices_a_leak() -> None:
    for leaked in ("(db_user = 'x')", "(db_user = {p0:String}) OR sleep(1)", "(db_user = {p1:String})", "(1) -- a", '("a")'):
        try:
            check(leaked, {"p0": "x"})
        except AssertionError:
            continue
        raise AssertionError(f"not noticed: {leaked}")
