"""Sealing: the write-ahead files are read while they are written, lines made, blocks sealed, files that are done with deleted.

`Sealer.step` does what there is to do and returns; the sealer's process, a thread or a test calls it. It needs nothing of the
writer but the files, so a sealer that died is replaced by one that begins with the oldest segment and skips what is in blocks.
"""

from __future__ import annotations

import os
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from ingest.spool.blocks import MAX_BLOCK_BYTES, Batch, BlockStore, sync_path
from ingest.spool.errors import SpoolError
from ingest.spool.frames import Frame, frame_at, frame_size
from ingest.spool.lines import LineFormat
from ingest.spool.records import RECORD_HEAD, Head
from ingest.spool.recovery import recover_blocks
from ingest.spool.replay import Replay
from ingest.spool.segments import WAL, segment_paths
from ingest.spool.status import SealerState
from schemas.latencies import Latencies
from schemas.native import hot

log = structlog.get_logger(__name__)

READ_BYTES: Final = 96 * 1024
"""Bytes read of a write-ahead file at once at most; a larger frame is read whole. From 128 KiB on, malloc maps new pages."""
FEW_BYTES: Final = 8 * 1024
"""What is read at least. Between the two, twice as much as there was the last time: what is behind it is zeros."""
NEAR_END: Final = 64 * 1024
"""A writer goes on to the next file when a commit does not fit: few take more than this."""


@dataclass(frozen=True, slots=True)
class SealRules:
    """When a block is closed, how large files are, and whether everything is put on disk before it is shipped.

    A block that is not full is closed once the one before it is `interval_us` old: what comes alone waits for nothing, what comes
    all the time makes a block each interval.
    """

    interval_us: int
    max_events: int
    segment_bytes: int
    durable: bool


class DamagedError(SpoolError):
    """A write-ahead file reads otherwise than it was written; what was read before is good."""


class Sealer:
    """Seals one spool. `problem` says why it cannot, if so; `blocks` keeps what it sealed.

    `native` takes frames in C, where that was built (`hot.replay`).
    """

    def __init__(
        self,
        directory: Path,
        source: str,
        rules: SealRules,
        signer: Callable[[bytes], bytes] | None,
        before: SealerState | None = None,
    ) -> None:
        """Look what is sealed already. `before`: what an earlier sealer of this spool counted. Raises SpoolError."""
        self.source, self.durable, self.problem = source, rules.durable, ""
        self.interval_us = rules.interval_us
        self._directory, self._rules = directory, rules
        blocks, self._covered = recover_blocks(directory)
        if blocks.damage:
            raise SpoolError(
                f"spool {directory}: {blocks.damage[0][0]} is damaged: restart the proxy, which keeps it and what is left"
            )
        for file in blocks.blocks_files:
            if not file.unacked:  # left by a sealer that died between an acknowledgement and the deletion
                file.path.unlink(missing_ok=True)
        self.blocks = BlockStore.of(blocks, directory, source, signer, rules.segment_bytes, rules.durable)
        self.seals = Latencies()
        """From the reading of a block's first event to its sealing."""
        self.shipments = Latencies()
        """From sealing to the log's acknowledgement; whoever ships counts."""
        if before is not None:
            self.blocks.sealed, self.blocks.acked = before.blocks_sealed, before.blocks_acked
            self.seals.load(before.seals)
            self.shipments.load(before.shipments)
        self.sealed_seq = 0
        self.native: Any = None if hot is None else hot.replay
        self._parts: Any = None
        self._format: LineFormat | None = None
        self._replay = Replay()
        self._epoch = self._read_seq = 0
        self._fd, self._number, self._at, self._frames = -1, 0, 0, 0
        self._read_bytes, self._size = READ_BYTES, 0
        self._passed: deque[tuple[Path, int]] = deque()
        self._path: Path | None = None
        self._marks: deque[tuple[int, int, int]] = deque()
        self._sealed_at = (0, 0)
        self._lines: list[bytes] = []
        self._concludes: list[int] = []
        """Lines in no block yet, and the intent that each one concludes (0: none)."""
        self._queue_bytes = 0
        self._since = 0
        self._closed_at = 0
        """When the first of these lines was read, and when the last block was closed."""

    def step(self, now: int, flush: bool = False) -> bool:
        """Read what was written, seal full blocks, and with `flush` or past the interval all lines; return whether it read any.

        What goes wrong is told in `problem` and tried again by the next step.
        """
        progress = False
        damage: SpoolError | None = None
        try:
            self._seal_full(now)
            try:
                # Looking for the next file takes longer than reading: not where this one goes on, nor will end soon.
                while self._read() or ((flush or not progress or self._at > self._size - NEAR_END) and self._next_segment()):
                    progress = True
                    self._since = self._since or now
                    self._seal_full(now)
            except DamagedError as error:
                damage = error
            # The clock may have been set back: nobody waits until it is there again.
            self._since, self._closed_at = min(self._since, now), min(self._closed_at, now)
            if self._lines and (flush or now - self._closed_at >= self._rules.interval_us):
                self._seal_some(now, len(self._lines))
            if not self._lines:
                self._since = 0
            self._reap()
            if damage is not None:
                raise damage
            self.problem = ""
        except Exception as error:
            if not self.problem:
                log.error("spool cannot seal", directory=str(self._directory), error=str(error))
            self.problem = f"spool {self._directory} cannot seal: {error}"
        while self._marks and self._marks[0][0] <= self.sealed_seq:
            _, *position = self._marks.popleft()
            self._sealed_at = (position[0], position[1])
        return progress

    # -- reading ------------------------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        if self._fd < 0:
            return False
        data = os.pread(self._fd, self._read_bytes, self._at)
        if (size := frame_size(data)) > len(data):
            data = os.pread(self._fd, max(size, READ_BYTES), self._at)
        at = self._take_all(data)
        self._at += at
        self._read_bytes = min(max(2 * at, FEW_BYTES), READ_BYTES)
        if at:
            self._marks.append((self._read_seq, self._number, self._at))
        return at > 0

    def _take_all(self, data: bytes) -> int:
        """Take every whole frame that data begins with; return where they end."""
        at = 0
        while True:
            if self.native is not None and self._format is not None:  # those that hold nothing unusual
                at, self._frames, self._read_seq, size = self.native(
                    data,
                    at,
                    self._epoch,
                    self._frames,
                    self._read_seq,
                    self._parts,
                    self._replay.intents,
                    self._replay.definitions,
                    self._lines,
                    self._concludes,
                )
                self._queue_bytes += size
            frame = frame_at(data, at)
            if frame is None:
                return at
            self._take(frame)
            at = frame.end

    def _take(self, frame: Frame) -> None:
        if frame.number != self._frames or (self._epoch and frame.epoch != self._epoch):
            raise self._damaged()
        format = self._format or self._begin(frame)
        for event in self._replay.read(frame.payload, self._read_seq):
            if event.seq != self._read_seq + 1:
                raise self._damaged()
            line = event.line(format)
            self._lines.append(line)
            self._concludes.append(event.number)
            self._queue_bytes += len(line)
            self._read_seq = event.seq
        self._frames += 1

    def _begin(self, frame: Frame) -> LineFormat:
        """The first frame of all tells the epoch, and the chain's place if no block does."""
        head = _head(frame)
        self._epoch = head.epoch
        self._read_seq = self.sealed_seq = max(self._covered.last_seq(head.epoch), head.next_seq - 1)
        if head.next_block - 1 > self.blocks.number:
            self.blocks.number, self.blocks.block_id = head.next_block - 1, head.prev
        self._format = LineFormat(self.source, head.epoch)
        self._parts = self._format.parts()
        return self._format

    def _next_segment(self) -> bool:
        """Go on with the next segment that has a frame, once every frame of this one was read."""
        for number, path in segment_paths(self._directory, WAL):
            if number <= self._number:
                continue
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            # Read ahead, what is not written yet would be cached in large folios, and a write into one of these takes longer.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            frame = _whole_frame(fd, 0)
            if frame is None:  # the spare, or one just begun
                os.close(fd)
                continue
            if self._fd >= 0:
                before = _head(frame).frames_before
                if before != self._frames:
                    os.close(fd)
                    if before > self._frames and _whole_frame(self._fd, self._at) is not None:
                        return True  # written after we looked
                    raise self._damaged()
                os.close(self._fd)
                assert self._path is not None
                self._passed.append((self._path, self._read_seq))
            self._fd, self._number, self._path, self._at, self._frames = fd, number, path, 0, 0
            self._size = os.fstat(fd).st_size
            self._replay.begin_segment()
            return True
        return False

    def _damaged(self) -> DamagedError:
        return DamagedError(
            f"{self._path} is not as it was written, from byte {self._at}: restart the proxy, which keeps it and what is left"
        )

    # -- sealing ------------------------------------------------------------------------------------------------------------

    def _seal_full(self, now: int) -> None:
        while len(self._lines) >= self._rules.max_events or self._queue_bytes > MAX_BLOCK_BYTES:
            self._seal_some(now, 1)

    def _seal_some(self, now: int, least: int) -> None:
        """Seal blocks until at least so many lines are in them; each holds as many as it may."""
        lines, concludes = self._lines, self._concludes
        while least > 0:
            count = min(len(lines), self._rules.max_events)
            size = sum(map(len, lines[:count]))
            while size > MAX_BLOCK_BYTES and count > 1:
                count -= 1
                size -= len(lines[count])
            intents = array("Q", [number for number in concludes[:count] if number])
            batch = Batch(self._epoch, self.sealed_seq + 1, lines[:count], intents)
            self.blocks.seal(batch, now)
            self._closed_at = now
            self.seals.observe(now - (self._since or now))
            del lines[:count], concludes[:count]
            self._queue_bytes -= size
            self.sealed_seq = batch.last_seq
            least -= count

    def _reap(self) -> None:
        """Delete segments all of whose events are in blocks; open statements were carried into the next one."""
        if not self._passed or self._passed[0][1] > self.sealed_seq:
            return
        if self.durable:
            self.blocks.sync()
            for path in [path for path, _ in self._passed if path != self._passed[0][0]]:
                sync_path(path)
            if self._path is not None:
                sync_path(self._path)
        while self._passed and self._passed[0][1] <= self.sealed_seq:
            self._passed.popleft()[0].unlink(missing_ok=True)

    def rest(self, now: int, longest_us: int) -> int:
        """Return for how many µs there is nothing to do but to look for what was written, which is done after `longest_us`."""
        if not self._lines:
            return longest_us
        return max(0, min(longest_us, self._closed_at + self._rules.interval_us - now))

    # -- life ---------------------------------------------------------------------------------------------------------------

    def state(self, beat: int, ship_failures: int = 0, latency_us: int = 0, ship_problem: str = "") -> SealerState:
        """Return where things stand."""
        blocks = self.blocks
        return SealerState(
            beat,
            self.sealed_seq,
            *self._sealed_at,
            blocks.number,
            blocks.sealed,
            blocks.acked,
            blocks.unacked_blocks,
            blocks.unacked_bytes,
            ship_failures,
            latency_us,
            os.getpid(),
            blocks.block_id,
            self.problem,
            ship_problem,
            self.seals.numbers(),
            self.shipments.numbers(),
        )

    def close(self) -> None:
        """Close files; what is not sealed or acknowledged is found by the next start."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.blocks.close()


def _whole_frame(fd: int, at: int) -> Frame | None:
    data = os.pread(fd, 4096, at)
    size = frame_size(data)
    return frame_at(os.pread(fd, size, at) if size > len(data) else data, 0) if size else None


def _head(frame: Frame) -> Head:
    start = RECORD_HEAD.size
    return Head.decode(frame.payload[start : start + RECORD_HEAD.unpack_from(frame.payload)[1]])
