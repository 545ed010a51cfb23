"""Runs the pipeline in one process: log → steps → archive and ClickHouse, with state and offset committed together.

It reads every partition of the log, in turn. A source has one partition, so its blocks stay in order. One batch:

1. plan: which offsets of which partition, which registered keys (committed to `pipeline.db` before anything is written);
2. run the steps; 3. send rejected records to the DLQ; 4. archive the blocks; 5. insert their rows, `blocks` last;
6. commit state and next offset.

A crash anywhere leaves the plan: it runs again. The archive skips numbers it has, ClickHouse skips tokens it saw and blocks it
has. When an earlier attempt may have inserted rows, those that are there are compared with those that should be.

What passes (store busy, disk full) is retried with growing waits while the offset stays; what does not pass stops the runtime
with the reason in `status`. Rejected records are bounded: past `max_rejected` the runtime stops rather than drain everything
away.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import structlog

from processors import pipeline
from processors.archive import Archive, ArchiveError, ArchiveUnavailableError
from processors.chain import Chain
from processors.runtimes.state import Plan, StateError, StateFile
from processors.signatures import KeyFileError, registered_key
from processors.sinks.clickhouse import EVENT_TABLES, Store, StoreError, StoreUnavailableError
from processors.steps.work import Batch, Rejected, Source, State
from schemas.integrity import BlockHeader, IntegrityError
from schemas.log import Log, LogError, LogUnavailableError, NewRecord, Record
from schemas.topics import DLQ, EVENTS

log = structlog.get_logger(__name__)

MAX_BLOCKS = 64
"""Blocks per batch: an insert costs about 40 ms whatever its size, which many blocks share when there is a backlog."""

MAX_BYTES = 48 * 1024 * 1024
"""Bodies per batch; with the Arrow tables made of them, what a batch holds in memory stays under about 200 MB."""

FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.1, 10.0


class PipelineError(Exception):
    """The pipeline cannot go on by itself; the message says why and what to do."""


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
    ) -> None:
        """`keys_dir` defaults to `keys` beside `state_path`; `linger_seconds` is the wait between polls of an idle log."""
        self._log, self._store, self._archive, self._clock = log, store, archive, clock
        self._keys_dir = state_path.parent / "keys" if keys_dir is None else keys_dir
        self._max_rejected, self._max_blocks, self._linger = max_rejected, max_blocks, linger_seconds
        self._file = StateFile(state_path)
        self._uncertain = False
        """Whether rows of this batch may be there already: a plan runs again, or the state file is new and the log is not."""
        self._partitions = 0
        self._turn = 0
        self._known_until: dict[int, int] | None = {} if self._file.existed else None
        self._status = Status()
        self._count(self._file.state)

    @property
    def status(self) -> dict[str, Any]:
        """The status as plain values, safe to read from another thread."""
        return self._status.as_dict()

    def run(self, stop: Event) -> None:
        """Run batches until told to stop. Raises PipelineError when it cannot go on by itself."""
        wait = FIRST_WAIT_SECONDS
        try:
            while not stop.is_set():
                try:
                    done = self.step()
                except _PASSING as error:
                    self._status.state, self._status.retries = "retrying", self._status.retries + 1
                    if str(error) != self._status.last_error:
                        log.warning("pipeline waits", error=str(error))
                    self._status.last_error = str(error)
                    stop.wait(wait)
                    wait = min(wait * 2, LAST_WAIT_SECONDS)
                    continue
                wait = FIRST_WAIT_SECONDS
                self._status.state = "running" if done else "idle"
                if done < self._max_blocks:
                    stop.wait(self._linger)
        except (PipelineError, StoreError, ArchiveError, LogError, StateError) as error:
            self._status.state, self._status.last_error = "stopped", str(error)
            log.error("pipeline stopped", error=str(error))
            raise error if isinstance(error, PipelineError) else PipelineError(str(error)) from error
        self._status.state = "stopped"

    def step(self) -> int:
        """Take one batch through; return how many log records it had, 0 if there was nothing to do.

        Raises what store, archive and log raise; the offset has then not moved, and the same batch runs again at the next call.
        """
        # A batch makes some 500,000 short-lived objects and no cycles: collecting among them is a tenth of its cost.
        enabled = gc.isenabled()
        gc.disable()
        try:
            return self._step()
        finally:
            if enabled:
                gc.enable()

    def close(self) -> None:
        """Close the state file; log, store and archive belong to the caller."""
        self._file.close()

    def _step(self) -> int:
        self._refuse_past_limit(self._file.state)
        planned = self._file.plan
        partition, records = (planned.partition, self._again(planned)) if planned is not None else self._next()
        if not records:
            return 0
        keys = planned.keys if planned else self._registered_keys(records)
        if planned is not None:
            self._uncertain = True
        batch = Batch(tuple(records), keys, self._store.block_ids(_positions(records)))
        if planned is None:
            self._file.begin(Plan(records[0].offset, records[-1].offset, keys, partition))
        state, batch = pipeline.run(self._known(records), batch, self._clock())
        self._bury(batch.rejected)
        self._archive.append([a.block for a in batch.blocks])
        self._insert(batch)
        self._file.commit(state, records[-1].offset + 1, partition)
        self._note(state, batch)
        self._refuse_past_limit(state)
        return len(records)

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
                    self._uncertain = position < (self._known_until or {}).get(partition, 0)
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
            if self._known_until is None:
                self._known_until = {p: self._log.end_offset(EVENTS.name, p) for p in range(count)}
            self._partitions = count
        return self._partitions

    def _again(self, planned: Plan) -> list[Record]:
        records: list[Record] = []
        first, wanted = planned.first, planned.last - planned.first + 1
        while len(records) < wanted:
            more = self._log.read(EVENTS.name, first, wanted - len(records), MAX_BYTES, planned.partition)
            more = [r for r in more if r.offset <= planned.last]
            if not more:
                raise PipelineError(
                    f"the log no longer has offsets {first} to {planned.last} of {EVENTS.name}, which a batch was cut short in: "
                    "restore the log, or move pipeline.db away to begin at the log's start"
                )
            records += more
            first = more[-1].offset + 1
        return records

    def _registered_keys(self, records: Sequence[Record]) -> dict[str, bytes]:
        sources = {r.headers["source"].decode("ascii", "replace") for r in records if "source" in r.headers}
        sources |= {header.source for header in _headers(records)}
        keys = {source: registered_key(self._keys_dir, source) for source in sorted(sources)}
        return {source: key for source, key in keys.items() if key}

    def _known(self, records: Sequence[Record]) -> State:
        """The state, with sources it does not know taken up where the store left them: `pipeline.db` is new, the log trimmed."""
        state = self._file.state
        for h in {h.source: h for h in reversed(_headers(records))}.values():  # the first of each source
            if h.source not in state.sources and h.number > 1:
                before = self._store.header(h.source, h.number - 1)
                if before is not None and before.block_id == h.prev:
                    state = replace(state, sources={**state.sources, h.source: Source(Chain(before))})
        return state

    def _bury(self, rejected: Sequence[Rejected]) -> None:
        if not rejected:
            return
        for r in rejected:
            log.error("block rejected, kept in the dead letters", offset=r.record.offset, reason=r.reason)
        self._log.append(
            DLQ.name,
            [
                NewRecord(
                    r.record.key,
                    r.record.value,
                    {**r.record.headers, "reason": r.reason.encode(), "offset": str(r.record.offset).encode()},
                )
                for r in rejected
            ],
        )

    def _insert(self, batch: Batch) -> None:
        ids = "".join(a.block.header.block_id for a in batch.fresh)
        token = sha256(ids.encode()).hexdigest()
        for table in EVENT_TABLES:
            rows = batch.tables.get(table)
            if rows is None:
                continue
            if not self._uncertain:
                self._store.insert(table, rows, token)
            elif table in ("query_events", "other_events"):
                self._insert_uncertain(table, rows, token, batch)
            else:  # rows of these tables replace their like, so a repeat changes nothing and a token could only lose them
                self._store.insert(table, rows, None)

    def _insert_uncertain(self, table: str, rows: pa.Table, token: str, batch: Batch) -> None:
        """Insert rows that an earlier attempt may have inserted, all or some.

        If none are there, the token goes with them, in case a server still has the earlier insert under way. The engine notes a
        token just before the rows are in place, so a crash between the two makes it drop them now: what is still missing
        then goes in without a token.
        """
        lacking = _lacking(rows, self._held(table, batch))
        if lacking.num_rows == rows.num_rows:
            self._store.insert(table, rows, token)
            lacking = _lacking(rows, self._held(table, batch))
        if lacking.num_rows:
            log.warning("rows were missing after a crash and are inserted again", table=table, rows=lacking.num_rows)
            self._store.insert(table, lacking, None)

    def _held(self, table: str, batch: Batch) -> dict[tuple[str, int], set[int]]:
        held: dict[tuple[str, int], set[int]] = {}
        for a in batch.fresh:
            h = a.block.header
            there = self._store.positions(table, h.source, h.epoch, h.first_seq, h.first_seq + h.count - 1)
            held.setdefault((h.source, h.epoch), set()).update(there)
        return held

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
            s.last_latency_us = now - min(a.block.header.sealed_at for a in batch.fresh)

    def _count(self, state: State) -> None:
        s = self._status
        s.positions = self._file.positions
        s.blocks, s.events, s.repeats, s.dlq = state.blocks, state.events, state.repeats, state.rejected
        s.gaps, s.unreadable = state.gaps, state.unreadable
        s.missing_blocks = sum(source.chain.missing for source in state.sources.values())

    def _refuse_past_limit(self, state: State) -> None:
        if state.rejected >= self._max_rejected:
            raise PipelineError(
                f"{state.rejected} blocks did not verify and lie in topic {DLQ.name} (limit {self._max_rejected}): "
                "something is wrong with a source, its key or the log. Read the `reason` headers there; after mending it, "
                "`affidavit pipeline resume` sets the count back"
            )

    def forgive(self) -> None:
        """Set the count of rejected records back, so that a stopped pipeline may go on."""
        self._file.forgive()
        self._count(self._file.state)


_PASSING = (StoreUnavailableError, ArchiveUnavailableError, LogUnavailableError, KeyFileError)


def _headers(records: Sequence[Record]) -> list[BlockHeader]:
    headers = []
    for r in records:
        try:
            headers.append(BlockHeader.decode(r.headers["block"]))
        except (IntegrityError, KeyError):
            continue
    return headers


def _lacking(rows: pa.Table, held: dict[tuple[str, int], set[int]]) -> pa.Table:
    where = zip(rows["source"].to_pylist(), rows["epoch"].to_pylist(), rows["seq"].to_pylist(), strict=True)
    return rows.filter(pa.array([seq not in held[source, epoch] for source, epoch, seq in where], pa.bool_()))


def _positions(records: Sequence[Record]) -> list[tuple[str, int]]:
    return [(h.source, h.number) for h in _headers(records)]
