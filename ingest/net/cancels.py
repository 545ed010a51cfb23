"""CancelRequests of one worker: from a client to the worker that issued the key, from there to the server with its own key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ingest.core.errors import IngestError
from ingest.net.cancel import CancelKeys
from ingest.net.upstream import send_cancel
from ingest.protocols.postgres import messages
from schemas.config import Upstream
from schemas.local_socket import address_of


class Cancels:
    """What is asked of worker `index` of `workers`; each of several has a socket in `folder` that the others hand requests to.

    `refused` hears of requests whose key is not the session's, with the client's address, which is empty from another worker.
    """

    def __init__(
        self,
        index: int,
        workers: int,
        folder: Path,
        keys: CancelKeys,
        loop: asyncio.AbstractEventLoop,
        log: Any,
        refused: Callable[[str], None],
    ) -> None:
        self.keys = keys
        self._index, self._workers, self._folder, self._loop, self._log = index, workers, folder, loop, log
        self._refused = refused
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen for what other workers hand over, where there are others."""
        if self._workers < 2:
            return
        path = self._path(self._index)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        with address_of(path) as address:
            self._server = await asyncio.start_unix_server(self._take, address)
        path.chmod(0o600)

    def close(self) -> None:
        """Take nothing more from other workers."""
        if self._server is not None:
            self._server.close()

    def asked(self, pid: int, key: bytes, host: str = "") -> None:
        """A CancelRequest arrived from `host`: carry it out, or hand it to the worker that issued the key."""
        owner = self.keys.owner(pid)
        if owner == self._index:
            if not self.keys.request(pid, key):
                self._refused(host)
        elif 0 <= owner < self._workers:
            self._spawn(self._hand_over(owner, pid, key))

    def upstream(self, upstream: Upstream, pid: int, key: bytes, tls: bool, done: Callable[[], None] | None = None) -> None:
        """Send the server its own key; `done` is called when it has it, or cannot be told."""
        if pid:
            self._spawn(self._send(upstream, pid, key, tls, done))
        elif done is not None:
            done()

    async def _send(self, upstream: Upstream, pid: int, key: bytes, tls: bool, done: Callable[[], None] | None) -> None:
        try:
            await send_cancel(upstream, pid, key, tls)
        except (IngestError, TimeoutError, OSError) as error:
            self._log.warning("cancel_failed", reason=str(error))
        finally:
            if done is not None:
                done()

    def _path(self, index: int) -> Path:
        return self._folder / f"cancel-{index}.sock"

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            packet = messages.parse_startup_packet(await reader.read(messages.MAX_STARTUP_PACKET_BYTES))
            if isinstance(packet, messages.CancelRequest) and not self.keys.request(packet.pid, packet.key):
                self._refused("")
        except (IngestError, OSError) as error:
            self._log.warning("cancel_failed", reason=str(error))
        finally:
            writer.close()

    async def _hand_over(self, owner: int, pid: int, key: bytes) -> None:
        try:
            with address_of(self._path(owner)) as address:
                _, writer = await asyncio.open_unix_connection(address)
            writer.write(messages.cancel_request(pid, key))
            await writer.drain()
            writer.close()
        except OSError as error:
            self._log.warning("cancel_failed", reason=str(error))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
