"""Statements cut and spliced at random: the analyser neither raises nor hangs, and what it says is well formed.

Secrets stand for their strings and numbers, and come out in nothing. `tests.support.fuzzing` says how many inputs, from which
seed.
"""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

from processors.statements import Analyser, Lexing, Tokenizer
from processors.statements.catalogue import Catalogue, Column, Function, Relation, build
from schemas.events import Danger
from tests.support.fuzzing import SECRETS, dice, inputs, leaked, told

SECONDS = 2.0
"""For one input of at most a few hundred characters; it takes well under a millisecond."""

FOLDER = Path(__file__).parents[1] / "golden" / "evasion"
_TOKEN = re.compile(r"\s+|\w+|\$\w*\$|'(?:[^']|'')*'|\"[^\"]*\"|.", re.DOTALL)


def seeds() -> list[list[str]]:
    written = {name: (FOLDER / f"{name}.txt").read_text().splitlines() for name in ("dangerous", "dangerous_objects")}
    lines = [line.split(": ", 1)[-1] for found in written.values() for line in found if not line.startswith("#")]
    for name in ("everyday", "everyday_objects"):
        lines += [line for line in (FOLDER / f"{name}.txt").read_text().splitlines() if not line.startswith("#")]
    lines += [sql for found in json.loads((FOLDER / "tools.json").read_text()).values() for sql in found if len(sql) < 1500]
    return [_TOKEN.findall(line) for line in lines if line]


def planted(rng: random.Random, tokens: list[str]) -> list[str]:
    """Put secrets in the place of strings and numbers; some are left, for grammar cares about them."""
    planted = list(tokens)
    for i, token in enumerate(tokens):
        if len(token) > 1 and token[0] == token[-1] == "'" and rng.random() < 0.7:
            planted[i] = f"'{rng.choice(SECRETS)}'"
        elif token.isdigit() and rng.random() < 0.5:
            planted[i] = SECRETS[0]
    return planted


def catalogue() -> Catalogue:
    """Objects that refer to each other, and to themselves."""
    columns = (Column("id", 1, "int", not_null=True), Column("name", 2, "text"), Column("email", 3, "text"))
    return build(
        [
            Relation(
                "public", "customers", "r", 1, 1e6, columns=columns, triggers=(("update", "public.f"),), kin=("public.orders",)
            ),
            Relation(
                "public",
                "orders",
                "p",
                2,
                10,
                columns=columns,
                kin=("public.customers",),
                expressions=("f(1)",),
                policies=("g(1)",),
            ),
            Relation("public", "t", "v", 3, 0, "SELECT a.id, b.* FROM public.v a, public.customers b", columns),
            Relation("public", "v", "v", 4, 0, "SELECT * FROM public.t WHERE f(id) = 1", columns),
        ],
        [
            Function("public", "f", "plpgsql", "v", "BEGIN PERFORM g(1); DELETE FROM t WHERE id = $1; RETURN f(2); END"),
            Function("public", "g", "sql", "v", "SELECT f($1); UPDATE v SET id = 1", defaults="public.f(2)", result="text"),
            Function(
                "evil", "count", "internal", "i", "aggregate_dummy", calls=("public.f", "int4pl"), settings=("search_path=v",)
            ),
        ],
        event_triggers=["public.f"],
        operators=[("=", "public", "public.g")],
        types=[("text", "public.f")],
        casts=[("int", "public.g")],
        builtins=[(1, "lower"), (2, "count")],
    )


def mutant(rng: random.Random, pool: list[list[str]]) -> str:
    tokens = list(rng.choice(pool))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(tokens)) if tokens else 0
        other = rng.choice(pool)
        start = rng.randrange(len(other))
        match rng.randrange(6):
            case 0:
                del tokens[at : at + rng.randint(1, 5)]
            case 1:
                tokens[at:at] = other[start : start + rng.randint(1, 8)]
            case 2:
                tokens[at : at + 1] = ["(", *other[:400], ")"]
            case 3:
                tokens[at:at] = tokens[at : at + rng.randint(1, 6)]
            case 4:
                tokens += [";", *other[:400]]
            case _:
                tokens[at : at + 1] = [rng.choice(_ODD)]
    return "".join(tokens)[:4000]


_ODD = (
    " ",
    "''",
    "NULL",
    "$1",
    "0",
    "-1",
    "true",
    "*",
    "(SELECT 1)",
    "ARRAY[]",
    "$$",
    'U&"\\0061"',
    "/**/",
    "::text",
    "::int[]",
    "\x00",
    "é",
)


def test_mutations_are_analysed_without_fault_or_delay() -> None:
    rng, total = dice("analyser"), inputs("analyser", 4000)
    pool, known = [planted(rng, tokens) for tokens in seeds()], catalogue()
    analyser = Analyser(Tokenizer(b"k" * 32), cache_bytes=16 * 1024**2)
    lexings = [Lexing(), Lexing(catalogue=known), Lexing(search_path=(), catalogue=known)]
    parsed = 0
    for i in range(total):
        text = mutant(rng, pool)
        began = time.process_time()
        # Past `analyse`, which would hide an exception of ours.
        analysis = analyser._select(lexings[i % 3]).analyse(text.encode("utf-8", "replace"))
        assert time.process_time() - began < SECONDS, text
        assert all(set(s.facts.dangers) <= set(Danger) for s in analysis.statements), text
        written = [part for s in analysis.statements for part in (s.fragment, s.text.encode())]
        written += [p.encode() for params in analysis.params for p in params]
        assert not leaked(b" ".join(written)), text
        parsed += any(Danger.OPAQUE not in s.facts.dangers for s in analysis.statements)
    told("analyser", total, parsed=f"{parsed:,}")
    assert parsed > total // 20, "hardly anything parsed: the mutations are too wild to try anything"
