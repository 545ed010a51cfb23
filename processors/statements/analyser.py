"""From a query's bytes to what the audit trail says of it. The one entry point of this package; it never raises.

Look-ups, each only where the one before found nothing:

1. the exact text: everything is known, claims and tokens included; before it the shape that 2 found last, which takes less time;
2. the text without digits, if it was seen with nothing but whole numbers for literals: only tokens are made (`shapes.py`);
3. the template, the text without literals and comments: statements are shared, tokens and claims are made;
4. libpg_query: its scanner must agree with our lexer, its parser gives the tree that facts are read from.

A template is shared among texts only as far as facts do not depend on literals: the literals that were looked at while facts were
gathered (`1=1`, `ORDER BY 2`, `SET search_path = 'x'`) are part of the key. See docs/adr/0002.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import pairwise

from processors.statements import scrub
from processors.statements.cache import ByteBoundedCache
from processors.statements.claims import NO_CLAIMS, claims_of
from processors.statements.collapse import collapse, kept_literals
from processors.statements.facts.names import Namer
from processors.statements.facts.patterns import is_telling
from processors.statements.lexer import INTEGER, TEXT, finder
from processors.statements.lexing import Lexing, codec_of, decode
from processors.statements.literals import common_literal, rare_literal, unicode_value
from processors.statements.mistakes import Mistake, mistake
from processors.statements.parse import Parsed, UnparsedError, parse, within_limits
from processors.statements.shapes import Shapes
from processors.statements.statement import Analysis, Statement, with_dangers
from processors.statements.tokens import Tokenizer
from processors.statements.valued import WORST, Value, arguments, dangers_of_types, dangers_with, name_in
from processors.statements.verify import MAX_SCANNED_CHARS, agrees, is_slow_to_scan, marked
from schemas.events import Danger, Facts, StatementFlag

MAX_LEXINGS = 1024
"""Distinct session settings known at once; what is cached for them shares one budget, and ages when they are forgotten."""
MAX_SNAPSHOTS = 16
"""Catalogues held on to at once, old versions included."""
MAX_SEEN = 4096
"""Lexing objects known by identity: about one a session."""
MAX_EXACT_BYTES = 16 * 1024
"""Longer texts are looked up by template only: they rarely recur to the letter."""
MAX_ALIAS_CHARS = 4096
"""Longer templates are collapsed on each look-up instead of being remembered uncollapsed as well."""
OVERSIZE_PREFIX = 4096
"""Bytes looked at of a text too long to analyse."""

Literal = tuple[str, str]
Read = tuple[int, ...]
_ENTRY_COST = 400
_PRINTABLE = re.compile(r"[^\x00-\x1f]+\Z").match


class _Template:
    """What is known of a template: `counts` are the literals of each statement.

    `read` are the literals that facts depend on, as `parse.Parsed` has them; None for all: such texts are known exactly or
    not at all.
    """

    __slots__ = ("counts", "read", "statements")

    def __init__(self, statements: tuple[Statement, ...], counts: tuple[int, ...], read: Read | None) -> None:
        self.statements = statements
        self.counts = counts
        self.read = read


class Misses:
    """How often a look-up found nothing: texts the lexer had to read, and of those, templates that had to be parsed."""

    __slots__ = ("templates", "texts")

    def __init__(self) -> None:
        self.texts = self.templates = 0


Exact = ByteBoundedCache[tuple[int, bytes], Analysis]
Templates = ByteBoundedCache[tuple[object, ...], _Template]


class _Reader:
    """Analysis under one Lexing. `number` keeps its entries in the shared caches apart."""

    def __init__(
        self,
        number: int,
        tokenizer: Tokenizer,
        lexing: Lexing,
        exact: Exact,
        templates: Templates,
        shapes: Shapes,
        misses: Misses,
    ) -> None:
        self.number = number
        self.misses = misses
        self.codec = codec_of(lexing.client_encoding)
        self.doubtful = lexing.standard_conforming_strings is None
        self.conforming = lexing.standard_conforming_strings is not False
        self.escaping = not self.conforming
        self.find = finder(self.conforming)
        self.tokenizer = tokenizer
        self.lexing = lexing
        self.catalogue = lexing.catalogue
        own = lexing.search_path == ("public",) or "$user" in lexing.search_path
        is_open = own and self.catalogue is not None and self.catalogue.shadowed
        self.namer = Namer(tokenizer, () if is_open else lexing.search_path, blind=lexing.blind)
        self.exact = exact
        self.templates = templates
        self.shapes = shapes

    def analyse(self, text: bytes) -> Analysis:
        """Analyse a text that is not in the young generation of `exact`."""
        shaped = self.shapes.of_any(self.number, text, self.tokenizer)
        if shaped is not None:
            return shaped
        known = self.exact.promoted((self.number, text))
        if known is not None:
            return known
        self.misses.texts += 1
        try:
            decoded = text.decode() if self.codec == "utf-8" else decode(text, self.codec)
        except UnicodeDecodeError:
            decoded = None
        if decoded is None:
            return self._uncertain(text.decode("latin-1"))
        if self.doubtful and "\\" in decoded and finder(True)(decoded) != finder(False)(decoded):
            return self._uncertain(decoded)
        parts: list[str] = []
        literals: list[Literal] = []
        comments: list[str] = []
        for skip, common, rare, tag, comment, unicode, odd in self.find(decoded):
            if common:
                literal = (INTEGER, common) if common.isdigit() else common_literal(common, self.escaping)
            elif rare:
                literal = rare_literal(rare, tag)
            elif unicode:
                value = unicode_value(unicode)
                if value is None or (value[0] and not _PRINTABLE(value[1])):
                    return self._unparsed(decoded, literals, claims_of(comments))
                if value[0]:
                    parts.append(skip + '"' + value[1].replace('"', '""') + '"')
                    continue
                literal = TEXT, value[1]
            else:
                parts.append(skip)
                if comment:
                    parts.append(" ")
                    comments.append(comment)
                elif odd:
                    return self._unparsed(decoded, literals, claims_of(comments))
                continue
            literals.append(literal)
            parts.append(skip + literal[0])
        claims = claims_of(comments) if comments else NO_CLAIMS
        template = "".join(parts)
        entry = self.templates.get((self.number, template))
        shared = entry is not None and entry.read == ()
        if entry is not None and not shared:
            entry = self._variant(template, entry.read, literals)
        if entry is None:
            analysis = self._template_miss(decoded, template, literals, claims)
        else:
            analysis = Analysis(entry.statements, self._params(entry.counts, literals), claims)
            if shared and literals and not comments and not self.doubtful and self.codec == "utf-8":
                self.shapes.learn(self.number, text, template, literals, entry.statements)
        size = len(text)
        if size <= MAX_EXACT_BYTES:
            self.exact.put((self.number, text), analysis, 2 * size + _ENTRY_COST + 100 * len(literals))
        return analysis

    def _variant(self, template: str, read: Read | None, literals: Sequence[Literal]) -> _Template | None:
        return None if read is None else self.templates.get(_variant_key(self.number, template, read, literals))

    def _params(self, counts: Sequence[int], literals: list[Literal]) -> tuple[tuple[str, ...], ...]:
        if len(counts) == 1:
            return (self.tokenizer.tokens(literals),)
        params: list[tuple[str, ...]] = []
        at = 0
        for count in counts:
            params.append(self.tokenizer.tokens(literals[at : at + count]))
            at += count
        return tuple(params)

    def _template_miss(self, text: str, template: str, literals: list[Literal], claims: Mapping[str, str]) -> Analysis:
        collapsed = collapse(template)
        elided = collapsed != template
        if elided:
            entry = self.templates.get((self.number, collapsed))
            if entry is not None and entry.read == ():
                self._alias(template, entry)
                return Analysis(entry.statements, self._params(entry.counts, literals), claims)
        self.misses.templates += 1
        if not within_limits(collapsed) or is_slow_to_scan(text):
            return self._unparsed(text, literals, claims)
        original = None
        if len(text) > MAX_SCANNED_CHARS:
            original = marked(text, conforming=self.conforming)
        elif not agrees(text, conforming=self.conforming):
            return self._unparsed(text, literals, claims)
        kept = kept_literals(template)
        try:
            parsed = parse(
                collapsed,
                [literals[i] for i in kept],
                self.namer,
                elided=elided,
                original=original,
                catalogue=self.catalogue,
            )
        except UnparsedError:
            return self._unparsed(text, literals, claims)
        counts = self._counts(parsed, kept, len(literals))
        entry = _Template(parsed.statements, counts, ())
        self._remember(template, collapsed, entry, parsed, literals)
        return Analysis(parsed.statements, self._params(counts, literals), claims)

    @staticmethod
    def _counts(parsed: Parsed, kept: list[int], total: int) -> tuple[int, ...]:
        """Literals per statement in the uncollapsed text: elided ones belong to the statement of the last kept one."""
        bounds = [0]
        at = 0
        for count in parsed.literal_counts[:-1]:
            at += count
            bounds.append(kept[at] if at < len(kept) else total)
        bounds.append(total)
        return tuple(b - a for a, b in pairwise(bounds))

    def _remember(self, template: str, collapsed: str, entry: _Template, parsed: Parsed, literals: Sequence[Literal]) -> None:
        elided = collapsed != template
        cost = _ENTRY_COST + sum(len(s.fragment) * 3 + len(s.text) for s in entry.statements)
        if elided and (parsed.read is None or parsed.read or len(entry.statements) > 1):
            return
        if parsed.read is None:
            self.templates.put((self.number, template), _Template((), (), None), _ENTRY_COST + len(template))
        elif not parsed.read:
            self.templates.put((self.number, collapsed), entry, cost + len(collapsed))
            if elided:
                self._alias(template, entry)
        else:
            before = self.templates.get((self.number, template))
            read = tuple(sorted({*parsed.read, *((before.read or ()) if before else ())}))
            self.templates.put((self.number, template), _Template((), (), read), _ENTRY_COST + len(template))
            key = _variant_key(self.number, template, read, literals)
            self.templates.put(key, entry, cost + len(template) + sum(len(str(k)) for k in key[2:]))

    def _alias(self, template: str, entry: _Template) -> None:
        if len(template) <= MAX_ALIAS_CHARS:
            self.templates.put((self.number, template), entry, _ENTRY_COST + len(template))

    # -- what cannot be analysed -----------------------------------------------------------------------------------

    def _unparsed(self, text: str, literals: list[Literal], claims: Mapping[str, str]) -> Analysis:
        statement = opaque(scrub.unparsed(text, conforming=self.conforming))
        return Analysis((statement,), self._params((len(literals),), literals), claims)

    def _uncertain(self, text: str) -> Analysis:
        return Analysis((opaque(scrub.uncertain(text)),), ((),), NO_CLAIMS)


def _variant_key(number: int, template: str, read: Read, literals: Sequence[Literal]) -> tuple[object, ...]:
    values: list[object] = [number, template]
    for i in read:
        literal = literals[i] if i >= 0 else literals[~i]
        values.append(literal if i >= 0 or is_telling(literal[1]) else None)
    return tuple(values)


class Analyser:
    """Analyses Postgres query texts for one process. `cache_bytes` bounds what it remembers, about."""

    def __init__(self, tokenizer: Tokenizer, cache_bytes: int = 32 * 1024**2, max_text_bytes: int = 1024**2) -> None:
        self._tokenizer = tokenizer
        self._max_text_bytes = max_text_bytes
        self._exact: Exact = ByteBoundedCache(cache_bytes // 2)
        self._templates: Templates = ByteBoundedCache(cache_bytes // 2)
        self._shapes = Shapes()
        self.misses = Misses()
        self._readers: dict[Lexing, _Reader] = {}
        self._made = 0
        self._seen: dict[int, tuple[Lexing, _Reader]] = {}
        self._lexing: Lexing | None = None
        self._reader = self._read_under(Lexing())

    def analyse(self, text: bytes, lexing: Lexing) -> Analysis:
        """Return what one query text says; at least one statement. Never raises."""
        reader = self._reader if lexing is self._lexing else self._select(lexing)
        known = self._shapes.of_last(reader.number, text, self._tokenizer)
        if known is not None:
            return known
        known = self._exact.young.get((reader.number, text))
        if known is not None:
            return known
        if len(text) > self._max_text_bytes:
            return self.oversize(text[:OVERSIZE_PREFIX], len(text), sha256(text).hexdigest(), lexing)
        try:
            return reader.analyse(text)
        except (Exception, RecursionError):
            # A defect of ours must cost the client nothing and the record no more than its detail.
            return Analysis((opaque("?"),), ((),), NO_CLAIMS)

    def shared(self, lexing: Lexing) -> Lexing:
        """Return the equal object that all sessions are to use: that they take turns then costs nothing."""
        return self._select(lexing).lexing

    def with_values(self, text: bytes, place: int, values: Sequence[Value], lexing: Lexing) -> frozenset[Danger]:
        """Return the dangers of a text's statement with its parameters' values in their places. Never raises."""
        reader = self._select(lexing)
        decoded = decode(text, reader.codec)
        if decoded is None or reader.doubtful or reader.escaping:
            return WORST
        return dangers_with(decoded, place, values, reader.namer, reader.catalogue)

    def with_types(self, statement: Statement, oids: Sequence[int], lexing: Lexing) -> Statement:
        """Return a statement with the dangers of what its parameters' types run: checks of domains, input functions."""
        reader = self._select(lexing)
        if reader.catalogue is None:
            return statement
        types = reader.catalogue.type_names
        names = frozenset(types[oid] for oid in oids if oid in types)
        return with_dangers(statement, dangers_of_types(names, reader.namer, reader.catalogue)) if names else statement

    def arguments(self, text: bytes, place: int, lexing: Lexing) -> list[Value]:
        """Return what an EXECUTE gives for parameters, as far as it can be told."""
        decoded = decode(text, self._select(lexing).codec)
        return [] if decoded is None else arguments(decoded, place)

    def name_in(self, text: bytes, place: int, kind: str, lexing: Lexing) -> str:
        """Return the name that a PREPARE gives (`PrepareStmt`) or an EXECUTE runs (`ExecuteStmt`), as the server knows it."""
        decoded = decode(text, self._select(lexing).codec)
        return "" if decoded is None else name_in(decoded, place, kind)

    def constants(self, text: bytes, lexing: Lexing) -> list[bytes]:
        """Return the values of a text's strings and numbers, in its encoding; none where that is not certain, or it is long."""
        reader = self._select(lexing)
        decoded = None if reader.doubtful or len(text) > MAX_EXACT_BYTES else decode(text, reader.codec)
        if decoded is None or reader.codec is None:
            return []
        found: list[bytes] = []
        for _, common, rare, tag, _, _, _ in reader.find(decoded):
            if common or rare:
                value = (common_literal(common, reader.escaping) if common else rare_literal(rare, tag))[1]
                found.append(value.encode(reader.codec, "ignore"))
        return found

    def mistake(self, text: bytes, lexing: Lexing) -> Mistake | None:
        """Return what is wrong with a text that the grammar refuses, None where it does not or that is not certain."""
        reader = self._select(lexing)
        decoded = None if reader.doubtful else decode(text, reader.codec)
        return None if decoded is None else mistake(decoded, conforming=reader.conforming)

    def oversize(self, prefix: bytes, total_bytes: int, digest: str, lexing: Lexing) -> Analysis:
        """Return what stands for a text too long to analyse: its first key words and the token of its digest."""
        text = scrub.uncertain(prefix[:OVERSIZE_PREFIX].decode("latin-1"))
        statement = opaque(text, StatementFlag.OVERSIZE)
        return Analysis((statement,), ((self._tokenizer.token("digest", f"{total_bytes}:{digest}".encode()),),), NO_CLAIMS)

    def _read_under(self, lexing: Lexing) -> _Reader:
        self._made += 1
        return _Reader(self._made, self._tokenizer, lexing, self._exact, self._templates, self._shapes, self.misses)

    @property
    def cached_bytes(self) -> int:
        """About what the caches hold, at most `cache_bytes`."""
        return self._exact.bytes_used + self._templates.bytes_used

    def _select(self, lexing: Lexing) -> _Reader:
        # Sessions take turns: an object seen before is found by identity, which holding it here keeps unique.
        seen = self._seen.get(id(lexing))
        if seen is None:
            reader = self._readers.get(lexing)
            if reader is None:
                snapshots = {id(known.catalogue) for known in self._readers}
                if len(self._readers) >= MAX_LEXINGS or len(snapshots) > MAX_SNAPSHOTS:
                    self._readers.clear()
                    self._seen.clear()
                reader = self._readers[lexing] = self._read_under(lexing)
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            seen = self._seen[id(lexing)] = (lexing, reader)
        self._lexing, self._reader = seen
        return seen[1]


def opaque(text: str, *flags: StatementFlag) -> Statement:
    """Return the statement that stands for what could not be understood: it may do anything, settings included."""
    found = {StatementFlag.UNPARSED, StatementFlag.OPAQUE, StatementFlag.CHANGES_SETTINGS, *flags}
    facts = Facts(verbs=("unknown",), flags=tuple(f for f in StatementFlag if f in found), dangers=(Danger.OPAQUE,))
    return Statement(text, sha256(text.encode()).hexdigest()[:16], facts, {"*": None})
