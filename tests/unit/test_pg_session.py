"""Does a session match every answer to what was asked, whatever the protocol path, and however the bytes are cut?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from struct import pack

import pytest

from ingest.core.actions import Side
from ingest.core.limits import Limits
from ingest.protocols.postgres.answers import Answers
from tests.support.pg_conversation import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    COPY_DONE,
    COPY_IN,
    COPY_OUT,
    EMPTY_QUERY,
    FLUSH,
    NO_DATA,
    PARSE_COMPLETE,
    PORTAL_SUSPENDED,
    SYNC,
    TERMINATE,
    Conversation,
    Step,
    bind,
    client,
    close,
    complete,
    copy_data,
    describe,
    error,
    execute,
    message,
    parse,
    play,
    play_cut,
    query,
    ready,
    row,
    row_description,
    server,
    status,
)

SIMPLE = [
    client(query("SELECT a FROM t WHERE b = 5")),
    server(row_description("a"), row(b"1"), row(b"2"), complete("SELECT 2"), ready()),
]
SEVERAL = [
    client(query("INSERT INTO t VALUES (1); SELECT 2; UPDATE t SET a = 1 WHERE a = 0")),
    server(complete("INSERT 0 1"), row_description("x"), row(b"2"), complete("SELECT 1"), error("42P01"), ready()),
]
EMPTY = [client(query("")), server(EMPTY_QUERY, ready())]
PREPARED = [
    client(parse("s", "SELECT a FROM t WHERE b = $1", 23), describe("S", "s"), SYNC),
    server(PARSE_COMPLETE, message(b"t", pack(">HI", 1, 23)), row_description("a"), ready()),
    client(bind("", "s", b"5"), execute(), SYNC),
    server(BIND_COMPLETE, row(b"1"), complete("SELECT 1"), ready()),
    client(bind("", "s", b"6"), describe("P"), execute(), SYNC),
    server(BIND_COMPLETE, row_description("a"), complete("SELECT 0"), ready()),
]
FETCHES = [
    client(parse("", "SELECT a FROM t"), bind("p", ""), execute("p", 2), FLUSH),
    server(PARSE_COMPLETE, BIND_COMPLETE, row(b"1"), row(b"2"), PORTAL_SUSPENDED),
    client(execute("p", 2), close("P", "p"), SYNC),
    server(row(b"3"), complete("SELECT 1"), CLOSE_COMPLETE, ready()),
]
PIPELINE_ERROR = [
    client(
        parse("", "INSERT INTO t VALUES ($1)"), bind("", "", b"1"), execute(),
        parse("", "SELECT 1/0"), bind("", ""), execute(),
        parse("", "INSERT INTO t VALUES (3)"), bind("", ""), execute(), SYNC,
        parse("", "SELECT 4"), bind("", ""), execute(), SYNC,
    ),
    server(PARSE_COMPLETE, BIND_COMPLETE, complete("INSERT 0 1")),
    server(PARSE_COMPLETE, BIND_COMPLETE, error("22012"), ready("I")),
    server(PARSE_COMPLETE, BIND_COMPLETE, row(b"4"), complete("SELECT 1"), ready()),
]  # fmt: skip
LATE_SYNC = [
    client(parse("", "SELEC"), FLUSH),
    server(error("42601")),
    client(bind("", ""), execute(), query("SELECT 1"), SYNC),
    server(ready()),
    client(query("SELECT 2")),
    server(row_description("x"), row(b"2"), complete("SELECT 1"), ready()),
]
COPY_FROM = [
    client(query("COPY t FROM STDIN")),
    server(COPY_IN),
    client(copy_data(b"1\n"), copy_data(b"2\n"), COPY_DONE),
    server(complete("COPY 2"), ready()),
]
COPY_TO = [
    client(query("COPY t TO STDOUT")),
    server(COPY_OUT, copy_data(b"1\n"), copy_data(b"2\n"), message(b"c"), complete("COPY 2"), ready()),
]
COPY_EXTENDED = [
    client(parse("", "COPY t FROM STDIN"), bind("", ""), execute(), SYNC),
    server(PARSE_COMPLETE, BIND_COMPLETE, COPY_IN),
    client(copy_data(b"1\n"), COPY_DONE, SYNC),
    server(complete("COPY 1"), ready()),
    client(query("SELECT 1")),
    server(row_description("x"), row(b"1"), complete("SELECT 1"), ready()),
]
COPY_AHEAD = [
    client(parse("", "COPY t FROM STDIN"), bind("", ""), execute(), copy_data(b"1\n"), COPY_DONE, SYNC),
    server(PARSE_COMPLETE, BIND_COMPLETE, COPY_IN, complete("COPY 1"), ready()),
]
NOTICES = [
    client(query("DO $$BEGIN RAISE NOTICE 'x'; END$$")),
    server(message(b"N", b"SNOTICE\0\0"), message(b"A", b"\0\0\0\1ch\0payload\0"), status("TimeZone", "UTC")),
    server(complete("DO"), ready()),
]
CONVERSATIONS: dict[str, Sequence[Step]] = {
    "simple": SIMPLE, "several": SEVERAL, "empty": EMPTY, "prepared": PREPARED, "fetches": FETCHES,
    "pipeline error": PIPELINE_ERROR, "late sync": LATE_SYNC, "copy from": COPY_FROM, "copy to": COPY_TO,
    "copy extended": COPY_EXTENDED, "copy ahead": COPY_AHEAD, "notices": NOTICES,
}  # fmt: skip


def outcomes(steps: Sequence[Step]) -> list[tuple[str, str, int, int, str]]:
    """Return (kind, status, rows returned, rows affected, sqlstate) per event."""
    return [(k, s, r, a, e) for k, s, _, r, a, e in play(steps).summary()]


def test_simple_query_is_one_event() -> None:
    heard = play(SIMPLE)
    (event,) = heard.events
    assert event["text"] == "SELECT a FROM t WHERE b = ?"
    assert event["outcome"]["rows_returned"] == 2
    assert event["params"] and event["params"][0].startswith("int:")
    assert event["outcome"]["bytes_in"] == len(SIMPLE[0][1])
    assert event["outcome"]["bytes_out"] == len(SIMPLE[1][1]) - len(ready())


def test_every_statement_of_a_query_has_its_own_outcome() -> None:
    assert outcomes(SEVERAL) == [
        ("simple", "ok", 0, 1, ""),
        ("simple", "ok", 1, 0, ""),
        ("simple", "error", 0, 0, "42P01"),
    ]


def test_statements_after_an_error_are_not_executed() -> None:
    steps = [client(query("SELECT 1/0; SELECT 2")), server(error("22012"), ready())]
    assert outcomes(steps) == [("simple", "error", 0, 0, "22012"), ("simple", "not_executed", 0, 0, "")]


def test_each_execute_of_a_prepared_statement_is_an_event_with_its_parameters() -> None:
    heard = play(PREPARED)
    first, second = heard.events
    assert first["text"] == second["text"] == "SELECT a FROM t WHERE b = $1"
    assert first["params"] != second["params"]
    literal = play([client(query("SELECT a FROM t WHERE b = 5")), server(complete("SELECT 0"), ready())]).events[0]
    assert literal["params"] == first["params"], "a value has one token as parameter and as literal"


def test_partial_fetches_are_events_of_their_own() -> None:
    assert outcomes(FETCHES) == [("prepared", "ok", 2, 0, ""), ("fetch", "ok", 1, 0, "")]


def test_an_error_in_a_pipeline_skips_to_the_next_sync() -> None:
    assert outcomes(PIPELINE_ERROR) == [
        ("prepared", "ok", 0, 1, ""),
        ("prepared", "error", 0, 0, "22012"),
        ("prepared", "not_executed", 0, 0, ""),
        ("prepared", "ok", 1, 0, ""),
    ]


def test_what_is_sent_before_the_missing_sync_never_runs() -> None:
    assert [o[1] for o in outcomes(LATE_SYNC)] == ["not_executed", "not_executed", "ok"]


def test_copy_counts_rows_and_bytes_by_direction() -> None:
    assert outcomes(COPY_FROM) == [("copy", "ok", 0, 2, "")]
    assert play(COPY_FROM).events[0]["outcome"]["bytes_in"] > len(COPY_FROM[0][1])
    assert outcomes(COPY_TO)[0][:2] == ("copy", "ok")
    assert outcomes(COPY_TO)[0][2:4] == (2, 0)


@pytest.mark.parametrize("steps", [COPY_EXTENDED, COPY_AHEAD], ids=["sync while copying", "data sent ahead"])
def test_syncs_that_copy_swallows_are_not_waited_for(steps: Sequence[Step]) -> None:
    heard = play(steps)
    assert not heard.closed
    assert [e["outcome"]["status"] for e in heard.events] == ["ok"] * len(heard.events)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_bytes_pass_unchanged_however_they_are_cut(name: str) -> None:
    steps = CONVERSATIONS[name]
    whole = play(steps)
    assert whole.to_server == b"".join(data for side, data in steps if side is Side.CLIENT)
    assert whole.to_client == b"".join(data for side, data in steps if side is Side.SERVER)
    cuts = [lambda data: [data[n : n + 1] for n in range(len(data))]]
    for seed in range(20):
        cuts.append(lambda data, seed=seed: _random_cuts(data, random.Random(seed)))
    for cut in cuts:
        heard = play_cut(steps, cut)
        assert (heard.to_server, heard.to_client) == (whole.to_server, whole.to_client)
        assert heard.summary() == whole.summary()
        assert [e["outcome"]["bytes_out"] for e in heard.events] == [e["outcome"]["bytes_out"] for e in whole.events]
        assert [e["params"] for e in heard.events] == [e["params"] for e in whole.events]
        assert heard.closed == whole.closed == ""


class LongWay(Conversation):
    """Everything message by message, as nothing common were known."""

    def say(self, side: Side, data: bytes) -> None:
        self.now += 10
        self.carry_out(self.session.parse(side, data, self.now))


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_what_is_taken_whole_gives_the_events_of_the_long_way(name: str) -> None:
    assert play(CONVERSATIONS[name]) == play(CONVERSATIONS[name], LongWay)


def test_plain_statements_are_taken_whole_and_their_answers_too() -> None:
    for steps in (SIMPLE, PREPARED):
        conversation = Conversation()
        for side, data in steps[:-2]:
            conversation.say(side, data)
        (_, asked), (_, answer) = steps[-2:]
        execution = conversation.session.repeat(asked, conversation.now)
        assert execution is not None and not execution.done
        for end in range(len(answer)):
            assert conversation.session.answer_of(answer[:end]) is None, "only part of the answer"
        assert conversation.session.answer_of(answer + ready()) is None, "more than the answer"
        found = conversation.session.answer_of(answer)
        assert found is not None and not execution.done and conversation.session.expected, "a look changes nothing"
        assert conversation.session.answered(answer, found, conversation.now) is execution
        assert execution.done and not conversation.session.expected


@pytest.mark.parametrize(
    "asked",
    [
        query("SELECT 1; SELECT 2"), query("SET search_path = x"), query("CREATE TABLE t (a int)"), query("COPY t TO STDOUT"),
        query("EXECUTE s"), query("DECLARE c CURSOR FOR SELECT 1"), query("SELEC ("), query("SELECT 1")[:-1],
        query("SELECT 1") + SYNC, query("SELECT 1") + b"Q", SYNC, b"Q",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_not_taken_whole(asked: bytes) -> None:
    session = Conversation().session
    assert session.repeat(asked, 1) is None
    assert not session.expected and not session.statements and not session.bytes_in


@pytest.mark.parametrize(
    "answer",
    [
        error("42P01") + ready(), complete("SELECT 1") + ready("X"), EMPTY_QUERY + ready(), COPY_IN, b"",
        row(b"1") + row_description("a") + complete("SELECT 1") + ready(),
        row_description("a") * 2 + complete("SELECT 1") + ready(),
        BIND_COMPLETE + complete("SELECT 1") + ready(), complete("SELECT 1") * 2 + ready(),
        message(b"N", b"\0") + complete("SELECT 1") + ready(),
        b"D\0\0\0\0" + complete("SELECT 1") + ready(), b"D\xff\xff\xff\xff" + complete("SELECT 1") + ready(),
    ],
)  # fmt: skip
def test_answers_that_say_anything_else_are_not_taken_whole(answer: bytes) -> None:
    session = Conversation().session
    assert session.repeat(query("SELECT 1"), 1) is not None
    assert session.answer_of(answer) is None
    assert len(session.expected) == 1 and not session.bytes_out


def test_an_answer_like_the_last_one_is_told_as_if_it_were_the_first() -> None:
    rng = random.Random(7)
    heads = [b"", BIND_COMPLETE, row_description("a"), row_description("b"), BIND_COMPLETE + row_description("a")]
    rows = [b"", row(b"1"), row(b"23"), row(b"1") + row(b"2"), row(b"")[:-1], b"D\0\0\0\4", row(complete("SELECT 1"))]
    tails = [complete(tag) + ready(status) for tag in ("SELECT 1", "SELECT 2", "UPDATE 1") for status in "IT"] + [ready(), b""]
    asked = [query("SELECT 1"), query("UPDATE t SET a = 1"), bind("", "s") + execute() + SYNC]
    asked.append(bind("", "s") + describe("P", "") + execute() + SYNC)
    conversation = Conversation()
    conversation.say(*client(parse("s", "SELECT 1"), SYNC))
    conversation.say(*server(PARSE_COMPLETE, ready()))
    session, taken, alike = conversation.session, 0, 0
    for _ in range(20_000):
        if not session.expected:
            session.receive(Side.CLIENT, rng.choice(asked), 1)
        answer = rng.choice(heads) + rng.choice(rows) + rng.choice(tails)
        found, anew = session.answer_of(answer), Answers().find(answer, session.expected)
        assert found == anew, answer
        if found is not None:
            execution = session.answered(answer, found, 2)
            taken, alike = taken + 1, alike + (execution.rows == 1)
    assert taken > 500 and alike > 100


def _random_cuts(data: bytes, rng: random.Random) -> list[bytes]:
    points = sorted({0, len(data), *(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))})
    return [data[a:b] for a, b in pairwise(points)]


def test_no_byte_of_a_statement_leaves_before_its_intent() -> None:
    conversation = Conversation()
    text = query("SELECT 1")
    conversation.say(Side.CLIENT, text[:-1])
    assert conversation.heard.to_server == b"", "a message that is not whole is held"
    conversation.say(Side.CLIENT, text[-1:])
    assert conversation.intended_at() == [0]


def test_a_statement_too_long_to_gather_streams_and_keeps_its_last_byte_for_its_intent() -> None:
    conversation = Conversation(limits=Limits(statement=100))
    text = query("SELECT '" + "s3cret" * 1000 + "'")
    for at in range(0, len(text), 1000):
        conversation.say(Side.CLIENT, text[at : at + 1000])
    assert conversation.heard.to_server == text
    assert conversation.intended_at() == [len(text) - 1]
    conversation.say(Side.SERVER, complete("SELECT 1") + ready())
    (event,) = conversation.heard.events
    assert {"oversize", "opaque"} <= set(event["facts"]["flags"])
    assert "s3cret" not in str(event)


def test_a_bind_too_long_to_gather_streams_under_one_digest() -> None:
    conversation = Conversation(limits=Limits(bind=100))
    steps = parse("", "INSERT INTO t VALUES ($1)") + bind("", "", b"x" * 5000) + execute() + SYNC
    for at in range(0, len(steps), 700):
        conversation.say(Side.CLIENT, steps[at : at + 700])
    assert conversation.heard.to_server == steps
    conversation.say(Side.SERVER, PARSE_COMPLETE + BIND_COMPLETE + complete("INSERT 0 1") + ready())
    (event,) = conversation.heard.events
    assert event["text"] == "INSERT INTO t VALUES ($1)"
    assert event["params"][0].startswith("bind:")


def test_a_refused_statement_fails_in_the_server_and_reads_as_a_refusal() -> None:
    conversation = Conversation()
    conversation.session.refusal = "the spool is full"
    conversation.say(Side.CLIENT, query("DELETE FROM t"))
    assert b"DELETE" not in conversation.heard.to_server
    conversation.say(Side.SERVER, error("42601", "syntax error at affidavit_refused") + ready("I"))
    assert b"53100" in conversation.heard.to_client
    assert b"the spool is full" in conversation.heard.to_client
    assert b"syntax error" not in conversation.heard.to_client
    assert not conversation.heard.events


def test_a_refused_execute_fails_in_its_place_in_the_pipeline() -> None:
    conversation = Conversation()
    conversation.say(Side.CLIENT, parse("", "DELETE FROM t") + bind("", ""))
    conversation.session.refusal = "the spool is full"
    conversation.say(Side.CLIENT, execute() + SYNC)
    assert execute() not in conversation.heard.to_server
    conversation.say(Side.SERVER, PARSE_COMPLETE + BIND_COMPLETE + error("34000", 'portal "x"') + ready("I"))
    assert b"53100" in conversation.heard.to_client
    assert conversation.heard.to_client.endswith(ready("I"))


def test_pass_mode_forwards_and_counts_what_it_could_not_record() -> None:
    conversation = Conversation()
    conversation.session.pass_unaudited = True
    conversation.session.refusal = "the spool is full"
    conversation.say(Side.CLIENT, query("SELECT 1"))
    conversation.say(Side.SERVER, complete("SELECT 1") + ready())
    assert conversation.heard.to_server == query("SELECT 1")
    assert conversation.session.unaudited == 1
    assert not conversation.heard.events


def test_a_cancelled_statement_says_so() -> None:
    assert outcomes([client(query("SELECT pg_sleep(9)")), server(error("57014"), ready())]) == [
        ("simple", "cancelled", 0, 0, "57014")
    ]


def test_a_lost_server_leaves_outcomes_unknown() -> None:
    conversation = Conversation()
    conversation.say(Side.CLIENT, query("INSERT INTO t VALUES (1)"))
    conversation.lose(Side.SERVER)
    assert [e["outcome"]["status"] for e in conversation.heard.events] == ["unknown"]
    assert conversation.heard.closed == "server_lost"


def test_a_client_that_leaves_early_still_has_its_outcome_recorded() -> None:
    conversation = Conversation()
    conversation.say(Side.CLIENT, query("INSERT INTO t VALUES (1)"))
    conversation.lose(Side.CLIENT)
    assert conversation.session.draining
    assert not conversation.heard.closed
    conversation.say(Side.SERVER, complete("INSERT 0 1") + ready())
    conversation.lose(Side.SERVER)
    assert [e["outcome"]["status"] for e in conversation.heard.events] == ["ok"]
    assert conversation.heard.closed == "client_lost"


def test_terminate_ends_the_session_in_order() -> None:
    conversation = Conversation()
    conversation.say(Side.CLIENT, TERMINATE)
    conversation.lose(Side.CLIENT)
    assert conversation.heard.closed == "terminated"


@pytest.mark.parametrize(
    ("side", "data"),
    [
        (Side.CLIENT, b"GET / HTTP/1.1\r\n\r\n"),
        (Side.CLIENT, b"Q\x00\x00\x00\x01"),
        (Side.CLIENT, message(b"y", b"")),
        (Side.SERVER, message(b"!", b"")),
        (Side.SERVER, complete("SELECT 1")),
        (Side.SERVER, ready()),
    ],
    ids=["another protocol", "impossible length", "unknown client message", "unknown server message", "answer", "ready"],
)
def test_bytes_that_are_not_the_protocol_are_a_gap_and_the_end(side: Side, data: bytes) -> None:
    conversation = Conversation()
    conversation.say(side, data)
    ((kind, body),) = conversation.heard.other
    assert kind == "ProtocolGap"
    assert body["origin"] == side.value
    assert conversation.heard.closed == "protocol_gap"


def test_a_failed_parse_leaves_the_name_as_it_was() -> None:
    heard = play(
        [
            client(parse("s", "SELECT 1"), SYNC),
            server(PARSE_COMPLETE, ready()),
            client(parse("s", "SELECT other"), SYNC),
            server(error("42P05"), ready()),
            client(bind("", "s"), execute(), SYNC),
            server(BIND_COMPLETE, row(b"1"), complete("SELECT 1"), ready()),
        ]
    )
    assert [e["text"] for e in heard.events] == ["SELECT ?"]


def test_statements_forgotten_past_the_limit_are_recorded_as_opaque() -> None:
    conversation = Conversation(limits=Limits(prepared=2))
    for name in "abc":
        conversation.say(Side.CLIENT, parse(name, f"SELECT {name}") + SYNC)
        conversation.say(Side.SERVER, PARSE_COMPLETE + ready())
    conversation.say(Side.CLIENT, bind("", "a") + execute() + SYNC)
    conversation.say(Side.SERVER, BIND_COMPLETE + complete("SELECT 1") + ready())
    assert "opaque" in conversation.heard.events[0]["facts"]["flags"]


def test_application_name_and_transaction_status_follow_the_server() -> None:
    conversation = Conversation()
    conversation.say(Side.CLIENT, query("BEGIN"))
    conversation.say(Side.SERVER, complete("BEGIN") + ready("T"))
    conversation.say(Side.CLIENT, query("SET application_name = 'x'"))
    conversation.say(Side.SERVER, complete("SET") + status("application_name", "x") + ready("T"))
    conversation.say(Side.CLIENT, query("SELECT 1"))
    conversation.say(Side.SERVER, complete("SELECT 1") + ready("T"))
    assert [e["transaction"] for e in conversation.heard.events] == ["I", "T", "T"]
    assert [e["application"] for e in conversation.heard.events] == ["t", "t", "x"]


def test_text_sent_while_lexing_is_uncertain_is_read_both_ways() -> None:
    conversation = Conversation()
    conversation.say(
        Side.CLIENT, query("SET standard_conforming_strings = off") + query(r"SELECT '\' , current_user /*' */, 'x\'' --")
    )
    conversation.say(
        Side.SERVER,
        complete("SET") + status("standard_conforming_strings", "off") + ready() + complete("SELECT 1") + ready(),
    )
    assert "opaque" in conversation.heard.events[1]["facts"]["flags"]
    conversation.say(Side.CLIENT, query("SELECT 'it is settled'"))
    conversation.say(Side.SERVER, complete("SELECT 1") + ready())
    assert "opaque" not in conversation.heard.events[2]["facts"]["flags"]


def test_replication_streams_only_where_allowed() -> None:
    conversation = Conversation()
    conversation.say(Side.CLIENT, query("START_REPLICATION 0/0"))
    conversation.say(Side.SERVER, message(b"W", b"\0\0\0"))
    assert conversation.heard.closed == "protocol_gap"
    allowed = Conversation(allow_replication=True)
    allowed.say(Side.CLIENT, query("START_REPLICATION 0/0"))
    allowed.say(Side.SERVER, message(b"W", b"\0\0\0") + copy_data(b"wal"))
    allowed.say(Side.CLIENT, copy_data(b"status"))
    assert not allowed.heard.closed
    assert allowed.heard.to_client.endswith(copy_data(b"wal"))


def test_nothing_asked_may_be_described_answered_with_no_data() -> None:
    heard = play(
        [
            client(parse("", "BEGIN"), describe("S"), bind("", ""), describe("P"), execute(), SYNC),
            server(PARSE_COMPLETE, message(b"t", pack(">H", 0)), NO_DATA, BIND_COMPLETE, NO_DATA, complete("BEGIN"), ready("T")),
        ]
    )
    assert [e["outcome"]["status"] for e in heard.events] == ["ok"]


class Noticed:
    """Counts how often a session says that what is known of the database's objects may be out of date."""

    current = None
    times = 0

    def changed(self) -> None:
        self.times += 1


def test_a_prepared_statement_that_changes_objects_says_so_each_time() -> None:
    """Also where it comes as the repetition of the one before, in one segment."""
    noticed = Noticed()
    talk = Conversation(snapshots=noticed)
    talk.say(Side.CLIENT, parse("s", "CREATE TABLE IF NOT EXISTS scratch (a int)") + SYNC)
    talk.say(Side.SERVER, PARSE_COMPLETE + ready())
    for time in (1, 2, 3):
        talk.say(Side.CLIENT, bind("", "s") + execute("") + SYNC)
        talk.say(Side.SERVER, BIND_COMPLETE + complete("CREATE TABLE") + ready())
        assert noticed.times == time


def test_a_statement_during_which_the_clock_is_set_back_took_no_time() -> None:
    c = Conversation()
    c.now = 3_700_000_000
    c.say(Side.CLIENT, query("SELECT a FROM t WHERE b = 5"))
    c.now -= 3_600_000_000
    c.say(Side.SERVER, row_description("a") + row(b"1") + complete("SELECT 1") + ready())
    [event] = c.heard.events
    assert (event["outcome"]["status"], event["outcome"]["db_us"], event["outcome"]["total_us"]) == ("ok", 0, 0)
