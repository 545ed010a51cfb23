"""What does a decision cost: remembered, remembered for the minute, and evaluated, by 20 rules?

Columns: µs per decision, median of rounds. `remembered`: no rule reads time or counters. `by the minute`: rules read the time.
`evaluated`: a rule reads a counter of the session, as agents.yaml's limit does, so each statement is evaluated anew.
Beside them the cost of analysing a statement whose shape is known, as a measure of this machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from ingest.guard.guard import Guard
from processors.policy import Policy, read_bundle
from processors.policy.context import DEFAULTS, SUBJECT
from processors.statements import Analyser, Lexing, Statement, Tokenizer

POLICIES = Path(__file__).parents[1] / "deploy" / "policies"
TEXT = b"SELECT o.id, c.name FROM public.orders o JOIN public.customers c ON c.id = o.customer WHERE o.state = 'open' LIMIT 20"
RULES = 20


class Still:
    """Counters of a session that does nothing else."""

    statements = bytes_in = bytes_out = rows = 0


def rules(reads: tuple[str, ...]) -> Policy:
    """Return a policy of 20 rules: those of the starter bundles that read no more than `reads` of what changes by itself."""
    found = []
    for name in ("production.yaml", "agents.yaml"):
        found += yaml.safe_load((POLICIES / name).read_text())["rules"]
    found = [r for r in found if "time." not in r["when"] or "time" in reads][: RULES - ("session" in reads)]
    extra = {"effect": "alert", "when": '"bulk_export" in statement.dangers && principal.kind == "service"', "reason": "x"}
    found += [{**extra, "id": f"more-{n}"} for n in range(RULES - len(found) - ("session" in reads))]
    if "session" in reads:
        found.append({**extra, "id": "rate", "when": "session.statements_last_minute >= 600"})
    assert len(found) == RULES
    return Policy(read_bundle({"bench": yaml.safe_dump({"bundle": "bench", "rules": found}).encode()}))


def cost(work: Callable[[], object], count: int, rounds: int) -> float:
    """Return µs per call, the median of rounds."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            work()
        took.append((time.perf_counter() - began) / count * 1e6)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 5 if parser.parse_args().quick else 25
    analyser = Analyser(Tokenizer(b"k" * 32))
    statement: Statement = analyser.analyse(TEXT, Lexing()).statements[0]
    subject = {name: DEFAULTS[name] for name in SUBJECT}
    now = time.time_ns() // 1000
    for name, reads in (("remembered", ()), ("by the minute", ("time",)), ("evaluated", ("time", "session"))):
        policy = rules(reads)
        guard = Guard(policy).session(subject, "s", Still(), now)
        assert not guard.judge(statement, {}, now).stops
        took = cost(lambda guard=guard: guard.judge(statement, {}, now), 2000, rounds)  # type: ignore[misc]
        print(f"decision, {name:14} {took:8.2f} µs   ({RULES} rules)")
    print(f"analysis, shape known    {cost(lambda: analyser.analyse(TEXT, Lexing()), 2000, rounds):8.2f} µs")


if __name__ == "__main__":
    main()
