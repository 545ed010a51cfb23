"""Decisions on the control topic, on both logs: two servers see each other's, restarts forget nothing, the unreadable denies."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.ballot import KEPT_US, ControlBallot
from schemas.control import (
    ApprovalDecided,
    ControlError,
    PrincipalResumed,
    PrincipalSuspended,
    approval_key,
    principal_key,
    publish,
)
from schemas.events import Principal, PrincipalKind
from schemas.log import Log, LogUnavailableError, NewRecord
from schemas.log.kafka import KafkaLog
from schemas.log.sqlite import SqliteLog
from schemas.topics import CONTROL
from tests.support import kafka_jars
from tests.support.control_key import SIGNER, STRANGER, TRUST, record
from tests.support.kafka import Kafka
from tests.support.memory_log import MemoryLog

Opener = Callable[[], Log]
_counter = itertools.count()


@pytest.fixture(params=["sqlite", "kafka"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """What opens one new log again and again."""
    opened: list[Log] = []
    if request.param == "kafka":
        if reason := kafka_jars.missing():
            pytest.skip(reason)
        cluster: Kafka = request.getfixturevalue("kafka")
        prefix = f"ballot{next(_counter)}."
        cluster.make_topics([prefix + CONTROL.name], config={"cleanup.policy": "compact"})

    def open_log() -> Log:
        kafka = request.param == "kafka"
        opened.append(KafkaLog(cluster.settings(topic_prefix=prefix)) if kafka else SqliteLog(tmp_path / "log.db"))
        return opened[-1]

    yield open_log
    for log in opened:
        log.close()


def person(name: str) -> Principal:
    return Principal(id=name, kind=PrincipalKind.HUMAN, groups=(), auth_method="token", credential_id="")


def decision(who: str = "carol", approval_id: str = "a1", **more: Any) -> ApprovalDecided:
    now = time.time_ns() // 1000
    about: dict[str, Any] = {"at": now, "actor": who, "expires_at": now + 10**9, "approved": True, "binding": "ab" * 32}
    return ApprovalDecided(**(about | {"approval_id": approval_id, "principal": who, "kind": "human", **more}))


def ballot(log: Log, now: Callable[[], int] = lambda: time.time_ns() // 1000) -> ControlBallot:
    return ControlBallot(log, lambda event: None, now, SIGNER, TRUST)


def test_what_one_server_takes_down_the_other_sees_at_once_and_after_a_restart(opener: Opener) -> None:
    one, two = ballot(opener()), ballot(opener())
    assert (list(one.said("a1")), list(two.said("a1"))) == ([], [])
    first, second = decision("carol"), decision("dave", approved=False)
    one.tell(first)
    assert list(two.said("a1")) == [first]
    two.tell(second)
    one.tell(decision("carol", "a2"))
    for seen in (one, two, ballot(opener())):
        assert list(seen.said("a1")) == [first, second]
        assert len(list(seen.said("a2"))) == 1
        assert list(seen.said("a")) == []


def test_suspensions_hold_until_they_are_over(opener: Opener) -> None:
    log = opener()
    seen = ballot(opener())
    now = time.time_ns() // 1000
    publish(log, [PrincipalSuspended(at=now, actor="erin", principal="carol"), decision()], SIGNER)
    publish(log, [PrincipalSuspended(at=now, actor="erin", principal="dave", expires_at=now + 1)], SIGNER)
    seen.said("a1")
    assert [seen.suspended(person(who)) for who in ("carol", "dave", "erin")] == ["carol", "", ""]
    publish(log, [PrincipalResumed(at=now + 1, actor="erin", principal="carol")], SIGNER)
    seen.said("a1")
    assert not seen.suspended(person("carol"))


def test_what_is_not_signed_by_one_who_is_believed_is_nothing(opener: Opener) -> None:
    log, seen = opener(), ballot(opener())
    publish(log, [decision("carol"), PrincipalSuspended(at=2 * 10**9, actor="erin", principal="erin")], SIGNER)
    publish(log, [decision("dave"), PrincipalResumed(at=3 * 10**9, actor="x", principal="erin")], STRANGER)
    log.append(CONTROL.name, [NewRecord(approval_key("a1", "carol").encode(), b"", tombstone=True)])
    log.append(CONTROL.name, [NewRecord(approval_key("a1", "fay").encode(), b"not even JSON")])
    publish(log, [PrincipalResumed(at=1 * 10**9, actor="x", principal="erin")], SIGNER)  # said before the suspension
    assert [m.principal for m in seen.said("a1")] == ["carol"]
    assert seen.suspended(person("erin"))


def test_what_cannot_be_read_denies_what_it_is_about_and_nothing_else() -> None:
    log = MemoryLog()
    seen = ballot(log)
    keys = (f"{approval_key('a1')}/carol", principal_key("dave"))
    log.append(CONTROL.name, [record(keys[0], b'{"type":"ApprovalDecided","v":2}'), record(keys[1], b"\xff not json")])
    with pytest.raises(ControlError, match="a1"):
        seen.said("a1")
    assert list(seen.said("a")) == list(seen.said("a2")) == []
    assert (seen.suspended(person("dave")), seen.suspended(person("carol"))) == ("dave", "")
    publish(log, [decision("carol"), PrincipalResumed(at=1, actor="erin", principal="dave")], SIGNER)
    assert len(list(seen.said("a1"))) == 1
    assert not seen.suspended(person("dave"))


def test_a_decision_that_names_nobody_counts_for_nothing() -> None:
    log = MemoryLog()
    publish(log, [ApprovalDecided(at=1, actor="x", approval_id="a1", approved=True)], SIGNER)
    assert list(ballot(log).said("a1")) == []


def test_a_log_out_of_reach_is_said_and_one_begun_anew_is_read_anew() -> None:
    log = MemoryLog()
    publish(log, [decision("carol"), decision("dave")], SIGNER)
    seen = ballot(log)
    log.failures = 1
    with pytest.raises(LogUnavailableError):
        seen.said("a1")
    assert len(list(seen.said("a1"))) == 2
    log.topics.clear()
    publish(log, [decision("erin")], SIGNER)
    assert [m.principal for m in seen.said("a1")] == ["erin"]


def test_what_expired_long_ago_is_forgotten() -> None:
    log = MemoryLog()
    at = [1_790_000_000_000_000]
    seen = ballot(log, lambda: at[0])
    publish(log, [decision("carol", f"a{i}", at=at[0], expires_at=at[0] + 1) for i in range(50)], SIGNER)
    publish(log, [decision("carol", "kept", at=at[0], expires_at=at[0] + 10**12)], SIGNER)
    assert len(list(seen.said("a1"))) == 1
    at[0] += KEPT_US + 10
    assert (list(seen.said("a1")), len(list(seen.said("kept")))) == ([], 1)
    assert len(seen._decisions) == 1
