"""CancelRequest end to end: keys given to clients are ours; each maps to the server's own key of that session.

The process id a client sees holds the worker's index in its upper bits, so that a request that reaches another worker
of the same port is handed over through that worker's socket in the run directory. Keys are compared in constant time;
a request that matches nothing is dropped without a word, as the server does.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

WORKER_SHIFT = 24
_COUNTER_MASK = (1 << WORKER_SHIFT) - 1


@dataclass(frozen=True, slots=True)
class CancelTarget:
    """Whom a key cancels: opaque to this module except for the key itself."""

    key: bytes
    cancel: Callable[[], None]


class CancelKeys:
    """The keys one worker has given out."""

    def __init__(self, worker: int, randomness: Callable[[int], bytes]) -> None:
        self._worker = worker
        self._randomness = randomness
        self._targets: dict[int, CancelTarget] = {}
        self._counter = 0

    def issue(self, key_bytes: int, cancel: Callable[[], None]) -> tuple[int, bytes]:
        """Return (process id, key of `key_bytes` bytes) for a new session; raise RuntimeError past 2**24 open ones."""
        for _ in range(_COUNTER_MASK):
            self._counter = (self._counter + 1) & _COUNTER_MASK
            pid = self._worker << WORKER_SHIFT | self._counter
            if self._counter and pid not in self._targets:
                key = self._randomness(key_bytes)
                self._targets[pid] = CancelTarget(key, cancel)
                return pid, key
        raise RuntimeError("no cancel key is free")

    def forget(self, pid: int) -> None:
        """The session is over."""
        self._targets.pop(pid, None)

    def owner(self, pid: int) -> int:
        """Return the index of the worker that gave out this process id."""
        return pid >> WORKER_SHIFT

    def request(self, pid: int, key: bytes) -> bool:
        """Cancel what the key stands for; return False where somebody's session is named and the key is not its own.

        Of a session that is over nobody is told: its client cancelled too late.
        """
        target = self._targets.get(pid)
        if target is None:
            return True
        if not hmac.compare_digest(target.key, key):
            return False
        target.cancel()
        return True
