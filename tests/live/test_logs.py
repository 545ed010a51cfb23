"""What the processes say: with `json` every line of every process is an object, and names the sessions it is about."""

from __future__ import annotations

import json
import logging
import os
import signal
from typing import Any

import psycopg
import pytest

from deploy.cli import run
from deploy.log_style import VARIABLE, Style
from deploy.logs import configure
from tests.support.affidavit import Machine, machine
from tests.support.clients import needle
from tests.support.ports import wait_for
from tests.support.postgres import Postgres


def lines(up: Machine) -> list[dict[str, Any]]:
    return [json.loads(line) for line in up.said().splitlines()]


def test_every_line_is_json_and_says_when_who_and_how_bad(pg: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, Style.JSON)
    secret = needle()
    with machine(pg) as up:
        with psycopg.connect(**up.app(), autocommit=True) as client:
            client.execute(f"SELECT '{secret}'")  # type: ignore[call-overload]
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(**up.app(token=secret))
        wait_for(lambda: any(e["event"] == "session_closed" for e in lines(up)), "the session's end in the log")
        os.kill(up.child("proxy/0"), signal.SIGKILL)
        wait_for(lambda: any("starting it again" in e["event"] for e in lines(up)), "the supervisor to say so")
        up.child("proxy/0")
        wait_for(lambda: sum(e["event"] == "listening" for e in lines(up)) == 2, "the proxy to listen again")
        assert up.stop() == 0
        said = lines(up)
        trail = up.trail.refresh()
        opened = [e for e in trail if e["type"] == "SessionOpened"]
    for line in said:
        assert {"event", "level", "timestamp", "process"} <= set(line), line
    assert {"supervisor", "proxy/0", up.node} <= {line["process"] for line in said}
    told = [line["session_id"] for line in said if line["event"] == "session_opened"]
    assert told and set(told) <= {e["session_id"] for e in opened}
    assert [line["session_id"] for line in said if line["event"] == "session_closed"] == told
    named = {"session_opened": "SessionOpened", "session_closed": "SessionClosed", "login_refused": "AuthenticationFailed"}
    for event, type_ in named.items():
        ids = [line["event_id"] for line in said if line["event"] == event]
        assert ids and set(ids) <= {e["event_id"] for e in trail if e["type"] == type_}, event
    assert secret not in json.dumps(said)


def test_an_error_of_a_command_is_json_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(VARIABLE, "text")
    assert run(["proxy", "-c", "/nowhere/affidavit.yaml", "--log-format", "json"]) == 1
    told = json.loads(capsys.readouterr().err)
    assert told["level"] == "error" and "/nowhere/affidavit.yaml" in told["event"]


def test_what_libraries_warn_of_has_the_same_form(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(VARIABLE, "json")
    before = logging.root.handlers[:]
    try:
        configure("node/0")
        logging.getLogger("some.library").warning("%d of them", 3, extra={"api_token": "tok_x", "peer": "b:9092"})
        try:
            raise ValueError("no")
        except ValueError:
            logging.getLogger("some.library").exception("failed")
        logging.getLogger("some.library").info("not shown")
    finally:
        logging.root.handlers[:] = before
    warned, failed = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert warned["event"] == "3 of them" and warned["logger"] == "some.library" and warned["process"] == "node/0"
    assert (warned["api_token"], warned["peer"]) == ("[removed]", "b:9092")
    assert "ValueError: no" in failed["exception"]


def test_text_is_text_wherever_it_goes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(VARIABLE, "text")
    configure("proxy/1").info("listening", address="127.0.0.1:1")
    told = capsys.readouterr().err
    assert "listening" in told and "{" not in told and "\x1b" not in told
