"""What the steps pass on: the state they keep, and the batch they work on. Data only.

A batch starts as log records with what the edges looked up for them (registered keys, blocks the store already has). Each step
returns it with more filled in; the last one leaves Arrow tables and the blocks to archive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from processors.chain import Chain
from processors.steps.execution import Execution
from schemas.activity import Activity
from schemas.integrity import Block
from schemas.log import Record

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Source:
    """What is remembered of one source: its chain, and the public key it was last verified with (empty: none registered)."""

    chain: Chain = field(default_factory=Chain)
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class State:
    """All that outlives a batch: sources by name, and counters since the state began.

    `rejected` counts since `resumed_at`, when somebody last said (µs UTC) that what was rejected is looked after.
    """

    sources: Mapping[str, Source] = field(default_factory=dict)
    blocks: int = 0
    events: int = 0
    repeats: int = 0
    rejected: int = 0
    gaps: int = 0
    unreadable: int = 0
    resumed_at: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """A verified block and its lines. `signature`: verified or unsigned. `stored`: the store has it already."""

    block: Block
    lines: Sequence[bytes]
    """Cut apart once for all steps: that costs as much as hashing them."""
    offset: int
    signature: str
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """A log record that is not a block that fits its chain, and why."""

    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line as published, and where it stands: its block by index in `Batch.fresh`, its sequence number by the header."""

    block: int
    seq: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Queries:
    """QueryExecuted events as parallel sequences; what repeats (decision, session context, statement) stands once, pointed to."""

    events: Sequence[Execution] = ()
    """The members that change with every execution."""
    block_of: Sequence[int] = ()
    seqs: Sequence[int] = ()
    decision_of: Sequence[int] = ()
    context_of: Sequence[int] = ()
    statement_of: Sequence[int] = ()
    decisions: Sequence[Mapping[str, Any]] = ()
    contexts: Sequence[Mapping[str, Any]] = ()
    statements: Sequence[Mapping[str, Any]] = ()
    data_classes: Sequence[Sequence[str]] = ()
    """Per distinct statement, filled in by enrich."""
    newer: Mapping[int, bytes] = field(default_factory=dict)
    """Lines of a newer version than known, by index: kept whole beside their columns."""


@dataclass(frozen=True, slots=True)
class Other:
    """An event that is not a QueryExecuted, or a line that could not be read (`fields` empty, `type` "Unreadable")."""

    line: Line
    type: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """One planned batch. `keys` are registered public keys by source (32 bytes), `present` ids of blocks the store has."""

    records: tuple[Record, ...]
    keys: Mapping[str, bytes] = field(default_factory=dict)
    present: Mapping[tuple[str, int], str] = field(default_factory=dict)
    blocks: tuple[Arrived, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    queries: Queries = field(default_factory=Queries)
    others: tuple[Other, ...] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    activity: tuple[Activity, ...] = ()

    @property
    def fresh(self) -> tuple[Arrived, ...]:
        """Blocks that the store does not have yet, in log order."""
        return tuple(b for b in self.blocks if not b.stored)
