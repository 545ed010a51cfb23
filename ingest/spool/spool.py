"""The spool: where everything is written before it happens, and kept until the log has it.

Call order for a statement: `intend`, `commit`, (`sync` where durability is fsync), forward it, … `conclude`, `commit`. One
thread, the event loop's, makes all these calls; `sync` may run in another. Lines are made, hashed and sealed elsewhere: in a
process of its own that reads the files while they are written (`destination`), in a thread, or inside calls. A thread makes the
next segment ahead of need and sees that the sealer's process lives. docs/adr/0003-spool.md says why it is as it is.

What is promised to open statements is counted here, at every call; `room` says whether there is room for more, and `write_ahead`
keeps the files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
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
from ingest.spool.room import SLACK, Room
from ingest.spool.sealing import Sealer, SealRules
from ingest.spool.status import SealerState
from ingest.spool.write_ahead import WriteAhead

if TYPE_CHECKING:  # a sealer's process imports this package and has no use for the configuration's library
    from schemas.config import AuditSettings

log = structlog.get_logger(__name__)

_EVENT: Final = int(Kind.EVENT)

MAX_RECORD_BYTES: Final = 32 * 1024 * 1024
"""Fragments of one record together; beyond this the statement is refused rather than make a segment of any size."""

MAX_TEXT_HASHES = 20_000
"""Hashes of long texts remembered per epoch; past it they are forgotten and texts recorded again, which is harmless."""

WATCH_SECONDS = 0.1
"""How often the spool's thread looks for what is to be sealed, twice in an interval at least, or after the sealer's process where
that seals; each look takes the interpreter from the event loop."""

SEALER_PATIENCE_SECONDS = 15.0
"""How long a start waits for the sealer of a writer that died to finish."""

FLUSH_SECONDS = 10.0
"""How long `seal` with `wait` waits."""

_NEVER = 1 << 62


class _Open:
    """An open intent, `size` the bytes reserved for it. No tuple: compiled, numbers would be put into objects and out again."""

    __slots__ = ("at", "context", "dynamic", "number", "size", "statement")

    def __init__(self, size: int, number: int, at: int, context: bytes, statement: bytes, dynamic: bytes) -> None:
        self.size = size
        self.number = number
        self.at = at
        self.context = context
        self.statement = statement
        self.dynamic = dynamic


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
        self._refusals = 0
        self._texts: set[bytes] = set()
        self._closed = False
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
        self._files = WriteAhead(directory, self.epoch, found.next_wal, rules.segment_bytes, self.durable, self._head(0))
        self._keeper: Keeper
        if destination is not None:
            self._keeper = SealerProcess(directory, source, rules, destination, lock)
        else:
            self._keeper = OwnSealer(Sealer(directory, source, rules, signer), self._clock, lock)
        self._room = Room(directory, self.settings.spool_limit_bytes, self._files, self._keeper, self._clock)
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
        return self._keeper.pid

    @property
    def sealer(self) -> SealerState:
        """Where sealing and shipping stand, as told last."""
        return self._keeper.state()

    @property
    def accepting(self) -> bool:
        """Whether statements are taken; if not, `refusal` says why."""
        return not self._room.refusal

    @property
    def refusal(self) -> str:
        """Why statements are refused; empty while they are taken."""
        return self._room.refusal

    @property
    def open_statements(self) -> int:
        """Intents that are not concluded."""
        return len(self._open)

    # -- writing ------------------------------------------------------------------------------------------------------------

    def has_room(self, size: int) -> bool:
        """Whether statements whose events are of `size` bytes together would be taken now; if not, `refusal` says why."""
        if self._need + 3 * size > self._room.left:
            self._refresh(3 * size)
            return self._need + 3 * size <= self._room.left
        return True

    def intend(self, at: int, context: bytes, statement: bytes, dynamic: bytes) -> int:
        """Gather the intent to forward a statement; return its number. Raises SpoolFullError, RecordTooLargeError."""
        size = len(context) + len(statement) + len(dynamic) + LINE_OVERHEAD
        need = self._need + 3 * size
        if need > self._room.left:
            self._make_room(size)
            need = self._need + 3 * size
        self._need = need
        self._reserved += size
        number = self._next_intent
        self._next_intent = number + 1
        first = self._definitions.get(context) or self._define(context)
        second = self._definitions.get(statement) or self._define(statement)
        self._records.append(encode_intent(number, at, first, second, dynamic))
        self._open[number] = _Open(size, number, at, context, statement, dynamic)
        return number

    def conclude(self, intent: int, outcome: bytes) -> None:
        """Say how an intent ended: its event is complete. Raises SpoolError if the intent is not open."""
        entry = self._open.get(intent)
        if entry is None:
            raise SpoolError(f"spool {self.directory}: intent {intent} is not open")
        del self._open[intent]
        self._reserved -= entry.size
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
        if not self._room.takes_own(self._need + size):
            self._refresh(size)
            if not self._room.takes_own(self._need + size):
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
        files = self._files
        segment = files.segment
        try:
            if len(payload) > segment.capacity - segment.tail - FRAME_OVERHEAD or files.sync_failed:
                self._rotate()
                files.sync_failed = False
                segment = files.segment
            else:
                segment.append(self.epoch, payload)
        except (OSError, SpoolError) as error:
            self._room.write_problem = f"spool {self.directory} cannot be written: {error}; check the disk"
            self._refresh()
            raise SpoolError(self._room.write_problem) from error
        records.clear()
        if outcomes:
            outcomes.clear()
            self._ended.clear()
        self._need = need = 2 * self._reserved
        if self.durable:
            files.unsynced.add(segment)
        room = self._room
        if need > room.left or room.falls or room.write_problem or self._seq >= self._look_at:
            self._after_commit()

    def _after_commit(self) -> None:
        """What few commits need."""
        self._room.write_problem = ""
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
        self._files.sync()

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
        return bool(waits) or not self.accepting or not self._files.ahead

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
        """Tend what seals, and the files. Problems refuse statements, and are tried again."""
        self._keeper.tend(self._clock())
        if not self._closed:
            self._files.tend()

    def _rotate(self) -> None:
        """Begin the next segment with one frame: head, open intents with their definitions, what was gathered so far.

        Intents that ended since the last commit are carried as well, for their outcomes stand here.
        """
        definitions: dict[bytes, int] = {}
        records: list[bytes] = []
        for entries in (self._ended, self._open.values()):
            for entry in entries:
                for fragment in (entry.context, entry.statement):
                    if fragment not in definitions:
                        definitions[fragment] = len(definitions) + 1
                        records.append(encode_definition(definitions[fragment], fragment))
                first, second = definitions[entry.context], definitions[entry.statement]
                records.append(encode_intent(entry.number, entry.at, first, second, entry.dynamic))
        payload = self._head(self._files.segment.frames) + b"".join(records + self._outcomes)
        self._files.rotate(payload, len(payload) + self._reserved + SLACK)
        self._definitions = definitions
        self._room.falls = True
        if self._in_process:
            self._work()
        else:
            self._wake.set()

    def _head(self, frames_before: int) -> bytes:
        first = self._seq + 1 - len(self._outcomes)
        chain = self._chain
        return Head(self.epoch, first, chain.number + 1, self._next_intent, frames_before, chain.block_id).encode()

    def _make_room(self, size: int) -> None:
        if size > MAX_RECORD_BYTES:
            raise RecordTooLargeError(
                f"statement of {size} bytes as an event; the limit is {MAX_RECORD_BYTES} (proxy.max_statement_bytes bounds it)"
            )
        self._refresh(3 * size)
        if self._need + 3 * size > self._room.left:
            self._refusals += 1
            raise SpoolFullError(self.refusal)

    def _refresh(self, more: int = 0) -> None:
        """Measure the room for `more` bytes beside what is promised."""
        state = self._room.measure(self._need, len(self._open), more)
        if state.number > self._chain.number:
            self._chain = state

    # -- life ---------------------------------------------------------------------------------------------------------------

    @property
    def stats(self) -> SpoolStats:
        """Return the numbers as of now."""
        state = self._keeper.state()
        return SpoolStats(
            self._seq,
            len(self._open),
            self._files.unsealed(state.segment, state.offset),
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
            self._files.close()
            self._lock.release()


def spool_directory(data_dir: Path, source: str) -> Path:
    """Return where a source's spool lives under the data directory."""
    return data_dir / "spool" / source.replace("/", "_")
