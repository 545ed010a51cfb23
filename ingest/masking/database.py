"""What all sessions of one database in one worker share of masking: the tags, what statements may show, what was learned.

What is judged of a statement is the same for everybody and kept as long as the snapshot of the catalogue is the same.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Protocol

from ingest.masking import asked
from ingest.masking.lineage import CARRIES_NOTHING, Carried, Learned, Register, Table, carried, meant
from ingest.masking.observations import Observations
from ingest.masking.plan import SPEAKING, ColumnPlan
from ingest.masking.sight import Sight, look
from ingest.masking.tags import EVERY, PROSE, CatalogueTags, Classes, Override, no_override
from processors.sensitivity import Scanner
from processors.statements import Statement, Tokenizer
from processors.statements.catalogue import FIRST_OWN_OID, Catalogue
from processors.statements.facts.names import Namer
from schemas.classes import DataClass, Style
from schemas.events import Danger

MAX_SIGHTS = 4096
"""Statements whose sight is remembered for a database; past it all are judged again as they come."""
MAX_DEFERRED = 1000
"""Statements whose sources the snapshot did not know, to be looked at again; past it they carry every class."""
_NOTHING: Classes = frozenset()


class Snapshots(Protocol):
    """Whoever keeps the catalogue current."""

    @property
    def current(self) -> Catalogue | None:
        """The newest snapshot."""

    @property
    def begun(self) -> int:
        """Readings begun so far."""

    @property
    def done(self) -> int:
        """The number of the reading that the newest snapshot is of."""

    def changed(self) -> None:
        """Say that it may be out of date."""


class DatabaseMasking:
    """What the sessions of one database share in one worker. `snapshots` None: no catalogue is read, so nothing is known."""

    def __init__(
        self,
        snapshots: Snapshots | None,
        tokenizer: Tokenizer,
        scanner: Scanner,
        styles: Mapping[DataClass, Style],
        default: Style,
        override: Override = no_override,
        register: Register | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.scanner = scanner
        self.styles = styles
        self.default = default
        self._snapshots = snapshots
        self._override = override
        self._tags: CatalogueTags | None = None
        self._sights: dict[Statement, Sight | None] = {}
        self._observations = Observations()
        self._stale: dict[str, int] = {}
        self._namer = Namer(tokenizer, ())
        self.learned = Learned(self._namer, register)
        self._carried: dict[Statement, Carried] = {}
        self._deferred: list[tuple[int, Statement]] = []

    @property
    def tags(self) -> CatalogueTags | None:
        """The tags of the newest snapshot."""
        current = self._snapshots.current if self._snapshots is not None else None
        if current is not None and (self._tags is None or self._tags.catalogue is not current):
            kept = self._tags.carried(current) if self._tags is not None else {}
            self.learned.settle(self._tags.catalogue if self._tags is not None else None, current)
            self._tags = self._tagged(current, kept)
            self._sights, self._carried = {}, {}
        if self._deferred and self._tags is not None:
            self._resume(self._tags)
        return self._tags

    def retag(self) -> None:
        """What is said of columns has changed: judge them again."""
        if self._tags is not None:
            self._tags = self._tagged(self._tags.catalogue, self._tags.kept)
        self._sights, self._carried = {}, {}

    def look(self) -> None:
        """Take over what other workers learned."""
        if self.learned.refresh():
            self.retag()

    def carries(self, statement: Statement, made: Mapping[str, Table]) -> Carried:
        """Return what a statement would carry into tables; `made` are those that only its session knows, by short name."""
        tags = self.tags
        if tags is None or not (statement.shape.flows or statement.shape.made):
            return CARRIES_NOTHING
        names = {name.rpartition(".")[2] for name in (*statement.facts.reads, *statement.facts.writes)}
        known = {name: table.columns() for (_, name), table in self.learned.pending.items() if name in names}
        known.update((name, table.columns()) for name, table in made.items() if name in names)
        if known:
            return carried(statement, tags.with_made(known))
        found = self._carried.get(statement)
        if found is None:
            if len(self._carried) >= MAX_SIGHTS:
                self._carried.clear()
            found = self._carried[statement] = carried(statement, tags)
        return found

    def learn(self, statement: Statement, found: Carried, made: Mapping[str, Table]) -> None:
        """A statement is about to run that carries this. What cannot be told is looked at again when the snapshot is newer."""
        if found.unknown and self._snapshots is not None and len(self._deferred) < MAX_DEFERRED:
            targets = {t for t, _, _ in found.given if self._is_elsewhere(t, made)}
            if targets:
                self.changed(t.rpartition(".")[2] for t in targets)
                self._deferred.append((self._snapshots.begun + 1, statement))
            self._learn(statement, Carried(found.made), made)
        else:
            self._learn(statement, found, made)

    def _is_elsewhere(self, target: str, made: Mapping[str, Table]) -> bool:
        schema, _, name = target.partition(".")
        return not schema.startswith("pg_temp") and (name not in made or self._has(target))

    def unsettled(self, found: Carried, made: Mapping[str, Table], changing: Container[str]) -> list[str]:
        """Return targets that are others than the snapshot has them, or that it has not: what they are given is theirs later."""
        stale = self.stale if self._stale else ()
        return [
            target
            for target in dict.fromkeys(t for t, _, classes in found.given if classes)
            if (name := target.rpartition(".")[2]) in changing
            or name in stale
            or (self._is_elsewhere(target, made) and not self._has(target))
        ]

    def again(self, statements: Mapping[Statement, Iterable[str]]) -> None:
        """Look at what statements carried into these targets once more, by the snapshot after this."""
        if self._snapshots is None:
            return
        for statement, targets in statements.items():
            if len(self._deferred) < MAX_DEFERRED:
                self._deferred.append((self._snapshots.begun + 1, statement))
            else:
                self.anything(targets)

    def anything(self, targets: Iterable[str]) -> None:
        """Whatever has these names then may hold anything."""
        for target in targets:
            schema, _, name = target.partition(".")
            self.learned.make((schema, name), Table(None, {0: EVERY}))

    def _has(self, target: str) -> bool:
        schema, _, name = target.partition(".")
        return self._tags is not None and bool(meant(self._tags.catalogue, self._namer, schema, name))

    def _resume(self, tags: CatalogueTags) -> None:
        done = self._snapshots.done if self._snapshots is not None else 0
        due = [statement for number, statement in self._deferred if number <= done]
        if due:
            self._deferred = [(number, statement) for number, statement in self._deferred if number > done]
            for statement in due:
                found = carried(statement, tags)
                self._learn(statement, Carried((), found.given), {})

    def _learn(self, statement: Statement, found: Carried, made: Mapping[str, Table]) -> None:
        tags = self._tags
        if tags is None:
            return
        news = missing = False
        for table, columns in found.made:
            if not table.temporary:
                schema, _, name = table.name.partition(".")
                self.learned.make((schema, name), columns)
        for target, column, classes in found.given:
            schema, _, name = target.partition(".")
            if schema.startswith("pg_temp"):
                continue  # a name that the session gave a temporary table may mean another, by its schema, or once that is gone
            if (schema, name) in self.learned.pending:
                for place in self.learned.pending[schema, name].places(column):
                    self.learned.also((schema, name), place, classes)
            for relation in meant(tags.catalogue, self._namer, schema, name):
                held = tags.held(relation)
                named = tags.origins.named(relation, column)
                missing = missing or not named
                for c in named:
                    if not classes <= held[c.number]:
                        self.learned.give(relation, c, classes - held[c.number])
                        news = True
                    for beneath, classes_of in tags.origins.beneath(relation, c) if relation.kind == "v" else ():
                        missing_there = classes - tags.held(beneath)[classes_of.number]
                        if missing_there:
                            self.learned.give(beneath, classes_of, missing_there)
                            news = True
        if missing and self._snapshots is not None:  # a column that the statement makes, in a transaction that may last
            self._deferred = [*self._deferred[-MAX_DEFERRED + 1 :], (self._snapshots.done + 1, statement)]
        if news:
            self.retag()

    def adds(self, found: Carried) -> bool:
        """Whether columns that a snapshot has would be given what they are not known to hold."""
        tags = self._tags
        for target, column, classes in found.given:
            schema, _, name = target.partition(".")
            for relation in (
                meant(tags.catalogue, self._namer, schema, name) if tags is not None and not schema.startswith("pg_temp") else ()
            ):
                held = tags.held(relation) if tags is not None else {}
                named = tags.origins.named(relation, column) if tags is not None else []
                if not named or self.learned.unread or any(not classes <= held[c.number] for c in named):
                    return True
        return False

    def renamed(self, statement: Statement) -> None:
        """What no snapshot has yet gets another name, too: it may be undone, and so it keeps the one it has."""
        for name, column, newer in statement.shape.renames:
            schema, _, short = name.partition(".")
            if not short:  # a schema
                for (within, table), each in list(self.learned.pending.items()):
                    if within == schema:
                        self.learned.make((newer[:-1], table), each.copy())
            known = self.learned.pending.get((schema, short))
            if known is None:
                continue
            if column:
                known.names = tuple(newer if n == column else n for n in known.names) if known.names is not None else None
            else:
                to = (newer[:-1], short) if newer.endswith(".") else (schema, newer)
                self.learned.make(to, Table(known.names, dict(known.held)))

    def _tagged(self, catalogue: Catalogue, kept: Mapping[tuple[int, int], Classes]) -> CatalogueTags:
        tags = CatalogueTags(catalogue, self.tokenizer, self.scanner, self._override, kept, self._observations, self.learned.of)
        tags.speaking = frozenset(c for c in DataClass if self.styles.get(c, self.default) in SPEAKING)
        return tags

    def changed(self, names: Iterable[str]) -> None:
        """These objects are others than the snapshot has them, until one that is read from now on."""
        if self._snapshots is not None:
            self._stale.update(dict.fromkeys(names, self._snapshots.begun + 1))
            self._snapshots.changed()

    @property
    def doubts(self) -> bool:
        """Whether `stale` may have any."""
        return bool(self._stale)

    @property
    def stale(self) -> Iterable[str]:
        """Objects that the newest snapshot does not have as they are."""
        if self._stale and self._snapshots is not None:
            done = self._snapshots.done
            self._stale = {name: reading for name, reading in self._stale.items() if reading > done}
        return self._stale

    def observed(self, column: ColumnPlan, values: int, found: bool) -> None:
        """Values of an untagged column were seen: what was found in them tags it from now on."""
        where = column.table, column.attribute
        if column.table < FIRST_OWN_OID or self._tags is None:
            return
        if found:
            self._tags.kept[where] = PROSE
            self.retag()
        elif self._observations.add(where, values):
            self._sights = {}

    def sight(self, statement: Statement) -> Sight | None:
        """Return what a statement may show."""
        tags = self.tags
        sights = self._sights
        try:
            return sights[statement]
        except KeyError:
            found = look(statement, tags)
        if len(sights) >= MAX_SIGHTS:
            sights.clear()
        sights[statement] = found
        return found

    def unknown_column(self) -> None:
        """A result has a column that the snapshot does not know: it is out of date."""
        if self._snapshots is not None:
            self._snapshots.changed()

    def name_of(self, column: ColumnPlan) -> str:
        """Return the name of a result's column where it is one of a table."""
        return self._tags.name_of(column.table, column.attribute) if self._tags is not None and column.table else ""

    def classes(self, statement: Statement) -> tuple[Iterable[str], bool]:
        """Return the classes of what a statement touches, and whether they are known for all of it."""
        sight = self.sight(statement)
        if sight is None:
            return (), self.tags is not None
        return sorted(sight.touched or ()), sight.touched is not None

    def harms(self, statement: Statement, clear: Classes) -> tuple[Danger, ...]:
        """Return what a statement could do harm by that only classes tell; see `ingest.masking.asked`."""
        return asked.harms(statement, self.tags, self.sight(statement), clear)

    def looks_up(self, statement: Statement, clear: Classes) -> bool:
        """Tell whether a statement asks of what is masked only for the row of one whole value; see `ingest.masking.asked`."""
        return asked.looks_up(statement, self.tags, self.sight(statement), clear)

    def written(self, statement: Statement) -> tuple[Iterable[str], Iterable[str]]:
        """Return the classes of what a statement gives values, and of what it removes; see `ingest.masking.asked`."""
        return asked.written(statement, self.tags, self.sight(statement))

    def own(self, statement: Statement) -> object:
        """Return what the answers depend on beside the snapshot: nothing that is a session's own."""
        return None
