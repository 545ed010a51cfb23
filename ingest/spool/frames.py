"""How bytes stand in a spool file, and what can still be read of a file that was torn or damaged.

A frame is the unit of writing: one `pwrite`, one check sum. Layout, little-endian:

    magic(4) header_crc(4) length(4) epoch(4) number(4) payload_crc(4) payload(length) "\\n"

`number` counts frames from 0 in each file, so a missing frame shows. The magic is not valid UTF-8, so no event text can
contain it. Files are preallocated with zeros and every frame ends in a non-zero byte: the last non-zero byte of a file is
the end of what was written. A frame cut short there (the process died in the middle of the write) is *torn*: normal. Anything
else that does not check is *damage*.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from schemas.native import hot

MAGIC: Final = b"\xfaAF\xf1"
_HEADER: Final = struct.Struct("<4sIIIII")
_CHECKED: Final = struct.Struct("<III")
_HEADER_OF: Final = _HEADER.pack
_CHECKED_OF: Final = _CHECKED.pack
_END: Final = b"\n"
FRAME_OVERHEAD: Final = _HEADER.size + len(_END)


class Frame:
    """One readable frame: where it stands (`offset`, `end`), and what it holds."""

    __slots__ = ("end", "epoch", "number", "offset", "payload")

    def __init__(self, offset: int, end: int, epoch: int, number: int, payload: bytes) -> None:
        self.offset = offset
        self.end = end
        self.epoch = epoch
        self.number = number
        self.payload = payload


@dataclass(frozen=True, slots=True)
class Damage:
    """A region that is not as it was written. `bytes_lost` 0: frames are missing, their bytes with them."""

    offset: int
    bytes_lost: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds: readable frames in order, damaged regions, and whether it ends in a torn frame."""

    frames: tuple[Frame, ...]
    damage: tuple[Damage, ...]
    torn_at: int | None


def frame_bytes(epoch: int, number: int, payload: bytes) -> bytes:
    """Return the bytes of one frame. In C: `hot.frame`."""
    length = len(payload)
    header = _HEADER_OF(MAGIC, crc32(_CHECKED_OF(length, epoch, number)), length, epoch, number, crc32(payload))
    return b"%b%b\n" % (header, payload)


encode_frame: Final[Callable[[int, int, bytes], bytes]] = frame_bytes if hot is None else hot.frame
"""Returns the bytes of one frame: of an epoch, its number, its payload."""


def scan(data: bytes) -> Scan:
    """Read all frames of a file's bytes; after a damaged region go on at the next readable frame."""
    written = len(data.rstrip(b"\0"))
    frames: list[Frame] = []
    damage: list[Damage] = []
    at = expected = 0
    while at < written:
        frame = frame_at(data, at)
        if frame is None:
            frame = _next_frame(data, at + 1, written)
            if frame is None:
                if _is_torn(data, at, written):
                    return Scan(tuple(frames), tuple(damage), at)
                damage.append(Damage(at, written - at, "check sum does not hold"))
                break
            damage.append(Damage(at, frame.offset - at, "check sum does not hold"))
        elif frame.number != expected:
            damage.append(Damage(at, 0, f"frames {expected} to {frame.number - 1} are missing"))
        frames.append(frame)
        at, expected = frame.end, frame.number + 1
    return Scan(tuple(frames), tuple(damage), None)


def frame_at(data: bytes, at: int) -> Frame | None:
    """Return the frame that stands whole at `at`, None if none does (yet)."""
    if at + FRAME_OVERHEAD > len(data):
        return None
    magic, header_crc, length, epoch, number, payload_crc = _HEADER.unpack_from(data, at)
    if magic != MAGIC or crc32(data[at + 8 : at + 20]) != header_crc:
        return None
    start = at + _HEADER.size
    payload = data[start : start + length]
    end = start + length + 1
    if data[end - 1 : end] != _END or crc32(payload) != payload_crc:
        return None
    return Frame(at, end, epoch, number, payload)


def frame_size(data: bytes) -> int:
    """Return how many bytes the frame beginning here takes, 0 if no readable header stands here."""
    if len(data) < _HEADER.size:
        return 0
    magic, header_crc, length, _, _, _ = _HEADER.unpack_from(data)
    return FRAME_OVERHEAD + length if magic == MAGIC and crc32(data[8:20]) == header_crc else 0


def _next_frame(data: bytes, start: int, written: int) -> Frame | None:
    at = data.find(MAGIC, start, written)
    while at >= 0:
        frame = frame_at(data, at)
        if frame is not None:
            return frame
        at = data.find(MAGIC, at + 1, written)
    return None


def _is_torn(data: bytes, at: int, written: int) -> bool:
    """Whether the unreadable rest is a correctly begun frame whose end was never written."""
    if written - at < _HEADER.size:
        head = data[at:written]
        return head[:4] == MAGIC[: len(head)]
    magic, header_crc, length, _, _, _ = _HEADER.unpack_from(data, at)
    return bool(magic == MAGIC and crc32(data[at + 8 : at + 20]) == header_crc and written < at + FRAME_OVERHEAD + length)
