"""Masks for one session: what each statement may show to it, and what it must not run.

What a principal may see is asked anew when the policy changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count

from ingest.core.masking import Masking, Rows
from ingest.masking import asked
from ingest.masking.copies import CopyMasker, stored
from ingest.masking.database import DatabaseMasking
from ingest.masking.lineage import CARRIES_NOTHING, MAX_OWN, Carried, Table
from ingest.masking.own_words import OwnWords
from ingest.masking.plan import ColumnPlan, MaskPlan, Treatment, only_stored, plan_result, planned
from ingest.masking.refusals import refusal
from ingest.masking.reports import without_values
from ingest.masking.rows import MAX_ROW, RowMasker
from ingest.masking.sight import Leak, Sight, changes, doubted, look
from ingest.masking.tags import EVERY, CatalogueTags, Classes
from ingest.masking.temporary import ANY, Temporary
from processors.statements import Statement
from processors.statements.statement import CopyFormat
from schemas.classes import DataClass
from schemas.events import Danger, StatementFlag

_NOTHING: Classes = frozenset()
_CHANGE = re.compile(rb'"([^"]+)",[IUD]')
_KEY = re.compile(rb',"([^"]+)"=')
_INHERIT = re.compile(r"(?<!NO )\bINHERIT\b", re.IGNORECASE)
_NONE: frozenset[str] = frozenset()
_ANY = (ANY,)
_ROLLBACK = re.compile(r"\s*(ROLLBACK|ABORT)(\s+(WORK|TRANSACTION))?\s*;?\s*\Z", re.IGNORECASE)
_AS_A_WHOLE = re.compile(r"\s*(ALTER|CREATE|DROP|TRUNCATE|COMMENT|GRANT|REVOKE)\b", re.IGNORECASE)
"""What is done as a whole or not at all; code may commit in between."""
_COMMITTING = frozenset(
    ("commit", "prepare_transaction", "commit_prepared", "call", "do", "unknown", "vacuum", "analyze", "cluster", "reindex")
)
"""What may make lasting what was done before it, be it in a pipeline only."""
_OF_ROWS = frozenset(("truncate", "update", "delete"))
_OWNED_TABLES = _OF_ROWS | {"drop_table", "alter_table"}
_OWNED = _OWNED_TABLES | {"drop_view", "drop_index", "drop_sequence"}
"""Changes that matter to nobody else where they are of temporary objects."""
_NUMBERS = count()

_FULL = (
    "It fills a table from other columns, and there is no room to remember what the table holds then. It was not executed. Ask"
    " whoever runs the proxy to say what the database's tables hold (CatalogueTagged), or to make room in the register."
)


def _unknown(n: int, count: int) -> Classes | None:
    """Say of no column what is behind it."""
    return None


def nothing_clear() -> Classes:
    """Nothing is seen as it is: where there is no policy."""
    return _NOTHING


def nothing_granted(statement: Statement) -> Classes:
    """Nothing is seen by a grant: where there is no policy."""
    return _NOTHING


class SessionMasking(Masking):
    """Masks for one session (`ingest.core.masking.Masking`).

    `clear` tells what it may see at the moment, `granted` what grants let one statement show beside that. `temporary_first`: its
    search_path names `pg_temp` nowhere, so that names without a schema mean temporary tables before others.
    """

    def __init__(
        self,
        database: DatabaseMasking,
        clear: Callable[[], Classes] = nothing_clear,
        granted: Callable[[Statement], Classes] = nothing_granted,
        temporary_first: bool = True,
    ) -> None:
        self.max_row = MAX_ROW
        self._number = next(_NUMBERS)
        """What answers are remembered by that are this session's alone: they may be kept when it is gone, and it is not."""
        self._database = database
        self._clear = clear
        self._granted = granted
        self._strict = MaskPlan(frozenset(), database.styles, database.default)
        self._plan = self._strict
        self._seen: Classes | None = None
        self._seen_at: tuple[object, int] | None = None
        self._changing: set[str] = set()
        self._made: dict[str, Table] = {}
        """Temporary tables of this session, by short name: what statements that name them may carry elsewhere."""

        self._temporary = 0
        """How often a temporary table was made, filled or given another name."""

        self._there = Temporary(temporary_first)
        self._sights: dict[Statement, tuple[bool, Sight | None]] = {}
        """Of statements that name such tables, for as long as these hold the same."""

        self._done = 0
        """Statements of the open transaction that succeeded."""
        self._undone = self._failed = self._stays = False
        """Whether it was rolled back as a whole, something of it failed, and some of it may stay whatever becomes of the rest."""

        self._refill: dict[Statement, list[str]] = {}
        """What filled tables that its own transaction had changed, or made in another's place: no snapshot has those yet."""

    @property
    def plan(self) -> MaskPlan:
        """What may be seen now."""
        clear = self._clear()
        if clear is not self._seen:
            self._seen = clear
            self._plan = MaskPlan(clear, self._database.styles, self._database.default)
        return self._plan

    @property
    def known(self) -> object:
        """What is known of the database's objects and the session's own: not equal to what it was where one may be another."""
        tags = self._database.tags
        uncertain = bool(self._changing) or (self._database.doubts and bool(self._database.stale))
        return object() if uncertain or tags is None else (tags.catalogue.version, self._temporary, self._there.lost)

    def sight(self, statement: Statement) -> Sight | None:
        """Return what a statement may show."""
        database = self._database
        stirs = statement.stirs
        if stirs and StatementFlag.UNPARSED not in statement.facts.flags:
            self._there.judged(statement)  # what does not parse is alone in its message, mostly a slip, and counts once it runs
        found = self._own_sight(statement) if self._made else database.sight(statement)
        if stirs and statement.facts.verbs == ("alter_table",) and _INHERIT.search(statement.text):
            found = self._joined(statement, found)
        if found is not None and self._granted(statement):
            found = replace(found, granted_by=statement)
        if not (self._changing or database.doubts):
            return found
        stale = database.stale
        if self._changing or stale:
            changed = {*self._changing, *stale} - (found.temporary if found is not None else _NONE)
            if changed and (seen := doubted(statement, found, changed, database.tags)) is not found:
                self._there.doubt(_ANY)  # what it does, or fills them with, is not known
                return seen
        return found

    def _joined(self, statement: Statement, found: Sight | None) -> Sight | None:
        """Return the sight of a temporary table's getting a parent: who reads the parent from then on reads its rows as well."""
        tags, held = self._database.tags, _NOTHING
        for name in (written.rpartition(".")[2] for written in statement.facts.writes):
            if tags is not None and tags.catalogue.find("?", name):
                continue
            if name in self._made and self._is_certain(frozenset((name,)), statement):
                held = held.union(*self._made[name].held.values())
            elif name in self._made or (name not in self._changing and name not in self._database.stale):
                held = EVERY  # made by a function, or nobody knows what
        return Sight(leaks=held, touched=held, reasons=((Leak.COPIED, held),)) if held else found

    def _own_sight(self, statement: Statement) -> Sight | None:
        """Return what a statement may show that may name temporary tables of this session."""
        tags = self._database.tags
        touched = (*statement.facts.reads, *statement.facts.writes)
        names = frozenset(name.rpartition(".")[2] for name in touched).intersection(self._made)
        if not names or tags is None:
            return self._database.sight(statement)
        at = tags, self._temporary
        if at != self._seen_at:
            self._seen_at = at
            self._sights.clear()
        only = self._is_certain(names, statement)
        known = self._sights.get(statement)
        if known is None or known[0] != only:
            held = {name: table.columns() for name, table in self._filled(statement, names).items()}
            held = held if only else {name: {"": EVERY} for name in names}
            own = tags.with_made(held, names if only else _NONE)
            found = look(statement, own)
            if only and all(own.columns(name) is not None for name in touched):
                # What an untagged column held that values were copied from may still be found in them.
                found = replace(found or Sight(rest=_NOTHING, code=False, touched=_NOTHING), temporary=names, watch=True)
            if len(self._sights) >= MAX_OWN:
                self._sights.clear()
            self._sights[statement] = known = only, found
        return known[1]

    def _is_certain(self, names: frozenset[str], statement: Statement) -> bool:
        """Tell whether these names can only mean temporary tables of this session in a statement."""
        tags = self._database.tags
        return (
            tags is not None
            and tags.catalogue.temporary_first
            and self._there.has(names)
            and not any(tags.catalogue.find("?", name) for name in names)
            and names.isdisjoint(name.rpartition(".")[2] for name in statement.shape.qualified)
            # `"x.own"` ends like `own` and is another.
            and all(name.count(".") == 1 for name in (*statement.facts.reads, *statement.facts.writes))
        )

    def _own_tags(self, statement: Statement) -> CatalogueTags | None:
        """Return the tags with temporary tables of this session that a statement certainly names; None where it names none."""
        tags = self._database.tags
        names = frozenset(n.rpartition(".")[2] for n in (*statement.facts.reads, *statement.facts.writes)).intersection(
            self._made
        )
        if not names or tags is None or not self._is_certain(names, statement):
            return None
        return tags.with_made({name: table.columns() for name, table in self._filled(statement, names).items()}, names)

    def own(self, statement: Statement) -> object:
        """Return what the answers to the following depend on beside the snapshot; None where nothing is this session's own."""
        if not self._made or self._own_tags(statement) is None:
            return None
        return self._number, self._temporary, self._there.lost

    def classes(self, statement: Statement) -> tuple[Iterable[str], bool]:
        """Return the classes of what a statement touches, and whether they are known for all of it."""
        tags = self._own_tags(statement) if self._made else None
        if tags is None:
            return self._database.classes(statement)
        sight = look(statement, tags)
        return ((), True) if sight is None else (sorted(sight.touched or ()), sight.touched is not None)

    def harms(self, statement: Statement, clear: Classes) -> tuple[Danger, ...]:
        """Return what a statement could do harm by that only classes tell; see `ingest.masking.asked`."""
        tags = self._own_tags(statement) if self._made else None
        found = self._database if tags is None else None
        return found.harms(statement, clear) if found else asked.harms(statement, tags, look(statement, tags), clear)

    def looks_up(self, statement: Statement, clear: Classes) -> bool:
        """Tell whether a statement asks of what is masked only for the row of one whole value."""
        tags = self._own_tags(statement) if self._made else None
        if tags is None:
            return self._database.looks_up(statement, clear)
        return asked.looks_up(statement, tags, look(statement, tags), clear)

    def written(self, statement: Statement) -> tuple[Iterable[str], Iterable[str]]:
        """Return the classes of what a statement gives values, and of what it removes."""
        tags = self._own_tags(statement) if self._made else None
        return self._database.written(statement) if tags is None else asked.written(statement, tags, look(statement, tags))

    def _filled(self, statement: Statement, names: frozenset[str]) -> dict[str, Table]:
        """Return what temporary tables hold once a statement has run: it may show what it puts there."""
        tables = {name: self._made[name].copy() for name in names}
        if statement.shape.flows:
            _give(tables, self._database.carries(statement, self._made))
        return tables

    def completed(self, statement: Statement) -> None:
        """A statement succeeded: a temporary table that it made is there."""
        tags = self._database.tags if statement.shape.made else None
        own = tags is not None and all(map(tags.is_own, statement.facts.functions))
        self._there.completed(statement, own)
        self._done += 1
        verbs = statement.facts.verbs
        self._stays = self._stays or not _COMMITTING.isdisjoint(verbs)
        self._undone = verbs == ("rollback",) and _ROLLBACK.match(statement.text) is not None

    def failed(self) -> None:
        """A statement failed."""
        self._failed = True
        self._there.undone()

    def shown(self, sight: Sight) -> MaskPlan:
        """What may be seen now of what a statement shows: by a grant, while it lasts, more than by policy alone."""
        plan = self.plan
        granted = self._granted(sight.granted_by) if sight.granted_by is not None else _NOTHING
        return MaskPlan(plan.clear | granted, plan.styles, plan.default) if granted else plan

    def saying(self, sight: Sight, said: Sequence[bytes]) -> Sight:
        """Return the sight of an EXPLAIN whose text has these constants, as the client encodes them."""
        return replace(sight, said=tuple(said))

    def changing(self, statement: Statement) -> None:
        """A statement is about to run: what it changes is not known any more; what it fills has the classes of its sources."""
        if StatementFlag.UNPARSED in statement.facts.flags:
            self._there.judged(statement)
        if statement.changes_objects and not self._is_own(statement):
            names = changes(statement, self._database.tags)
            self._changing.update(names)
            self._stays = self._stays or not _AS_A_WHOLE.match(statement.text) or "CONCURRENTLY" in statement.text.upper()
            if statement.facts.verbs != ("drop_table",):
                self._there.doubt((*names, *(newer for _, column, newer in statement.shape.renames if not column)))
        shape = statement.shape
        if shape.flows or shape.made:
            found = self._database.carries(statement, self._made)
            if found is not CARRIES_NOTHING:
                self._fill(found)
                self._database.learn(statement, found, self._made)
                if targets := self._database.unsettled(found, self._made, self._changing):
                    if len(self._refill) < MAX_OWN:
                        self._refill[statement] = targets
                    else:
                        self._database.anything(targets)
        if shape.renames:
            self._database.renamed(statement)
            self._rename(statement)

    def _is_own(self, statement: Statement) -> bool:
        """Tell whether all that a statement drops or alters is a temporary table."""
        names = frozenset(name.rpartition(".")[2] for name in statement.facts.writes)
        tables = statement.facts.verbs in (("drop_table",), ("alter_table",), ("truncate",))
        return tables and bool(names) and not statement.facts.reads and self._is_certain(names, statement)

    def _carries_more(self, statement: Statement) -> bool:
        found = self._database.carries(statement, self._made)
        return any(table.held and not made.temporary for made, table in found.made) or self._database.adds(found)

    def _fill(self, found: Carried) -> None:
        self._temporary += 1
        for made, columns in found.made:
            short = made.name.rpartition(".")[2]
            if not made.temporary or (short not in self._made and len(self._made) >= MAX_OWN):
                continue
            columns = columns.copy()
            before = self._made.get(short)
            if before is not None:  # it may be there still, whatever becomes of this statement
                names = columns.names if columns.names == before.names else None
                columns = Table(names, {0: _NOTHING.union(*before.held.values(), *columns.held.values())})
            self._made[short] = columns
        _give(self._made, found)

    def _rename(self, statement: Statement) -> None:
        for name, column, newer in statement.shape.renames:
            table = self._made.get(name.rpartition(".")[2])
            if table is None:
                continue
            self._temporary += 1
            every = Table(None, {0: _NOTHING.union(*table.held.values())})
            self._made[name.rpartition(".")[2]] = every
            if not column and not newer.endswith("."):
                self._made[newer] = every

    def transaction_ended(self, busy: bool = False) -> None:
        """What was changed is there for everybody, or was undone; `busy`: some of it may be another's that was sent already."""
        self._there.transaction_ended(busy)
        if self._refill:
            self._database.again(self._refill)
            self._refill = {}
        if self._changing:
            nothing = not busy and not self._stays and ((self._failed and not self._done) or self._undone)
            if not nothing:  # a transaction that failed or was rolled back left everything as it was
                self._database.changed(self._changing)
            self._changing = self._changing if busy else set()
        self._done, self._undone, self._failed, self._stays = 0, False, False, busy

    def hides(self, sight: Sight, strict: bool = False) -> bool:
        """Whether something that a statement may show is hidden from this session."""
        clear = frozenset[DataClass]() if strict else self.shown(sight).clear
        if clear >= EVERY:
            return False
        return sight.watch or sight.touched is None or not sight.touched <= clear or sight.rest is None

    def rows(self, sight: Sight, description: bytes, formats: tuple[int, ...] | None = None, strict: bool = False) -> Rows:
        """Return what masks the rows of a RowDescription's body. Raises ValueError."""
        database = self._database
        principal = self._strict if strict else self.shown(sight)
        tags = None if sight.doubted else database.tags
        own = self._columns(sight.temporary) if sight.temporary and not sight.doubted else None
        computed = sight.computed if own is not None or not sight.temporary else _unknown
        plan = plan_result(description, tags, principal, computed, formats=formats, watch=sight.watch, own=own)
        if not sight.doubted and any(not c.known and c.table for c in plan):
            database.unknown_column()
        made = RowMasker(plan, database.scanner, database.tokenizer, database.name_of, principal.clear, database.observed)
        return OwnWords(made, sight.said) if sight.said else made

    def _columns(self, names: frozenset[str]) -> Callable[[int], Classes | None] | None:
        """Return what tells the classes of a temporary table's column by its number, None if one of these is not there.

        Of several tables, which of them a column is of is not known by that.
        """
        if not self._there.has(names):
            return None
        held = self._made[next(iter(names))].held if len(names) == 1 else None

        def of(attribute: int) -> Classes | None:
            return held.get(0, _NOTHING) | held.get(attribute, _NOTHING) if held is not None else None

        return of

    def copied(self, sight: Sight, form: CopyFormat | None, header: bytes, encoding: str, strict: bool = False) -> CopyMasker:
        """Return what masks the rows of a COPY. Raises ValueError where they cannot be cut into fields for certain."""
        if form is None or (form.format == "binary") != (header[:1] == b"\x01"):
            raise ValueError("the rows of a COPY come in another format than it asked for")
        count = int.from_bytes(header[1:3], "big")
        principal = self._strict if strict else self.shown(sight)
        computed = sight.computed if self._there.has(sight.temporary) else _unknown
        database, binary = self._database, form.format == "binary"
        certain = not sight.doubted and not sight.temporary
        columns = stored(database.tags, sight.stored if certain else None, count)
        plan = [
            planned(computed(n, count), principal, c.type_oid, binary, c.table, c.attribute, sight.watch)
            for n, c in enumerate(columns)
        ]
        tags = database.tags
        plan = [only_stored(p, tags) if p.table and tags is not None else p for p in plan]
        sizes = [c.size for c in columns]
        return CopyMasker(plan, form, encoding, database.scanner, database.tokenizer, database.name_of, principal.clear, sizes)

    def counter(self, sight: Sight) -> RowMasker:
        """Return what counts rows that nothing masks and nothing describes, by what the statement may show."""
        plan = [ColumnPlan(Treatment.PASS, classes=classes or _NOTHING) for classes in sight.front]
        return RowMasker(plan, self._database.scanner, self._database.tokenizer)

    def report(self, sight: Sight | None, body: bytes, text: str) -> bytes:
        """Return an error's or notice's fields without values; `sight` None: of a statement that is not known."""
        if sight is None:
            return body if self.plan.clear >= EVERY else without_values(body, text, True)
        return without_values(body, text, sight.code) if sight.touched != _NOTHING else body

    def payload(self, value: bytes) -> bytes:
        """Return what a notification may say: nothing where value detection finds something, or a changed row's key is masked."""
        clear = self.plan.clear
        hidden = not clear >= EVERY and (self._database.scanner.holds(value) or not self._is_clear_key(value, clear))
        return b"[masked]" if hidden else value

    def _is_clear_key(self, value: bytes, clear: Classes) -> bool:
        """Whether all columns may be shown of a key as `triggered_change_notification` tells it: `"table",U,"column"='value'`."""
        change = _CHANGE.match(value)
        if change is None:
            return True
        tags = self._database.tags
        table = change[1].decode("utf-8", "replace")
        found = tags.catalogue.find("?", table) if tags is not None else ()
        for key in _KEY.findall(value):
            column = key.decode("utf-8", "replace")
            held = [tags.held(r)[c.number] for r in found for c in tags.origins.named(r, column)] if tags is not None else []
            if not held or not all(classes <= clear for classes in held):
                return False
        return True

    def refusal(self, statement: Statement) -> str:
        """Return why a statement must not run, empty if it may."""
        if statement.fills and self._carries_more(statement) and self._database.learned.full:
            return _FULL
        before = self._there.marks()
        sight = self.sight(statement)
        if sight is None:
            return ""
        clear = self.shown(sight).clear
        if clear >= EVERY:
            return ""
        found = refusal(sight, clear)
        if found:
            self._there.unjudged(before)
        return found

    def owns(self, statement: Statement) -> bool:
        """Tell whether all that a statement changes are temporary tables that this session has for certain.

        It is asked while nothing else is on its way to the server. A name with schema `pg_temp` can mean nothing else, but it may
        be a view's, whose rows are others': these are changed only where it is known to be a table's.
        """
        facts = statement.facts
        verb = facts.verbs[0] if len(facts.verbs) == 1 else ""
        if not facts.writes or facts.reads or verb not in _OWNED:
            return False
        others = [name for name in facts.writes if not name.startswith("pg_temp.")]
        own = frozenset(name.partition(".")[2] for name in facts.writes if name.startswith("pg_temp."))
        if verb in _OF_ROWS and not self._there.has_tables(own):
            return False
        if not others:
            return True
        certain = self._is_certain(frozenset(name.rpartition(".")[2] for name in others), statement)
        return certain and verb in _OWNED_TABLES and not any(name.startswith("pg_temp") for name in others)


def _give(tables: Mapping[str, Table], found: Carried) -> None:
    """Note in tables, by short name, what they are given."""
    for target, column, classes in found.given:
        table = tables.get(target.rpartition(".")[2])
        for place in table.places(column) if table is not None else ():
            table.add(place, classes)  # type: ignore[union-attr]
