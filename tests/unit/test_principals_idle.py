"""States of principals that did nothing for a month go, everywhere: here, at the standby, in the changelog, in `pipeline.db`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from processors.principals import KEPT_US, MAX_BUCKETS, Principal, fold, rank, trimmed
from processors.runtimes import states as module
from processors.runtimes.embedded import EmbeddedRuntime
from processors.runtimes.folding import Folding
from processors.runtimes.state import StateFile
from processors.runtimes.states import Place, States
from schemas.activity import HOUR_US, Activity, Bucket
from schemas.log import LogUnavailableError
from tests.support.memory_log import MemoryLog

START = 480_000 * HOUR_US
NewPlace = Callable[[], Place]
DAY = 24 * HOUR_US


def seen(name: str, at: int, offset: int, before: Principal | None = None) -> Principal:
    """A principal's state after a statement at a time."""
    hour = at // HOUR_US
    bucket = Bucket(hour=hour, database="a", events=1, denied=0, errors=0, rows_returned=1, first_at=at, last_at=at)
    told = Activity(principal=name, kind="human", at=(0, offset), buckets=(bucket,))
    return fold(before or Principal(principal=name), told)


class Changelog:
    """A partition's, compacted or not: what was published, in order."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes | None]] = []

    def publish(self, partition: int, records: object) -> None:
        self.records += records  # type: ignore[arg-type]

    def heard_by(self, states: States, compacted: bool = False) -> States:
        last = {key: at for at, (key, _) in enumerate(self.records)}
        for at, (key, data) in enumerate(self.records):
            if not compacted or last[key] == at:
                states.heard(key, data, 0)
        return states


def fresh(place: Place) -> States:
    return States(lambda partition, records: None, place)


def test_who_did_nothing_for_a_month_is_forgotten_and_nobody_else(new_place: NewPlace) -> None:
    changelog = Changelog()
    owner = States(changelog.publish, new_place())
    owner.keep({"gone": seen("gone", START, 1), "here": seen("here", START + 2 * DAY, 2)}, 3, 0)
    owner.keep({"elsewhere": seen("elsewhere", START, 1)}, 2, 1)
    assert owner.expire(0, START + KEPT_US) == 0
    assert owner.expire(0, START + KEPT_US + 1) == 1
    assert owner.state_of("gone") == Principal(principal="gone")
    assert owner.state_of("here").version == owner.state_of("elsewhere").version == 1  # another partition's is its owner's
    assert changelog.records[-1] == ("state:gone", None)
    assert owner.expire(0, START + KEPT_US + 1) == 0


@pytest.mark.parametrize("compacted", [False, True])
def test_standby_and_next_owner_forget_by_the_tombstone_and_believe_who_begins_anew(compacted: bool, new_place: NewPlace) -> None:
    changelog = Changelog()
    owner = States(changelog.publish, new_place())
    state = seen("ana", START, 1)
    for offset in range(2, 9):
        state = seen("ana", START, offset, state)
        owner.keep({"ana": state}, offset, 0)
    standby = changelog.heard_by(fresh(new_place()))
    assert standby.state_of("ana").version == 8
    now = START + KEPT_US + DAY
    assert owner.expire(0, now) == 1
    assert len(changelog.heard_by(fresh(new_place()), compacted)) == 0
    owner.keep({"ana": seen("ana", now, 50, owner.state_of("ana"))}, 51, 0)
    for states in (owner, changelog.heard_by(standby), changelog.heard_by(fresh(new_place()), compacted)):
        assert (states.state_of("ana").version, dict(states.state_of("ana").seen)) == (1, {0: 50})
        assert states.offsets[0] == 51


def test_who_missed_the_tombstone_believes_the_new_state_and_not_the_old_one_again(new_place: NewPlace) -> None:
    old = replace(seen("ana", START, 1), version=500)
    new = seen("ana", START + KEPT_US + DAY, 50)
    assert rank(new) > rank(old)
    assert not rank(old) > rank(new)
    states = fresh(new_place())
    for data in (old.encode(), new.encode(), old.encode()):
        states.heard("state:ana", data, 0)
    assert states.state_of("ana") == new
    later = seen("ana", START + 5, 2, seen("ana", START, 1))
    assert rank(later) > rank(seen("ana", START, 1))
    assert not rank(later) > rank(later)


@pytest.mark.parametrize("wrong", [-400 * DAY, 400 * DAY])
def test_a_clock_that_was_wrong_by_a_year_does_not_keep_states_from_going_on(wrong: int, new_place: NewPlace) -> None:
    """When its bucket is given up, the newest statement that is known of is another, a year away."""
    owner = fresh(new_place())
    times = [START + wrong, *(START + hour * HOUR_US for hour in range(2 * MAX_BUCKETS)), START + wrong + DAY]
    times += [START + wrong + DAY + hour * HOUR_US for hour in range(2 * MAX_BUCKETS)]
    for offset, at in enumerate(times, 1):
        owner.keep({"ana": trimmed(seen("ana", at, offset, owner.state_of("ana")))}, offset + 1, 0)
        assert owner.state_of("ana").version == offset


def test_states_that_an_older_version_kept_go_on_and_are_older_than_what_began_since() -> None:
    kept = replace(seen("ana", START, 1), since=0, version=500)
    assert rank(seen("ana", START + DAY, 2, kept)) > rank(kept)
    assert rank(seen("ana", START + KEPT_US + DAY, 2)) > rank(kept)


def test_what_brokers_did_not_confirm_is_kept(new_place: NewPlace) -> None:
    def refuse(partition: int, records: object) -> None:
        raise LogUnavailableError("away")

    states = States(refuse, new_place())
    states.heard("state:ana", seen("ana", START, 1).encode(), 0)
    with pytest.raises(LogUnavailableError):
        states.expire(0, START + 2 * KEPT_US)
    assert states.state_of("ana").version == 1


def test_tombstones_go_in_portions(monkeypatch: pytest.MonkeyPatch, new_place: NewPlace) -> None:
    monkeypatch.setattr(module, "SWEPT_AT_ONCE", 10)
    changelog = Changelog()
    states = States(changelog.publish, new_place())
    for n in range(25):
        states.heard(f"state:p{n}", seen(f"p{n}", START, 1).encode(), 0)
    assert [states.expire(0, START + 2 * KEPT_US) for _ in range(4)] == [10, 10, 5, 0]
    assert len(changelog.records) == 25


@pytest.mark.parametrize("ours", [True, False])
def test_a_worker_sweeps_the_partitions_it_has(ours: bool, new_place: NewPlace) -> None:
    published: list[tuple[str, bytes | None]] = []
    made = Folding(
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        lambda partition, records: published.extend(records),
        new_place(),
        lambda: START + 2 * KEPT_US,
        sweep_seconds=0.0,
    )
    made.states.heard("state:ana", seen("ana", START, 1).encode(), 0)
    made.owned = {0} if ours else {1}

    async def sweep() -> None:
        await made._sweep(asyncio.Lock(), lambda: False)
        assert published == []  # not before it knows what it has
        await made._sweep(asyncio.Lock(), lambda: True)

    asyncio.run(sweep())
    assert published == ([("state:ana", None)] if ours else [])
    assert len(made.states) == (0 if ours else 1)


def test_the_file_of_one_process_forgets_too(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "pipeline.db")
    file.keep({"gone": seen("gone", START, 1), "here": seen("here", START + DAY, 2)}, 3, 0)
    assert file.expire(START + KEPT_US) == 0
    assert file.expire(START + KEPT_US + 1) == 1
    file.close()
    file = StateFile(tmp_path / "pipeline.db")
    assert (file.state_of("gone").version, file.state_of("here").version, file.activity) == (0, 1, {0: 3})
    file.close()


def test_one_process_looks_every_hour(tmp_path: Path) -> None:
    now = [START]
    runtime = EmbeddedRuntime(MemoryLog(), None, None, tmp_path / "pipeline.db", lambda: now[0])  # type: ignore[arg-type]
    runtime._file.keep({"ana": seen("ana", START - KEPT_US + 1, 1)}, 2, 0)
    known = []
    for minutes in (1, 59, 60, 61):
        now[0] = START + minutes * HOUR_US // 60
        runtime.step()
        known.append(runtime._file.state_of("ana").version)
    runtime.close()
    assert known == [1, 1, 0, 0]


def test_a_file_of_an_older_version_learns_when_its_principals_were_seen(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE principal (name TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID")
        rows = [(name, seen(name, at, 1).encode()) for name, at in (("gone", START), ("here", START + DAY))]
        db.executemany("INSERT INTO principal VALUES (?, ?)", rows)
    db.close()
    for expected in (1, 0):
        file = StateFile(path)
        assert file.expire(START + KEPT_US + 1) == expected
        assert (file.state_of("gone").version, file.state_of("here").version) == (0, 1)
        file.close()
