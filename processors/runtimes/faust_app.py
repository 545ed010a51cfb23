"""Runs the pipeline as a Faust worker: Kafka says which partitions are ours, Faust brings their blocks and keeps their progress.

A partition's progress (next offset, unfinished plan, counters) is a record of the table `progress`, with a topic as changelog: it
is confirmed before anything is inserted, and whoever gets the partition next recovers it. A worker that was paused for
longer than its membership lasts sees that after the confirmation and inserts nothing; one that was cut off from the brokers sees
there what another published meanwhile, and takes that up; one that is paused or cut off later inserts under the token which its
successor used too. Sources' chains are read from the store (see `processors.runtimes.work`).

Offsets are acknowledged after store and archive have the blocks. Progress, not the stream, decides what comes next: records that
come again are passed over, records that the stream left out are read from the log, at the latest when all is quiet. The only
module that knows Faust.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
import orjson
import structlog
from faust.transport.utils import DefaultSchedulingStrategy

from processors.archive import Archive, ArchiveError, ArchiveUnavailableError
from processors.runtimes.bearer import Tokens
from processors.runtimes.confirming import PRODUCE_SECONDS, confirmed, send
from processors.runtimes.folding import SWEEP_SECONDS, Folding
from processors.runtimes.probes import serve
from processors.runtimes.progress import Furthest, Progress
from processors.runtimes.states import InMemory, Place
from processors.runtimes.waiting import Waiting
from processors.runtimes.work import MAX_BLOCKS, MAX_BYTES, BatchWork, PipelineError, Stored, Timings
from processors.signatures import KeyFileError
from processors.sinks.clickhouse import Store, StoreError, StoreUnavailableError
from processors.steps.work import Batch
from schemas.config import KafkaMechanism, KafkaSettings
from schemas.log import LogError, LogUnavailableError, Record
from schemas.log.kafka import KafkaLog
from schemas.topics import ACTIVITY, EVENTS

log = structlog.get_logger(__name__)

SESSION_SECONDS = 20.0
"""A worker not heard of for this long loses its partitions to the others."""

FETCH_BYTES = 4 * 1024 * 1024
"""Fetched ahead of each partition, packed as it was shipped: about a batch; a larger block still comes, alone."""

POLLED_BLOCKS = 64
BUFFERED_BLOCKS = 2 * POLLED_BLOCKS
"""Blocks that wait in Faust: of 500 events each about 80 MB."""

WAITING_BYTES = 80 * 1024 * 1024
"""Bodies that wait in the worker for the batch under way."""

QUIET_SECONDS = 2.0
"""How long nothing may come before the log itself is asked. Without it a record that the stream passes over while it seeks, right
after a start, would wait for the next one of its partition."""

LEAVE_SECONDS = 30.0
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.1, 10.0
PASSING = (StoreUnavailableError, ArchiveUnavailableError, LogError, KeyFileError)
"""What is waited for. The log's errors all: that its topics are there, and that we may read them, was seen at the start, and
brokers that have just started know neither for a while."""


class ByPartition(DefaultSchedulingStrategy):
    """Hands on what was fetched of one partition before the next one's."""

    def iterate(self, records: Mapping[Any, list[Any]]) -> Iterator[tuple[Any, Any]]:
        """Iterate over the records, partition by partition."""
        return ((tp, record) for tp, fetched in records.items() for record in fetched)


class FaustRuntime:
    """One worker over one log, store and archive. `clock` returns microseconds UTC."""

    def __init__(
        self,
        settings: KafkaSettings,
        store: Store,
        archive: Archive,
        clock: Callable[[], int],
        keys_dir: Path,
        faust_dir: Path,
        max_rejected: int = 100,
        group: str = "affidavit-process",
        session_seconds: float = SESSION_SECONDS,
        stored: Stored | None = None,
        sweep_seconds: float = SWEEP_SECONDS,
        place: Place | None = None,
    ) -> None:
        """Raise LogError where the brokers refuse us or the topics are not there.

        `place` is where the principals' states are kept, in memory if it is None; it belongs to the caller.

        `faust_dir` is for Faust to make: it makes folders for tables wherever these are kept, by default in the current one.
        """
        self._settings, self._store, self._archive, self._clock = settings, store, archive, clock
        self._group = group
        self._keys_dir, self._max_rejected = keys_dir, max_rejected
        self._log = KafkaLog(settings)
        partitions, folded = _counts(self._log, group)
        self._owned: set[int] = set()
        self._folding = Folding(self._log, store, self._publish, place or InMemory(), clock, sweep_seconds)
        self._tabled = False
        self._leaving = False
        self._works: dict[int, tuple[BatchWork, Progress]] = {}
        self._furthest = Furthest()
        self._doubtful: dict[int, float] = {}
        """Until when (monotonic) partitions wait that may be somebody else's: by then we hear it, if they are."""
        self._tick = time.monotonic()
        self._failure: PipelineError | None = None
        self._archive_overdue = False
        self._timings, self._stored = Timings(), stored
        self._counts = {"blocks": 0, "events": 0, "repeats": 0, "rejected": 0, "gaps": 0, "batches": 0, "retries": 0}
        self._state, self._last_error, self._latency_us = "starting", "", 0
        self._session = session_seconds
        self._app = _application(settings, group, partitions, session_seconds, faust_dir)
        raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
        self._table = self._app.Table("progress", partitions=partitions, on_changelog_event=self._heard)
        topic = self._app.topic(settings.topic_prefix + EVENTS.name, partitions=partitions, **raw)
        self._app.agent(topic, name="project")(self._project)
        self._principals = self._app.Table("principals", partitions=folded, on_changelog_event=self._folding.heard)
        activity_topic = self._app.topic(settings.topic_prefix + ACTIVITY.name, partitions=folded, **raw)
        self._app.agent(activity_topic, name="fold")(self._folding.hand_on)
        self._app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]
        self._app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]
        self._app.on_rebalance_complete.connect(self._recovery_ended)  # type: ignore[arg-type]

    @property
    def status(self) -> dict[str, Any]:
        """What `/readyz` shows: counters since this worker started, and each of its partitions' next offset."""
        partitions = {p: memory.next_offset for p, (_, memory) in sorted(self._works.items())}
        return {
            "state": self._state,
            "ready": self._state == "running",
            "last_error": self._last_error,
            "last_latency_us": self._latency_us,
            "assigned": sorted(self._owned),
            "next_offsets": partitions,
            "principals": len(self._folding.states),
            "activity": self._folding.folded,
            "activity_repeats": self._folding.repeats,
            "activity_unreadable": self._folding.unreadable,
            "activity_retries": self._folding.retries,
            "activity_waits_for": self._folding.waits_for,
            "activity_offsets": dict(sorted(self._folding.states.offsets.items())),
            **self._counts,
            "latencies": self._timings.numbers(),
        }

    async def run(self, stop: asyncio.Event, listen: tuple[str, int] | None = None) -> None:
        """Work until `stop` is set; raise PipelineError when the worker cannot go on by itself."""
        self._loop, self._busy = asyncio.get_running_loop(), asyncio.Lock()
        server = await serve(listen, lambda: self.status, self._lag, self._folding.lag) if listen else None
        self._waiting: Waiting[tuple[Any, Any]] = Waiting(WAITING_BYTES)
        self._folding.open()
        folding = self._folding.run(self._busy, self._may_fold, _record)
        tasks = [asyncio.create_task(task) for task in (self._ticking(), self._working(), folding)]
        try:
            await self._app.start()
            if self._state == "starting":
                self._state = "running"
            log.info("worker started", brokers=",".join(self._settings.bootstrap_servers))
            while not stop.is_set() and self._failure is None:
                for task in tasks:
                    if task.done():
                        task.result()  # raises what ended it
                if self._app.should_stop:
                    raise PipelineError("the Faust worker ended by itself; its last message is above")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.2)
            await self._leave()
        finally:
            await self._app.stop()
            for task in tasks:
                task.cancel()
            if server is not None:
                await server.cleanup()
            await asyncio.to_thread(self._log.close)
        if self._failure is not None:
            self._state = "stopped"
            raise self._failure

    async def _project(self, stream: Any) -> None:
        """Hand events on. Not acknowledged here: that is for when store and archive have them."""
        async for event in stream.noack().events():
            await self._waiting.put(event.message.partition, (stream, event), 1 + len(event.message.value or b""))

    async def _working(self) -> None:
        """Take what waits, as much as a batch may hold: alone when little comes, together when there is a backlog."""
        while True:
            try:
                partition, taken = await asyncio.wait_for(self._waiting.get(MAX_BLOCKS), QUIET_SECONDS)
            except TimeoutError:
                await self._catch_up()
                continue
            async with self._busy:
                done = await self._take(partition, [_record(event) for _, event in taken])
                await self._give_up_overdue()
            if done:
                for stream, event in taken:
                    await stream.ack(event)

    async def _catch_up(self) -> None:
        """Take what the log has and the stream did not bring."""
        for partition in sorted(self._owned) if self._tabled else ():
            async with self._busy:
                await self._take(partition, None)
                await self._give_up_overdue()

    async def _give_up_overdue(self) -> None:
        """Close the archive for the next owners if we left while something was under way. Other sources' folders open again."""
        if self._archive_overdue:
            self._archive_overdue = False
            await asyncio.to_thread(self._archive.close)

    async def _take(self, partition: int, records: Sequence[Record] | None) -> bool:
        """Take records (None: the log's next) through, however often it takes; False if the partition is no longer ours."""
        wait = FIRST_WAIT_SECONDS
        while partition in self._owned and self._failure is None and not self._leaving:
            if not self._tabled:  # what was handed on before a rebalance must not be judged by what we knew before it
                await asyncio.sleep(0.05)
                continue
            try:
                await asyncio.to_thread(self._advance, partition, records)
            except PASSING as error:
                self._state, self._counts["retries"] = "retrying", self._counts["retries"] + 1
                if str(error) != self._last_error:
                    log.warning("pipeline waits", error=str(error))
                self._last_error = str(error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LAST_WAIT_SECONDS)
            except Exception as error:
                self._state, self._last_error = "stopped", str(error)
                log.error("pipeline stopped", error=str(error))
                self._failure = error if isinstance(error, PipelineError) else PipelineError(f"{type(error).__name__}: {error}")
                if not isinstance(error, PipelineError | StoreError | ArchiveError):
                    log.exception("pipeline failed")
            else:
                self._state, self._last_error = "running", ""
                return True
        return False

    def _advance(self, partition: int, records: Sequence[Record] | None) -> None:
        """Work off everything up to the last of `records`. Runs in a thread."""
        if time.monotonic() < self._doubtful.get(partition, 0.0):
            raise LogUnavailableError(f"partition {partition} may be another worker's by now: waits to hear whether it is")
        if partition not in self._works:
            self._works[partition] = self._recovered(partition)
        work, memory = self._works[partition]
        work.refuse_past_limit()
        if memory.plan is not None:
            self._note(work.take(work.again(memory.plan), partition, uncertain=True))
        if records is None:
            records = self._log.read(EVENTS.name, memory.next_offset, MAX_BLOCKS, MAX_BYTES, partition)
        while records := [r for r in records if r.offset >= memory.next_offset]:
            at = memory.next_offset
            given = _run(records)
            if given[0].offset != at:  # the stream left records out
                given = self._log.read(EVENTS.name, at, MAX_BLOCKS, MAX_BYTES, partition)
                if not given:
                    raise LogUnavailableError(f"{EVENTS.name}, partition {partition}: offset {at} cannot be read yet")
            self._note(work.take(given, partition, uncertain=at < memory.known_until))
            if memory.state.rejected:
                work.refuse_past_limit()
        work.refuse_past_limit()  # before these are acknowledged, so that they come again to whoever starts next

    def _recovered(self, partition: int) -> tuple[BatchWork, Progress]:
        memory = Progress(lambda data: self._put(partition, data))
        if found := self._furthest.of(partition):
            memory.load(found)
        if not memory.existed:
            memory.known_until = self._log.end_offset(EVENTS.name, partition)
        limit, timings, stored = self._max_rejected, self._timings, self._stored
        work = BatchWork(self._log, self._store, self._archive, memory, self._clock, self._keys_dir, limit, timings, stored)
        log.info("partition taken up", partition=partition, next_offset=memory.next_offset, unfinished=memory.plan is not None)
        return work, memory

    def _put(self, partition: int, data: bytes) -> None:
        """Have the brokers confirm a progress record; then see that we are still heard of, and that nobody else was before us.

        Called in the worker's thread. What was confirmed counts, whatever is raised then: the partition is taken up anew.
        """
        sending = send(self._table.changelog_topic, partition, [(_key(partition), data)])
        offset = confirmed(self._loop, sending, f"progress of partition {partition}")[0].offset
        self._hear_others(partition, offset)
        self._furthest.heard(partition, data, offset)
        if time.monotonic() - self._tick > self._session / 2:
            problem = "this worker was paused; it must hear first which partitions it still has"
        elif partition not in self._owned:
            problem = f"partition {partition} went to another worker"
        elif self._furthest.of(partition) != data:
            problem = f"another worker has gone on with partition {partition}: what it began comes first"
        else:
            return
        self._works.pop(partition, None)
        self._doubtful[partition] = time.monotonic() + self._session
        raise LogUnavailableError(problem)

    def _hear_others(self, partition: int, offset: int) -> None:
        """Take what stands in the changelog between what was heard last and our record at `offset`."""
        topic, at = f"{self._group}-progress-changelog", self._furthest.end(partition)
        while at < offset and (found := self._log.read(topic, at, MAX_BLOCKS, MAX_BYTES, partition)):
            for record in found:
                if record.offset < offset:
                    self._hear(partition, record.value, record.offset)
            at = found[-1].offset + 1

    async def _heard(self, event: Any) -> None:
        """Take what the changelog of `progress` brings."""
        self._hear(event.message.partition, event.message.value or b"", event.message.offset)

    def _hear(self, partition: int, data: bytes, offset: int) -> None:
        try:
            self._furthest.heard(partition, orjson.dumps(orjson.loads(data)), offset)
        except (ValueError, TypeError) as error:
            where = {"partition": partition, "offset": offset}
            log.error("a record of the changelog of progress cannot be read", error=str(error), **where)

    def _may_fold(self) -> bool:
        return self._tabled and not self._leaving and self._failure is None

    def _publish(self, partition: int, records: Sequence[tuple[str, bytes | None]]) -> None:
        """Have the brokers confirm records of the principals' changelog. Called in a thread."""
        if time.monotonic() - self._tick > self._session / 2:
            raise LogUnavailableError("this worker was paused; it must hear first which partitions it still has")
        confirmed(self._loop, send(self._principals.changelog_topic, partition, records), f"states of partition {partition}")

    def _note(self, batch: Batch) -> None:
        for note in batch.notes:
            log.warning(note)
        c = self._counts
        c["batches"] += 1
        c["blocks"] += len(batch.blocks)
        c["events"] += sum(a.block.header.count for a in batch.blocks)
        c["repeats"] += len(batch.records) - len(batch.blocks) - len(batch.rejected)
        c["rejected"] += len(batch.rejected)
        if batch.fresh:
            self._latency_us = max(0, self._clock() - min(a.block.header.sealed_at for a in batch.fresh))

    async def _assigned(self, app: Any, assigned: set[Any], **_: Any) -> None:
        name = self._settings.topic_prefix + EVENTS.name
        self._owned = {tp.partition for tp in assigned if tp.topic == name}
        folded = self._settings.topic_prefix + ACTIVITY.name
        self._folding.owned = {tp.partition for tp in assigned if tp.topic == folded}
        self._leaving = self._tabled = False
        if self._state == "retrying":  # for a partition that may be somebody else's now: what still has to wait says so again
            self._state, self._last_error = "running", ""
        log.info("partitions assigned", partitions=sorted(self._owned))

    async def _recovery_ended(self, app: Any, **_: Any) -> None:
        self._tabled = True  # from here on the table knows how far each partition is

    async def _revoked(self, app: Any, revoked: set[Any], **_: Any) -> None:
        await self._leave()
        self._works.clear()
        self._doubtful.clear()

    async def _leave(self) -> None:
        """Give all partitions up when nothing of theirs is under way, so that the next owner finds them whole.

        What takes too long is cut: its plan is not committed, and the next owner runs it again. The archive's folders are given
        up at the latest when it ends.
        """
        self._leaving = True
        try:
            await asyncio.wait_for(self._busy.acquire(), LEAVE_SECONDS)
        except TimeoutError:
            self._archive_overdue = True
        else:
            await asyncio.to_thread(self._archive.close)
            self._busy.release()
        self._owned.clear()
        self._folding.owned.clear()

    async def _ticking(self) -> None:
        while True:
            self._tick = time.monotonic()
            await asyncio.sleep(0.25)

    def _lag(self) -> dict[int, int]:
        lag = {}
        for partition, (_, memory) in list(self._works.items()):
            with contextlib.suppress(LogError):
                lag[partition] = max(0, self._log.end_offset(EVENTS.name, partition) - memory.next_offset)
        return lag


def _counts(log: KafkaLog, group: str) -> tuple[int, int]:
    """Return how many partitions the two stages' topics have. Raises LogError; PipelineError if these and the tables' differ."""
    counts = {name: log.partitions(name) for name in (EVENTS.name, ACTIVITY.name)}
    for table in ("progress", "principals"):
        with contextlib.suppress(LogError):  # not there yet: Faust makes it
            counts[f"{group}-{table}-changelog"] = log.partitions(f"{group}-{table}-changelog")
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise PipelineError(
            f"the topics of the workers must have the same number of partitions, and {said}: "
            "give all as many as the largest has, with all workers stopped and their lag at 0"
        )
    return counts[EVENTS.name], counts[ACTIVITY.name]


def _application(settings: KafkaSettings, group: str, partitions: int, session_seconds: float, folder: Path) -> faust.App:
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    options: dict[str, Any] = {}
    if (credentials := _credentials(settings)) is not None:
        options["broker_credentials"] = credentials
    return faust.App(
        settings.topic_prefix + group,
        broker=[f"kafka://{server}" for server in settings.bootstrap_servers],
        store="memory://",
        datadir=str(folder.absolute()).replace("{", "{{").replace("}", "}}"),  # Faust expands braces
        table_standby_replicas=1,
        topic_partitions=partitions,
        topic_replication_factor=settings.replication,
        topic_disable_leader=True,
        topic_allow_declare=True,
        web_enabled=False,
        broker_session_timeout=session_seconds,
        broker_heartbeat_interval=2.0,
        broker_commit_interval=1.0,
        broker_max_poll_records=POLLED_BLOCKS,
        ConsumerScheduler=ByPartition,
        stream_buffer_maxsize=BUFFERED_BLOCKS,
        stream_wait_empty=False,
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        producer_request_timeout=PRODUCE_SECONDS,
        **options,
    )


def _credentials(
    settings: KafkaSettings,
) -> faust.SASLCredentials | faust.SSLCredentials | faust.OAuthCredentials | None:
    security = settings.security
    context = ssl.create_default_context(cafile=str(security.ca_file) if security.ca_file else None) if security.tls else None
    if context is not None and security.cert_file is not None:
        context.load_cert_chain(security.cert_file, security.key_file)
    if security.mechanism is KafkaMechanism.OAUTHBEARER:
        return faust.OAuthCredentials(oauth_cb=Tokens(security), ssl_context=context)
    if security.mechanism is not KafkaMechanism.NONE:
        password = security.password.get_secret_value() if security.password else ""
        return faust.SASLCredentials(
            username=security.username, password=password, mechanism=security.mechanism.value, ssl_context=context
        )
    return faust.SSLCredentials(context) if context is not None else None


def _record(event: Any, topic: str = EVENTS.name) -> Record:
    m = event.message
    headers = m.headers or {}
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return Record(topic, m.offset, m.key or b"", m.value or b"", dict(pairs), m.partition)


def _run(records: Sequence[Record]) -> list[Record]:
    """The first records that follow each other, within the limits of a batch."""
    found: list[Record] = []
    size = 0
    for record in records[:MAX_BLOCKS]:
        size += len(record.value)
        if found and (record.offset != found[-1].offset + 1 or size > MAX_BYTES):
            break
        found.append(record)
    return found


def _key(partition: int) -> str:
    return str(partition)
