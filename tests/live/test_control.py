"""The control topic as a proxy's event loop sees it, on both logs: in order, newest per subject, and honest about its age."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ingest.net import control as control_module
from ingest.net.control import Change, Control
from schemas.control import ApprovalDecided, PrincipalResumed, PrincipalSuspended, Unreadable, encode, principal_key, publish
from schemas.log import Log, LogUnavailableError, NewRecord
from schemas.log.kafka import KafkaLog
from schemas.log.sqlite import SqliteLog
from schemas.topics import CONTROL
from tests.support import kafka_jars
from tests.support.control_key import SIGNER, STRANGER, TRUST, record
from tests.support.kafka import Kafka
from tests.support.ports import free_port

Opener = Callable[[], Log]
_counter = itertools.count()


def now() -> int:
    return time.time_ns() // 1000


def suspended(principal: str, **changes: int) -> PrincipalSuspended:
    return PrincipalSuspended(at=now(), actor="sam", principal=principal, **changes)


def resumed(principal: str) -> PrincipalResumed:
    return PrincipalResumed(at=now(), actor="sam", principal=principal)


@pytest.fixture(params=["sqlite", "kafka"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Return what opens the same new log again and again."""
    if request.param == "sqlite":
        return lambda: SqliteLog(tmp_path / "log.db")
    if reason := kafka_jars.missing():
        pytest.skip(reason)
    cluster: Kafka = request.getfixturevalue("kafka")
    prefix = f"control{next(_counter)}."
    cluster.make_topics([prefix + CONTROL.name], config={"cleanup.policy": "compact"})
    return lambda: KafkaLog(cluster.settings(topic_prefix=prefix, timeout_seconds=5))


@contextlib.asynccontextmanager
async def following(opener: Opener, **options: Any) -> AsyncIterator[tuple[Control, list[Change]]]:
    control = Control(opener, asyncio.get_running_loop(), now, TRUST, **options)
    seen: list[Change] = []
    control.subscribe(seen.append)
    control.start()
    try:
        yield control, seen
    finally:
        control.close()
        thread = control._reader._thread
        while thread.is_alive():  # it may be in the middle of handing over to this loop
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.005)


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(work)


def test_what_was_said_before_and_what_is_said_now_comes_in_order(opener: Opener) -> None:
    async def work() -> None:
        log = opener()
        publish(log, [suspended("ana"), suspended("bo"), resumed("ana")], SIGNER)
        async with following(opener) as (control, seen):
            assert not control.known
            assert control.stale_seconds == float("inf")
            await until(lambda: control.known)
            assert [change.key for change in seen] == ["principal/ana", "principal/bo", "principal/ana"]
            assert isinstance(control.get(principal_key("ana")), PrincipalResumed)
            assert isinstance(control.get(principal_key("bo")), PrincipalSuspended)
            assert control.get(principal_key("cy")) is None
            publish(log, [suspended("cy")], SIGNER)
            await until(lambda: len(seen) == 4)
            assert isinstance(control.get(principal_key("cy")), PrincipalSuspended)
            publish(log, [resumed("cy")], SIGNER)
            await until(lambda: len(seen) == 5)
            assert seen[4].key == "principal/cy"
            assert isinstance(control.get(principal_key("cy")), PrincipalResumed)
            late: list[Change] = []
            control.subscribe(late.append)
            assert {change.key for change in late} == {"principal/ana", "principal/bo", "principal/cy"}
            assert control.stale_seconds < 30
        log.close()

    run(work())


def test_callbacks_run_on_the_loop_and_one_that_fails_harms_no_other(opener: Opener) -> None:
    async def work() -> None:
        log, threads = opener(), []
        async with following(opener) as (control, seen):

            def fails(_: Change) -> None:
                threads.append(threading.current_thread())
                raise ValueError("a user's own mistake")

            control.subscribe(fails)
            control.subscribe(lambda change: threads.append(threading.current_thread()))
            publish(log, [suspended("ana"), suspended("bo")], SIGNER)
            await until(lambda: len(threads) == 4)
            assert {*threads} == {threading.current_thread()}
            assert len(seen) == 2
            await until(lambda: control.known)
        log.close()

    run(work())


def test_the_unknown_is_counted_and_the_unreadable_is_told(opener: Opener) -> None:
    async def work() -> None:
        log = opener()
        publish(log, [resumed("ana")], SIGNER)
        log.append(CONTROL.name, [record("moon/1", b'{"type":"MoonPhaseChanged","v":1}'), record("principal/ana", b"{")])
        async with following(opener) as (control, seen):
            await until(lambda: control.known)
            assert (control.ignored, control.unreadable) == (1, 1)
            assert isinstance(control.get(principal_key("ana")), Unreadable), "a resumption that may be over is no resumption"
            assert isinstance(seen[-1].message, Unreadable)
            publish(log, [resumed("ana")], SIGNER)
            await until(lambda: isinstance(control.get(principal_key("ana")), PrincipalResumed))
        log.close()

    run(work())


def test_what_is_not_signed_or_was_said_before_is_refused_and_told_at_most_once_a_second(opener: Opener) -> None:
    async def work() -> None:
        log = opener()
        told: list[tuple[str, str, int]] = []
        moment = [0.0]
        said = suspended("ana")
        ago = PrincipalResumed(at=said.at - 1, actor="sam", principal="ana")
        publish(log, [ago, said], SIGNER)
        async with following(opener, refused=lambda *what: told.append(what), steady=lambda: moment[0]) as (control, seen):
            await until(lambda: len(seen) == 2)
            log.append(CONTROL.name, [NewRecord(b"principal/ana", encode(resumed("ana")))])
            publish(log, [resumed("ana")], STRANGER)
            publish(log, [ago], SIGNER)
            log.append(CONTROL.name, [NewRecord(b"principal/ana", b"", tombstone=True)])
            under_another = record("principal/bo", encode(suspended("ana")))
            log.append(CONTROL.name, [NewRecord(b"principal/ana", under_another.value, under_another.headers)])
            await until(lambda: control.refused == 5)
            assert told == [("principal/ana", "it is not signed", 1)]
            moment[0] += 1
            publish(log, [ago], SIGNER)
            await until(lambda: control.refused == 6)
            assert told[1:] == [("principal/ana", "it is older than what was said of its subject before", 5)]
            assert len(seen) == 2
            assert isinstance(control.get(principal_key("ana")), PrincipalSuspended)
            publish(log, [resumed("ana")], SIGNER)
            await until(lambda: isinstance(control.get(principal_key("ana")), PrincipalResumed))
        log.close()

    run(work())


def test_many_messages_arrive_whole_and_newest_wins(opener: Opener) -> None:
    async def work() -> None:
        log = opener()
        for round_ in range(5):
            kind = resumed if round_ == 4 else suspended
            publish(log, [kind(f"p{n}") for n in range(700)], SIGNER)
        async with following(opener) as (control, seen):
            await until(lambda: control.known)
            assert len(seen) == 3500
            assert all(isinstance(control.get(principal_key(f"p{n}")), PrincipalResumed) for n in range(700))
        log.close()

    run(work())


def test_what_expired_is_not_held_and_its_room_is_used_again(tmp_path: Path) -> None:
    async def work() -> None:
        log = SqliteLog(tmp_path / "log.db")
        moment = now()
        publish(log, [suspended("gone", expires_at=1), suspended("here", expires_at=moment + 3_600_000_000)], SIGNER)
        async with following(lambda: SqliteLog(tmp_path / "log.db"), max_bytes=5_000) as (control, seen):
            await until(lambda: control.known)
            assert control.get(principal_key("gone")) is None
            assert control.get(principal_key("here")) is not None
            control._clock = lambda: moment + 3_600_000_001
            assert control.get(principal_key("here")) is None, "it expired meanwhile"
            publish(log, [suspended(f"p{n}") for n in range(5)], SIGNER)
            await until(lambda: len(seen) == 7)
            assert control.known, "the expired one made room"
            publish(log, [suspended(f"q{n}") for n in range(5)], SIGNER)
            await until(lambda: len(seen) == 12)
            assert not control.known, "some are missing, and that is said"
            assert control.stale_seconds == float("inf")
            assert "exceed 5000 bytes" in control.problem
        log.close()

    run(work())


def test_approvals_that_were_used_up_long_ago_are_compacted_away(tmp_path: Path) -> None:
    async def work() -> None:
        from schemas.control import expired

        log = SqliteLog(tmp_path / "log.db")
        publish(log, [suspended("ana"), suspended("bo"), resumed("ana")], SIGNER)
        publish(log, [ApprovalDecided(at=1, actor="sam", approval_id="a", approved=True, expires_at=2)], SIGNER)
        publish(log, [PrincipalResumed(at=now(), actor="sam", principal="bo", expires_at=2)], SIGNER)
        async with following(lambda: SqliteLog(tmp_path / "log.db")) as (control, seen):
            await until(lambda: control.known)
            assert log.compact(CONTROL.name, now() + 1, expired(log, now())) == 4
            assert [r.key for r in log.read(CONTROL.name, 0, 100)] == [b"principal/ana"]
            publish(log, [suspended("cy")], SIGNER)
            await until(lambda: control.get(principal_key("cy")) is not None)
        async with following(lambda: SqliteLog(tmp_path / "log.db")) as (control, seen):
            await until(lambda: control.known)
            assert [change.key for change in seen] == ["principal/ana", "principal/cy"]
        log.close()

    run(work())


def test_a_topic_made_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    async def work() -> None:
        path = tmp_path / "log.db"
        log = SqliteLog(path)
        publish(log, [suspended("ana"), suspended("bo")], SIGNER)
        async with following(lambda: SqliteLog(path)) as (control, seen):
            await until(lambda: control.known)
            log._db.execute("DELETE FROM records")
            log._db.execute("DELETE FROM ends")
            publish(log, [suspended("cy")], SIGNER)
            await until(lambda: control.get(principal_key("cy")) is not None)
            assert control.get(principal_key("ana")) is None
            assert Change("principal/ana", None) in seen
        log.close()

    run(work())


def test_a_log_that_cannot_be_opened_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "RETRY_SECONDS", 0.05)
    path = tmp_path / "log.db"
    path.write_bytes(b"not a database, not a database" * 100)

    async def work() -> None:
        async with following(lambda: SqliteLog(path)) as (control, _):
            await until(lambda: control.problem)
            assert not control.known
            assert "not a SQLite database" in control.problem
            path.unlink()
            await until(lambda: control.known)
            assert control.problem == ""

    run(work())


def test_brokers_out_of_reach_leave_what_is_known_and_say_how_old_it_is(kafka: Kafka) -> None:
    kafka.make_topics(["away." + CONTROL.name], config={"cleanup.policy": "compact"})
    settings = kafka.settings(topic_prefix="away.", timeout_seconds=1)

    async def work() -> None:
        patient = KafkaLog(kafka.settings(topic_prefix="away."))
        publish(patient, [suspended("ana")], SIGNER)
        patient.close()
        log = KafkaLog(settings)
        async with following(lambda: KafkaLog(settings, reads_only=True)) as (control, _):
            await until(lambda: control.known)
            kafka.signal(kafka.nodes[0], signal.SIGSTOP)
            try:
                await until(lambda: control.problem)
                assert control.stale_seconds > 1
                assert control.get(principal_key("ana")) is not None
            finally:
                kafka.signal(kafka.nodes[0], signal.SIGCONT)
            stale = control.stale_seconds
            await until(lambda: control.stale_seconds < stale and not control.problem)
            deadline = time.monotonic() + 30
            while True:
                try:
                    publish(log, [resumed("ana")], SIGNER)
                    break
                except LogUnavailableError:
                    assert time.monotonic() < deadline
            await until(lambda: isinstance(control.get(principal_key("ana")), PrincipalResumed))
        log.close()

    run(work())


def test_brokers_that_never_answered_leave_everything_unknown(kafka: Kafka) -> None:
    settings = kafka.settings(bootstrap_servers=[f"127.0.0.1:{free_port()}"], timeout_seconds=1)

    async def work() -> None:
        async with following(lambda: KafkaLog(settings, reads_only=True)) as (control, _):
            await until(lambda: control.problem)
            assert not control.known
            assert "can be repeated" in control.problem

    run(work())
