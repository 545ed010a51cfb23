"""A condition that restricts for some values only is judged by the values that come: `LIKE $1` with `%` leaves nothing out."""

from __future__ import annotations

import pytest

from tests.support import pg_conversation as pg
from tests.support.pg_conversation import Conversation, client, server
from tests.unit.test_pg_guard import guarded, make_policy

MASS = "statement.dangers.exists(d, d in ['mass_update', 'mass_delete'])"
POLICY = make_policy([{"id": "whole", "effect": "deny", "when": MASS, "reason": "All of it."}])

ALL = [
    ("DELETE FROM orders WHERE state LIKE $1", b"%"),
    ("DELETE FROM orders WHERE state ILIKE $1", b"%%"),
    ("DELETE FROM orders WHERE state ~ $1", b"(x|)"),
    ("UPDATE orders SET state = '' WHERE id > $1", b"0"),
    ("DELETE FROM orders WHERE created_at < $1", b"infinity"),
    ("DELETE FROM orders WHERE id BETWEEN $1 AND 99999999999", b"-1"),
    ("WITH d AS (DELETE FROM orders WHERE state LIKE $1 RETURNING 1) SELECT count(*) FROM d", b"%"),
]
SOME = [
    ("DELETE FROM orders WHERE state LIKE $1", b"draft%"),
    ("UPDATE orders SET state = '' WHERE id > $1", b"7000"),
    ("DELETE FROM orders WHERE created_at < $1", b"2026-01-01"),
    ("DELETE FROM orders WHERE state = $1", b"%"),
    ("SELECT * FROM orders WHERE state LIKE $1", b"%"),
]


def verdicts(conversation: Conversation) -> list[str]:
    return [e["decision"]["verdict"] for e in conversation.heard.events]


def bound(sql: str, value: bytes, *, oids: tuple[int, ...] = ()) -> Conversation:
    conversation = guarded(POLICY)
    conversation.say(*client(pg.parse("s", sql, *oids), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    conversation.say(*client(pg.bind("", "s", value), pg.execute(), pg.SYNC))
    return conversation


@pytest.mark.parametrize(("sql", "value"), ALL, ids=[f"{s} {v!r}" for s, v in ALL])
def test_a_bound_value_that_leaves_nothing_out_is_denied(sql: str, value: bytes) -> None:
    conversation = bound(sql, value)
    conversation.say(*server(pg.BIND_COMPLETE, pg.error("42601"), pg.ready()))
    assert verdicts(conversation) == ["deny"]
    conversation.heard.events.clear()
    # The statement itself is not: other values come to the server.
    conversation.say(*client(pg.bind("", "s", b"2026-01-01" if b"inf" in value else b"7000"), pg.execute(), pg.SYNC))
    conversation.say(*server(pg.BIND_COMPLETE, pg.complete("DELETE 1"), pg.ready()))
    assert verdicts(conversation)[-1] == "allow"


@pytest.mark.parametrize(("sql", "value"), SOME, ids=[f"{s} {v!r}" for s, v in SOME])
def test_a_bound_value_that_restricts_passes(sql: str, value: bytes) -> None:
    conversation = bound(sql, value)
    conversation.say(*server(pg.BIND_COMPLETE, pg.complete("DELETE 1"), pg.ready()))
    assert verdicts(conversation) == ["allow"]


def test_a_number_in_binary_is_read() -> None:
    conversation = guarded(POLICY)
    conversation.say(*client(pg.parse("s", "DELETE FROM orders WHERE id > $1", 23), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    body = b"\0s\0" + b"\0\1\0\1" + b"\0\1" + b"\0\0\0\4" + b"\0\0\0\0" + b"\0\0"
    conversation.say(*client(pg.message(b"B", body), pg.execute(), pg.SYNC))
    conversation.say(*server(pg.BIND_COMPLETE, pg.error("42601"), pg.ready()))
    assert verdicts(conversation) == ["deny"]


@pytest.mark.parametrize(
    ("prepare", "execute", "verdict"),
    [
        ("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1", "EXECUTE d ('%')", "deny"),
        ("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1", "EXPLAIN ANALYZE EXECUTE d ('%')", "deny"),
        ("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1", "EXECUTE d ('draft%')", "allow"),
        ("PREPARE d (int) AS DELETE FROM orders WHERE id > $1", "EXECUTE d (-5)", "deny"),
        ("PREPARE d (int) AS DELETE FROM orders WHERE id > $1", "EXECUTE d (5000)", "allow"),
    ],
)
def test_values_of_execute_count(prepare: str, execute: str, verdict: str) -> None:
    conversation = guarded(POLICY)
    conversation.say(*client(pg.query(prepare)))
    conversation.say(*server(pg.complete("PREPARE"), pg.ready()))
    conversation.say(*client(pg.query(execute)))
    conversation.say(*server(pg.error("42601") if verdict == "deny" else pg.complete("DELETE 1"), pg.ready()))
    assert verdicts(conversation) == ["allow", verdict]


def test_both_in_one_text() -> None:
    conversation = guarded(POLICY)
    conversation.say(*client(pg.query("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1; EXECUTE d ('%')")))
    conversation.say(*server(pg.error("42601"), pg.ready()))
    assert "deny" in verdicts(conversation)
    assert b"EXECUTE" not in conversation.heard.to_server
