"""The spool: where everything is written before it happens, and kept until the log has it.

Call order for a statement: `intend`, `commit`, (`sync` where durability is fsync), forward it, … `conclude`, `commit`. One
thread, the event loop's, makes all these calls; `sync` may run in another. Lines are made, hashed and sealed elsewhere: in a
process of its own that reads the files while they are written (`destination`), in a thread, or inside calls. A thread makes the
next segment ahead of need and sees that the sealer's process lives. docs/adr/0003-spool.md says why it is as it is.

Room. Every accepted intent has room reserved for itself, for being carried into the next segment and for its outcome, so an
outcome always fits; `accepting` turns False before that promise would break, and True again by itself. Room, segments and
records are counted together at every call, which is why this one file is past 500 lines.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from ingest.spool.blocks import BlockStore
from ingest.spool.errors import RecordTooLargeError, SpoolError, SpoolFullError
from ingest.spool.frames import FRAME_OVERHEAD
from ingest.spool.keeper import Destination, Keeper, OwnSealer, SealerProcess
from ingest.spool.lines import LINE_OVERHEAD, LineFormat
from ingest.spool.lock import FileLock, lock_sealer, lock_writer
from ingest.spool.records import (
    EVENT_BODY,
    Head,
    Kind,
    encode_definition,
    encode_intent,
    encode_outcome,
    pack_event,
)
from ingest.spool.recovery import recover
from ingest.spool.restart import Recovery, seal_recovered, set_aside
from ingest.spool.sealing import Sealer, SealRules
from ingest.spool.segments import WAL, Segment, create_segment
from ingest.spool.status import SealerState

if TYPE_CHECKING:  # a sealer's process imports this package and has no use for the configuration's library
    from schemas.config import AuditSettings

log = structlog.get_logger(__name__)

_EVENT: Final = int(Kind.EVENT)

SLACK: Final = 64 * 1024
"""Room kept beyond all promises: heads of segments, and events of the source itself while statements are refused."""

MAX_RECORD_BYTES: Final = 32 * 1024 * 1024
"""Fragments of one record together; beyond this the statement is refused rather than make a segment of any size."""

MAX_SEGMENT_BYTES: Final = 256 * 1024 * 1024
"""The largest a segment is made when the events of open statements need more than `wal_segment_bytes`; then refuse."""

MAX_UNSEALED_BYTES: Final = 128 * 1024 * 1024
"""Write-ahead bytes not in a block yet, some 300,000 statements; past it (no sealer, or the disk refuses blocks) nothing is
accepted. It bounds what the next start must hold in memory."""

MAX_TEXT_HASHES = 20_000
"""Hashes of long texts remembered per epoch; past it they are forgotten and texts recorded again, which is harmless."""

WATCH_SECONDS = 0.1
"""How often the spool's thread looks for what is to be sealed, twice in an interval at least, or after the sealer's process where
that seals; each look takes the interpreter from the event loop."""

SEALER_PATIENCE_SECONDS = 15.0
"""How long a start waits for the sealer of a writer that died to finish."""

SILENT_SECONDS = 5.0
"""A sealer that has not shown its state for so long is named in refusals."""

FLUSH_SECONDS = 10.0
"""How long `seal` with `wait` waits."""

_NEVER = 1 << 62

_Open = tuple[int, int, int, bytes, bytes, bytes]
"""An open intent: bytes reserved, number, at, context, statement, dynamic."""


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """Numbers for metrics. Bytes are on disk; counts are since opening, `open_intents`, `unsealed_*` and `unacked_*` are now."""

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
        destination: Destination | None = None,
    ) -> Spool:
        """Take the directory's lock, seal what the last epoch left, begin a new epoch.

        `clock` returns microseconds UTC; `signer` signs block headers. With a `destination` a process seals and ships there;
        else a thread seals and a `Shipper` is the caller's; with `background` False nothing happens outside calls.
        Waits a bounded time for the sealer of a writer that died. Raises SpoolLockedError, SpoolFullError, SpoolError.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SpoolError(f"spool {directory} cannot be made: {error.strerror}; check owner and permissions") from error
        lock = lock_writer(directory)
        try:
            spool = cls(directory, source, settings, clock, lock)
            lock_of_sealer = lock_sealer(directory, SEALER_PATIENCE_SECONDS)
            try:
                spool._begin(signer, background, destination, lock_of_sealer)
            except BaseException:
                lock_of_sealer.release()
                raise
        except BaseException:
            lock.release()
            raise
        return spool

    def __init__(
        self,
        directory: Path,
        source: str,
        settings: AuditSettings,
        clock: Callable[[], int],
        lock: FileLock,
    ) -> None:
        self.directory, self.source, self.settings = directory, source, settings
        self.durable = settings.durability == "fsync"
        self.accepting, self.refusal = True, ""
        self._clock, self._lock = clock, lock
        self._rules = SealRules(
            settings.seal_interval_ms * 1000, settings.max_events_per_block, settings.wal_segment_bytes, self.durable
        )
        self._seq = 0
        self._next_intent = 1
        self._open: dict[int, _Open] = {}
        self._definitions: dict[bytes, int] = {}
        self._records: list[bytes] = []
        self._outcomes: list[bytes] = []
        self._ended: list[_Open] = []
        self._reserved = self._need = 0
        self._room = 0
        self._room_falls = self._far_gone = False
        self._room_at_all = 0
        self._refusals = 0
        self._texts: set[bytes] = set()
        self._write_problem = ""
        self._sync_lock = Lock()
        self._unsynced: set[Segment] = set()
        self._sync_failed = False
        self._closed = False
        self._tails: deque[tuple[int, int]] = deque()
        self._retired: deque[Segment] = deque()
        self._spare_lock = Lock()
        self._spare: Segment | None = None
        self._spare_wanted = settings.wal_segment_bytes
        self._spare_problem = ""
        self._unsealed_since = 0
        self._look_at = _NEVER
        self._wake = Event()
        self._sealing_thread: Thread | None = None
        self._in_process = False

    def _begin(
        self,
        signer: Callable[[bytes], bytes] | None,
        background: bool,
        destination: Destination | None,
        lock: FileLock,
    ) -> None:
        """Recover, make the first segment of a new epoch, start what seals."""
        directory, source, rules = self.directory, self.source, self._rules
        found = recover(directory)
        self._next_wal = found.next_wal
        blocks = BlockStore.of(found, directory, source, signer, rules.segment_bytes, self.durable)
        try:
            self.recovered: Recovery = seal_recovered(found, blocks, source, rules.max_events, self._clock())
            set_aside(found, blocks, self.durable)
            blocks.close()
        except OSError as error:
            raise SpoolError(f"spool {directory} cannot be written: {error}; check the disk") from error
        self.epoch = found.epoch + 1 if found.last_seq else max(found.epoch, 1)
        self._lines = LineFormat(source, self.epoch)
        self._chain = SealerState(number=blocks.number, block_id=blocks.block_id)
        self._segment = self._create(self._spare_wanted)
        self._write_head(self._segment)
        self._ensure_spare()
        self._keeper: Keeper
        if destination is not None:
            self._keeper = SealerProcess(directory, source, rules, destination, lock)
        else:
            self._keeper = OwnSealer(Sealer(directory, source, rules, signer), self._clock, lock)
        self._in_process = destination is None and not background
        if self._in_process:
            self._look_at = 1
            self._work()
        else:
            self._sealing_thread = Thread(target=self._run, name=f"spool {source}", daemon=True)
            self._sealing_thread.start()
        self._refresh()

    @property
    def blocks(self) -> BlockStore:
        """The sealed blocks. Only where this process seals."""
        if not isinstance(self._keeper, OwnSealer):
            raise SpoolError(f"spool {self.directory}: its blocks are kept by process {self.sealer_pid}")
        return self._keeper.sealer.blocks

    @property
    def sealer_pid(self) -> int:
        """The process that seals; 0: there is none at the moment, or this one does."""
        return self._keeper.pid if isinstance(self._keeper, SealerProcess) else 0

    @property
    def sealer(self) -> SealerState:
        """Where sealing and shipping stand, as told last."""
        return self._keeper.state()

    @property
    def open_statements(self) -> int:
        """Intents that are not concluded."""
        return len(self._open)

    # -- writing ------------------------------------------------------------------------------------------------------------

    def has_room(self, size: int) -> bool:
        """Whether statements whose events are of `size` bytes together would be taken now; if not, `refusal` says why."""
        if self._need + 3 * size > self._room:
            self._refresh(3 * size)
            return self._need + 3 * size <= self._room
        return True

    def intend(self, at: int, context: bytes, statement: bytes, dynamic: bytes) -> int:
        """Gather the intent to forward a statement; return its number. Raises SpoolFullError, RecordTooLargeError."""
        size = len(context) + len(statement) + len(dynamic) + LINE_OVERHEAD
        need = self._need + 3 * size
        if need > self._room:
            self._make_room(size)
            need = self._need + 3 * size
        self._need = need
        self._reserved += size
        number = self._next_intent
        self._next_intent = number + 1
        known = self._definitions.get
        first = known(context) or self._define(context)
        second = known(statement) or self._define(statement)
        self._records.append(encode_intent(number, at, first, second, dynamic))
        self._open[number] = (size, number, at, context, statement, dynamic)
        return number

    def conclude(self, intent: int, outcome: bytes) -> None:
        """Say how an intent ended: its event is complete. Raises SpoolError if the intent is not open."""
        entry = self._open.pop(intent, None)
        if entry is None:
            raise SpoolError(f"spool {self.directory}: intent {intent} is not open")
        self._reserved -= entry[0]
        self._seq = seq = self._seq + 1
        self._outcomes.append(encode_outcome(intent, seq, outcome))
        self._ended.append(entry)

    def event_id(self, seq: int, at: int) -> str:
        """Return the id that an event of this epoch has, or will have when it is sealed."""
        return self._lines.event_id(seq, at)

    def record(self, type: str, at: int, body: bytes) -> int:
        """Gather any other complete event; return its number. Raises SpoolFullError.

        `body` is its fragment, beginning with a comma.
        """
        if len(body) > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"event {type} of {len(body)} bytes; the limit is {MAX_RECORD_BYTES}")
        size = len(body) + LINE_OVERHEAD
        if not self._has_room_of_its_own(size):
            self._refresh(size)
            if not self._has_room_of_its_own(size):
                self._refusals += 1
                raise SpoolFullError(self.refusal)
        self._need += size
        self._seq = seq = self._seq + 1
        name = type.encode("ascii")
        self._outcomes.append(pack_event(_EVENT, EVENT_BODY + len(name) + len(body), seq, at, len(name)) + name + body)
        return seq

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
        records, outcomes = self._records, self._outcomes
        if records:
            payload = b"".join(records + outcomes if outcomes else records)
        elif outcomes:
            payload = b"".join(outcomes)
        else:
            return
        segment = self._segment
        try:
            if len(payload) > segment.capacity - segment.tail - FRAME_OVERHEAD or self._sync_failed:
                self._rotate()
                self._sync_failed = False
                segment = self._segment
            else:
                segment.append(self.epoch, payload)
        except (OSError, SpoolError) as error:
            self._write_problem = f"spool {self.directory} cannot be written: {error}; check the disk"
            self._refresh()
            raise SpoolError(self._write_problem) from error
        records.clear()
        if outcomes:
            outcomes.clear()
            self._ended.clear()
        self._need = need = 2 * self._reserved
        if self.durable:
            self._unsynced.add(segment)
        if need > self._room or self._room_falls or self._write_problem or self._seq >= self._look_at:
            self._after_commit()

    def _after_commit(self) -> None:
        """What few commits need."""
        self._write_problem = ""
        if self._in_process:
            sealed = self._keeper.state().sealed_seq
            if self._seq - sealed >= self._rules.max_events:
                self._work()
                sealed = self._keeper.state().sealed_seq
            self._unsealed_since = 0 if self._seq == sealed else self._unsealed_since or self._clock()
            self._look_at = sealed + (1 if self._seq == sealed else self._rules.max_events)
        self._refresh()

    def sync(self) -> None:
        """Put every commit that has returned on disk. Any thread. Raises SpoolError."""
        with self._sync_lock:
            for segment in tuple(self._unsynced):
                self._unsynced.discard(segment)
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
        """Whether there is anything for `seal` to do. Cheap."""
        if not self._in_process:
            return True
        self._unsealed_since = min(self._unsealed_since, now)  # the clock may have been set back
        waits = self._unsealed_since and now - self._unsealed_since >= self._rules.interval_us
        return bool(waits) or not self.accepting or self._spare is None

    def seal(self, now: int, wait: bool = False) -> None:
        """Commit, and see what the sealer says: whether room has returned, or is gone. Raises SpoolError.

        What seals goes by its own clock; without `background`, all is sealed when this returns, and with `wait` it is so in every
        case, unless the disk refuses blocks (see `refusal`) or it takes longer than FLUSH_SECONDS.
        """
        self.commit()
        if self._in_process or wait:
            self._keeper.flush(now)
        if self._in_process:
            self._work()
            if self._seq == self._keeper.state().sealed_seq:
                self._unsealed_since, self._look_at = 0, self._seq + 1
        elif wait:
            deadline = time.monotonic() + FLUSH_SECONDS
            while (state := self._keeper.state()).sealed_seq < self._seq and not state.problem and time.monotonic() < deadline:
                time.sleep(0.002)
        self._refresh()

    def _run(self) -> None:
        seconds = WATCH_SECONDS
        if isinstance(self._keeper, OwnSealer):
            seconds = min(seconds, self._rules.interval_us / 2e6)
        while not self._closed:
            self._wake.wait(seconds)
            self._wake.clear()
            self._work()

    def _work(self) -> None:
        """Tend what seals, keep a spare, close what is synced. Problems refuse statements, and are tried again."""
        self._keeper.tend(self._clock())
        if self._spare is None or self._spare.capacity < self._spare_wanted:
            with self._spare_lock:
                if not self._closed:
                    self._ensure_spare()
        if self._retired:
            with self._sync_lock:
                for segment in tuple(self._retired):
                    if segment not in self._unsynced:
                        self._retired.remove(segment)
                        segment.close()

    # -- segments and room --------------------------------------------------------------------------------------------------

    def _create(self, capacity: int) -> Segment:
        segment = create_segment(self.directory, WAL, self._next_wal, capacity, self.durable)
        self._next_wal += 1
        return segment

    def _ensure_spare(self) -> None:
        """Have the next segment ready, as large as wanted. Called under the spare lock, or before the thread runs."""
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
        """Begin the next segment with one frame: head, open intents with their definitions, what was gathered so far.

        Intents that ended since the last commit are carried as well, for their outcomes stand here.
        """
        with self._spare_lock:
            definitions: dict[bytes, int] = {}
            records: list[bytes] = []
            for entries in (self._ended, self._open.values()):
                for _, number, at, context, statement, dynamic in entries:
                    for fragment in (context, statement):
                        if fragment not in definitions:
                            definitions[fragment] = len(definitions) + 1
                            records.append(encode_definition(definitions[fragment], fragment))
                    records.append(encode_intent(number, at, definitions[context], definitions[statement], dynamic))
            payload = self._head(self._segment.frames) + b"".join(records + self._outcomes)
            wanted = len(payload) + self._reserved + SLACK
            if self._spare is None or self._spare.capacity < wanted:
                self._spare_wanted = max(self._rules.segment_bytes, wanted)
                self._ensure_spare()
            if self._spare is None or self._spare.free < len(payload):
                raise SpoolFullError(self._spare_problem)
            segment = self._spare
            segment.append(self.epoch, payload)
            self._spare = None
            self._tails.append((self._segment.number, self._segment.tail))
            self._retired.append(self._segment)
            self._segment = segment
            self._definitions = definitions
            self._spare_wanted = self._rules.segment_bytes
        self._room_falls = True
        if self._in_process:
            self._work()
        else:
            self._wake.set()

    def _head(self, frames_before: int) -> bytes:
        first = self._seq + 1 - len(self._outcomes)
        chain = self._chain
        return Head(self.epoch, first, chain.number + 1, self._next_intent, frames_before, chain.block_id).encode()

    def _write_head(self, segment: Segment) -> None:
        try:
            segment.append(self.epoch, self._head(0))
            if self.durable:
                segment.sync()
        except OSError as error:
            raise SpoolError(f"spool file {segment.path} cannot be written: {error.strerror}; check the disk") from error

    def _make_room(self, size: int) -> None:
        if size > MAX_RECORD_BYTES:
            raise RecordTooLargeError(
                f"statement of {size} bytes as an event; the limit is {MAX_RECORD_BYTES} (proxy.max_statement_bytes bounds it)"
            )
        self._refresh(3 * size)
        if self._need + 3 * size > self._room:
            self._refusals += 1
            raise SpoolFullError(self.refusal)

    def _refresh(self, more: int = 0) -> None:
        """Work out `accepting` anew for `more` bytes beside what is promised; make the next segment now if that is what lacks."""
        need = self._need + (more if self.accepting else max(more, SLACK))  # refusing goes on until there is more than a crumb
        spare = self._spare.capacity if self._spare else 0
        if max(self._segment.free, spare) < need + SLACK <= MAX_SEGMENT_BYTES and not self._write_problem:
            with self._spare_lock:
                self._spare_wanted = max(self._rules.segment_bytes, min(2 * (need + SLACK), MAX_SEGMENT_BYTES))
                self._ensure_spare()
            spare = self._spare.capacity if self._spare else 0
        room = max(self._segment.free, spare) - SLACK
        self._room_falls = spare < self._segment.free or self._spare is None
        state = self._keeper.state()
        if state.number > self._chain.number:
            self._chain = state
        unsealed = self._unsealed(state)
        limit = self.settings.spool_limit_bytes
        if self._write_problem:
            refusal = self._write_problem
        elif state.unacked_bytes + unsealed >= limit:
            why = state.problem or state.ship_problem or "bring the log back, or raise the limit"
            refusal = (
                f"spool {self.directory} holds {state.unacked_bytes + unsealed} bytes the log has not taken, "
                f"audit.spool_limit_bytes is {limit}: {why}"
            )
        elif unsealed > MAX_UNSEALED_BYTES:
            refusal = state.problem or f"spool {self.directory}: sealing is {unsealed} bytes behind; {self._why_behind(state)}"
        elif need + SLACK > MAX_SEGMENT_BYTES:
            refusal = (
                f"spool {self.directory}: {len(self._open)} statements are open at once and their events "
                f"would pass {MAX_SEGMENT_BYTES} bytes: wait for some to end"
            )
        elif need > room:
            refusal = self._spare_problem or f"spool {self.directory} has no segment ready"
        else:
            refusal = ""
        if refusal and not self.refusal:
            log.error("spool refuses", directory=str(self.directory), reason=refusal)
        elif self.refusal and not refusal:
            log.info("spool accepts again", directory=str(self.directory))
        self._far_gone = bool(self._write_problem) or state.unacked_bytes + unsealed >= limit + limit // 8
        self._far_gone = self._far_gone or unsealed > 2 * MAX_UNSEALED_BYTES
        self._room_at_all = room
        self.refusal, self.accepting = refusal, not refusal
        self._room = -1 if refusal else room

    def _why_behind(self, state: SealerState) -> str:
        silent = (self._clock() - state.beat) / 1_000_000
        if silent < SILENT_SECONDS:
            return "machine or disk is too slow"
        return f"the sealer (process {self.sealer_pid or 'none'}) has said nothing for {silent:.0f} s: see its last messages"

    def _unsealed(self, state: SealerState) -> int:
        """Return how many write-ahead bytes hold what is in no block yet."""
        tails = self._tails
        while tails and tails[0][0] < state.segment:
            tails.popleft()
        return max(sum(tail for _, tail in tails) + self._segment.tail - state.offset, 0)

    def _has_room_of_its_own(self, size: int) -> bool:
        """Whether one of the source's own events is taken: they get a little more room than statements."""
        return self._need + size <= self._room_at_all + SLACK // 2 and not self._far_gone

    # -- life ---------------------------------------------------------------------------------------------------------------

    @property
    def stats(self) -> SpoolStats:
        """Return the numbers as of now."""
        state = self._keeper.state()
        return SpoolStats(
            self._seq,
            len(self._open),
            self._unsealed(state),
            state.blocks_sealed,
            state.blocks_acked,
            state.unacked_blocks,
            state.unacked_bytes,
            self._refusals,
        )

    def close(self, now: int, ship_seconds: float = 0.0) -> None:
        """Seal what is pending and let go of the directory; a sealer's process first ships for so long what is left.

        What cannot be sealed is found by the next `open`.
        """
        if self._closed:
            return
        try:
            self.commit()
        finally:
            self._closed = True
            if self._sealing_thread is not None:
                self._wake.set()
                self._sealing_thread.join()
            self._keeper.close(now, ship_seconds)
            if self._spare is not None:
                self._spare.delete()
            for segment in (*self._retired, self._segment):
                segment.close()
            self._lock.release()


def spool_directory(data_dir: Path, source: str) -> Path:
    """Return where a source's spool lives under the data directory."""
    return data_dir / "spool" / source.replace("/", "_")
