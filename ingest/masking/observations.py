"""How many values of an untagged column were seen without a sensitive one, and after how many it is believed to have none."""

from __future__ import annotations

ENOUGH = 1000
"""Values of a column seen without a sensitive one, after which it is believed to hold none."""
MAX_WATCHED = 200_000
"""Columns whose values are counted; past it a column stays watched."""


class Observations:
    """What was seen of the values of untagged columns, by table oid and column number, for as long as a worker lives."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], int] = {}

    def enough(self, column: tuple[int, int]) -> bool:
        """Whether enough values were seen."""
        return self.seen.get(column, 0) >= ENOUGH

    def add(self, column: tuple[int, int], values: int) -> bool:
        """Count values; return whether they are enough only now."""
        before = self.seen.get(column, 0)
        if before >= ENOUGH or (not before and len(self.seen) >= MAX_WATCHED):
            return False
        self.seen[column] = before + values
        return before + values >= ENOUGH
