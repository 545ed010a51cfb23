"""The pipeline as a thread of the node: kept going, asked how far it is, and stopped.

When it stops for good it says so and looks again now and then: a person may have mended what stopped it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from deploy.layout import DataDir
from schemas.log import LogError
from schemas.log.place import LogPlace

if TYPE_CHECKING:
    from processors.runtimes.embedded import EmbeddedRuntime
    from processors.runtimes.work import Stored
    from processors.sinks.clickhouse import Store

RETRY_SECONDS = 10.0
STOP_SECONDS = 10.0


class PipelineThread:
    """Runs from its making until `close`. `clock` returns microseconds UTC; the store belongs to the caller."""

    def __init__(
        self,
        place: LogPlace,
        store: Store,
        data: DataDir,
        clock: Callable[[], int],
        log: structlog.stdlib.BoundLogger,
        stored: Stored | None = None,
    ) -> None:
        from processors.archive import Archive

        self._store, self._data, self._clock, self._log, self._stored = store, data, clock, log, stored
        self._event_log = place.open()
        self._archive = Archive(data.archive)
        self._failed = ""
        self._stop = threading.Event()
        self._runtime = self._new_runtime()
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self._thread.start()

    @property
    def status(self) -> dict[str, Any]:
        """The runtime's status, as plain values."""
        return self._runtime.status

    @property
    def problem(self) -> str:
        """What keeps batches from getting through, or nothing."""
        status = self.status
        return "" if status["ready"] else f"pipeline {status['state']}: {self._failed or status['last_error']}"

    @property
    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def ends(self) -> dict[int, int]:
        """Where each partition of the log ends now. Raises what the log raises."""
        return self._runtime.ends()

    def passed(self, ends: Mapping[int, int]) -> bool:
        """Whether everything before these ends is in store and archive."""
        return self._runtime.passed(ends)

    def behind(self) -> bool:
        """Whether the log has blocks that are not in the store; a log out of reach is not waited for."""
        try:
            return not self.passed(self.ends())
        except LogError as error:
            self._log.warning("the log is out of reach", error=str(error))
            return False

    def close(self) -> None:
        """Stop after the batch under way, and close what it opened."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)
        self._archive.close()
        self._event_log.close()

    def _new_runtime(self) -> EmbeddedRuntime:
        from processors.runtimes.embedded import EmbeddedRuntime

        return EmbeddedRuntime(self._event_log, self._store, self._archive, self._data.pipeline, self._clock, stored=self._stored)

    def _run(self) -> None:
        from processors.runtimes.embedded import PipelineError
        from processors.runtimes.state import StateError

        while not self._stop.is_set():
            try:
                self._runtime.run(self._stop)
                self._failed = ""
            except Exception as error:
                self._failed = str(error)
                if not isinstance(error, PipelineError | StateError):
                    self._log.exception("pipeline failed")
                self._stop.wait(RETRY_SECONDS)
                if not self._stop.is_set():
                    with contextlib.suppress(StateError):
                        self._runtime.close()
                        self._runtime = self._new_runtime()
        self._runtime.close()
