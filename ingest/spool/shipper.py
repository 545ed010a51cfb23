"""Takes sealed blocks to the log: in order, again and again until the log has them, at least once.

A crash between append and acknowledgement sends a block twice; readers drop repeats of the same block by source and number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Protocol

import structlog

from ingest.spool.blocks import BlockStore
from ingest.spool.errors import SpoolError
from schemas.latencies import Latencies
from schemas.log import Log, LogError, LogUnavailableError, NewRecord
from schemas.topics import EVENTS

log = structlog.get_logger(__name__)

MAX_BLOCKS = 32
"""Blocks per append: enough to catch up fast, few enough that one append stays short."""

MAX_BYTES = 4 * 1024 * 1024
"""Bodies per append, for the same reason, and the bound on what the shipper holds in memory."""

FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.05, 5.0


class Ships(Protocol):
    """What blocks are taken from: a spool that seals in this process, or a sealer."""

    @property
    def source(self) -> str:
        """Whose blocks they are."""

    @property
    def durable(self) -> bool:
        """Whether blocks must be on disk before the log gets them."""

    @property
    def blocks(self) -> BlockStore:
        """The blocks."""


class Shipper(Thread):
    """Ships one spool to one log until stopped, each block as it is sealed.

    `last_latency_us` is from sealing to acknowledgement, of the newest block.
    """

    def __init__(
        self,
        spool: Ships,
        log: Log,
        clock: Callable[[], int],
        poll_seconds: float = 1.0,
        latencies: Latencies | None = None,
    ) -> None:
        super().__init__(name=f"shipper {spool.source}", daemon=True)
        self.latencies = latencies or Latencies()
        self.blocks_shipped = self.failures = self.last_latency_us = 0
        self.problem = ""
        self._spool, self._log, self._clock, self._poll = spool, log, clock, poll_seconds
        self._ending = Event()

    def run(self) -> None:
        """Ship until `stop`."""
        wait = FIRST_WAIT_SECONDS
        while True:
            news = self._spool.blocks.news
            news.clear()
            if self._ending.is_set():  # not before: `stop` sets both, this one first
                break
            try:
                shipped = self.step()
            except LogUnavailableError as error:
                self._note(error)
                self._ending.wait(wait)
                wait = min(wait * 2, LAST_WAIT_SECONDS)
                continue
            except (LogError, SpoolError, OSError) as error:
                self._note(error)
                self._ending.wait(LAST_WAIT_SECONDS)
                continue
            wait = FIRST_WAIT_SECONDS
            if not shipped:
                news.wait(self._poll)

    def step(self) -> int:
        """Ship the oldest blocks once; return how many. Raises LogError, SpoolError, OSError with nothing acknowledged."""
        blocks = self._spool.blocks.oldest_compressed(MAX_BLOCKS, MAX_BYTES)
        if not blocks:
            return 0
        if self._spool.durable:
            self._spool.blocks.sync()
        key = self._spool.source.encode()
        self._log.append(EVENTS.name, [NewRecord(key, block.body, block.log_headers(), zstd) for block, zstd in blocks])
        newest = blocks[-1][0].header
        self._spool.blocks.ack(newest)
        self.blocks_shipped += len(blocks)
        now = self._clock()
        self.last_latency_us = max(0, now - newest.sealed_at)
        for block, _ in blocks:
            self.latencies.observe(now - block.header.sealed_at)
        if self.problem:
            log.info("log takes blocks again", source=self._spool.source)
            self.problem = ""
        return len(blocks)

    def stop(self, drain_seconds: float = 0.0) -> bool:
        """Stop, and the log with it; first try for `drain_seconds` to ship what is left. Return whether nothing is left."""
        deadline = time.monotonic() + drain_seconds
        while self.is_alive() and self._spool.blocks.unacked_blocks and time.monotonic() < deadline:
            self._ending.wait(0.005)
        self._ending.set()
        self._spool.blocks.news.set()
        self._log.interrupt()  # brokers that are away would be waited for
        if self.is_alive():
            self.join()
        return self._spool.blocks.unacked_blocks == 0

    def _note(self, error: Exception) -> None:
        self.failures += 1
        if str(error) != self.problem:
            log.warning("blocks wait for the log", source=self._spool.source, error=str(error))
        self.problem = str(error)
