"""How the API is served: by uvicorn, with an end to what a client may take to say something.

uvicorn itself waits without end for a request's head, once it has its first byte, and for its body: some thousand connections
that say a byte now and then would take all of the process's sockets. A head, however it comes, is to be whole within
HEAD_SECONDS of the connection, or of the answer before; bodies have limits of their own (`bodies`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""A browser on the slowest line sends a few kilobytes in less."""


def config(app: FastAPI, stop_seconds: int) -> uvicorn.Config:
    """Return how to serve the app. No access log, for addresses hold searches; no header that a client chose is believed."""
    return uvicorn.Config(
        app,
        http=Patient,
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=stop_seconds,
    )


class Patient(H11Protocol):
    """One connection, closed when a request's head does not come."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._late is not None:
            self._late.cancel()

    @property
    def _answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        """Count from now, unless it is counted already, while no request is being answered."""
        if self._answering:
            if self._late is not None:
                self._late.cancel()
                self._late = None
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _too_late(self) -> None:
        self._late = None
        if not self._answering and not self.transport.is_closing():
            self.transport.close()
