"""Step 3: what does it touch? Adds data classes per distinct statement.

No classifier is wired in yet: every statement gets none. A classifier goes here, as a function of a statement's facts and of
catalogue tags in the state, and costs once per distinct statement of a batch.
"""

from __future__ import annotations

from dataclasses import replace

from processors.steps.work import Batch, State


def enrich(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Give each distinct statement its data classes."""
    classes = tuple(() for _ in batch.queries.statements)
    return state, replace(batch, queries=replace(batch.queries, data_classes=classes))
