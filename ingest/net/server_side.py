"""The server's end of a connection, as the event loop knows it: first collects for the login, then passes everything on.

A module of its own so that `make compiled` can compile it: it is called for each answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class ServerSide(asyncio.Protocol):
    """The transport's protocol: first collects for the login, then passes everything to the connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.on_data: Callable[[bytes], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.on_pause: Callable[[bool], None] | None = None
        self._early: asyncio.Queue[bytes] = asyncio.Queue()
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.on_data is not None:
            self.on_data(data)
        else:
            self._early.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self.on_lost is not None:
            self.on_lost()
        else:
            self._early.put_nowait(b"")

    def pause_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(True)

    def resume_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(False)

    async def early(self) -> bytes:
        """Return the next bytes of the login; empty when the server is gone."""
        return b"" if self._lost and self._early.empty() else await self._early.get()

    def leftover(self) -> bytes:
        """Bytes that arrived after the login's last and before `on_data` was set."""
        parts = []
        while not self._early.empty():
            parts.append(self._early.get_nowait())
        return b"".join(parts)
