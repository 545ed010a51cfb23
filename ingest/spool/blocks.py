"""The sealed half of a spool: blocks are made, chained, signed and kept here until the log acknowledged them.

One thread seals, another reads and acknowledges; a lock guards what they share. A block is in its file, whole, before anyone can
read it. The file ACK holds the header of the newest acknowledged block, so that the chain's position outlives the files.
"""

from __future__ import annotations

import os
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING
from zlib import crc32

import zstandard

from ingest.spool.errors import SpoolError, SpoolFullError
from ingest.spool.records import RECORD_HEAD, StoredBlock
from ingest.spool.segments import BLOCKS, Segment, create_segment, sync_directory
from schemas.integrity import Block, BlockHeader, IntegrityError, lines_root

if TYPE_CHECKING:
    from ingest.spool.recovery import Recovered

BODY_CACHE_BYTES = 8 * 1024 * 1024
"""Bodies kept in memory for the shipper, so that a block sealed a moment ago is not read and decompressed again."""

MAX_BLOCK_BYTES = 1024 * 1024
"""A block is closed once its lines pass this, so that it fits a log message; one longer line is a block alone."""

ZSTD_LEVEL = 1
"""The fastest level: blocks are compressed once, here, and a log that stores zstd takes the frame as it is."""


@dataclass(slots=True)
class Batch:
    """Lines that make one block: contiguous from `first_seq`, with the intents they conclude."""

    epoch: int
    first_seq: int
    lines: list[bytes]
    intents: array[int]

    @property
    def last_seq(self) -> int:
        """The sequence number of the last line."""
        return self.first_seq + len(self.lines) - 1

    def add(self, intent: int, line: bytes) -> None:
        """Add the next line; `intent` 0: it concludes none."""
        self.lines.append(line)
        if intent:
            self.intents.append(intent)


class BlocksFile:
    """A file that holds blocks, and how many of them are not acknowledged. `segment` None: from before, read only."""

    __slots__ = ("path", "segment", "synced", "unacked")

    def __init__(self, path: Path, segment: Segment | None = None) -> None:
        self.path, self.segment, self.unacked = path, segment, 0
        self.synced = 0


@dataclass(slots=True)
class UnackedBlock:
    """Where a sealed block stands: the payload of a frame, `size` bytes at `offset` of `file`; maybe its body as well."""

    header: BlockHeader
    file: BlocksFile
    offset: int
    size: int
    body: bytes | None = None
    stored: StoredBlock | None = None


class BlockStore:
    """Seals batches into blocks and keeps them. `number` and `block_id` are the chain's newest block (0 and 64 zeros: none)."""

    def __init__(
        self,
        directory: Path,
        source: str,
        signer: Callable[[bytes], bytes] | None,
        capacity: int,
        durable: bool,
        number: int,
        block_id: str,
        unacked: list[UnackedBlock],
        next_file: int,
    ) -> None:
        self.number, self.block_id = number, block_id
        self.sealed = self.acked = 0
        self.unacked_bytes = sum(b.size for b in unacked)
        self._directory, self._source, self._signer = directory, source, signer
        self._capacity, self._durable = capacity, durable
        self._unacked = deque(unacked)
        self._cached = 0
        self._next_file = next_file
        self._file: BlocksFile | None = None
        self.news = Event()
        """Set when a block was sealed, for whoever waits for one."""
        self._lock = Lock()
        self._zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)

    @classmethod
    def of(
        cls, found: Recovered, directory: Path, source: str, signer: Callable[[bytes], bytes] | None, capacity: int, durable: bool
    ) -> BlockStore:
        """Go on where a directory's files end."""
        return cls(directory, source, signer, capacity, durable, found.number, found.block_id, found.unacked, found.next_blocks)

    def seal(self, batch: Batch, now: int) -> BlockHeader:
        """Write one block; raise SpoolFullError, SpoolError or OSError with nothing changed. One thread at a time."""
        header = BlockHeader(
            self._source,
            batch.epoch,
            self.number + 1,
            batch.first_seq,
            len(batch.lines),
            now,
            self.block_id,
            lines_root(batch.lines).hex(),
        )
        encoded = header.encode()
        signature = self._signer(encoded) if self._signer else b""
        body = b"\n".join([*batch.lines, b""])
        stored = StoredBlock(encoded, signature, batch.intents, self._zstd.compress(body))
        payload = stored.encode()
        file = self._file_for(len(payload))
        assert file.segment is not None
        offset = file.segment.append(batch.epoch, payload)
        with self._lock:
            keep = self._cached + len(body) <= BODY_CACHE_BYTES
            self._cached += len(body) if keep else 0
            entry = UnackedBlock(header, file, offset, len(payload))
            if keep:
                entry.body, entry.stored = body, stored
            self._unacked.append(entry)
            file.unacked += 1
            self.unacked_bytes += len(payload)
            self.number, self.block_id = header.number, header.block_id
            self.sealed += 1
        self.news.set()
        return header

    def _file_for(self, size: int) -> BlocksFile:
        current = self._file
        if current is not None and current.segment is not None and size <= current.segment.free:
            return current
        try:
            segment = create_segment(self._directory, BLOCKS, self._next_file, max(self._capacity, size + 4096), self._durable)
        except SpoolFullError:
            segment = create_segment(self._directory, BLOCKS, self._next_file, size + 4096, self._durable)
        self._next_file += 1
        with self._lock:
            self._file = BlocksFile(segment.path, segment)
            if current is not None:
                self._drop_if_done(current)
            return self._file

    def adopt(self, file: BlocksFile) -> None:
        """Copy a file's blocks into the current one, so that the file can be set aside."""
        for entry in [b for b in self._unacked if b.file is file]:
            payload = _read_payload(entry)
            target = self._file_for(len(payload))
            assert target.segment is not None
            entry.offset = target.segment.append(entry.header.epoch, payload)
            entry.file = target
            target.unacked += 1
            file.unacked -= 1

    def sync(self) -> None:
        """Put sealed blocks on disk. Any thread."""
        with self._lock:
            dirty = {id(b.file): (b.file, b.file.segment.tail) for b in self._unacked if b.file.segment is not None}
        for file, tail in dirty.values():
            if file.synced < tail:
                sync_path(file.path)
                file.synced = tail

    def oldest(self, limit: int, max_bytes: int) -> list[Block]:
        """Return the oldest blocks not acknowledged, at least one if there is any, up to `max_bytes` of bodies."""
        return [block for block, _ in self.oldest_compressed(limit, max_bytes)]

    def oldest_compressed(self, limit: int, max_bytes: int) -> list[tuple[Block, bytes]]:
        """Return what `oldest` does, each with its body as one zstd frame."""
        with self._lock:
            wanted = [self._unacked[i] for i in range(min(limit, len(self._unacked)))]
        blocks: list[tuple[Block, bytes]] = []
        size = 0
        for entry in wanted:
            stored = entry.stored or read_stored_block(entry)
            body = entry.body if entry.body is not None else decompress(stored.compressed)
            size += len(body)
            if blocks and size > max_bytes:
                break
            blocks.append((Block(entry.header, stored.signature, body), stored.compressed))
        return blocks

    def ack(self, header: BlockHeader) -> None:
        """The log has every block up to this one: remember so, then delete files that hold nothing else."""
        write_ack(self._directory, header, self._durable)
        with self._lock:
            while self._unacked and self._unacked[0].header.number <= header.number:
                entry = self._unacked.popleft()
                self._cached -= len(entry.body) if entry.body is not None else 0
                self.unacked_bytes -= entry.size
                self.acked += 1
                entry.file.unacked -= 1
                self._drop_if_done(entry.file)

    def _drop_if_done(self, file: BlocksFile) -> None:
        if file.unacked or file is self._file:
            return
        if file.segment is not None:
            file.segment.close()
        file.path.unlink(missing_ok=True)

    @property
    def unacked_blocks(self) -> int:
        """How many blocks wait for the log."""
        return len(self._unacked)

    def close(self) -> None:
        """Close files; what is not acknowledged stays for the next start."""
        with self._lock:
            for file in {id(b.file): b.file for b in self._unacked}.values():
                if file.segment is not None:
                    file.segment.close()
            if self._file is not None and self._file.segment is not None:
                if self._file.unacked:
                    self._file.segment.close()
                else:
                    self._file.segment.delete()


def sync_path(path: Path) -> None:
    """Sync by a descriptor of our own, so that another thread may close and delete the file meanwhile."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def read_stored_block(entry: UnackedBlock) -> StoredBlock:
    """Read a block back from its file."""
    return StoredBlock.decode(_read_payload(entry)[RECORD_HEAD.size :])


def _read_payload(entry: UnackedBlock) -> bytes:
    fd = os.open(entry.file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, entry.size, entry.offset)
    finally:
        os.close(fd)


def decompress(data: bytes) -> bytes:
    """Return a block's body from its compressed form; raise SpoolError if it is not one."""
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise SpoolError(f"block body does not decompress: {error}") from error


def write_ack(directory: Path, header: BlockHeader, durable: bool) -> None:
    """Replace the file ACK."""
    text = header.encode()
    half = directory / "ACK.tmp"
    fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text + b"%08x\n" % crc32(text))
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    half.replace(directory / "ACK")
    if durable:
        sync_directory(directory)


def read_ack(directory: Path) -> BlockHeader | None:
    """Return the header of the newest acknowledged block, None if there never was one; raise SpoolError if damaged."""
    path = directory / "ACK"
    if not path.exists():
        return None
    text, check = path.read_bytes()[:-9], path.read_bytes()[-9:]
    try:
        if check != b"%08x\n" % crc32(text):
            raise IntegrityError("check sum does not hold")
        return BlockHeader.decode(text)
    except IntegrityError as error:
        raise SpoolError(f"spool file {path} is damaged: {error}") from error
