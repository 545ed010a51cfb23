"""Step 1: is each record a block that its source sealed, whole, and in its place in the chain?

Checked, in order: the header is canonical; the lines hash to its root; every line carries the source, epoch and sequence that
the header gives it; the signature holds under the source's registered key; the block fits the chain (`processors.chain`). A
source with a registered key must sign, and stays bound to the last key it was verified with even if its file disappears.
Without a key the block is recorded as unsigned; a key is never learned from the traffic itself. A gap is noted and passed: what
arrived must not wait for what may never arrive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from processors.chain import Place, follow
from processors.signatures import verify_signature
from processors.steps.work import Arrived, Batch, Rejected, Source, State
from schemas.integrity import Block, BlockHeader, IntegrityError, verify_block
from schemas.log import Record


def verify(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Sort the batch's records into blocks, repeats and rejections, and move the chains on."""
    sources: dict[str, Source] = dict(state.sources)
    recorded = dict(batch.present)  # and what this batch brings: a proxy may ship several blocks again at once
    blocks: list[Arrived] = []
    rejected: list[Rejected] = []
    notes: list[str] = []
    repeats = gaps = 0
    for record in batch.records:
        try:
            block, lines, source, place, signature = _admit(record, sources, batch.keys, recorded)
        except IntegrityError as error:
            rejected.append(Rejected(record, str(error)))
            continue
        h = block.header
        if place is Place.SEEN:
            repeats += 1
            continue
        if place is Place.AFTER_GAP:
            gaps += 1
            gap = source.chain.gaps[-1]
            notes.append(f"gap: blocks {gap.first} to {gap.last} of {h.source} are missing before block {h.number}")
        elif place is Place.FILLS_GAP:
            notes.append(f"block {h.number} of {h.source} arrived late and fills its gap")
        sources[h.source] = source
        recorded[h.source, h.number] = h.block_id
        blocks.append(Arrived(block, lines, record.offset, signature, (h.source, h.number) in batch.present))
    state = replace(
        state,
        sources=sources,
        blocks=state.blocks + len(blocks),
        events=state.events + sum(b.block.header.count for b in blocks),
        repeats=state.repeats + repeats,
        rejected=state.rejected + len(rejected),
        gaps=state.gaps + gaps,
    )
    return state, replace(batch, blocks=tuple(blocks), rejected=tuple(rejected), notes=tuple(notes))


def _admit(
    record: Record, sources: Mapping[str, Source], keys: Mapping[str, bytes], recorded: Mapping[tuple[str, int], str]
) -> tuple[Block, list[bytes], Source, Place, str]:
    block = Block.from_log(record.value, dict(record.headers))
    h = block.header
    before = sources.get(h.source, Source())
    known_id = recorded.get((h.source, h.number))
    if known_id is not None and known_id != h.block_id:
        raise IntegrityError(
            f"block {h.number} of {h.source} epoch {h.epoch}: the store has another block of this number "
            "(the source began anew under its old name, or forks)"
        )
    key = keys.get(h.source, before.key)
    if key:
        verify_signature(block, key)
    lines = verify_block(block)
    verify_positions(h, lines)
    chain, place = follow(before.chain, h, known_id)
    return block, lines, Source(chain, key), place, "verified" if key else "unsigned"


def verify_positions(h: BlockHeader, lines: Sequence[bytes]) -> None:
    """Check that line i of a block is event `first_seq + i` of its source and epoch; raise IntegrityError.

    Writers put the envelope first and in one order, so a look at most lines' start is enough; a line of another shape is read
    whole. A line that is no JSON object at all holds no position and passes: it is kept as unreadable under the position the
    header gives it.
    """
    usual = f'{{"type":"QueryExecuted","v":1,"source":"{h.source}","epoch":{h.epoch},"seq":%d,'.encode()
    seqs = range(h.first_seq, h.first_seq + len(lines))
    for seq, line, as_usual in zip(seqs, lines, map(bytes.startswith, lines, [usual % seq for seq in seqs]), strict=True):
        if not as_usual:
            _verify_position_slowly(h, seq, line)


def _verify_position_slowly(h: BlockHeader, seq: int, line: bytes) -> None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return
    if isinstance(event, dict) and (event.get("source"), event.get("epoch"), event.get("seq")) != (h.source, h.epoch, seq):
        raise IntegrityError(
            f"block {h.number} of {h.source} epoch {h.epoch}: the line at sequence {seq} says it is "
            f"{event.get('source')!r} epoch {event.get('epoch')!r} sequence {event.get('seq')!r}"
        )
