"""How does the proxy log in to the database in place of the client? The frontend's side, from SSLRequest to ReadyForQuery.

Sans-IO; the nonce comes in from outside. What the server demands is answered only where it is safe: no TLS downgrade
against the configured mode, no cleartext password over an open network, no AuthenticationOk in the middle of an exchange
whose server proof is missing, one authentication method per login.

    start() ─▶ SSLRequest ─ 'S' ─▶ StartTls ─ tls_started() ─▶ StartupMessage ─▶ authentication ─▶ settings ─▶ LoginDone
                          └ 'N' ─▶ (prefer) StartupMessage        any of them ─▶ LoginFailed
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from ingest.core.errors import AuthenticationError, ProtocolError, ServerProtocolError
from ingest.protocols.postgres import messages
from ingest.protocols.postgres.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramClient, ScramKeys

TlsMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

MAX_LOGIN_MESSAGE_BYTES = 64 * 1024  # servers send well under 2 KB in login; libpq refuses errors over 30,000 bytes
MAX_LOGIN_MESSAGES = 1_000  # about 20 are usual; a server that never gets ready is not one


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Send these bytes to the server."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartTls:
    """Begin the TLS handshake as client, then call `UpstreamLogin.tls_started`."""


@dataclass(frozen=True, slots=True)
class LoginDone:
    """The server is ready for queries. `parameter_status` values that are not UTF-8 keep their bytes as surrogate escapes.

    `pid` is 0 and `key` empty if the server gave none: such a session cannot be cancelled. `notices` are whole
    NoticeResponse messages to pass on. `leftover` are bytes that came after ReadyForQuery.
    """

    pid: int
    key: bytes = field(repr=False)
    parameter_status: dict[str, str]
    status: bytes
    minor: int
    tls_active: bool
    method: str
    notices: tuple[bytes, ...]
    leftover: bytes


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """Close the connection. `fields` are the server's ErrorResponse, empty if the proxy itself gave up; `reason` says why.

    `reason` holds no text of the server's (that is in `fields`), so it may be logged. `try_without_tls`: mode `prefer`,
    and a new connection with mode `disable` may do better.
    """

    reason: str
    fields: dict[str, bytes] = field(default_factory=dict)
    try_without_tls: bool = False

    @property
    def sqlstate(self) -> str:
        return self.fields.get("C", b"").decode("ascii", "replace")


LoginAction = SendBytes | StartTls | LoginDone | LoginFailed


class _State(Enum):
    NEW = auto()
    SSL_ANSWER = auto()
    TLS_HANDSHAKE = auto()
    AUTHENTICATION = auto()
    SETTINGS = auto()
    DONE = auto()
    FAILED = auto()


class UpstreamLogin:
    """State machine of one login to a server.

    `parameters` are the client's startup parameters; user, database and protocol options among them are replaced.
    `end_point_hash` gives, once TLS runs, the server certificate's tls-server-end-point hash, or None if it has none.
    `local`: the connection stays on this machine (Unix socket or loopback), so a cleartext password cannot be overheard.
    `nonce` is printable ASCII without commas, fresh for every login; `keys` may be shared by the logins of a process.
    """

    __slots__ = (
        "_buffer",
        "_database",
        "_end_point_hash",
        "_key",
        "_keys",
        "_local",
        "_messages_seen",
        "_method",
        "_minor",
        "_nonce",
        "_notices",
        "_parameter_status",
        "_parameters",
        "_password",
        "_pid",
        "_scram",
        "_state",
        "_tls",
        "_tls_active",
        "_user",
    )

    def __init__(
        self,
        user: str,
        database: str,
        password: bytes | None,
        parameters: Mapping[str, str],
        *,
        nonce: str,
        tls: TlsMode = "prefer",
        minor: int = 0,
        end_point_hash: Callable[[], bytes | None] = lambda: None,
        local: bool = False,
        keys: ScramKeys | None = None,
    ) -> None:
        self._user = user
        self._database = database
        self._password = password
        self._parameters = dict(parameters)
        self._nonce = nonce
        self._tls = tls
        self._minor = minor
        self._end_point_hash = end_point_hash
        self._local = local
        self._keys = keys
        self._state = _State.NEW
        self._tls_active = False
        self._buffer = messages.MessageBuffer(MAX_LOGIN_MESSAGE_BYTES, ServerProtocolError)
        self._messages_seen = 0
        self._method = ""
        self._scram: ScramClient | None = None
        self._pid = 0
        self._key = b""
        self._parameter_status: dict[str, str] = {}
        self._notices: list[bytes] = []

    def start(self) -> bytes:
        """The first bytes to send. Raises ValueError if the startup parameters do not fit a startup packet."""
        if self._state is not _State.NEW:
            raise RuntimeError("the login was started already")
        if self._tls == "disable":
            self._state = _State.AUTHENTICATION
            return self._startup_message()
        self._startup_message()  # fail now rather than after the handshake
        self._state = _State.SSL_ANSWER
        return messages.ssl_request()

    def tls_started(self) -> list[LoginAction]:
        """The TLS handshake, certificate checks included, succeeded."""
        if self._state is not _State.TLS_HANDSHAKE:
            raise RuntimeError("no TLS handshake was started")
        self._tls_active = True
        self._state = _State.AUTHENTICATION
        return [SendBytes(self._startup_message())]

    def receive(self, data: bytes) -> list[LoginAction]:
        """Bytes from the server. Never raises for what they hold."""
        if self._state is _State.TLS_HANDSHAKE:
            raise RuntimeError("bytes of the TLS handshake go to TLS; call tls_started when it is done")
        if self._state in (_State.NEW, _State.DONE):
            raise RuntimeError("no login is under way")
        if self._state is _State.FAILED or not data:
            return []
        actions: list[LoginAction] = []
        try:
            if self._state is _State.SSL_ANSWER:
                self._take_ssl_answer(data, actions)
            else:
                self._buffer.feed(data)
                self._take_messages(actions)
        except AuthenticationError as e:
            self._fail(actions, LoginFailed(str(e)))
        except ProtocolError as e:
            self._fail(actions, LoginFailed(f"the server broke the protocol while logging in: {e}"))
        return actions

    def _startup_message(self) -> bytes:
        kept = {k: v for k, v in self._parameters.items() if k not in ("user", "database") and not k.startswith("_pq_.")}
        return messages.startup_message({"user": self._user, "database": self._database, **kept}, self._minor)

    def _take_ssl_answer(self, data: bytes, actions: list[LoginAction]) -> None:
        answer = data[:1]
        if answer == b"S":
            if len(data) > 1:  # plain bytes that would be read as if they came encrypted: CVE-2021-23222
                raise ServerProtocolError(
                    "received unencrypted data after SSL response; something between us may be injecting bytes"
                )
            self._state = _State.TLS_HANDSHAKE
            actions.append(StartTls())
        elif answer == b"N":
            if self._tls != "prefer":
                self._fail(actions, LoginFailed(f"the server does not take TLS, and tls is {self._tls}: turn ssl on there"))
                return
            if len(data) > 1:
                raise ServerProtocolError("received data nobody asked for after SSL response")
            self._state = _State.AUTHENTICATION
            actions.append(SendBytes(self._startup_message()))
        elif answer == b"E":
            # Its text cannot be trusted, anybody on the way may have sent it: CVE-2024-10977.
            reason = "the server answered the request for TLS with an error (it may be too old, or not take connections now)"
            self._fail(actions, LoginFailed(reason, try_without_tls=self._tls == "prefer"))
        else:
            raise ServerProtocolError("received an invalid answer to SSLRequest; is this a PostgreSQL server?")

    def _take_messages(self, actions: list[LoginAction]) -> None:
        while self._state in (_State.AUTHENTICATION, _State.SETTINGS):
            allowed = b"RENv" if self._state is _State.AUTHENTICATION else b"SKZENv"
            cut = self._buffer.next(allowed)
            if cut is None:
                return
            self._messages_seen += 1
            if self._messages_seen > MAX_LOGIN_MESSAGES:
                raise ServerProtocolError(f"server sent more than {MAX_LOGIN_MESSAGES} messages and is still not ready")
            type_byte, body = cut
            match type_byte:
                case b"R":
                    self._take_authentication(body, actions)
                case b"S":
                    name, value = (part.decode("utf-8", "surrogateescape") for part in messages.parse_parameter_status(body))
                    self._parameter_status[name] = value
                case b"K":
                    self._pid, self._key = messages.parse_backend_key_data(body)
                case b"N":
                    messages.parse_error_fields(body)
                    self._notices.append(messages.message(b"N", body))
                case b"v":
                    self._take_negotiation(body)
                case b"E":
                    self._take_error(body, actions)
                case _:
                    self._take_ready(body, actions)

    def _take_error(self, body: bytes, actions: list[LoginAction]) -> None:
        fields = messages.parse_error_fields(body)
        self._fail(actions, LoginFailed("the server refused the login", fields))

    def _take_negotiation(self, body: bytes) -> None:
        minor, options = messages.parse_negotiate_protocol_version(body)
        if self._state is not _State.AUTHENTICATION or self._method:
            raise ServerProtocolError("NegotiateProtocolVersion came after authentication began")
        if minor > self._minor or (minor == self._minor and not options):
            raise ServerProtocolError(f"server answered protocol 3.{self._minor} with an offer of 3.{minor}")
        if options:
            raise ServerProtocolError("server refused protocol options nobody sent")
        self._minor = minor

    def _take_ready(self, body: bytes, actions: list[LoginAction]) -> None:
        status = messages.parse_ready_for_query(body)
        self._state = _State.DONE
        actions.append(
            LoginDone(
                self._pid,
                self._key,
                self._parameter_status,
                status,
                self._minor,
                self._tls_active,
                self._method or "trust",
                tuple(self._notices),
                self._buffer.take_rest(),
            )
        )

    # ---- authentication ------------------------------------------------------------------------------------------

    def _take_authentication(self, body: bytes, actions: list[LoginAction]) -> None:
        code, data = messages.parse_authentication(body)
        if code == messages.AUTHENTICATION_OK_CODE:
            if self._scram is not None and not self._scram.verified:
                raise AuthenticationError("the server ended SCRAM without proving itself; it is not the server it claims to be")
            self._state = _State.SETTINGS
        elif code == messages.AUTHENTICATION_SASL_CONTINUE_CODE and self._scram is not None:
            actions.append(SendBytes(messages.sasl_response(self._scram.client_final(data))))
        elif code == messages.AUTHENTICATION_SASL_FINAL_CODE and self._scram is not None:
            self._scram.verify_final(data)
        elif self._method:
            raise AuthenticationError("the server asked for a second authentication; one is made per login")
        elif code == messages.AUTHENTICATION_CLEARTEXT_PASSWORD_CODE:
            if not (self._tls_active or self._local):
                raise AuthenticationError(
                    "the server asks for the password in clear text over an unencrypted connection: "
                    "set tls to require or better, or password_encryption = scram-sha-256 at the server"
                )
            self._method = "password"
            actions.append(SendBytes(messages.password_message(self._known_password())))
        elif code == messages.AUTHENTICATION_MD5_PASSWORD_CODE:
            if len(data) != 4:
                raise ServerProtocolError("MD5 salt must have 4 bytes")
            self._method = "md5"
            actions.append(SendBytes(messages.password_message(md5_password(self._user, self._known_password(), data))))
        elif code == messages.AUTHENTICATION_SASL_CODE:
            self._start_sasl(data, actions)
        else:
            name = messages.AUTHENTICATION_NAMES.get(code, f"authentication method {code}")
            raise AuthenticationError(
                f"the server asks for {name}, which the proxy does not speak: use scram-sha-256 or cert in pg_hba.conf"
            )

    def _known_password(self) -> bytes:
        if not self._password:
            raise AuthenticationError("the server asks for a password, and none is configured for this database")
        if b"\0" in self._password:
            raise AuthenticationError("the configured password holds a zero byte, which no PostgreSQL password can")
        return self._password

    def _start_sasl(self, data: bytes, actions: list[LoginAction]) -> None:
        if not data.endswith(b"\0\0"):
            raise ServerProtocolError("list of SASL mechanisms is not terminated")
        offered = data[:-2].split(b"\0")
        hash_ = self._end_point_hash() if self._tls_active else None
        plus_offered = SCRAM_SHA_256_PLUS.encode() in offered
        if plus_offered and not self._tls_active:
            # Only a server inside TLS offers it; someone ends the server's TLS in between and relays in clear.
            raise AuthenticationError(
                "the server offers SCRAM-SHA-256-PLUS over an unencrypted connection: something relays its TLS in clear"
            )
        if plus_offered and hash_ is None and self._tls not in ("verify-ca", "verify-full"):
            # Whoever is in between could show such a certificate to avoid the binding and relay the exchange.
            raise AuthenticationError(
                "the server's certificate has no hash to bind SCRAM to (Ed25519?), and tls does not verify it: use verify-full"
            )
        plus = plus_offered and hash_ is not None
        if not plus and SCRAM_SHA_256.encode() not in offered:
            raise AuthenticationError(
                "the server offers no SASL mechanism that the proxy speaks (SCRAM-SHA-256, SCRAM-SHA-256-PLUS)"
            )
        self._scram = ScramClient(
            self._known_password(),
            self._nonce,
            plus=plus,
            could_bind=self._tls_active and not plus_offered,
            end_point_hash=hash_ or b"",
            keys=self._keys,
        )
        self._method = "scram-sha-256-plus" if plus else "scram-sha-256"
        actions.append(SendBytes(messages.sasl_initial_response(self._scram.mechanism, self._scram.client_first())))

    def _fail(self, actions: list[LoginAction], failed: LoginFailed) -> None:
        self._state = _State.FAILED
        self._buffer.take_rest()
        actions.append(failed)


def md5_password(user: str, password: bytes, salt: bytes) -> bytes:
    """What a PasswordMessage holds for MD5: "md5" and md5(md5(password + user) + salt) in hexadecimal."""
    inner = hashlib.md5(password + user.encode("utf-8"), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode("ascii") + salt, usedforsecurity=False).hexdigest().encode("ascii")
