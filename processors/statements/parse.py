"""From a collapsed template and its literals to statements: one call of libpg_query, one walk per statement.

libpg_query gives its tree as JSON (4 µs and 10 µs to load, where its Python objects take 45 µs). Nesting beyond
MAX_NESTING, chains beyond the JSON reader's depth of 1,024 and templates beyond MAX_TEMPLATE_CHARS are not parsed: they
raise UnparsedError.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import orjson
from pglast import parser

from processors.statements import scrub
from processors.statements.catalogue import Catalogue
from processors.statements.facts import collect
from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.names import Namer
from processors.statements.facts.trees import within_effort
from processors.statements.grammar import TooComplexError, tree_json
from processors.statements.lexer import BIT, HEX, MORE, TEXT
from processors.statements.statement import Statement
from processors.statements.valued import CHANGING
from schemas.events import Danger, Facts, StatementFlag

MAX_NESTING = 300
"""Open brackets at once; libpg_query's own limit lies near 5,000, its tree's readers' near 500."""
MAX_TEMPLATE_CHARS = 128 * 1024
"""Structure without literals and repeated rows; its tree takes about 50 times that."""
MAX_STATEMENTS = 1000
"""Statements in one text; a migration script has hundreds."""

_SENTINEL = re.compile("([\x01-\x06])")
_BRACKET = re.compile(r'"[^"]*"|[(\[]|[)\]]')
_SET_NODE = '"VariableSetStmt"'


class UnparsedError(Exception):
    """The text is not SQL as the server's grammar has it, or too deep or large to say."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """Statements in order; `read` are the literals facts depend on, by position, None for all of them.

    A position `i` means its value, `~i` only whether it is a pattern that may match everything.
    """

    statements: tuple[Statement, ...]
    literal_counts: tuple[int, ...]
    read: frozenset[int] | None


def within_limits(template: str) -> bool:
    """Tell whether a collapsed template is short and flat enough to be parsed."""
    return len(template) <= MAX_TEMPLATE_CHARS and _nesting(template) <= MAX_NESTING


def parse(
    template: str,
    literals: Sequence[tuple[str, str]],
    namer: Namer,
    *,
    elided: bool,
    original: str | None = None,
    catalogue: Catalogue | None = None,
) -> Parsed:
    """Parse a template within limits, filled with its literals; raise UnparsedError.

    Where `original` is given, its fingerprint must be that of the filled template: both have the same structure to the server.
    """
    text = _Filled(template, literals)
    try:
        tree = tree_json(text.filled, elided_from=0 if original is None else len(original))
        raw = orjson.loads(tree).get("stmts", [])
        if original is not None and parser.fingerprint(original) != parser.fingerprint(text.filled):
            raise UnparsedError("our lexer cut this text as the server does not")
    except UnparsedError:
        raise
    except Exception as error:
        raise UnparsedError("not SQL, or too deep") from error
    if len(raw) > MAX_STATEMENTS:
        raise UnparsedError("too many statements")
    if not raw:
        return Parsed((_empty(),), (len(literals),), frozenset())
    with within_effort():
        return _read(raw, text, template, namer, catalogue, elided=elided, has_settings=_SET_NODE in tree or '"setstmt"' in tree)


def _read(
    raw: list[Node],
    text: _Filled,
    template: str,
    namer: Namer,
    catalogue: Catalogue | None,
    *,
    elided: bool,
    has_settings: bool,
) -> Parsed:
    statements: list[Statement] = []
    counts: list[int] = []
    read: set[int] | None = set()
    asked = False
    for entry in raw:
        start = entry.get("stmt_location", 0)
        end = start + entry["stmt_len"] if entry.get("stmt_len") else text.size
        try:
            facts = collect(entry["stmt"], namer, elided=elided, catalogue=catalogue)
        except (RecursionError, TooComplexError) as error:
            raise UnparsedError("too deep, or too much of it within itself") from error
        if len(raw) > 1:
            facts.flag(StatementFlag.MULTI_STATEMENT)
            # A question about a table, then a change: what a value that breaks out of its quotes looks like.
            if asked and facts.changes_objects():
                facts.danger(Danger.INJECTION_SIGNS)
            asked = asked or (next(iter(facts.verbs), "") == "select" and bool(facts.columns))
            if "search_path" in facts.settings or "*" in facts.settings:
                namer = namer.uncertain()
        segment = template[text.template_index(start) : text.template_index(end)]
        statements.append(_statement(segment, facts, has_settings=has_settings))
        counts.append(sum("\x01" <= c <= "\x05" for c in segment))
        located = text.literals_at(facts)
        read = None if read is None or located is None else read | located
    return Parsed(tuple(statements), tuple(counts), None if read is None else frozenset(read))


def _statement(segment: str, facts: Collector, *, has_settings: bool) -> Statement:
    tokens = scrub.clean(segment, facts.relation_names, has_settings=has_settings)
    shown = scrub.shown(tokens)
    try:
        fingerprint = parser.fingerprint(scrub.parseable(tokens))
    except Exception:
        fingerprint = sha256(shown.encode()).hexdigest()[:16]
    asks = (facts.asks_values and not CHANGING.isdisjoint(facts.verbs)) or facts.asks_amounts
    return Statement(shown, fingerprint, facts.facts(), dict(facts.settings), facts.shape(), asks_values=asks)


def _empty() -> Statement:
    return Statement("", sha256(b"").hexdigest()[:16], Facts(flags=(StatementFlag.EMPTY,)), {})


def _nesting(template: str) -> int:
    if template.count("(") + template.count("[") <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for token in _BRACKET.findall(template):
        if token in "([":
            depth += 1
            deepest = max(deepest, depth)
        elif token in ")]":
            depth -= 1
    return deepest


class _Filled:
    """A template with its literals put back in one canonical spelling, and the way back from byte offsets."""

    __slots__ = ("_bytes", "_indexes", "_starts", "_where", "filled", "size")

    def __init__(self, template: str, literals: Sequence[tuple[str, str]]) -> None:
        pieces: list[str] = []
        starts: list[int] = []
        indexes: list[int] = []
        where: dict[int, int] = {}
        at = index = number = 0
        for piece in _SENTINEL.split(template):
            if not piece:
                continue
            starts.append(at)
            indexes.append(index)
            index += len(piece)
            if piece == MORE:
                continue
            if "\x01" <= piece <= "\x05" and len(piece) == 1:
                piece = _spell(*literals[number])
                where[at] = number
                number += 1
            pieces.append(piece)
            at += len(piece) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))
        self.filled = "".join(pieces)
        self._bytes = self.filled.encode("utf-8", "replace")
        self.size = at
        self._starts, self._indexes, self._where = starts, indexes, where
        starts.append(at)
        indexes.append(index)

    def template_index(self, offset: int) -> int:
        """Return where in the template a byte offset of the filled text lies."""
        piece = bisect_right(self._starts, offset) - 1
        inside = offset - self._starts[piece]
        return self._indexes[piece] + (len(self._bytes[offset - inside : offset].decode("utf-8", "replace")) if inside else 0)

    def literals_at(self, facts: Collector) -> set[int] | None:
        """Return the literals facts were read from, None if that is not certain."""
        if facts.read_all:
            return None
        found: set[int] = set()
        for locations, is_pattern in ((facts.read_locations, False), (facts.pattern_locations, True)):
            for location in locations:
                number = self._literal_at(location)
                if number is not None:
                    found.add(~number if is_pattern else number)
                elif not (self._bytes[location : location + 1].isalpha() or self._bytes[location : location + 1] in (b'"', b"_")):
                    return None
        return found

    def _literal_at(self, location: int) -> int | None:
        # The place of a negative number is its sign.
        while location not in self._where and self._bytes[location : location + 1] in (b"-", b"+", b" "):
            location += 1
        return self._where.get(location)


def _spell(sentinel: str, value: str) -> str:
    if sentinel == TEXT:
        return "'" + value.replace("'", "''") + "'"
    if sentinel == BIT:
        return f"B'{value}'"
    return f"X'{value}'" if sentinel == HEX else value
