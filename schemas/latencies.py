"""How long did things take? Counts by upper bound, kept as plain numbers, for whoever shows them as a histogram.

No library: a proxy, its sealer and a worker of the pipeline count with it, and hand the numbers on to whoever is scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

WORK_US = (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000)
"""Bounds for what one processor does: a decision takes some 16 µs, and a quarter of a second stops everything else."""
WAIT_US = (1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 30_000_000)
"""Bounds for what waits for a disk, a database, brokers, or its turn."""


class Latencies:
    """Durations counted by upper bound (µs); the last count is of what passed all bounds."""

    __slots__ = ("bounds", "counts", "total_us")

    def __init__(self, bounds: Sequence[int] = WAIT_US) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total_us = 0

    def observe(self, us: int) -> None:
        """Count one duration in µs; a clock that was set back makes it 0."""
        us = max(us, 0)
        self.counts[bisect_left(self.bounds, us)] += 1
        self.total_us += us

    def numbers(self) -> tuple[int, ...]:
        """Return the total, then the counts: what `load` takes."""
        return (self.total_us, *self.counts)

    def load(self, numbers: Iterable[int]) -> None:
        """Go on from numbers of the same bounds."""
        self.total_us, *self.counts = numbers

    def cumulative(self) -> list[tuple[str, float]]:
        """Return upper bounds in seconds with the count of all up to each, as Prometheus writes them."""
        return list(zip((*(str(b / 1e6) for b in self.bounds), "+Inf"), accumulate(self.counts), strict=True))
