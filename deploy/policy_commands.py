"""`affidavit policy check | test`: what a bundle's author runs before the proxies do."""

from __future__ import annotations

from pathlib import Path

from processors.policy import Policy, PolicyError, Values, read_bundle, statement_values
from processors.policy.cases import count, failures
from processors.policy.check import doubts
from processors.statements import Analyser, Lexing, Tokenizer


def load_policy(files: list[Path]) -> Policy:
    """Read and compile a bundle. Raises PolicyError."""
    try:
        return Policy(read_bundle({str(path): path.read_bytes() for path in files}))
    except OSError as error:
        raise PolicyError(f"{error.filename}: cannot be read: {error.strerror}") from None


def check(files: list[Path]) -> tuple[list[str], bool]:
    """Return what to print about a bundle, and whether it is in order."""
    policy = load_policy(files)
    lines = list(doubts(policy))
    rules = len(policy.bundle.rules)
    return [*lines, f"{policy.version}: {rules} rules, {len(lines)} doubts"], not lines


def test(files: list[Path]) -> tuple[list[str], bool]:
    """Run a bundle's cases; return what to print, and whether all hold."""
    policy = load_policy(files)
    failed = list(failures(policy, analysed))
    return [*failed, f"{policy.version}: {count(policy)} cases, {len(failed)} failed"], not failed


def analysed(sql: str) -> Values:
    """Return what a rule sees of a statement; of several in one text, the first. Raises ValueError for several."""
    analysis = Analyser(Tokenizer(b"\x00" * 32)).analyse(sql.encode(), Lexing())
    if len(analysis.statements) != 1:
        raise ValueError(f"sql holds {len(analysis.statements)} statements; a case is about one")
    statement = analysis.statements[0]
    return statement_values(statement.facts, statement.fingerprint, analysis.claims)
