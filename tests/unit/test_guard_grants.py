"""What a grant gives and does not give, to whom, until when, and what a session's decisions make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from ingest.guard.guard import Guard
from ingest.guard.rights import LOOK_AGAIN_US, Held
from ingest.net.control import Change
from ingest.net.grants import GrantBook
from processors.policy.context import DEFAULTS, SUBJECT
from processors.policy.grants import given, matches
from processors.statements import Analyser, Lexing, Statement, Tokenizer
from schemas.control import GrantChanged, Unreadable, decode, encode
from schemas.events import Danger, StatementFlag
from tests.support.pg_conversation import Conversation
from tests.unit.test_pg_guard import make_policy

RULE = {
    "id": "restricted",
    "effect": "deny",
    "when": 'statement.objects.exists(o, o.startsWith("restricted.") && !(o in grant.objects))',
    "reason": "Ask for a grant.",
}


def grant(**members: Any) -> GrantChanged:
    base: dict[str, Any] = {"at": 0, "actor": "root", "grant_id": "g1", "principal": "ana", "verbs": ("select",)}
    return GrantChanged(**{**base, "objects": ("restricted.pay",), **members})


def statement(sql: str) -> Statement:
    return Analyser(Tokenizer(bytes(32))).analyse(sql.encode(), Lexing(search_path=("public",))).statements[0]


def objects(sql: str, *grants: GrantChanged) -> tuple[str, ...]:
    return given(grants, statement(sql).facts, ()).objects


def test_an_object_is_covered_for_the_verbs_of_the_grant_and_no_other() -> None:
    assert objects("SELECT a FROM restricted.pay", grant()) == ("restricted.pay",)
    assert objects("SELECT a FROM restricted.pay JOIN restricted.other USING (a)", grant()) == ("restricted.pay",)
    assert objects("DELETE FROM restricted.pay WHERE a = 1", grant()) == ()
    assert objects("WITH d AS (DELETE FROM x.y RETURNING 1) SELECT a FROM restricted.pay", grant()) == ()
    assert objects("SELECT a FROM restricted.pay") == ()
    both = (grant(), grant(grant_id="g2", verbs=("delete",), objects=("restricted.other",)))
    assert objects("SELECT a FROM restricted.pay, restricted.other", *both) == ("restricted.pay",), "grants do not mix"


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("*", "?.pay", True), ("*", "a.b", True), ("a.*", "a.b", True), ("a.*", "ab.c", False), ("a.*", "a.b.c", False),
        ("?.pay", "?.pay", False), ("?.*", "?.pay", False), ("a.b", "a.b", True), ("a.b", "a.bc", False), ("a.b", "A.B", False),
        ("*.b", "a.b", False), ("", "a.b", False), (".*", ".b", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, name: str, covered: bool) -> None:
    assert matches(pattern, name) is covered


def test_what_cannot_be_read_is_covered_by_a_grant_for_everything_alone() -> None:
    plain = statement("SELECT a FROM restricted.pay").facts
    assert given([grant(objects=("restricted.*",))], plain, ()).objects == ("restricted.pay",)
    for facts in (
        replace(plain, dangers=(Danger.UNKNOWN_CODE,)),
        replace(plain, dangers=(Danger.OPAQUE,)),
        replace(plain, flags=(StatementFlag.UNPARSED,)),
    ):
        assert given([grant(objects=("restricted.*",))], facts, ()).objects == ()
        assert "restricted.pay" in given([grant(verbs=("*",), objects=("*",))], facts, ()).objects


def test_classes_are_given_only_where_every_object_is_covered() -> None:
    gives = grant(classes=("email",))
    one, two = statement("SELECT a FROM restricted.pay").facts, statement("SELECT a FROM restricted.pay, x.y").facts
    assert given([gives], one, ("email", "phone")).classes == ("email",)
    assert given([gives], two, ("email",)).classes == ()
    assert given([gives], statement("SELECT 1").facts, ("email",)).classes == ()
    assert given([grant(classes=("*",), objects=("*",))], two, ("email", "phone")).classes == ("email", "phone")
    assert given([grant()], one, ("email",)).classes == ()


class _Control:
    """The part of `Control` that a book uses; everything about time and reach is set by the test."""

    def __init__(self) -> None:
        self.stale_seconds = 0.0

    def subscribe(self, callback: Any) -> None:
        self.say = callback

    def tell(self, message: GrantChanged) -> None:
        assert decode(message.key, encode(message)) == message
        self.say(Change(message.key, message))


@pytest.fixture
def control() -> _Control:
    return _Control()


@pytest.fixture
def book(control: _Control) -> GrantBook:
    return GrantBook(control, 60.0)  # type: ignore[arg-type]


def ids(held: Held) -> list[str]:
    return [g.grant_id for g in held.grants]


def test_a_book_knows_who_has_what_where(control: _Control, book: GrantBook) -> None:
    control.tell(grant())
    control.tell(grant(grant_id="g2", databases=("shop",), delegated=True))
    control.tell(grant(grant_id="g3", principal="kim", delegated=True))
    assert ids(book.held("ana", (), "shop", 1)) == ["g1", "g2"]
    assert ids(book.held("ana", (), "other", 1)) == ["g1"]
    assert ids(book.held("bot", ("ana",), "shop", 1)) == ["g2"], "only what is granted to those who act for her, too"
    assert ids(book.held("bot", ("kim", "ana"), "shop", 1)) == ["g2", "g3"]
    assert ids(book.held("olaf", (), "shop", 1)) == []


def test_a_grant_ends_at_its_time_even_if_the_clock_goes_back(control: _Control, book: GrantBook) -> None:
    control.tell(grant(expires_at=500))
    assert book.held("ana", (), "shop", 499).until == 500
    assert ids(book.held("ana", (), "shop", 500)) == []
    assert ids(book.held("ana", (), "shop", 100)) == []


def test_revoked_withdrawn_unreadable_and_out_of_reach_are_no_grants(control: _Control, book: GrantBook) -> None:
    for end in (
        Change("grant/g1", grant(revoked=True)),
        Change("grant/g1", None),
        Change("grant/g1", Unreadable("grant/g1", "newer")),
        Change("grant/g1", grant(principal="kim")),
    ):
        control.tell(grant())
        before = book.changes
        assert ids(book.held("ana", (), "shop", 1)) == ["g1"]
        control.say(end)
        assert ids(book.held("ana", (), "shop", 1)) == [] and book.changes > before
    control.tell(grant())
    control.stale_seconds = 61.0
    held = book.held("ana", (), "shop", 1)
    assert ids(held) == [] and held.until <= 1 + LOOK_AGAIN_US, "looked at again soon"
    control.stale_seconds = 1.0
    assert ids(book.held("ana", (), "shop", 1)) == ["g1"]


def test_an_open_session_has_a_grant_as_long_as_it_holds_and_its_event_names_it(control: _Control, book: GrantBook) -> None:
    guard = Guard(make_policy([RULE]))
    guard.grants = book
    subject = {**{name: DEFAULTS[name] for name in SUBJECT}, "principal.id": "ana", "database.alias": "shop"}
    conversation = Conversation()
    ana = guard.session(subject, "s1", conversation.session, 0)
    other = guard.session({**subject, "principal.id": "kim"}, "s2", conversation.session, 0)
    pay = statement("SELECT a FROM restricted.pay")
    assert ana.judge(pay, {}, 10).stops
    control.tell(grant(expires_at=1_000))
    allowed = ana.judge(pay, {}, 20)
    assert not allowed.stops and orjson.loads(allowed.fragment)["policies"] == ["grant:g1"]
    assert ana.judge(pay, {}, 30) is allowed, "remembered"
    assert other.judge(pay, {}, 30).stops
    assert ana.judge(pay, {}, 1_000).stops, "expired"
    assert ana.judge(pay, {}, 40).stops, "and stays so when the clock goes back"
    control.tell(grant(grant_id="g2"))
    assert not ana.judge(pay, {}, 1_001).stops
    control.say(Change("grant/g2", grant(grant_id="g2", revoked=True)))
    assert ana.judge(pay, {}, 1_002).stops, "revoked"


def test_granted_groups_are_the_principals_meanwhile(control: _Control, book: GrantBook) -> None:
    guard = Guard(make_policy([{"id": "dba", "effect": "deny", "when": "!('dba' in principal.groups)", "reason": "x"}]))
    guard.grants = book
    subject = {**{name: DEFAULTS[name] for name in SUBJECT}, "principal.id": "ana", "database.alias": "shop"}
    ana = guard.session(subject, "s1", Conversation().session, 0)
    one = statement("SELECT 1")
    assert ana.judge(one, {}, 1).stops
    control.tell(grant(verbs=(), objects=(), groups=("dba",)))
    assert orjson.loads(ana.judge(one, {}, 2).fragment)["policies"] == ["grant:g1"]
    control.say(Change("grant/g1", None))
    assert ana.judge(one, {}, 3).stops
