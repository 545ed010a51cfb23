"""What a spool does at its start with what recovery found: seal it in the epoch it belongs to, then clear the files away."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import orjson
import structlog

from ingest.spool.blocks import MAX_BLOCK_BYTES, Batch, BlockStore
from ingest.spool.lines import UNKNOWN_OUTCOME, LineFormat
from ingest.spool.recovery import Recovered
from ingest.spool.replay import Concluded

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
    events, seq = found.events, found.last_seq
    if found.unknown or found.damage:
        found.epoch = epoch = max(found.epoch, 1)
        for intent in found.unknown:
            seq += 1
            events.append((epoch, Concluded(seq, intent[0], intent, UNKNOWN_OUTCOME)))
        for path, damage in found.damage:
            seq += 1
            name = path.name if path.is_dir() else f"{path.name}.corrupt"
            body = b',"file":%b,"offset":%d,"bytes_lost":%d,"reason":%b' % (
                orjson.dumps(name),
                damage.offset,
                damage.bytes_lost,
                orjson.dumps(damage.reason),
            )
            events.append((epoch, Concluded(seq, 0, None, body, "SpoolDamaged", now)))
    found.last_seq = seq
    batch = Batch(0, 0, [], array("Q"))
    format = LineFormat(source, 0)
    size = 0
    for epoch, event in events:
        if epoch != batch.epoch:
            format = LineFormat(source, epoch)
        line = event.line(format)
        gap = epoch != batch.epoch or event.seq != batch.last_seq + 1
        if gap or len(batch.lines) >= max_events or size + len(line) > MAX_BLOCK_BYTES:
            if batch.lines:
                blocks.seal(batch, now)
            batch, size = Batch(epoch, event.seq, [], array("Q")), 0
        batch.add(event.number, line)
        size += len(line)
    if batch.lines:
        blocks.seal(batch, now)
    return Recovery(len(events) - len(found.unknown) - len(found.damage), len(found.unknown), len(found.damage))


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
