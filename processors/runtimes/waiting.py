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
    """Up to `limit` items, of all partitions together. Of one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit, self._count = limit, 0
        self._by_partition: dict[int, deque[T]] = {}  # in the order of their first items
        self._changed = asyncio.Condition()

    async def put(self, partition: int, item: T) -> None:
        """Add an item, as soon as there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._count < self._limit)
            self._by_partition.setdefault(partition, deque()).append(item)
            self._count += 1
            self._changed.notify_all()

    async def get(self, most: int) -> tuple[int, list[T]]:
        """Return a partition and up to `most` of its items, in order, as soon as there are any; the rest wait anew."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._count > 0)
            partition = next(iter(self._by_partition))
            held = self._by_partition.pop(partition)
            taken = [held.popleft() for _ in range(min(most, len(held)))]
            if held:
                self._by_partition[partition] = held
            self._count -= len(taken)
            self._changed.notify_all()
            return partition, taken
