"""Who acts for others may do what it may itself and what each of those may: the strictest decides."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ingest.guard.guard import Guard
from ingest.identity.tokens import Credential, Refusal, TokenStore
from ingest.net.control import Change
from ingest.net.grants import GrantBook
from processors.policy.context import DEFAULTS, SUBJECT
from schemas.control import GrantChanged
from schemas.events import PrincipalKind
from tests.support.pg_conversation import Conversation
from tests.unit.test_guard_grants import RULE, _Control, statement
from tests.unit.test_pg_guard import make_policy

AGENT = {"principal.id": "bot", "principal.kind": "agent", "principal.on_behalf_of": "ana", "principal.delegation": ["ana"]}
ANA = {"principal.id": "ana", "principal.kind": "human"}


def rule(name: str, effect: str, when: str, **members: Any) -> dict[str, Any]:
    approvers = {"approvers": {"groups": [f"{name}-owners"]}} if effect == "hold" else {}
    return {"id": name, "effect": effect, "when": when, "reason": f"{name}.", **approvers, **members}


def values(**known: Any) -> dict[str, Any]:
    return {**{name: DEFAULTS[name] for name in SUBJECT}, "database.alias": "shop", **known}


def judged(guard: Guard, agent: dict[str, Any], *behalf: dict[str, Any], sql: str = "SELECT 1") -> tuple[str, list[str], str]:
    session = Conversation().session
    found = guard.session(values(**agent), "s", session, 0, [values(**b) for b in behalf]).judge(statement(sql), {}, 1)
    decision = orjson.loads(found.fragment)
    return decision["verdict"], decision["policies"], found.hint


def test_what_is_denied_to_either_is_denied_and_the_event_says_to_whom() -> None:
    guard = Guard(make_policy([rule("no-ana", "deny", "principal.id == 'ana'"), rule("no-bot", "deny", "principal.id == 'bot'")]))
    assert judged(guard, AGENT)[0:2] == ("deny", ["no-bot"])
    assert judged(guard, {**AGENT, "principal.id": "other"}, ANA)[0:2] == ("deny", ["behalf:no-ana"])
    assert "It holds for ana, too." in judged(guard, {**AGENT, "principal.id": "other"}, ANA)[2]
    assert judged(guard, AGENT, ANA)[0:2] == ("deny", ["no-bot", "behalf:no-ana"])
    assert judged(guard, {**AGENT, "principal.id": "other"}, {**ANA, "principal.id": "kim"})[0:2] == ("allow", [])


def test_what_needs_to_be_allowed_needs_it_for_both() -> None:
    rules = [rule("bots", "allow", "principal.kind == 'agent'"), rule("dba", "allow", "'dba' in principal.groups")]
    guard = Guard(make_policy(rules, default="deny"))
    assert judged(guard, AGENT, ANA)[0] == "deny", "the agent may, ana may not"
    assert judged(guard, AGENT, {**ANA, "principal.groups": ["dba"]})[0] == "allow"
    assert judged(guard, {**AGENT, "principal.kind": "service"}, {**ANA, "principal.groups": ["dba"]})[0] == "deny"


@pytest.mark.parametrize(("own", "hers", "comes_to"), [
    ("allow", "allow", "allow"), ("alert", "allow", "alert"), ("allow", "alert", "alert"), ("mask", "alert", "mask"),
    ("alert", "hold", "hold"), ("hold", "mask", "hold"), ("hold", "deny", "deny"), ("deny", "hold", "deny"),
])  # fmt: skip
def test_the_strictest_wins(own: str, hers: str, comes_to: str) -> None:
    rules = [rule("own", own, "principal.id == 'bot'"), rule("hers", hers, "principal.id == 'ana'")]
    verdict, policies, _ = judged(Guard(make_policy(rules)), AGENT, ANA)
    assert (verdict, policies) == (comes_to, ["own", "behalf:hers"])


def test_a_hold_of_both_needs_the_approvers_of_both() -> None:
    rules = [rule("own", "hold", "principal.id == 'bot'"), rule("hers", "hold", "principal.id == 'ana'")]
    session = Conversation().session
    guard = Guard(make_policy(rules)).session(values(**AGENT), "s", session, 0, [values(**ANA)])
    found = guard.judge(statement("SELECT 1"), {}, 1)
    assert [r.id for r in found.holds.holds] == ["own", "hers"]


def test_limits_of_both_hold_and_counters_are_judged_for_both() -> None:
    limits = [
        {"id": "people", "when": "principal.kind == 'human'", "statement_rows": 10, "reason": "x"},
        {"id": "agents", "when": "principal.kind == 'agent'", "statement_seconds": 10, "reason": "x"},
        {"id": "few", "when": "principal.id == 'ana'", "session_statements": 5, "reason": "x"},
    ]
    guard = Guard(make_policy([], limits=limits))
    session = Conversation().session
    both = guard.session(values(**AGENT), "s", session, 0, [values(**ANA)])
    assert {b.limit for b in both.judge(statement("SELECT 1"), {}, 1).bounds} == {"people", "agents"}
    session.statements = 5
    assert orjson.loads(both.judge(statement("SELECT 1"), {}, 2).fragment)["policies"] == [
        "limit:agents",
        "behalf:few",
        "behalf:limit:people",
    ]
    session.statements = 4
    assert not both.judge(statement("SELECT 1"), {}, 3).stops


def test_decisions_for_different_people_are_not_mixed_up_in_memory() -> None:
    guard = Guard(make_policy([rule("no-ana", "deny", "principal.id == 'ana'")]))
    for _ in range(2):
        assert judged(guard, AGENT, {**ANA, "principal.id": "kim"})[0] == "allow"
        assert judged(guard, AGENT, ANA)[0] == "deny"
        assert judged(guard, AGENT)[0] == "allow"


def test_a_grant_to_the_person_is_not_one_to_the_agent_unless_it_says_so() -> None:
    control = _Control()
    guard = Guard(make_policy([RULE]))
    guard.grants = GrantBook(control, 60.0)  # type: ignore[arg-type]
    read = "SELECT a FROM restricted.pay"

    def tell(**members: Any) -> None:
        grant = GrantChanged(at=0, actor="root", grant_id="g1", verbs=("select",), objects=("restricted.pay",), **members)
        control.say(Change(grant.key, grant))

    tell(principal="ana")
    assert judged(guard, AGENT, ANA, sql=read)[0] == "deny"
    tell(principal="bot")
    assert judged(guard, AGENT, ANA, sql=read)[0] == "deny", "the agent has it, and ana does not"
    tell(principal="ana", delegated=True)
    assert judged(guard, AGENT, ANA, sql=read)[0:2] == ("allow", ["grant:g1"])


def test_everybody_in_the_chain_is_judged_with_the_groups_that_are_known() -> None:
    chain = {"delegation": ("mid", "ana"), "behalf_groups": ("a", "b")}
    mid, ana = Credential("t", "bot", PrincipalKind.AGENT, "ana", ("a",), frozenset(), 0, **chain).behalf()  # type: ignore[arg-type]
    agent, human = PrincipalKind.AGENT, PrincipalKind.HUMAN
    assert (mid.id, mid.kind, mid.on_behalf_of, mid.delegation, mid.groups) == ("mid", agent, "ana", ("ana",), ("a",))
    assert (ana.id, ana.kind, ana.on_behalf_of, ana.delegation, ana.groups) == ("ana", human, "", (), ("a", "b"))
    assert Credential("t", "ana", PrincipalKind.HUMAN, "", (), frozenset(), 0).behalf() == ()


def test_a_token_for_somebody_ends_with_the_last_of_their_own(tmp_path: Any) -> None:
    now = 1_000_000
    store = TokenStore(tmp_path / "identity.db", lambda: now, lambda n: bytes([len(ids)]) * n)
    ids: list[str] = []

    def create(principal: str, kind: str, **options: Any) -> str:
        ids.append("")
        ids[-1], token = store.create(principal, kind, created_by="test", **options)
        return token

    bot = create("bot", "agent", on_behalf_of="ana", groups=["g"])
    found = store.verify(bot, now)
    assert isinstance(found, Credential) and found.behalf_groups is None, "nothing is known of ana"
    create("ana", "human", groups=["x"], ttl_seconds=10)
    create("ana", "human", groups=["y", "x"])
    create("ana", "agent", on_behalf_of="kim", groups=["z"])
    found = store.verify(bot, now)
    assert isinstance(found, Credential) and sorted(found.behalf_groups or ()) == ["x", "y"]
    found = store.verify(bot, now + 10_000_000)
    assert isinstance(found, Credential) and found.behalf_groups == ("y", "x"), "one of hers has expired"
    store.revoke(ids[2], "test")
    assert isinstance(store.verify(bot, now), Credential)
    assert store.verify(bot, now + 10_000_000) is Refusal.PRINCIPAL_ENDED
    assert store.standing(ids[0], now + 10_000_000) is Refusal.PRINCIPAL_ENDED
    assert store.standing(ids[0], now) is None
    store.close()
