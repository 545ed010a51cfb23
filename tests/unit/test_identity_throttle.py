"""Failed logins slow an address, not for ever, and not the others."""

from __future__ import annotations

from ingest.identity import throttle
from ingest.identity.throttle import Throttle

SECOND = 1_000_000


def test_the_eleventh_failure_waits_ever_longer_and_is_forgotten() -> None:
    t = Throttle()
    waits = []
    for n in range(20):
        waits.append(t.wait("10.0.0.1", n * SECOND))
        t.failed("10.0.0.1", n * SECOND)
    assert waits[:10] == [0.0] * 10 and waits[10:13] == [0.5, 1.0, 2.0] and waits[-1] == throttle.LAST_WAIT_SECONDS
    assert t.wait("10.0.0.2", 20 * SECOND) == 0
    assert t.wait("10.0.0.1", (20 + throttle.FORGET_SECONDS) * SECOND) == 0


def test_addresses_are_bounded() -> None:
    t = Throttle()
    for _ in range(11):
        t.failed("victim", 0)
    for n in range(throttle.MAX_ADDRESSES):
        t.failed(f"a{n}", 1)
    assert t.wait("victim", 1) == 0 and len(t._failures) == throttle.MAX_ADDRESSES


def test_a_clock_set_back_keeps_nobody_waiting() -> None:
    t, hour = Throttle(), 3600 * SECOND
    for _ in range(12):
        t.failed("10.0.0.1", hour)
    assert t.wait("10.0.0.1", hour) > 0
    assert t.wait("10.0.0.1", 0) == 0
