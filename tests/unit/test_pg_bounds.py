"""Limits while statements run: what exceeds one is withheld, the server is told to cancel, the client reads which it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ingest.core.actions import Cancel, Side
from ingest.core.guarding import Bound
from ingest.protocols.postgres.bounds import AGAIN_US, GIVE_UP_US
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import Conversation, client, cuts, server
from tests.unit.test_pg_guard import guarded, make_policy

CLIENT, SERVER = Side.CLIENT, Side.SERVER
CANCELLED = pg.error("57014", "canceling statement due to user request")


class Limited(Conversation):
    """A conversation that counts the cancellations it is asked for."""

    cancels = 0

    def carry_out(self, actions: Any) -> None:
        actions = list(actions)
        self.cancels += sum(isinstance(a, Cancel) for a in actions)
        super().carry_out(actions)

    @property
    def exceeded(self) -> list[tuple[str, str]]:
        return [(body["limit"], body["kind"]) for kind, body in self.heard.other if kind == "LimitExceeded"]


def limited(*limits: dict[str, Any], rules: tuple[dict[str, Any], ...] = ()) -> Limited:
    plain = guarded(make_policy(list(rules), limits=[{"id": "most", "reason": "Ask for less.", **limit} for limit in limits]))
    plain.__class__ = Limited
    assert isinstance(plain, Limited)
    return plain


def rows(count: int) -> bytes:
    return b"".join(pg.row(b"%d" % n) for n in range(count))


def said(conversation: Conversation, cut: Callable[[bytes], list[bytes]], side: Side, *parts: bytes) -> None:
    for piece in cut(b"".join(parts)):
        conversation.say(side, piece)


@pytest.mark.parametrize("cut", cuts())
def test_rows_past_the_limit_are_withheld_and_the_error_names_it(cut: Callable[[bytes], list[bytes]]) -> None:
    conversation = limited({"statement_rows": 3})
    said(conversation, cut, CLIENT, pg.query("SELECT a FROM t"))
    said(conversation, cut, SERVER, pg.row_description("a"), rows(10), CANCELLED, pg.ready())
    heard = conversation.heard
    assert conversation.cancels == 1 and conversation.exceeded == [("most", "rows")]
    assert heard.to_client.startswith(pg.row_description("a") + rows(3) + b"E") and heard.to_client.endswith(pg.ready())
    assert b"C57014\0" in heard.to_client and b"policy limit most: it would return more than 3 rows" in heard.to_client
    assert b"user request" not in heard.to_client and b"HAsk for less. Session s1." in heard.to_client
    [event] = heard.events
    assert (event["outcome"]["status"], event["outcome"]["rows_returned"]) == ("cancelled", 3)
    assert event["decision"]["policies"] == ["limit:most"] and event["decision"]["verdict"] == "allow"
    said(conversation, cut, CLIENT, pg.query("SELECT 1"))
    said(conversation, cut, SERVER, pg.row_description("a"), rows(3), pg.complete("SELECT 3"), pg.ready())
    assert heard.to_client.endswith(rows(3) + pg.complete("SELECT 3") + pg.ready()), "three are no more than three"
    assert conversation.cancels == 1


@pytest.mark.parametrize("cut", cuts())
def test_a_server_that_was_done_already_still_ends_in_the_error(cut: Callable[[bytes], list[bytes]]) -> None:
    run = (pg.parse("", "SELECT a FROM t"), pg.bind("", ""), pg.describe("P"), pg.execute(), pg.SYNC)
    answer = (pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.row_description("a"), rows(5), pg.complete("SELECT 5"), pg.ready("T"))
    conversation = limited({"statement_rows": 3})
    said(conversation, cut, CLIENT, *run)
    said(conversation, cut, SERVER, *answer)
    assert b"SELECT 5" not in conversation.heard.to_client and b"policy limit most" in conversation.heard.to_client
    assert conversation.heard.to_client.endswith(pg.ready("T")), "the transaction is as the server says"
    assert not conversation.session.expected and not conversation.session.skipping
    said(conversation, cut, CLIENT, *run)
    said(conversation, cut, SERVER, *answer[:3], rows(2), pg.complete("SELECT 2"), pg.ready("T"))
    assert [e["outcome"]["status"] for e in conversation.heard.events] == ["cancelled", "ok"]
    assert conversation.heard.closed == ""


def test_what_was_sent_behind_it_and_ran_ends_the_session_instead_of_being_believed_skipped() -> None:
    one = (pg.parse("", "SELECT a FROM t"), pg.bind("", ""), pg.execute())
    done = (pg.PARSE_COMPLETE, pg.BIND_COMPLETE, rows(5), pg.complete("SELECT 5"))
    for behind in ((*one, pg.SYNC), (pg.FLUSH,)):
        conversation = limited({"statement_rows": 3})
        conversation.say(*client(*one, *behind))
        conversation.say(*server(*done))
        assert conversation.heard.closed == "limit" and b"SFATAL\0" in conversation.heard.to_client
        assert conversation.open_intents == 0
    conversation = limited({"statement_rows": 3})
    conversation.say(*client(pg.query("SELECT a FROM t; DELETE FROM t WHERE a = 1")))
    conversation.say(*server(pg.row_description("a"), rows(5), pg.complete("SELECT 5")))
    assert conversation.heard.closed == "limit"


@pytest.mark.parametrize("cut", cuts())
def test_fetching_in_portions_counts_as_one_result(cut: Callable[[bytes], list[bytes]]) -> None:
    conversation = limited({"statement_rows": 5})
    said(conversation, cut, CLIENT, pg.parse("", "SELECT a FROM t"), pg.bind("p", ""), pg.execute("p", 3), pg.SYNC)
    said(conversation, cut, SERVER, pg.PARSE_COMPLETE, pg.BIND_COMPLETE, rows(3), pg.PORTAL_SUSPENDED, pg.ready("T"))
    said(conversation, cut, CLIENT, pg.execute("p", 3), pg.SYNC)
    said(conversation, cut, SERVER, rows(3), pg.PORTAL_SUSPENDED, pg.ready("T"))
    assert [e["outcome"]["rows_returned"] for e in conversation.heard.events] == [3, 2]
    assert conversation.heard.events[1]["outcome"]["status"] == "cancelled"
    assert conversation.heard.to_client.count(pg.PORTAL_SUSPENDED) == 1


def test_bytes_of_rows_and_of_copy_are_limited() -> None:
    for sent in (pg.row(b"x" * 80), pg.copy_data(b"x" * 82)):
        conversation = limited({"statement_bytes": 250})
        conversation.say(*client(pg.query("COPY t TO STDOUT")))
        conversation.say(*server(pg.COPY_OUT, sent * 5, CANCELLED, pg.ready()))
        assert conversation.heard.to_client.count(b"x" * 80) == 2 and conversation.exceeded == [("most", "bytes")]


def test_rows_of_a_session_add_up_and_then_nothing_more_is_let_through() -> None:
    conversation = limited({"session_rows": 5})
    for count, kept in ((3, 3), (3, 2)):
        before = len(conversation.heard.to_client)
        conversation.say(*client(pg.query("SELECT a FROM t")))
        ends = pg.complete("SELECT 3") if count == kept else CANCELLED
        conversation.say(*server(pg.row_description("a"), rows(count), ends, pg.ready()))
        assert conversation.heard.to_client[before:].startswith(pg.row_description("a") + rows(kept))
    conversation.say(*client(pg.query("SELECT a FROM t")))
    assert conversation.heard.events[-1]["outcome"]["status"] == "denied"
    assert conversation.heard.events[-1]["decision"]["policies"][0] == "most"


def test_a_statement_that_runs_too_long_is_cancelled_again_and_again_and_then_the_session_ends() -> None:
    conversation = limited({"statement_seconds": 2})
    conversation.say(*client(pg.query("SELECT pg_sleep(1000)")))
    began = conversation.now
    bounds = conversation.session.bounds
    conversation.carry_out(bounds.overdue(began + 1_900_000))
    assert conversation.cancels == 0
    conversation.carry_out(bounds.overdue(began + 2_000_001))
    assert conversation.cancels == 1 and conversation.exceeded == [("most", "seconds")]
    conversation.carry_out(bounds.overdue(began + 2_500_000))
    assert conversation.cancels == 1
    conversation.carry_out(bounds.overdue(began + 2_100_000 + AGAIN_US))
    assert conversation.cancels == 2 and len(conversation.exceeded) == 1
    conversation.carry_out(bounds.overdue(began + 2_100_000 + GIVE_UP_US))
    assert conversation.heard.closed == "limit" and b"it ran longer than 2 s" in conversation.heard.to_client
    assert conversation.heard.events[-1]["outcome"]["status"] == "unknown"


def test_the_time_of_a_statement_begins_when_the_one_before_it_ended() -> None:
    conversation = limited({"statement_seconds": 2})
    conversation.say(*client(pg.query("SELECT 1; SELECT 2")))
    conversation.now += 1_500_000
    conversation.say(*server(pg.row_description("a"), rows(1), pg.complete("SELECT 1")))
    conversation.carry_out(conversation.session.bounds.overdue(conversation.now + 1_000_000))
    assert conversation.cancels == 0
    conversation.carry_out(conversation.session.bounds.overdue(conversation.now + 2_100_000))
    assert conversation.cancels == 1
    conversation.say(*server(CANCELLED, pg.ready()))
    assert [e["outcome"]["status"] for e in conversation.heard.events] == ["ok", "cancelled"]


def test_in_shadow_a_limit_is_recorded_once_and_nothing_else_happens() -> None:
    conversation = limited({"statement_rows": 2, "mode": "shadow"})
    conversation.say(*client(pg.query("SELECT a FROM t")))
    conversation.say(*server(pg.row_description("a"), rows(6), pg.complete("SELECT 6"), pg.ready()))
    assert conversation.cancels == 0 and conversation.exceeded == [("most", "rows")]
    assert rows(6) + pg.complete("SELECT 6") in conversation.heard.to_client
    assert conversation.heard.events[0]["decision"]["policies"] == ["shadow:limit:most"]


def test_a_limit_that_errs_denies_and_one_for_others_does_nothing() -> None:
    conversation = limited({"statement_rows": 2, "when": "claims.ticket == 'x'"})
    conversation.say(*client(pg.query("SELECT a FROM t")))
    assert conversation.heard.events[0]["decision"]["policies"] == ["error:most"]
    other = limited({"statement_rows": 2, "when": "principal.kind == 'agent'"})
    other.say(*client(pg.query("SELECT a FROM t")))
    other.say(*server(pg.row_description("a"), rows(6), pg.complete("SELECT 6"), pg.ready()))
    assert rows(6) in other.heard.to_client and not other.session.bounds.active


@pytest.mark.parametrize("cut", cuts())
def test_a_stream_that_is_bound_in_its_middle_keeps_its_place(cut: Callable[[bytes], list[bytes]]) -> None:
    conversation = limited({"statement_rows": 3, "when": "'public.t' in statement.reads"})
    answer = pg.row_description("a") + rows(6) + pg.complete("SELECT 6") + pg.ready()
    at = len(pg.row_description("a")) + 7
    conversation.say(*client(pg.query("SELECT a FROM other")))
    said(conversation, cut, SERVER, answer[:at])
    conversation.say(*client(pg.query("SELECT a FROM public.t")))
    assert conversation.session.bounds.active
    said(conversation, cut, SERVER, answer[at:], pg.row_description("a"), rows(6), CANCELLED, pg.ready())
    assert conversation.heard.to_client.startswith(answer + pg.row_description("a") + rows(3) + b"E")


@pytest.mark.replaces
def test_a_statement_ends_with_the_grant_it_relies_on_and_a_session_whose_cursor_does() -> None:
    conversation = limited()
    lapsed: set[str] = set()
    guard = conversation.session.guard
    assert guard is not None
    guard.lapsed = lambda grant, now: grant in lapsed  # type: ignore[method-assign]
    conversation.say(*client(pg.query("SELECT a FROM t")))
    head = conversation.session.expected[0].executions[0]  # type: ignore[union-attr]
    conversation.session.bounds.bind(head, (Bound("grant", 0, "g1", "Ask again."),))
    conversation.carry_out(conversation.session.bounds.overdue(conversation.now))
    assert conversation.cancels == 0
    lapsed.add("g1")
    conversation.carry_out(conversation.session.bounds.overdue(conversation.now))
    conversation.say(*server(CANCELLED, pg.ready()))
    assert conversation.cancels == 1 and b"stopped by grant g1" in conversation.heard.to_client
    conversation.say(*client(pg.query("DECLARE c CURSOR FOR SELECT a FROM t")))
    head = conversation.session.expected[0].executions[0]  # type: ignore[union-attr]
    conversation.session.bounds.bind(head, (Bound("grant", 0, "g2", "Ask again."),))
    conversation.say(*server(pg.complete("DECLARE CURSOR"), pg.ready("T")))
    conversation.carry_out(conversation.session.bounds.overdue(conversation.now))
    assert conversation.heard.closed == ""
    lapsed.add("g2")
    conversation.carry_out(conversation.session.bounds.overdue(conversation.now))
    assert conversation.heard.closed == "limit"


def test_rows_are_counted_whichever_way_an_answer_comes() -> None:
    conversation = guarded(make_policy([]))
    session = conversation.session
    answer = pg.row_description("a") + rows(3) + pg.complete("SELECT 3") + pg.ready()
    assert session.repeat(pg.query("SELECT a FROM t"), 10) is not None
    found = session.answer_of(answer)
    assert found is not None, "taken as a whole"
    session.answered(answer, found, 20)
    assert session.rows == 3
    conversation.say(*client(pg.query("SELECT a FROM t")))
    for piece in (answer[:30], answer[30:]):
        conversation.carry_out(session.parse(SERVER, piece, 30))
    assert session.rows == 6
