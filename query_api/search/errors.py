"""SearchError: what is wrong with a search, where, and what to type instead.

Positions count characters of the search text from 0; `length` is how many of them the error is about (0 at the end).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SearchError(Exception):
    """The caller's fault: the text is not a search. `hint` is a remedy, or empty."""

    message: str
    position: int
    length: int = 0
    hint: str = ""

    def __str__(self) -> str:
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.message} (at character {self.position + 1}).{hint}"
