"""Step 3: what does it touch? Adds data classes per distinct statement, judged from the names of its columns and their tables.

A column that is filtered or sorted by counts like one that is read: what it holds shows in the answer. What results were seen
to hold is in the event itself (`exposure`), and joins these in the row. Names are looked up once each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from processors.sensitivity.columns import by_name
from processors.steps.work import Batch, State

MAX_NAMES = 65_536
"""Names remembered, of at most a few hundred bytes each: more columns than most fleets have."""


def enrich(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Give each distinct statement its data classes."""
    classes = tuple(_classes(s["facts"]) for s in batch.queries.statements)
    return state, replace(batch, queries=replace(batch.queries, data_classes=classes))


def _classes(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted({name for use in facts.get("columns", ()) for name in _of_column(use["name"])}))


@lru_cache(MAX_NAMES)
def _of_column(name: str) -> frozenset[str]:
    """The classes of `schema.table.column`, or of `?.column` where the table is not known."""
    before, _, column = name.rpartition(".")
    return frozenset(c.value for c in by_name(column, before.rpartition(".")[2]))
