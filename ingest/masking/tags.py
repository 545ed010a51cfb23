"""Which columns of a database hold what, judged from one snapshot of its catalogue: names, comments, types, views' definitions.

Relations are looked at when first asked for and then remembered, so a snapshot of 100,000 tables costs nothing until they are
used. A view's column has the classes of the columns behind it. What the control topic says of a column (`override`) holds before
all else. A column that had classes keeps them when it is renamed or its comment goes: the number that names it stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy

from ingest.masking.column_types import BUILTIN, DOCUMENTS, NEVER_TEXT, RANGES, base_of, without_modifier
from ingest.masking.observations import Observations
from ingest.masking.origins import Origins, read
from ingest.masking.server_views import DEFINED, SECRET, SERVERS_SCHEMAS, STATEMENTS, STATEMENTS_IN_QUERY, TELLING
from ingest.masking.structures import member
from processors.sensitivity import Column as Described
from processors.sensitivity import Scanner, classify
from processors.sensitivity.columns import by_name
from processors.statements import Tokenizer
from processors.statements.catalogue import FIRST_OWN_OID, Catalogue, Column, Relation
from processors.statements.facts.names import Namer, is_syntax
from processors.statements.facts.scope import CONSTANT, RESULT, ROWS, UNKNOWN
from schemas.classes import DataClass

Classes = frozenset[DataClass]
NOTHING: Classes = frozenset()
EVERY: Classes = frozenset(DataClass)
PROSE: Classes = frozenset((DataClass.FREE_TEXT,))
Override = Callable[[str, str, str], Classes | None]
"""What was said of (schema, table, column): its classes, None if nothing. An empty column stands for the whole table."""

_ROW_MARKS = frozenset(("ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"))
"""Columns that every table has: where a row lies, and which transaction wrote it."""


def no_override(schema: str, table: str, column: str) -> Classes | None:
    """Say nothing of any column."""
    return None


def nothing_learned(relation: Relation, column: Column) -> Classes:
    """Say of no column that it was given values of others."""
    return NOTHING


class CatalogueTags:
    """The tags of one snapshot. `kept` are classes of columns (oid, number) of snapshots before, `learned` what was given."""

    def __init__(
        self,
        catalogue: Catalogue,
        tokenizer: Tokenizer,
        scanner: Scanner,
        override: Override = no_override,
        kept: Mapping[tuple[int, int], Classes] | None = None,
        observations: Observations | None = None,
        learned: Callable[[Relation, Column], Classes] = nothing_learned,
    ) -> None:
        self.catalogue = catalogue
        self._learned = learned
        self._made: Mapping[str, Mapping[str, Classes]] = {}
        self.temporary: frozenset[str] = frozenset()
        """Of the tables made, temporary ones of the session, by short name: what is put into them is known."""
        self.speaking: Classes = NOTHING
        """Those whose masks keep a part of a value, or are equal for equal values."""
        self.kept: dict[tuple[int, int], Classes] = dict(kept or {})
        self._namer = Namer(tokenizer, ())
        self._scanner = scanner
        self._override = override
        self._observations = observations or Observations()
        self._own = {name: frozenset(columns.values()) for name, columns in catalogue.system.values()}
        self._by_oid: dict[int, Relation] = {r.oid: r for rs in catalogue.relations.values() for r in rs}
        self._known: dict[int, dict[int, Classes]] = {}
        self._named: dict[str, dict[str, Classes] | None] = {}
        self._families: dict[int, Mapping[str, Classes]] = {}
        self.origins = Origins(catalogue, self._namer, learned)
        self._open: set[int] = set()

    def with_made(self, made: Mapping[str, Mapping[str, Classes]], temporary: frozenset[str] = frozenset()) -> CatalogueTags:
        """Return these tags as they are where tables of these short names were made that no snapshot has."""
        if not made:
            return self
        other = copy(self)
        other._made, other._named, other.temporary = made, {}, temporary
        return other

    def has(self, table_oid: int) -> bool:
        """Return whether a table is known."""
        return table_oid < FIRST_OWN_OID or table_oid in self._by_oid

    def lookup(self, table_oid: int, attribute: int) -> Classes | None:
        """Return the classes of a column as a row description names it; None if the snapshot does not know it."""
        relation = self._by_oid.get(table_oid)
        if attribute < 0:
            return NOTHING if relation is not None or table_oid < FIRST_OWN_OID else None  # ctid, xmin and the like
        if relation is not None:
            classes = self._relation(relation)
            return classes.get(attribute) if attribute else None if any(classes.values()) else NOTHING  # 0 is the row
        if table_oid >= FIRST_OWN_OID:
            return None
        name, columns = self.catalogue.system.get(table_oid, ("", {}))
        held = SECRET.get(name, frozenset())
        if not attribute:
            return None if held else NOTHING
        return EVERY if columns.get(attribute) in held else NOTHING

    def derived(self, table_oid: int, attribute: int) -> bool:
        """Return whether a column may hold what was computed; see `Origins`."""
        found = self._column(table_oid, attribute)
        return found is None or self.origins.derived(*found)

    def name_of(self, table_oid: int, attribute: int) -> str:
        """Return `schema.table.column` of a column, empty if the snapshot does not know it."""
        found = self._column(table_oid, attribute)
        return f"{found[0].qualified}.{found[1].name}" if found is not None else ""

    def is_statement(self, table_oid: int, attribute: int) -> bool:
        """Return whether a column holds the statements of sessions."""
        relation = self._by_oid.get(table_oid)
        if relation is not None:
            return relation.name in STATEMENTS_IN_QUERY and any(
                c.number == attribute and c.name == "query" for c in relation.columns
            )
        name, columns = self.catalogue.system.get(table_oid, ("", {}))
        return name in STATEMENTS and columns.get(attribute) == STATEMENTS[name]

    def watched(self, table_oid: int, attribute: int) -> bool:
        """Return whether too little was seen of an untagged column to believe that it holds nothing."""
        if table_oid < FIRST_OWN_OID:
            name, columns = self.catalogue.system.get(table_oid, ("", {}))
            return columns.get(attribute) in DEFINED.get(name, ())
        found = self._column(table_oid, attribute)
        return found is not None and self._watches(*found)

    def _column(self, table_oid: int, attribute: int) -> tuple[Relation, Column] | None:
        relation = self._by_oid.get(table_oid)
        column = next((c for c in relation.columns if c.number == attribute), None) if relation is not None else None
        return (relation, column) if relation is not None and column is not None else None

    def watching(self, name: str) -> bool:
        """Return whether a relation has such columns."""
        schema, _, table = name.partition(".")
        return any(self._watches(r, c) for r in self.catalogue.find(schema, table) for c in r.columns)

    def taken(self, behind: Iterable[str], keys: tuple[str, ...] | None, touched: tuple[str, ...]) -> Classes | None:
        """Return the classes of an output with these columns behind it, by a statement that takes members by these keys."""
        names = tuple(behind)
        classes = self.behind(names, touched)
        if classes is None or keys == () or (DataClass.FREE_TEXT not in classes and not self.watching_any(names, touched, True)):
            return classes
        prose = classes | {DataClass.FREE_TEXT}
        found = member(prose, keys, touched)
        return classes if found == prose else found

    def watching_any(self, names: Iterable[str], touched: Iterable[str], ever: bool = False) -> bool:
        """Return whether one of these columns, as facts name them, is such a column or may be. `touched` may own `?.column`.

        `ever`: whether it once was, by its type.
        """
        owners = tuple(touched)
        for name in names:
            relation, _, column = name.rpartition(".")
            for owner in owners if relation == "?" else (relation,):
                schema, _, table = owner.partition(".")
                for found in self.catalogue.find(schema, table):
                    named = [c for c in found.columns if c.name == column]
                    if any(
                        self._watches(found, c, ever) for c in named or found.columns
                    ):  # `*`, or a name concealed: any of them
                        return True
        return False

    def _watches(self, relation: Relation, column: Column, ever: bool = False) -> bool:
        return (
            base_of(column.type) not in NEVER_TEXT
            and (ever or not self._observations.enough((relation.oid, column.number)))
            and (not self._relation(relation)[column.number])
        )

    def columns(self, name: str) -> Mapping[str, Classes] | None:
        """Return the columns of what `schema.name` may mean, with their classes; None if the snapshot does not know it."""
        if name not in self._named:
            self._named[name] = self._find(name)
        return self._named[name]

    def behind(
        self, names: Iterable[str], touched: Iterable[str], given: Classes | None = NOTHING, code: bool = False
    ) -> Classes | None:
        """Return the classes of columns as facts name them; None where one cannot be told. `touched` may own `?.column`.

        `given` is what may be in the results of functions that did not come with the server, `code` says that some code runs,
        of which a variable may be meant.
        """
        found: set[DataClass] = set()
        parts = names if isinstance(names, frozenset) else frozenset(names)
        for name in parts:
            relation, _, column = name.rpartition(".")
            if name == UNKNOWN:
                return None
            if relation.endswith("()"):
                if relation[:-2].rpartition(".")[2] in TELLING:
                    return EVERY
                if name not in (ROWS, CONSTANT) and not self.is_own(relation[:-2]):
                    if given is None:
                        return None
                    found |= given
                continue
            if relation == "?":
                owners = [c for t in touched if (c := self.columns(t)) is not None and column in c]
                if not owners:
                    if column in _ROW_MARKS or (not code and self._of_function(parts, touched)):
                        continue
                    return None
            else:
                columns = self.columns(relation)
                if columns is None:
                    return None
                owners = [columns]
            for columns in owners:
                if column in columns:
                    found |= columns[column]
                elif column not in _ROW_MARKS:  # `*`, a name concealed or unknown: any of them
                    found.update(*columns.values())
                    if column in self.catalogue.functions:  # `row.column` calls a function of the row
                        if given is None:
                            return None
                        found |= given
        return frozenset(found)

    def is_key(self, name: str) -> bool:
        """Return whether no two rows have the same value in a column, as facts name it, of whatever table it may be."""
        found, column = self.relations_of(name), name.rpartition(".")[2]
        return bool(found) and all(column in relation.keys for relation in found)

    def is_made(self, name: str) -> bool:
        """Return whether a column, as facts name it, is made of others of its row, or may be."""
        found, column = self.relations_of(name), name.rpartition(".")[2]
        return not found or any(c.generated or c.default for r in found for c in r.columns if c.name == column)

    def relations_of(self, name: str) -> tuple[Relation, ...]:
        """Return the tables and views that a column, as facts name it, may be of; none where that is not known."""
        table = name.rpartition(".")[0]
        return self.catalogue.find(*table.split(".", 1)) if "." in table else ()

    def may_be_shown(self, names: Iterable[str], touched: Iterable[str]) -> bool:
        """Return whether one of the table columns that a column may be is not masked: what holds nothing but prose is shown."""
        for name in names:
            relation, _, column = name.rpartition(".")
            if name == UNKNOWN:
                return True
            if relation.endswith("()"):
                continue
            for columns in map(self.columns, touched) if relation == "?" else (self.columns(relation),):
                if columns is None or (relation == "?" and column not in columns):
                    continue
                for classes in (columns[column],) if column in columns else columns.values():
                    if classes <= PROSE and (relation == "?" or column not in columns):
                        return True
        return False

    def is_document(self, names: Iterable[str], touched: Iterable[str], types: tuple[str, ...]) -> bool:
        """Return whether one of the table columns that a column may be is of one of these types."""
        for name in names:
            relation, _, column = name.rpartition(".")
            if relation.endswith("()"):
                continue
            for owner in touched if relation == "?" else (relation,):
                for found in self.catalogue.find(*owner.split(".", 1)) if "." in owner else ():
                    if any(c.name == column and c.type.rpartition(".")[2] in types for c in found.columns):
                        return True
        return False

    def is_constant(self, behind: frozenset[str]) -> bool:
        """Return whether a value comes of calls in the condition itself and nothing else."""
        return bool(behind) and all(name.endswith(RESULT) and name not in (ROWS, UNKNOWN) for name in behind)

    def is_own(self, function: str) -> bool:
        """Return whether a function of this name can only be one that came with the server, or one in C of an extension."""
        found = self.catalogue.find_functions(function)
        if any(not f.extension or f.language not in ("c", "internal") for f in found):
            return False
        return bool(found) or function.rpartition(".")[2] in self.catalogue.builtins or is_syntax(function)

    def _of_function(self, parts: frozenset[str], touched: Iterable[str]) -> bool:
        """Return whether a column that no table has can only be what subqueries or the server's functions beside them give."""
        called = [name[: -len(RESULT)] for name in parts if name.endswith(RESULT) and name not in (ROWS, CONSTANT)]
        beside = any(name.endswith(RESULT) for name in parts)
        return beside and all(map(self.is_own, called)) and all(map(self.knows, touched))

    def knows(self, name: str) -> bool:
        """Return whether all columns of a relation are known."""
        schema, _, _ = name.partition(".")
        return name in self._own if schema in SERVERS_SCHEMAS else self.columns(name) is not None

    def any_of(self, relations: Iterable[str]) -> Classes | None:
        """Return the classes that relations hold; None where one is not known."""
        found: set[DataClass] = set()
        for name in relations:
            columns = self.columns(name)
            if columns is None:
                return None
            found.update(*columns.values())
        return frozenset(found)

    def of_new(self, table: str, column: str, type: str = "text") -> Classes:
        """Return the classes that a column will have by its name alone, in a table that is yet to be made."""
        return classify(Described(table=table, name=column, type=type), self._scanner)

    def carried(self, newer: Catalogue) -> dict[tuple[int, int], Classes]:
        """Return the classes that columns had here and that a newer snapshot's names no longer tell."""
        kept = dict(self.kept)
        for relations in newer.relations.values():
            for relation in relations:
                before = self._by_oid.get(relation.oid)
                if before is None or before.columns == relation.columns or relation.kind in ("v", "m"):
                    continue
                old = {c.number: c for c in before.columns}
                for column in relation.columns:
                    if column.number in old and old[column.number] != column:
                        classes = self._relation(before).get(column.number, NOTHING)
                        if classes:
                            kept[relation.oid, column.number] = classes
        return kept

    def _find(self, name: str) -> dict[str, Classes] | None:
        schema, _, table = name.partition(".")
        system = schema in SERVERS_SCHEMAS
        found = self.catalogue.find("?" if system else schema, table)
        own = self._made.get(table) if not system else None
        if own is not None and found:  # which of them is meant is not certain, nor the order of its columns
            held = [c for r in found for c in self._relation(r).values()]
            return dict.fromkeys(own, NOTHING.union(*own.values(), *held))
        if own is not None:
            return dict(own)
        if not found and not system:
            return None
        columns: dict[str, Classes] = dict.fromkeys(self._own.get(name, ()), NOTHING) if system else {}
        columns |= dict.fromkeys(SECRET.get(name, ()), EVERY) if system else {}
        for relation in found:
            classes = self._relation(relation)
            for column in relation.columns:
                said = self._namer.plain(column.name)
                columns[said] = columns.get(said, NOTHING) | classes[column.number]
        return columns

    def held(self, relation: Relation) -> Mapping[int, Classes]:
        """Return the classes of a relation's columns by their numbers."""
        return self._relation(relation)

    def _relation(self, relation: Relation) -> dict[int, Classes]:
        known = self._known.get(relation.oid)
        if known is None:
            if relation.oid in self._open:  # a view that refers to itself, as with recursion through functions
                return dict.fromkeys((c.number for c in relation.columns), EVERY)
            self._open.add(relation.oid)
            try:
                known = self._judge(relation)
            finally:
                self._open.discard(relation.oid)
            self._known[relation.oid] = known
        return known

    def _judge(self, relation: Relation) -> dict[int, Classes]:
        statements = relation.name in STATEMENTS_IN_QUERY
        through = self._view(relation) if relation.kind in ("v", "m") and relation.definition and not statements else {}
        table = self._override(relation.schema, relation.name, "")
        found: dict[int, Classes] = {}
        given = self._given(relation)
        for column in relation.columns:
            said = self._override(relation.schema, relation.name, column.name)
            if said is None:
                said = table
            if said is None and statements:
                said = EVERY if column.name == "query" else NOTHING
            if said is not None:
                found[column.number] = said
                continue
            classes = self._described(relation, column) | through.get(column.number, NOTHING)
            kept = self.kept.get((relation.oid, column.number), NOTHING)
            found[column.number] = classes | kept | given.get(column.name, NOTHING)
        for column in relation.columns:
            if column.generated:
                found[column.number] |= self._generated(relation, column, found)
            elif column.type == "tsvector" and relation.kind not in ("v", "m"):  # made of the words of its row, or some of them
                found[column.number] |= NOTHING.union(*found.values())
        return found

    def _generated(self, relation: Relation, column: Column, found: Mapping[int, Classes]) -> Classes:
        """Return the classes of a generated column by what it is made of: columns of its row, and what functions read."""
        every = NOTHING.union(*found.values())
        try:
            made = read(f"SELECT {column.generated} FROM only_row", self._namer, self.catalogue)  # noqa: S608 - read, not run
        except Exception:  # what cannot be read may be made of anything
            return EVERY
        code = self.any_of(made.code_reads)
        if code is None or not made.outputs or not isinstance(made.outputs[0], frozenset):
            return EVERY
        names = {name.rpartition(".")[2] for name in made.outputs[0] if not name.endswith(RESULT)}
        by_name = {c.name: found[c.number] for c in relation.columns}
        return code.union(*(by_name.get(name, every) for name in names))

    def _given(self, relation: Relation) -> Mapping[str, Classes]:
        """Return by name what columns of a relation, its partitions and parents, and theirs were given: they share their rows."""
        known = self._families.get(relation.oid)
        if known is not None:
            return known
        given: dict[str, Classes] = {}
        self._families[relation.oid] = given
        left = [relation]
        while left:
            one = left.pop()
            for column in one.columns:
                kept = self.kept.get((one.oid, column.number), NOTHING)
                held = self._learned(one, column) | kept | (self._described(one, column) if relation.kin else NOTHING)
                given[column.name] = given.get(column.name, NOTHING) | held
            for name in one.kin:
                for kin in self.catalogue.find(*name.split(".", 1)):
                    if kin.oid not in self._families:
                        self._families[kin.oid] = given
                        left.append(kin)
        return given

    def _described(self, relation: Relation, column: Column) -> Classes:
        kind, base = without_modifier(column.type), base_of(column.type)
        if base in BUILTIN:
            kind = RANGES.get(base, kind)
            found = classify(Described(table=relation.name, name=column.name, type=kind, comment=column.comment), self._scanner)
            return found or (PROSE if base in DOCUMENTS else NOTHING)
        # A domain, an enumeration, a row of a table, or what an extension adds: its own name speaks, too.
        short = base.rpartition(".")[2].strip('"')
        found = classify(Described(table=relation.name, name=column.name, type="text", comment=column.comment), self._scanner)
        found |= by_name(short)
        if short in DOCUMENTS:
            found |= PROSE
        if short in self.catalogue.relations and short != relation.name:
            found |= frozenset().union(*(c for r in self.catalogue.relations[short] for c in self._relation(r).values()))
        return found

    def _view(self, relation: Relation) -> dict[int, Classes]:
        """Return the classes of a view's columns, by what is behind them."""
        numbers = [c.number for c in relation.columns]
        try:
            made = read(relation.definition, self._namer, self.catalogue)
        except Exception:  # what cannot be read may show anything
            return dict.fromkeys(numbers, EVERY)
        touched = [n for n in (*made.reads, *made.writes) if n != relation.qualified]
        code = self.any_of(made.code_reads)
        if code is None:
            return dict.fromkeys(numbers, EVERY)
        outputs = made.outputs
        if outputs is not None and len(outputs) == len(numbers) and all(isinstance(o, frozenset) for o in outputs):
            keys = None if made.keys is None else tuple(made.keys)
            found = [self.taken(o, keys, tuple(touched)) for o in outputs]  # type: ignore[arg-type]
            return {n: EVERY if c is None else c | code for n, c in zip(numbers, found, strict=True)}
        every = self.any_of(touched)
        return dict.fromkeys(numbers, EVERY if every is None else every)
