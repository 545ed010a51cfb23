"""What analysis gives: statements, shared by every execution of the same shape, and what one text adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import orjson

from processors.statements.sizes import Condition
from schemas.events import Danger, Facts, StatementFlag
from schemas.events.statement import MAX_INLINE_TEXT

_MAY_CHANGE_OBJECTS = frozenset((StatementFlag.DDL, StatementFlag.OPAQUE))
_NOT_PLAIN = frozenset(
    (StatementFlag.COPY_IN, StatementFlag.COPY_OUT, StatementFlag.PREPARE, StatementFlag.EXECUTE, StatementFlag.OPAQUE)
)
_BY_NAME = frozenset(("fetch", "move", "declare", "deallocate"))


@dataclass(frozen=True, slots=True)
class CopyFormat:
    """How a COPY writes its rows: `text`, `csv` or `binary`, and what stands between and for values; empty is the default."""

    format: str = "text"
    delimiter: str = ""
    null: str | None = None
    quote: str = '"'
    escape: str = ""
    encoding: str = ""
    header: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """A table that a statement makes. `columns` and `outputs` are its columns' names and what is behind each, in order.

    A table's name in `outputs` stands for all of its columns; None as a whole: not known. `renamed` are the names that the first
    columns get instead. `temporary`: only its session sees it.
    """

    name: str
    temporary: bool = False
    columns: tuple[str, ...] = ()
    outputs: tuple[frozenset[str] | str, ...] | None = ()
    renamed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Code:
    """Functions that a statement makes or names, by short name, and what their bodies read, call and whether they write."""

    names: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    writes: bool = False


NO_CODE = Code()


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the cells of a statement's result come from, and where values go that it writes; never in an event.

    Among columns behind a value, `name().?` stands for what a function of that name gives.

    `outputs` has for each column the columns behind it (as `ColumnUse.name`), a table's name for all of its columns in order
    (`SELECT *`), None for columns of unknown number; None as a whole where nothing is known. `flows` are (target column,
    columns behind the value). `compared` has for each part of a condition and each sort key the columns behind each of its
    references, where it has several; `counted` are columns that say how many rows there are. `code_reads` and `code_writes` are
    tables that code it calls reads and writes, `code_compared` what is compared in it. `keys` are the names by which it takes
    members out of documents, None where one is not known. `made` are the tables it makes, `renames` (table, column or nothing,
    new name, or `schema.` alone) of what it gives another name. `inserted` are (table, what is behind its first columns, in
    order) of inserts that name no columns. `mixed`: the value of an output is made of several columns. `changes` are (table,
    what its condition compares) of each UPDATE and DELETE. `called` are the functions that its own text calls, without those
    that triggers, views and other code call; None where these are not told apart. `handed` are columns that it gives to
    functions and operators of the database's own. `code` is what it makes. `qualified` are relations that it names with their
    schemas: no temporary ones. `looked_up` are columns of which its conditions ask nothing but whether they are one whole value
    that it says, of these `searched` by words, and `null_tested` those of which they ask nothing but whether they are NULL.
    `asks_handed` is what it, and code that it calls, hands over to code that asks by it; None where none does. `asking` are
    functions that its conditions and sort keys call, beside the server's own. `stored`: of COPY, for each column the table's
    column that it is, `table.*` for all of a table's in order, empty for what is computed; None where their number is not
    known. `reworked` are targets of `flows` that its own text gives something computed.
    """

    outputs: tuple[frozenset[str] | str | None, ...] | None = None
    flows: tuple[tuple[str, frozenset[str]], ...] = ()
    compared: tuple[frozenset[frozenset[str]], ...] = ()
    counted: frozenset[str] = frozenset()
    code_reads: frozenset[str] = frozenset()
    code_writes: frozenset[str] = frozenset()
    copy: CopyFormat | None = None
    keys: tuple[str, ...] | None = ()
    made: tuple[Made, ...] = ()
    renames: tuple[tuple[str, str, str], ...] = ()
    inserted: tuple[tuple[str, tuple[frozenset[str] | str, ...]], ...] = ()
    mixed: bool = False
    changes: tuple[tuple[str, Condition], ...] = ()
    code_compared: tuple[frozenset[frozenset[str]], ...] = ()
    called: frozenset[str] | None = None
    handed: frozenset[str] = frozenset()
    code: Code = NO_CODE
    qualified: frozenset[str] = frozenset()
    looked_up: frozenset[str] = frozenset()
    searched: frozenset[str] = frozenset()
    null_tested: frozenset[str] = frozenset()
    asks_handed: frozenset[str] | None = None
    asking: frozenset[str] = frozenset()
    stored: tuple[str, ...] | None = None
    reworked: frozenset[str] = frozenset()


UNSHAPED = Shape()


class Statement:
    """One statement: `text` normalised, `fragment` its part of an event line, ready made.

    `long_text`: the text is longer than MAX_INLINE_TEXT and the fragment names it by hash only. `settings` are the session
    settings it changes; None is a value not known or not kept, the key `*` any setting at all. `changes_objects`: what the
    database holds may be another after it. `shape` is what masking needs to know of it. `plain`: it leaves nothing in its session
    that could change what a later one means, refers to nothing made there before, and is no COPY; nearly all are. `fills`: it
    makes, renames, or fills tables from columns. `stirs`: it has several verbs, dangers, settings, or is an ALTER TABLE, by which
    a temporary table may become another. `asks_values`: whether it changes a few rows or most depends on its parameters'
    values (`Analyser.with_values`).
    """

    __slots__ = (
        "asks_values", "changes_objects", "facts", "fills", "fingerprint", "fragment", "long_text", "plain", "settings", "shape",
        "stirs", "text", "text_hash",
    )  # fmt: skip

    def __init__(
        self,
        text: str,
        fingerprint: str,
        facts: Facts,
        settings: Mapping[str, str | None],
        shape: Shape = UNSHAPED,
        *,
        asks_values: bool = False,
    ) -> None:
        encoded = text.encode()
        self.text = text
        self.text_hash = sha256(encoded).hexdigest()
        self.fingerprint = fingerprint
        self.facts = facts
        self.settings = settings
        self.shape = shape
        self.asks_values = asks_values
        # A temporary table changes nothing for anyone but what its own session knows of it already.
        own = bool(facts.writes) and all(w.startswith("pg_temp") for w in facts.writes) and "create_view" not in facts.verbs
        changes = not _MAY_CHANGE_OBJECTS.isdisjoint(facts.flags) or facts.verbs == ("commit_prepared",)
        self.changes_objects = not own and changes
        self.long_text = len(encoded) > MAX_INLINE_TEXT
        by_name = bool(facts.verbs) and facts.verbs[0] in _BY_NAME
        stays = bool(settings) or self.changes_objects
        self.fills = bool(shape.flows or shape.made or shape.renames)
        refers = by_name or self.long_text or asks_values or bool(shape.made or shape.renames)
        self.stirs = bool(len(facts.verbs) > 1 or facts.dangers or settings or facts.verbs == ("alter_table",))
        self.plain = not (stays or refers) and _NOT_PLAIN.isdisjoint(facts.flags)
        self.fragment = (
            b","
            + orjson.dumps(
                {
                    "text": "" if self.long_text else text,
                    "text_hash": self.text_hash,
                    "fingerprint": fingerprint,
                    "facts": facts,
                }
            )[1:-1]
        )

    def __repr__(self) -> str:
        return f"Statement({self.text[:200]!r}, {self.facts!r})"


def with_dangers(statement: Statement, dangers: Iterable[Danger]) -> Statement:
    """Return the statement with more dangers, or itself if it has them all."""
    found = {*statement.facts.dangers, *dangers}
    if len(found) == len(statement.facts.dangers):
        return statement
    facts = replace(statement.facts, dangers=tuple(d for d in Danger if d in found))
    asks = statement.asks_values
    return Statement(statement.text, statement.fingerprint, facts, statement.settings, statement.shape, asks_values=asks)


RESTORED = "\0"
"""The value of a setting that goes back to what it was when the session began; no text of SQL can say it."""


class Analysis:
    """One text: its statements (at least one), the tokens of each one's literals, and the claims in its comments."""

    __slots__ = ("claims", "params", "statements")

    def __init__(self, statements: tuple[Statement, ...], params: tuple[tuple[str, ...], ...], claims: Mapping[str, str]) -> None:
        self.statements = statements
        self.params = params
        self.claims = claims

    def __repr__(self) -> str:
        return f"Analysis({self.statements!r}, params={self.params!r}, claims={dict(self.claims)!r})"
