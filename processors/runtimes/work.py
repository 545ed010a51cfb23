"""What every runtime does with one partition's records: plan, steps, dead letters, archive, insert, commit. Written once.

A `Memory` keeps what must outlive the process: the state, the next offset, and the plan, which is durable *before* anything of
its batch is inserted. Whoever has the partition next runs an unfinished plan again, with the same offsets and keys, so with the
same deduplication token: even a writer that was thought dead and wakes up in its insert adds nothing. What `Memory` does not
know is taken from the store: `blocks` is inserted last, so a source's chain can be read from it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol

import pyarrow as pa
import structlog

from processors import pipeline
from processors.archive import Archive
from processors.runtimes.state import Plan
from processors.signatures import KeyFileError, key_path, registered_key
from processors.sinks.clickhouse import EVENT_TABLES, Store
from processors.steps.work import Batch, Rejected, Source, State
from schemas.control import pipeline_resumed_at
from schemas.dead_letters import buried
from schemas.integrity import BlockHeader, IntegrityError
from schemas.latencies import Latencies
from schemas.log import Log, Record
from schemas.topics import ACTIVITY, DLQ, EVENTS

log = structlog.get_logger(__name__)

MAX_BLOCKS = 512
"""Blocks per batch, of which large ones are as many as MAX_BYTES holds: an insert costs about 40 ms whatever its size, which many
blocks share when there is a backlog."""

WARY_BLOCKS = 64
"""Blocks per batch where more would bring the rejected past their limit: at most so many are dead letters beyond it."""

MAX_BYTES = 48 * 1024 * 1024
"""Bodies per batch; with the Arrow tables made of them, what a batch holds in memory stays under about 200 MB."""


class PipelineError(Exception):
    """The pipeline cannot go on by itself; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long batches took: of one runtime, whatever its partitions."""

    archive: Latencies = field(default_factory=Latencies)
    """Appending a batch's blocks."""
    insert: Latencies = field(default_factory=Latencies)
    """Inserting a batch's rows, all tables together."""
    projection: Latencies = field(default_factory=Latencies)
    """From the sealing of a batch's oldest block to its rows in the store."""

    def numbers(self) -> dict[str, tuple[int, ...]]:
        """Return them by name, as plain numbers."""
        return {f.name: getattr(self, f.name).numbers() for f in fields(self)}


Stored = Callable[[Batch, int], None]
"""Is told of each batch that store and archive have, with the time (µs). A death between the two leaves it untold."""


class Memory(Protocol):
    """What a partition's work remembers between batches and across deaths."""

    state: State
    plan: Plan | None

    def begin(self, plan: Plan) -> None:
        """Record, durably, what is about to be inserted."""

    def commit(self, state: State, next_offset: int, partition: int = 0) -> None:
        """Record that everything before `next_offset` of a partition is in store and archive."""


class BatchWork:
    """Takes batches through, one thread at a time. `clock` returns microseconds UTC."""

    def __init__(
        self,
        log: Log,
        store: Store,
        archive: Archive,
        memory: Memory,
        clock: Callable[[], int],
        keys_dir: Path,
        max_rejected: int = 100,
        timings: Timings | None = None,
        stored: Stored | None = None,
    ) -> None:
        """Log, store and archive belong to the caller."""
        self._log, self._store, self._archive, self._memory, self._clock = log, store, archive, memory, clock
        self._keys_dir, self._max_rejected = keys_dir, max_rejected
        self._timings, self._stored = timings or Timings(), stored
        self._uncertain = False
        self._buried: set[int] = set()
        """Offsets of this batch's records that are dead letters already: an insert that is tried again buries nothing again."""

    def take(self, records: Sequence[Record], partition: int, uncertain: bool) -> Batch:
        """Take records of one partition through, or only the first of them; return the batch with all that was made of it.

        `uncertain`: rows of it may be in the store already. Raises what store, archive and log raise; nothing is committed then.
        """
        # A batch makes some 500,000 short-lived objects and no cycles: collecting among them is a tenth of its cost.
        enabled = gc.isenabled()
        gc.disable()
        try:
            return self._take(records, partition, uncertain)
        finally:
            if enabled:
                gc.enable()

    def refuse_past_limit(self) -> None:
        """Raise PipelineError if so many records were rejected that something is wrong with more than them.

        Unless somebody has said since that it is mended: then they are counted anew, from the next commit on for good.
        """
        state = self._memory.state
        if state.rejected < self._max_rejected:
            return
        resumed_at = pipeline_resumed_at(self._log)
        if resumed_at > state.resumed_at:
            log.warning("pipeline resumed: rejected blocks are counted anew", rejected=state.rejected)
            self._memory.state = replace(state, rejected=0, resumed_at=resumed_at)
            return
        raise PipelineError(
            f"{state.rejected} blocks did not verify and lie in topic {DLQ.name} (limit {self._max_rejected}): something is "
            "wrong with a source, its key or the log. `affidavit dlq list` shows why; after mending it, `affidavit dlq replay` "
            "sends them again, or `affidavit pipeline resume` leaves them there and goes on"
        )

    def again(self, planned: Plan) -> list[Record]:
        """Return the records of a batch that was cut short. Raises PipelineError if the log no longer has them."""
        records: list[Record] = []
        first, wanted = planned.first, planned.last - planned.first + 1
        while len(records) < wanted:
            more = self._log.read(EVENTS.name, first, wanted - len(records), MAX_BYTES, planned.partition)
            more = [r for r in more if r.offset <= planned.last]
            if not more:
                raise PipelineError(
                    f"the log no longer has offsets {first} to {planned.last} of {EVENTS.name}, which a batch was cut short in: "
                    "restore the log, or take the pipeline's memory away (pipeline.db, or the changelog) to begin at its start"
                )
            records += more
            first = more[-1].offset + 1
        return records

    def _take(self, records: Sequence[Record], partition: int, uncertain: bool) -> Batch:
        planned = self._memory.plan
        keys = planned.keys if planned else self._registered_keys(records)
        self._uncertain = uncertain or planned is not None
        if self._uncertain or any(h.source not in self._memory.state.sources for h in _headers(records)):
            self._store.catch_up()  # what somebody else wrote last is what matters now
        batch = Batch(tuple(records), keys, self._store.block_ids(_positions(records)))
        state, batch = pipeline.run(self._known(records, keys), batch, self._clock())
        if planned is None:
            if state.rejected >= self._max_rejected and len(records) > WARY_BLOCKS:
                return self._take(records[:WARY_BLOCKS], partition, uncertain)
            self._memory.begin(Plan(records[0].offset, records[-1].offset, keys, partition))
        self._bury(batch.rejected)
        began = perf_counter_ns()
        self._archive.append([a.block for a in batch.blocks])
        archived = perf_counter_ns()
        # Before the rows: a batch that is run again makes activity of what the store does not have yet, and repeats are dropped.
        self._log.append(ACTIVITY.name, [a.record() for a in batch.activity])
        self._insert(batch)
        if batch.fresh:
            self._timings.archive.observe((archived - began) // 1000)
            self._timings.insert.observe((perf_counter_ns() - archived) // 1000)
            self._timings.projection.observe(self._clock() - min(a.block.header.sealed_at for a in batch.fresh))
        self._memory.commit(state, records[-1].offset + 1, partition)
        self._buried.clear()
        if self._stored is not None and batch.fresh:
            self._tell(self._stored, batch)
        return batch

    def _tell(self, stored: Stored, batch: Batch) -> None:
        try:
            stored(batch, self._clock())
        except Exception as error:  # what looks on must not stop what works
            log.warning("a batch could not be told", error=f"{type(error).__name__}: {error}")

    def _registered_keys(self, records: Sequence[Record]) -> dict[str, bytes]:
        sources = {r.headers["source"].decode("ascii", "replace") for r in records if "source" in r.headers}
        sources |= {header.source for header in _headers(records)}
        keys = {source: registered_key(self._keys_dir, source) for source in sorted(sources)}
        return {source: key for source, key in keys.items() if key}

    def _known(self, records: Sequence[Record], keys: Mapping[str, bytes]) -> State:
        """The state, with sources it does not know taken up where the store left them: its last block, gaps still open."""
        state = self._memory.state
        for h in {h.source: h for h in reversed(_headers(records))}.values():  # the first of each source
            if h.source in state.sources:
                continue
            if h.source not in keys and self._store.was_verified(h.source):
                raise KeyFileError(
                    f"blocks of source {h.source} were signed under a registered key, and its file "
                    f"{key_path(self._keys_dir, h.source)} is not there: put it back, or any block could be anyone's"
                )
            if h.number > 1:
                before = self._store.header(h.source, h.number - 1)
                known = before is not None and before.block_id == h.prev
                chain = self._store.chain(h.source, h.number - 1 if known else None)
                state = replace(state, sources={**state.sources, h.source: Source(chain, keys.get(h.source, b""))})
        return state

    def _bury(self, rejected: Sequence[Rejected]) -> None:
        fresh = [r for r in rejected if r.record.offset not in self._buried]
        if not fresh:
            return
        for r in fresh:
            where = {"source": r.record.key.decode("utf-8", "replace")[:100], "partition": r.record.partition}
            log.error("block rejected, kept in the dead letters", offset=r.record.offset, reason=r.reason, **where)
        self._log.append(DLQ.name, [buried(r.record, r.reason) for r in fresh])
        self._buried.update(r.record.offset for r in fresh)

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

        The token goes with what lacks, in case a server still has the earlier insert under way, or one month's rows of it: tokens
        count by partition. The engine notes a token just before the rows are in place, so a crash between the two makes it drop
        them now: what is still missing then goes in without a token. Where Keeper notes both at once a token is believed: rows
        that cannot be seen then are on a replica that is away.
        """
        lacking = _lacking(rows, self._held(table, batch))
        self._store.insert(table, lacking, token)
        if self._store.tokens_hold_rows or not lacking.num_rows:
            return
        lacking = _lacking(rows, self._held(table, batch))
        if lacking.num_rows:
            log.warning("rows were missing after a crash and are inserted again", table=table, rows=lacking.num_rows)
            self._store.insert(table, lacking, None)

    def _held(self, table: str, batch: Batch) -> dict[tuple[str, int], set[int]]:
        spans: dict[tuple[str, int], tuple[int, int]] = {}
        for a in batch.fresh:
            h = a.block.header
            first, last = spans.get((h.source, h.epoch), (h.first_seq, 0))
            spans[h.source, h.epoch] = min(first, h.first_seq), max(last, h.first_seq + h.count - 1)
        return {where: self._store.positions(table, *where, *span) for where, span in spans.items()}


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
