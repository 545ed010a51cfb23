"""Whatever breaks within the proxy, a statement is stopped and not let through: one test for each part that can break.

docs/security.md lists all such proofs; those about files, logs and processes are live tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.guard.guard import Guard
from processors.policy import Policy, read_bundle
from processors.policy.context import DEFAULTS, SUBJECT
from processors.statements import analyser as analysing
from schemas.control import GrantChanged
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import Conversation, client
from tests.unit.test_pg_guard import REFUSED, guarded, make_policy

POLICIES = Path(__file__).parents[2] / "deploy" / "policies"
STARTER = [[POLICIES / "production.yaml"], [POLICIES / "production.yaml", POLICIES / "agents.yaml"]]
READ = "SELECT name FROM customers WHERE id = 7"
ROADS = {
    "simple": (pg.query(READ),),
    "extended": (pg.parse("", READ), pg.bind("", ""), pg.execute(), pg.SYNC),
    "prepared": (pg.parse("s", READ), pg.SYNC),
}


def starter(files: list[Path], **subject: Any) -> Conversation:
    conversation = Conversation()
    guard = Guard(Policy(read_bundle({path.name: path.read_bytes() for path in files})))
    values = {**{name: DEFAULTS[name] for name in SUBJECT}, **subject}
    conversation.session.guard = guard.session(values, "s1", conversation.session, 0)
    return conversation


def stopped(conversation: Conversation, road: tuple[bytes, ...], policy: str) -> dict[str, Any]:
    """Send a statement and assert that nothing of it reaches the server; return its event."""
    conversation.say(*client(*road))
    assert b"customers" not in conversation.heard.to_server and REFUSED in conversation.heard.to_server
    event = conversation.heard.events[0]
    assert event["outcome"]["status"] == "denied" and event["decision"]["verdict"] == "deny"
    assert policy in event["decision"]["policies"], event["decision"]
    return event


@pytest.mark.replaces
@pytest.mark.parametrize("files", STARTER, ids=["production", "with agents"])
@pytest.mark.parametrize("road", ROADS.values(), ids=list(ROADS))
def test_an_analyser_that_crashes(files: list[Path], road: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = starter(files)
    healthy.say(*client(*road))
    assert b"customers" in healthy.heard.to_server

    def crash(self: object, text: bytes) -> None:
        raise MemoryError(text)

    monkeypatch.setattr(analysing._Reader, "analyse", crash)
    event = stopped(starter(files), road, "nothing-unreadable")
    assert "opaque" in event["facts"]["dangers"] and "customers" not in orjson.dumps(event).decode()


@pytest.mark.parametrize("road", ROADS.values(), ids=list(ROADS))
def test_a_rule_that_errs(road: tuple[bytes, ...]) -> None:
    rule = {"id": "odd", "effect": "alert", "when": "claims.ticket == 'x'", "reason": "x"}
    stopped(guarded(make_policy([rule])), road, "error:odd")


@pytest.mark.parametrize("part", ["match", "settle", "match_counters"])
@pytest.mark.parametrize("road", ROADS.values(), ids=list(ROADS))
def test_an_evaluation_that_crashes(part: str, road: tuple[bytes, ...]) -> None:
    policy = make_policy([{"id": "a", "effect": "deny", "when": "session.statements > 99", "reason": "x"}])

    def crash(*arguments: object) -> None:
        raise RuntimeError("of the library")

    setattr(policy, part, crash)
    stopped(guarded(policy), road, "error:guard")


@pytest.mark.parametrize("road", ROADS.values(), ids=list(ROADS))
def test_a_catalogue_that_crashes(road: tuple[bytes, ...]) -> None:
    conversation = guarded(make_policy([{"id": "a", "effect": "deny", "when": "'email' in data.classes", "reason": "x"}]))

    def crash(*arguments: object) -> None:
        raise KeyError("customers")

    conversation.session.guard.classes = crash  # type: ignore[union-attr]
    stopped(conversation, road, "error:guard")


class Unread:
    """A database whose catalogue was never read."""

    current = None

    def changed(self) -> None:
        pass


@pytest.mark.parametrize("sql", ["SELECT wipe()", "CALL purge()", "SELECT 1 FROM t WHERE evil.lower(a) = 'x'", "VALUES (f(1))"])
@pytest.mark.parametrize("files", STARTER, ids=["production", "with agents"])
def test_a_catalogue_that_cannot_be_read(files: list[Path], sql: str) -> None:
    guard = Guard(Policy(read_bundle({path.name: path.read_bytes() for path in files})))
    conversation = Conversation(snapshots=Unread())
    conversation.session.guard = guard.session({name: DEFAULTS[name] for name in SUBJECT}, "s1", conversation.session, 0)
    for everyday in (READ, "SELECT count(*), max(lower(name)), now(), current_date, coalesce(1, 2) FROM t WHERE id = 7"):
        conversation.say(*client(pg.query(everyday)))
        assert everyday.encode() in conversation.heard.to_server
    conversation.say(*client(pg.query(sql)))
    assert sql.encode() not in conversation.heard.to_server and REFUSED in conversation.heard.to_server


@pytest.mark.parametrize("road", ROADS.values(), ids=list(ROADS))
def test_grants_that_cannot_be_asked_for(road: tuple[bytes, ...]) -> None:
    class Broken:
        changes = 1

        def held(self, *arguments: object) -> tuple[GrantChanged, ...]:
            raise OSError("gone")

    conversation = guarded(make_policy([]))
    conversation.session.guard._guard.grants = Broken()  # type: ignore[union-attr]
    stopped(conversation, road, "error:guard")


def test_a_clock_that_went_back() -> None:
    rule = {"id": "night", "effect": "deny", "when": "time.hour == 3", "reason": "x"}
    conversation = guarded(make_policy([rule]))
    conversation.now = 10_000_000_000_000
    conversation.say(*client(pg.query("SELECT 1")))
    assert b"SELECT 1" in conversation.heard.to_server
    conversation.now -= 3_600_000_000
    conversation.say(*client(pg.query(READ)))
    assert b"customers" not in conversation.heard.to_server
    assert conversation.heard.events[0]["decision"]["policies"] == ["error:clock"]


def test_a_spool_that_takes_nothing() -> None:
    conversation = guarded(make_policy([]))
    conversation.session.refusal = "The disk is full."
    for road in ROADS.values():
        before = len(conversation.heard.to_server)
        conversation.say(*client(*road))
        sent = conversation.heard.to_server[before:]
        assert road is ROADS["prepared"] or (REFUSED in sent and pg.execute() not in sent)
