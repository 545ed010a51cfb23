"""What does FETCH show, what does EXECUTE? What the cursor or statement of that name was declared to show, if that is certain.

A name is certain while it was declared once, in SQL that was seen, and no code of the database ran since: code can close and open
cursors, and prepare statements, of any name. Neither is a name that came by Parse or Bind: which of the two the server has
depends on what failed or was closed. Cursors go with their transaction.
"""

from __future__ import annotations

import re
from typing import Any

from processors.statements import Statement

MAX_NAMES = 1000
"""Names remembered; what is past it is not certain."""

_NAME = r'("(?:[^"]|"")+"|[A-Za-z_\x80-\uffff][\w$]*)'
_DECLARED = re.compile(rf"\s*(DECLARE|PREPARE)\s+{_NAME}", re.IGNORECASE)
_FETCHED = re.compile(rf"\s*(?:FETCH|MOVE)\b.*?{_NAME}\s*;?\s*\Z", re.IGNORECASE | re.DOTALL)
_EXECUTED = re.compile(rf"\bEXECUTE\s+{_NAME}", re.IGNORECASE)
HIDDEN = "?"
"""How normalised text has all names that look like values."""
UNCERTAIN = object()


class Named:
    """The sights of names in one session."""

    def __init__(self) -> None:
        self._cursors: dict[str, Any] = {}
        self._statements: dict[str, Any] = {}
        self._known: object = None
        """What was known of the database when these were prepared."""
        self._sent: set[str] = set()
        self._flooded = False

    def sent(self, name: bytes) -> None:
        """A Parse or Bind gave a name to something else."""
        if name:
            self._flooded = self._flooded or len(self._sent) >= MAX_NAMES
            if not self._flooded:
                self._sent.add(name.decode("utf-8", "surrogateescape"))

    def declared(self, statement: Statement, sight: Any, known: object) -> None:
        """A cursor was declared or a statement prepared, with this `known` of the database (`ingest.core.masking.Masking`)."""
        self._at(known)
        match = _DECLARED.match(statement.text)
        if match is None:
            self.forget()
            return
        names = self._cursors if match[1].upper() == "DECLARE" else self._statements
        name = _folded(match[2])
        if name in names or name == HIDDEN or len(names) >= MAX_NAMES:
            names[name] = UNCERTAIN
        else:
            names[name] = sight

    def of(self, statement: Statement, known: object) -> Any:
        """Return the sight of what a statement fetches or executes by name, `UNCERTAIN` if that is not certain."""
        self._at(known)
        text = statement.text
        match = _EXECUTED.search(text)
        names = self._statements if match is not None else self._cursors
        match = match or _FETCHED.match(text)
        name = _folded(match[1]) if match is not None else HIDDEN
        return UNCERTAIN if self._flooded or name in self._sent else names.get(name, UNCERTAIN)

    def _at(self, known: object) -> None:
        """What was prepared is planned anew where objects have changed; cursors stay what they are."""
        if known != self._known:
            self._statements = dict.fromkeys(self._statements, UNCERTAIN)
            self._known = known

    def forget(self) -> None:
        """Code ran, or something that is not understood: names may mean anything."""
        self._cursors = dict.fromkeys(self._cursors, UNCERTAIN)
        self._statements = dict.fromkeys(self._statements, UNCERTAIN)

    def transaction_ended(self) -> None:
        """Cursors are gone; one WITH HOLD is no longer certain."""
        self._cursors.clear()


def _folded(name: str) -> str:
    return name[1:-1].replace('""', '"') if name[0] == '"' else name.lower()
