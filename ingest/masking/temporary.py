"""Which temporary tables has a session for certain, and what do they hold?

No snapshot has a session's temporary tables. What a statement puts into one is known (`ingest.masking.lineage`), so its columns
can be shown like those of any other table, while it is certain that a name means it: it was made by a CREATE that succeeded and
that the transaction kept, and nothing that ran since may have dropped it, put another in its place, or filled it unseen. Where
that is not certain it is masked whole.
"""

from __future__ import annotations

import re

from processors.statements import Statement
from processors.statements.statement import RESTORED
from schemas.events import Danger

_BLIND = frozenset((Danger.OPAQUE, Danger.UNKNOWN_CODE))
_UNDOING = frozenset(("rollback", "prepare_transaction"))
_ALTERING = ("drop_", "alter_", "create_trigger", "create_rule", "create_policy", "create_constraint")
_MAKING = frozenset(("create_table", "select"))
_ALL = frozenset(("discard", "drop_schema", "drop_owned"))
_ODD = re.compile(r"\b(IF\s+NOT\s+EXISTS|GENERATED|INCLUDING|INHERITS|PARTITION\s+OF)\b", re.IGNORECASE)
"""Tables that are filled by more than what statements put into them, or that may be there already."""
_SHORT = re.compile(r"\bON\s+COMMIT\s+DROP\b", re.IGNORECASE)


class Temporary:
    """The temporary tables of one session that are there for certain, by short name."""

    def __init__(self) -> None:
        self._sure: dict[str, bool] = {}
        """False: made by the transaction that is still open."""
        self._passing: set[str] = set()
        self._path = True
        """Whether names without a schema mean temporary tables first."""

    def has(self, names: frozenset[str]) -> bool:
        """Whether all of these are there."""
        return not names or (self._path and self._sure.keys() >= names)

    def completed(self, statement: Statement, own: bool) -> None:
        """A statement succeeded; `own`: all functions that it calls are the server's."""
        path = statement.settings.get("search_path", statement.settings.get("*", ""))
        if path is None or "pg_temp" in path:
            self._path = False
        elif path == RESTORED:
            self._path = True
        made = statement.shape.made
        if not self._sure and not made:
            return
        facts = statement.facts
        verb = facts.verbs[0] if facts.verbs else ""
        if verb in _UNDOING:
            self.undone()
        if not _ALL.isdisjoint(facts.verbs) or not _BLIND.isdisjoint(facts.dangers):
            self._sure.clear()
        names = {name.rpartition(".")[2] for name in (*facts.reads, *facts.writes)}
        if any(v.startswith(_ALTERING) for v in facts.verbs):
            self._forget(names)
        plain = verb in _MAKING and not _ODD.search(statement.text) and (own or "select" in facts.verbs)
        for table in made:
            short = table.name.rpartition(".")[2]
            if not plain or not table.temporary or table.outputs is None:
                self._forget(names | {short})
                continue
            self._sure[short] = False
            if _SHORT.search(statement.text):
                self._passing.add(short)

    def undone(self) -> None:
        """Something failed or was rolled back: what its transaction made may be gone."""
        if self._sure:
            self._sure = {name: kept for name, kept in self._sure.items() if kept}

    def transaction_ended(self) -> None:
        """What it made stays."""
        if self._sure:
            self._forget(self._passing)
            self._passing = set()
            self._sure = dict.fromkeys(self._sure, True)

    def _forget(self, names: set[str]) -> None:
        for name in names:
            self._sure.pop(name, None)
