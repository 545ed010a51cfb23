"""What does code give to the row that a trigger writes, and to the bounds of its loops? Variables followed to columns.

    SELECT c.full_name INTO t FROM customers c WHERE …;  NEW.label := t;   →  new.label gets customers.full_name

Which branch runs is not known, so a variable may hold whatever it is given anywhere in its body.
"""

from __future__ import annotations

from processors.statements.facts.body import Piece
from processors.statements.facts.scope import NOTHING, RESULT, Names, Output

OF_CODE = "new" + RESULT
"""Behind a variable that nothing is seen to be given to: anything that the code has read."""
ROW = "new"
"""The row that a trigger writes, as a flow's target until the table is known."""


class Assignments:
    """What the variables of one body are given."""

    def __init__(self) -> None:
        self.variables: frozenset[str] = frozenset()
        self.untold = False
        """Whether variables may be given what no piece tells."""
        self._given: dict[str, Names] = {}
        self._bounds: Names = NOTHING

    def take(self, piece: Piece, output: Output) -> None:
        """Note what a piece gives to whom."""
        everything = output.everything()
        if piece.assigned:
            self._give(piece.assigned, everything)
        single = len(piece.into) == len(output.columns) and not output.stars and not output.behind
        for n, name in enumerate(piece.into):
            self._give(name, output.columns[n][1] if single else everything)
        if piece.bounds:
            self._bounds |= everything

    def _give(self, name: str, behind: Names) -> None:
        self._given[name] = self._given.get(name, NOTHING) | behind

    @property
    def counted(self) -> Names:
        """What is behind the bounds of loops that give rows."""
        return self._followed(self._bounds) - {OF_CODE}

    def all(self) -> dict[str, Names]:
        """Return what each variable is given, of those of which that is known."""
        known = frozenset[str]() if self.untold else self.variables & self._given.keys()
        found = {name: self._followed(frozenset((f"?.{name}",))) for name in known}
        return {name: behind for name, behind in found.items() if OF_CODE not in behind}

    def row(self) -> dict[str, Names]:
        """Return what the columns of the trigger's row are given, `*` for any."""
        found = {}
        for name, behind in self._given.items():
            record, _, column = name.partition(".")
            if record == ROW:
                found[column or "*"] = self._followed(behind)
        return found

    def _followed(self, names: Names) -> Names:
        """Return names with variables replaced by what they were given."""
        found: set[str] = set()
        seen: set[str] = set()
        left = list(names)
        while left:
            name = left.pop()
            short = name.removeprefix("?.").removesuffix(".*")
            if name in seen:
                continue
            seen.add(name)
            if short in self._given:
                left += self._given[short]
            elif short in self.variables:
                found.add(OF_CODE)
            else:
                found.add(name)
        return frozenset(found)
