"""Runs the pipeline in one process: log → steps → archive and ClickHouse, with state and offset committed together.

It reads every partition of the log, in turn. A source has one partition, so its blocks stay in order. One batch:

1. plan: which offsets of which partition, which registered keys (committed to `pipeline.db` before anything is written);
2. run the steps; 3. send rejected records to the DLQ; 4. archive the blocks; 5. insert their rows, `blocks` last;
6. commit state and next offset.

Then, every two seconds at most, stage 2: each partition's activity is folded, its rows inserted, and the principals' states
committed together with the next offset (`processors.runtimes.activity`).

A crash anywhere leaves the plan: it runs again. The archive skips numbers it has, ClickHouse skips tokens it saw and blocks it
has. When an earlier attempt may have inserted rows, those that are there are compared with those that should be.

What passes (store busy, disk full) is retried with growing waits while the offset stays; what does not pass stops the runtime
with the reason in `status`. Rejected records are bounded: past `max_rejected` the runtime stops rather than drain everything
away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import structlog

from processors.archive import Archive, ArchiveError, ArchiveUnavailableError
from processors.runtimes import activity
from processors.runtimes.state import StateError, StateFile
from processors.runtimes.work import MAX_BLOCKS, MAX_BYTES, BatchWork, PipelineError, Stored, Timings
from processors.signatures import KeyFileError
from processors.sinks.clickhouse import Store, StoreError, StoreUnavailableError
from processors.steps.work import Batch, State
from schemas.log import Log, LogError, LogUnavailableError, Record
from schemas.topics import ACTIVITY, EVENTS

__all__ = ["MAX_BLOCKS", "EmbeddedRuntime", "PipelineError", "Status"]

log = structlog.get_logger(__name__)

BACKLOG_BLOCKS = 64
"""Where so many came at once more are there, and are not waited for."""

FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.1, 10.0
REST_SHARE = 0.5
"""Rest after a batch that is not full, at least, as a share of what it took: else time goes into more and smaller inserts."""
SWEEP_US = 3_600_000_000
"""How often principals that did nothing for a month are looked for."""


@dataclass(slots=True)
class Status:
    """What `/readyz` and the metrics show. Counters are since `pipeline.db` began; latency is of the newest batch."""

    state: str = "starting"
    positions: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    blocks: int = 0
    events: int = 0
    repeats: int = 0
    dlq: int = 0
    gaps: int = 0
    missing_blocks: int = 0
    unreadable: int = 0
    activity: int = 0
    activity_repeats: int = 0
    activity_unreadable: int = 0
    activity_lag: int = 0
    activity_next: int = 0
    batches: int = 0
    retries: int = 0
    last_error: str = ""
    last_latency_us: int = 0
    last_batch_at: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the status as plain values; `lag` is in blocks, `ready` is whether batches are getting through.

        `next_offset` and `end_offset` are sums over the partitions.
        """
        hidden = ("positions", "ends")
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__ if name not in hidden}
        positions, ends = self.positions, self.ends
        values |= {"next_offset": sum(positions.values()), "end_offset": sum(ends.values())}
        lag = sum(max(0, end - positions.get(partition, 0)) for partition, end in ends.items())
        return {**values, "lag": lag, "ready": self.state in ("running", "idle")}


class EmbeddedRuntime:
    """One pipeline over one log, store and archive. `clock` returns microseconds UTC."""

    def __init__(
        self,
        log: Log,
        store: Store,
        archive: Archive,
        state_path: Path,
        clock: Callable[[], int],
        keys_dir: Path | None = None,
        max_rejected: int = 100,
        max_blocks: int = MAX_BLOCKS,
        linger_seconds: float = 0.25,
        stored: Stored | None = None,
    ) -> None:
        """`keys_dir` defaults to `keys` beside `state_path`; `linger_seconds` lie at least between the beginnings of two batches
        that are not full.

        `stored` is told of each batch, see `work.Stored`.
        """
        self._log, self._store, self._clock = log, store, clock
        self._max_blocks, self._linger = max_blocks, linger_seconds
        self._file = StateFile(state_path)
        keys_dir = state_path.parent / "keys" if keys_dir is None else keys_dir
        self._timings = Timings()
        self._work = BatchWork(
            log, store, archive, self._file, clock, keys_dir, max_rejected, timings=self._timings, stored=stored
        )
        self._uncertain = False
        """Whether rows of this batch may be there already: a plan runs again, or the state file is new and the log is not."""
        self._partitions = self._folding = 0
        self._told = False
        self._folded_at = 0
        self._swept_at = clock()
        self._turn = 0
        self._status = Status()
        self._count(self._file.state)

    @property
    def status(self) -> dict[str, Any]:
        """The status as plain values, safe to read from another thread; `latencies` as `schemas.latencies` has them."""
        return {**self._status.as_dict(), "latencies": self._timings.numbers()}

    def run(self, stop: Event) -> None:
        """Run batches until told to stop. Raises PipelineError when it cannot go on by itself."""
        wait = FIRST_WAIT_SECONDS
        try:
            while not stop.is_set():
                began = monotonic()
                try:
                    done = self.step(activity.ACTIVITY_SECONDS)
                    wait = FIRST_WAIT_SECONDS
                    self._status.state = "running" if done else "idle"
                    if done < min(self._max_blocks, BACKLOG_BLOCKS):
                        self._rest(stop, done, monotonic() - began)
                except _PASSING as error:
                    self._status.state, self._status.retries = "retrying", self._status.retries + 1
                    if str(error) != self._status.last_error:
                        log.warning("pipeline waits", error=str(error))
                    self._status.last_error = str(error)
                    stop.wait(wait)
                    wait = min(wait * 2, LAST_WAIT_SECONDS)
        except (PipelineError, StoreError, ArchiveError, LogError, StateError) as error:
            self._status.state, self._status.last_error = "stopped", str(error)
            log.error("pipeline stopped", error=str(error))
            raise error if isinstance(error, PipelineError) else PipelineError(str(error)) from error
        self._status.state = "stopped"

    def _rest(self, stop: Event, done: int, took: float) -> None:
        """After a batch, let blocks gather; where there was nothing to do, wait for the next one."""
        if done:
            stop.wait(max(self._linger - took, took * REST_SHARE))
            self._told = False
        elif self._partitions != 1 or self._told:
            # Several cannot be waited for at once; and what was told of may be gone again, by the retention.
            stop.wait(self._linger)
            self._told = False
        else:
            self._told = self._log.wait(EVENTS.name, self._file.positions.get(0, 0), self._linger)

    def step(self, activity_seconds: float = 0.0) -> int:
        """Take one batch through, and activity that waits; return how many log records these were, 0 if there was nothing to do.

        Activity is left to wait until its last insert was `activity_seconds` ago.

        Raises what store, archive and log raise; the offset has then not moved, and the same batch runs again at the next call.
        """
        self._work.refuse_past_limit()
        planned = self._file.plan
        partition, records = (planned.partition, self._work.again(planned)) if planned is not None else self._next()
        if records:
            batch = self._work.take(records, partition, self._uncertain)
            self._note(self._file.state, batch)
            self._work.refuse_past_limit()
        return len(records) + self._fold(activity_seconds)

    def _fold(self, every_seconds: float) -> int:
        """Take activity of every partition that has some through stage 2; return how many records that was."""
        now = self._clock()
        if 0 <= now - self._folded_at < every_seconds * 1_000_000:
            return 0
        if now - self._swept_at >= SWEEP_US:
            self._swept_at = now
            if gone := self._file.expire(now):
                log.info("principals without statements for a month forgotten", principals=gone)
        done = lag = 0
        for partition in range(self._activity_partitions()):
            end = self._log.end_offset(ACTIVITY.name, partition)
            position = self._file.activity.get(partition, 0)
            if position >= end:
                continue
            records = self._log.read(ACTIVITY.name, position, activity.MAX_RECORDS, activity.MAX_BYTES, partition)
            if records:
                taken = activity.take(records, partition, self._store, self._file)
                self._status.activity += taken.folded
                self._status.activity_repeats += taken.repeats
                self._status.activity_unreadable += taken.unreadable
                done += len(records)
                lag += end - self._file.activity[partition]
        self._status.activity_lag, self._status.activity_next = lag, sum(self._file.activity.values())
        if done:
            self._folded_at = now
        return done

    def _activity_partitions(self) -> int:
        if not self._folding:
            self._folding = self._log.partitions(ACTIVITY.name)
        return self._folding

    def close(self) -> None:
        """Close the state file; log, store and archive belong to the caller."""
        self._file.close()

    def _next(self) -> tuple[int, list[Record]]:
        """Return the next partition that has records, and those; the partitions come in turn."""
        count = self._counted()
        ends = {p: self._log.end_offset(EVENTS.name, p) for p in range(count)}
        for step in range(count):
            partition = (self._turn + step) % count
            position = self._file.positions.get(partition, 0)
            if position < ends[partition]:
                records = self._log.read(EVENTS.name, position, self._max_blocks, MAX_BYTES, partition)
                if records:
                    self._turn = (partition + 1) % count
                    self._uncertain = position < self._file.known_until.get(partition, 0)
                    self._status.ends = ends
                    return partition, records
                ends[partition] = position  # the retention took them: nothing is left to wait for
        self._status.ends = ends
        return 0, []

    def ends(self) -> dict[int, int]:
        """Return where each partition of the log ends now. Raises what the log raises."""
        return {p: self._log.end_offset(EVENTS.name, p) for p in range(self._log.partitions(EVENTS.name))}

    def passed(self, ends: Mapping[int, int]) -> bool:
        """Tell whether everything before these ends is in store and archive. From any thread."""
        positions = self._status.positions
        return all(positions.get(p, 0) >= end for p, end in ends.items())

    def _counted(self) -> int:
        """Return how many partitions there are, asked once; a topic that gets more is noticed at the next start."""
        if not self._partitions:
            count = self._log.partitions(EVENTS.name)
            if not self._file.existed:
                self._file.know({p: self._log.end_offset(EVENTS.name, p) for p in range(count)})
            self._partitions = count
        return self._partitions

    def _note(self, state: State, batch: Batch) -> None:
        for note in batch.notes:
            log.warning(note)
        now = self._clock()
        s = self._status
        self._count(state)
        s.batches += 1
        s.last_error = ""
        s.last_batch_at = now
        if batch.fresh:
            s.last_latency_us = max(0, now - min(a.block.header.sealed_at for a in batch.fresh))

    def _count(self, state: State) -> None:
        s = self._status
        s.positions = self._file.positions
        s.blocks, s.events, s.repeats, s.dlq = state.blocks, state.events, state.repeats, state.rejected
        s.gaps, s.unreadable = state.gaps, state.unreadable
        s.missing_blocks = sum(source.chain.missing for source in state.sources.values())


_PASSING = (StoreUnavailableError, ArchiveUnavailableError, LogUnavailableError, KeyFileError)
