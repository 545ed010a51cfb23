"""The sealer's process: `python -m ingest.spool.sealer`, started by a spool's writer and by nobody else.

Its standard input is a pipe from the writer: its order is the first line, `flush` and `end MILLISECONDS` are said later, and
its end is the writer's end, however that came. Then what is whole in the write-ahead files is sealed and shipped for a bounded
time; open statements are left to the next `Spool.open`, which waits for this process. Signals to the group (Ctrl-C, a
container's stop) are for the writer.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from ingest.spool.errors import SpoolError
from ingest.spool.lock import sign
from ingest.spool.sealing import Sealer, SealRules
from ingest.spool.shipper import Shipper
from ingest.spool.signing import load_or_create_signer
from ingest.spool.status import SealerState, StatusPage
from schemas.log import Log, LogError
from schemas.log.place import LogPlace

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

POLL_US = 100_000
"""How often the write-ahead file is looked at, at most: what a line that comes alone waits for, and a busy sealer's batch. A look
costs about 0.3 ms where two cores are busy, however little it finds, and so many at once cost less than one after the other."""

LEAST_US = 15_000
"""How long it rests at least: what is due may not be possible, with a full disk."""

LOG_RETRY_SECONDS = 5.0
"""How often a log that cannot be opened is tried again; blocks stay in the spool meanwhile."""

ORPHAN_SHIP_SECONDS = 2.0
"""How long the sealer of a writer that died ships; the writer's successor waits for that."""


LEAVE_SECONDS = 4.0
"""How long the log's client may take to end after that. One that hangs would keep the next writer from starting: then a timer of
the kernel's ends the process, which loses nothing. Less than a writer that stops in order waits (`keeper.STOP_SECONDS`)."""


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class Writer:
    """The pipe from the writer. `gone` once it closed; `ship_seconds` is how long it wants what is left shipped."""

    def __init__(self) -> None:
        self.gone = False
        self.ship_seconds = -1.0
        self._said = b""

    def order(self) -> dict[str, Any] | None:
        """Wait for the order and return it; None if the writer ended before it was said."""
        while b"\n" not in self._said:
            heard = os.read(0, 65536)
            if not heard:
                return None
            self._said += heard
        line, _, self._said = self._said.partition(b"\n")
        found: dict[str, Any] = orjson.loads(line)
        return found

    def listen(self, seconds: float) -> bool:
        """Wait for a word for so long; return whether everything is to be sealed."""
        if not select.select([0], [], [], seconds)[0]:
            return False
        heard = os.read(0, 65536)
        self.gone = not heard
        *words, self._said = (self._said + heard).split(b"\n")
        for word in words:
            if word.startswith(b"end "):
                self.ship_seconds = int(word[4:]) / 1000
        return b"flush" in words


class Process:
    """Seals and ships one spool until its writer is gone."""

    def __init__(self, order: dict[str, Any], writer: Writer, page: StatusPage, clock: Callable[[], int]) -> None:
        self._order, self._page, self._clock = order, page, clock
        self._signer = load_or_create_signer(Path(order["keys"]), order["source"]) if order["keys"] else None
        self._sealer = Sealer(
            Path(order["directory"]),
            order["source"],
            SealRules(**order["rules"]),
            self._signer,
            before=page.read(),
        )
        self._place = LogPlace.from_wire(order["log"])
        self._log: Log | None = None
        self._shipper: Shipper | None = None
        self._log_at, self._log_problem = 0.0, ""
        self._writer = writer
        self._poll_us = min(POLL_US, self._sealer.interval_us // 2)

    def run(self) -> None:
        """Work until the writer is gone, then finish."""
        flush = False
        while not self._writer.gone:
            self._open_log()
            now = self._clock()
            self._sealer.step(now, flush)
            self._show(now)
            flush = self._writer.listen(max(LEAST_US, self._sealer.rest(now, self._poll_us)) / 1e6)
        while self._sealer.step(self._clock(), flush=True):
            pass
        self._show(self._clock())
        self._drain()
        self._show(self._clock())
        if self._log is not None:
            self._log.close()
        self._sealer.close()

    def _open_log(self) -> None:
        if self._log is not None or time.monotonic() < self._log_at:
            return
        try:
            self._log = self._place.open()
        except LogError as error:
            if str(error) != self._log_problem:
                structlog.get_logger(__name__).error("log cannot be opened", error=str(error))
            self._log_problem = str(error)
            self._log_at = time.monotonic() + LOG_RETRY_SECONDS
            return
        self._log_problem = ""
        self._shipper = Shipper(self._sealer, self._log, self._clock, latencies=self._sealer.shipments)
        self._shipper.start()

    def _drain(self) -> None:
        """Ship what is left for as long as the writer said; if it died, only while the log takes it without trouble."""
        orphaned = self._writer.ship_seconds < 0
        seconds = ORPHAN_SHIP_SECONDS if orphaned else self._writer.ship_seconds
        deadline = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, seconds + LEAVE_SECONDS)  # SIGALRM's default ends us, whatever holds the interpreter
        shipper = self._shipper
        if shipper is None:
            return
        while self._sealer.blocks.unacked_blocks and time.monotonic() < deadline and not (orphaned and shipper.problem):
            time.sleep(0.005)
        shipper.stop()

    def _show(self, now: int) -> None:
        shipper = self._shipper
        if shipper is None:
            self._page.write(self._sealer.state(now, 0, 0, self._log_problem))
        else:
            self._page.write(self._sealer.state(now, shipper.failures, shipper.last_latency_us, shipper.problem))


def _rendering() -> list[Any]:
    """Lines look as `deploy.logs` says for all our processes."""
    said = os.environ.get("AFFIDAVIT_LOGS")
    if said == "text" or (said != "json" and sys.stderr.isatty()):
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [_named, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _named(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("process", "sealer")
    return event


def main() -> int:
    """Run; problems that end it are told in the page and on standard error."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    writer = Writer()
    order = writer.order()
    if order is None:
        return 0
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_rendering(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    page = StatusPage(order["page"])
    try:
        sign(order["lock"])
        Process(order, writer, page, now_us).run()
    except (SpoolError, OSError) as error:
        structlog.get_logger(__name__).error("sealer cannot go on", directory=order["directory"], error=str(error))
        before = page.read()
        page.write(
            SealerState(
                now_us(),
                before.sealed_seq,
                before.segment,
                before.offset,
                before.number,
                before.blocks_sealed,
                before.blocks_acked,
                before.unacked_blocks,
                before.unacked_bytes,
                block_id=before.block_id,
                problem=str(error),
                seals=before.seals,
                shipments=before.shipments,
            )
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
