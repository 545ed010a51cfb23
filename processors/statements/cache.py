"""A dictionary bounded by bytes that forgets what was not asked for lately, without bookkeeping on each hit.

Two generations: new and refreshed entries go to the young one; when that holds half the budget, it becomes the old one and
the old one is dropped. A hit in the old generation moves the entry to the young one.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteBoundedCache(Generic[K, V]):
    """Maps keys to (value); `young` may be read directly on a hot path, `get` is the complete look-up."""

    __slots__ = ("_budget", "_costs", "_old", "_old_costs", "_used", "young")

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes // 2
        self._used = 0
        self.young: dict[K, V] = {}
        self._costs: dict[K, int] = {}
        self._old: dict[K, V] = {}
        self._old_costs: dict[K, int] = {}

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        value = self.young.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value, self._old_costs.pop(key))
        return value

    def put(self, key: K, value: V, cost: int) -> None:
        """Keep a value that takes about `cost` bytes, unless it alone would take the whole generation."""
        if cost > self._budget:
            return
        self._used += cost - self._costs.get(key, 0)
        if self._used > self._budget:
            self._old, self._old_costs = self.young, self._costs
            self.young, self._costs = {}, {}
            self._used = cost
        self.young[key] = value
        self._costs[key] = cost

    @property
    def bytes_used(self) -> int:
        """The summed cost of what both generations hold."""
        return sum(self._costs.values()) + sum(self._old_costs.values())

    def __len__(self) -> int:
        return len(self.young) + len(self._old)
