"""When may bytes leave for the database? Only after the intents before them are in the spool (invariant 1).

A statement that is alone is committed at once. While others are under way, more are likely to be read in the same turn of the
event loop: connections then mark themselves, and at the turn's end one commit makes all their intents durable and lets all of
them go. With durability `fsync` the release waits for fdatasync in a thread, and what arrives meanwhile joins the next group.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ingest.spool import Spool, SpoolError
from schemas.config import Durability

LAZY_SECONDS = 0.002
"""How long an outcome may wait in memory: a proxy killed within it leaves that outcome `unknown`, never unrecorded."""


TOGETHER = 2
"""Statements under way from which on a commit waits for the end of the turn."""


class Gated(Protocol):
    """A connection with forwards that wait for a commit."""

    def committed(self) -> None:
        """The intents are written, and about to be put on disk: only what has them by now is released after it."""

    def release(self) -> None:
        """The intents are durable: send."""

    def refuse(self, reason: str) -> None:
        """They could not be written: nothing may be sent."""


class Gate:
    """Groups commits of one worker."""

    def __init__(self, spool: Spool, durability: Durability, loop: asyncio.AbstractEventLoop) -> None:
        self._spool = spool
        self._fsync = durability is Durability.FSYNC
        self._loop = loop
        self._waiting: list[Gated] = []
        self._scheduled = False
        self._syncing = False
        self._lazy: asyncio.TimerHandle | None = None

    def wait(self, connection: Gated) -> bool:
        """Return whether this connection may send now. If not, it is told, once: by `release` or `refuse`, after the commit."""
        if not self._fsync and self._spool.open_statements < TOGETHER:
            try:
                self._spool.commit()
            except SpoolError as error:
                connection.refuse(str(error))
                return False
            return True
        self._waiting.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._commit)
        return False

    def touch(self) -> None:
        """Commit what was recorded soon, though nobody waits for it: with the next statement, or after LAZY_SECONDS."""
        if not self._scheduled and self._lazy is None:
            self._lazy = self._loop.call_later(LAZY_SECONDS, self._commit_lazily)

    def _commit_lazily(self) -> None:
        self._lazy = None
        self._commit()

    def _commit(self) -> None:
        self._scheduled = False
        if self._syncing:
            return
        waiting, self._waiting = self._waiting, []
        try:
            self._spool.commit()
        except SpoolError as error:
            for connection in waiting:
                connection.refuse(str(error))
            return
        if self._fsync:
            if waiting:
                for connection in waiting:
                    connection.committed()
                self._syncing = True
                future = self._loop.run_in_executor(None, self._spool.sync)
                future.add_done_callback(lambda done: self._synced(done, waiting))
            return
        for connection in waiting:
            connection.release()

    def _synced(self, done: asyncio.Future[None], waiting: list[Gated]) -> None:
        self._syncing = False
        error = done.exception()
        for connection in waiting:
            if error is None:
                connection.release()
            else:
                connection.refuse(str(error))
        if self._waiting:
            self._commit()
