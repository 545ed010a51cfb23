"""How long must an address wait that guesses? Failed logins of one address slow its next refusals, ever more, up to a limit.

Pure: the time is passed in. Nobody else is slowed, let alone locked out: a guesser next to a good client (one NAT, one pool, one
proxy that ends TLS) must not shut it out, so a good credential goes on at once. No token can be guessed anyway; what slowing does
is to make trying loud and cheap for us. Of one address so many refusals wait; further ones, and those that nobody waits for, are
told together.

So is what is refused before any credential was looked at, which costs a stranger nothing: the first of an address are events of
their own, further ones are counted, and told together each second (`Refusals`). Of IPv6 an address is what one subscriber has
whole, a /64.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from ipaddress import AddressValueError, IPv6Address

FREE_FAILURES = 10
"""Failures within FORGET_SECONDS that cost nothing: a person mistypes, and libpq then tries again without TLS."""
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.5, 15.0
FORGET_SECONDS = 300
MAX_ADDRESSES = 10_000
"""Addresses remembered; past it the one that failed longest ago is forgotten."""


MAX_WAITING = 500
"""Refusals of one address that wait at a time: some kilobytes each, and one event each when their wait is over."""
OWN_EVENTS = 100
"""Refusals of one address that are events of their own, in OWN_SECONDS."""
OWN_SECONDS = 60
TOGETHER_SECONDS = 1
MAX_TOLD = 50
"""Events of refusals that are told together, at once: where more addresses are refused they are not told apart."""


def origin(address: str) -> str:
    """Return what counts as one address (without its port): of IPv6 the network of 64 bits."""
    try:
        six = IPv6Address(address.partition("%")[0])
    except AddressValueError:
        return address
    return str(six.ipv4_mapped or IPv6Address(int(six) >> 64 << 64))


class Throttle:
    """Counts failures by client address (without its port)."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def failed(self, address: str, now: int) -> None:
        """A login from `address` failed at `now` (µs)."""
        address = origin(address)
        count, _ = self._current(address, now)
        self._failures[address] = (count + 1, now)
        self._failures.move_to_end(address)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def wait(self, address: str, now: int) -> float:
        """Return the seconds after which the next failed login from `address` is refused."""
        count, _ = self._current(origin(address), now)
        if count < FREE_FAILURES:
            return 0.0
        return float(min(FIRST_WAIT_SECONDS * 2 ** min(count - FREE_FAILURES, 10), LAST_WAIT_SECONDS))

    def enter(self, address: str) -> bool:
        """A refusal of `address` begins to wait; return False if too many do. Each that does must `leave`."""
        address = origin(address)
        if self._waiting[address] >= MAX_WAITING:
            return False
        self._waiting[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Its wait is over."""
        address = origin(address)
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]

    def _current(self, address: str, now: int) -> tuple[int, int]:
        count, last = self._failures.get(address, (0, now))
        return (count, last) if 0 <= now - last <= FORGET_SECONDS * 1_000_000 else (0, now)


class Refusals:
    """Which refusals are events of their own, and which are told together."""

    def __init__(self) -> None:
        self._own: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._together: Counter[tuple[str, str]] = Counter()
        self._told_at = 0

    def own(self, address: str, reason: str, now: int) -> bool:
        """Tell whether a refusal of `address` at `now` (µs) is an event of its own; otherwise it is counted here."""
        address = origin(address)
        since, count = self._own.get(address, (now, 0))
        if not 0 <= now - since <= OWN_SECONDS * 1_000_000:
            self._own.pop(address)
            since, count = now, 0
        if count < OWN_EVENTS and (address in self._own or len(self._own) < MAX_ADDRESSES):
            self._own[address] = (since, count + 1)
            return True
        self.counted(address, reason)
        return False

    def counted(self, address: str, reason: str) -> None:
        """Count a refusal of `address` that is told together with others."""
        address = origin(address)
        if len(self._together) >= MAX_ADDRESSES:
            address = ""
        self._together[address, reason] += 1

    def due(self, now: int, last: bool = False) -> list[tuple[str, str, int]]:
        """Return what is to be told together at `now` (µs): (address or "", reason, how many). `last`: all there is."""
        while self._own and not 0 <= now - next(iter(self._own.values()))[0] <= OWN_SECONDS * 1_000_000:
            self._own.popitem(last=False)
        if not self._together or (not last and 0 <= now - self._told_at < TOGETHER_SECONDS * 1_000_000):
            return []
        self._told_at = now
        found, self._together = self._together, Counter()
        if len(found) > MAX_TOLD:
            merged: Counter[tuple[str, str]] = Counter()
            for (_, reason), count in found.items():
                merged["", reason] += count
            found = merged
        return [(address, reason, count) for (address, reason), count in found.items()]
