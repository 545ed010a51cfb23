"""One spool file: made at its full size ahead of need, so that a full disk is met here and not in the middle of a write."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from ingest.spool.errors import SpoolError, SpoolFullError
from ingest.spool.frames import FRAME_OVERHEAD, encode_frame

WAL, BLOCKS = "wal", "blocks"
_NAME = re.compile(r"(wal|blocks)-(\d{8,})\.log\Z")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}
_MIB = 1024 * 1024


class Segment:
    """An open file that frames are appended to. `tail` is where the next frame goes, `frames` its number."""

    __slots__ = ("capacity", "fd", "frames", "last_seq", "number", "path", "tail")

    def __init__(self, path: Path, number: int, fd: int, capacity: int) -> None:
        self.path, self.number, self.fd, self.capacity = path, number, fd, capacity
        self.tail = self.frames = self.last_seq = 0

    @property
    def free(self) -> int:
        """Payload bytes that still fit as one frame."""
        return self.capacity - self.tail - FRAME_OVERHEAD

    def append(self, epoch: int, payload: bytes) -> int:
        """Write one frame with one `pwrite`; return the offset of its payload. On OSError nothing counts as written."""
        frame = encode_frame(epoch, self.frames, payload)
        at, size = self.tail, len(frame)
        written = os.pwrite(self.fd, frame, at)
        while written < size:
            more = os.pwrite(self.fd, frame[written:], at + written)
            if more == 0:
                raise OSError(errno.EIO, "file does not take more bytes", str(self.path))
            written += more
        self.tail = tail = at + size
        self.frames += 1
        return tail - len(payload) - 1

    def sync(self) -> None:
        """Put what was appended on disk."""
        os.fdatasync(self.fd)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def delete(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)


def create_segment(directory: Path, kind: str, number: int, capacity: int, durable: bool) -> Segment:
    """Make a new file of `capacity` bytes, its room taken from the disk now; raise SpoolFullError if there is none."""
    path = directory / f"{kind}-{number:08d}.log"
    free = free_bytes(directory)
    if free < capacity:
        raise SpoolFullError(no_room_text(directory, free, capacity))
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise SpoolFullError(no_room_text(directory, free, capacity)) from error
        raise SpoolError(f"spool file {path} cannot be made: {error.strerror}; check owner and permissions") from error
    try:
        _allocate(fd, capacity)
        if durable:
            os.fsync(fd)
            sync_directory(directory)
    except OSError as error:
        os.close(fd)
        path.unlink(missing_ok=True)
        if error.errno in _NO_ROOM:
            raise SpoolFullError(no_room_text(directory, free_bytes(directory), capacity)) from error
        raise SpoolError(f"spool file {path} cannot be made: {error.strerror}; check the disk") from error
    return Segment(path, number, fd, capacity)


def _allocate(fd: int, capacity: int) -> None:
    try:
        os.posix_fallocate(fd, 0, capacity)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
        zeros = bytes(min(capacity, _MIB))
        at = 0
        while at < capacity:
            at += os.pwrite(fd, zeros[: capacity - at], at)


def free_bytes(directory: Path) -> int:
    """Bytes the file system of `directory` has left for us."""
    try:
        status = os.statvfs(directory)
    except OSError as error:
        raise SpoolError(f"spool {directory} cannot be reached: {error.strerror}; check the disk") from error
    return status.f_bavail * status.f_frsize


def no_room_text(directory: Path, free: int, needed: int) -> str:
    """Word the refusal that a full disk causes."""
    return (
        f"spool {directory} has no room: {free} bytes free, {needed} needed; free disk space there, "
        "or let the log catch up so that sealed blocks can go"
    )


def segment_paths(directory: Path, kind: str) -> list[tuple[int, Path]]:
    """Return (number, path) of the files of one kind, in order."""
    found = []
    for path in directory.iterdir():
        match = _NAME.match(path.name)
        if match and match[1] == kind:
            found.append((int(match[2]), path))
    return sorted(found)


def next_number(directory: Path, kind: str) -> int:
    """Return a number no file of this kind has, damaged ones that were set aside included."""
    return max((int(m[1]) for p in directory.iterdir() if (m := re.match(kind + r"-(\d{8,})\.log", p.name))), default=0) + 1


def sync_directory(directory: Path) -> None:
    """Put a directory's entries on disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
