"""How much more may be promised, and why nothing is: what is left in the files, of the limit, and until the sealer keeps up.

Every accepted intent has room reserved for itself, for being carried into the next segment and for its outcome, so an outcome
always fits; statements are refused before that promise would break, and accepted again as soon as it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from ingest.spool.keeper import Keeper
from ingest.spool.status import SealerState
from ingest.spool.write_ahead import WriteAhead

log = structlog.get_logger(__name__)

SLACK = 64 * 1024
"""Room kept beyond all promises: heads of segments, and events of the source itself while statements are refused."""

MAX_SEGMENT_BYTES = 256 * 1024 * 1024
"""The largest a segment is made when the events of open statements need more than `wal_segment_bytes`; then refuse."""

MAX_UNSEALED_BYTES = 128 * 1024 * 1024
"""Write-ahead bytes not in a block yet, some 300,000 statements; past it (no sealer, or the disk refuses blocks) nothing is
accepted. It bounds what the next start must hold in memory."""

SILENT_SECONDS = 5.0
"""A sealer that has not shown its state for so long is named in refusals."""


class Room:
    """The room of one spool, as last measured: bytes that all promises together may reach."""

    def __init__(self, directory: Path, limit: int, files: WriteAhead, keeper: Keeper, clock: Callable[[], int]) -> None:
        self._directory, self._limit, self._files, self._keeper, self._clock = directory, limit, files, keeper, clock
        self.left = 0
        """For statements; -1 while they are refused."""
        self.falls = False
        """Whether it gets less with what is written, and so is to be measured again soon."""
        self.refusal = ""
        """Why statements are refused."""
        self.write_problem = ""
        """Why the last commit failed."""
        self._at_all = 0
        self._far_gone = False

    def measure(self, need: int, statements: int, more: int = 0) -> SealerState:
        """Work it out anew for `more` bytes beside the `need` that is promised, `statements` being open; make the next segment
        now if that is what lacks. Returns what the sealer said."""
        need += max(more, SLACK) if self.refusal else more  # refusing goes on until there is more than a crumb
        files = self._files
        free, ahead = files.segment.free, files.ahead
        if max(free, ahead) < need + SLACK <= MAX_SEGMENT_BYTES and not self.write_problem:
            files.want(min(2 * (need + SLACK), MAX_SEGMENT_BYTES))
            ahead = files.ahead
        room = max(free, ahead) - SLACK
        self.falls = not ahead or ahead < free
        state = self._keeper.state()
        unsealed = files.unsealed(state.segment, state.offset)
        held = state.unacked_bytes + unsealed
        if self.write_problem:
            refusal = self.write_problem
        elif held >= self._limit:
            why = state.problem or state.ship_problem or "bring the log back, or raise the limit"
            refusal = (
                f"spool {self._directory} holds {held} bytes the log has not taken, "
                f"audit.spool_limit_bytes is {self._limit}: {why}"
            )
        elif unsealed > MAX_UNSEALED_BYTES:
            refusal = state.problem or f"spool {self._directory}: sealing is {unsealed} bytes behind; {self._why_behind(state)}"
        elif need + SLACK > MAX_SEGMENT_BYTES:
            refusal = (
                f"spool {self._directory}: {statements} statements are open at once and their events "
                f"would pass {MAX_SEGMENT_BYTES} bytes: wait for some to end"
            )
        elif need > room:
            refusal = files.problem or f"spool {self._directory} has no segment ready"
        else:
            refusal = ""
        if refusal and not self.refusal:
            log.error("spool refuses", directory=str(self._directory), reason=refusal)
        elif self.refusal and not refusal:
            log.info("spool accepts again", directory=str(self._directory))
        self._far_gone = bool(self.write_problem) or held >= self._limit + self._limit // 8 or unsealed > 2 * MAX_UNSEALED_BYTES
        self._at_all = room
        self.refusal = refusal
        self.left = -1 if refusal else room
        return state

    def takes_own(self, need: int) -> bool:
        """Whether one of the source's own events is taken, all promises with it being `need`: they get a little more room."""
        return need <= self._at_all + SLACK // 2 and not self._far_gone

    def _why_behind(self, state: SealerState) -> str:
        silent = (self._clock() - state.beat) / 1_000_000
        if silent < SILENT_SECONDS:
            return "machine or disk is too slow"
        return f"the sealer (process {self._keeper.pid or 'none'}) has said nothing for {silent:.0f} s: see its last messages"
