"""What search_path does a session believe in? Only what nothing can have taken back; else names may mean anything.

A wrong belief is an evasion: `SELECT f()` would be looked for where the server does not look.
"""

from __future__ import annotations

import pytest

from tests.support.pg_conversation import (
    BIND_COMPLETE,
    PARSE_COMPLETE,
    SYNC,
    Conversation,
    Step,
    bind,
    client,
    complete,
    error,
    execute,
    message,
    parse,
    query,
    ready,
    row,
    row_description,
    server,
    status,
)


def believed(steps: list[Step]) -> tuple[str, ...]:
    made = Conversation()
    for side, data in steps:
        made.say(side, data)
    return made.session.lexing.search_path


def simple(text: str, *tags: str, after: str = "I") -> list[Step]:
    return [client(query(text)), server(*(complete(t) for t in tags), ready(after))]


SHOWN = [row_description("set_config"), row(b"safe"), complete("SELECT 1"), ready()]
SET = simple("SET search_path = safe", "SET")
KNOWN = {
    "set alone": (SET, ("safe",)),
    "several": (simple('SET search_path TO "$user", public', "SET"), ("$user", "public")),
    "by a call alone": ([client(query("SELECT set_config('search_path', 'safe', false)")), server(*SHOWN)], ("safe",)),
    "prepared": (
        [
            client(parse("", "SET search_path = safe"), bind("", ""), execute(), SYNC),
            server(PARSE_COMPLETE, BIND_COMPLETE, complete("SET"), ready()),
        ],
        ("safe",),
    ),
    "reset": ([*SET, *simple("RESET search_path", "RESET")], ("public",)),
    "to default": ([*SET, *simple("SET search_path TO DEFAULT", "SET")], ("public",)),
    "reset all": ([*SET, *simple("RESET ALL", "RESET")], ("public",)),
    "discard all": ([*SET, *simple("DISCARD ALL", "DISCARD ALL")], ("public",)),
    "reported": ([server(status("search_path", "safe, public"))], ("safe", "public")),
}
UNKNOWN = {
    "as another role": simple("SET ROLE other", "SET"),
    "as another role, reset": [*simple("SET ROLE other", "SET"), *simple("RESET ALL", "RESET")],
    "as another role, of its own": [
        *simple("SET SESSION AUTHORIZATION other", "SET"), *simple('SET search_path = "$user", public', "SET"),
    ],
    "set by a function call": [
        client(message(b"F", b"\0\0\x08\x1e" + b"\0\0" * 3)), server(message(b"V", b"\0\0\0\0"), ready()),
    ],
    "rolled back in one text": simple("BEGIN; SET search_path = safe; ROLLBACK", "BEGIN", "SET", "ROLLBACK"),
    "in a transaction": [*simple("BEGIN", "BEGIN", after="T"), *simple("SET search_path = safe", "SET", after="T")],
    "in one that ended": [
        *simple("BEGIN", "BEGIN", after="T"), *simple("SET search_path = safe", "SET", after="T"),
        *simple("ROLLBACK", "ROLLBACK"),
    ],
    "failed beside it": [
        client(query("SET search_path = safe; SELECT 1/0")), server(complete("SET"), error("22012"), ready()),
    ],
    "failed later in the pipeline": [
        client(parse("", "SET search_path = safe"), bind("", ""), execute(), parse("", "SELECT x"), SYNC),
        server(PARSE_COMPLETE, BIND_COMPLETE, complete("SET"), error("42703"), ready()),
    ],
    "rolled back in the pipeline": [
        client(
            parse("", "BEGIN"), bind("", ""), execute(), parse("", "SET search_path = safe"), bind("", ""), execute(),
            parse("", "ROLLBACK"), bind("", ""), execute(), SYNC,
        ),
        server(
            PARSE_COMPLETE, BIND_COMPLETE, complete("BEGIN"), PARSE_COMPLETE, BIND_COMPLETE, complete("SET"),
            PARSE_COMPLETE, BIND_COMPLETE, complete("ROLLBACK"), ready(),
        ),
    ],
    "local": simple("SET LOCAL search_path = safe", "SET"),
    "failed": [client(query("SET search_path = safe")), server(error("42501"), ready())],
    "local by a call": [client(query("SELECT set_config('search_path', 'safe', true)")), server(*SHOWN)],
    "no row calls it": [client(query("SELECT set_config('search_path', 'safe', false) WHERE 1 = 2")), server(*SHOWN)],
    "no branch calls it": [
        client(query("SELECT CASE WHEN false THEN set_config('search_path', 'safe', false) END")), server(*SHOWN),
    ],
    "prepared only": simple("PREPARE p AS SELECT set_config('search_path', 'safe', false)", "PREPARE"),
    "in code": simple("DO $$ BEGIN IF false THEN SET search_path = safe; END IF; END $$", "DO"),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_search_path_is_believed(name: str) -> None:
    steps, path = KNOWN[name]
    assert believed(steps) == path


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_may_not_have_come_about_is_not_believed(name: str) -> None:
    assert believed(UNKNOWN[name]) == ()
