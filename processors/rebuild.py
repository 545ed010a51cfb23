"""Makes ClickHouse anew from the archive: empties the tables, then projects every archived block again.

The archive is the record, ClickHouse a projection of it. Damage in the archive is passed over here and named by `archive
verify`; the counts returned say what went in. Not while a pipeline writes to the same store. An interrupted rebuild is simply
run again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from processors.archive import Archive
from processors.sinks.clickhouse import EVENT_TABLES, Store
from processors.steps.enrich import enrich
from processors.steps.project import project
from processors.steps.read import read
from processors.steps.work import Arrived, Batch, State
from schemas.integrity import Block

BATCH_EVENTS = 16_000
"""Events per insert: as many as the running pipeline takes at once."""


class RebuildError(Exception):
    """The rebuilt tables do not hold what went into them."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild put in: `rows` are the rows of query_events and other_events together, equal to `events`.

    `damaged` places of the archive were passed over.
    """

    blocks: int
    events: int
    rows: int
    damaged: int = 0


def rebuild(archive: Archive, store: Store, progress: Callable[[int, int], None] = lambda blocks, events: None) -> Rebuilt:
    """Empty and refill the tables; `progress` is called with blocks and events done. Raises RebuildError, StoreError.

    Blocks are not verified again beyond their frame's checksum, so that one bad block does not keep the rest from being
    searchable; `signature` in `blocks` says `archived`.
    """
    store.migrate()
    store.truncate()
    blocks = events = damaged = 0

    def passed() -> None:
        nonlocal damaged
        damaged += 1

    for group in _groups(archive.blocks(passed)):
        # No token: the engine may still know the tokens, or the hashes, of rows that were just truncated.
        _insert(store, group)
        blocks += len(group)
        events += sum(b.header.count for b in group)
        progress(blocks, events)
    counts = store.counts()
    rows = counts["query_events"] + counts["other_events"]
    if rows != events:
        raise RebuildError(f"the archive holds {events} events, the rebuilt tables {rows} rows: run the rebuild again")
    return Rebuilt(blocks, events, rows, damaged)


def _groups(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    group: list[Block] = []
    events = 0
    for block in blocks:
        group.append(block)
        events += block.header.count
        if events >= BATCH_EVENTS:
            yield group
            group, events = [], 0
    if group:
        yield group


def _insert(store: Store, group: Sequence[Block]) -> None:
    batch = Batch((), blocks=tuple(Arrived(block, block.lines(), 0, "archived") for block in group))
    state = State()
    gc.disable()
    try:
        for step in (read, enrich, project):
            state, batch = step(state, batch, 0)
    finally:
        gc.enable()
    for table in EVENT_TABLES:
        if table in batch.tables:
            store.insert(table, batch.tables[table], token=None)
