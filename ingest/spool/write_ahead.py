"""The write-ahead files of one epoch: the segment that is written, the next one made ahead of need, and those that are full.

The event loop's thread appends and rotates. `sync` may run in another, and `tend` in the spool's own.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from threading import Lock

from ingest.spool.errors import SpoolError, SpoolFullError
from ingest.spool.segments import WAL, Segment, create_segment


class WriteAhead:
    """`segment` is where the next frame goes; `problem` says why none is ready to follow it."""

    def __init__(self, directory: Path, epoch: int, number: int, capacity: int, durable: bool, head: bytes) -> None:
        """Make the first segment, which begins with `head`, and one ahead. Raises SpoolError."""
        self._directory, self._epoch, self._next, self._durable = directory, epoch, number, durable
        self._capacity = self._wanted = capacity
        self._lock = Lock()
        self._spare: Segment | None = None
        self.problem = ""
        self._full: deque[Segment] = deque()
        self._tails: deque[tuple[int, int]] = deque()
        """Numbers and sizes of the full ones, until they are sealed."""
        self._sync_lock = Lock()
        self.unsynced: set[Segment] = set()
        """Where something was appended that may not be on disk yet."""
        self.sync_failed = False
        """The disk did not take it: nothing more is to be appended to that segment."""
        self.segment = self._create(capacity)
        try:
            self.segment.append(epoch, head)
            if durable:
                self.segment.sync()
        except OSError as error:
            path = self.segment.path
            raise SpoolError(f"spool file {path} cannot be written: {error.strerror}; check the disk") from error
        self._ensure_spare()

    @property
    def ahead(self) -> int:
        """Bytes of the segment that is ready to follow; 0: there is none."""
        spare = self._spare
        return spare.capacity if spare is not None else 0

    def want(self, capacity: int) -> None:
        """Have the next segment this large, if the disk has the room."""
        with self._lock:
            self._wanted = max(self._capacity, capacity)
            self._ensure_spare()

    def rotate(self, payload: bytes, size: int) -> None:
        """Go on in the next segment, of `size` bytes or more, which begins with `payload` in one frame.

        Raises SpoolFullError where there is none and OSError where it cannot be written; then all is as before.
        """
        with self._lock:
            if self._spare is None or self._spare.capacity < size:
                self._wanted = max(self._capacity, size)
                self._ensure_spare()
            if self._spare is None or self._spare.free < len(payload):
                raise SpoolFullError(self.problem)
            segment = self._spare
            segment.append(self._epoch, payload)
            self._spare = None
            self._tails.append((self.segment.number, self.segment.tail))
            self._full.append(self.segment)
            self.segment = segment
            self._wanted = self._capacity

    def tend(self) -> None:
        """Have the next segment ready, close what is full and on disk. A problem is tried again by the next call."""
        if self._spare is None or self._spare.capacity < self._wanted:
            with self._lock:
                self._ensure_spare()
        if self._full:
            with self._sync_lock:
                for segment in tuple(self._full):
                    if segment not in self.unsynced:
                        self._full.remove(segment)
                        segment.close()

    def sync(self) -> None:
        """Put every append that has returned on disk. Any thread. Raises SpoolError."""
        with self._sync_lock:
            for segment in tuple(self.unsynced):
                self.unsynced.discard(segment)
                try:
                    segment.sync()
                except OSError as error:
                    # The kernel may now call pages clean that never reached the disk: trust no second try, begin a new file.
                    self.sync_failed = True
                    raise SpoolError(
                        f"spool file {segment.path} cannot be put on disk: {error.strerror}; check the disk"
                    ) from error

    def unsealed(self, segment: int, offset: int) -> int:
        """Return how many bytes hold what is in no block yet, where the sealer is at this offset of this segment."""
        tails = self._tails
        while tails and tails[0][0] < segment:
            tails.popleft()
        return max(sum(tail for _, tail in tails) + self.segment.tail - offset, 0)

    def close(self) -> None:
        """Close all files, and remove the one that was made ahead."""
        if self._spare is not None:
            self._spare.delete()
        for segment in (*self._full, self.segment):
            segment.close()

    def _create(self, capacity: int) -> Segment:
        segment = create_segment(self._directory, WAL, self._next, capacity, self._durable)
        self._next += 1
        return segment

    def _ensure_spare(self) -> None:
        """Make the next segment, as large as wanted, if it is not there. Called under the lock."""
        spare = self._spare
        if spare is not None and spare.capacity >= self._wanted:
            return
        try:
            made = self._create(self._wanted)
        except SpoolError as error:
            self.problem = str(error)
            return
        self._spare, self.problem = made, ""
        if spare is not None:
            spare.delete()
