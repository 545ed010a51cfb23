"""How a block lies in an archive file: one frame each, self-checking, readable without anything but hashlib and zstandard.

    "AFB1" · u32 header bytes · u32 signature bytes · u32 body bytes · 32 bytes SHA-256 of what follows · header · signature ·
    body

Integers are little-endian; the body is the block's NDJSON as one zstd frame; header and signature are as published. The
checksum finds damage and torn tails; that a frame is genuine, the header's own chain and signature show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import BinaryIO

import zstandard

from schemas.integrity import Block, BlockHeader, IntegrityError

MAGIC = b"AFB1"
_PREFIX = Struct("<4sIII32s")
LEVEL = 3
"""zstd level: 6 would make these lines a tenth smaller at three to four times the cost."""

MAX_BODY = 1 << 30
"""A body larger than this when unpacked is refused, whatever its frame claims."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as found: where it lies, its header, and its packed body (empty if bodies were not asked for)."""

    offset: int
    end: int
    header: BlockHeader
    signature: bytes
    packed: bytes

    def block(self) -> Block:
        """Unpack the block; raise IntegrityError if the body does not unpack."""
        try:
            if zstandard.frame_content_size(self.packed) > MAX_BODY:
                raise IntegrityError(f"block {self.header.number} of {self.header.source}: its body unpacks to more than 1 GiB")
            body = zstandard.ZstdDecompressor().decompress(self.packed, max_output_size=MAX_BODY)
        except zstandard.ZstdError as error:
            raise IntegrityError(
                f"block {self.header.number} of {self.header.source}: its body does not unpack: {error}"
            ) from None
        return Block(self.header, self.signature, body)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes from `offset` to `end` that are no frame. At the end of a file still open it is a torn tail, or one being written."""

    offset: int
    end: int
    reason: str


def encode(block: Block) -> bytes:
    """Return the frame of a block."""
    header = block.header.encode()
    packed = zstandard.ZstdCompressor(level=LEVEL).compress(block.body)
    content = header + block.signature + packed
    lengths = (len(header), len(block.signature), len(packed))
    return _PREFIX.pack(MAGIC, *lengths, sha256(content).digest()) + content


def scan(path: Path, bodies: bool = True) -> Iterator[Frame | Damage]:
    """Yield a file's frames in order; after damage, go on at the next whole frame, if there is one.

    Without bodies the checksum of all but the last frame is left unchecked, and only headers are read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        offset = 0
        while offset < size:
            found = _frame_at(file, offset, size, bodies)
            if isinstance(found, str):
                end = _next_frame(file, offset + 1, size)
                yield Damage(offset, end, found)
                offset = end
            else:
                yield found
                offset = found.end


def _frame_at(file: BinaryIO, offset: int, size: int, bodies: bool) -> Frame | str:
    file.seek(offset)
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        return "ends within a frame"
    magic, header_bytes, signature_bytes, packed_bytes, digest = _PREFIX.unpack(prefix)
    if magic != MAGIC:
        return "no frame begins here"
    end = offset + _PREFIX.size + header_bytes + signature_bytes + packed_bytes
    if end > size:
        return "ends within a frame"
    if header_bytes > 4096 or signature_bytes > 4096:
        return "lengths make no sense"
    head = file.read(header_bytes + signature_bytes)
    packed = b""
    if bodies or end == size:
        packed = file.read(packed_bytes)
        if sha256(head + packed).digest() != digest:
            return "checksum does not hold"
    try:
        header = BlockHeader.decode(head[:header_bytes])
    except IntegrityError as error:
        return str(error)
    return Frame(offset, end, header, head[header_bytes:], packed)


def _next_frame(file: BinaryIO, offset: int, size: int) -> int:
    """Return where the next whole frame begins, or the end of the file."""
    window = 1 << 20
    while offset < size:
        file.seek(offset)
        data = file.read(window + len(MAGIC) - 1)
        at = data.find(MAGIC)
        while at >= 0:
            if not isinstance(_frame_at(file, offset + at, size, bodies=True), str):
                return offset + at
            at = data.find(MAGIC, at + 1)
        offset += window
    return size


def source_folders(directory: Path) -> list[Path]:
    """Return the folders of an archive's sources, in order of name."""
    return sorted(p for p in directory.iterdir() if p.is_dir()) if directory.is_dir() else []


def walk(folder: Path) -> Iterator[tuple[Path, Frame | Damage]]:
    """Yield the frames, and the damage, of one source's files in order of writing."""
    for listed in files_of(folder):
        # An open file may be rolled, and so renamed, between listing and reading.
        path = listed if listed.exists() else next(folder.glob(f"{listed.name[:12]}-*.blocks"), listed)
        for item in scan(path):
            yield path, item


def files_of(folder: Path) -> list[Path]:
    """Return the files of blocks in a source's folder, oldest first."""
    return sorted((p for p in folder.iterdir() if p.suffix in (".blocks", ".open")), key=lambda p: (p.name[:12], p.suffix))


def rolled_span(path: Path) -> tuple[int, int, int] | None:
    """Return first number, last number and count of a rolled file by its name; None for the open one."""
    parts = path.stem.split("-")
    if path.suffix != ".blocks" or len(parts) != 3 or not all(p.isdigit() for p in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])
