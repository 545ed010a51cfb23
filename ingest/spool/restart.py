"""What a spool does at its start with what recovery found: seal it in the epoch it belongs to, then clear the files away."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import orjson
import structlog

from ingest.spool.blocks import MAX_BLOCK_BYTES, Batch, BlockStore
from ingest.spool.lines import UNKNOWN_OUTCOME, LineFormat
from ingest.spool.recovery import Recovered

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening found of the epoch before: events sealed now, intents that became `unknown`, damaged regions."""

    events: int
    unknown: int
    damaged: int


def seal_recovered(found: Recovered, blocks: BlockStore, source: str, max_events: int, now: int) -> Recovery:
    """Seal what recovery found, in the epoch it belongs to; afterwards only blocks hold it."""
    for path, damage in found.damage:
        log.error(
            "spool damaged; the file is kept beside the spool as .corrupt",
            file=str(path),
            offset=damage.offset,
            bytes_lost=damage.bytes_lost,
            reason=damage.reason,
        )
    epoch = max(found.epoch, 1)
    lines = [(e, record.seq, record.intent, record.line) for e, record in found.lines]
    seq = found.last_seq
    if found.unknown or found.damage:
        found.epoch = epoch
        format = LineFormat(source, epoch)
        for intent in found.unknown:
            seq += 1
            line = format.query(seq, intent.at, intent.dynamic, intent.context, intent.statement, UNKNOWN_OUTCOME)
            lines.append((epoch, seq, intent.number, line))
        for path, damage in found.damage:
            seq += 1
            name = path.name if path.is_dir() else f"{path.name}.corrupt"
            body = b',"file":%b,"offset":%d,"bytes_lost":%d,"reason":%b' % (
                orjson.dumps(name),
                damage.offset,
                damage.bytes_lost,
                orjson.dumps(damage.reason),
            )
            lines.append((epoch, seq, 0, format.event("SpoolDamaged", seq, now, body)))
    found.last_seq = seq
    batch: list[tuple[int, int, int, bytes]] = []
    size = 0
    for entry in lines:
        gap = batch and (entry[0] != batch[-1][0] or entry[1] != batch[-1][1] + 1)
        if gap or len(batch) >= max_events or (batch and size + len(entry[3]) > MAX_BLOCK_BYTES):
            _seal_batch(blocks, batch, now)
            batch, size = [], 0
        batch.append(entry)
        size += len(entry[3])
    if batch:
        _seal_batch(blocks, batch, now)
    return Recovery(len(lines) - len(found.unknown) - len(found.damage), len(found.unknown), len(found.damage))


def _seal_batch(blocks: BlockStore, batch: list[tuple[int, int, int, bytes]], now: int) -> None:
    intents = array("Q", (intent for _, _, intent, _ in batch if intent))
    blocks.seal(Batch.of(batch[0][0], batch[0][1], [line for _, _, _, line in batch], intents, now))


def set_aside(found: Recovered, blocks: BlockStore, durable: bool) -> None:
    """Delete files whose events are all sealed or acknowledged now; keep damaged files, their readable blocks copied out.

    Blocks and ACK tell the chain's place from here on, so the old segments can go before the new one asks for their room.
    """
    damaged = {path for path, _ in found.damage if path.is_file()}
    for file in found.blocks_files:
        if file.path in damaged:
            blocks.adopt(file)
    if durable:
        blocks.sync()
    for path in damaged:
        path.rename(path.with_name(path.name + ".corrupt"))
    done = [file.path for file in found.blocks_files if not file.unacked]
    for path in (*found.wal_paths, *done):
        if path not in damaged:
            path.unlink()
