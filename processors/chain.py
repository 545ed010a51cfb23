"""Where a source's chain of blocks stands, and what one more block does to it. Pure; used by the pipeline and by the archive.

    chain, verdict = follow(chain, header)

A block either comes next, is missing its predecessors (a gap: noted, and the chain goes on from the new block), fills a noted
gap from either end or its middle, repeats one already seen, or contradicts the chain (IntegrityError). Nothing is trusted about
a block but what links it: its `prev`, its number, its sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.integrity import BlockHeader, IntegrityError, verify_successor

MAX_GAPS = 1000
"""Gaps remembered per source, newest first; older ones stay counted but can no longer be filled."""


class Place(StrEnum):
    """Where a block stands in its chain."""

    NEXT = "next"
    AFTER_GAP = "after_gap"
    FILLS_GAP = "fills_gap"
    SEEN = "seen"


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing blocks `first` to `last`, the header before them (None: nothing before), the id that block `last` must have."""

    first: int
    last: int
    before: BlockHeader | None
    last_id: str

    @property
    def blocks(self) -> int:
        """How many blocks are missing."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Chain:
    """One source's chain: its newest header, the gaps still open, and the number of missing blocks no longer listed."""

    last: BlockHeader | None = None
    gaps: tuple[Gap, ...] = ()
    forgotten: int = 0

    @property
    def missing(self) -> int:
        """How many blocks are missing."""
        return sum(g.blocks for g in self.gaps) + self.forgotten


def follow(chain: Chain, header: BlockHeader, known_id: str | None = None) -> tuple[Chain, Place]:
    """Return the chain with one more block, and where that block stands.

    `known_id` is the id of the recorded block of the same number, if the caller has one: it decides whether an old number is a
    repeat. Without it an old number outside a gap is a repeat only if it is the newest block. Raises IntegrityError.
    """
    last = chain.last
    name = f"block {header.number} of {header.source} epoch {header.epoch}"
    if header.number < 1:
        raise IntegrityError(f"{name}: block numbers start at 1")
    if last is None or header.number > last.number:
        if header.number == (last.number + 1 if last else 1):
            verify_successor(last, header)
            return replace(chain, last=header), Place.NEXT
        _verify_later(last, header, name)
        return _with_gap(chain, header), Place.AFTER_GAP
    gap = next((g for g in chain.gaps if g.first <= header.number <= g.last), None)
    if gap is not None:
        return _fill(chain, gap, header, name), Place.FILLS_GAP
    known_id = last.block_id if header.number == last.number else known_id
    if known_id is None:
        raise IntegrityError(f"{name}: comes again, but no record of it is left to compare")
    if known_id != header.block_id:
        raise IntegrityError(f"{name}: another block of this number is already recorded (the source began anew, or forks)")
    return chain, Place.SEEN


def _verify_later(last: BlockHeader | None, header: BlockHeader, name: str) -> None:
    if last is None:
        return
    if header.epoch < last.epoch or (header.epoch == last.epoch and header.first_seq < last.first_seq + last.count):
        raise IntegrityError(f"{name}: numbered after block {last.number} but its sequences are not")


def _with_gap(chain: Chain, header: BlockHeader) -> Chain:
    first = chain.last.number + 1 if chain.last else 1
    return _bounded(chain, header, (*chain.gaps, Gap(first, header.number - 1, chain.last, header.prev)))


def _fill(chain: Chain, gap: Gap, header: BlockHeader, name: str) -> Chain:
    if header.number == gap.first:
        verify_successor(gap.before, header)
    else:
        _verify_later(gap.before, header, name)
    if header.number == gap.last and header.block_id != gap.last_id:
        raise IntegrityError(f"{name}: is not the block that block {gap.last + 1} names as the one before it")
    parts = []
    if header.number > gap.first:
        parts.append(Gap(gap.first, header.number - 1, gap.before, header.prev))
    if header.number < gap.last:
        parts.append(Gap(header.number + 1, gap.last, header, gap.last_id))
    at = chain.gaps.index(gap)
    return _bounded(chain, chain.last, (*chain.gaps[:at], *parts, *chain.gaps[at + 1 :]))


def _bounded(chain: Chain, last: BlockHeader | None, gaps: tuple[Gap, ...]) -> Chain:
    dropped = gaps[: max(0, len(gaps) - MAX_GAPS)]
    return Chain(last, gaps[len(dropped) :], chain.forgotten + sum(g.blocks for g in dropped))
