"""Masks for the sessions of one database: what is tagged, what each statement may show, and to whom.

What is judged of a statement is the same for everybody and kept as long as the snapshot of the catalogue is the same; what a
principal may see is asked anew when the policy changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import orjson

from ingest.core.guarding import Answer, Emergency, Hold, Judgement, Request, SessionGuard
from ingest.masking.copies import CopyMasker
from ingest.masking.plan import ColumnPlan, MaskPlan, Treatment, plan_result, planned
from ingest.masking.reports import without_values
from ingest.masking.rows import MAX_ROW, RowMasker
from ingest.masking.sight import Sight, changes, doubted, look
from ingest.masking.tags import EVERY, PROSE, CatalogueTags, Classes, Observations, Override, no_override
from processors.sensitivity import Scanner
from processors.statements import Statement, Tokenizer
from processors.statements.catalogue import Catalogue
from processors.statements.statement import CopyFormat
from schemas.classes import DataClass, Style
from schemas.events import Danger, Decision, Verdict

MAX_SIGHTS = 4096
"""Statements whose sight is remembered for a database; past it all are judged again as they come."""
_NOTHING: Classes = frozenset()
_SHOWN, _ASKED = frozenset(("output",)), frozenset(("filter", "join", "group", "order"))
"""Roles of columns: what reaches the result, and what only decides which rows do, and how."""
RULE = "masking"
"""What decisions name where masking itself refuses a statement."""

_UNREAD = (
    "This statement could not be read beforehand (a syntax error, or code that is put together while it runs), so what it shows"
    " could not be masked. It was not executed. Write it as plain SQL, or ask for the right to see clear values."
)


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

    @property
    def tags(self) -> CatalogueTags | None:
        """The tags of the newest snapshot."""
        current = self._snapshots.current if self._snapshots is not None else None
        if current is not None and (self._tags is None or self._tags.catalogue is not current):
            kept = self._tags.carried(current) if self._tags is not None else {}
            self._tags = self._tagged(current, kept)
            self._sights = {}
        return self._tags

    def retag(self) -> None:
        """What is said of columns has changed: judge them again."""
        if self._tags is not None:
            self._tags = self._tagged(self._tags.catalogue, self._tags.kept)
        self._sights = {}

    def _tagged(self, catalogue: Catalogue, kept: Mapping[tuple[int, int], Classes]) -> CatalogueTags:
        return CatalogueTags(catalogue, self.tokenizer, self.scanner, self._override, kept, self._observations)

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
        if not column.table or self._tags is None:
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
        """Return what a statement could do harm by that only classes tell, to whom `clear` is shown as it is.

        `sensitive_read`: it shows some of that. `inference`: it filters, joins, groups or sorts by what is masked, and so its
        rows, or their number, tell something of it. A column that is not certain counts as what the tables it may be of hold.
        """
        tags, sight = self.tags, self.sight(statement)
        if tags is None or sight is None:
            return ()
        facts = statement.facts
        touched = (*facts.reads, *facts.writes)

        def behind(roles: frozenset[str]) -> Classes:
            found = tags.behind((c.name for c in facts.columns if not roles.isdisjoint(c.roles)), touched)
            return (sight.touched or EVERY) if found is None else found

        found: list[Danger] = []
        if behind(_SHOWN) & clear:
            found.append(Danger.SENSITIVE_READ)
        if behind(_ASKED) - clear:
            found.append(Danger.INFERENCE)
        return tuple(found)


def nothing_clear() -> Classes:
    """Nothing is seen as it is: where there is no policy."""
    return _NOTHING


def nothing_granted(statement: Statement) -> Classes:
    """Nothing is seen by a grant: where there is no policy."""
    return _NOTHING


class SessionMasking:
    """Masks for one session (`ingest.core.masking.Masking`).

    `clear` tells what it may see at the moment, `granted` what grants let one statement show beside that.
    """

    max_row = MAX_ROW

    def __init__(
        self,
        database: DatabaseMasking,
        clear: Callable[[], Classes] = nothing_clear,
        granted: Callable[[Statement], Classes] = nothing_granted,
    ) -> None:
        self._database = database
        self._clear = clear
        self._granted = granted
        self._strict = MaskPlan(frozenset(), database.styles, database.default)
        self._plan = self._strict
        self._seen: Classes | None = None
        self._changing: set[str] = set()

    @property
    def plan(self) -> MaskPlan:
        """What may be seen now."""
        clear = self._clear()
        if clear is not self._seen:
            self._seen = clear
            self._plan = MaskPlan(clear, self._database.styles, self._database.default)
        return self._plan

    def sight(self, statement: Statement) -> Sight | None:
        """Return what a statement may show."""
        database = self._database
        found = database.sight(statement)
        if found is not None and self._granted(statement):
            found = replace(found, granted_by=statement)
        if not (self._changing or database.doubts):
            return found
        stale = database.stale
        if self._changing or stale:
            return doubted(statement, found, {*self._changing, *stale}, database.tags)
        return found

    def shown(self, sight: Sight) -> MaskPlan:
        """What may be seen now of what a statement shows: by a grant, while it lasts, more than by policy alone."""
        plan = self.plan
        granted = self._granted(sight.granted_by) if sight.granted_by is not None else _NOTHING
        return MaskPlan(plan.clear | granted, plan.styles, plan.default) if granted else plan

    def changing(self, statement: Statement) -> None:
        """A statement is about to change objects: what uses them is not known any more."""
        self._changing.update(changes(statement))

    def transaction_ended(self) -> None:
        """What was changed is there for everybody, or was undone."""
        if self._changing:
            self._database.changed(self._changing)
            self._changing = set()

    def hides(self, sight: Sight, strict: bool = False) -> bool:
        """Whether something that a statement may show is hidden from this session."""
        clear = frozenset[DataClass]() if strict else self.shown(sight).clear
        if clear >= EVERY:
            return False
        return sight.watch or sight.touched is None or not sight.touched <= clear or sight.rest is None

    def rows(self, sight: Sight, description: bytes, formats: tuple[int, ...] | None = None, strict: bool = False) -> RowMasker:
        """Return what masks the rows of a RowDescription's body. Raises ValueError."""
        database = self._database
        principal = self._strict if strict else self.shown(sight)
        tags = None if sight.doubted else database.tags
        plan = plan_result(description, tags, principal, sight.computed, formats=formats, watch=sight.watch)
        if not sight.doubted and any(not c.known and c.table for c in plan):
            database.unknown_column()
        return RowMasker(plan, database.scanner, database.tokenizer, database.name_of, principal.clear, database.observed)

    def copied(self, sight: Sight, form: CopyFormat | None, header: bytes, encoding: str, strict: bool = False) -> CopyMasker:
        """Return what masks the rows of a COPY. Raises ValueError where they cannot be cut into fields for certain."""
        if form is None or (form.format == "binary") != (header[:1] == b"\x01"):
            raise ValueError("the rows of a COPY come in another format than it asked for")
        count = int.from_bytes(header[1:3], "big")
        principal = self._strict if strict else self.shown(sight)
        plan = [planned(sight.computed(n, count), principal, 25, False, watched=sight.watch) for n in range(count)]
        return CopyMasker(plan, form, encoding, self._database.scanner, self._database.name_of, principal.clear)

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
        """Return what a notification may say: nothing where value detection finds something."""
        return b"[masked]" if not self.plan.clear >= EVERY and self._database.scanner.holds(value) else value

    def refusal(self, statement: Statement) -> str:
        """Return why a statement must not run, empty if it may."""
        sight = self.sight(statement)
        if sight is None:
            return ""
        clear = self.shown(sight).clear
        if clear >= EVERY:
            return ""
        if sight.leaks is None:
            return _UNREAD
        hidden = sorted(sight.leaks - clear)
        if not hidden:
            return ""
        return (
            f"It would carry values that are masked here ({', '.join(hidden)}) to where they are not: another column, a"
            " setting, a notification, a file, or a lock. It was not executed."
        )


class MaskingGuard:
    """A guard that also refuses what masking cannot follow (`ingest.core.guarding.SessionGuard`)."""

    def __init__(self, inner: SessionGuard | None, masking: SessionMasking, session_id: str) -> None:
        self._inner = inner
        self._masking = masking
        self._session_id = session_id
        self._refused = 0

    def judge(self, statement: Statement, claims: Mapping[str, str], now: int, approval: Any = None) -> Judgement:
        """Decide on a statement; see `SessionGuard`."""
        judgement = self._inner.judge(statement, claims, now, approval) if self._inner is not None else ALLOWED
        if judgement.stops:
            return judgement
        try:
            reason = self._masking.refusal(statement)
        except Exception as error:  # whatever goes wrong in deciding stops the statement
            reason = f"What it shows could not be judged ({type(error).__name__}), so it was stopped."
        if not reason:
            return judgement
        self._refused += 1
        request = f"Request {self._session_id}/m{self._refused}."
        return Judgement(_DENIED, True, f"statement denied by {RULE}", f"{reason} {request}")

    def passing(self, statement: Statement, claims: Mapping[str, str], now: int) -> Judgement | None:
        """Decide on a statement if it passes; see `SessionGuard`. It has no sight, and so no refusal of masking's."""
        return self._inner.passing(statement, claims, now) if self._inner is not None else ALLOWED

    def ask(self, request: Request, judgements: Sequence[Judgement], now: int) -> Hold | Emergency | Judgement:
        """Say how a request that is held waits; see `SessionGuard`."""
        return self._inner.ask(request, judgements, now) if self._inner is not None else judgements[0]

    def differs(self, hold: Hold, statements: Sequence[Statement]) -> str:
        """Return how statements about to be released are not what was asked; see `SessionGuard`."""
        return self._inner.differs(hold, statements) if self._inner is not None else "nobody was asked"

    def unreleased(self, hold: Hold, answer: Answer, judgement: Judgement) -> Judgement:
        """Return what is said of a held statement that is not let through; see `SessionGuard`."""
        return self._inner.unreleased(hold, answer, judgement) if self._inner is not None else judgement

    def lapsed(self, grant: str, now: int) -> bool:
        """Whether a grant is not in force any more; see `SessionGuard`."""
        return self._inner.lapsed(grant, now) if self._inner is not None else True


ALLOWED = Judgement(orjson.dumps(Decision()), False)
_DENIED = orjson.dumps(Decision(verdict=Verdict.DENY, policies=(RULE,), risk=70))
