"""One client's way in, from its first byte until both logins have succeeded: startup, TLS, who it is, whether it may be here.

What it sends ahead is kept, within a limit, for the session that begins then. Each refusal is told to the client and is an event.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ingest.identity.tokens import Credential, TokenStoreError
from ingest.net.described import Described
from ingest.net.logins import LoginRefusedError
from ingest.net.upstream import UpstreamError, log_in
from ingest.protocols.postgres import messages
from ingest.protocols.postgres.startup import (
    CancelRequested,
    ClientStartup,
    Fail,
    LoginRequested,
    ReplyBytes,
    StartTls,
    StartupAction,
)
from schemas.config import DatabaseSettings
from schemas.events import Client

if TYPE_CHECKING:
    from ingest.net.connection import Connection
    from ingest.net.listener import Listener
    from ingest.net.worker import Worker

EARLY_LIMIT: Final = 256 * 1024
"""Bytes a client may send ahead while its login is still under way."""
WRITE_HIGH_WATER: Final = 256 * 1024
"""Bytes buffered towards a slow reader before its peer is paused; a thousand of them must fit in memory."""


class Arrival:
    """The login of one connection, which it ends by `join` or `close` of that."""

    def __init__(self, connection: Connection, worker: Worker, listener: Listener) -> None:
        self._connection = connection
        self._worker = worker
        self._listener = listener
        self._startup = ClientStartup(listener.tls_mode)
        self._early = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.Future[None] | None = None
        self._encrypting = False
        self.address = ""

    def begin(self, transport: asyncio.Transport) -> None:
        """Take a client that has just connected, if there is room for it."""
        peer = transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"
        if not self._worker.admit(self._connection):
            self.refuse("53300", "too many connections to this proxy", "too_many_connections")
            return
        self._timer = self._worker.loop.call_later(self._worker.config.proxy.login_timeout_seconds, self._login_too_slow)

    def receive(self, data: bytes) -> None:
        """Take what the client sends before its session begins."""
        if not self._startup.finished:
            self._start(self._startup.receive(data))
        elif len(self._early) + len(data) > EARLY_LIMIT:
            self.refuse("08P01", "too many bytes were sent ahead of the end of the login", "early_data")
        else:
            self._early += data

    def done(self) -> bytes:
        """End it and return what was sent ahead."""
        self.stop()
        return bytes(self._startup.take_leftover()) + bytes(self._early)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._go_on()

    def _go_on(self) -> None:
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    def _start(self, actions: Sequence[StartupAction]) -> None:
        for action in actions:
            match action:
                case ReplyBytes(data):
                    self._connection.write_client(data)
                case StartTls(received, direct):
                    if direct or received:
                        self.refuse(
                            "0A000", "direct TLS is not offered here; use sslnegotiation=postgres", "direct_tls", reply=False
                        )
                        return
                    self._task = self._worker.loop.create_task(self._encrypt())
                case CancelRequested(pid, key):
                    self._worker.cancels.asked(pid, key, self._host)
                    self._connection.close("cancel_request")
                case LoginRequested():
                    self._task = self._worker.loop.create_task(self._log_in(action))
                case Fail(error_response, reason):
                    self._connection.write_client(error_response)
                    self._note_refusal(reason, kind="startup_failed")
                    self._connection.close("startup_failed")

    async def _encrypt(self) -> None:
        client = self._connection.client
        assert client is not None
        context = self._listener.tls_context
        assert context is not None
        self._encrypting = True
        try:
            transport = await self._worker.loop.start_tls(
                client,
                self._connection,
                context,
                server_side=True,
                ssl_handshake_timeout=self._worker.config.proxy.login_timeout_seconds,
            )
        except (OSError, ssl.SSLError):
            self._note_refusal("tls_handshake_failed")
            self._connection.close("tls_handshake_failed")
            return
        assert transport is not None
        self._encrypting = False
        self._connection.client = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        tls = transport.get_extra_info("ssl_object")
        self._start(self._startup.tls_started(tls.selected_alpn_protocol() if tls else None, bool(self._certificate())))

    def _certificate(self) -> bytes:
        """The client's certificate, which TLS has verified where it was asked for; empty if there is none."""
        tls = self._connection.tls()
        if tls is None or self._listener.databases[0].client_tls.client_ca_file is None:
            return b""
        return tls.getpeercert(binary_form=True) or b""

    async def _log_in(self, asked: LoginRequested) -> None:
        try:
            credential = await self._authenticate(asked)
        except Exception as error:
            # Whatever went wrong, the client is told and the event is written; its text may hold what the client sent.
            self._worker.log.error("login_failed", error=type(error).__name__, client=self.address)
            self.refuse("58000", "the login failed for a reason within the proxy", "internal_error", claimed=asked)
            return
        if credential is None or not self._connection.open:
            return
        database = self._listener.database(asked.database)
        if database is None:
            known = ", ".join(sorted(d.alias for d in self._listener.databases))
            words = f'no database "{asked.database}" here; this address serves: {known}'
            self.refuse("3D000", words, "unknown_database", claimed=asked)
            return
        if asked.user not in (credential.principal_id, database.upstream.user):
            self.refuse("28000", "the user must be the token's principal or the database user", "wrong_user", claimed=asked)
            return
        if asked.replication and not database.allow_replication:
            self.refuse(
                "42501", f"replication is not allowed through this proxy for {database.alias}", "replication", claimed=asked
            )
            return
        try:
            await self._join(asked, credential, database)
        except Exception as error:
            # Whatever went wrong, the client is told and the event is written; its text may hold what the client sent.
            self._worker.log.error("login_failed", database=database.alias, error=type(error).__name__, client=self.address)
            self.refuse("58000", "the login failed for a reason within the proxy", "internal_error", claimed=asked)

    async def _join(self, asked: LoginRequested, credential: Credential, database: DatabaseSettings) -> None:
        """Log in to the database and join the sides, or tell the client why not."""
        try:
            password = self._worker.password(database)
            watch = self._worker.catalogue(database)
            if watch is not None:
                await watch.ready()
            began = time.monotonic()
            side, done = await log_in(database.upstream, password, asked.parameters, asked.minor, self._worker.scram_keys)
            self._worker.counted.upstream_logins.observe(int((time.monotonic() - began) * 1e6))
        except UpstreamError as error:
            said = {"database": database.alias, "reason": error.logged, "client": self.address}
            self._worker.log.warning("upstream_login_failed", **said)
            self.refuse(error.sqlstate or "08001", f"{database.alias}: {error}", "upstream", claimed=asked)
            return
        if not self._connection.open:
            assert side.transport is not None
            side.transport.write(messages.terminate())
            side.transport.close()
            return
        self._connection.join(asked, credential, database, side, done)

    async def _authenticate(self, asked: LoginRequested) -> Credential | None:
        worker, certificate = self._worker, self._certificate()
        try:
            if certificate:
                credential = worker.logins.by_certificate(certificate, self._listener.databases[0])
            else:
                credential = await worker.logins.by_password(asked.password, worker.clock())
        except TokenStoreError as error:
            worker.log.error("token_store", reason=str(error))
            self.refuse("58000", "logins are not possible: the identity store cannot be read", "token_store", claimed=asked)
            return None
        except LoginRefusedError as refused:
            if refused.sqlstate == "28P01" and not await self._waited(refused.reason):
                return None
            text = f'authentication failed for user "{asked.user}": {refused}'
            self.refuse(refused.sqlstate, text, refused.reason, hint=worker.logins.hint, claimed=asked)
            return None
        worker.arriving.pop(self._connection, None)  # from here on nobody takes its place
        return credential if await self._may_be_here(credential, asked) else None

    async def _waited(self, reason: str) -> bool:
        """Have a failed login wait for its refusal, as others of its address failed; return whether it is then to be told.

        Where nobody waits for that, or too many do, it is counted, and told in the trail together with others.
        """
        worker, host = self._worker, self._host
        seconds = worker.throttle.wait(host, worker.clock())
        worker.throttle.failed(host, worker.clock())
        if not seconds:
            return True
        if worker.throttle.enter(host):
            self._pause = pause = worker.loop.create_future()
            timer = worker.loop.call_later(seconds, self._go_on)
            try:
                await pause
            finally:
                timer.cancel()
                worker.throttle.leave(host)
            if self._connection.open:
                return True
        worker.counted.logins_refused[reason] += 1
        worker.refusals.counted(host, reason)
        if self._connection.open:
            self._connection.write_client(messages.fatal("53300", "too many logins from this address wait already"))
            self._connection.close("login_refused")
        return False

    @property
    def _host(self) -> str:
        return self.address.rpartition(":")[0]

    async def _may_be_here(self, credential: Credential, asked: LoginRequested) -> bool:
        sanctions = self._worker.sanctions
        if problem := await sanctions.unknown():
            text = f"logins are not possible: who is suspended cannot be told: {problem}"
            self.refuse("58000", text, "control_unknown", claimed=asked)
            return False
        # From here until the session's end the control topic's news reach this connection.
        self._connection.credential = credential
        if by := sanctions.suspended(credential):
            self.refuse("28000", f"{by} is suspended", "suspended", claimed=asked)
            return False
        if grant := sanctions.ended_grant(credential):
            text = f"grant {grant}, which this token depends on, is not in force"
            self.refuse("28000", text, "grant_ended", claimed=asked)
            return False
        return True

    def client_described(self, asked: LoginRequested) -> Client:
        """Return the client as events describe it."""
        tls = self._connection.tls()
        return Client(
            address=self.address,
            application=asked.parameters.get("application_name", "")[:64],
            driver="",
            tls=(tls.version() or "") if tls else "",
        )

    def _login_too_slow(self) -> None:
        self._note_refusal("login_timeout")
        self._connection.close("login_timeout")

    def refuse(
        self,
        sqlstate: str,
        text: str,
        reason: str,
        *,
        hint: str = "",
        claimed: LoginRequested | None = None,
        reply: bool = True,
    ) -> None:
        """Refuse the login: note it in the trail, tell the client, close."""
        self._note_refusal(reason, claimed)
        if reply and not self._encrypting:
            self._connection.write_client(messages.fatal(sqlstate, text, hint=hint))
        self._connection.close("login_refused")

    def _note_refusal(self, reason: str, asked: LoginRequested | None = None, kind: str = "") -> None:
        """Note a refusal in the trail; `kind` is one of few words where `reason` may hold numbers that a client chose."""
        worker, kind = self._worker, kind or reason
        worker.counted.logins_refused[kind] += 1
        if asked is None and not worker.refusals.own(self._host, kind, worker.clock()):
            return
        client = self.client_described(asked) if asked else Client(address=self.address)
        user, database = (self._known(asked.user), self._known(asked.database)) if asked else ("", "")
        body = Described.failed(user, database, client, reason)
        event_id = self._worker.note("AuthenticationFailed", self._worker.clock(), body)
        self._worker.log.info("login_refused", reason=reason, client=self.address, event_id=event_id)

    def _known(self, name: str) -> str:
        """A name of a refused login as it may stand in the trail: known ones as they are, others as a token."""
        if not name or any(name in (d.alias, d.upstream.database, d.upstream.user) for d in self._listener.databases):
            return name
        try:
            if self._worker.tokens.knows(name):
                return name
        except TokenStoreError as error:
            self._worker.log.error("token_store", reason=str(error))
        return self._worker.tokenizer.token("name", name.encode())
