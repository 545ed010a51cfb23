"""The node's own source: reads and admin actions as events, none lost and none doubled whatever a crash left claimed."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest

from deploy.layout import DataDir
from deploy.node_source import NodeSource
from ingest.identity.tokens import AdminAction, TokenStore
from query_api.identity import Identity
from schemas.config import AuditSettings
from schemas.log.sqlite import SqliteLog
from tests.support.trail import Trail


class World:
    def __init__(self, folder: Path) -> None:
        self.ticks = itertools.count(time.time_ns() // 1000, 1000)
        self.data = DataDir(folder)
        self.data.prepare()
        self.log = SqliteLog(self.data.log)
        self.tokens = TokenStore(self.data.identity, lambda: next(self.ticks), os.urandom)
        self.trail = Trail(folder)

    def source(self) -> NodeSource:
        return NodeSource(self.data, AuditSettings(), self.log, self.tokens, lambda: next(self.ticks))

    def actions(self) -> list[str]:
        return [e["target"] for e in self.trail.of_type("AdminActionPerformed")]

    def issue(self, principal: str) -> str:
        return self.tokens.create(principal, "human", created_by="root")[0]


@pytest.fixture
def world(tmp_path: Path):
    made = World(tmp_path)
    yield made
    made.tokens.close()
    made.log.close()


def nothing_recorded(_: list[AdminAction]) -> set[int]:
    return set()


def test_admin_actions_become_events_once(world: World) -> None:
    first = world.issue("dana")
    source = world.source()
    source.tend(nothing_recorded)
    second = world.issue("copilot")
    for _ in range(3):
        source.tend(nothing_recorded)
    assert source.close("test", 10)
    assert world.actions() == [first, second]
    event = world.trail.of_type("AdminActionPerformed")[0]
    assert (event["actor"], event["action"], event["details"]["principal"]) == ("root", "token.create", "dana")
    assert event["details"]["action_number"] == "1"
    assert world.tokens.claimed_actions() == []


def test_a_login_at_a_provider_that_came_to_nothing_is_an_event(world: World) -> None:
    source = world.source()
    source.record_refused("oidc_nonce", "10.0.9.4")
    assert source.close("test", 10)
    (event,) = world.trail.of_type("AuthenticationFailed")
    assert (event["reason"], event["client"]["address"], event["claimed"]) == ("oidc_nonce", "10.0.9.4", "")


def test_what_a_crash_left_claimed_is_recorded_only_if_the_trail_lacks_it(world: World) -> None:
    there, lacking = world.issue("dana"), world.issue("copilot")
    claimed = world.tokens.claim_actions()  # … and the process died, having recorded the first
    source = world.source()
    asked: list[list[AdminAction]] = []

    def not_yet(actions: list[AdminAction]) -> None:
        asked.append(actions)

    source.tend(not_yet)
    source.tend(not_yet)
    assert [a.target for a in asked[0]] == [there, lacking]
    assert world.tokens.claimed_actions() == claimed, "nothing may happen to them before the trail can be asked"
    source.tend(lambda _: {claimed[0].number})
    source.tend(nothing_recorded)
    assert source.close("test", 10)
    assert world.actions() == [lacking]
    assert world.tokens.claimed_actions() == world.tokens.claim_actions() == []


def test_a_read_is_in_the_spool_before_it_is_answered(world: World) -> None:
    source = world.source()
    source.record_read(Identity("ana", "human", frozenset({"auditor", "analyst"})), "192.0.2.7", "events", 'text:"x"', 3)
    held = b"".join(f.read_bytes() for f in world.data.spool("node/0").iterdir() if f.is_file())
    assert b"AuditTrailRead" in held
    assert source.close("test", 10)
    (event,) = world.trail.of_type("AuditTrailRead")
    assert (event["actor"], event["role"], event["client"]["address"]) == ("ana", "analyst,auditor", "192.0.2.7")
    assert (event["endpoint"], event["query"], event["rows"]) == ("events", 'text:"x"', 3)


def test_every_life_begins_and_ends_in_the_trail_in_a_new_epoch(world: World) -> None:
    for _ in range(2):
        assert world.source().close("stopped", 10)
    lives = [(e["type"], e["epoch"], e["seq"]) for e in world.trail.refresh()]
    assert lives == [("ProxyStarted", 1, 1), ("ProxyStopped", 1, 2), ("ProxyStarted", 2, 1), ("ProxyStopped", 2, 2)]
