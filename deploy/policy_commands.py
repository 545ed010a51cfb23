"""`affidavit policy check | test | simulate`: what a bundle's author runs before the proxies do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from deploy.display import printable
from processors.policy import Policy, PolicyError, Values, read_bundle, statement_values
from processors.policy.cases import count, failures
from processors.policy.check import doubts
from processors.policy.simulate import simulate
from processors.statements import Analyser, Lexing, Tokenizer


def load_policy(files: list[Path]) -> Policy:
    """Read and compile a bundle. Raises PolicyError."""
    try:
        return Policy(read_bundle({str(path): path.read_bytes() for path in files}))
    except OSError as error:
        raise PolicyError(f"{error.filename}: cannot be read: {error.strerror}") from None


def check(files: list[Path], *, as_json: bool = False) -> tuple[list[str], bool]:
    """Return what to print about a bundle, and whether it is in order."""
    policy = load_policy(files)
    lines = list(doubts(policy))
    rules = len(policy.bundle.rules)
    if as_json:
        return [_json(bundle=policy.version, rules=rules, doubts=lines)], not lines
    return [*lines, f"{policy.version}: {rules} rules, {len(lines)} doubts"], not lines


def test(files: list[Path], *, as_json: bool = False) -> tuple[list[str], bool]:
    """Run a bundle's cases; return what to print, and whether all hold."""
    policy = load_policy(files)
    failed = list(failures(policy, analysed))
    if as_json:
        return [_json(bundle=policy.version, cases=count(policy), failed=failed)], not failed
    return [*failed, f"{policy.version}: {count(policy)} cases, {len(failed)} failed"], not failed


def simulated(files: list[Path], events: Iterable[dict[str, Any]], *, as_json: bool = False) -> Iterable[str]:
    """Yield what a bundle would have said to recorded executions, given newest first, where it differs from what happened.

    The last line sums up.
    """
    policy = load_policy(files)
    result = simulate(policy, list(events)[::-1])
    if as_json:
        yield from (_json(**asdict(d)) for d in result.differences)
        verdicts = {str(verdict): count for verdict, count in sorted(result.verdicts.items())}
        yield _json(bundle=policy.version, judged=result.judged, otherwise=result.judged - result.same, verdicts=verdicts)
        return
    for d in result.differences:
        text = printable(" ".join(d.text.split())) or "(a long text)"
        yield f"{d.count:7}  {d.was} -> {d.would}  {printable(d.principal)}  {', '.join(d.policies) or 'no rule'}  {text[:120]}"
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(result.verdicts.items()))
    yield f"{policy.version}: {result.judged} executions ({said or 'none'}), {result.judged - result.same} decided otherwise"


def _json(**members: object) -> str:
    return orjson.dumps(members).decode()


def analysed(sql: str) -> Values:
    """Return what a rule sees of a statement; of several in one text, the first. Raises ValueError for several."""
    analysis = Analyser(Tokenizer(b"\x00" * 32)).analyse(sql.encode(), Lexing())
    if len(analysis.statements) != 1:
        raise ValueError(f"sql holds {len(analysis.statements)} statements; a case is about one")
    statement = analysis.statements[0]
    return statement_values(statement.facts, statement.fingerprint, analysis.claims, settings=statement.settings)
