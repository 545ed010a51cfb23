"""Who may decide on what, and what a decision is bound to (`schemas.approvals`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from schemas.approvals import CLOCK_TOLERANCE, Decider, binding_of, objection, same_binding, same_person, standing, untimely
from schemas.control import ApprovalDecided as Said
from schemas.control import approval_key, decode, encode
from schemas.events import ApprovalRequested, ApproversNeeded, Principal, PrincipalKind
from tests.contract.test_event_versions import GOLDEN

ASKED: ApprovalRequested = next(
    TypeAdapter(ApprovalRequested).validate_json(line)
    for line in (p.values[0] for p in GOLDEN)
    if orjson.loads(line)["type"] == "ApprovalRequested"  # type: ignore[arg-type]
)
BOB, EVE = (Decider(name, "human", ("dba",)) for name in ("bob", "eve"))


def asked(*needs: tuple[str, tuple[str, ...], int], **changes: Any) -> ApprovalRequested:
    found = tuple(ApproversNeeded(rule=rule, groups=groups, count=count) for rule, groups, count in needs)
    return replace(ASKED, needs=found or ASKED.needs, **changes)


def test_people_in_the_groups_asked_for_may_decide() -> None:
    assert objection(ASKED, BOB) == ""
    assert objection(ASKED, replace(BOB, groups=("leads", "x"))) == ""
    assert "dba, leads" in objection(ASKED, replace(BOB, groups=("x",)))
    assert "dba, leads" in objection(ASKED, replace(BOB, groups=()))


@pytest.mark.parametrize("kind", ["agent", "service", "", "Human"])
def test_what_is_not_a_person_may_not(kind: str) -> None:
    assert "only people" in objection(ASKED, replace(BOB, kind=kind))


@pytest.mark.parametrize(
    "name", ["triage-agent", "TRIAGE-agent ", "ana@example.com", "Ana@Example.COM", "lead@example.com", "ana", "LEAD"]
)
def test_nobody_decides_on_their_own_nor_on_what_runs_in_their_name(name: str) -> None:
    request = asked(principal=replace(ASKED.principal, delegation=("lead@example.com", "ana@example.com")))
    assert "their own" in objection(request, replace(BOB, id=name))


def test_nobody_decides_through_somebody_who_acts_for_them() -> None:
    assert "in their own name" in objection(ASKED, replace(BOB, acts_for=("ana@example.com",)))
    assert objection(ASKED, replace(BOB, id=""))
    agent = Principal(id="bot", kind=PrincipalKind.HUMAN, groups=("dba",), on_behalf_of="bob")
    assert objection(ASKED, Decider.of(agent))


def test_a_count_is_of_different_people() -> None:
    two = asked(("r", ("dba",), 2))
    assert standing(two, []).decided is None
    once = standing(two, [(BOB, True, "a"), (replace(BOB, id="BOB"), True, "b")])
    assert once.decided is None and once.missing[0].count == 1 and once.deciders == (BOB,)
    both = standing(two, [(BOB, True, "a"), (EVE, True, "b")])
    assert (both.decided, both.deciders, both.reason, both.missing) == (True, (BOB, EVE), "b", ())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("dave", "Dave@example.com", True),
        ("DAVE@example.com", "dave", True),
        ("\uff44ave", "dave", True),  # a full-width d
        ("dave", "dave ", True),
        ("da\u200bve", "Dave@example.com", True),  # with what cannot be seen
        ("dave", "\u2066dave\u2069", True),
        ("dave@example.com", "dave@example.org", False),
        ("dave", "dave.k@example.com", False),
        ("dave", "david", False),
        ("", "@example.com", False),
    ],
)
def test_names_that_may_be_one_persons_count_once(one: str, other: str, same: bool) -> None:
    assert same_person(one, other) is same is same_person(other, one)
    two = asked(("r", ("dba",), 2))
    if one and other:
        votes = [(replace(BOB, id=name), True, "x") for name in (one, other)]
        assert (standing(two, votes).decided is None) is same


def test_every_rule_must_be_satisfied_and_one_person_may_serve_several() -> None:
    both = asked(("a", ("dba",), 1), ("b", ("security",), 1))
    assert standing(both, [(BOB, True, "")]).missing[0].rule == "b"
    assert standing(both, [(replace(BOB, groups=("dba", "security")), True, "")]).decided is True


def test_one_denial_ends_it_and_the_ineligible_change_nothing() -> None:
    outsider, own = replace(EVE, groups=("x",)), replace(EVE, id=ASKED.principal.id)
    request = asked(("r", ("dba",), 2))
    assert standing(request, [(outsider, False, ""), (own, True, ""), (BOB, True, "")]).missing[0].count == 1
    no = standing(request, [(BOB, True, "fine"), (EVE, False, "not today"), (EVE, True, "")])
    assert (no.decided, no.deciders, no.reason) == (False, (EVE,), "not today")


def test_a_request_that_asks_for_nobody_is_never_approved() -> None:
    assert standing(replace(ASKED, needs=()), [(BOB, True, "")]).decided is None


def test_a_decision_counts_from_the_request_until_it_expires() -> None:
    at, end = ASKED.at, ASKED.expires_at
    assert untimely(ASKED, at + 1, at + 2) == ""
    assert untimely(ASKED, at - CLOCK_TOLERANCE, at + 2) == ""
    assert "clock" in untimely(ASKED, at - CLOCK_TOLERANCE - 1, at + 2)
    assert "clock" in untimely(ASKED, at + 1, at - CLOCK_TOLERANCE - 1), "the proxy's own clock went back"
    assert "expired" in untimely(ASKED, end - 1, end)


CHANGES: dict[str, dict[str, Any]] = {
    "id": {"approval_id": "other"},
    "principal": {"principal": replace(ASKED.principal, id="x")},
    "kind": {"principal": replace(ASKED.principal, kind=PrincipalKind.HUMAN)},
    "behalf": {"principal": replace(ASKED.principal, on_behalf_of="x")},
    "chain": {"principal": replace(ASKED.principal, delegation=("x",))},
    "database": {"database": replace(ASKED.database, alias="x")},
    "environment": {"database": replace(ASKED.database, environment="x")},
    "user": {"db_user": "x"},
    "text": {"text_hash": "0" * 64},
    "shape": {"fingerprint": "x"},
    "value": {"params": ("text:0000000000000000",)},
    "values": {"params": (*ASKED.params, "int:1")},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_binding_is_over_everything_that_was_asked(change: dict[str, Any]) -> None:
    one, other = binding_of(ASKED), binding_of(replace(ASKED, **change))
    assert same_binding(one, binding_of(replace(ASKED)))
    assert not same_binding(one, other)


def test_nothing_is_bound_to_nothing() -> None:
    assert not same_binding("", "")


def test_two_who_decide_at_once_do_not_replace_each_other() -> None:
    said = [
        Said(at=1, actor=p, approval_id="a", approved=True, principal=p, kind="human", groups=("dba",)) for p in ("bob", "eve")
    ]
    assert len({m.key for m in said}) == 2
    assert all(m.key.startswith(approval_key("a") + "/") for m in said)
    read = decode(said[0].key, encode(said[0]))
    assert isinstance(read, Said) and Decider.who_said(read) == BOB
