"""Hostile text: bounded time and memory, never an exception, never a crash of the process.

The bounds are far above what a text takes (see bench/statements.py) and far below what quadratic behaviour would: 256 KiB of
`/**/` took libpg_query's scanner half a minute before `verify.is_slow_to_scan`.
"""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from processors.statements import Analyser, Lexing, Tokenizer
from processors.statements.catalogue import Function, build
from schemas.events import Danger, StatementFlag

SIZE = 256 * 1024
SECONDS = 5.0

CASES: dict[str, str] = {
    "open parentheses": "(" * SIZE,
    "10,000 nested parentheses": "select " + "(" * 10_000 + "1" + ")" * 10_000,
    "unary chain": "select " + "- " * 10_000 + "x",
    "not chain": "select " + "not " * 10_000 + "x",
    "operator chain": "select " + "a+" * (SIZE // 2) + "a",
    "short operator chain": "select " + "a+" * 5_000 + "a",
    "and chain": "select 1 from t where " + " and ".join(["a=1"] * 5_000),
    "or chain": "select 1 from t where " + " or ".join(["a=1"] * (SIZE // 8)),
    "union chain": " union all ".join(["select 1"] * 10_000),
    "case nest": "select " + "case when a then " * 5_000 + "1" + " end" * 5_000,
    "casts": "select a" + "::int" * 20_000,
    "subscripts": "select a" + "[1]" * 20_000,
    "subqueries": "select * from " + "(select * from " * 280 + "t" + ") x" * 280,
    "nested recursive CTEs": "".join(f"with recursive c{i} as (" for i in range(60))
    + "select 1"
    + "".join(f") select * from c{i}" for i in reversed(range(60))),
    "doubling CTEs": "with "
    + ", ".join(f"c{i} as (select a.*, b.* from c{i - 1} a, c{i - 1} b)" for i in range(1, 60))
    + " select * from c59",
    "100,000 numbers": "select * from t where a in (" + ",".join(["1"] * 100_000) + ")",
    "100,000 parameters": "select * from t where a in (" + ",".join(f"${i}" for i in range(1, 40_000)) + ")",
    "rows": "insert into t values " + ",".join(["(1,'a',null)"] * 15_000),
    "rows with calls": "insert into t values " + ",".join(["(1,now())"] * 25_000),
    "statements": "select 1;" * 25_000,
    "empty statements": ";" * SIZE,
    "block comments": "/**/" * (SIZE // 4) + "select 1",
    "nested comments": "/*" * (SIZE // 2),
    "closed nested comments": "/*" * 50_000 + "*/" * 50_000,
    "star comments": "/" + "*" * SIZE,
    "line comments": "--\n" * (SIZE // 3),
    "claims": "/*" + "application='x'," * (SIZE // 16) + "*/ select 1",
    "quotes": "'" * SIZE,
    "odd quotes": "'" * (SIZE - 1),
    "double quotes": '"' * SIZE,
    "backslashes": "select E'" + "\\" * SIZE + "'",
    "dollars": "$" * SIZE,
    "dollar tags": "select $a$" + "$b$" * (SIZE // 3),
    "continued strings": "select " + "'a'\n" * (SIZE // 4),
    "string and space": "select 'a'" + "\n" * SIZE,
    "comment continuations": "select 'a'" + "\n--" * (SIZE // 3),
    "unicode escapes": "select U&'" + "\\0041" * (SIZE // 5) + "'",
    "uescape gap": "select U&'a'" + "/**/" * (SIZE // 4),
    "digits": "1" * SIZE,
    "hexadecimal": "select 0x" + "f" * SIZE,
    "underscores": "select 1" + "_1" * (SIZE // 2),
    "dots": "." * SIZE,
    "exponents": "select " + "1e" * (SIZE // 2),
    "one word": "a" * SIZE,
    "words": "a " * (SIZE // 2),
    "white space": "select 1" + " " * SIZE,
    "columns": "select " + ",".join(f"c{i}" for i in range(15_000)) + " from t",
    "aliases": "select " + ",".join(f"1 as a{i:050}" for i in range(15_000)),
    "columns of many tables": "select "
    + ",".join(f"c{i}" for i in range(5_000))
    + " from "
    + ",".join(f"t{i}" for i in range(5_000)),
    "subqueries within their own table": "delete from t where " + "id in (select id from t where " * 290 + "id = 1" + ")" * 290,
    "subqueries about another": "delete from t where " + "exists (select from u where u.id = t.id and " * 290 + "a" + ")" * 290,
    "subqueries of one long CTE": "with c as (select id from t where "
    + " or ".join(["a = b"] * 3_000)
    + ") delete from t where "
    + " or ".join(["id in (select id from c)"] * 1_000),
    "stars": "select " + ",".join("*" * 20_000) + " from " + ",".join(f"t{i}" for i in range(490)),
    "stars of a CTE": "with c as (select "
    + ",".join(f"c{i}" for i in range(490))
    + " from t) select "
    + ",".join("*" * 20_000)
    + " from c",
    "joins": "select 1 from a0 " + " ".join(f"join a{i} using (id)" for i in range(1, 400)),
    "like": "select 1 from t where '" + "a" * 900 + "' like '" + "%a" * 90 + "b'",
    "settings": "set a to " + "set b to " * 20_000,
    "attributes": "select " + "a." * 50_000 + "a",
    "NULs": "\x00" * SIZE,
    "one NUL": "select '\x00'",
    "control characters": "".join(chr(c) for c in range(1, 32)) * 100,
    "astral": "select '\U0001f600' from \U0001f600" * 10_000,
}


@pytest.mark.parametrize("name", CASES)
def test_time_is_bounded(name: str) -> None:
    analyser = Analyser(Tokenizer(b"k" * 32), cache_bytes=4 * 1024**2)
    text = CASES[name].encode()
    began = time.process_time()
    # Past `analyse`, which would hide an exception of ours.
    analysis = analyser._select(Lexing()).analyse(text)
    assert time.process_time() - began < SECONDS
    assert len(analysis.statements) == len(analysis.params) >= 1
    assert all(len(p) <= 257 for p in analysis.params)
    assert sum(len(s.fragment) for s in analysis.statements) < 4 * 1024**2
    assert analyser.cached_bytes <= 4 * 1024**2


@pytest.mark.parametrize("conforming", [False, None])
@pytest.mark.parametrize("name", ["backslashes", "quotes", "continued strings", "string and space", "comment continuations"])
def test_time_is_bounded_in_the_other_reading(name: str, conforming: bool | None) -> None:
    began = time.process_time()
    analysis = Analyser(Tokenizer(b"k" * 32)).analyse(CASES[name].encode(), Lexing(standard_conforming_strings=conforming))
    assert time.process_time() - began < SECONDS
    assert len(analysis.statements) >= 1


def test_bulk_inserts_of_any_length_are_one_statement() -> None:
    analyser = Analyser(Tokenizer(b"k" * 32))
    found = {
        analyser.analyse(f"insert into t values {','.join(['(1, null)'] * rows)}".encode(), Lexing()).statements[0].text
        for rows in (2, 30, 3_000, 50_000)
    }
    assert found == {"insert into t values (?, null), ..."}


def test_ten_megabytes_are_oversize_and_opaque() -> None:
    text = b"insert into t values ('" + b"hunter2 " * (10 * 1024**2 // 8) + b"')"
    [statement] = Analyser(Tokenizer(b"k" * 32)).analyse(text, Lexing()).statements
    assert {StatementFlag.OVERSIZE, StatementFlag.OPAQUE} <= set(statement.facts.flags)
    assert b"hunter2" not in statement.fragment


def test_the_whole_set_stays_within_a_process_of_500_mb() -> None:
    """In a process of its own, so that a stack overflow or exhausted memory is a failure and not the end of the run."""
    program = (
        "import resource\n"
        "from processors.statements import Analyser, Lexing, Tokenizer\n"
        "from tests.fuzz.test_statements_hostile import CASES\n"
        "resource.setrlimit(resource.RLIMIT_AS, (500 * 1024**2,) * 2)\n"
        "analyser = Analyser(Tokenizer(b'k' * 32))\n"
        "print(sum(len(analyser._select(Lexing()).analyse(t.encode()).statements) > 0 for t in CASES.values()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.strip() == str(len(CASES)), done.stderr[-500:]


def test_functions_that_call_each_other_cost_little() -> None:
    """Each of 300 calls thirty others with the next key, and all lead back: the first call of one reads them all."""
    names = [f"f{n}" for n in range(300)]
    bodies = [" ".join(f"PERFORM {names[(n * 7 + k * 13) % 300]}(a + 1);" for k in range(30)) for n in range(300)]
    functions = [
        Function("public", name, "plpgsql", "v", f"BEGIN {body} DELETE FROM t WHERE id = a; END", oid=20_000 + n)
        for n, (name, body) in enumerate(zip(names, bodies, strict=True))
    ]
    lexing = Lexing(catalogue=build([], functions))
    began = time.process_time()
    [statement] = Analyser(Tokenizer(b"k" * 32)).analyse(b"SELECT f1(1)", lexing).statements
    assert time.process_time() - began < SECONDS
    assert Danger.MASS_DELETE in statement.facts.dangers
