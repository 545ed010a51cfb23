"""One listening address and the databases behind it."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from ingest.core.errors import IngestError
from ingest.net.connection import Connection
from ingest.protocols.postgres.startup import TlsMode
from schemas.config import ClientTlsMode, DatabaseSettings

if TYPE_CHECKING:
    from ingest.net.worker import Worker

_TLS_MODES: dict[ClientTlsMode, TlsMode] = {
    ClientTlsMode.OFF: "off",
    ClientTlsMode.ALLOW: "allow",
    ClientTlsMode.REQUIRE: "require",
}

BACKLOG = 1024
"""Connections the kernel keeps waiting: a fleet's reconnect after a restart comes all at once."""


class ListenError(IngestError):
    """An address cannot be listened on; the message names it, the setting and the remedy."""


class Listener:
    """Accepts connections on one address; several workers may listen on it at once (SO_REUSEPORT)."""

    def __init__(
        self, worker: Worker, address: str, databases: list[DatabaseSettings], tls_context: ssl.SSLContext | None
    ) -> None:
        self._worker = worker
        self.address = address
        self.databases = databases
        self.tls_mode: TlsMode = _TLS_MODES[databases[0].client_tls.mode]
        self.tls_context = tls_context if databases[0].client_tls.mode is not ClientTlsMode.OFF else None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start accepting; raise ListenError."""
        host, _, port = self.address.rpartition(":")
        host = host.strip("[]")
        try:
            self._server = await self._worker.loop.create_server(
                lambda: Connection(self._worker, self),
                host,
                int(port),
                reuse_port=self._worker.config.proxy.workers > 1,
                backlog=BACKLOG,
            )
        except (OSError, OverflowError) as error:
            raise ListenError(
                f"cannot listen on {self.address} for {self.databases[0].alias}: {getattr(error, 'strerror', '') or error}; "
                f"free the port or change databases.{self.databases[0].alias}.listen"
            ) from None

    def database(self, name: str) -> DatabaseSettings | None:
        """Return the database a client means by `name`: an alias first, then the real name if only one has it."""
        for settings in self.databases:
            if settings.alias == name:
                return settings
        real = [d for d in self.databases if d.upstream.database == name]
        return real[0] if len(real) == 1 else None

    def close(self) -> None:
        """Stop accepting; open connections go on."""
        if self._server is not None:
            self._server.close()
