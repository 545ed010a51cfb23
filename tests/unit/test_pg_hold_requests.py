"""What is asked for a held statement, who may answer or break the glass, and what else ends a wait or bounds it."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest

from ingest.core.guarding import Answer
from ingest.core.limits import Limits
from ingest.guard.allowance import Allowance
from ingest.guard.asking import Asking
from ingest.guard.guard import Guard
from processors.policy.context import DEFAULTS, SUBJECT
from schemas.approvals import binding_of
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import CLIENT_SIDE, Conversation, client, server
from tests.unit.test_pg_guard import REFUSED, make_policy, syntax_error
from tests.unit.test_pg_holds import (
    BUNCH,
    POLICY,
    RULES,
    SERVER,
    Cut,
    approval,
    closed,
    every_cut,
    held,
    said,
    told,
)


def test_an_answer_to_another_request_or_a_second_one_does_nothing() -> None:
    c = held()
    c.say(*client(pg.query("DELETE FROM t"), pg.query("DELETE FROM t")))
    c.answer("a2", approval("a2"))
    assert c.heard.to_server == b"" and c.session.waiting is not None
    c.answer("a1", approval())
    assert c.heard.to_server == pg.query("DELETE FROM t"), "the second is a request of its own"
    c.answer("a1", approval())
    assert c.heard.to_server == pg.query("DELETE FROM t") and [h.approval_id for h in c.heard.holds] == ["a1", "a2"]


def test_a_request_is_bound_to_who_asks_what_where() -> None:
    def binding(text: str, **subject: Any) -> str:
        c = held(**subject)
        c.say(*client(pg.query(text)))
        hold = c.heard.holds[0]
        assert orjson.loads(b"{" + hold.body[1:] + b"}")["binding"] == hold.asked.binding == binding_of(hold.asked)
        return str(hold.asked.binding)

    base = binding("DELETE FROM t WHERE a = 1")
    assert base == binding("/* again */ DELETE FROM t WHERE a = 1 -- and again")
    others = [binding("DELETE FROM t WHERE a = 2"), binding("DELETE FROM t WHERE b = 1")]
    others += [
        binding("DELETE FROM t WHERE a = 1", **s)
        for s in ({"principal.id": "x"}, {"database.alias": "x"}, {"database.user": "x"})
    ]
    assert base not in others and len(set(others)) == len(others)


def test_no_value_stands_in_a_request() -> None:
    c = held()
    c.say(*client(pg.query("DELETE FROM t WHERE mail = 'ana@example.com'")))
    c.say(*client(pg.TERMINATE))
    c.lose(CLIENT_SIDE)
    c.say(*client())
    written = b"".join(h.body + h.context for h in c.heard.holds) + orjson.dumps([c.heard.other, c.heard.events])
    assert b"ana@example.com" not in written and c.heard.holds[0].sql.endswith(b"'ana@example.com'")


def test_a_long_text_stands_beside_its_request() -> None:
    c = held()
    c.say(*client(pg.query("DELETE FROM t WHERE " + " OR ".join(f"column_number_{n} = {n}" for n in range(1500)))))
    body = orjson.loads(b"{" + c.heard.holds[0].body[1:] + b"}")
    assert body["text"] == "" and len(c.heard.texts) == 1
    from hashlib import sha256

    assert sha256(c.heard.texts[0].encode()).hexdigest() == body["text_hash"]


# Breaking the glass


GLASS = "/* break_glass='INC-12 payments are down' */ "


def test_somebody_on_call_breaks_the_glass_and_does_not_wait() -> None:
    for messages in (
        (pg.query(GLASS + "DELETE FROM t"),),
        (pg.parse("", GLASS + "DELETE FROM t"), pg.bind("", ""), pg.execute(), pg.SYNC),
    ):
        c = held(**{"principal.groups": ["oncall"]})
        c.say(*client(*messages))
        assert c.heard.holds == [] and b"DELETE" in c.heard.to_server
        kind, body = c.heard.other[0]
        assert kind == "BreakGlassUsed" and len(c.heard.other) == 1
        assert (body["justification"], body["groups"], body["risk"]) == ("INC-12 payments are down", ["oncall"], 100)
        answers = (pg.PARSE_COMPLETE, pg.BIND_COMPLETE) if len(messages) > 1 else ()
        c.say(*server(*answers, pg.complete("DELETE 9"), pg.ready()))
        assert [(s, v, a) for _, s, _, v, a in told(c)] == [("ok", "allow", "a1")] and c.heard.events[0]["decision"][
            "risk"
        ] == 100
        c.say(*client(pg.query("DELETE FROM t")))
        assert [h.approval_id for h in c.heard.holds] == ["a2"], "it was for that one statement"


@pytest.mark.parametrize(
    ("text", "subject", "words"),
    [
        (GLASS + "DELETE FROM t", {"principal.groups": ["dba"]}, b"not open to you"),
        (GLASS + "DROP TABLE t", {"principal.groups": ["oncall"]}, b"not open to you"),
        (GLASS + "DELETE FROM t", {"principal.groups": ["oncall"], "principal.kind": "agent"}, b"Only people"),
        (GLASS + "DELETE FROM t", {"principal.groups": ["oncall"], "principal.on_behalf_of": "bo"}, b"Only people"),
        ("/* break_glass='x' */ DELETE FROM t", {"principal.groups": ["oncall"]}, b"at least 8"),
        ("DELETE FROM t", {"principal.groups": ["oncall"]}, b"request a1"),
    ],
)
def test_who_may_not_break_the_glass_waits(text: str, subject: dict[str, Any], words: bytes) -> None:
    c = held(**subject)
    c.say(*client(pg.query(text)))
    assert len(c.heard.holds) == 1 and c.heard.to_server == b"" and words in c.heard.to_client
    assert not [k for k, _ in c.heard.other if k == "BreakGlassUsed"]


def test_breaking_the_glass_does_not_break_what_is_denied() -> None:
    c = held(**{"principal.groups": ["oncall"]})
    c.say(*client(pg.query(GLASS + "TRUNCATE t")))
    assert REFUSED in c.heard.to_server and c.heard.other == []


# The session's end


@every_cut
@pytest.mark.parametrize("ahead", [False, True], ids=["idle", "working"])
def test_a_client_that_leaves_has_its_request_cancelled_and_nothing_runs(cut: Cut, ahead: bool) -> None:
    c = held()
    said(
        c,
        cut,
        *client(
            *([pg.query("SELECT slow")] if ahead else []),
            pg.query("DELETE FROM t"),
            pg.query("INSERT INTO a VALUES (1)"),
            pg.TERMINATE,
        ),
    )
    sent = c.heard.to_server
    c.lose(CLIENT_SIDE)
    assert c.heard.to_server == sent and c.heard.waited == [("a1", "cancelled")] and closed(c)[0][2] == "client_lost"
    if ahead:
        assert c.session.draining and not c.session.ended
        c.say(*server(pg.complete("SELECT 1"), pg.ready()))
        c.lose(SERVER)
    assert c.heard.closed == "terminated" and c.open_intents == 0
    assert sorted((t, s) for _, s, t, _, _ in told(c)) == sorted(
        [("DELETE FROM t", "cancelled"), *([("SELECT slow", "ok")] if ahead else [])]
    )
    c.answer("a1", approval())
    assert c.heard.to_server == sent


@pytest.mark.parametrize("how", ["server", "killed"])
def test_a_session_that_ends_otherwise_has_its_request_cancelled(how: str) -> None:
    c = held()
    c.say(*client(*BUNCH))
    if how == "server":
        c.lose(SERVER)
    else:
        actions: list[Any] = []
        c.session.end("suspended", c.now, actions)
        c.carry_out(actions)
    assert c.heard.to_server == b"" and c.heard.waited == [("a1", "cancelled")]
    assert closed(c)[0][2] == ("server_lost" if how == "server" else "suspended")
    assert [(s, v) for _, s, _, v, _ in told(c)] == [("cancelled", "hold")] and c.open_intents == 0


def test_what_is_kept_behind_a_wait_is_bounded() -> None:
    limits = Limits(behind=1000, statement=1000, bind=1000)
    c = held(limits=limits)
    c.say(*client(pg.query("DELETE FROM t")))
    while c.session.behind < limits.behind:
        c.say(*client(pg.query("SELECT 1")))
    assert c.heard.closed == "", "the network layer stops reading here"
    for _ in range(1000):
        c.say(*client(pg.query("SELECT 1")))
    assert c.heard.closed == "protocol_gap" and c.heard.to_server == b"" and c.heard.waited == [("a1", "cancelled")]


def test_a_text_too_long_to_read_cannot_wait() -> None:
    policy = make_policy([{**RULES[0], "when": "'opaque' in statement.dangers"}])
    c = held(policy, Limits(statement=1000))
    c.say(*client(pg.query("SELECT '" + "x" * 5000 + "'")))
    assert c.heard.closed == "protocol_gap" and c.heard.holds == [] and not c.heard.to_server.endswith(b"\0")


@every_cut
def test_nobody_is_asked_for_what_stands_behind_a_refusal_in_a_pipeline(cut: Cut) -> None:
    c = held()
    group = BUNCH[:-1]
    said(c, cut, *client(*group, *group, *group, pg.SYNC, pg.query("SELECT 1")))
    assert [h.approval_id for h in c.heard.holds] == ["a1"]
    c.answer("a1", Answer("denied", "no", ("bob",)))
    assert [h.approval_id for h in c.heard.holds] == ["a1"], "the server will skip the others, whoever approves them"
    assert b"DELETE" not in c.heard.to_server and c.heard.to_server.endswith(pg.SYNC + pg.query("SELECT 1"))
    said(c, cut, *server(syntax_error(), pg.ready(), pg.row_description("a"), pg.complete("SELECT 1"), pg.ready()))
    assert [(status, id) for _, status, _, _, id in told(c)] == [
        ("denied", "a1"), ("not_executed", ""), ("not_executed", ""), ("ok", "")
    ]  # fmt: skip
    assert c.heard.to_client.count(b"C42501\0") == 1 and not c.session.expected and c.open_intents == 0
    c.say(*client(*BUNCH))
    assert [h.approval_id for h in c.heard.holds] == ["a1", "a2"]


# How much may be asked


@every_cut
def test_past_what_may_be_asked_a_statement_fails_in_its_place_and_says_so(cut: Cut) -> None:
    guard = Guard(POLICY)
    allowance = Allowance(1, 2)
    guard.asking = Asking((f"a{n}" for n in itertools.count(1)).__next__, 900_000_000, "", allowance)
    values = {**{name: DEFAULTS[name] for name in SUBJECT}, "principal.id": "ana", "database.alias": "shop"}
    first, second = Conversation(), Conversation()
    for n, c in enumerate((first, second)):
        c.session.guard = guard.session(values, f"s{n}", c.session, 0)
    first.say(CLIENT_SIDE, pg.query("DELETE FROM t"))
    said(second, cut, *client(*BUNCH, pg.query("SELECT 1")))
    assert [h.approval_id for h in first.heard.holds] == ["a1"] and second.heard.holds == []
    assert b"DELETE" not in second.heard.to_server and REFUSED in second.heard.to_server
    said(second, cut, *server(syntax_error(), pg.ready(), pg.complete("SELECT 1"), pg.ready()))
    assert b"C53400\0" in second.heard.to_client and b"1 requests are open" in second.heard.to_client
    assert told(second) == [
        ("prepared", "denied", "DELETE FROM t WHERE a = $1", "deny", ""),
        ("simple", "ok", "SELECT ?", "allow", ""),
    ]
    assert second.heard.events[0]["decision"]["policies"] == ["hold-deletes", "limit:approvals.max_open"]
    assert [(k, e["kind"], e["at_most"], e["limit"]) for k, e in second.heard.other] == [
        ("LimitExceeded", "requests", 1, "approvals.max_open")
    ]
    allowance.ended("a1")
    first.answer("a1", Answer("cancelled", "client"))
    second.say(CLIENT_SIDE, pg.query("DELETE FROM t"))
    assert [h.approval_id for h in second.heard.holds] == ["a3"]
    allowance.ended("a3")
    second.answer("a3", Answer("cancelled", "client"))
    second.say(SERVER, syntax_error() + pg.ready())
    second.say(CLIENT_SIDE, pg.query("DELETE FROM t"))
    assert len(second.heard.holds) == 1 and b"Q" in second.heard.to_server
    second.say(SERVER, syntax_error() + pg.ready())
    assert b"2 requests were raised within an hour" in second.heard.to_client
    second.say(CLIENT_SIDE, pg.query("/* break_glass='INC-12 payments are down' */ DELETE FROM t"))
    assert b"raised within" in second.heard.to_client, "an emergency is for those who may"
