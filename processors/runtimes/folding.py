"""Stage 2 in a Faust worker: activity of our partitions is folded into principals' states, kept in a table's changelog.

The table is kept by us (`processors.runtimes.states`), fed by all that its changelog brings: at the recovery of a partition, and
all the time for partitions that this worker stands by for.

Beside the states the changelog holds each partition's next offset. As in stage 1 that decides what comes next, not the stream:
what comes again is passed over, what the stream left out is read from the log. A state may be ahead of the offset: repeats are
dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import structlog

from processors.runtimes import activity
from processors.runtimes.states import Place, Publish, States
from processors.runtimes.waiting import Waiting
from processors.sinks.clickhouse import Store, StoreUnavailableError
from schemas.log import LogError, LogUnavailableError, Record
from schemas.log.kafka import KafkaLog
from schemas.topics import ACTIVITY

log = structlog.get_logger(__name__)

QUIET_SECONDS = 2.0
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.1, 10.0

SWEEP_SECONDS = 3600.0
"""How often principals that did nothing for a month are looked for, the first time so long after the start."""


class Folding:
    """One worker's stage 2. `log`, `store` and `place` belong to the caller; `clock` returns microseconds UTC."""

    def __init__(
        self,
        log: KafkaLog,
        store: Store,
        publish: Publish,
        place: Place,
        clock: Callable[[], int],
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._log, self._store, self._clock = log, store, clock
        self._sweep_seconds = sweep_seconds
        self._sweep_at = time.monotonic() + sweep_seconds
        self._publish = publish
        self.states = States(self._published, place)
        self.owned: set[int] = set()
        self.folded = self.repeats = self.unreadable = self.retries = 0
        self.waits_for = ""

    def open(self) -> None:
        """Begin, in the event loop."""
        self._waiting: Waiting[tuple[Any, Any]] = Waiting(activity.MAX_RECORDS)

    async def hand_on(self, stream: Any) -> None:
        """Take a stream's events; they are acknowledged when their rows and states are kept."""
        async for event in stream.noack().events():
            await self._waiting.put(event.message.partition, (stream, event))

    async def heard(self, event: Any) -> None:
        """Take what the table's changelog brings."""
        try:
            data = None if event.value is None else orjson.dumps(event.value)
            self.states.heard(event.key, data, event.message.partition)
        except (ValueError, TypeError, AttributeError) as error:
            log.error("a record of the principals' changelog cannot be read", key=str(event.key)[:100], error=str(error))

    async def run(self, busy: asyncio.Lock, ready: Callable[[], bool], record: Callable[[Any, str], Record]) -> None:
        """Fold what comes, for ever; `ready`: the states are there and partitions are still ours. Raises what does not pass."""
        while True:
            await self._sweep(busy, ready)
            try:
                partition, taken = await asyncio.wait_for(self._waiting.get(activity.MAX_RECORDS), QUIET_SECONDS)
            except TimeoutError:
                for quiet in sorted(self.owned):
                    await self._until_done(quiet, None, busy, ready)
                continue
            if await self._until_done(partition, [record(event, ACTIVITY.name) for _, event in taken], busy, ready):
                for stream, event in taken:
                    await stream.ack(event)
            if len(taken) < activity.MAX_RECORDS // 2:  # so that several batches' activity shares an insert
                await asyncio.sleep(activity.ACTIVITY_SECONDS / max(1, len(self.owned)))

    async def _sweep(self, busy: asyncio.Lock, ready: Callable[[], bool]) -> None:
        """Forget who did nothing for long, now and then."""
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + self._sweep_seconds
        for partition in sorted(self.owned) if ready() else ():
            try:
                async with busy:
                    gone = await asyncio.to_thread(self.states.expire, partition, self._clock())
            except LogError as error:
                log.warning("principals are forgotten later", partition=partition, error=str(error))
                return
            if gone:
                log.info("principals without statements for a month forgotten", partition=partition, principals=gone)

    async def _until_done(
        self, partition: int, records: Sequence[Record] | None, busy: asyncio.Lock, ready: Callable[[], bool]
    ) -> bool:
        wait = FIRST_WAIT_SECONDS
        while partition in self.owned:
            if not ready():
                if records is None:
                    return False
                await asyncio.sleep(0.05)
                continue
            try:
                async with busy:
                    await asyncio.to_thread(self._advance, partition, records)
            except (StoreUnavailableError, LogError) as error:  # the log's errors all, as in stage 1
                self.retries, self.waits_for = self.retries + 1, str(error)
                log.warning("activity waits", partition=partition, error=str(error))
                await asyncio.sleep(wait)
                wait = min(wait * 2, LAST_WAIT_SECONDS)
            else:
                self.waits_for = ""
                return True
        return False

    def _advance(self, partition: int, records: Sequence[Record] | None) -> None:
        """Fold everything up to the last of `records` (None: what the log has next). Runs in a thread."""
        at = self.states.offsets.get(partition)
        if at is None:
            at = self.states.offsets[partition] = self._log.start_offset(ACTIVITY.name, partition)
        if records is None:
            if self._log.end_offset(ACTIVITY.name, partition) > at:
                found = self._log.read(ACTIVITY.name, at, activity.MAX_RECORDS, activity.MAX_BYTES, partition)
                if found:
                    self._take(found, partition)
                else:  # the retention took them: nothing is left to wait for
                    self.states.offsets[partition] = max(at, self._log.start_offset(ACTIVITY.name, partition))
            return
        while records := [r for r in records if r.offset >= self.states.offsets[partition]]:
            whole = records[0].offset == self.states.offsets[partition] and _contiguous(records)
            self._take(records if whole else self._read(partition, self.states.offsets[partition]), partition)

    def _read(self, partition: int, offset: int) -> list[Record]:
        found = self._log.read(ACTIVITY.name, offset, activity.MAX_RECORDS, activity.MAX_BYTES, partition)
        if not found:
            raise LogUnavailableError(f"{ACTIVITY.name}, partition {partition}: offset {offset} cannot be read yet")
        return found

    def _take(self, records: Sequence[Record], partition: int) -> None:
        if partition not in self.owned:
            raise LogUnavailableError(f"{ACTIVITY.name}, partition {partition} went to another worker")
        taken = activity.take(records, partition, self._store, self.states)
        self.folded += taken.folded
        self.repeats += taken.repeats
        self.unreadable += taken.unreadable

    def _published(self, partition: int, records: Sequence[tuple[str, bytes | None]]) -> None:
        # Compaction keeps what stands last: an older state behind a successor's newer one would be all that is left.
        if partition not in self.owned:
            raise LogUnavailableError(f"{ACTIVITY.name}, partition {partition} went to another worker")
        self._publish(partition, records)

    def lag(self) -> dict[int, int]:
        """Records of each of our partitions that are in no state yet. Asks the brokers."""
        lag = {}
        for partition in sorted(self.owned):
            with contextlib.suppress(LogError):
                end = self._log.end_offset(ACTIVITY.name, partition)
                lag[partition] = max(0, end - self.states.offsets.get(partition, 0))
        return lag


def _contiguous(records: Sequence[Record]) -> bool:
    return records[-1].offset - records[0].offset == len(records) - 1
