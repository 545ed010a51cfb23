"""What a spool's directory still holds when it is opened: read everything, decide nothing on disk.

Rules, in order:
1. An event is *covered* if it is in an acknowledged block or in a readable sealed block. Events that are not covered are sealed,
   with the bytes the sealer would have given them, in the epoch they belong to.
2. An intent of the newest epoch that neither an outcome nor a block concludes becomes an event with outcome `unknown`.
3. A torn frame at the end of an epoch's last write-ahead segment is dropped: its commit never returned, nothing in it was
   forwarded.
4. Any other unreadable region is damage: what can be read before and after it is kept, the file is kept, and it is reported.
5. The chain goes on from the newest block known by the ACK file, a readable block, or a segment's head.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ingest.spool.blocks import BlocksFile, UnackedBlock, read_ack
from ingest.spool.errors import SpoolError
from ingest.spool.frames import Damage, Scan, scan
from ingest.spool.records import RECORD_HEAD, Head, StoredBlock
from ingest.spool.replay import Concluded, OpenIntent, Replay
from ingest.spool.segments import BLOCKS, WAL, next_number, segment_paths
from schemas.integrity import GENESIS, BlockHeader, IntegrityError


@dataclass(slots=True)
class Recovered:
    """What was found. `epoch`, `last_seq`: the newest epoch and its newest sequence number (0: it has no event yet)."""

    epoch: int = 0
    last_seq: int = 0
    number: int = 0
    block_id: str = GENESIS
    acked: int = 0
    placed: bool = False
    events: list[tuple[int, Concluded]] = field(default_factory=list)
    unknown: list[OpenIntent] = field(default_factory=list)
    unacked: list[UnackedBlock] = field(default_factory=list)
    damage: list[tuple[Path, Damage]] = field(default_factory=list)
    wal_paths: list[Path] = field(default_factory=list)
    blocks_files: list[BlocksFile] = field(default_factory=list)
    next_wal: int = 1
    next_blocks: int = 1

    def saw(self, epoch: int, last_seq: int) -> None:
        """Note that `epoch` exists and reached at least `last_seq`."""
        if epoch > self.epoch:
            self.epoch, self.last_seq = epoch, last_seq
        elif epoch == self.epoch:
            self.last_seq = max(self.last_seq, last_seq)

    def chain(self, number: int, block_id: str) -> None:
        """Note that the chain reached block `number` (0: something says that no block was before)."""
        self.placed = True
        if number > self.number:
            self.number, self.block_id = number, block_id


def recover_blocks(directory: Path) -> tuple[Recovered, Covered]:
    """Read the sealed half: where the chain stands, which blocks wait for the log, what they cover. Raises SpoolError."""
    found, covered = Recovered(), Covered()
    acked = _read_ack(directory, found)
    if acked is not None:
        covered.acked = (acked.epoch, acked.first_seq + acked.count - 1)
        found.saw(*covered.acked)
        found.chain(acked.number, acked.block_id)
        found.acked = acked.number
    found.next_blocks = next_number(directory, BLOCKS)
    for _, path in segment_paths(directory, BLOCKS):
        _read_blocks(path, found.acked, found, covered)
    found.unacked.sort(key=lambda b: b.header.number)
    return found, covered


def recover(directory: Path) -> Recovered:
    """Read a spool's directory; raise SpoolError if files are there but the source's place in its chain cannot be told."""
    found, covered = recover_blocks(directory)
    segments = segment_paths(directory, WAL)
    found.wal_paths = [path for _, path in segments]
    found.next_wal = next_number(directory, WAL)
    wal = _Wal()
    for number, path in segments:
        wal.read(number, path, found, covered)
    wal.report_cut_segments(found)
    if found.damage and (found.epoch == 0 or (not found.placed and any(path.name == "ACK" for path, _ in found.damage))):
        raise SpoolError(
            f"spool {directory} is damaged beyond telling where its chain stood: move the directory aside and keep it, "
            "and give the proxy a new name (proxy.name) so that a new source begins"
        )
    _report_missing_blocks(directory, found.acked, found)
    found.events = [(epoch, wal.events[epoch, seq]) for epoch, seq in sorted(wal.events)]
    sealed = covered.intents.get(found.epoch, set())
    if found.epoch in wal.epochs:
        intents = wal.epochs[found.epoch].intents
        found.unknown = [intents[number] for number in sorted(intents) if number not in sealed]
    return found


class Covered:
    """Which lines are in a sealed block already, and which intents those blocks conclude."""

    def __init__(self) -> None:
        self.acked = (0, 0)
        self.intents: dict[int, set[int]] = {}
        self._ranges: list[tuple[int, int, int]] = []
        self._sorted = False

    def add(self, header: BlockHeader, intents: array[int]) -> None:
        """Note a readable block."""
        self._ranges.append((header.epoch, header.first_seq, header.first_seq + header.count - 1))
        self._sorted = False
        self.intents.setdefault(header.epoch, set()).update(intents)

    def last_seq(self, epoch: int) -> int:
        """Return the newest event of an epoch that is in a block."""
        newest = max((last for of, _, last in self._ranges if of == epoch), default=0)
        return max(newest, self.acked[1]) if self.acked[0] == epoch else newest

    def has(self, epoch: int, seq: int) -> bool:
        """Whether an event is in a block."""
        if (epoch, seq) <= self.acked:
            return True
        if not self._sorted:
            self._ranges.sort()
            self._sorted = True
        at = bisect_right(self._ranges, (epoch, seq, 1 << 62)) - 1
        return at >= 0 and self._ranges[at][0] == epoch and self._ranges[at][1] <= seq <= self._ranges[at][2]


class _Wal:
    """Gathers the records of the write-ahead segments."""

    def __init__(self) -> None:
        self.events: dict[tuple[int, int], Concluded] = {}
        self.epochs: dict[int, Replay] = {}
        self._segments: dict[int, tuple[Path, Scan, Head | None]] = {}

    def read(self, segment: int, path: Path, found: Recovered, covered: Covered) -> None:
        result = _scan(path)
        found.damage.extend((path, damage) for damage in result.damage)
        head: Head | None = None
        for replay in self.epochs.values():
            replay.begin_segment()
        for frame in result.frames:
            found.saw(frame.epoch, 0)
            replay = self.epochs.setdefault(frame.epoch, Replay())
            for event in replay.read(frame.payload):
                found.saw(frame.epoch, event.seq)
                if not covered.has(frame.epoch, event.seq):
                    self.events[frame.epoch, event.seq] = event
            if replay.head is not None and replay.head is not head:
                head = replay.head
                found.saw(head.epoch, head.next_seq - 1)
                found.chain(head.next_block - 1, head.prev)
                replay.head = None
        if result.frames or result.damage or result.torn_at is not None:
            self._segments[segment] = (path, result, head)

    def report_cut_segments(self, found: Recovered) -> None:
        """A segment that another of its epoch follows must hold as many frames as that one says."""
        numbers = sorted(self._segments)
        for before, after in pairwise(numbers):
            path, result, _ = self._segments[before]
            head = self._segments[after][2]
            if head is None or after != before + 1 or (result.frames and result.frames[-1].epoch != head.epoch):
                continue
            frames = result.frames[-1].number + 1 if result.frames else 0
            if frames < head.frames_before:
                end = result.frames[-1].end if result.frames else 0
                found.damage.append((path, Damage(end, 0, f"frames {frames} to {head.frames_before - 1} are missing")))


def _scan(path: Path) -> Scan:
    try:
        return scan(path.read_bytes())
    except OSError as error:
        raise SpoolError(f"spool file {path} cannot be read: {error.strerror}; check owner, permissions and disk") from error


def _read_ack(directory: Path, found: Recovered) -> BlockHeader | None:
    try:
        return read_ack(directory)
    except SpoolError:
        path = directory / "ACK"
        found.damage.append((path, Damage(0, path.stat().st_size, "check sum does not hold; blocks may be sent again")))
        return None


def _read_blocks(path: Path, acked: int, found: Recovered, covered: Covered) -> None:
    result = _scan(path)
    found.damage.extend((path, damage) for damage in result.damage)
    file = BlocksFile(path)
    found.blocks_files.append(file)
    known = {b.header.number for b in found.unacked}
    for frame in result.frames:
        try:
            stored = StoredBlock.decode(frame.payload[RECORD_HEAD.size :])
            header = BlockHeader.decode(stored.header)
        except IntegrityError as error:
            raise SpoolError(f"spool file {path}, byte {frame.offset}: {error}; it was written by another version") from error
        covered.add(header, stored.intents)
        found.saw(header.epoch, header.first_seq + header.count - 1)
        found.chain(header.number, header.block_id)
        if header.number > acked and header.number not in known:
            file.unacked += 1
            found.unacked.append(UnackedBlock(header, file, frame.end - 1 - len(frame.payload), len(frame.payload)))


def _report_missing_blocks(directory: Path, acked: int, found: Recovered) -> None:
    """Blocks between the acknowledged one and the newest that no file holds any more: an honest gap in the chain."""
    held = {b.header.number for b in found.unacked}
    ack_lost = any(path.name == "ACK" for path, _ in found.damage)
    first = min(held, default=found.number + 1) if ack_lost else acked + 1
    missing = [n for n in range(first, found.number + 1) if n not in held]
    if missing:
        reason = f"sealed blocks are lost, the chain has a gap: {missing[0]} to {missing[-1]}, {len(missing)} in all"
        found.damage.append((directory, Damage(0, 0, reason)))
