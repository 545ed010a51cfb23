"""The pipeline: its steps, in their order, said once.

A step is pure: (state, batch, now) → (state, batch). It reads no clock, file or network; what it needs from there is in the
batch. The same state and batch give the same rows, so a batch can be run again after a crash. `now` is microseconds UTC.
"""

from __future__ import annotations

from typing import Protocol

from processors.steps.enrich import enrich
from processors.steps.project import project
from processors.steps.read import read
from processors.steps.tally import tally
from processors.steps.verify import verify
from processors.steps.work import Batch, State


class Step(Protocol):
    """One step of the pipeline."""

    def __call__(self, state: State, batch: Batch, now: int) -> tuple[State, Batch]:
        """Return the state after this batch, and the batch with this step's work in it."""


STEPS: tuple[Step, ...] = (verify, read, enrich, project, tally)


def run(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Run all steps over a batch."""
    for step in STEPS:
        state, batch = step(state, batch, now)
    return state, batch
