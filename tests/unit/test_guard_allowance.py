"""Nobody floods approvers: so many requests open, so many an hour, and agents of one person count as one."""

from __future__ import annotations

import pytest

from ingest.guard import allowance as module
from ingest.guard.allowance import HOUR, MAX_HOURLY, MAX_OPEN, Allowance
from schemas.events import Principal, PrincipalKind

MINUTE = 60_000_000
START = 1_800_000_000_000_000


def person(name: str = "ana") -> Principal:
    return Principal(id=name, kind=PrincipalKind.HUMAN)


def agent(name: str, person: str = "ana") -> Principal:
    return Principal(id=name, kind=PrincipalKind.AGENT, on_behalf_of=person, delegation=(person,))


def limit(allowance: Allowance, who: Principal, now: int) -> str:
    found = allowance.exceeded(who, now)
    return found.limit if found else ""


def test_so_many_are_open_until_one_ends_or_expires() -> None:
    allowance = Allowance(2, 100)
    allowance.raised(person(), "a1", START, START + 15 * MINUTE)
    assert not limit(allowance, person(), START)
    allowance.raised(person(), "a2", START, START + 30 * MINUTE)
    assert limit(allowance, person(), START) == MAX_OPEN and not limit(allowance, person("bob"), START)
    allowance.ended("a1")
    allowance.ended("a1")
    allowance.ended("of nobody")
    assert not limit(allowance, person(), START)
    allowance.raised(person(), "a3", START, START + 30 * MINUTE)
    assert limit(allowance, person(), START + 30 * MINUTE - 1) == MAX_OPEN
    assert not limit(allowance, person(), START + 30 * MINUTE), "one whose end was never heard of does not count for ever"


def test_so_many_are_raised_within_an_hour_whatever_became_of_them() -> None:
    allowance = Allowance(5, 3)
    for n in range(3):
        allowance.raised(person(), f"a{n}", START + n * MINUTE, START + HOUR)
        allowance.ended(f"a{n}")
    assert limit(allowance, person(), START + 3 * MINUTE) == MAX_HOURLY
    assert limit(allowance, person(), START + HOUR - 1) == MAX_HOURLY and not limit(allowance, person(), START + HOUR)
    allowance.raised(person(), "a9", START + HOUR, START + 2 * HOUR)
    assert limit(allowance, person(), START + HOUR) == MAX_HOURLY


def test_more_agents_are_not_more_requests_and_take_none_from_their_person() -> None:
    allowance = Allowance(2, 100)
    allowance.raised(agent("bot-1"), "a1", START, START + HOUR)
    allowance.raised(agent("bot-2"), "a2", START, START + HOUR)
    assert limit(allowance, agent("bot-3"), START) == MAX_OPEN
    assert not limit(allowance, person("ana"), START) and not limit(allowance, agent("bot-1", "bob"), START)


def test_a_clock_that_was_ahead_locks_nobody_out() -> None:
    allowance = Allowance(5, 1)
    allowance.raised(person(), "a1", START + 365 * 24 * HOUR, START + 366 * 24 * HOUR)
    allowance.ended("a1")
    assert not limit(allowance, person(), START)


def test_what_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ASKERS", 10)
    allowance = Allowance(1, 1)
    for n in range(1000):
        allowance.raised(person(f"p{n}"), f"a{n}", START, START + HOUR)
    assert len(allowance._askers) <= 10 and len(allowance._of) <= 10
    assert limit(allowance, person("p999"), START) == MAX_OPEN
