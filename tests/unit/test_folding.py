"""Stage 2 of a worker: what it waits for passes and is told, and no partition holds up the others for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from processors.runtimes import folding as module
from processors.runtimes.faust_app import FaustRuntime, _counts
from processors.runtimes.folding import Folding
from processors.runtimes.states import InMemory
from processors.runtimes.work import PipelineError
from schemas.activity import HOUR_US, Activity, Bucket
from schemas.config import KafkaSettings
from schemas.log import LogError, LogUnavailableError, Record
from schemas.topics import ACTIVITY

NOW = 480_001 * HOUR_US


def record(offset: int, value: bytes | None = None) -> Record:
    hour = 480_000
    bucket = Bucket(
        hour=hour, database="a", events=1, denied=0, errors=0, rows_returned=1, first_at=hour * HOUR_US, last_at=hour * HOUR_US
    )
    made = Activity(principal="ana", kind="human", at=(0, offset), buckets=(bucket,)).record()
    return Record(ACTIVITY.name, offset, made.key, made.value if value is None else value, {}, 0)


class Log:
    """One partition: `records` are what retention left."""

    def __init__(self, start: int, end: int, records: Sequence[Record] = (), errors: Sequence[LogError] = ()) -> None:
        self._start, self._end, self._records, self._errors = start, end, records, list(errors)

    def start_offset(self, topic: str, partition: int = 0) -> int:
        return self._start

    def end_offset(self, topic: str, partition: int = 0) -> int:
        if self._errors:
            raise self._errors.pop()
        return self._end

    def read(self, topic: str, offset: int, limit: int, max_bytes: int = 0, partition: int = 0) -> list[Record]:
        return [r for r in self._records if r.offset >= offset]


class Store:
    def __init__(self) -> None:
        self.inserted = 0

    def insert(self, table: str, rows: Any, token: str | None) -> None:
        self.inserted += 1


def quiet(made: Folding, seconds: float = 30.0) -> bool:
    """What a worker does with partition 0 when nothing comes."""

    async def look() -> bool:
        return await asyncio.wait_for(made._until_done(0, None, asyncio.Lock(), lambda: True), seconds)

    return asyncio.run(look())


def folding(log: Log, published: list[tuple[str, bytes]] | None = None) -> Folding:
    kept: list[tuple[str, bytes]] = [] if published is None else published
    made = Folding(log, Store(), lambda partition, records: kept.extend(records), InMemory(), lambda: NOW)  # type: ignore[arg-type]
    made.owned = {0}
    return made


def test_what_brokers_that_just_started_do_not_know_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.0)
    made = folding(Log(0, 1, [record(0)], [LogError("there is no such topic or partition")]))
    assert quiet(made)
    assert (made.folded, made.retries, made.waits_for) == (1, 1, "")


def test_activity_that_the_retention_took_holds_up_nothing() -> None:
    made = folding(Log(9, 9))
    made.states.offsets[0] = 5
    assert quiet(made)
    assert made.lag() == {0: 0}


def test_a_partition_that_went_away_during_the_insert_gets_no_older_state(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[str, bytes]] = []
    made = folding(Log(0, 1, [record(0)]), published)
    monkeypatch.setattr(Store, "insert", lambda *_: made.owned.clear())
    with pytest.raises(LogUnavailableError, match="another worker"):
        made._advance(0, [record(0)])
    assert published == []


def test_repeats_and_what_cannot_be_read_are_counted() -> None:
    made = folding(Log(0, 3))
    again = Record(ACTIVITY.name, 1, b"ana", record(0).value, {}, 0)
    made._advance(0, [record(0), again, record(2, b"{}")])
    assert (made.folded, made.repeats, made.unreadable) == (1, 1, 1)


class Counted:
    def __init__(self, **counts: int) -> None:
        self._counts = {name.replace("_", "-").replace("affidavit-", "affidavit."): count for name, count in counts.items()}

    def partitions(self, topic: str) -> int:
        if topic not in self._counts:
            raise LogError(f"there is no {topic}")
        return self._counts[topic]


def test_topics_of_different_numbers_of_partitions_are_told_at_the_start() -> None:
    assert _counts(Counted(affidavit_events=12, affidavit_activity=12), "w") == (12, 12)  # type: ignore[arg-type]
    same = Counted(affidavit_events=12, affidavit_activity=12, w_progress_changelog=12, w_principals_changelog=12)
    assert _counts(same, "w") == (12, 12)  # type: ignore[arg-type]
    for wrong in (
        Counted(affidavit_events=24, affidavit_activity=12),
        Counted(affidavit_events=24, affidavit_activity=24, w_progress_changelog=12, w_principals_changelog=24),
    ):
        with pytest.raises(PipelineError, match=r"events has 24.* has 12"):
            _counts(wrong, "w")  # type: ignore[arg-type]


def test_a_worker_whose_waiting_partition_went_away_is_ready_again() -> None:
    worker = FaustRuntime.__new__(FaustRuntime)
    worker._settings, worker._folding = KafkaSettings(), folding(Log(0, 0))
    worker._state, worker._last_error = "retrying", "no such topic"
    asyncio.run(worker._assigned(None, set()))
    assert (worker._state, worker._last_error) == ("running", "")
