"""The archive: every sealed block as published, in append-only files per source. ClickHouse can be rebuilt from it.

    <directory>/<source, / as _>/000000000001.open                       being written
    <directory>/<source, / as _>/000000000001-000000002400-2400.blocks    rolled: read-only, never touched again

The names give the first and last block number and how many blocks the file holds. A file is a run of frames
(`processors.frames`). `append` returns when the blocks are on disk (fdatasync of the file, fsync of its folder when a file
comes or changes its name), so that offsets of the log may move on. Appending a block number again changes nothing. A tail torn
by a crash is cut when the file is opened for writing, and kept beside it; the blocks come again from the log. Damage before the
tail is never cut: the file is closed as it is, and `verify` reports it.

Several processes may share an archive, each with sources of its own: a source's folder is locked by whoever writes to it, until
it closes the archive or dies. Whoever comes next waits for that, and then sees all that the one before it wrote.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from processors.archive_report import ArchiveReport, format_report, verify_archive
from processors.frames import Damage, Frame, encode, files_of, rolled_span, scan, source_folders, walk
from schemas.integrity import Block

log = structlog.get_logger(__name__)

__all__ = ["Archive", "ArchiveError", "ArchiveReport", "ArchiveUnavailableError", "format_report"]

ROLL_BYTES = 128 * 1024 * 1024
"""A file is rolled past this: about two million events, small enough to copy and to keep in an object store."""

ROLL_SECONDS = 6 * 3600
"""A file is rolled when it spans this much sealing time, so that quiet sources' blocks become read-only too."""


class ArchiveError(Exception):
    """The archive cannot be used as it is; the message names the file and the remedy."""


class ArchiveUnavailableError(ArchiveError):
    """The archive cannot be written now (disk full, say): the same append may succeed later. No block was half added."""


@dataclass(slots=True)
class _Held:
    """Which block numbers a source's files hold: closed ranges, ascending."""

    ranges: list[tuple[int, int]] = field(default_factory=list)

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in reversed(self.ranges))

    def add(self, first: int, last: int) -> None:
        if self.ranges and self.ranges[-1][1] + 1 == first:
            self.ranges[-1] = (self.ranges[-1][0], last)
            return
        merged: list[tuple[int, int]] = []
        for a, b in sorted([*self.ranges, (first, last)]):
            if merged and a <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
            else:
                merged.append((a, b))
        self.ranges = merged


@dataclass(slots=True)
class _Writer:
    """One source's files: what they hold, and the open one."""

    folder: Path
    held: _Held = field(default_factory=_Held)
    path: Path | None = None
    fd: int = -1
    size: int = 0
    first: int = 0
    last: int = 0
    count: int = 0
    since: int = 0
    lock_fd: int = -1

    def close(self) -> None:
        """Close the open file, and let another process have the folder."""
        for fd in (self.fd, self.lock_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.lock_fd = -1


class Archive:
    """The archive in one folder. One process at a time may append to a source; any number may read."""

    def __init__(self, directory: Path, roll_bytes: int = ROLL_BYTES, roll_seconds: int = ROLL_SECONDS) -> None:
        self.directory = directory
        self._roll_bytes = roll_bytes
        self._roll_us = roll_seconds * 1_000_000
        self._writers: dict[str, _Writer] = {}

    def append(self, blocks: Sequence[Block]) -> int:
        """Add the blocks whose numbers are not there yet, durably; return how many were added.

        Raises ArchiveUnavailableError with no block of a failed source half added, ArchiveError for good.
        """
        added = 0
        for source in dict.fromkeys(b.header.source for b in blocks):
            added += self._append_to(source, [b for b in blocks if b.header.source == source])
        return added

    def blocks(self, passed: Callable[[], None] = lambda: None) -> Iterator[Block]:
        """Yield every readable block, source by source, in order of writing.

        Damage is passed over, and `passed` called for each place of it: `verify` names them.
        """
        for folder in source_folders(self.directory):
            for _, item in walk(folder):
                if isinstance(item, Frame):
                    yield item.block()
                else:
                    passed()

    def verify(self, keys: Path | Mapping[str, bytes] | None = None) -> ArchiveReport:
        """Check every block of every source; `keys` is the folder of registered public keys, or keys (32 bytes) by source."""
        return verify_archive(self.directory, keys)

    def close(self) -> None:
        """Close the open files and let other processes append. What is appended afterwards opens them again."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _append_to(self, source: str, blocks: Sequence[Block]) -> int:
        folder = self.directory / source.replace("/", "_")
        try:
            writer = self._writers.get(source)
            if writer is None:
                writer = self._writers[source] = self._open(folder)
            missing = [b for b in blocks if b.header.number not in writer.held]
            for block in missing:
                if writer.path is not None and self._full(writer, block):
                    self._roll(writer)
                self._write(writer, block)
            if missing:
                os.fdatasync(writer.fd)
        except OSError as error:
            # What is in the file is found again by opening it anew; memory may no longer agree with it.
            broken = self._writers.pop(source, None)
            if broken is not None:
                broken.close()
            why = "the disk is full: free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"{error.strerror}"
            raise ArchiveUnavailableError(
                f"archive {folder} cannot be written: {why}; blocks wait in the log meanwhile"
            ) from error
        return len(missing)

    def _open(self, folder: Path) -> _Writer:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _sync_folder(folder.parent)
        writer = _Writer(folder, lock_fd=_lock(folder))
        try:
            self._look_through(writer)
        except BaseException:
            writer.close()
            raise
        return writer

    def _look_through(self, writer: _Writer) -> None:
        """Learn what the folder's files hold, and go on with the open one."""
        for path in files_of(writer.folder):
            rolled = rolled_span(path)
            if rolled is not None and rolled[1] - rolled[0] + 1 == rolled[2]:
                writer.held.add(rolled[0], rolled[1])
                continue
            # The open file is read whole, to find damage; of a rolled one with holes in its numbers the headers are enough.
            found = scan(path, bodies=rolled is None)
            items = [replace(item, packed=b"") if isinstance(item, Frame) else item for item in found]
            for item in items:
                if isinstance(item, Frame):
                    writer.held.add(item.header.number, item.header.number)
            if rolled is None:
                self._resume(writer, path, items)

    def _resume(self, writer: _Writer, path: Path, items: Sequence[Frame | Damage]) -> None:
        """Go on with a file that a previous process left open, or close it if it is damaged before its tail."""
        frames = [i for i in items if isinstance(i, Frame)]
        damage = [i for i in items if isinstance(i, Damage)]
        size = frames[-1].end if frames else 0
        if damage and damage[0].offset >= size:
            _cut(path, size)
        if not frames:
            path.unlink()
            return
        writer.path, writer.size = path, size
        writer.first, writer.count = frames[0].header.number, len(frames)
        writer.last = max(f.header.number for f in frames)
        writer.since = frames[0].header.sealed_at
        writer.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        if damage and damage[0].offset < size:
            log.error("archive file is damaged before its end; it is closed as it is", file=str(path), offset=damage[0].offset)
            self._roll(writer)

    def _full(self, writer: _Writer, block: Block) -> bool:
        return writer.size >= self._roll_bytes or block.header.sealed_at - writer.since >= self._roll_us

    def _write(self, writer: _Writer, block: Block) -> None:
        h = block.header
        if writer.path is None:
            path = writer.folder / f"{h.number:012d}.open"
            writer.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            _sync_folder(writer.folder)
            writer.path, writer.size, writer.first, writer.last = path, 0, h.number, h.number
            writer.count, writer.since = 0, h.sealed_at
        data = encode(block)
        try:
            written = os.write(writer.fd, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(writer.fd, writer.size)
            raise
        writer.size += len(data)
        writer.last = max(writer.last, h.number)
        writer.count += 1
        writer.held.add(h.number, h.number)

    def _roll(self, writer: _Writer) -> None:
        if writer.path is None:
            return
        os.fsync(writer.fd)
        os.fchmod(writer.fd, 0o444)
        os.close(writer.fd)
        writer.path.rename(writer.folder / f"{writer.first:012d}-{writer.last:012d}-{writer.count}.blocks")
        _sync_folder(writer.folder)
        writer.path, writer.fd = None, -1


def _lock(folder: Path) -> int:
    fd = os.open(folder / "archive.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ArchiveUnavailableError(
            f"archive {folder} is being written by another process: a worker that had this source before and is still at work "
            "gives it up by itself, one that hangs must be ended"
        ) from None
    except OSError:
        os.close(fd)
        raise
    return fd


def _cut(path: Path, size: int) -> None:
    """Cut a torn tail, keeping its bytes beside the file: whether they mattered is for a person to say."""
    data = path.read_bytes()[size:]
    beside = path.with_name(f"{path.stem}.{size}.torn")
    beside.write_bytes(data)
    log.warning("archive file had a torn tail, cut and kept", file=str(path), offset=size, bytes=len(data), kept=beside.name)
    os.truncate(path, size)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
