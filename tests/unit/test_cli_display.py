"""What commands and logs print: as it is, but nothing a terminal obeys, and nothing that is a secret by its name."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
import structlog
from rich.console import Console

from deploy.display import printable, show_events, show_sessions, show_stream
from deploy.logs import configure

HOSTILE = "SELECT \x1b]0;owned\x07 \u202e \x9b31m a\tb"


def event(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "at": 1_700_000_000_000_000,
        "principal": {"id": "dana", "on_behalf_of": ""},
        "database": {"alias": "shop"},
        "client": {"application": "psql", "address": "127.0.0.1"},
        "text": "SELECT ?",
        "text_hash": "ab" * 32,
        "outcome": {"status": "ok", "sqlstate": "", "rows_returned": 12_000, "rows_affected": 0, "total_us": 1500},
    }
    return made | changes


def test_a_statement_is_one_line_a_person_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"status": "error", "sqlstate": "42703", "rows_returned": 0, "rows_affected": 0, "total_us": 0}
    show_events([event(), event(principal={"id": "copilot", "on_behalf_of": "dana"}, outcome=failed)], as_json=False)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["time", "who", "database", "status", "rows", "ms", "statement"]
    assert first.split() == ["2023-11-14", "22:13:20Z", "dana", "shop", "ok", "12,000", "1.5", "SELECT", "?"]
    assert "copilot for dana" in second
    assert "error 42703" in second


def test_nothing_an_audited_client_wrote_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = event(text=HOSTILE, principal={"id": HOSTILE, "on_behalf_of": HOSTILE}, database={"alias": HOSTILE})
    session = hostile | {"opened_at": 1, "closed_at": 2, "open": False, "statements": 3, "reason": HOSTILE, "session_id": HOSTILE}
    session["client"] = {"application": HOSTILE, "address": HOSTILE}
    show_events([hostile], as_json=False)
    show_stream([hostile], as_json=False)
    show_sessions([session], as_json=False)
    out = capsys.readouterr().out
    assert out.count("owned") >= 9
    assert [c for c in out if not c.isprintable() and c != "\n"] == []
    assert printable(HOSTILE) == "SELECT �]0;owned� � �31m a�b"


@pytest.mark.parametrize(("width", "is_table"), [(60, False), (140, True)])
def test_a_list_that_does_not_fit_a_terminal_is_told_row_by_row(
    monkeypatch: pytest.MonkeyPatch, width: int, is_table: bool
) -> None:
    out = io.StringIO()
    monkeypatch.setattr("deploy.display._console", lambda: Console(width=width, file=out, force_terminal=True, color_system=None))
    number = "01a226df-13f1-7e6d-a8cc-479d892f988f"
    session = event(session_id=number, opened_at=10**15, open=True, statements=3, reason="")
    show_sessions([session, session], as_json=False)
    lines = [line.split() for line in out.getvalue().splitlines()]
    out.truncate(0)
    out.seek(0)
    show_events([event(), event()], as_json=False)
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == ["statement", "?", "?"][not is_table :]
    if is_table:
        assert [len(lines), lines[1][0], lines[2][0]] == [3, number, number]
    else:
        assert lines.count(["id", number]) == lines.count(["who", "dana"]) == 2
        assert ["ended", "by"] not in [line[:2] for line in lines], "what is empty is left out"


def test_a_long_text_is_named_by_its_hash_and_nothing_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show_events([event(text="")], as_json=False)
    assert "(text abababababab…)" in capsys.readouterr().out
    show_events([], as_json=False)
    assert capsys.readouterr().out == "nothing found\n"
    show_events([event(), event()], as_json=True)
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["SELECT ?"] * 2


def test_logs_are_json_off_a_terminal_and_blank_what_is_named_a_secret() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        log = configure("node/0", stream)
        log.info("started", api="127.0.0.1:1", password="hunter2", upstream_token="afd_x", Authorization="Bearer y")
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["process"], line["api"]) == ("started", "node/0", "127.0.0.1:1")
    assert {line["password"], line["upstream_token"], line["Authorization"]} == {"[removed]"}


def test_a_session_is_listed_with_the_id_that_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    session = event(session_id="01a21ec5-de27-70b8-ae15-f7d21ff12389", opened_at=1, open=True, statements=3, reason="")
    show_sessions([session | {"client": {"application": "psql", "address": "127.0.0.1:1"}}], as_json=False)
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "id" and row.split()[0] == session["session_id"]
