"""A held statement waits, and all that its client sent behind it; then it runs as approved, or fails in its own place."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ingest.core.actions import Side
from ingest.core.guarding import Answer
from ingest.core.limits import Limits
from ingest.guard.asking import Asking
from ingest.guard.guard import Guard
from processors.policy import Approval, Policy
from processors.policy.context import DEFAULTS, SUBJECT
from processors.statements.catalogue import Catalogue, Column, Relation, build
from schemas.approvals import Decider
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import Conversation, client, server
from tests.unit.test_pg_guard import REFUSED, cuts, make_policy, syntax_error

SERVER = Side.SERVER
RULES = [
    {"id": "hold-deletes", "effect": "hold", "when": "'delete' in statement.verbs", "reason": "Somebody looks first.", "risk": 60,
     "approvers": {"groups": ["dba"], "break_glass": ["oncall"]}},
    {"id": "hold-drops", "effect": "hold", "when": "'drop_table' in statement.verbs", "reason": "Two look first.", "risk": 80,
     "approvers": {"groups": ["dba", "leads"], "count": 2, "wait_minutes": 5}},
    {"id": "no-truncate", "effect": "deny", "when": "'truncate' in statement.verbs", "reason": "No."},
    {"id": "hold-calls", "effect": "hold", "when": "'function_oid_7' in statement.functions", "reason": "Look.",
     "approvers": {"groups": ["dba"]}},
]  # fmt: skip
POLICY = make_policy(RULES)
BOB, EVE = Decider("bob", "human", ("dba",)), Decider("eve", "human", ("leads", "dba"))


def held(policy: Policy = POLICY, limits: Limits | None = None, snapshots: Any = None, **subject: Any) -> Conversation:
    conversation = Conversation(limits, snapshots=snapshots)
    values = {**{name: DEFAULTS[name] for name in SUBJECT}, "principal.id": "ana", "database.alias": "shop", **subject}
    guard = Guard(policy)
    guard.asking = Asking((f"a{n}" for n in itertools.count(1)).__next__, 900_000_000, "https://audit.example/approvals/{id}")
    conversation.session.guard = guard.session(values, "s1", conversation.session, 0)
    return conversation


def approval(id: str = "a1", *deciders: Decider) -> Answer:
    by = deciders or (BOB,)
    return Answer("approved", "fine", tuple(d.id for d in by), Approval(id, by, "fine"))


def told(conversation: Conversation) -> list[tuple[str, str, str, str, str]]:
    return [
        (e["kind"], e["outcome"]["status"], e["text"], e["decision"]["verdict"], e["decision"]["approval_id"])
        for e in conversation.heard.events
    ]


def closed(conversation: Conversation) -> list[tuple[str, str, str]]:
    return [(e["approval_id"], e["status"], e["reason"]) for kind, e in conversation.heard.other if kind == "ApprovalClosed"]


def said(conversation: Conversation, cut: Callable[[bytes], list[bytes]], side: Side, *parts: bytes) -> None:
    for piece in cut(b"".join(parts)):
        conversation.say(side, piece)


Cut = Callable[[bytes], list[bytes]]
every_cut = pytest.mark.parametrize("cut", cuts(), ids=lambda c: "cut")
BUNCH = (pg.parse("", "DELETE FROM t WHERE a = $1", 23), pg.bind("", "", b"5"), pg.describe("P"), pg.execute(), pg.SYNC)
DONE = (pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.NO_DATA, pg.complete("DELETE 3"), pg.ready())


# Simple queries


@every_cut
def test_a_query_waits_and_runs_when_it_is_approved(cut: Cut) -> None:
    c = held()
    said(c, cut, *client(pg.query("DELETE FROM t"), pg.query("SELECT 2")))
    assert c.heard.to_server == b"", "nothing of it, and nothing behind it"
    assert c.heard.to_client.startswith(b"N") and b"request a1" in c.heard.to_client
    assert b"https://audit.example/approvals/a1" in c.heard.to_client and b"affidavit approvals approve a1" in c.heard.to_client
    assert b"1 of dba" in c.heard.to_client and b"Somebody looks first." in c.heard.to_client
    assert [h.approval_id for h in c.heard.holds] == ["a1"] and c.heard.events == [] and c.open_intents == 0
    c.now += 70_000_000
    c.answer("a1", approval())
    assert c.heard.to_server == pg.query("DELETE FROM t") + pg.query("SELECT 2")
    assert c.heard.waited == [("a1", "approved")] and closed(c) == [("a1", "approved", "fine")]
    said(
        c,
        cut,
        *server(pg.complete("DELETE 3"), pg.ready(), pg.row_description("a"), pg.row(b"2"), pg.complete("SELECT 1"), pg.ready()),
    )
    assert told(c) == [("simple", "ok", "DELETE FROM t", "allow", "a1"), ("simple", "ok", "SELECT ?", "allow", "")]
    first = c.heard.events[0]
    assert first["decision"]["policies"] == ["hold-deletes"] and first["decision"]["risk"] == 60
    assert first["outcome"]["held_us"] >= 70_000_000 and first["outcome"]["db_us"] < 1_000_000
    assert first["outcome"]["total_us"] >= first["outcome"]["held_us"] + first["outcome"]["db_us"] > 0
    assert first["at"] < c.heard.events[1]["at"] - 69_000_000, "its event is of when it was sent"
    assert not c.session.expected and c.open_intents == 0


@every_cut
@pytest.mark.parametrize(
    ("answer", "status", "sqlstate", "words"),
    [
        (Answer("denied", "not on a friday", ("bob",)), "denied", b"42501", b"bob denied it: not on a friday"),
        (Answer("expired"), "denied", b"42501", b"nobody decided in time"),
        (Answer("cancelled", "client"), "cancelled", b"57014", b"canceling statement due to user request"),
    ],
)
def test_a_query_that_is_not_approved_fails_in_its_place(
    cut: Cut, answer: Answer, status: str, sqlstate: bytes, words: bytes
) -> None:
    c = held()
    said(c, cut, *client(pg.query("SELECT 1"), pg.query("DELETE FROM t"), pg.query("SELECT 2")))
    assert c.heard.to_server == pg.query("SELECT 1")
    said(c, cut, *server(pg.complete("SELECT 1"), pg.ready()))
    c.answer("a1", answer)
    assert b"DELETE" not in c.heard.to_server and c.heard.to_server.endswith(pg.query("SELECT 2"))
    said(c, cut, *server(syntax_error(), pg.ready(), pg.complete("SELECT 1"), pg.ready()))
    assert told(c) == [
        ("simple", "ok", "SELECT ?", "allow", ""),
        ("simple", status, "DELETE FROM t", "hold", "a1"),
        ("simple", "ok", "SELECT ?", "allow", ""),
    ]
    assert c.heard.events[1]["outcome"]["sqlstate"].encode() == sqlstate and c.heard.events[1]["outcome"]["held_us"] > 0
    assert b"C" + sqlstate + b"\0" in c.heard.to_client and words in c.heard.to_client and b"Approval a1." in c.heard.to_client
    assert b"affidavit_refused" not in c.heard.to_client
    assert c.heard.waited == [("a1", answer.status)] and c.heard.closed == "" and not c.session.expected


@every_cut
def test_a_batch_waits_whole_and_asks_once_for_all_of_it(cut: Cut) -> None:
    c = held()
    said(c, cut, *client(pg.query("INSERT INTO a VALUES (1); DELETE FROM t WHERE x = 'y'; DROP TABLE u")))
    asked = orjson.loads(b"{" + c.heard.holds[0].body[1:] + b"}")
    assert asked["text"] == "INSERT INTO a VALUES (?); DELETE FROM t WHERE x = ?; DROP TABLE u"
    assert asked["statements"] == 3 and len(asked["params"]) == 2 and asked["risk"] == 80
    assert {n["rule"]: (n["groups"], n["count"]) for n in asked["needs"]} == {
        "hold-deletes": (["dba"], 1), "hold-drops": (["dba", "leads"], 2)
    }  # fmt: skip
    assert set(asked["facts"]["verbs"]) >= {"insert", "delete", "drop_table"}
    assert c.heard.holds[0].expires_at - c.heard.holds[0].at == 300_000_000, "the shortest wait of its rules"
    c.answer("a1", approval("a1", BOB, EVE))
    said(c, cut, *server(pg.complete("INSERT 0 1"), pg.complete("DELETE 2"), pg.complete("DROP TABLE"), pg.ready()))
    assert [(s, a) for _, s, _, _, a in told(c)] == [("ok", "a1")] * 3
    assert all(e["outcome"]["held_us"] for e in c.heard.events)


def test_a_batch_with_something_denied_is_denied_at_once() -> None:
    c = held()
    c.say(*client(pg.query("DELETE FROM t; TRUNCATE u")))
    assert c.heard.holds == [] and REFUSED in c.heard.to_server
    c.say(*server(syntax_error(), pg.ready()))
    assert [(t, s, v) for _, s, t, v, _ in told(c)] == [("DELETE FROM t", "denied", "hold"), ("TRUNCATE u", "denied", "deny")]


def test_a_denied_batch_tells_which_statement_needed_the_approval() -> None:
    c = held()
    c.say(*client(pg.query("SELECT 1; DELETE FROM t")))
    c.answer("a1", Answer("denied", "no", ("bob",)))
    assert [(t, s, v) for _, s, t, v, _ in told(c)] == [
        ("SELECT ?", "not_executed", "allow"),
        ("DELETE FROM t", "denied", "hold"),
    ]


def test_a_function_call_waits() -> None:
    c = held()
    call = pg.message(b"F", b"\0\0\0\x07" + b"\0\0" * 3)
    c.say(*client(call))
    assert c.heard.to_server == b""
    c.answer("a1", approval())
    assert c.heard.to_server == call
    c.say(*server(pg.message(b"V", b"\xff\xff\xff\xff"), pg.ready()))
    assert told(c) == [("function", "ok", "SELECT function_oid_7()", "allow", "a1")]


# Extended queries


@every_cut
def test_what_is_sent_in_one_go_waits_from_its_parse_on_with_the_values_of_its_bind(cut: Cut) -> None:
    c = held()
    said(c, cut, *client(*BUNCH, pg.query("SELECT 2")))
    assert c.heard.to_server == b"", "the server has no transaction open, no lock, no timeout running"
    hold = c.heard.holds[0]
    assert len(hold.params) == 1 and hold.params[0].startswith("int:")
    assert hold.sql == b"DELETE FROM t WHERE a = $1" and hold.oids == (23,) and hold.bound
    c.answer("a1", approval())
    sent = c.heard.to_server
    assert b"affidavit_held_0" in sent and pg.execute() in sent and sent.endswith(pg.SYNC + pg.query("SELECT 2"))
    said(c, cut, *server(*DONE, pg.complete("SELECT 1"), pg.ready()))
    assert told(c)[0] == ("prepared", "ok", "DELETE FROM t WHERE a = $1", "allow", "a1")
    assert c.heard.events[0]["params"] == list(hold.params) and c.heard.events[0]["outcome"]["rows_affected"] == 3
    assert c.heard.events[0]["outcome"]["held_us"] > 0 and c.open_intents == 0 and not c.session.expected


@every_cut
@pytest.mark.parametrize("status", ["denied", "expired", "cancelled"])
def test_what_is_not_approved_fails_its_pipeline_up_to_its_sync_and_no_further(cut: Cut, status: str) -> None:
    c = held()
    said(c, cut, *client(
        pg.parse("", "SELECT 1"), pg.bind("", ""), pg.execute(), *BUNCH[:4],
        pg.parse("", "SELECT 2"), pg.bind("", ""), pg.execute(), pg.SYNC,
        pg.parse("", "SELECT 3"), pg.bind("", ""), pg.execute(), pg.SYNC,
    ))  # fmt: skip
    assert c.heard.to_server.endswith(pg.FLUSH), "what came before is answered meanwhile"
    said(c, cut, *server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.complete("SELECT 1")))
    assert c.heard.to_client.endswith(pg.complete("SELECT 1"))
    c.answer("a1", Answer(status, "why"))
    assert b"DELETE" not in c.heard.to_server
    said(c, cut, *server(syntax_error(), pg.ready(), pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.complete("SELECT 1"), pg.ready()))
    outcome = "cancelled" if status == "cancelled" else "denied"
    by_status: dict[str, list[str]] = {}
    for _, state, text, _, _ in told(c):
        by_status.setdefault(state, []).append(text)
    assert by_status == {"ok": ["SELECT ?"] * 2, outcome: ["DELETE FROM t WHERE a = $1"], "not_executed": ["SELECT ?"]}
    assert c.heard.closed == "" and not c.session.expected and c.open_intents == 0


@every_cut
def test_a_statement_prepared_first_waits_at_its_bind_each_time(cut: Cut) -> None:
    c = held()
    said(c, cut, *client(pg.parse("s", "DELETE FROM t WHERE a = $1"), pg.describe("S", "s"), pg.SYNC))
    assert c.heard.holds == [] and b"\0s\0" not in c.heard.to_server and b"affidavit_held_0" in c.heard.to_server
    said(c, cut, *server(pg.PARSE_COMPLETE, pg.message(b"t", b"\0\1\0\0\0\x17"), pg.NO_DATA, pg.ready()))
    for n in (1, 2):
        before = c.heard.to_server
        said(c, cut, *client(pg.bind("", "s", b"%d" % n), pg.execute(), pg.SYNC))
        assert c.heard.to_server == before, "not even its plan"
        assert c.heard.holds[-1].approval_id == f"a{n}" and c.heard.holds[-1].params[0].startswith("int:")
        c.answer(f"a{n}", approval(f"a{n}"))
        said(c, cut, *server(pg.BIND_COMPLETE, pg.complete("DELETE 1"), pg.ready()))
    assert [(s, a) for _, s, _, _, a in told(c)] == [("ok", "a1"), ("ok", "a2")]
    said(c, cut, *client(pg.bind("", "s", b"3"), pg.execute(), pg.SYNC))
    c.answer("a3", Answer("denied", "enough"))
    said(c, cut, *server(syntax_error(), pg.ready()))
    assert told(c)[-1][:2] == ("prepared", "denied") and c.heard.to_client.count(b"42501") == 1
    said(c, cut, *client(pg.close("S", "s"), pg.SYNC))
    assert c.heard.to_server.endswith(pg.close("S", "affidavit_held_0") + pg.SYNC)
    assert not [e for e in c.session.expected if e is not None][2:]


def test_the_server_never_plans_what_is_bound_and_not_approved() -> None:
    c = held()
    c.say(*client(pg.parse("s", "DELETE FROM t"), pg.SYNC))
    c.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    c.say(*client(pg.bind("p", "s"), pg.describe("P", "p"), pg.execute("p"), pg.SYNC))
    c.answer("a1", Answer("denied", "no"))
    sent = c.heard.to_server
    assert b"B\0" not in sent and pg.describe("P", "p") in sent
    assert pg.execute("p") not in sent, "its portal was never opened"
    c.say(*server(syntax_error(), pg.ready()))
    assert [(k, s) for k, s, _, _, _ in told(c)] == [("prepared", "denied")] and len(c.heard.holds) == 1


@every_cut
def test_an_approved_portal_is_fetched_from_in_parts_and_nothing_else_is(cut: Cut) -> None:
    c = held(make_policy([{**RULES[0], "when": "'public.t' in statement.reads"}]))
    said(
        c, cut, *client(pg.query("BEGIN"), pg.parse("", "SELECT * FROM public.t"), pg.bind("p", ""), pg.execute("p", 2), pg.SYNC)
    )
    said(c, cut, *server(pg.complete("BEGIN"), pg.ready("T")))
    c.answer("a1", approval())
    said(c, cut, *server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.row(b"1"), pg.row(b"2"), pg.PORTAL_SUSPENDED, pg.ready("T")))
    said(c, cut, *client(pg.execute("p", 2), pg.SYNC))
    said(c, cut, *server(pg.row(b"3"), pg.complete("SELECT 1"), pg.ready("T")))
    assert len(c.heard.holds) == 1
    assert [(k, s, a) for k, s, _, _, a in told(c)][1:] == [("prepared", "ok", "a1"), ("fetch", "ok", "a1")]
    assert [bool(e["outcome"]["held_us"]) for e in c.heard.events] == [False, True, False]
    said(c, cut, *client(pg.parse("", "SELECT * FROM public.t"), pg.bind("q", ""), pg.execute("q"), pg.SYNC))
    assert len(c.heard.holds) == 2


def test_a_statement_prepared_before_the_rules_changed_waits_at_execute() -> None:
    c = held(make_policy([]))
    c.say(*client(pg.parse("s", "DELETE FROM t"), pg.SYNC))
    c.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    run = (pg.bind("", "s"), pg.execute(), pg.SYNC)
    for _ in range(2):
        c.say(*client(*run))
        c.say(*server(pg.BIND_COMPLETE, pg.complete("DELETE 0"), pg.ready()))
    c.session.guard._guard.replace(POLICY)  # type: ignore[union-attr]
    c.say(*client(*run))
    assert len(c.heard.holds) == 1 and pg.execute() not in c.heard.to_server[-len(b"".join(run)) :]
    c.answer("a1", approval())
    c.say(*server(pg.BIND_COMPLETE, pg.complete("DELETE 0"), pg.ready()))
    assert told(c)[-1] == ("prepared", "ok", "DELETE FROM t", "allow", "a1")


def test_execute_by_name_waits_for_what_it_runs() -> None:
    c = held()
    c.say(*client(pg.parse("s", "DELETE FROM t"), pg.SYNC))
    c.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    c.say(*client(pg.close("S", "s"), pg.SYNC))
    c.say(*server(pg.CLOSE_COMPLETE, pg.ready()))
    c.say(*client(pg.query("EXECUTE affidavit_held_0")))
    assert len(c.heard.holds) == 1, "a Close may have been skipped, so the name is remembered"


@pytest.mark.parametrize(
    "trick",
    [
        (pg.parse("s", "SELECT broken"), pg.SYNC, pg.bind("", "s"), pg.execute(), pg.SYNC),
        (pg.parse("x", "SELECT broken"), pg.close("S", "s"), pg.SYNC, pg.bind("", "s"), pg.execute(), pg.SYNC),
        (pg.parse("x", "SELECT broken"), pg.parse("s", "SELECT 1"), pg.SYNC, pg.bind("", "s"), pg.execute(), pg.SYNC),
        (pg.bind("", "affidavit_held_0"), pg.execute(), pg.SYNC),
        (pg.parse("affidavit_held_0", "SELECT 1"), pg.SYNC, pg.bind("", "affidavit_held_0"), pg.execute(), pg.SYNC),
    ],
    ids=["reparse", "close skipped", "reparse skipped", "own name", "own name taken"],
)
def test_no_name_a_client_uses_reaches_a_held_statement(trick: tuple[bytes, ...]) -> None:
    c = held()
    c.say(*client(pg.parse("s", "DELETE FROM t"), pg.SYNC))
    c.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    before = len(c.heard.to_server)
    c.say(*client(*trick))
    sent = c.heard.to_server[before:]
    bound_to = [
        sent[i:].split(b"\0")[4] for i in range(len(sent)) if sent[i : i + 1] == b"B" and sent[i + 1 : i + 4] == b"\0\0\0"
    ]
    assert b"affidavit_held_0" not in bound_to


def test_no_more_held_statements_are_prepared_than_the_server_should_keep() -> None:
    c = held(limits=Limits(held_prepared=2))
    for n in range(3):
        c.say(*client(pg.parse(f"s{n}", f"DELETE FROM t{n}"), pg.SYNC))
        c.say(*server(*([pg.PARSE_COMPLETE] if n < 2 else [syntax_error()]), pg.ready()))
    assert b"too many prepared statements" in c.heard.to_client and b"DELETE FROM t2" not in c.heard.to_server


def test_an_earlier_failure_of_its_pipeline_ends_the_wait() -> None:
    c = held()
    c.say(*client(pg.parse("", "SELECT broken"), pg.bind("", ""), pg.execute(), *BUNCH, pg.query("SELECT 2")))
    assert len(c.heard.holds) == 1
    c.say(*server(pg.error("42703")))
    assert c.heard.waited == [("a1", "cancelled")] and "earlier statement" in closed(c)[0][2]
    assert b"DELETE" not in c.heard.to_server and c.heard.to_server.endswith(pg.SYNC + pg.query("SELECT 2"))
    c.say(*server(pg.ready(), pg.complete("SELECT 1"), pg.ready()))
    assert [s for _, s, _, _, _ in told(c)] == ["error", "cancelled", "not_executed", "ok"] and not c.session.expected
    c.answer("a1", approval())
    assert b"DELETE" not in c.heard.to_server, "too late"


def test_copy_waits_before_its_data() -> None:
    c = held(make_policy([{**RULES[0], "when": "'copy_in' in statement.flags"}]))
    c.say(*client(pg.query("COPY t FROM STDIN")))
    c.answer("a1", approval())
    c.say(*server(pg.COPY_IN))
    c.say(*client(pg.copy_data(b"1\n"), pg.COPY_DONE))
    c.say(*server(pg.complete("COPY 1"), pg.ready()))
    assert [(k, s, a) for k, s, _, _, a in told(c)] == [("copy", "ok", "a1")]


@every_cut
def test_a_transaction_fails_as_after_any_error(cut: Cut) -> None:
    c = held()
    said(c, cut, *client(pg.query("BEGIN"), pg.query("DELETE FROM t"), pg.query("SELECT 1"), pg.query("ROLLBACK")))
    said(c, cut, *server(pg.complete("BEGIN"), pg.ready("T")))
    c.answer("a1", Answer("expired"))
    said(c, cut, *server(syntax_error(), pg.ready("E"), pg.error("25P02"), pg.ready("E"), pg.complete("ROLLBACK"), pg.ready()))
    assert [s for _, s, _, _, _ in told(c)] == ["ok", "denied", "error", "ok"]
    assert c.heard.events[0]["transaction"] == "I" and c.session.transaction == b"I"


# The notice stands between messages


def test_the_notice_waits_for_the_end_of_a_message_that_is_passing() -> None:
    c = held()
    c.say(*client(pg.query("SELECT big")))
    row = pg.row(b"x" * 1000)
    c.say(SERVER, pg.row_description("a") + row[:500])
    c.say(*client(pg.query("DELETE FROM t")))
    assert c.heard.to_client.endswith(row[:500]), "not within a row"
    c.say(SERVER, row[500:] + pg.complete("SELECT 1") + pg.ready())
    assert row + b"N" in c.heard.to_client and c.heard.to_client.endswith(pg.complete("SELECT 1") + pg.ready())
    assert [e["outcome"]["rows_returned"] for e in c.heard.events] == [1]


# Judged again


def test_an_approval_is_one_more_thing_that_rules_look_at() -> None:
    late = {
        "id": "not-by-eve-alone",
        "effect": "deny",
        "when": "approval.given && approval.by == ['eve']",
        "reason": "Not her alone.",
    }
    policy = make_policy([*RULES, late])
    for by, status in (((BOB,), "ok"), ((EVE,), "denied")):
        c = held(policy)
        c.say(*client(pg.query("DELETE FROM t")))
        c.answer("a1", approval("a1", *by))
        c.say(*server(pg.complete("DELETE 1") if status == "ok" else syntax_error(), pg.ready()))
        assert told(c) == [("simple", status, "DELETE FROM t", "allow" if status == "ok" else "deny", "a1")]
        assert closed(c)[0][1] == ("approved" if status == "ok" else "denied")


def test_an_approval_does_not_reach_rules_that_came_while_it_waited() -> None:
    c = held()
    c.say(*client(pg.query("DELETE FROM t")))
    stricter = {**RULES[0], "id": "hold-more", "approvers": {"groups": ["security"]}}
    c.session.guard._guard.replace(make_policy([*RULES, stricter]))  # type: ignore[union-attr]
    c.answer("a1", approval())
    assert b"DELETE" not in c.heard.to_server and closed(c)[0][1] == "denied"
    c.say(*server(syntax_error(), pg.ready()))
    assert told(c)[0][1] == "denied" and b"hold-more" in c.heard.to_client


def test_what_reads_another_way_than_when_it_was_approved_is_not_approved() -> None:
    c = held(make_policy([{**RULES[0], "when": "'opaque' in statement.dangers || 'delete' in statement.verbs"}]))
    c.say(*client(pg.query("SET standard_conforming_strings = off"), pg.query(r"DELETE FROM t WHERE a = 'x\'' OR b <> ' -- '")))
    assert [h.approval_id for h in c.heard.holds] == ["a1"]
    c.say(*server(pg.status("standard_conforming_strings", "off"), pg.complete("SET"), pg.ready()))
    c.answer("a1", approval())
    assert b"DELETE" not in c.heard.to_server and "reads another way" in closed(c)[0][2]


class Changing:
    """A catalogue in which somebody redefines a view while a statement waits."""

    def __init__(self) -> None:
        self.current = self.made("SELECT a FROM public.plain")

    @staticmethod
    def made(definition: str) -> Catalogue:
        columns = (Column("a", 1, "integer", False, ""),)
        tables = [Relation("public", name, "r", n, 1.0, "", columns) for n, name in enumerate(("plain", "secrets"), 1)]
        return build([*tables, Relation("public", "seen", "v", 3, 1.0, definition, columns)], [])

    def changed(self) -> None:
        pass


@pytest.mark.parametrize("prepared", [False, True], ids=["simple", "prepared long ago"])
def test_a_view_that_was_changed_while_it_waited_is_not_what_was_approved(prepared: bool) -> None:
    catalogue = Changing()
    policy = make_policy([{**RULES[0], "when": "'select' in statement.verbs"}])
    c = held(policy, snapshots=catalogue)
    run = (pg.bind("", "s"), pg.execute(), pg.SYNC) if prepared else (pg.query("SELECT a FROM seen"),)
    if prepared:
        c.say(*client(pg.parse("s", "SELECT a FROM seen"), pg.SYNC))
        c.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    before = c.heard.to_server
    c.say(*client(*run))
    catalogue.current = catalogue.made("SELECT a FROM public.secrets")
    c.answer("a1", approval())
    assert "changed while it waited (reads: public.secrets)" in closed(c)[0][2]
    assert all(b"denied it" not in said for said in (c.heard.to_client, orjson.dumps(c.heard.events))), "nobody did"
    assert REFUSED in c.heard.to_server[len(before) :]
    c.say(*server(syntax_error(), pg.ready()))
    c.say(*client(*run))
    assert "public.secrets" in c.heard.holds[1].asked.shown.facts.reads, "asked anew, it shows what it would do now"
