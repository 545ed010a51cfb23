"""Look for the next message at once instead of sleeping until it comes: for some microseconds, where that pays.

To be woken up costs a process 5 to 50 µs, most on a virtual machine, and each statement needs it twice: for the server's answer
and for the client's next statement. So while one connection alone is busy, the event loop polls after it sent something, instead
of sleeping (`proxy.busy_poll_us`). Nothing polls for a connection that is idle; with several busy ones the loop hardly sleeps,
and a poll would take the processor from the server. Whether it pays is learned from what came of it, apart for servers and
clients: who answers later than the time set is soon not polled for any more.

A module of its own so that `make compiled` can compile it: it is called twice a statement.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

TRUST: Final = 64
"""What a run of polls that paid is worth at most: each gives 1."""
MISSED: Final = 8
"""What a poll takes away that ended for nothing: polling goes on while eight of nine pay."""
REST: Final = 256
"""How often it is not polled once nothing is left; then one poll tries again."""

CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")
"""What a container may use: `quota period` in µs, or `max period` (cgroup v2)."""


def processors(cpu_max: Path = CPU_MAX) -> float:
    """Return how many processors this process may use, by its affinity and its control group's quota."""
    found = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    try:
        quota, period = cpu_max.read_text().split()
        return found if quota == "max" else min(found, int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return found


class BusyPoll:
    """Keeps an event loop from sleeping for up to `microseconds` after a connection sent something; 0: never."""

    def __init__(self, loop: asyncio.AbstractEventLoop, microseconds: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._soon = loop.call_soon
        self._clock = clock
        self._longest: int = microseconds * 1000
        self._last: object = None
        self._for_server = False
        self._until: int = 0
        """Until when it is polled; 0 while it is not."""
        self._scheduled = False
        self._trust_server: int = TRUST
        self._trust_client: int = TRUST

    @property
    def polling(self) -> bool:
        """Whether the loop is kept from sleeping now."""
        return self._until != 0

    def sent(self, connection: object, to_server: bool) -> None:
        """A connection sent something to its server, or to its client: poll for what comes next."""
        if not self._longest:
            return
        if self._until:
            self._until = 0
            if connection is self._last:
                self._learn(1)
        if connection is not self._last:
            self._last = connection
            return
        self._for_server = to_server
        if (self._trust_server if to_server else self._trust_client) <= 0:
            self._learn(-1)
            return
        self._until = self._clock() + self._longest
        if not self._scheduled:
            self._scheduled = True
            self._soon(self._poll)

    def _poll(self) -> None:
        """Run in each turn of the loop; that something is to be run keeps the loop from sleeping."""
        if self._until and self._clock() < self._until:
            self._soon(self._poll)
            return
        self._scheduled = False
        if self._until:
            self._until = 0
            self._learn(-MISSED)

    def _learn(self, worth: int) -> None:
        """Take down that a poll paid (1), ended for nothing (-MISSED), or was left out (-1)."""
        trust = (self._trust_server if self._for_server else self._trust_client) + worth
        if trust > TRUST:
            trust = TRUST
        elif trust <= -REST:
            trust = 1
        if self._for_server:
            self._trust_server = trust
        else:
            self._trust_client = trust
