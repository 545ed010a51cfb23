"""What every runtime does with a partition's `affidavit.activity`: fold, insert rows, keep the states. Written once.

In this order, and no plan is needed: rows are totals that do not depend on who computes them (`processors.principals`). Rows that
are ahead of their states, after a death between the two, are written again, or are newer and stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from processors.principals import Principal, Rows, changed, fold, table, trimmed
from processors.sinks.clickhouse import Store
from schemas.activity import ActivityError, decode
from schemas.log import Record

log = structlog.get_logger(__name__)

MAX_RECORDS = 5_000
"""Taken at once: each is about 300 bytes, and changes a row or two."""

MAX_BYTES = 16 * 1024 * 1024
ACTIVITY_SECONDS = 2.0
"""How long activity waits at most for its insert, which costs much the same whatever its size."""

TABLE = "principal_activity"


class States(Protocol):
    """The principals' states of the partitions that a runtime has."""

    def state_of(self, principal: str) -> Principal:
        """Return a principal's state, an empty one if it was never seen."""

    def keep(self, states: Mapping[str, Principal], next_offset: int, partition: int) -> None:
        """Make states durable, and with or after them that everything before `next_offset` is in them."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of some records."""

    folded: int = 0
    repeats: int = 0
    unreadable: int = 0


def take(records: Sequence[Record], partition: int, store: Store, states: States) -> Taken:
    """Take records of one partition through. Raises what the store raises, and `states`; the same call then changes nothing."""
    found: dict[str, Principal] = {}
    rows: Rows = {}
    folded = repeats = unreadable = 0
    for record in records:
        try:
            activity = decode(record.value)
        except ActivityError as error:
            # The events themselves are in store and archive: what is lost is a count, and what wrote this is told.
            log.error("activity left out", partition=partition, offset=record.offset, reason=str(error))
            unreadable += 1
            continue
        before = found.get(activity.principal) or states.state_of(activity.principal)
        after = fold(before, activity)
        if after is before:
            repeats += 1
            continue
        changed(rows, after, activity)
        found[activity.principal] = trimmed(after)
        folded += 1
    if rows:
        store.insert(TABLE, table(rows), None)
    states.keep(found, records[-1].offset + 1, partition)
    return Taken(folded, repeats, unreadable)
