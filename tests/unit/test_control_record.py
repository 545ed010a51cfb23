"""What the control topic said stays said: what it lost is published again as it was, and nothing that was ended comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy import control_record
from deploy.control_record import KEPT, SETTLED_US, ControlRecord, ControlRecordError, Standing, missing
from schemas.control import (
    ApprovalDecided,
    CatalogueTagged,
    GrantChanged,
    Message,
    PrincipalResumed,
    PrincipalSuspended,
    SessionKilled,
    publish,
    standing,
)
from schemas.log import NewRecord
from schemas.log.sqlite import SqliteLog
from schemas.topics import CONTROL
from tests.support.control_key import SIGNER, STRANGER, TRUST
from tests.support.ports import wait_for

NOW = 1_790_000_000_000_000
AGO = NOW - 10 * SETTLED_US


def suspended(name: str, at: int = AGO, until: int = 0) -> PrincipalSuspended:
    return PrincipalSuspended(at=at, actor="sam", principal=name, expires_at=until, reason="left")


def resumed(name: str, at: int = AGO + 1) -> PrincipalResumed:
    return PrincipalResumed(at=at, actor="sam", principal=name)


def grant(name: str, at: int = AGO, revoked: bool = False, until: int = NOW + 10**9) -> GrantChanged:
    return GrantChanged(at=at, actor="sam", grant_id=name, principal="ana", expires_at=until, verbs=("select",), revoked=revoked)


TAG = CatalogueTagged(at=AGO, actor="sam", database="shop", schema="public", table="t", column="c", classes=("email",))
DECISION = ApprovalDecided(at=AGO, actor="carol", approval_id="a1", approved=True, principal="carol", expires_at=NOW + 10**9)
KILL = SessionKilled(at=AGO, actor="sam", session_id="s1", expires_at=NOW + 10**9)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[ControlRecord]:
    made = ControlRecord(tmp_path / "control.db")
    yield made
    made.close()


Open = Callable[[], SqliteLog]


@pytest.fixture
def topic(tmp_path: Path) -> Iterator[Open]:
    opened: list[SqliteLog] = []

    def open_log() -> SqliteLog:
        opened.append(SqliteLog(tmp_path / "log.db"))
        return opened[-1]

    yield open_log
    for log in opened:
        log.close()


class Looks:
    """A `Standing` on a topic, and what it told."""

    def __init__(self, topic: Open, record: ControlRecord) -> None:
        self.told: list[dict[str, int]] = []
        self.looked = threading.Semaphore(0)
        holding = record.holding

        def counted(now: int) -> Iterator[Message]:
            yield from holding(now)
            self.looked.release()

        record.holding = counted  # type: ignore[method-assign]
        self.standing = Standing(topic, record, SIGNER, TRUST, lambda: NOW, self.told.append)

    def close(self) -> None:
        assert self.looked.acquire(timeout=30)
        self.standing.close()


def look(topic: Open, record: ControlRecord) -> list[dict[str, int]]:
    """Look once, as at a start."""
    looks = Looks(topic, record)
    looks.close()
    return looks.told


def test_a_topic_that_was_lost_says_again_what_held(topic: Open, record: ControlRecord) -> None:
    said = [suspended("dana"), grant("g1"), grant("g2", revoked=True), TAG, suspended("erin"), resumed("erin")]
    over = [suspended("tim", until=NOW - 1), grant("g3", until=NOW)]
    for message in (*said, *over, DECISION, KILL):
        record.keep(message)
    assert look(topic, record) == [{"PrincipalSuspended": 1, "GrantChanged": 2, "CatalogueTagged": 1}]
    found = standing(topic(), TRUST, *KEPT)
    assert found == {m.key: m for m in (said[0], said[1], said[2], TAG)}, "as it was said: at, actor, until when, why"
    end = topic().end_offset(CONTROL.name)
    assert look(topic, record) == [] and topic().end_offset(CONTROL.name) == end


def test_what_is_on_the_topic_is_kept_and_not_said_again(topic: Open, record: ControlRecord) -> None:
    publish(topic(), [suspended("dana"), suspended("erin"), resumed("erin"), DECISION, KILL, TAG], SIGNER)
    publish(topic(), [suspended("victim")], STRANGER)
    assert look(topic, record) == []
    assert {m.key for m in record.holding(NOW)} == {"principal/dana", "principal/erin", TAG.key}
    assert record.holding(NOW) is not None and resumed("erin") in list(record.holding(NOW))


def test_decisions_and_ends_of_sessions_cost_no_look_at_their_signatures(topic: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka keeps one of each for ever, and the topic is read over every minute."""
    publish(topic(), [DECISION, suspended("dana"), KILL, grant("g1"), TAG], SIGNER)
    looked: list[bytes] = []
    problem = TRUST.problem
    monkeypatch.setattr(type(TRUST), "problem", lambda _, record: looked.append(record.key) or problem(record))
    assert standing(topic(), TRUST, *KEPT) == {m.key: m for m in (suspended("dana"), grant("g1"), TAG)}
    assert looked == [b"principal/dana", b"grant/g1", TAG.key.encode()]


def test_what_a_stranger_displaced_and_an_old_grant_played_again_are_mended(topic: Open, record: ControlRecord) -> None:
    for message in (suspended("dana"), grant("g1", at=AGO + SETTLED_US, revoked=True), resumed("erin", at=AGO + SETTLED_US)):
        record.keep(message)
    # Compaction left these: a record of dana's that nobody believes, the grant as it was given, erin's suspension.
    topic().append(CONTROL.name, [NewRecord(b"principal/dana", b'{"type":"PrincipalResumed"}')])
    publish(topic(), [grant("g1"), suspended("erin")], SIGNER)
    assert look(topic, record) == [{"PrincipalSuspended": 1, "GrantChanged": 1, "PrincipalResumed": 1}]
    found = standing(topic(), TRUST, *KEPT)
    assert found["grant/g1"] == grant("g1", at=AGO + SETTLED_US, revoked=True)
    assert found["principal/dana"] == suspended("dana")
    assert found["principal/erin"] == resumed("erin", at=AGO + SETTLED_US)


def test_what_is_newer_on_the_topic_stands(topic: Open, record: ControlRecord) -> None:
    record.keep(suspended("dana"))
    publish(topic(), [resumed("dana", at=NOW)], SIGNER)
    assert look(topic, record) == []
    assert list(record.holding(NOW)) == [resumed("dana", at=NOW)]
    record.keep(suspended("dana"))
    assert list(record.holding(NOW)) == [resumed("dana", at=NOW)], "what is outdated replaces nothing"


def test_what_was_ended_within_a_minute_stays_ended_when_it_is_published_again(topic: Open, record: ControlRecord) -> None:
    ended = grant("g1", at=AGO + 1_000_000, revoked=True)
    for message in (grant("g1"), ended):
        record.keep(message)
    publish(topic(), [grant("g1")], SIGNER)  # and compaction took the rest
    assert look(topic, record) == [{"GrantChanged": 1}]
    assert list(record.holding(NOW)) == [ended]
    assert standing(topic(), TRUST, *KEPT)["grant/g1"] == ended


def test_what_was_said_just_now_waits_for_a_later_look() -> None:
    fresh = suspended("dana", at=NOW - SETTLED_US + 1)
    assert missing([fresh], {}, NOW) == []
    assert missing([fresh], {}, NOW + 1) == [fresh]


def test_a_running_node_looks_when_it_is_told_that_the_topic_is_another(topic: Open, record: ControlRecord) -> None:
    publish(topic(), [suspended("dana")], SIGNER)
    looks = Looks(topic, record)
    assert looks.looked.acquire(timeout=30)
    log = topic()
    log.compact(CONTROL.name, 0, [0])
    assert standing(log, TRUST, *KEPT) == {}
    looks.standing.look()
    wait_for(lambda: standing(log, TRUST, *KEPT) == {"principal/dana": suspended("dana")}, "dana's suspension to be said again")
    looks.close()
    assert looks.told == [{"PrincipalSuspended": 1}]


@pytest.mark.parametrize("at", [0, 4096], ids=["no-database", "a-page"])
def test_a_damaged_record_is_named_with_what_to_do(tmp_path: Path, at: int) -> None:
    path = tmp_path / "control.db"
    record = ControlRecord(path)
    for n in range(500):
        record.keep(suspended(f"p{n}"))
    record.close()
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * 4096
    data[at : at + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(ControlRecordError, match=r"control\.db is damaged .* put its backup back, or move it away"):
        ControlRecord(path)


def test_the_record_is_bounded_and_outlives_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_record, "MAX_SUBJECTS", 2)
    first = ControlRecord(tmp_path / "control.db")
    for name in ("ana", "bo", "cy"):
        first.keep(suspended(name))
    first.keep(resumed("bo", at=NOW))  # what is there already is kept current
    first.close()
    second = ControlRecord(tmp_path / "control.db")
    assert list(second.holding(NOW)) == [suspended("ana"), resumed("bo", at=NOW)]
    second.close()
    assert (tmp_path / "control.db").stat().st_mode & 0o777 == 0o600
