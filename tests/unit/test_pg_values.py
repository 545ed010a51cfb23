"""A condition that restricts for some values only is judged by the values that come: `LIKE $1` with `%` leaves nothing out."""

from __future__ import annotations

from struct import pack

import pytest

from ingest.core.limits import Limits
from ingest.guard.guard import Guard
from ingest.protocols.postgres.messages import REFUSED_PARSE
from ingest.protocols.postgres.names import MAX_READ_AGAIN
from processors.policy.context import DEFAULTS, SUBJECT
from processors.statements.catalogue import Column, Function, Relation, build
from processors.statements.sizes import Size
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


def in_binary(sql: str, value: bytes, *oids: int, described: int = 0) -> list[str]:
    """Bind a value in binary to a statement that was parsed with `oids`, or whose parameter the server said is of one."""
    conversation = guarded(POLICY)
    conversation.say(*client(pg.parse("s", sql, *oids), *([pg.describe("S", "s")] if described else []), pg.SYNC))
    types = [pg.message(b"t", pack(">HI", 1, described)), pg.NO_DATA] if described else []
    conversation.say(*server(pg.PARSE_COMPLETE, *types, pg.ready()))
    body = b"\0s\0" + pack(">HHHI", 1, 1, 1, len(value)) + value + b"\0\0"
    conversation.say(*client(pg.message(b"B", body), pg.execute(), pg.SYNC))
    if b"refused" in conversation.heard.to_server:
        conversation.say(*server(pg.BIND_COMPLETE, pg.error("42601"), pg.ready()))
    else:
        conversation.say(*server(pg.BIND_COMPLETE, pg.complete("DELETE 1"), pg.ready()))
    return verdicts(conversation)


NUMBER, BEFORE = "DELETE FROM orders WHERE id > $1", "DELETE FROM orders WHERE created_at < $1"
DAY = 86_400_000_000


@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize(
    ("sql", "oid", "value", "verdict"),
    [
        (NUMBER, 23, pack(">i", 0), "deny"),
        (NUMBER, 20, pack(">q", 7000), "allow"),
        (NUMBER, 701, pack(">d", -1.5), "deny"),
        (NUMBER, 1700, pack(">HhHH", 0, 0, 0, 0), "deny"),
        (NUMBER, 1700, pack(">HhHHH", 1, 0, 0, 0, 7000), "allow"),
        (BEFORE, 1184, pack(">q", 2**63 - 1), "deny"),
        (BEFORE, 1184, pack(">q", 9500 * DAY), "allow"),
        (BEFORE, 1082, pack(">i", 2**31 - 1), "deny"),
        ("DELETE FROM orders WHERE state LIKE $1", 25, b"%", "deny"),
        ("DELETE FROM orders WHERE state LIKE $1", 20_000, b"%", "deny"),
        ("DELETE FROM orders WHERE state LIKE $1", 20_000, b"draft%", "allow"),
    ],
)
def test_a_value_in_binary_is_read(sql: str, oid: int, value: bytes, verdict: str, described: bool) -> None:
    assert in_binary(sql, value, *([] if described else [oid]), described=oid if described else 0) == [verdict]


@pytest.mark.parametrize("value", [pack(">i", 0), pack(">q", 7000), b"~~~~", b"\0" * 6])
def test_a_value_in_binary_of_no_known_type_may_be_any(value: bytes) -> None:
    assert in_binary(NUMBER, value) == in_binary(BEFORE, value) == in_binary(NUMBER, value, 3904) == ["deny"]
    assert in_binary("DELETE FROM orders WHERE id = $1", value) == ["allow"]


def test_formats_that_do_not_fit_are_left_to_the_server() -> None:
    conversation = guarded(POLICY)
    conversation.say(*client(pg.parse("s", "DELETE FROM orders WHERE id > $1 AND id < $2 AND state = $3"), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    body = b"\0s\0" + pack(">HHHH", 2, 0, 0, 3) + (pack(">I", 1) + b"5") * 3 + b"\0\0"
    conversation.say(*client(pg.message(b"B", body), pg.execute(), pg.SYNC))
    conversation.say(*server(pg.error("08P01"), pg.ready()))
    assert verdicts(conversation) == ["allow"]


@pytest.mark.parametrize(
    ("prepare", "execute", "verdict"),
    [
        ("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1", "EXECUTE d ('%')", "deny"),
        ("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1", "EXPLAIN ANALYZE EXECUTE d ('%')", "deny"),
        ("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1", "EXECUTE d ('draft%')", "allow"),
        ('PREPARE "D d" (text) AS DELETE FROM orders WHERE state LIKE $1', "EXECUTE \"D d\" ('%')", "deny"),
        ('PREPARE "D d" (text) AS DELETE FROM orders WHERE state LIKE $1', "EXECUTE \"D d\" ('draft%')", "allow"),
        ("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1", "EXECUTE U&\"\\0064\" ('%')", "deny"),
        ('PREPARE U&"\\0064" (text) AS DELETE FROM orders WHERE state LIKE $1', "EXECUTE d ('%')", "deny"),
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


LIKE = "DELETE FROM orders WHERE state LIKE $1"


def prepared(sql: str, *, status: str = "I") -> Conversation:
    conversation = guarded(POLICY)
    conversation.say(*client(pg.parse("s", sql), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready(status)))
    return conversation


@pytest.mark.parametrize("parses", [1, 3, 40])
@pytest.mark.parametrize(("value", "verdict"), [(b"%", "deny"), (b"draft%", "allow")])
def test_what_a_name_stood_for_is_judged_where_its_new_parse_may_fail(parses: int, value: bytes, verdict: str) -> None:
    """The name is in use, so the server refuses the Parse; behind the Sync the name is still the DELETE's."""
    conversation = prepared(LIKE)
    again = [part for _ in range(parses) for part in (pg.parse("s", "SELECT $1::text"), pg.SYNC)]
    conversation.say(*client(*again, pg.bind("", "s", value), pg.execute(), pg.SYNC))
    assert (b"refused" in conversation.heard.to_server) == (verdict == "deny" or parses == 40)


def test_what_a_name_ran_by_name_is_judged_too() -> None:
    conversation = guarded(POLICY)
    conversation.say(*client(pg.query("PREPARE d (text) AS DELETE FROM orders WHERE state LIKE $1")))
    conversation.say(*server(pg.complete("PREPARE"), pg.ready()))
    conversation.say(*client(pg.parse("s", "EXECUTE d ('%')"), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    conversation.say(*client(pg.parse("s", "SELECT 1"), pg.SYNC, pg.bind("", "s"), pg.execute(), pg.SYNC))
    assert b"refused" in conversation.heard.to_server


@pytest.mark.parametrize(("value", "verdict"), [("%", "deny"), ("draft%", "allow")])
def test_execute_runs_what_a_name_stood_for_where_its_new_parse_may_fail(value: str, verdict: str) -> None:
    conversation = prepared(LIKE)
    conversation.say(*client(pg.parse("s", "SELECT $1::text"), pg.SYNC, pg.query(f"EXECUTE s ('{value}')")))
    assert (b"refused" in conversation.heard.to_server) == (verdict == "deny")


def test_a_parse_that_failed_leaves_what_was_bound_with_its_value() -> None:
    conversation = prepared(LIKE, status="T")
    conversation.say(*client(pg.parse("s", "SELECT $1::text"), pg.SYNC, pg.bind("", "s", b"%"), pg.FLUSH))
    conversation.say(*server(pg.error("42P05"), pg.ready("T"), pg.BIND_COMPLETE))
    conversation.say(*client(pg.execute(), pg.SYNC))
    conversation.say(*server(pg.error("42601"), pg.ready("E")))
    assert verdicts(conversation) == ["deny"]


def test_statements_sent_ahead_under_one_name_are_nobody_elses() -> None:
    """As drivers pipeline: each unnamed statement is parsed and run before any answer came."""
    conversation = guarded(POLICY)
    each = [(pg.parse("", LIKE), pg.bind("", "", b"a%d%%" % n), pg.execute(), pg.SYNC) for n in range(40)]
    conversation.say(*client(*[part for parts in each for part in parts]))
    assert b"refused" not in conversation.heard.to_server


@pytest.mark.parametrize(("first", "verdict"), [(b"%", "deny"), (b"done%", "allow")])
def test_a_portal_that_is_still_open_counts_with_its_value(first: bytes, verdict: str) -> None:
    """The server refuses to bind a name in use; behind a savepoint the portal of before is the one executed."""
    conversation = prepared(LIKE, status="T")
    conversation.say(*client(pg.bind("p", "s", first), pg.SYNC))
    conversation.say(*server(pg.BIND_COMPLETE, pg.ready("T")))
    conversation.say(*client(pg.bind("p", "s", b"draft%"), pg.SYNC))
    conversation.say(*server(pg.error("42P03"), pg.ready("T")))
    conversation.say(*client(pg.execute("p"), pg.SYNC))
    conversation.say(*server(pg.error("42601") if verdict == "deny" else pg.complete("DELETE 1"), pg.ready("T")))
    assert verdicts(conversation)[-1] == verdict


def test_what_reading_thousands_of_values_may_cost_is_bounded() -> None:
    """Each Bind of 30 bytes asks for 17 ms of work here; past what one read from the client may cost, the worst is assumed."""
    sql = LIKE + " AND (state LIKE $1 OR label = 'abcdefgh')" * 60
    conversation = prepared(sql)
    many = MAX_READ_AGAIN // len(sql) + 2
    binds = [pg.bind(f"p{n}", "s", b"draft%d" % n) for n in range(many)]
    conversation.say(*client(*binds, pg.execute("p0"), pg.execute(f"p{many - 1}"), pg.SYNC))
    refused = REFUSED_PARSE
    assert conversation.heard.to_server.endswith(pg.execute("p0") + refused + pg.SYNC)
    conversation.say(*server(*[pg.BIND_COMPLETE] * many, pg.complete("DELETE 1"), pg.error("42601"), pg.ready()))
    conversation.say(*client(pg.bind("p0", "s", b"draft%"), pg.execute("p0"), pg.SYNC))
    assert conversation.heard.to_server.endswith(pg.execute("p0") + pg.SYNC)


def test_a_long_text_is_not_read_again_for_its_values() -> None:
    conversation = prepared(LIKE + " AND (state LIKE $1 OR label = 'abcdefgh')" * 100)
    conversation.say(*client(pg.bind("", "s", b"draft%"), pg.execute(), pg.SYNC))
    conversation.say(*server(pg.BIND_COMPLETE, pg.error("42601"), pg.ready()))
    assert verdicts(conversation) == ["deny"]


def test_a_statement_prepared_by_name_that_is_not_remembered_is_opaque() -> None:
    policy = make_policy([{"id": "whole", "effect": "deny", "when": "'opaque' in statement.dangers", "reason": "Unread."}])
    conversation = guarded(policy, Limits(prepared=2))
    for name in ("a", "b", "c"):
        conversation.say(*client(pg.query(f"PREPARE {name} (text) AS DELETE FROM orders WHERE state LIKE $1")))
        conversation.say(*server(pg.complete("PREPARE"), pg.ready()))
    conversation.say(*client(pg.query("EXECUTE c ('x%')")))
    conversation.say(*server(pg.complete("DELETE 1"), pg.ready()))
    conversation.say(*client(pg.query("EXECUTE a ('%')")))
    conversation.say(*server(pg.error("42601"), pg.ready()))
    assert verdicts(conversation)[-2:] == ["allow", "deny"]


class Snapshots:
    """A catalogue with a domain whose check deletes rows, a large table, and what statistics say of it."""

    def __init__(self) -> None:
        check = Function("shop", "check_it", "sql", "v", "DELETE FROM public.orders; SELECT true", oid=20_000)
        size = Size(100_000, {}, {"gone_at": 0.98}, {"id": (1.0, 100_000.0)}, {"paid": 0.95})
        columns = tuple(Column(name, n, "bigint", False, "") for n, name in enumerate(("id", "gone_at", "paid"), 1))
        self.current = build(
            [Relation("public", "orders", "r", 1, 100_000.0, "", columns)],
            [check],
            types=[("checked", "shop.check_it"), ("_checked", "shop.check_it")],
            type_names={20_001: "checked", 20_002: "_checked", 20_003: "harmless"},
            sizes={"orders": {"public": size}},
        )

    def changed(self) -> None:
        pass


def knowing() -> Conversation:
    conversation = Conversation(snapshots=Snapshots())
    conversation.session.guard = Guard(POLICY).session({n: DEFAULTS[n] for n in SUBJECT}, "s1", conversation.session, 0)
    return conversation


@pytest.mark.parametrize(
    ("oids", "verdict"), [((20_001,), "deny"), ((0, 20_002), "deny"), ((20_003,), "allow"), ((23,), "allow")]
)
def test_values_of_a_domain_that_Parse_names_run_its_checks(oids: tuple[int, ...], verdict: str) -> None:
    conversation = knowing()
    text = "SELECT " + ", ".join(f"${n}" for n in range(1, len(oids) + 1))
    conversation.say(*client(pg.parse("", text, *oids), pg.bind("", "", *(b"x" for _ in oids)), pg.execute(), pg.SYNC))
    if verdict == "deny":
        assert text.encode() not in conversation.heard.to_server
        conversation.say(*server(pg.error("42601"), pg.ready()))
    else:
        conversation.say(*server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.complete("SELECT 1"), pg.ready()))
    assert verdicts(conversation) == [verdict]


@pytest.mark.parametrize(
    ("sql", "value", "verdict"),
    [
        ("DELETE FROM orders WHERE id > $1", b"40", "deny"),
        ("DELETE FROM orders WHERE id < $1", b"99000", "deny"),
        ("DELETE FROM orders WHERE id BETWEEN $1 AND 200000", b"1000", "deny"),
        ("DELETE FROM orders WHERE id > $1", b"50000", "allow"),
        ("DELETE FROM orders WHERE id > $1 AND id < 70000", b"40", "allow"),
    ],
)
def test_a_bound_key_that_nearly_all_rows_are_beyond_restricts_nothing(sql: str, value: bytes, verdict: str) -> None:
    conversation = knowing()
    conversation.say(*client(pg.parse("s", sql), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    conversation.say(*client(pg.bind("", "s", value), pg.execute(), pg.SYNC))
    last = pg.error("42601") if verdict == "deny" else pg.complete("DELETE 1")
    conversation.say(*server(pg.BIND_COMPLETE, last, pg.ready()))
    assert verdicts(conversation) == [verdict]


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ("gone_at IS NULL", "deny"),
        ("gone_at IS NOT NULL", "allow"),
        ("paid", "deny"),
        ("paid = true", "deny"),
        ("paid IS TRUE", "deny"),
        ("paid IS NOT FALSE", "deny"),
        ("NOT paid", "allow"),
        ("paid = false", "allow"),
        ("NOT (NOT paid)", "deny"),
        ("id > 2", "deny"),
        ("id > 2 AND id < 300", "allow"),
        ("gone_at IS NULL AND id = 7", "allow"),
    ],
)
def test_what_statistics_say_nearly_all_rows_are_restricts_nothing(condition: str, verdict: str) -> None:
    conversation = knowing()
    conversation.say(*client(pg.query(f"DELETE FROM orders WHERE {condition}")))
    conversation.say(*server(pg.error("42601") if verdict == "deny" else pg.complete("DELETE 1"), pg.ready()))
    assert verdicts(conversation) == [verdict]


MUCH = make_policy(
    [{"id": "much", "effect": "deny", "when": "'resource_exhaustion' in statement.dangers", "reason": "Too much."}]
)  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT repeat('x', $1)", b"1000000000"),
        ("SELECT count(*) FROM generate_series(1, $1::bigint)", b"1e10"),
        ("SELECT repeat('x', $1) -- " + "y" * 9000, b"1000000000"),
        ("SELECT repeat('x', $1) -- " + "y" * 20000, b"3"),  # past what is kept of a text, the worst is assumed
    ],
    ids=str,
)
def test_a_value_that_makes_too_much_is_stopped_at_its_bind(sql: str, value: bytes) -> None:
    """Planning, which Bind does, computes what depends on no row."""
    conversation = guarded(MUCH)
    conversation.say(*client(pg.parse("s", sql), pg.SYNC))
    conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))
    conversation.say(*client(pg.bind("", "s", value), pg.execute(), pg.SYNC))
    assert conversation.heard.to_server.endswith(REFUSED_PARSE + REFUSED_PARSE + pg.SYNC)
    conversation.say(*server(pg.error("42601"), pg.ready()))
    assert verdicts(conversation) == ["deny"]
    conversation.heard.events.clear()
    if len(sql) < 10000:
        conversation.say(*client(pg.bind("", "s", b"3"), pg.execute(), pg.SYNC))
        conversation.say(*server(pg.BIND_COMPLETE, pg.complete("SELECT 1"), pg.ready()))
        assert verdicts(conversation) == ["allow"]
