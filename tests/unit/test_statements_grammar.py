"""Does a short text make a large tree? What the grammar shares between columns is counted before it is written out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pglast import parser

from processors.statements import Analyser, Lexing, Tokenizer
from processors.statements.facts.body import OpaqueBodyError, statements
from processors.statements.grammar import TooComplexError, extent_of, tree_json
from schemas.events import StatementFlag


def nested(levels: int, columns: str = "a,b", shape: str = "update t set ({}) = ({})") -> str:
    text = "select 1,2"
    for _ in range(levels):
        text = f"with q as ({shape.format(columns, text)} returning 1) select 1,2"
    return text


MANY = ",".join(["a"] * 4_000)
SUM = "+".join(["1"] * 4_000)
DISGUISES = {
    "update": nested(25),
    "upsert": nested(25, shape="insert into t values (1) on conflict (a) do update set ({}) = ({})"),
    "merge": nested(25, shape="merge into t using u on true when matched then update set ({}) = ({})"),
    "behind another column": nested(25, shape="update t set c = 1, ({}) = ({})"),
    "in a row": nested(25, shape="update t set ({}) = row(({}), 1)"),
    "in a sum": nested(25, shape="update t set ({}) = 1 + ({}) + 1"),
    "behind a word": nested(25, shape="update t set ({}) = set + ({})"),
    "with subscripts": nested(25, "a[f(1,2)],b"),
    "with comments": nested(25, shape="update t SeT/**/--\n({})/*x*/=--\n({})"),
    "several columns": nested(8, "a,b,c,d,e,f,g,h"),
    "many columns": f"update t set ({MANY}) = (select {SUM})",
    "second list": f"update t set (a, b) = (select 1, 2), ({MANY}) = (select {SUM})",
    "in EXPLAIN": "explain " + nested(25),
    "in PREPARE": "prepare p as " + nested(25),
    "in COPY": f"copy ({nested(25)}) to stdout",
    "in a body": f"create procedure p() begin atomic {nested(25)}; end",
    "in DO": f"do $$begin {nested(25)}; end$$",
    "in a string": f"create function f() returns int language sql as $$ {nested(25)} $$",
    "in EXECUTE of a constant": f"do $x$begin execute $y${nested(25)}$y$; end$x$",
    "after a long list": "insert into t values "
    + "(1,2)," * 12_000
    + "(1,2) on conflict (a) do update set (a,b) = ("
    + nested(25)
    + ")",
    "around a long list": f"update t set ({','.join(['a'] * 90)}) = (select 1 where 1 in ({'1,' * 40_000}1))",
}


def test_a_tree_out_of_proportion_is_opaque_and_costs_little() -> None:
    """In a process of its own: what is tested for would end it."""
    program = (
        "import resource\n"
        "from processors.statements import Analyser, Lexing, Tokenizer\n"
        "from tests.unit.test_statements_grammar import DISGUISES\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 * 1024**2,) * 2)\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "for name, text in DISGUISES.items():\n"
        "    [statement] = Analyser(Tokenizer(b'k' * 32)).analyse(text.encode(), Lexing()).statements\n"
        "    print(name if 'opaque' in statement.facts.dangers else name + ' was read', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == list(DISGUISES), done.stderr[-500:]


ORDINARY = [
    "update t set (a, b) = (1, 2), (c, d) = (select 3, 4) where (a, b) = (5, 6)",
    "update t set (a, b) = (select x, y from u where u.id = t.id)",
    "select 1 from t where " + " or ".join("(a, b) = (1, 2)" for _ in range(2_000)),
    "select " + ", ".join("(a, b) = (1, 2)" for _ in range(2_000)),
    "update t set " + ", ".join(f"(a{i}, b{i}) = (select 1, 2)" for i in range(400)),
    f"insert into t select * from s on conflict (id) do update set ({','.join(f'c{i}' for i in range(150))})"
    f" = ({','.join(f'excluded.c{i}' for i in range(150))})",
    "insert into t (a, b) values "
    + "(1,'x')," * 30_000
    + "(1,'x') on conflict (a) do update set (a, b) = (excluded.a, excluded.b)",
]


@pytest.mark.parametrize("sql", ORDINARY)
def test_an_ordinary_list_of_columns_is_read(sql: str) -> None:
    [statement] = Analyser(Tokenizer(b"k" * 32)).analyse(sql.encode(), Lexing()).statements
    assert StatementFlag.UNPARSED not in statement.facts.flags


@pytest.mark.parametrize(
    "sql", [*ORDINARY[:5], *(nested(n) for n in range(1, 8)), nested(3, "a,b,c,d"), nested(2, "a[f(1,2)],b")]
)
def test_the_count_is_what_the_tree_grows_by(sql: str) -> None:
    """A tree takes 5 to 120 characters a token, so that a level that was not counted shows."""
    assert 5 < len(parser.parse_sql_json(sql)) / extent_of(sql).tokens < 120


def test_what_is_within_itself_too_often_is_opaque_and_what_is_long_is_not() -> None:
    analyser = Analyser(Tokenizer(b"k" * 32))
    for sql, is_read in (
        ("delete from t where " + "id in (select id from t where " * 20 + "id = 1" + ")" * 20, True),
        ("delete from t where " + "id in (select id from t where " * 140 + "id = 1" + ")" * 140, False),
        ("delete from t where " + " or ".join(["id in (select id from t where a = 1)"] * 900), True),
        ("select " + ",".join(["*"] * 1_600) + " from t", True),
        ("select " + ",".join(["*"] * 9_000) + " from " + ",".join(f"t{i}" for i in range(490)), False),
    ):
        [statement] = analyser.analyse(sql.encode(), Lexing()).statements
        assert (StatementFlag.UNPARSED not in statement.facts.flags) is is_read, sql[:60]


def test_bodies_and_definitions_go_through_the_same_door() -> None:
    with pytest.raises(OpaqueBodyError):
        list(statements(nested(25), "sql"))
    with pytest.raises(OpaqueBodyError):
        list(statements(f"begin {nested(25)}; end", "plpgsql"))
    with pytest.raises(TooComplexError):
        tree_json(nested(25))
