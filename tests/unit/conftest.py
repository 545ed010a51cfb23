"""Every place that a worker may keep the states of principals in, for tests that hold for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processors.runtimes.states import Place, place
from schemas.config import StatesKind


@pytest.fixture(params=list(StatesKind))
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Place]]:
    """Makes a place of its own at each call."""
    if request.param is StatesKind.ROCKSDB:
        pytest.importorskip("rocksdict")
    made: list[Place] = []

    def make() -> Place:
        made.append(place(request.param, tmp_path / f"states{len(made)}"))
        return made[-1]

    yield make
    for each in made:
        each.close()
