"""How the sealer tells the writer where it stands: one page of memory both have mapped, whole or not believed.

The page is anonymous memory (memfd), not a file of the spool: a full or failing disk cannot turn a look at it into a SIGBUS.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from schemas.integrity import GENESIS
from schemas.latencies import WAIT_US

PAGE_BYTES = 4096
_TIMED = 2 + len(WAIT_US)
_FIELDS = struct.Struct(f"<{12 + 2 * _TIMED}Q64sHH")
_PROBLEM_BYTES = (PAGE_BYTES - 4 - _FIELDS.size) // 2


@dataclass(frozen=True, slots=True)
class SealerState:
    """Where sealing and shipping stand.

    Counts are since the spool was opened. `segment` and `offset`: write-ahead frames up to there are in sealed blocks.
    `number` and `block_id`: the chain's newest block. `beat`: when this was written (µs UTC). `seals` and `shipments`: how long
    blocks took, as `Latencies` has it.
    """

    beat: int = 0
    sealed_seq: int = 0
    segment: int = 0
    offset: int = 0
    number: int = 0
    blocks_sealed: int = 0
    blocks_acked: int = 0
    unacked_blocks: int = 0
    unacked_bytes: int = 0
    ship_failures: int = 0
    latency_us: int = 0
    pid: int = 0
    block_id: str = GENESIS
    problem: str = ""
    ship_problem: str = ""
    seals: tuple[int, ...] = (0,) * _TIMED
    shipments: tuple[int, ...] = (0,) * _TIMED

    def encode(self) -> bytes:
        """Return the page's bytes: check sum, numbers, two texts cut to their room."""
        problem, shipping = (text.encode()[:_PROBLEM_BYTES] for text in (self.problem, self.ship_problem))
        body = _FIELDS.pack(
            self.beat,
            self.sealed_seq,
            self.segment,
            self.offset,
            self.number,
            self.blocks_sealed,
            self.blocks_acked,
            self.unacked_blocks,
            self.unacked_bytes,
            self.ship_failures,
            max(self.latency_us, 0),
            self.pid,
            *self.seals,
            *self.shipments,
            self.block_id.encode(),
            len(problem),
            len(shipping),
        )
        data = body + problem + shipping
        return crc32(data).to_bytes(4, "little") + data

    @classmethod
    def decode(cls, data: bytes) -> SealerState | None:
        """Read a page; None if it is being written this moment, or never was."""
        *numbers, block_id, problem, shipping = _FIELDS.unpack_from(data, 4)
        end = 4 + _FIELDS.size + problem + shipping
        if end > len(data) or crc32(data[4:end]) != int.from_bytes(data[:4], "little"):
            return None
        at = 4 + _FIELDS.size
        values: dict[str, Any] = dict(zip(_NUMBERS, numbers[:12], strict=True))
        values["seals"], values["shipments"] = tuple(numbers[12 : 12 + _TIMED]), tuple(numbers[12 + _TIMED :])
        values["problem"] = data[at : at + problem].decode("utf-8", "replace")
        values["ship_problem"] = data[at + problem : end].decode("utf-8", "replace")
        return cls(**values, block_id=block_id.decode())


_NUMBERS = tuple(SealerState.__dataclass_fields__)[:12]


class StatusPage:
    """The page. One process writes, another reads; a reader gets the newest state that was whole."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, PAGE_BYTES)
        self._newest = SealerState()
        self._seen = b""

    @classmethod
    def create(cls) -> StatusPage:
        """Make a page; its descriptor is to be handed to the other process."""
        fd = os.memfd_create("affidavit-sealer", os.MFD_CLOEXEC)
        os.ftruncate(fd, PAGE_BYTES)
        return cls(fd)

    def write(self, state: SealerState) -> None:
        """Show a state."""
        data = state.encode()
        self._map[: len(data)] = data

    def read(self) -> SealerState:
        """Return the newest state that could be read."""
        if self._map[:12] != self._seen:  # check sum and time
            state = SealerState.decode(self._map[:])
            if state is not None:
                self._newest, self._seen = state, self._map[:12]
        return self._newest

    def close(self) -> None:
        """Let go of the memory; the newest state stays readable."""
        self._seen = self._map[:12]
        self._map.close()
        os.close(self.fd)
