"""How the embedded pipeline rests: a block is taken as it comes, a written one is no reason to spin, batches gather."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from processors.runtimes.embedded import REST_SHARE, EmbeddedRuntime
from schemas.log import NewRecord
from schemas.log.sqlite import SqliteLog
from schemas.topics import EVENTS
from tests.support.ports import wait_for

BLOCK = NewRecord(b"proxy/0", b"a block", {})


class Stepped:
    """A runtime over a real log whose steps are counted; what a step does is told."""

    def __init__(self, folder: Path, linger: float, does: Callable[[EmbeddedRuntime], int]) -> None:
        self.log = SqliteLog(folder / "log.db")
        self.runtime = EmbeddedRuntime(
            self.log, None, None, folder / "pipeline.db", lambda: 0, linger_seconds=linger,  # type: ignore[arg-type]
        )  # fmt: skip
        self.runtime._partitions = 1
        self.began: list[float] = []
        self.done: list[int] = []
        self.stop = Event()

        def step(_activity_seconds: float) -> int:
            self.began.append(time.monotonic())
            self.done.append(does(self.runtime))
            return self.done[-1]

        self.runtime.step = step  # type: ignore[method-assign]
        self._thread = Thread(target=self.runtime.run, args=(self.stop,))
        self._thread.start()

    def end(self) -> None:
        self.stop.set()
        self._thread.join()
        self.runtime.close()
        self.log.close()


def takes(runtime: EmbeddedRuntime) -> int:
    position = runtime._file.positions.get(0, 0)
    records = runtime._log.read(EVENTS.name, position, 64)
    if records:
        runtime._file.positions[0] = records[-1].offset + 1
    return len(records)


def test_a_block_is_taken_as_it_comes(tmp_path: Path) -> None:
    pipeline = Stepped(tmp_path, 60, takes)
    try:
        wait_for(lambda: pipeline.done == [0], "the first look")
        pipeline.log.append(EVENTS.name, [BLOCK])
        wait_for(lambda: 1 in pipeline.done, "the block to be taken, long before a minute", 30)
    finally:
        pipeline.end()


def test_blocks_that_the_retention_took_are_not_waited_for_all_the_time(tmp_path: Path) -> None:
    pipeline = Stepped(tmp_path, 0.1, lambda runtime: 0)
    try:
        pipeline.log.append(EVENTS.name, [BLOCK] * 3)
        pipeline.log.truncate_before(EVENTS.name, 3)
        wait_for(lambda: len(pipeline.began) > 8, "some looks")
    finally:
        pipeline.end()
    # Every other look follows on the word of the log that something is there; the one after it waits.
    pauses = [after - before for before, after in zip(pipeline.began, pipeline.began[2:], strict=False)]
    assert min(pauses) >= 0.1


@pytest.mark.parametrize("took", [0.0, 0.4])
def test_batches_gather_for_the_linger_or_half_as_long_as_one_took(tmp_path: Path, took: float) -> None:
    def works(_runtime: EmbeddedRuntime) -> int:
        time.sleep(took)
        return 1

    pipeline = Stepped(tmp_path, 0.2, works)
    try:
        wait_for(lambda: len(pipeline.began) > 3, "some batches")
    finally:
        pipeline.end()
    pauses = [after - before for before, after in zip(pipeline.began, pipeline.began[1:], strict=False)]
    assert min(pauses) >= max(0.2, took * (1 + REST_SHARE))
