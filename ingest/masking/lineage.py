"""Which columns hold values of other columns, because a statement put them there? Learned as statements run, whoever runs them.

A table that is just being made is known by its name and its columns' places until a snapshot has it (`pending`), then by its
oid and the columns' numbers: it may be renamed. Where values come from is judged by the snapshot and by what the session made
before; what cannot be told is everything. A register keeps what was learned for other workers, and for the next start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ingest.masking.tags import EVERY, NOTHING, CatalogueTags, Classes
from processors.statements import Statement
from processors.statements.catalogue import Catalogue, Column, Relation
from processors.statements.facts.names import Namer
from processors.statements.facts.scope import RESULT
from processors.statements.statement import Made
from schemas.classes import DataClass

Row = tuple[str, str, int, int, str]
"""Schema and table (empty where the oid is known), oid (0: not known), number of the column (0: all), class (`*`: every)."""
MAX_PENDING = 10_000
"""Tables that no snapshot has yet and that hold nothing; of those that hold something there are as many as the register takes."""
MAX_OWN = 1000
"""Tables that one session made and remembers; what more it makes is not known, and so is everything."""


class Register(Protocol):
    """Where what was learned of one database is kept."""

    def rows(self) -> Iterable[Row] | None:
        """Return all there is; None where it cannot be read."""

    def add(self, rows: Iterable[Row]) -> bool:
        """Keep rows; False: there is no room for them."""

    def remove(self, rows: Iterable[Row]) -> None:
        """Forget rows."""

    def changed(self) -> bool:
        """Whether somebody else changed it since `rows` was asked."""


class Unkept:
    """A register for one worker's life."""

    def rows(self) -> Iterable[Row]:
        """Return nothing: nothing was before."""
        return ()

    def add(self, rows: Iterable[Row]) -> bool:
        """Take note of nothing."""
        return True

    def remove(self, rows: Iterable[Row]) -> None:
        """Take note of nothing."""

    def changed(self) -> bool:
        """Return False."""
        return False


@dataclass(slots=True)
class Table:
    """A table that a statement made: its columns' names in order, None where not known, and what each holds."""

    names: tuple[str, ...] | None = None
    held: dict[int, Classes] = field(default_factory=dict)
    """By place, from 1; 0 is what each of them may hold."""

    def copy(self) -> Table:
        """Return another that holds the same: what a statement makes is remembered for all who run it."""
        return Table(self.names, dict(self.held))

    def columns(self) -> dict[str, Classes]:
        """Return its columns with their classes; a single one of no name where they are not known."""
        every = self.held.get(0, NOTHING)
        if self.names is None:
            return {"": every.union(*self.held.values())}
        found: dict[str, Classes] = {}
        for place, name in enumerate(self.names, 1):
            found[name] = found.get(name, NOTHING) | self.held.get(place, NOTHING) | every
        return found

    def places(self, column: str) -> tuple[int, ...]:
        """Return the places that a column of this name may have."""
        found = tuple(place for place, name in enumerate(self.names or (), 1) if name == column)
        return found or (0,)

    def add(self, place: int, classes: Classes) -> None:
        """A column holds these, too."""
        if classes:
            self.held[place] = self.held.get(place, NOTHING) | classes


def meant(catalogue: Catalogue, namer: Namer, schema: str, name: str) -> tuple[Relation, ...]:
    """Return the relations that a name of facts may mean: `~…` stands for one that does not look like a name."""
    if "~" not in (schema[:1], name[:1]):
        return catalogue.find(schema, name)
    every = (r for relations in catalogue.relations.values() for r in relations)
    return tuple(r for r in every if (w := _where(namer, r))[1] == name and schema in ("?", w[0]))


def _where(namer: Namer, relation: Relation) -> tuple[str, str]:
    schema, _, name = namer.relation(relation.schema, relation.name).partition(".")
    return schema, name


class Learned:
    """What was learned of one database's tables. `namer` tells what facts call them."""

    def __init__(self, namer: Namer, register: Register | None = None) -> None:
        self._namer = namer
        self._register: Register = register or Unkept()
        self.pending: dict[tuple[str, str], Table] = {}
        self._numbers: dict[tuple[int, int], Classes] = {}
        self.unread = False
        """Whether what was seen before cannot be read."""
        self._read()

    @property
    def full(self) -> bool:
        """Whether nothing more can be kept: whoever would carry more is refused."""
        return not self._register.add(())

    def refresh(self) -> bool:
        """Take over what other workers learned; return whether there was anything."""
        if not self._register.changed():
            return False
        self._read()
        return True

    def _read(self) -> None:
        rows = self._register.rows()
        self.unread = rows is None
        for schema, name, oid, number, word in rows or ():
            classes = EVERY if word == "*" else frozenset((DataClass(word),)) if word in _WORDS else EVERY
            if oid:
                self._numbers[oid, number] = self._numbers.get((oid, number), NOTHING) | classes
            else:
                self.pending.setdefault((schema, name), Table()).add(number, classes)

    def of(self, relation: Relation, column: Column) -> Classes:
        """Return what a column was seen to be given: anything, while what was seen before cannot be read."""
        if self.unread:
            return EVERY
        found = self._numbers.get((relation.oid, column.number), NOTHING)
        if self.pending:
            named, name = _where(self._namer, relation)
            for schema in (named, "?"):
                table = self.pending.get((schema, name))
                if table is not None:
                    found |= table.held.get(0, NOTHING) | table.held.get(column.number, NOTHING)
        return found

    def give(self, relation: Relation, column: Column, classes: Classes) -> bool:
        """A column of a known table is given values of these classes; return whether that is kept."""
        where = relation.oid, column.number
        missing = classes - self._numbers.get(where, NOTHING)
        if missing:
            self._numbers[where] = self._numbers.get(where, NOTHING) | missing
            return self._keep([("", "", relation.oid, column.number, word) for word in _words(missing)])
        return True

    def make(self, where: tuple[str, str], table: Table) -> None:
        """A table is made."""
        if len(self.pending) >= MAX_PENDING:
            self.pending = {name: each for name, each in self.pending.items() if each.held}
        known = self.pending.get(where)
        if known is None:
            self.pending[where] = table.copy()
        else:
            known.names = table.names if known.names in (None, table.names) else None
            for place, classes in table.held.items():
                known.add(place, classes)
        self._keep(_rows(where, table))

    def also(self, where: tuple[str, str], place: int, classes: Classes) -> None:
        """A column of a table that no snapshot has yet is given values of these classes."""
        table = self.pending[where]
        missing = classes - table.held.get(place, NOTHING)
        if missing:
            table.add(place, missing)
            self._keep([(*where, 0, place, word) for word in _words(missing)])

    def settle(self, before: Catalogue | None, now: Catalogue) -> None:
        """A new snapshot: tables that it has for the first time are known by their oids, what was dropped is forgotten."""
        old = {r.oid for rs in before.relations.values() for r in rs} if before is not None else set()
        for where, table in list(self.pending.items()):
            found = [r for r in meant(now, self._namer, *where) if r.kind not in "vm" or r.kind == "m"]
            kept = [
                self.give(relation, column, table.held.get(0, NOTHING) | table.held.get(column.number, NOTHING))
                for relation in found
                for column in relation.columns
            ]
            if not all(kept):
                continue  # it stays known by its name: there was no room for more, or another worker was writing
            if any(r.oid not in old for r in found) or (found and not table.held):
                del self.pending[where]
                self._register.remove(_rows(where, table))
        gone = old - {r.oid for rs in now.relations.values() for r in rs}
        if gone:
            dropped = [where for where in self._numbers if where[0] in gone]
            rows = [("", "", oid, number, word) for oid, number in dropped for word in (*_WORDS, "*")]
            for where_ in dropped:
                del self._numbers[where_]
            self._register.remove(rows)

    def _keep(self, rows: list[Row]) -> bool:
        # What finds no room is known for this worker's life; the next statement is refused.
        return not rows or self._register.add(rows)


_WORDS = frozenset(str(c) for c in DataClass)


def _words(classes: Classes) -> list[str]:
    return ["*"] if classes >= EVERY else [str(c) for c in classes]


def _rows(where: tuple[str, str], table: Table) -> list[Row]:
    return [(*where, 0, place, word) for place, classes in table.held.items() for word in _words(classes)]


@dataclass(frozen=True, slots=True)
class Carried:
    """What a statement would put where: tables that it makes, and (table, column or `*`, classes) of others.

    `unknown`: the classes of some of it could not be told, and are every.
    """

    made: tuple[tuple[Made, Table], ...] = ()
    given: tuple[tuple[str, str, Classes], ...] = ()
    unknown: bool = False


CARRIES_NOTHING = Carried()


def carried(statement: Statement, tags: CatalogueTags) -> Carried:
    """Return what a statement carries into tables."""
    shape, facts = statement.shape, statement.facts
    if not shape.flows and not shape.made:
        return CARRIES_NOTHING
    touched = (*facts.reads, *facts.writes)
    by_code = tags.any_of(shape.code_reads)
    unknown = by_code is None

    def classes_of(behind: Iterable[str]) -> Classes:
        nonlocal unknown
        found = tags.taken(behind, shape.keys, touched)
        if found is None and by_code is not None and all(tags.columns(t) is not None for t in touched):
            # No table has it: a function gave it, of its arguments or of what its code reads.
            own = [n for n in behind if not n.startswith("?.") or any(n[2:] in (tags.columns(t) or ()) for t in touched)]
            given_to = (c.name for c in facts.columns if "argument" in c.roles and not c.name.startswith("?."))
            found, more = tags.taken(own, shape.keys, touched), tags.behind(given_to, touched)
            found = None if found is None or more is None else found | more | by_code
        unknown = unknown or found is None
        by_function = (by_code or NOTHING) if any(name.endswith(RESULT) for name in behind) else NOTHING
        return EVERY if found is None else found | by_function

    every = NOTHING
    if shape.mixed or any(made.outputs is None for made in shape.made):
        every = every.union(*(classes_of(behind) for _, behind in shape.flows))
    made = tuple((m, _table(m, tags, classes_of, EVERY if by_code is None else by_code, every)) for m in shape.made)
    names = {m.name for m in shape.made}
    given: dict[tuple[str, str], Classes] = {}

    def give(table: str, column: str, classes: Classes) -> None:
        if classes | every:
            given[table, column] = given.get((table, column), NOTHING) | classes | every

    placed, taken = set(), list[tuple[str, str, frozenset[str]]]()
    loose = {table for table, outputs in shape.inserted if not outputs}
    for table, outputs in shape.inserted:
        row = _spread(("",) * len(outputs), outputs, tags, classes_of)
        into = tags.columns(table)
        if row is not None and into is not None and "" not in into and len(row) <= len(into) and table not in loose:
            placed.add(table)
            for column, (_, classes) in zip(into, row, strict=False):
                give(table, column, classes)
            taken += [(table, column, behind) for column, behind in zip(into, _one_by_one(outputs, tags), strict=False)]
    for target, behind in shape.flows:
        table, _, column = target.rpartition(".")
        if column.startswith("#"):  # by its place, which `inserted` has where it can be told
            column = "*"
        if table not in names and not (column == "*" and table in placed):
            give(table, column, classes_of(behind))
            taken.append((table, column, behind))
    grown = "insert" in facts.verbs
    while grown:  # what one part of a statement puts into a table another may take from there: RETURNING, `excluded`
        grown = False
        for table, column, behind in taken:
            more = _of(given, behind)
            if not more <= given.get((table, column), NOTHING):
                give(table, column, more)
                grown = True
    return Carried(made, tuple((t, c, held) for (t, c), held in given.items()), unknown)


def _one_by_one(outputs: tuple[frozenset[str] | str, ...], tags: CatalogueTags) -> Iterator[frozenset[str]]:
    for output in outputs:
        if isinstance(output, str):
            yield from (frozenset((f"{output}.{column}",)) for column in tags.columns(output) or ())
        else:
            yield output


def _of(given: Mapping[tuple[str, str], Classes], behind: Iterable[str]) -> Classes:
    """Return what columns get by the statement that takes from them."""
    found = NOTHING
    for relation, _, column in (name.rpartition(".") for name in behind):
        for (table, given_to), classes in given.items():
            if relation in (table, "?") and (given_to == "*" or column in (given_to, "*")):
                found |= classes
    return found


def _table(made: Made, tags: CatalogueTags, classes_of: _ClassesOf, by_code: Classes, every: Classes) -> Table:
    if made.outputs is None:
        return Table(None, {0: every | by_code} if every | by_code else {})
    columns = _spread(made.columns, made.outputs, tags, classes_of)
    if columns is None:
        return Table(None, {0: EVERY})
    names = tuple(name for name, _ in columns)
    table = Table((*made.renamed[: len(names)], *names[len(made.renamed) :]))
    for place, (_, classes) in enumerate(columns, 1):
        table.add(place, classes | by_code | every)
    return table


def _spread(
    names: tuple[str, ...], outputs: tuple[frozenset[str] | str, ...], tags: CatalogueTags, classes_of: _ClassesOf
) -> list[tuple[str, Classes]] | None:
    """Return columns in order with what they hold, those of tables one by one; None where these are not known."""
    found: list[tuple[str, Classes]] = []
    for name, output in zip(names, outputs, strict=True):
        if isinstance(output, str):
            columns = tags.columns(output)
            if columns is None or "" in columns:
                return None
            found += columns.items()
        else:
            found.append((name, classes_of(output)))
    return found


class _ClassesOf(Protocol):
    def __call__(self, behind: Iterable[str]) -> Classes: ...
