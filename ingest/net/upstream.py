"""The proxy's own connection to a database: connect, encrypt, log in, and hand over a transport ready for queries."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from functools import lru_cache
from pathlib import Path

from ingest.core.errors import CertificateError, IngestError
from ingest.net.server_side import ServerSide
from ingest.net.tls import client_context, handshake_failure, peer_end_point_hash
from ingest.protocols.postgres import messages
from ingest.protocols.postgres.scram import ScramKeys
from ingest.protocols.postgres.upstream_login import LoginDone, LoginFailed, SendBytes, StartTls, UpstreamLogin
from schemas.config import ServerTlsMode, Upstream


class UpstreamError(IngestError):
    """The database cannot be reached or refuses the proxy's login. `sqlstate` is the server's, if it said one.

    `logged` is what may stand in the log: the server's own words can repeat what the client set in its startup packet.
    """

    def __init__(self, message: str, sqlstate: str = "", retry_without_tls: bool = False, logged: str = "") -> None:
        super().__init__(message)
        self.logged = logged or message
        self.sqlstate = sqlstate
        self.retry_without_tls = retry_without_tls


_ABOUT_OURSELVES = frozenset(("", "28", "3D", "53", "57"))
"""Classes of errors whose words are about what we are configured with or the server's state: these are logged in full."""


def read_password(upstream: Upstream) -> bytes | None:
    """Return the credential the configuration names; raise UpstreamError if it names one that is not there."""
    if upstream.password is not None:
        return upstream.password.get_secret_value().encode()
    if upstream.password_env is not None:
        value = os.environ.get(upstream.password_env)
        if value is None:
            raise UpstreamError(f"environment variable {upstream.password_env} (upstream.password_env) is not set")
        return value.encode()
    if upstream.password_file is not None:
        try:
            return upstream.password_file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise UpstreamError(f"cannot read {upstream.password_file} (upstream.password_file): {error.strerror}") from None
    return None


def socket_path(upstream: Upstream) -> Path | None:
    """Return the Unix socket's path, if the database is reached by one."""
    return upstream.socket_dir / f".s.PGSQL.{upstream.port}" if upstream.socket_dir else None


async def open_transport(upstream: Upstream) -> ServerSide:
    """Connect, unencrypted so far; raise UpstreamError with the address and the reason."""
    loop = asyncio.get_running_loop()
    path = socket_path(upstream)
    where = str(path) if path else f"{upstream.host}:{upstream.port}"
    try:
        async with asyncio.timeout(upstream.connect_timeout_seconds):
            if path is not None:
                _, side = await loop.create_unix_connection(ServerSide, str(path))
            else:
                _, side = await loop.create_connection(ServerSide, upstream.host, upstream.port)
    except TimeoutError:
        raise UpstreamError(f"database at {where} did not answer within {upstream.connect_timeout_seconds:g} s") from None
    except OSError as error:
        raise UpstreamError(f"database at {where} cannot be reached: {error.strerror or error}") from None
    return side


_context = lru_cache(maxsize=256)(client_context)
"""Contexts are made once per set of files (20 ms with the system's authorities): new files need a restart."""


async def _start_tls(side: ServerSide, upstream: Upstream) -> None:
    loop = asyncio.get_running_loop()
    assert side.transport is not None
    context = _context(upstream.tls, upstream.ca_file, upstream.cert_file, upstream.key_file)
    assert context is not None
    if side.leftover():  # came between "S" and here, in plain: it would be read as if it came encrypted (CVE-2021-23222)
        raise UpstreamError("received unencrypted data ahead of the TLS handshake; something between us may be injecting bytes")
    try:
        transport = await loop.start_tls(side.transport, side, context, server_hostname=upstream.host)
    except (OSError, ssl.SSLError) as error:
        words = handshake_failure(error, upstream.tls, f"{upstream.host}:{upstream.port}")
        raise UpstreamError(words, retry_without_tls=not isinstance(error, ssl.SSLCertVerificationError)) from None
    assert transport is not None
    side.transport = transport


def _end_point_hash(side: ServerSide) -> bytes | None:
    assert side.transport is not None
    tls = side.transport.get_extra_info("ssl_object")
    return peer_end_point_hash(tls) if tls is not None else None


async def log_in(
    upstream: Upstream, password: bytes | None, parameters: dict[str, str], minor: int, keys: ScramKeys
) -> tuple[ServerSide, LoginDone]:
    """Return a connection that is ready for queries; raise UpstreamError. Under `prefer`, TLS that fails is tried without."""
    try:
        return await _log_in(upstream, upstream.tls, password, parameters, minor, keys)
    except CertificateError as error:
        raise UpstreamError(str(error)) from None
    except UpstreamError as error:
        if upstream.tls is ServerTlsMode.PREFER and error.retry_without_tls:
            return await _log_in(upstream, ServerTlsMode.DISABLE, password, parameters, minor, keys)
        raise


async def _log_in(
    upstream: Upstream, tls: ServerTlsMode, password: bytes | None, parameters: dict[str, str], minor: int, keys: ScramKeys
) -> tuple[ServerSide, LoginDone]:
    side = await open_transport(upstream)
    assert side.transport is not None
    by_socket = upstream.socket_dir is not None
    login = UpstreamLogin(
        upstream.user,
        upstream.database,
        password,
        parameters,
        nonce=secrets.token_urlsafe(18),
        tls="disable" if by_socket else tls.value,
        minor=minor,
        end_point_hash=lambda: _end_point_hash(side),
        local=by_socket or upstream.host in ("127.0.0.1", "::1", "localhost"),
        keys=keys,
    )
    try:
        async with asyncio.timeout(upstream.connect_timeout_seconds):
            try:
                side.transport.write(login.start())
            except ValueError as error:  # it says how long the parameters are, not what they are
                raise UpstreamError(str(error), "08P01") from None
            while True:
                data = await side.early()
                if not data:
                    raise UpstreamError(f"the database at {upstream.host}:{upstream.port} closed the connection during login")
                for action in login.receive(data):
                    done = await _carry_out(action, side, login, upstream)
                    if done is not None:
                        return side, done
    except TimeoutError:
        side.transport.abort()
        raise UpstreamError(
            f"login to the database at {upstream.host}:{upstream.port} took over {upstream.connect_timeout_seconds:g} s"
        ) from None
    except BaseException:
        side.transport.abort()
        raise


async def _carry_out(action: object, side: ServerSide, login: UpstreamLogin, upstream: Upstream) -> LoginDone | None:
    match action:
        case SendBytes(data):
            assert side.transport is not None
            side.transport.write(data)
        case StartTls():
            await _start_tls(side, upstream)
            for later in login.tls_started():
                await _carry_out(later, side, login, upstream)
        case LoginDone():
            return action
        case LoginFailed():
            text = action.fields.get("M", b"").decode("utf-8", "replace")
            said = f"{action.reason}{': ' + text if text else ''}"
            own = action.sqlstate[:2] in _ABOUT_OURSELVES
            logged = said if own else f"{action.reason}: {action.sqlstate or 'no SQLSTATE'}"
            raise UpstreamError(said, action.sqlstate, action.try_without_tls, logged)
    return None


async def send_cancel(upstream: Upstream, pid: int, key: bytes, parameters_tls: bool) -> None:
    """Ask the server to cancel what a session runs; failures are the caller's to log."""
    side = await open_transport(upstream)
    assert side.transport is not None
    try:
        if parameters_tls:
            side.transport.write(messages.ssl_request())
            async with asyncio.timeout(upstream.connect_timeout_seconds):
                if await side.early() == b"S":
                    await _start_tls(side, upstream)
        assert side.transport is not None
        side.transport.write(messages.cancel_request(pid, key))
        async with asyncio.timeout(upstream.connect_timeout_seconds):
            while await side.early():
                pass
    finally:
        side.transport.close()
