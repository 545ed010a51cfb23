"""What a spool's directory still holds when it is opened: read everything, decide nothing on disk.

Rules, in order:
1. A line is *covered* if it is in an acknowledged block or in a readable sealed block. Lines that are not covered are sealed
   again, byte for byte, in the epoch they belong to.
2. An intent of the newest epoch that neither a line nor a block concludes becomes an event with outcome `unknown`.
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
from ingest.spool.lines import LOST_CONTEXT, LOST_STATEMENT
from ingest.spool.records import RECORD_HEAD, Head, Intent, Line, StoredBlock, read_records
from ingest.spool.segments import BLOCKS, WAL, next_number, segment_paths
from schemas.integrity import GENESIS, BlockHeader, IntegrityError


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent without an outcome, with its fragments."""

    number: int
    at: int
    context: bytes
    statement: bytes
    dynamic: bytes


@dataclass(slots=True)
class Recovered:
    """What was found. `epoch`, `last_seq`: the newest epoch and its newest sequence number (0: it has no event yet)."""

    epoch: int = 0
    last_seq: int = 0
    number: int = 0
    block_id: str = GENESIS
    placed: bool = False
    lines: list[tuple[int, Line]] = field(default_factory=list)
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


def recover(directory: Path) -> Recovered:
    """Read a spool's directory; raise SpoolError if files are there but the source's place in its chain cannot be told."""
    found = Recovered()
    covered = _Covered()
    acked = _read_ack(directory, found)
    if acked is not None:
        covered.acked = (acked.epoch, acked.first_seq + acked.count - 1)
        found.saw(*covered.acked)
        found.chain(acked.number, acked.block_id)
    blocks = segment_paths(directory, BLOCKS)
    found.next_blocks = next_number(directory, BLOCKS)
    for _, path in blocks:
        _read_blocks(path, acked.number if acked else 0, found, covered)
    found.unacked.sort(key=lambda b: b.header.number)
    segments = segment_paths(directory, WAL)
    found.wal_paths = [path for _, path in segments]
    found.next_wal = next_number(directory, WAL)
    wal = _Wal()
    for number, path in segments:
        wal.read(number, path, found)
    wal.report_cut_segments(found)
    if found.damage and (found.epoch == 0 or (not found.placed and any(path.name == "ACK" for path, _ in found.damage))):
        raise SpoolError(
            f"spool {directory} is damaged beyond telling where its chain stood: move the directory aside and keep it, "
            "and give the proxy a new name (proxy.name) so that a new source begins"
        )
    _report_missing_blocks(directory, acked.number if acked else 0, found)
    found.lines = sorted(
        ((epoch, line) for (epoch, seq), line in wal.lines.items() if not covered.has(epoch, seq)),
        key=lambda pair: (pair[0], pair[1].seq),
    )
    for epoch, line in found.lines:
        found.saw(epoch, line.seq)
    concluded = {line.intent for (epoch, _), line in wal.lines.items() if epoch == found.epoch}
    concluded |= covered.intents.get(found.epoch, set())
    found.unknown = [intent for number, intent in sorted(wal.intents.get(found.epoch, {}).items()) if number not in concluded]
    return found


class _Covered:
    """Which lines are in a sealed block already, and which intents those blocks conclude."""

    def __init__(self) -> None:
        self.acked = (0, 0)
        self.intents: dict[int, set[int]] = {}
        self._ranges: list[tuple[int, int, int]] = []
        self._sorted = False

    def add(self, header: BlockHeader, intents: array[int]) -> None:
        self._ranges.append((header.epoch, header.first_seq, header.first_seq + header.count - 1))
        self._sorted = False
        self.intents.setdefault(header.epoch, set()).update(intents)

    def has(self, epoch: int, seq: int) -> bool:
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
        self.lines: dict[tuple[int, int], Line] = {}
        self.intents: dict[int, dict[int, OpenIntent]] = {}
        self._segments: dict[int, tuple[Path, Scan, Head | None]] = {}

    def read(self, segment: int, path: Path, found: Recovered) -> None:
        result = _scan(path)
        found.damage.extend((path, damage) for damage in result.damage)
        definitions: dict[int, bytes] = {}
        head: Head | None = None
        for frame in result.frames:
            found.saw(frame.epoch, 0)
            for record in read_records(frame.payload):
                if isinstance(record, Line):
                    self.lines[frame.epoch, record.seq] = record
                    found.saw(frame.epoch, record.seq)
                elif isinstance(record, Intent):
                    self.intents.setdefault(frame.epoch, {})[record.number] = OpenIntent(
                        record.number,
                        record.at,
                        definitions.get(record.context, LOST_CONTEXT),
                        definitions.get(record.statement, LOST_STATEMENT),
                        record.dynamic,
                    )
                elif isinstance(record, Head):
                    head = record
                    found.saw(record.epoch, record.next_seq - 1)
                    found.chain(record.next_block - 1, record.prev)
                elif isinstance(record, tuple):
                    definitions[record[0]] = record[1]
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


def _read_blocks(path: Path, acked: int, found: Recovered, covered: _Covered) -> None:
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
