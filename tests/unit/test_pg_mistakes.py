"""A text that the server's grammar refuses is answered by the server itself, made to fail whatever it takes the text for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ingest.core.guarding import Answer
from ingest.core.limits import Limits
from ingest.protocols.postgres.mistaken import TAIL, told
from processors.statements import Analyser, Lexing, Mistake
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import TOKENIZER, Conversation, client, cuts, play, play_cut, server
from tests.unit.test_pg_guard import guarded, make_policy

OPAQUE = {"when": "'opaque' in statement.dangers", "reason": "Not known."}
DENIES = make_policy([{"id": "no-opaque", "effect": "deny", **OPAQUE}])
HOLDS = make_policy([{"id": "ask", "effect": "hold", "approvers": {"groups": ["dba"]}, **OPAQUE}])
SLIP = "SELEC 'hunter2'"


def make(limits: Limits | None = None) -> Conversation:
    return guarded(DENIES, limits)


def refused(near: str = "SELEC", position: int = 1, code: str = "42601") -> bytes:
    """What the server says, as it says it."""
    fields = {"S": "ERROR", "V": "ERROR", "C": code, "M": f'syntax error at or near "{near}"', "P": str(position)}
    fields |= {"F": "scan.l", "L": "1188", "R": "scanner_yyerror"}
    return pg.message(b"E", b"".join(k.encode() + v.encode() + b"\0" for k, v in fields.items()) + b"\0")


def outcomes(heard: pg.Heard) -> list[tuple[str, str, str, str]]:
    return [(e["kind"], e["outcome"]["status"], e["outcome"]["sqlstate"], e["text"]) for e in heard.events]


@pytest.mark.parametrize("cut", cuts())
def test_a_query_is_failed_by_the_server_in_its_own_words(cut: Callable[[bytes], list[bytes]]) -> None:
    heard = play_cut(
        [
            client(pg.query(SLIP)),
            server(refused(), pg.ready("E")),
            client(pg.query("SELECT 1")),
            server(pg.row_description("a"), pg.row(b"1"), pg.complete("SELECT 1"), pg.ready()),
        ],
        cut,
        make,
    )
    assert heard.to_server == pg.query(f"{SLIP}\n\x01") + pg.query("SELECT 1")
    assert heard.to_client.startswith(refused() + pg.ready("E"))
    assert outcomes(heard) == [("simple", "error", "42601", "?"), ("simple", "ok", "", "SELECT ?")]
    assert heard.events[0]["decision"]["policies"] == ["no-opaque"] and "hunter2" not in str(heard.events)


@pytest.mark.parametrize("cut", cuts())
def test_a_parse_fails_its_pipeline_up_to_its_sync_and_no_further(cut: Callable[[bytes], list[bytes]]) -> None:
    heard = play_cut(
        [
            client(
                pg.parse("", "SELECT 1"), pg.bind("", ""), pg.execute(),
                pg.parse("s", SLIP, 23), pg.bind("", "s"), pg.describe("P"), pg.execute(),
                pg.parse("", "SELECT 2"), pg.bind("", ""), pg.execute(), pg.parse("", SLIP), pg.query(SLIP), pg.SYNC,
                pg.parse("", "SELECT 3"), pg.bind("", ""), pg.execute(), pg.SYNC,
            ),
            server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.row(b"1"), pg.complete("SELECT 1"), refused(), pg.ready()),
            server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.row(b"3"), pg.complete("SELECT 1"), pg.ready()),
        ],
        cut,
        make,
    )  # fmt: skip
    assert pg.parse("s", f"{SLIP}\n\x01", 23) in heard.to_server
    assert heard.to_server.count(SLIP.encode()) == heard.to_server.count(SLIP.encode() + TAIL) == 3
    assert heard.to_client.count(refused()) == 1 and b"affidavit" not in heard.to_client and heard.closed == ""
    assert sorted(outcomes(heard)) == [
        ("prepared", "error", "42601", "?"),
        ("prepared", "not_executed", "", "?"),
        ("prepared", "not_executed", "", "SELECT ?"),
        ("prepared", "ok", "", "SELECT ?"),
        ("prepared", "ok", "", "SELECT ?"),
        ("simple", "not_executed", "", "?"),
    ]


def test_behind_an_error_it_is_skipped_as_all_is() -> None:
    conversation = make()
    conversation.say(*client(pg.parse("", "SELECT nope"), pg.parse("", SLIP), pg.FLUSH))
    conversation.say(*server(pg.error("42703")))
    conversation.say(*client(pg.parse("", SLIP), pg.query(SLIP), pg.SYNC))
    conversation.say(*server(pg.ready()))
    assert [o[:3] for o in outcomes(conversation.heard)] == [
        ("prepared", "not_executed", ""), ("prepared", "not_executed", ""), ("simple", "not_executed", "")
    ]  # fmt: skip
    assert conversation.heard.to_client == pg.error("42703") + pg.ready() and conversation.open_intents == 0


def test_a_name_means_afterwards_what_it_meant_before() -> None:
    heard = play(
        [
            client(pg.parse("s", "SELECT 1"), pg.SYNC),
            server(pg.PARSE_COMPLETE, pg.ready()),
            client(pg.parse("s", SLIP), pg.SYNC),
            server(refused(), pg.ready()),
            client(pg.bind("", "s"), pg.execute(), pg.SYNC),
            server(pg.BIND_COMPLETE, pg.row(b"1"), pg.complete("SELECT 1"), pg.ready()),
        ],
        make,
    )
    assert [o[1:] for o in outcomes(heard)] == [("error", "42601", "?"), ("ok", "", "SELECT ?")]


@pytest.mark.parametrize("message", [pg.query(SLIP), pg.parse("", SLIP) + pg.SYNC])
def test_what_the_server_finds_nothing_wrong_with_stays_denied(message: bytes) -> None:
    heard = play([client(message), server(refused("\x01", 17), pg.ready())], make)
    assert [o[1:3] for o in outcomes(heard)] == [("denied", "42501")]
    assert b"denied by policy rule no-opaque" in heard.to_client and b"\x01" not in heard.to_client.replace(pg.ready(), b"")


def test_the_session_ends_before_the_server_answers() -> None:
    conversation = make()
    conversation.say(*client(pg.query(SLIP)))
    conversation.lose(pg.Side.SERVER)
    assert [o[1] for o in outcomes(conversation.heard)] == ["unknown"]


def test_nobody_is_asked_for_a_slip() -> None:
    heard = play([client(pg.query(SLIP)), server(refused(), pg.ready())], lambda: guarded(HOLDS))
    assert not heard.holds and [o[1:3] for o in outcomes(heard)] == [("error", "42601")]
    heard = play([client(pg.parse("s", SLIP), pg.SYNC), server(refused(), pg.ready())], lambda: guarded(HOLDS))
    assert not heard.holds and [o[1:3] for o in outcomes(heard)] == [("error", "42601")]


def test_an_answer_to_nothing_changes_nothing() -> None:
    conversation = make()
    conversation.say(*client(pg.query(SLIP)))
    conversation.answer("nothing", Answer("approved"))
    assert conversation.heard.events == []


NOT_SLIPS = [
    "SELECT 1",
    "",
    "SELEC \x01",  # nobody could tell it from ours
    "SELECT " + "(" * 400,  # the server's parser may go deeper
    "SELEC " + "/*" * 200,
    "WITH q AS (UPDATE t SET (a, b) = (" * 40 + "SELECT 1" + ")) SELECT 1" * 40 + ",",  # its tree would take too much memory
]


@pytest.mark.parametrize("sql", NOT_SLIPS)
def test_what_may_be_valid_is_no_mistake(sql: str) -> None:
    assert Analyser(TOKENIZER).mistake(sql.encode(), Lexing()) is None


def test_what_is_read_in_two_ways_is_no_mistake() -> None:
    analyser = Analyser(TOKENIZER)
    assert analyser.mistake(b"SELEC", Lexing(standard_conforming_strings=None)) is None
    assert analyser.mistake(b"SELEC \xff", Lexing()) is None
    assert analyser.mistake(b"SELECT 'a\\', 'b'", Lexing(standard_conforming_strings=True)) is None
    assert analyser.mistake(b"SELECT 'a\\', 'b'", Lexing(standard_conforming_strings=False)) == Mistake(False)
    assert analyser.mistake(b"SELECT 'a\\', 'b", Lexing(standard_conforming_strings=True)) == Mistake(False)
    assert analyser.mistake(b"SELECT (", Lexing()) == Mistake(True)


FIELDS = b"SERROR\0C42601\0M%b\0P%d\0\0"


@pytest.mark.parametrize(
    ("at_end", "said", "heard"),
    [
        (False, (b'syntax error at or near "x"', 3), (b'syntax error at or near "x"', 3)),
        (True, (b'syntax error at or near "\x01"', 10), (b"syntax error at end of input", 9)),
        (True, ('Syntaxfehler bei »\x01«'.encode(), 10), (b"syntax error at end of input", 9)),
        (False, (b"unterminated quoted string at or near \"'a\n\x01\"", 8), (b"unterminated quoted string at or near \"'a\"", 8)),
        (True, (b'unterminated /* comment at or near "/* a\n\x01"', 8), (b'unterminated /* comment at or near "/* a"', 8)),
    ],
)  # fmt: skip
def test_the_tail_is_not_told(at_end: bool, said: tuple[bytes, int], heard: tuple[bytes, int]) -> None:
    assert told(Mistake(at_end), FIELDS % said) == FIELDS % heard


def test_a_tail_that_was_reached_is_told_apart() -> None:
    assert told(Mistake(False), FIELDS % (b'syntax error at or near "\x01"', 10)) is None
