"""A stopped statement never reaches the server, fails in its own place, and has its decision in its event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
import yaml

from ingest.core.actions import Side
from ingest.core.limits import Limits
from ingest.guard.guard import MINUTE, Guard
from processors.policy import Policy, read_bundle
from processors.policy.context import DEFAULTS, SUBJECT
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import Conversation, Heard, client, cuts, play_cut, server

SERVER = Side.SERVER
REFUSED = b"affidavit_refused"
RULES = [
    {"id": "no-drop", "effect": "deny", "when": "'drop_table' in statement.verbs", "reason": "Ask the owner.", "risk": 80},
    {"id": "no-secrets", "effect": "deny", "when": "'public.secrets' in statement.reads", "reason": "Not yours."},
    {"id": "no-blind-execute", "effect": "deny", "when": "'function_oid_7' in statement.functions", "reason": "No."},
    {"id": "watch", "effect": "alert", "when": "'public.orders' in statement.reads", "reason": "Seen.", "risk": 5},
]


def make_policy(rules: list[dict[str, Any]], **members: Any) -> Policy:
    return Policy(read_bundle({"p": yaml.safe_dump({"bundle": "p", "rules": rules, **members}).encode()}))


def guarded(policy: Policy, limits: Limits | None = None) -> Conversation:
    conversation = Conversation(limits)
    subject = {name: DEFAULTS[name] for name in SUBJECT}
    conversation.session.guard = Guard(policy).session(subject, "s1", conversation.session, 0)
    return conversation


POLICY = make_policy(RULES)


def make() -> Conversation:
    return guarded(POLICY)


def syntax_error() -> bytes:
    return pg.error("42601", 'syntax error at or near "affidavit_refused"')


def told(heard: Heard) -> list[tuple[str, str, str, str]]:
    return [(e["kind"], e["outcome"]["status"], e["text"], e["decision"]["verdict"]) for e in heard.events]


@pytest.mark.parametrize("cut", cuts())
def test_a_denied_query_is_replaced_and_its_error_rewritten(cut: Callable[[bytes], list[bytes]]) -> None:
    heard = play_cut(
        [
            client(pg.query("DROP TABLE t")),
            server(syntax_error(), pg.ready()),
            client(pg.query("SELECT 1")),
            server(pg.row_description("a"), pg.row(b"1"), pg.complete("SELECT 1"), pg.ready()),
        ],
        cut,
        make,
    )
    assert told(heard) == [("simple", "denied", "DROP TABLE t", "deny"), ("simple", "ok", "SELECT ?", "allow")]
    assert heard.events[0]["decision"] == {
        "verdict": "deny", "policies": ["no-drop"], "bundle": POLICY.version, "risk": 80, "approval_id": ""
    }  # fmt: skip
    assert heard.events[0]["outcome"]["sqlstate"] == "42501"
    assert b"DROP" not in heard.to_server and REFUSED in heard.to_server and b"SELECT 1" in heard.to_server
    assert b"C42501\0" in heard.to_client and b"no-drop" in heard.to_client and b"Request s1/1." in heard.to_client
    assert b"affidavit_refused" not in heard.to_client and b"42601" not in heard.to_client


@pytest.mark.parametrize("cut", cuts())
def test_a_batch_is_denied_whole(cut: Callable[[bytes], list[bytes]]) -> None:
    heard = play_cut([client(pg.query("DELETE FROM a; DROP TABLE t; SELECT 1")), server(syntax_error(), pg.ready())], cut, make)
    assert told(heard) == [
        ("simple", "not_executed", "DELETE FROM a", "allow"),
        ("simple", "denied", "DROP TABLE t", "deny"),
        ("simple", "not_executed", "SELECT ?", "allow"),
    ]
    assert b"DELETE" not in heard.to_server
    assert heard.to_client.count(b"42501") == 1


@pytest.mark.parametrize("cut", cuts())
def test_a_denied_parse_fails_the_pipeline_up_to_its_sync_and_no_further(cut: Callable[[bytes], list[bytes]]) -> None:
    heard = play_cut(
        [
            client(
                pg.parse("", "SELECT 1"), pg.bind("", ""), pg.execute(),
                pg.parse("", "SELECT x FROM public.secrets"), pg.bind("", ""), pg.describe("P"), pg.execute(),
                pg.parse("", "SELECT 2"), pg.bind("", ""), pg.execute(), pg.SYNC,
                pg.parse("", "SELECT 3"), pg.bind("", ""), pg.execute(), pg.SYNC,
            ),
            server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.row(b"1"), pg.complete("SELECT 1"), syntax_error(), pg.ready()),
            server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.row(b"3"), pg.complete("SELECT 1"), pg.ready()),
        ],
        cut,
        make,
    )  # fmt: skip
    by_status = {}
    for kind, status, text, verdict in told(heard):
        by_status.setdefault(status, []).append((kind, text, verdict))
    assert by_status["denied"] == [("prepared", "SELECT x FROM public.secrets", "deny")]
    assert len(by_status["ok"]) == 2 and len(by_status["not_executed"]) == 1
    assert b"secrets" not in heard.to_server
    assert heard.to_client.count(b"42501") == 1 and heard.closed == ""


@pytest.mark.parametrize("cut", cuts())
def test_a_statement_prepared_before_the_rules_changed_is_stopped_at_execute(cut: Callable[[bytes], list[bytes]]) -> None:
    conversation = guarded(make_policy([]))
    guard = conversation.session.guard._guard  # type: ignore[union-attr]

    def say(side: Side, *parts: bytes) -> None:
        for piece in cut(b"".join(parts)):
            conversation.say(side, piece)

    run = (pg.bind("", "s"), pg.execute(), pg.SYNC)
    say(Side.CLIENT, pg.parse("s", "SELECT x FROM public.secrets"), pg.SYNC)
    say(SERVER, pg.PARSE_COMPLETE, pg.ready())
    for _ in range(3):  # the third is recognised as a repetition where it comes whole
        say(Side.CLIENT, *run)
        say(SERVER, pg.BIND_COMPLETE, pg.complete("SELECT 0"), pg.ready())
    guard.replace(POLICY)
    before = len(conversation.heard.to_server)
    say(Side.CLIENT, *run)
    sent = conversation.heard.to_server[before:]
    assert REFUSED in sent and pg.execute() not in sent
    say(SERVER, pg.BIND_COMPLETE, syntax_error(), pg.ready())
    assert [s for _, s, _, _ in told(conversation.heard)] == ["ok", "ok", "ok", "denied"]
    assert [e["decision"]["bundle"] for e in conversation.heard.events][-1] == POLICY.version


def test_a_name_whose_new_meaning_is_denied_is_not_executed_under_its_old_one_unseen() -> None:
    conversation = make()
    conversation.say(*client(pg.parse("s", "SELECT 1"), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    before = len(conversation.heard.to_server)
    conversation.say(*client(pg.parse("s", "DROP TABLE t"), pg.SYNC, pg.bind("", "s"), pg.execute(), pg.SYNC))
    assert pg.execute() not in conversation.heard.to_server[before:]
    conversation.say(*server(syntax_error(), pg.ready(), pg.BIND_COMPLETE, syntax_error(), pg.ready()))
    assert told(conversation.heard) == [("prepared", "denied", "DROP TABLE t", "deny")]
    assert conversation.heard.to_client.count(b"42501") == 2
    conversation.say(*client(pg.bind("", "s"), pg.execute(), pg.SYNC))
    conversation.say(*server(pg.BIND_COMPLETE, pg.complete("SELECT 1"), pg.ready()))
    assert told(conversation.heard)[-1] == ("prepared", "ok", "SELECT ?", "allow")
    assert conversation.open_intents == 0 and not conversation.session.expected


def test_sql_level_execute_is_judged_by_what_it_runs() -> None:
    conversation = make()
    conversation.say(*client(pg.parse("s", "SELECT x FROM public.orders"), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    conversation.say(*client(pg.query("EXECUTE s")))
    conversation.say(*server(pg.complete("SELECT 1"), pg.ready()))
    assert conversation.heard.events[-1]["decision"]["policies"] == ["watch"]


def test_a_denied_function_call_is_refused() -> None:
    conversation = make()
    conversation.say(*client(pg.message(b"F", b"\0\0\0\x07" + b"\0\0" * 3)))
    conversation.say(*server(syntax_error(), pg.ready()))
    assert [(k, s) for k, s, _, _ in told(conversation.heard)] == [("function", "denied")]
    assert b"F\0" not in conversation.heard.to_server


def test_a_message_that_the_server_will_skip_is_replaced_all_the_same() -> None:
    conversation = make()
    conversation.say(*client(pg.parse("", "SELECT broken"), pg.FLUSH))
    conversation.say(*server(pg.error("42703")))
    conversation.say(*client(pg.query("DROP TABLE t"), pg.parse("", "DROP TABLE t"), pg.SYNC))
    conversation.say(*server(pg.ready()))
    assert b"DROP" not in conversation.heard.to_server and not conversation.session.expected
    assert conversation.heard.closed == ""


def test_a_text_too_long_to_read_ends_the_connection_if_it_is_denied() -> None:
    rules = [{"id": "opaque", "effect": "deny", "when": "'opaque' in statement.dangers", "reason": "Unreadable."}]
    conversation = guarded(make_policy(rules), Limits(statement=1000))
    conversation.say(*client(pg.query("SELECT '" + "x" * 5000 + "'")))
    assert conversation.heard.closed == "protocol_gap"
    assert not conversation.heard.to_server.endswith(b"\0"), "the last byte must not leave"
    assert told(conversation.heard)[0][1] == "denied"


def test_decisions_are_remembered_by_what_the_rules_read_and_by_the_minute() -> None:
    policy = make_policy([{"id": "hour", "effect": "deny", "when": "time.minute == 1", "reason": "Not now."}])
    conversation = guarded(policy)
    session = conversation.session
    statement = session.analyser.analyse(b"SELECT 1", session.lexing).statements[0]
    guard = session.guard
    assert guard is not None
    assert not guard.judge(statement, {}, 0).stops
    assert guard.judge(statement, {}, 1) is guard.judge(statement, {}, 2), "kept"
    assert guard.judge(statement, {}, MINUTE).stops
    assert not guard.judge(statement, {}, 2 * MINUTE).stops


def test_claims_are_part_of_the_key_if_a_rule_reads_them() -> None:
    rule = {"id": "t", "effect": "deny", "when": "!has(claims.ticket)", "reason": "Name a ticket."}
    session = (conversation := guarded(make_policy([rule]))).session
    statement = session.analyser.analyse(b"SELECT 1", session.lexing).statements[0]
    guard = conversation.session.guard
    assert guard is not None
    assert [guard.judge(statement, c, 0).stops for c in ({}, {"ticket": "T"}, {}, {"ticket": "T"})] == [True, False] * 2


def test_a_clock_that_goes_back_stops_what_rules_about_time_judge() -> None:
    rule = {"id": "t", "effect": "deny", "when": "time.hour == 25", "reason": "Never."}
    session = (conversation := guarded(make_policy([rule]))).session
    statement = session.analyser.analyse(b"SELECT 1", session.lexing).statements[0]
    guard = conversation.session.guard
    assert guard is not None
    assert not guard.judge(statement, {}, 100 * MINUTE).stops
    assert not guard.judge(statement, {}, 97 * MINUTE).stops, "a correction of the clock"
    assert guard.judge(statement, {}, 3 * MINUTE).stops


def test_whatever_goes_wrong_in_deciding_stops_the_statement() -> None:
    conversation = make()

    def broken(facts: object) -> Any:
        raise RuntimeError("the catalogue is gone")

    conversation.session.guard.classes = broken  # type: ignore[union-attr]
    conversation.say(*client(pg.query("SELECT 1")))
    conversation.say(*server(syntax_error(), pg.ready()))
    assert told(conversation.heard) == [("simple", "denied", "SELECT ?", "deny")]
    assert conversation.heard.events[0]["decision"]["policies"] == ["error:guard"]
    assert b"catalogue is gone" not in conversation.heard.to_client


def test_a_rate_limit_counts_the_statements_of_the_minute() -> None:
    limit = {"id": "rate", "statements_per_minute": 3, "reason": "Slow down."}
    conversation = guarded(make_policy([], limits=[limit]))
    for n in range(5):
        conversation.say(*client(pg.query("SELECT 1")))
        conversation.say(*server(*([pg.complete("SELECT 1")] if n < 3 else [syntax_error()]), pg.ready()))
    assert [s for _, s, _, _ in told(conversation.heard)] == ["ok"] * 3 + ["denied"] * 2


def test_rules_over_counters_join_what_is_remembered_of_the_others() -> None:
    rules = [
        {"id": "watch", "effect": "alert", "when": "'select' in statement.verbs", "reason": "x", "risk": 3},
        {
            "id": "some",
            "effect": "deny",
            "when": "session.statements >= 2 && 'select' in statement.verbs",
            "reason": "Enough.",
            "risk": 9,
        },
        {"id": "err", "effect": "deny", "when": "session.statements == 4 && claims.no == ''", "reason": "x"},
    ]
    policy = make_policy(rules)
    conversation = guarded(policy)
    session, guard = conversation.session, conversation.session.guard
    assert guard is not None
    select = session.analyser.analyse(b"SELECT 1", session.lexing).statements[0]
    other = session.analyser.analyse(b"COMMIT", session.lexing).statements[0]
    for count, statement, verdict, policies in (
        (0, select, "alert", ["watch"]), (1, select, "alert", ["watch"]), (2, select, "deny", ["watch", "some"]),
        (2, other, "allow", []), (3, select, "deny", ["watch", "some"]), (4, other, "deny", ["error:err"]),
        (1, select, "alert", ["watch"]),
    ):  # fmt: skip
        session.statements = count
        decision = orjson.loads(guard.judge(statement, {}, 0).fragment)
        assert (decision["verdict"], decision["policies"]) == (verdict, policies), count


def test_a_freeze_of_one_environment_is_not_remembered_for_another() -> None:
    freeze = {"name": "f", "from": "1970-01-01T00:00:00", "to": "1971-01-01T00:00:00", "environments": ["production"]}
    rule = {"id": "f", "effect": "deny", "when": "time.frozen", "reason": "Frozen."}
    guard = Guard(make_policy([rule], freezes=[freeze]))
    session = Conversation().session
    statement = session.analyser.analyse(b"SELECT 1", session.lexing).statements[0]
    subject = {name: DEFAULTS[name] for name in SUBJECT}
    live, test = (guard.session({**subject, "database.environment": e}, "s", session, 0) for e in ("production", "test"))
    assert [g.judge(statement, {}, MINUTE).stops for g in (live, test, live, test)] == [True, False] * 2


def test_what_sql_prepared_is_judged_anew_each_time_it_is_executed() -> None:
    conversation = make()
    for text in ("PREPARE s AS SELECT x FROM public.orders", 'PREPARE "T" AS SELECT 1', "EXECUTE s", 'EXECUTE "T"'):
        conversation.say(*client(pg.query(text)))
        conversation.say(*server(pg.complete("SELECT 1"), pg.ready()))
    conversation.say(*client(pg.query("DEALLOCATE s")))
    conversation.say(*server(pg.complete("DEALLOCATE"), pg.ready()))
    conversation.say(*client(pg.query("EXECUTE s")))
    conversation.say(*server(pg.error("26000"), pg.ready()))
    policies = [e["decision"]["policies"] for e in conversation.heard.events]
    assert policies == [["watch"], [], ["watch"], [], [], []]


def test_a_prepare_that_fails_hides_nothing() -> None:
    conversation = make()
    for text in ("PREPARE s AS SELECT x FROM public.orders", "PREPARE s AS SELECT 1", "EXECUTE s"):
        conversation.say(*client(pg.query(text)))
        conversation.say(*server(pg.complete("SELECT 1") if "EXECUTE" in text else pg.error("42P05"), pg.ready()))
    assert conversation.heard.events[-1]["decision"]["policies"] == ["watch"]
