"""How long must an address wait that guesses? Failed logins of one address slow its next answers, ever more, up to a limit.

Pure: the time is passed in. Nothing is locked out: a guesser next to a good client (one NAT, one pool) must not shut it out, and
a token cannot be guessed anyway; what slowing does is to make trying loud and cheap for us.
"""

from __future__ import annotations

from collections import OrderedDict

FREE_FAILURES = 10
"""Failures within FORGET_SECONDS that cost nothing: a person mistypes, and libpq then tries again without TLS."""
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.5, 15.0
FORGET_SECONDS = 300
MAX_ADDRESSES = 10_000
"""Addresses remembered; past it the one that failed longest ago is forgotten."""


class Throttle:
    """Counts failures by client address (without its port)."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def failed(self, address: str, now: int) -> None:
        """A login from `address` failed at `now` (µs)."""
        count, _ = self._current(address, now)
        self._failures[address] = (count + 1, now)
        self._failures.move_to_end(address)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def wait(self, address: str, now: int) -> float:
        """Return the seconds that the next login from `address` must wait before it is looked at."""
        count, _ = self._current(address, now)
        if count < FREE_FAILURES:
            return 0.0
        return float(min(FIRST_WAIT_SECONDS * 2 ** min(count - FREE_FAILURES, 10), LAST_WAIT_SECONDS))

    def _current(self, address: str, now: int) -> tuple[int, int]:
        count, last = self._failures.get(address, (0, now))
        return (count, last) if 0 <= now - last <= FORGET_SECONDS * 1_000_000 else (0, now)
