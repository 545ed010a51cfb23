"""Whom a suspension bars: every name that may be the same person's, whoever acts for them, and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.approvals import person, same_person
from schemas.control import PrincipalResumed, PrincipalSuspended, Unreadable, principal_key, session_key
from schemas.events import Principal, PrincipalKind
from schemas.suspensions import Suspensions, involved

NOW = 1_790_000_000_000_000


def suspended(*names: str, until: int = 0) -> Suspensions:
    made = Suspensions()
    for name in names:
        message = PrincipalSuspended(at=NOW, actor="sam", principal=name, expires_at=until)
        assert made.take(message.key, message)
    return made


@pytest.mark.parametrize(
    ("named", "barred", "free"),
    [
        ("dana", ("dana", "DANA", " dana ", "Dana@example.com", "dana@example.org", "ｄａｎａ"), ("dan", "dana2", "")),
        ("Dana@example.com", ("dana", "dana@EXAMPLE.com"), ("dana@example.org", "erin@example.com", "@example.com")),
        ("spiffe://prod/ns/x", ("spiffe://prod/ns/x",), ("spiffe://prod/ns", "x")),
        ("@odd", ("@odd",), ("odd", "", "@other")),
        ("", ("",), ("@odd", "dana")),
    ],
)  # fmt: skip
def test_names_that_may_be_one_persons_are_barred_together(named: str, barred: tuple[str, ...], free: tuple[str, ...]) -> None:
    held = suspended(named)
    assert [held.barring([name], NOW) for name in barred] == list(barred)
    assert [held.suspending(name, NOW) for name in free] == [[]] * len(free)


NAMES = st.text("aB@.ßＡ ", max_size=6)


@given(NAMES, NAMES)
def test_they_are_found_by_what_they_have_in_common(one: str, other: str) -> None:
    if same_person(one, other):
        assert person(one) == person(other)
        assert suspended(one).suspending(other, NOW) == [one]
    else:
        assert suspended(one).suspending(other, NOW) == []


def test_whoever_acts_for_somebody_is_barred_with_them() -> None:
    who = Principal(
        id="agent", kind=PrincipalKind.AGENT, groups=(), auth_method="jwt", credential_id="", on_behalf_of="dana@example.com",
        delegation=("planner", "dana@example.com"),
    )  # fmt: skip
    assert involved(who) == ("agent", "planner", "dana@example.com")
    assert suspended("dana").barring(involved(who), NOW) == "dana@example.com"
    assert suspended("planner").barring(involved(who), NOW) == "planner"
    assert suspended("dan").barring(involved(who), NOW) == ""


def test_each_name_is_resumed_by_itself() -> None:
    held = suspended("dana", "dana@example.com")
    resumed = PrincipalResumed(at=NOW, actor="sam", principal="dana@example.com")
    assert not held.take(resumed.key, resumed)
    assert held.suspending("dana@example.com", NOW) == ["dana"]
    assert not held.take(principal_key("dana"), None)
    assert held.barring(["dana"], NOW) == ""


def test_it_ends_by_its_time_and_what_cannot_be_read_does_not() -> None:
    held = suspended("dana", until=NOW + 1)
    assert held.barring(["dana"], NOW) == "dana" and held.barring(["dana"], NOW + 1) == ""
    assert held.take(principal_key("eve"), Unreadable(principal_key("eve"), "not JSON"))
    assert held.barring(["eve"], NOW) == "eve"
    assert not held.take(session_key("s1"), Unreadable(session_key("s1"), "not JSON"))
    held.clear()
    assert held.barring(["eve"], NOW) == ""
