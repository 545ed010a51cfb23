"""Which temporary tables has a session for certain, and what do they hold?

No snapshot has a session's temporary tables. What a statement puts into one is known (`ingest.masking.lineage`), so its columns
can be shown like those of any other table, while it is certain that a name means it: it was made by a CREATE that succeeded and
that the transaction kept, and nothing that ran since may have dropped it, put another in its place, or filled it unseen. Where
that is not certain it is masked whole. Code that a statement calls may run later than the statement, by a cursor, a portal or a
deferred trigger: what it drops, alters or makes is not certain from the moment that it is judged until its transaction ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from processors.statements import Statement
from schemas.events import Danger

_BLIND = frozenset((Danger.OPAQUE, Danger.UNKNOWN_CODE))
_UNDOING = frozenset(("rollback", "prepare_transaction"))
_ALTERING = ("drop_", "alter_", "create_trigger", "create_rule", "create_policy", "create_constraint")
_BY_CODE = ("drop_", "alter_", "create_", "discard")
_ALONE = frozenset(("alter_table", "create_index", "create_table", "create_view", "drop_index", "drop_table", "drop_view"))
"""What touches no tables but those that it names."""
ANY = "*"
_ANY = frozenset((ANY,))
_MAKING = frozenset(("create_table", "select"))
_ALL = frozenset(("discard", "drop_schema", "drop_owned"))
_CASCADE = re.compile(r"\bCASCADE\b", re.IGNORECASE)
_ODD = re.compile(r"\b(IF\s+NOT\s+EXISTS|GENERATED|INCLUDING|INHERITS|PARTITION\s+OF)\b", re.IGNORECASE)
"""Tables that are filled by more than what statements put into them, or that may be there already."""
_SHORT = re.compile(r"\bON\s+COMMIT\s+DROP\b", re.IGNORECASE)


class Temporary:
    """The temporary tables of one session that are there for certain, by short name."""

    def __init__(self, path: bool = True) -> None:
        self._sure: dict[str, bool] = {}
        """False: made by the transaction that is still open."""
        self.lost = 0
        """How often one that was certain became doubtful."""
        self._passing: set[str] = set()
        self._doubtful: set[str] = set()
        """Those that the open transaction may do away with at any time; `ANY` for all."""
        self._own_path = self._path = path
        """Whether names without a schema mean temporary tables first; at the session's beginning, and now."""

    def has(self, names: frozenset[str]) -> bool:
        """Whether all of these are there."""
        return not names or (self._path and self.has_tables(names))

    def has_tables(self, names: frozenset[str]) -> bool:
        """Whether all of these are there as `pg_temp.name`, and are tables."""
        return not names or (self._sure.keys() >= names and names.isdisjoint(self._doubtful) and ANY not in self._doubtful)

    def judged(self, statement: Statement) -> None:
        """A statement may run at any time from now on, or some of it, until its transaction ends."""
        facts, before = statement.facts, len(self._doubtful)
        if not _BLIND.isdisjoint(facts.dangers):
            self._doubtful.add(ANY)
        makes = len(facts.writes) == len(statement.shape.made) and facts.verbs == ("select", "create_table")  # SELECT INTO
        by_code = [v for v in facts.verbs[1:] if v.startswith(_BY_CODE)] if not makes else []
        if by_code:
            self._doubtful |= _touched(statement) if _ALONE.issuperset(by_code) else _ANY
        self.lost += len(self._doubtful) - before
        if statement.settings:
            path = statement.settings.get("search_path", statement.settings.get("*", ""))
            if path is None or "pg_temp" in path.lower():
                self._path = False

    def marks(self) -> tuple[frozenset[str], bool]:
        """Return what is doubtful, for `unjudged`."""
        return frozenset(self._doubtful), self._path

    def unjudged(self, marks: tuple[frozenset[str], bool]) -> None:
        """What was judged since does not run: no more is doubtful than then."""
        self._doubtful, self._path = set(marks[0]), marks[1]

    def doubt(self, names: Iterable[str]) -> None:
        """The open transaction may give these names to others; `ANY`: all, by what is not known of it."""
        before = len(self._doubtful)
        self._doubtful.update(names)
        self.lost += len(self._doubtful) - before

    def completed(self, statement: Statement, own: bool) -> None:
        """A statement succeeded; `own`: all functions that it calls are the server's."""
        if statement.settings and statement.facts.verbs == ("discard",) and self._doubtful.isdisjoint(_ANY):
            # No other way back is certain: a RESET may be undone, and cursors may set it again.
            self._path = self._own_path
        made = statement.shape.made
        if not self._sure and not made:
            return
        facts = statement.facts
        verb = facts.verbs[0] if facts.verbs else ""
        if verb in _UNDOING:
            self.undone()
        if not _ALL.isdisjoint(facts.verbs) or not _BLIND.isdisjoint(facts.dangers):
            self._forget(self._sure)
        names = _touched(statement)
        if any(v.startswith(_ALTERING) for v in facts.verbs):
            self._forget(self._sure if _CASCADE.search(statement.text) else names)
        plain = verb in _MAKING and not _ODD.search(statement.text) and (own or "select" in facts.verbs)
        for table in made:
            short = table.name.rpartition(".")[2]
            if not plain or not table.temporary or table.outputs is None or table.name.count(".") != 1:
                self._forget(names | {short})
                continue
            self._sure[short] = False
            if _SHORT.search(statement.text):
                self._passing.add(short)

    def undone(self) -> None:
        """Something failed or was rolled back: what its transaction made may be gone."""
        if not all(self._sure.values()):
            self._forget([name for name, kept in self._sure.items() if not kept])

    def transaction_ended(self, busy: bool = False) -> None:
        """What it made stays; `busy`: what is doubtful may be another's that was sent already."""
        if self._doubtful and not busy:
            self._forget(self._sure if ANY in self._doubtful else self._doubtful)
            self._doubtful = set()
        if self._sure:
            self._forget(self._passing)
            self._passing = set()
            self._sure = dict.fromkeys(self._sure, True)

    def _forget(self, names: Iterable[str]) -> None:
        for name in tuple(names):
            self.lost += self._sure.pop(name, None) is not None


def _touched(statement: Statement) -> set[str]:
    return {name.rpartition(".")[2] for name in (*statement.facts.reads, *statement.facts.writes)}
