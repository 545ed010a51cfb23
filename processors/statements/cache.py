"""A dictionary bounded by bytes that forgets what was not asked for lately, without bookkeeping on each hit.

Two generations: new and refreshed entries go to the young one; when that holds half the budget, it becomes the old one and
the old one is dropped. A hit in the old generation moves the entry to the young one, at the old one's average cost.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteBoundedCache(Generic[K, V]):
    """Maps keys to values. `young` may be read directly on a hot path; `get` is the complete look-up."""

    __slots__ = ("_budget", "_old", "_old_cost", "_used", "young")

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes // 2
        self._used = 0
        self._old_cost = 0
        self.young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        value = self.young.get(key)
        return self.promoted(key) if value is None and self._old else value

    def promoted(self, key: K) -> V | None:
        """Return the value of a key that is not in `young`, and bring it there."""
        value = self._old.pop(key, None)
        if value is not None:
            self.put(key, value, self._old_cost)
        return value

    def put(self, key: K, value: V, cost: int) -> None:
        """Keep a value that takes about `cost` bytes, unless it alone would take the whole generation."""
        if cost > self._budget:
            return
        used = self._used + cost
        if used > self._budget:
            self._old_cost = self._used // max(1, len(self.young))
            self._old, self.young = self.young, {}
            used = cost
        self.young[key] = value
        self._used = used

    @property
    def bytes_used(self) -> int:
        """What both generations hold, by the costs given: at most the budget."""
        return self._used + self._old_cost * len(self._old)

    def __len__(self) -> int:
        return len(self.young) + len(self._old)
