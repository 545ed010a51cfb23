"""Does an event say what the database really ran, when names mean something else than the client pretends?

Each conversation is one that PostgreSQL 15 has with such a client; the answers are those it gave.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from ingest.core.actions import Side
from ingest.protocols.postgres.repeats import Repeats
from tests.support.pg_conversation import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    COPY_DONE,
    COPY_IN,
    PARSE_COMPLETE,
    SYNC,
    Conversation,
    Heard,
    bind,
    client,
    close,
    complete,
    copy_data,
    error,
    execute,
    message,
    parse,
    play,
    query,
    ready,
    row,
    server,
)


def texts(heard: Heard) -> list[tuple[str, str]]:
    return [(e["text"], e["outcome"]["status"]) for e in heard.events]


SECRET = "SELECT b FROM secrets"
PREPARED = [client(parse("s", SECRET), SYNC), server(PARSE_COMPLETE, ready())]
RAN = (BIND_COMPLETE, row(b"x"), complete("SELECT 1"), ready())


def test_a_parse_that_fails_ahead_of_its_use_does_not_lend_it_its_text() -> None:
    ahead = client(parse("s", "SELECT 1"), SYNC, bind("", "s"), execute(), SYNC)
    heard = play([*PREPARED, ahead, server(error("42P05"), ready(), *RAN)])
    assert texts(heard) == [("SELECT ?", "not_executed"), (SECRET, "ok")]
    assert heard.events[1]["outcome"]["rows_returned"] == 1


def test_a_parse_that_is_skipped_does_not_lend_its_text_either() -> None:
    heard = play(
        [
            client(parse("", SECRET + " WHERE a = 7"), SYNC),
            server(PARSE_COMPLETE, ready()),
            client(bind("", "nowhere"), parse("", "SELECT 1"), SYNC, bind("", "", b"v"), execute(), SYNC),
            server(error("26000"), ready(), *RAN),
        ]
    )
    assert texts(heard) == [("SELECT ?", "not_executed"), (SECRET + " WHERE a = ?", "ok")]
    assert len(heard.events[1]["params"]) == 2


def test_failed_parses_in_a_row_all_leave_the_name_as_it_was() -> None:
    tries = [part for n in range(3) for part in (parse("s", f"SELECT {n}"), SYNC)]
    steps = [*PREPARED, client(*tries, bind("p", "s"), execute("p"), SYNC), server(*[error("42P05") + ready()] * 3, *RAN)]
    assert texts(play(steps)) == [("SELECT ?", "not_executed"), (SECRET, "ok")]


def test_a_later_parse_of_the_same_name_stands_when_an_earlier_one_failed() -> None:
    """Every pipelining client does this with the unnamed statement."""
    heard = play(
        [
            client(parse("", "SELECT broken"), bind("", ""), execute(), SYNC, parse("", "SELECT a FROM t")),
            server(error("42703"), ready()),
            client(bind("", ""), execute(), SYNC),
            server(PARSE_COMPLETE, *RAN),
        ]
    )
    assert texts(heard) == [("SELECT broken", "error"), ("SELECT a FROM t", "ok")]


def test_a_name_made_by_sql_is_not_taken_for_one_whose_parse_failed() -> None:
    ahead = client(parse("s", "SELECT 1"), SYNC, bind("", "s"), execute(), SYNC)
    heard = play(
        [
            client(query("PREPARE s AS " + SECRET)),
            server(complete("PREPARE"), ready()),
            ahead,
            server(error("42P05"), ready(), *RAN),
        ]
    )
    assert "opaque" in heard.events[-1]["facts"]["flags"]
    assert heard.events[-1]["outcome"]["status"] == "ok"


@pytest.mark.parametrize(
    "text", ["EXECUTE s", 'EXECUTE "s"', "execute S", "EXPLAIN ANALYZE EXECUTE s", "CREATE TABLE c AS EXECUTE s"]
)
def test_sql_that_executes_what_parse_prepared_says_what_that_is(text: str) -> None:
    heard = play([*PREPARED, client(query(text)), server(complete("SELECT 1"), ready())])
    [event] = heard.events
    assert event["text"].endswith("; " + SECRET)
    assert "public.secrets" in event["facts"]["reads"]
    assert {"execute", "select"} <= set(event["facts"]["verbs"])
    prepared = play([*PREPARED, client(parse("", text), bind("", ""), execute(), SYNC), server(PARSE_COMPLETE, *RAN)])
    assert prepared.events[0]["text"] == event["text"]


def test_sql_that_executes_what_sql_prepared_is_as_it_was() -> None:
    heard = play([*PREPARED, client(query("EXECUTE other(1)")), server(complete("SELECT 1"), ready())])
    assert [e["text"] for e in heard.events] == ["EXECUTE other(?)"]


def test_fetch_from_a_bound_portal_says_what_it_returns() -> None:
    heard = play(
        [
            client(query("BEGIN")),
            server(complete("BEGIN"), ready("T")),
            client(parse("", SECRET), bind("p", ""), SYNC),
            server(PARSE_COMPLETE, BIND_COMPLETE, ready("T")),
            client(query("FETCH ALL FROM p")),
            server(row(b"x"), complete("FETCH 1"), ready("T")),
        ]
    )
    assert heard.events[-1]["text"] == f"FETCH ALL FROM p; {SECRET}"


def test_names_that_sql_gives_anew_are_no_longer_what_they_were() -> None:
    made = Conversation()
    for text, ok in (("DEALLOCATE s", "DEALLOCATE"), ("PREPARE s AS " + SECRET, "PREPARE")):
        if text.startswith("DEALLOCATE"):
            made.say(Side.CLIENT, parse("s", "SELECT 1") + SYNC)
            made.say(Side.SERVER, PARSE_COMPLETE + ready())
        made.say(Side.CLIENT, query(text))
        made.say(Side.SERVER, complete(ok) + ready())
    made.say(Side.CLIENT, bind("", "s") + execute() + SYNC)
    made.say(Side.SERVER, b"".join(RAN))
    assert "opaque" in made.heard.events[-1]["facts"]["flags"]


def test_a_portal_name_in_use_stands_for_either_statement() -> None:
    steps = [
        client(query("BEGIN"), parse("", SECRET), bind("p", ""), SYNC),
        server(complete("BEGIN"), ready("T"), PARSE_COMPLETE, BIND_COMPLETE, ready("T")),
        client(query("SAVEPOINT x"), parse("", "SELECT 1"), bind("p", ""), SYNC, query("ROLLBACK TO x"), execute("p"), SYNC),
        server(complete("SAVEPOINT"), ready("T"), PARSE_COMPLETE, error("42P03"), ready("E")),
        server(complete("ROLLBACK"), ready("T"), row(b"x"), complete("SELECT 1"), ready("T")),
    ]
    assert SECRET in play(steps).events[-1]["text"]


def test_the_server_knows_names_by_63_bytes() -> None:
    long = "n" * 63
    steps = [client(parse(long + "1", SECRET), SYNC, bind(long, long + "2"), execute(long + "3"), SYNC)]
    assert texts(play([*steps, server(PARSE_COMPLETE, ready(), *RAN)])) == [(SECRET, "ok")]


def test_a_refused_execute_cannot_reach_a_cursor_of_any_name() -> None:
    conversation = Conversation()
    conversation.say(Side.CLIENT, query('DECLARE "affidavit refused" CURSOR WITH HOLD FOR ' + SECRET))
    conversation.say(Side.SERVER, complete("DECLARE CURSOR") + ready())
    before = len(conversation.heard.to_server)
    conversation.session.refusal = "the spool is full"
    conversation.say(Side.CLIENT, execute("affidavit refused") + SYNC)
    sent = conversation.heard.to_server[before:]
    assert sent == message(b"P", b"affidavit_refused\0affidavit_refused\0\0\0") + SYNC


def test_a_sync_that_copy_never_read_is_answered() -> None:
    """A BEFORE STATEMENT trigger fails after CopyInResponse and before any data is read."""
    heard = play(
        [
            client(parse("", "COPY t FROM STDIN"), bind("", ""), execute(), SYNC),
            server(PARSE_COMPLETE, BIND_COMPLETE, COPY_IN, error("P0001"), ready()),
            client(copy_data(b"1\n"), COPY_DONE, SYNC),
            server(ready()),
            client(query("SELECT 1")),
            server(complete("SELECT 1"), ready()),
        ]
    )
    assert heard.closed == ""
    assert texts(heard) == [("COPY t FROM STDIN", "error"), ("SELECT ?", "ok")]


def test_a_failed_commit_at_sync_is_an_event() -> None:
    steps = [
        client(parse("", "INSERT INTO d VALUES (1)"), bind("", ""), execute(), SYNC),
        server(PARSE_COMPLETE, BIND_COMPLETE, complete("INSERT 0 1"), message(b"E", b"SERROR\0VERROR\0C23505\0Mno\0\0"), ready()),
    ]
    heard = play(steps)
    assert texts(heard) == [("INSERT INTO d VALUES (?)", "ok"), ("COMMIT", "error")]
    assert heard.events[1]["outcome"]["sqlstate"] == "23505"


@pytest.mark.parametrize("code", [b'","x":"y', b"", b"ABCDEF", b'4250"'])
def test_a_server_cannot_write_into_an_event(code: bytes) -> None:
    heard = play([client(query("SELECT 1")), server(message(b"E", b"C" + code + b"\0\0"), ready())])
    assert heard.events[0]["outcome"]["sqlstate"] == "XX000"


@pytest.mark.parametrize(
    "answer", [message(b"Z", b'I","x":"'), message(b"Z"), complete("COPY " + "9" * 5000) + message(b"Z", b"?")]
)
def test_an_impossible_answer_ends_the_session_with_a_gap(answer: bytes) -> None:
    heard = play([client(query("COPY t FROM STDIN")), server(COPY_IN), client(COPY_DONE), server(answer)])
    assert heard.closed == "protocol_gap"
    assert len(heard.events) == 1


# The shortest way and the long one

CLIENT_PARTS = [
    *[(parse(n, t), "P") for n in ("", "a", "b") for t in ("SELECT $1", "SELECT x FROM t WHERE y = $1 AND z = 'k'", "EXECUTE b")],
    *[(bind("", n, v) + execute(), "BE") for n in ("", "a", "b") for v in (b"1", b"two", None)],
    *[(bind("p", n, b"1") + execute("p"), "BE") for n in ("a", "b")],
    (close("S", "a"), "C"),
]


def scripted(seed: int) -> list[Any]:
    """Return a conversation of groups, each sent whole, some answered late, some of them failing half-way."""
    chance = random.Random(seed)
    steps: list[Any] = [client(parse("", "SELECT $1"), parse("a", "SELECT $1 + 1"), parse("b", "SELECT $1 + 2"), SYNC)]
    steps.append(server(3 * PARSE_COMPLETE, ready()))
    owed: list[bytes] = []
    picked: list[tuple[bytes, str]] = []
    for _ in range(30):
        if not picked or chance.random() < 0.5:  # else the same again, as drivers do
            picked = chance.choices(CLIENT_PARTS, weights=[1] * 9 + [12] * 9 + [1] * 3, k=chance.choice((1, 1, 1, 1, 2, 3)))
        steps.append(client(*(part for part, _ in picked), SYNC))
        answers: list[bytes] = []
        for _, kind in picked:
            if chance.random() < 0.15:
                answers.append(error("42601"))
                break
            ran = [BIND_COMPLETE, row(b"1"), complete("SELECT 1")]
            answers += {"P": [PARSE_COMPLETE], "C": [CLOSE_COMPLETE], "BE": ran}[kind]
        owed += [*answers, ready()]
        if chance.random() < 0.7:
            steps.append(server(*owed))
            owed = []
    return [*steps, server(*owed)] if owed else steps


@pytest.mark.parametrize("seed", range(60))
def test_the_shortest_way_records_what_the_long_one_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = scripted(seed)
    short = play(steps)
    matched = []
    match = Repeats.match
    monkeypatch.setattr(Repeats, "match", lambda self, data, tokenizer: matched.append(match(self, data, tokenizer)))
    long = play(steps)
    assert short == long
    assert not short.closed
    assert len(short.events) > 5


@pytest.mark.replaces
def test_the_scripts_do_take_the_shortest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    match = Repeats.match

    def seen(self: Repeats, data: bytes, tokenizer: Any) -> Any:
        found = match(self, data, tokenizer)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(Repeats, "match", seen)
    for seed in range(60):
        play(scripted(seed))
    assert sum(taken) > 100
