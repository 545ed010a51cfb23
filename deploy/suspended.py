"""Who is suspended, for the API: the control topic is followed on a loop of its own, as proxies do, and asked from any thread.

Suspensions reach the dashboard as fast as they reach open sessions of the databases. While the topic could not be read even once
since the start, or for longer than `identity.max_control_stale_seconds`, nobody is let in but whoever holds this machine's own
token (`run/local.token`): who is suspended cannot be told. A topic that was lost ends no suspension here: what was read is on
record (`control_record`), and is said again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from deploy.control_record import ControlRecord
from ingest.net.control import Change, Control
from query_api.identity import UntoldError
from schemas.control_keys import ControlTrust
from schemas.log import Log
from schemas.suspensions import Suspensions

STOP_SECONDS = 5.0


class Suspended:
    """Follows the topic until `close`. `open_log` opens a log of its own; `clock` is µs UTC."""

    def __init__(
        self,
        open_log: Callable[[], Log],
        clock: Callable[[], int],
        trust: ControlTrust,
        max_stale_seconds: float,
        local: str,
        record: ControlRecord,
        lost: Callable[[], None],
    ) -> None:
        """`local` is the principal of this machine's own token. `lost` is called where the topic is another than it was."""
        self._clock, self._max_stale, self._local = clock, max_stale_seconds, local
        self._record, self._lost = record, lost
        self._lock = threading.Lock()
        self._suspensions = Suspensions()
        for message in record.holding(clock()):
            self._suspensions.take(message.key, message)
        self._loop = asyncio.new_event_loop()
        self._control = Control(open_log, self._loop, clock, trust)
        self._control.subscribe(self._heard)
        self._thread = threading.Thread(target=self._loop.run_forever, name="suspensions", daemon=True)
        self._thread.start()
        self._control.start()

    @property
    def problem(self) -> str:
        """Why it cannot be told who is suspended; empty if it can."""
        if self._control.stale_seconds <= self._max_stale:
            return ""
        return self._control.problem or "the control topic was not read yet"

    def barring(self, names: Sequence[str]) -> str:
        """Return the first of these names that is suspended, empty if none is. Raises UntoldError where it cannot be told."""
        with self._lock:
            if by := self._suspensions.barring(names, self._clock()):
                return by
        if names != (self._local,) and (problem := self.problem):
            raise UntoldError(f"Who is suspended cannot be told: {problem}.")
        return ""

    def close(self) -> None:
        """Stop following."""
        self._control.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _heard(self, change: Change) -> None:
        if change.message is None:  # forgotten by the topic, which is another now; not by us
            self._lost()
            return
        with self._lock:
            self._suspensions.take(change.key, change.message)
        self._record.keep(change.message)
