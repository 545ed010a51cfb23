"""Where do records wait between the stream that brings them and the batch that takes them? By partition, bounded.

An insert costs much the same whatever its size, and a batch is of one partition: with turns by record, each would be small. So a
batch takes all that its partition has. What waits longest goes first: no partition waits for ever behind a busier one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Items of weights up to `limit` in all, of all partitions together, or one that is heavier. Of one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._by_partition: dict[int, deque[tuple[T, int]]] = {}  # in the order of their first items
        self._changed = asyncio.Condition()

    async def put(self, partition: int, item: T, weight: int = 1) -> None:
        """Add an item, as soon as there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._held or self._held + weight <= self._limit)
            self._by_partition.setdefault(partition, deque()).append((item, weight))
            self._held += weight
            self._changed.notify_all()

    async def get(self, most: int) -> tuple[int, list[T]]:
        """Return a partition and up to `most` of its items, in order, as soon as there are any; the rest wait anew."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._by_partition)
            partition = next(iter(self._by_partition))
            held = self._by_partition.pop(partition)
            taken = [held.popleft() for _ in range(min(most, len(held)))]
            if held:
                self._by_partition[partition] = held
            self._held -= sum(weight for _, weight in taken)
            self._changed.notify_all()
            return partition, [item for item, _ in taken]
