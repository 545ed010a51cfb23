"""What a session asks of a guard, whatever makes the decisions: one ruling per statement, as bytes ready for its event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Judgement:
    """A ruling as a session needs it: the event's `decision`, and what to tell the client if the statement is stopped.

    `stops` is whether the statement must not reach the database.
    """

    __slots__ = ("fragment", "hint", "message", "stops")

    def __init__(self, fragment: bytes, stops: bool, message: str = "", hint: str = "") -> None:
        self.fragment = fragment
        self.stops = stops
        self.message = message
        self.hint = hint


class SessionGuard(Protocol):
    """Decides for one session."""

    def judge(self, statement: Any, claims: Mapping[str, str], now: int) -> Judgement:
        """Decide on a statement (of `processors.statements`, or another protocol's) that arrived at `now` (µs).

        Never raises: what cannot be decided is stopped.
        """
