"""What does a statement run that came earlier under a name? `EXECUTE s`, `FETCH c` say nothing of what s and c are.

Statements and cursors made by Parse and Bind have no event of their own until they are executed, so SQL that runs them by name
carries their text and facts: or their text would stand nowhere. Names are compared generously (any word of the
text, as written and in lower case): one too many says more than was done, one too few hides it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from hashlib import sha256

from processors.statements import Statement
from processors.statements.statement import Shape
from schemas.events import Facts, StatementFlag

MAX_NAMES = 4096
"""Words looked at in one text; a text with more that runs something by name is one no driver sends."""
MAX_JOINED = 16
"""Statements joined to one; past it only the flag `opaque` says that there is more."""

_WORD = re.compile(rb'"((?:[^"]|"")+)"|([A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)')
_NAMEDATALEN = 63
_FLAGS = frozenset((StatementFlag.EXECUTE, StatementFlag.PREPARE, StatementFlag.OPAQUE))
_VERBS = frozenset(("fetch", "move", "declare"))


def acts_by_name(statement: Statement) -> bool:
    """Tell whether a statement may run, fetch from or make something that has a name in its session."""
    facts = statement.facts
    return not _FLAGS.isdisjoint(facts.flags) or (bool(facts.verbs) and facts.verbs[0] in _VERBS)


_PREPARED = re.compile(r'\s*PREPARE\s+("(?:[^"]|"")+"|[A-Za-z_\x80-\uffff][\w$]*)', re.IGNORECASE)


def name_prepared(statement: Statement) -> bytes:
    """Return the name that a PREPARE gives, as the server would know it; empty if that cannot be told."""
    found = _PREPARED.match(statement.text)
    if found is None:
        return b""
    name = found[1][1:-1].replace('""', '"') if found[1][0] == '"' else found[1].lower()
    return name.encode("utf-8", "surrogateescape")[:_NAMEDATALEN]


def names_in(text: bytes) -> frozenset[bytes]:
    """Return every word of a text that could be a name, as the server would know it."""
    found: set[bytes] = set()
    for quoted, plain in _WORD.findall(text):
        name = quoted.replace(b'""', b'"') if quoted else plain
        found.add(name[:_NAMEDATALEN])
        found.add(name.lower()[:_NAMEDATALEN])
        if len(found) >= MAX_NAMES:
            break
    return frozenset(found)


def joined(statement: Statement, others: Sequence[Statement]) -> Statement:
    """Return a statement whose text and facts are also those of the others it runs."""
    if not others:
        return statement
    kept = sorted(others, key=lambda s: s.text_hash)[:MAX_JOINED]
    parts = [statement.facts, *(s.facts for s in kept)]
    merged = {f.name: tuple(dict.fromkeys(v for part in parts for v in getattr(part, f.name))) for f in fields(Facts)}
    found = {*merged["flags"], *((StatementFlag.OPAQUE,) if len(others) > MAX_JOINED else ())} - {StatementFlag.EMPTY}
    merged["flags"] = tuple(f for f in StatementFlag if f in found)
    fingerprint = sha256("".join((statement.fingerprint, *(s.fingerprint for s in kept))).encode()).hexdigest()[:16]
    settings = {k: v for s in (statement, *kept) for k, v in s.settings.items()}
    own = Shape(code_reads=statement.shape.code_reads, called=statement.shape.called)  # of what EXECUTE hands over
    return Statement("; ".join((statement.text, *(s.text for s in kept))), fingerprint, Facts(**merged), settings, own)
