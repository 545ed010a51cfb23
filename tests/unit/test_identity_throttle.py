"""Failed logins slow an address, not for ever, and not the others."""

from __future__ import annotations

from ingest.identity import throttle
from ingest.identity.throttle import Refusals, Throttle, origin

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


def test_so_many_of_an_address_wait_at_a_time() -> None:
    t = Throttle()
    assert all(t.enter("10.0.0.1") for _ in range(throttle.MAX_WAITING))
    assert not t.enter("10.0.0.1")
    assert t.enter("10.0.0.2")
    t.leave("10.0.0.1")
    assert t.enter("10.0.0.1")
    t.leave("10.0.0.2")
    assert set(t._waiting) == {"10.0.0.1"}


def test_who_has_a_network_of_ipv6_has_one_address() -> None:
    assert origin("2001:db8:1:2:a::1") == origin("2001:db8:1:2:ffff::%eth0") == "2001:db8:1:2::"
    assert origin("2001:db8:1:3::1") != origin("2001:db8:1:2::1")
    assert origin("::ffff:10.0.0.1") == "10.0.0.1"
    assert (origin("10.0.0.1"), origin(""), origin("unix")) == ("10.0.0.1", "", "unix")
    t = Throttle()
    for n in range(11):
        t.failed(f"2001:db8::{n:x}", 0)
    assert t.wait("2001:db8::ffff", 0) > 0


def test_refusals_of_one_address_are_told_one_by_one_and_then_together() -> None:
    r = Refusals()
    own = [r.own("10.0.0.1", "startup_failed", n) for n in range(throttle.OWN_EVENTS + 50)]
    assert own == [True] * throttle.OWN_EVENTS + [False] * 50
    assert r.own("10.0.0.2", "startup_failed", 0)
    assert r.due(10 * SECOND) == [("10.0.0.1", "startup_failed", 50)]
    r.own("10.0.0.1", "early_data", 10 * SECOND)
    assert r.due(10 * SECOND + 1) == []
    assert r.due(11 * SECOND) == [("10.0.0.1", "early_data", 1)]
    assert r.own("10.0.0.1", "early_data", (throttle.OWN_SECONDS + 1) * SECOND), "a minute later they are again told one by one"


def test_refusals_of_many_addresses_are_not_told_apart() -> None:
    r = Refusals()
    for n in range(throttle.MAX_ADDRESSES + 100):
        r.own(f"2001:db8:{n:x}::1", "too_many_connections", 0)
    assert r.due(SECOND) == [("", "too_many_connections", 100)]
    for n in range(3 * throttle.MAX_ADDRESSES):
        r.own(f"2001:db9:1:{n:x}::1", "too_many_connections", SECOND)
    assert len(r._own) + len(r._together) <= 2 * throttle.MAX_ADDRESSES + 1
    assert r.due(3 * SECOND) == [("", "too_many_connections", 3 * throttle.MAX_ADDRESSES)]
    assert r.due((throttle.OWN_SECONDS + 2) * SECOND) == []
    assert r.own("10.0.0.9", "startup_failed", (throttle.OWN_SECONDS + 2) * SECOND)
    assert len(r._own) == 1
