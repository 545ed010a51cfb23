"""Leaf, Merkle root, block header and chain: the hashing that makes the trail provable. Pure, and small on purpose.

- A leaf is one event line as published, without its newline: SHA-256(0x00 || line), RFC 9162 section 2.1.1.
- The root of a block is the Merkle Tree Hash over its leaves (RFC 9162 section 2.1.1).
- A block header is a fixed text of nine lines; its hash, SHA-256 over those bytes, is the block's id, and the next block of
  the same source names it in `prev`. The first block of a source has `prev` = 64 zeros. The chain goes on across epochs.
- The source signs the header bytes with its Ed25519 key.

Nothing here re-serialises an event: what is hashed is what was published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from schemas.native import hot

# Hashes begun with their prefix and copied for each use: OpenSSL looks an algorithm up anew for each that is begun.
_LEAF = sha256(b"\x00")
_NODE = sha256(b"\x01")

GENESIS = "0" * 64
HEADER_MAGIC = "affidavit/block/v1"
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_SOURCE = re.compile(r"[A-Za-z0-9_.:/-]{1,120}\Z")


class IntegrityError(Exception):
    """A block or chain does not hold: the message says which block and which check."""


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What a block commits to. `root` and `prev` are 64 lower-case hex digits; `sealed_at` is microseconds UTC."""

    source: str
    epoch: int
    number: int
    first_seq: int
    count: int
    sealed_at: int
    prev: str
    root: str

    def encode(self) -> bytes:
        """Return the canonical header bytes: nine lines, each ended by a newline."""
        return (
            f"{HEADER_MAGIC}\n{self.source}\n{self.epoch}\n{self.number}\n{self.first_seq}\n"
            f"{self.count}\n{self.sealed_at}\n{self.prev}\n{self.root}\n"
        ).encode("ascii")

    @property
    def block_id(self) -> str:
        """Hex SHA-256 of the header bytes."""
        return sha256(self.encode()).hexdigest()

    @classmethod
    def decode(cls, data: bytes) -> BlockHeader:
        """Read canonical header bytes; raise IntegrityError on anything that `encode` would not have written."""
        try:
            lines = data.decode("ascii").split("\n")
            if len(lines) != 10 or lines[0] != HEADER_MAGIC:
                raise ValueError("not a block header")
            epoch, number, first_seq, count, sealed_at = (int(n) for n in lines[2:7])
            header = cls(lines[1], epoch, number, first_seq, count, sealed_at, lines[7], lines[8])
            if not (_SOURCE.match(header.source) and _HEX64.match(header.prev) and _HEX64.match(header.root)):
                raise ValueError("malformed field")
            if min(epoch, number, first_seq, sealed_at) < 0 or count < 1 or header.encode() != data:
                raise ValueError("not canonical")
        except (UnicodeDecodeError, ValueError) as error:
            raise IntegrityError(f"block header unreadable: {error}") from None
        return header


@dataclass(frozen=True, slots=True)
class Block:
    """A sealed block: header, Ed25519 signature over the header (64 bytes, or empty), and the lines joined by newlines.

    `body` is NDJSON: `header.count` lines, each ended by a newline.
    """

    header: BlockHeader
    signature: bytes
    body: bytes

    def lines(self) -> list[bytes]:
        """Return the event lines without their newlines."""
        return self.body[:-1].split(b"\n") if self.body else []

    def log_headers(self) -> dict[str, bytes]:
        """Return the log message headers: the header itself and, for readers that filter, its fields."""
        h = self.header
        return {
            "block": h.encode(),
            "signature": self.signature,
            "source": h.source.encode(),
            "epoch": str(h.epoch).encode(),
            "first_seq": str(h.first_seq).encode(),
            "count": str(h.count).encode(),
            "prev": h.prev.encode(),
            "root": h.root.encode(),
            "schema": b"1",
        }

    @classmethod
    def from_log(cls, value: bytes, headers: dict[str, bytes]) -> Block:
        """Rebuild a block from a log message; raise IntegrityError if its header is missing or malformed."""
        if "block" not in headers:
            raise IntegrityError("log message carries no block header")
        return cls(BlockHeader.decode(headers["block"]), headers.get("signature", b""), value)


def leaf_hash(line: bytes) -> bytes:
    """Return the RFC 9162 leaf hash of one event line (no newline)."""
    digest = _LEAF.copy()
    digest.update(line)
    return digest.digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the RFC 9162 Merkle Tree Hash over leaf hashes; of no leaves, SHA-256 of the empty string.

    Level by level; an odd last node moves up unchanged, which equals the recursive split at the largest power of two.
    """
    if not leaves:
        return sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        paired: list[bytes] = []
        for at in range(0, len(level) - 1, 2):
            digest = _NODE.copy()
            digest.update(level[at] + level[at + 1])
            paired.append(digest.digest())
        if len(level) & 1:
            paired.append(level[-1])
        level = paired
    return level[0]


def root_of(lines: Sequence[bytes]) -> bytes:
    """Return the root of a block of these lines, at least one. In C: `hot.root`, where the processor hashes by itself."""
    return merkle_root([leaf_hash(line) for line in lines])


lines_root: Final[Callable[[Sequence[bytes]], bytes]] = getattr(hot, "root", root_of)
"""Returns the root of a block of lines, at least one."""


def verify_block(block: Block) -> list[bytes]:
    """Check a block's lines against its header's count and root, and return them; raise IntegrityError naming the block."""
    h = block.header
    name = f"block {h.number} of {h.source} epoch {h.epoch}"
    if not block.body.endswith(b"\n"):
        raise IntegrityError(f"{name}: body does not end in a newline")
    lines = block.lines()
    if len(lines) != h.count:
        raise IntegrityError(f"{name}: {len(lines)} lines, header says {h.count}")
    if lines_root(lines).hex() != h.root:
        raise IntegrityError(f"{name}: lines do not hash to the header's root")
    return lines


def verify_successor(before: BlockHeader | None, after: BlockHeader) -> None:
    """Check that `after` directly follows `before` in its source's chain (None: it must be the first block).

    Sequences start at 1 in every epoch and go on without a gap within it; epochs and block numbers go up by one.
    """
    name = f"block {after.number} of {after.source} epoch {after.epoch}"
    if before is None:
        if after.prev != GENESIS or after.number != 1:
            raise IntegrityError(f"{name}: is not a first block, and nothing before it is known")
    else:
        if after.prev != before.block_id:
            raise IntegrityError(f"{name}: does not name block {before.number} as the one before it")
        if after.number != before.number + 1:
            raise IntegrityError(f"{name}: follows block number {before.number}")
    same_epoch = before is not None and after.epoch == before.epoch
    expected = before.first_seq + before.count if before is not None and same_epoch else 1
    if after.first_seq != expected:
        raise IntegrityError(f"{name}: starts at sequence {after.first_seq}, expected {expected}")
    if before is not None and not same_epoch and after.epoch != before.epoch + 1:
        raise IntegrityError(f"{name}: epoch follows epoch {before.epoch}")
    if before is None and after.epoch != 1:
        raise IntegrityError(f"{name}: first block of a source must be of epoch 1")
