"""What does it cost to analyse a statement? Prints microseconds of CPU by which cache answers, and of long and hostile texts.

    python -m bench.statements [--quick]

`exact` is a text seen before, `template` one that differs from a known one in its literals only (the literals' keyed tokens
included), `miss` a shape never seen. The measure beside them is libpg_query alone on the same texts: `parse` to its JSON tree,
`fingerprint`. Long texts are in milliseconds, the first and the second time with other literals.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence

from pglast import parser

from processors.statements import Analyser, Lexing, Tokenizer

SHAPES = {
    "pgbench select": "SELECT abalance FROM pgbench_accounts WHERE aid = {};",
    "pgbench insert": "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ({}, 2, 3, -400, CURRENT_TIMESTAMP);",
    "orm select": 'SELECT "auth_user"."id", "auth_user"."username", "auth_user"."email" FROM "auth_user" '
    'INNER JOIN "auth_group" ON ("auth_user"."id" = "auth_group"."user_id") '
    'WHERE ("auth_user"."is_active" AND "auth_group"."name" = \'staff\' AND "auth_user"."id" = {}) '
    'ORDER BY "auth_user"."username" ASC LIMIT 21',
    "commented": "SELECT a FROM t WHERE b = {} /*controller='users',traceparent='00-5bd66ef5095369c7-c532cb40-01'*/",
}


def microseconds(run: Callable[[bytes], object], texts: Sequence[bytes], rounds: int) -> float:
    """Median over rounds of the CPU time a call takes; every round has texts of its own."""
    size = len(texts) // rounds
    times = []
    for r in range(rounds):
        part = texts[r * size : (r + 1) * size]
        began = time.process_time_ns()
        for text in part:
            run(text)
        times.append((time.process_time_ns() - began) / 1000 / size)
    return statistics.median(times)


def short(count: int) -> None:
    print(f"{'µs a statement':24}{'exact':>9}{'template':>10}{'miss':>9}   libpg_query: {'parse':>7}{'fingerprint':>13}")
    lexing = Lexing()
    for name, shape in SHAPES.items():
        analyser = Analyser(Tokenizer(b"k" * 32))

        def analyse(text: bytes, analyser: Analyser = analyser) -> object:
            return analyser.analyse(text, lexing)

        analyse(shape.format(1).encode())
        template = microseconds(analyse, [shape.format(i).encode() for i in range(100_000, 100_000 + count)], 10)
        same = shape.format(7).encode()
        analyse(same)
        exact = microseconds(analyse, [same] * count, 10)
        head, _, tail = shape.partition(" FROM " if " FROM " in shape else " VALUES ")
        word = shape[len(head) : len(shape) - len(tail)]
        new = [f"{head.replace('(tid', f'(c{i}, tid')}, c{i}{word}{tail}" for i in range(count // 10)]
        if "VALUES" in word:
            new = [f"{head.replace('(tid', f'(c{i}')}{word}{tail}" for i in range(count // 10)]
        miss = microseconds(analyse, [n.format(1).encode() for n in new], 5)
        parse = microseconds(lambda t: parser.parse_sql_json(t.decode()), [same] * (count // 5), 5)
        fingerprint = microseconds(lambda t: parser.fingerprint(t.decode()), [same] * (count // 5), 5)
        print(f"{name:24}{exact:9.2f}{template:10.2f}{miss:9.1f}                {parse:7.1f}{fingerprint:13.1f}")


def long() -> None:
    size = 1024**2
    texts: dict[str, Callable[[int], str]] = {
        "100,000 numbers in IN": lambda n: "select * from t where a in (" + ",".join(str(i + n) for i in range(100_000)) + ")",
        "60,000 rows of VALUES": lambda n: "insert into t values " + ",".join(f"({i},'x{n}')" for i in range(60_000)),
        "1 MiB string": lambda n: f"select '{n}" + "x" * (size - 20) + "'",
        "1 MiB of parentheses": lambda n: " " * n + "(" * (size - n),
        "1 MiB of comments": lambda n: " " * n + "/**/" * (size // 4 - 16) + "select 1",
        "1 MiB of quotes": lambda n: "'" * (size - n - 1),
        "5,000 conditions": lambda n: "select 1 from t where " + " and ".join([f"a{n} = 1"] * 5_000),
        "10,000 nested parentheses": lambda n: f"select {n}" + "(" * 10_000 + "1" + ")" * 10_000,
    }
    print(f"\n{'ms a text':28}{'first':>9}{'second':>9}")
    for name, make in texts.items():
        analyser = Analyser(Tokenizer(b"k" * 32))
        times = []
        for n in (1, 2):
            text = make(n).encode()
            began = time.process_time_ns()
            analyser.analyse(text, Lexing())
            times.append((time.process_time_ns() - began) / 1e6)
        print(f"{name:28}{times[0]:9.1f}{times[1]:9.1f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a tenth of the statements")
    arguments = options.parse_args()
    version = ".".join(map(str, parser.get_postgresql_version()))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, libpg_query of PostgreSQL {version}"
    )
    short(5_000 if arguments.quick else 50_000)
    long()


if __name__ == "__main__":
    main()
