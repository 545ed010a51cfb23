"""The spool: where everything is written before it happens, and kept until the log has it.

Call order for a statement: `intend`, `commit`, (`sync` where durability is fsync), forward it, … `conclude`, `commit`. One
thread, the event loop's, makes all these calls; `sync` may run in another. A thread of the spool's own seals blocks, makes
the next segment ahead of need and deletes segments that are done with. docs/adr/0003-spool.md says why it is as it is.

Room. Every accepted intent has room reserved for itself, for being carried into the next segment and for its event line, so an
outcome always fits; `accepting` turns False before that promise would break, and True again by itself.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread

import orjson
import structlog

from ingest.spool.blocks import MAX_BLOCK_BYTES, Batch, BlockStore
from ingest.spool.errors import RecordTooLargeError, SpoolError, SpoolFullError
from ingest.spool.lines import LINE_OVERHEAD, LineFormat
from ingest.spool.lock import DirectoryLock
from ingest.spool.records import INTENT_BODY, LINE_BODY, Head, Kind, encode_definition, pack_intent, pack_line
from ingest.spool.recovery import recover
from ingest.spool.restart import seal_recovered, set_aside
from ingest.spool.segments import WAL, Segment, create_segment
from schemas.config import AuditSettings, Durability
from schemas.integrity import leaf_hash

log = structlog.get_logger(__name__)

_INTENT, _LINE = int(Kind.INTENT), int(Kind.LINE)

SLACK = 64 * 1024
"""Room kept beyond all promises: heads of segments, and events of the source itself while statements are refused."""

MAX_RECORD_BYTES = 32 * 1024 * 1024
"""Fragments of one record together; beyond this the statement is refused rather than make a segment of any size."""

MAX_SEGMENT_BYTES = 256 * 1024 * 1024
"""The largest a segment is made when the events of open statements need more than `wal_segment_bytes`; then refuse."""

MAX_UNSEALED_BYTES = 64 * 1024 * 1024
"""Lines kept in memory until sealed; past it (the disk refuses blocks) nothing is accepted."""

MAX_TEXT_HASHES = 20_000
"""Hashes of long texts remembered per epoch; past it they are forgotten and texts recorded again, which is harmless."""


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """Numbers for metrics. Bytes are on disk; counts are since opening, `open_intents` and `unacked_*` are now."""

    events: int
    open_intents: int
    unsealed_bytes: int
    blocks_sealed: int
    blocks_acked: int
    unacked_blocks: int
    unacked_bytes: int
    refusals: int


class Spool:
    """The spool of one source. Made by `Spool.open`."""

    @classmethod
    def open(
        cls,
        directory: Path,
        source: str,
        settings: AuditSettings,
        clock: Callable[[], int],
        signer: Callable[[bytes], bytes] | None,
        background: bool = True,
    ) -> Spool:
        """Take the directory's lock, seal what the last epoch left, begin a new epoch.

        `clock` returns microseconds UTC; `signer` signs block headers. With `background` False nothing happens outside calls.
        Raises SpoolLockedError, SpoolFullError, SpoolError.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SpoolError(f"spool {directory} cannot be made: {error.strerror}; check owner and permissions") from error
        lock = DirectoryLock(directory)
        try:
            return cls(directory, source, settings, clock, signer, background, lock)
        except BaseException:
            lock.release()
            raise

    def __init__(
        self,
        directory: Path,
        source: str,
        settings: AuditSettings,
        clock: Callable[[], int],
        signer: Callable[[bytes], bytes] | None,
        background: bool,
        lock: DirectoryLock,
    ) -> None:
        self.directory, self.source, self.settings = directory, source, settings
        self.accepting, self.refusal = True, ""
        self._clock, self._lock = clock, lock
        self._max_events = settings.max_events_per_block
        self._durable = settings.durability is Durability.FSYNC
        found = recover(directory)
        self._next_wal = found.next_wal
        self.blocks = BlockStore(
            directory,
            source,
            signer,
            settings.wal_segment_bytes,
            self._durable,
            found.number,
            found.block_id,
            found.unacked,
            found.next_blocks,
        )
        try:
            self.recovered = seal_recovered(found, self.blocks, source, self._max_events, clock())
            set_aside(found, self.blocks, self._durable)
        except OSError as error:
            raise SpoolError(f"spool {directory} cannot be written: {error}; check the disk") from error
        self.epoch = found.epoch + 1 if found.last_seq else max(found.epoch, 1)
        self._format = LineFormat(source, self.epoch)

        self._seq = 0
        self._next_intent = 1
        self._open: dict[int, tuple[int, bytes, bytes, bytes]] = {}
        self._definitions: dict[bytes, int] = {}
        self._records: list[bytes] = []
        self._line_records: list[bytes] = []
        self._pending: list[bytes] = []
        self._leaves: list[bytes] = []
        self._intents: array[int] = array("Q")
        self._pending_bytes = 0
        self._pending_since = 0
        self._reserved = self._need = 0
        self._room = 0
        self._refusals = 0
        self._texts: set[bytes] = set()
        self._write_problem = ""

        self._work_lock = Lock()
        self._batches: deque[Batch] = deque()
        self._queued_bytes = self._sealed_bytes = 0
        self._sealed_seq = 0
        self._seal_problem = self._spare_problem = ""
        self._retired: deque[Segment] = deque()
        self._sync_lock = Lock()
        self._unsynced: set[Segment] = set()
        self._sync_failed = False
        self._closed = False

        self._spare: Segment | None = None
        self._spare_wanted = settings.wal_segment_bytes
        self._segment = self._create(self._spare_wanted)
        self._write_head(self._segment, 0)
        self._ensure_spare()
        self._refresh()
        self._wake = Event()
        self._thread: Thread | None = None
        if background:
            self._thread = Thread(target=self._run, name=f"spool {source}", daemon=True)
            self._thread.start()

    # -- writing ------------------------------------------------------------------------------------------------------------

    def has_room(self, size: int) -> bool:
        """Whether statements whose events are of `size` bytes together would be taken now; if not, `refusal` says why."""
        need = self._need + 3 * size
        if not self.accepting or need > self._room:
            self._refresh(3 * size)
            return self.accepting and self._need + 3 * size <= self._room
        return True

    def intend(self, at: int, context: bytes, statement: bytes, dynamic: bytes) -> int:
        """Gather the intent to forward a statement; return its number. Raises SpoolFullError, RecordTooLargeError."""
        size = len(context) + len(statement) + len(dynamic) + LINE_OVERHEAD
        need = self._need + 3 * size
        if not self.accepting or need > self._room:
            self._make_room(size)
            need = self._need + 3 * size
        self._need = need
        self._reserved += size
        number = self._next_intent
        self._next_intent = number + 1
        definitions = self._definitions
        records = self._records
        records.append(
            pack_intent(
                _INTENT,
                INTENT_BODY + len(dynamic),
                number,
                at,
                definitions.get(context) or self._define(context),
                definitions.get(statement) or self._define(statement),
            )
        )
        records.append(dynamic)
        self._open[number] = (at, context, statement, dynamic)
        return number

    def conclude(self, intent: int, outcome: bytes) -> None:
        """Complete an intent's event line. Raises SpoolError if the intent is not open."""
        try:
            at, context, statement, dynamic = self._open.pop(intent)
        except KeyError:
            raise SpoolError(f"spool {self.directory}: intent {intent} is not open") from None
        self._reserved -= len(context) + len(statement) + len(dynamic) + LINE_OVERHEAD
        self._seq = seq = self._seq + 1
        line = self._format.query(seq, at, dynamic, context, statement, outcome)
        self._line_records.append(pack_line(_LINE, LINE_BODY + len(line), intent, seq))
        self._line_records.append(line)
        self._pending.append(line)
        self._leaves.append(leaf_hash(line))
        self._intents.append(intent)
        self._pending_bytes += len(line)

    def record(self, type: str, at: int, body: bytes) -> None:
        """Gather any other complete event; `body` is its fragment, beginning with a comma. Raises SpoolFullError."""
        if len(body) > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"event {type} of {len(body)} bytes; the limit is {MAX_RECORD_BYTES}")
        size = len(body) + LINE_OVERHEAD
        if self._need + size > self._room + SLACK // 2 or self._past_grace():
            self._refresh(size)
            if self._need + size > self._room + SLACK // 2 or self._past_grace():
                self._refusals += 1
                raise SpoolFullError(self.refusal)
        self._need += size
        self._seq = seq = self._seq + 1
        line = self._format.event(type, seq, at, body)
        self._line_records.append(pack_line(_LINE, LINE_BODY + len(line), 0, seq))
        self._line_records.append(line)
        self._pending.append(line)
        self._leaves.append(leaf_hash(line))
        self._intents.append(0)
        self._pending_bytes += len(line)

    def observe_text(self, text_hash: str, text: str) -> None:
        """Gather a TextObserved event for a text too long to stand in each event, once per hash and epoch."""
        key = text_hash.encode()
        if key in self._texts:
            return
        body = b',"text_hash":' + orjson.dumps(text_hash) + b',"text":' + orjson.dumps(text)
        self.record("TextObserved", self._clock(), body)
        if len(self._texts) >= MAX_TEXT_HASHES:
            self._texts.clear()
        self._texts.add(key)

    def commit(self) -> None:
        """Write what was gathered with one system call; once it returned it survives the death of this process.

        Raises SpoolError: then the intents gathered since the last commit must not be forwarded, and are to be concluded as
        not executed. What was gathered is kept and written by a later commit.
        """
        records, lines = self._records, self._line_records
        if not records and not lines:
            return
        payload = b"".join(records + lines if records else lines)
        segment = self._segment
        try:
            if len(payload) > segment.free or self._sync_failed:
                self._rotate()
                self._sync_failed = False
                segment = self._segment
            else:
                segment.append(self.epoch, payload)
                segment.last_seq = self._seq
        except (OSError, SpoolError) as error:
            self._write_problem = f"spool {self.directory} cannot be written: {error}; check the disk"
            self._refresh()
            raise SpoolError(self._write_problem) from error
        records.clear()
        lines.clear()
        self._need = need = 2 * self._reserved
        self._write_problem = ""
        if self._durable:
            self._unsynced.add(segment)
        if self._pending:
            if len(self._pending) >= self._max_events or self._pending_bytes >= MAX_BLOCK_BYTES:
                self._queue_blocks(self._clock(), full_only=True)
                self._refresh()
            elif not self._pending_since:
                self._pending_since = self._clock()
        free, spare = segment.free, self._spare
        self._room = (spare.capacity if spare is not None and spare.capacity > free else free) - SLACK
        if need > self._room or not self.accepting:
            self._refresh()

    def sync(self) -> None:
        """Put every commit that has returned on disk. Any thread. Raises SpoolError."""
        with self._sync_lock:
            for segment in tuple(self._unsynced):
                self._unsynced.discard(segment)
                if segment.fd < 0:
                    continue
                try:
                    segment.sync()
                except OSError as error:
                    # The kernel may now call pages clean that never reached the disk: trust no second try, begin a new file.
                    self._sync_failed = True
                    raise SpoolError(
                        f"spool file {segment.path} cannot be put on disk: {error.strerror}; check the disk"
                    ) from error

    def _define(self, fragment: bytes) -> int:
        number = len(self._definitions) + 1
        self._definitions[fragment] = number
        self._records.append(encode_definition(number, fragment))
        return number

    # -- sealing ------------------------------------------------------------------------------------------------------------

    def seal_due(self, now: int) -> bool:
        """Whether lines wait longer than `seal_interval_ms`, or anything else is to be done by `seal`. Cheap."""
        if self._pending_since and now - self._pending_since >= self.settings.seal_interval_ms * 1000:
            return True
        return bool(self._batches) or not self.accepting or self._spare is None

    def seal(self, now: int, wait: bool = False) -> None:
        """Commit, hand pending lines to be sealed as of `now` (µs UTC), see whether room has returned. Raises SpoolError.

        With `wait` the blocks are made when it returns (unless the disk refuses them: see `refusal`).
        """
        self.commit()
        if self._pending:
            self._queue_blocks(now)
        else:
            self._nudge()
        if wait and self._thread is not None:
            self._work()
        self._refresh()

    def _queue_blocks(self, now: int, full_only: bool = False) -> None:
        """Cut pending lines into batches; with `full_only` what does not fill a block stays pending."""
        first = self._seq - len(self._pending) + 1
        start = size = 0
        lines, leaves, intents = self._pending, self._leaves, self._intents
        chunks: list[Batch] = []
        for at, line in enumerate(lines):
            if at > start and (at - start >= self.settings.max_events_per_block or size + len(line) > MAX_BLOCK_BYTES):
                chunks.append(Batch(self.epoch, first + start, lines[start:at], leaves[start:at], intents[start:at], now))
                start, size = at, 0
            size += len(line)
        if not full_only or not chunks or len(lines) - start >= self.settings.max_events_per_block:
            chunks.append(Batch(self.epoch, first + start, lines[start:], leaves[start:], intents[start:], now))
            start, size = len(lines), 0
        self._queued_bytes += self._pending_bytes - size
        self._pending, self._leaves, self._intents = lines[start:], leaves[start:], intents[start:]
        self._pending_bytes = size
        self._pending_since = now if size else 0
        self._batches.extend(chunks)
        self._nudge()

    def _nudge(self) -> None:
        if self._thread is None:
            self._work()
        else:
            self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            self._work()

    def _work(self) -> None:
        """Seal what is queued, delete segments that are done with, keep a spare. Problems refuse statements, and are retried."""
        with self._work_lock:
            try:
                while self._batches:
                    batch = self._batches[0]
                    self.blocks.seal(batch)
                    self._batches.popleft()
                    self._sealed_bytes += sum(map(len, batch.lines))
                    self._sealed_seq = batch.last_seq
                self._seal_problem = ""
                self._reap()
            except Exception as error:
                if not self._seal_problem:
                    log.error("spool cannot seal", directory=str(self.directory), error=str(error))
                self._seal_problem = f"spool {self.directory} cannot seal: {error}"
            self._ensure_spare()

    def _reap(self) -> None:
        if self._retired and self._retired[0].last_seq <= self._sealed_seq and self._durable:
            self.blocks.sync()
            self.sync()
        while self._retired and self._retired[0].last_seq <= self._sealed_seq:
            with self._sync_lock:
                self._unsynced.discard(self._retired[0])
                self._retired.popleft().delete()

    # -- segments and room --------------------------------------------------------------------------------------------------

    def _create(self, capacity: int) -> Segment:
        segment = create_segment(self.directory, WAL, self._next_wal, capacity, self._durable)
        self._next_wal += 1
        return segment

    def _ensure_spare(self) -> None:
        """Have the next segment ready, as large as wanted. Called under the work lock, or before the thread runs."""
        spare = self._spare
        if spare is not None and spare.capacity >= self._spare_wanted:
            return
        try:
            made = self._create(self._spare_wanted)
        except SpoolError as error:
            self._spare_problem = str(error)
            return
        self._spare, self._spare_problem = made, ""
        if spare is not None:
            spare.delete()

    def _rotate(self) -> None:
        """Begin the next segment with one frame: head, open intents with their definitions, lines gathered so far."""
        with self._work_lock:
            definitions: dict[bytes, int] = {}
            records: list[bytes] = []
            for number, (at, context, statement, dynamic) in self._open.items():
                for fragment in (context, statement):
                    if fragment not in definitions:
                        definitions[fragment] = len(definitions) + 1
                        records.append(encode_definition(definitions[fragment], fragment))
                records.append(
                    pack_intent(_INTENT, INTENT_BODY + len(dynamic), number, at, definitions[context], definitions[statement])
                    + dynamic
                )
            payload = self._head(self._segment.frames) + b"".join(records + self._line_records)
            wanted = len(payload) + self._reserved + SLACK
            if self._spare is None or self._spare.capacity < wanted:
                self._spare_wanted = max(self.settings.wal_segment_bytes, wanted)
                self._ensure_spare()
            if self._spare is None or self._spare.free < len(payload):
                raise SpoolFullError(self._spare_problem)
            segment = self._spare
            segment.append(self.epoch, payload)
            segment.last_seq = self._seq
            self._spare = None
            self._retired.append(self._segment)
            self._segment = segment
            self._definitions = definitions
            self._spare_wanted = self.settings.wal_segment_bytes
        self._nudge()

    def _head(self, frames_before: int) -> bytes:
        first = self._seq + 1 - len(self._line_records) // 2
        head = Head(self.epoch, first, self.blocks.number + 1, self._next_intent, frames_before, self.blocks.block_id)
        return head.encode()

    def _write_head(self, segment: Segment, frames_before: int) -> None:
        try:
            segment.append(self.epoch, self._head(frames_before))
            if self._durable:
                segment.sync()
        except OSError as error:
            raise SpoolError(f"spool file {segment.path} cannot be written: {error.strerror}; check the disk") from error

    def _make_room(self, size: int) -> None:
        if size > MAX_RECORD_BYTES:
            raise RecordTooLargeError(
                f"statement of {size} bytes as an event; the limit is {MAX_RECORD_BYTES} (proxy.max_statement_bytes bounds it)"
            )
        self._refresh(3 * size)
        if not self.accepting or self._need + 3 * size > self._room:
            self._refusals += 1
            raise SpoolFullError(self.refusal)

    def _refresh(self, more: int = 0) -> None:
        """Work out `accepting` anew for `more` bytes beside what is promised; make the next segment now if that is what lacks."""
        need = self._need + (more if self.accepting else max(more, SLACK))  # refusing goes on until there is more than a crumb
        spare = self._spare.capacity if self._spare else 0
        if max(self._segment.free, spare) < need + SLACK <= MAX_SEGMENT_BYTES and not self._write_problem:
            with self._work_lock:
                self._spare_wanted = max(self.settings.wal_segment_bytes, min(2 * (need + SLACK), MAX_SEGMENT_BYTES))
                self._ensure_spare()
            spare = self._spare.capacity if self._spare else 0
        self._room = max(self._segment.free, spare) - SLACK
        limit = self.settings.spool_limit_bytes
        if self._write_problem:
            refusal = self._write_problem
        elif self.blocks.unacked_bytes >= limit:
            refusal = (
                f"spool {self.directory} holds {self.blocks.unacked_bytes} bytes the log has not taken, "
                f"audit.spool_limit_bytes is {limit}: bring the log back, or raise the limit"
            )
        elif self._queued_bytes - self._sealed_bytes > MAX_UNSEALED_BYTES:
            refusal = self._seal_problem or f"spool {self.directory}: sealing is behind; the disk is too slow"
        elif need + SLACK > MAX_SEGMENT_BYTES:
            refusal = (
                f"spool {self.directory}: {len(self._open)} statements are open at once and their events "
                f"would pass {MAX_SEGMENT_BYTES} bytes: wait for some to end"
            )
        elif need > self._room:
            refusal = self._spare_problem or f"spool {self.directory} has no segment ready"
        else:
            refusal = ""
        if refusal and not self.refusal:
            log.error("spool refuses", directory=str(self.directory), reason=refusal)
        elif self.refusal and not refusal:
            log.info("spool accepts again", directory=str(self.directory))
        self.refusal, self.accepting = refusal, not refusal

    def _past_grace(self) -> bool:
        """Whether even the source's own events must be turned away: they get a little more room than statements."""
        if self.accepting:
            return False
        limit = self.settings.spool_limit_bytes
        return (
            bool(self._write_problem)
            or self.blocks.unacked_bytes >= limit + limit // 8
            or (self._queued_bytes - self._sealed_bytes > 2 * MAX_UNSEALED_BYTES)
        )

    # -- life ---------------------------------------------------------------------------------------------------------------

    @property
    def stats(self) -> SpoolStats:
        """Return the numbers as of now."""
        return SpoolStats(
            self._seq,
            len(self._open),
            self._queued_bytes - self._sealed_bytes + self._pending_bytes,
            self.blocks.sealed,
            self.blocks.acked,
            self.blocks.unacked_blocks,
            self.blocks.unacked_bytes,
            self._refusals,
        )

    def close(self, now: int) -> None:
        """Seal what is pending and let go of the directory. What cannot be sealed is found by the next `open`."""
        if self._closed:
            return
        try:
            self.seal(now)
        finally:
            self._closed = True
            if self._thread is not None:
                self._wake.set()
                self._thread.join()
            self._work()
            if self._spare is not None:
                self._spare.delete()
            for segment in (*self._retired, self._segment):
                segment.close()
            self.blocks.close()
            self._lock.release()


def spool_directory(data_dir: Path, source: str) -> Path:
    """Return where a source's spool lives under the data directory."""
    return data_dir / "spool" / source.replace("/", "_")
