"""What does a client want before it may run statements? The client's side of a connection until its password is in.

Encryption negotiation (SSLRequest, GSSENCRequest, direct TLS), CancelRequest, protocol 3.0 to 3.2 negotiation and the
password message, as `ProcessStartupPacket` in the server does it. Sans-IO: bytes in, actions out.

    start ── SSLRequest, TLS on ──▶ "S", StartTls ── tls_started() ──▶ start (encrypted)
    start ── 0x16 (direct TLS) ───▶ StartTls ─────── tls_started() ──▶ start (encrypted)
    start ── SSLRequest, TLS off; GSSENCRequest ──▶ "N" ──▶ start
    start ── CancelRequest ──▶ done     start ── StartupMessage ──▶ password asked ── PasswordMessage ──▶ done
    A client whose certificate was accepted (`tls_started(…, certified=True)`) is not asked for a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from ingest.core.errors import ClientProtocolError
from ingest.protocols.postgres import messages

TLS_HANDSHAKE_RECORD = 0x16  # a startup packet's length never begins with this byte: it would be over 350 MB
ALPN = "postgresql"
MAX_PIPELINED_BYTES = 256 * 1024  # sent ahead by a client that waits for nothing; kept for the session, so bounded

TlsMode = Literal["off", "allow", "require"]


@dataclass(frozen=True, slots=True)
class ReplyBytes:
    """Send these bytes to the client."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """Begin the TLS handshake as server. `received` is what has come of it already and must be fed to it first.

    Until `ClientStartup.tls_started` is called, no byte may be given to `receive`.
    """

    received: bytes = field(default=b"", repr=False)
    direct: bool = False


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """This connection only wants to cancel what another one runs; close it without a reply."""

    pid: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoginRequested:
    """The client said who it is. `minor` is the protocol minor agreed on; `parameters` are without user and database.

    `parameters` keeps `replication` if the client sent it: the caller decides about it (see `replication`).
    """

    user: str
    database: str
    parameters: dict[str, str]
    minor: int
    unknown_options: tuple[str, ...]
    password: bytes = field(repr=False)

    @property
    def replication(self) -> bool:
        """The client asked for a replication connection (any value that the server does not read as false)."""
        return self.parameters.get("replication", "off").lower() not in _FALSE


@dataclass(frozen=True, slots=True)
class Fail:
    """Send `error_response` (may be empty: the peer would not understand one) and close; `reason` is for log and event."""

    error_response: bytes
    reason: str


StartupAction = ReplyBytes | StartTls | CancelRequested | LoginRequested | Fail

_FALSE = frozenset({"off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0"})


class _State(Enum):
    START = auto()
    TLS_HANDSHAKE = auto()
    PASSWORD = auto()
    DONE = auto()
    FAILED = auto()


class ClientStartup:
    """State machine of one client connection until login. `tls_active`: the connection is encrypted already."""

    __slots__ = ("_buffer", "_certified", "_gss_asked", "_ssl_asked", "_state", "_tls_active", "_tls_mode", "_words", "startup")

    def __init__(self, tls_mode: TlsMode, tls_active: bool = False) -> None:
        self._tls_mode = tls_mode
        self._tls_active = tls_active
        self._certified = False
        self._state = _State.START
        self._buffer = bytearray()
        self._ssl_asked = tls_active  # also after direct TLS: nobody asks for TLS inside TLS
        self._gss_asked = False
        self._words = messages.MessageBuffer(messages.MAX_PASSWORD_BYTES + 4, ClientProtocolError)
        self.startup: LoginRequested | None = None
        """What the StartupMessage said, from the moment the password is asked for (its `password` is empty)."""

    @property
    def tls_active(self) -> bool:
        return self._tls_active

    @property
    def finished(self) -> bool:
        """Nothing more is expected here: login requested, cancel requested, or failed."""
        return self._state in (_State.DONE, _State.FAILED)

    def receive(self, data: bytes) -> list[StartupAction]:
        """Bytes from the client. Never raises for what they hold."""
        if self._state is _State.TLS_HANDSHAKE:
            raise RuntimeError("bytes of the TLS handshake go to TLS; call tls_started when it is done")
        if self._state is _State.FAILED:
            return []
        actions: list[StartupAction] = []
        try:
            if self._state is _State.START:
                self._buffer += data
                self._receive_start(actions)
            else:
                self._words.feed(data)
            if self._state is _State.PASSWORD:
                self._receive_password(actions)
            if self._state is _State.DONE and self._words.size > MAX_PIPELINED_BYTES:
                raise ClientProtocolError(f"client sent more than {MAX_PIPELINED_BYTES} bytes ahead of the end of its login")
        except ClientProtocolError as e:
            self._fail(actions, messages.fatal("08P01", str(e)), str(e))
        return actions

    def tls_started(self, alpn: str | None = None, certified: bool = False) -> list[StartupAction]:
        """The TLS handshake is done; `alpn` is the protocol it agreed on. Startup goes on inside.

        `certified`: the client showed a certificate that was verified, and logs in by it.
        """
        if self._state is not _State.TLS_HANDSHAKE:
            raise RuntimeError("no TLS handshake was started")
        self._tls_active = True
        self._certified = certified
        self._state = _State.START
        actions: list[StartupAction] = []
        # Direct TLS without ALPN would let a browser's request be replayed here (the server's rule too).
        if alpn != ALPN and (not self._ssl_asked or alpn is not None):
            text = (
                f"TLS connection without ALPN protocol {ALPN!r}"
                if alpn is None
                else f"TLS connection for another protocol than {ALPN!r}"
            )
            self._fail(
                actions, messages.fatal("08P01", text, hint="Direct TLS needs a client that sends ALPN, such as libpq 17."), text
            )
        self._ssl_asked = True
        return actions

    def take_leftover(self) -> bytes:
        """Bytes the client sent after its password, ahead of being let in; they belong to the session."""
        return self._words.take_rest()

    def _receive_start(self, actions: list[StartupAction]) -> None:
        buffer = self._buffer
        while self._state is _State.START and buffer:
            if buffer[0] == TLS_HANDSHAKE_RECORD and not self._ssl_asked and not self._gss_asked:
                self._start_direct_tls(actions)
                return
            if len(buffer) < 4:
                return
            length = messages.parse_startup_length(buffer)
            if len(buffer) < length:
                return
            packet = messages.parse_startup_packet(bytes(buffer[:length]))
            del buffer[:length]
            self._take_packet(packet, actions)
        if self._state is _State.PASSWORD or self._state is _State.DONE:
            self._words.feed(bytes(buffer))
            buffer.clear()

    def _start_direct_tls(self, actions: list[StartupAction]) -> None:
        if self._tls_mode == "off":
            self._fail(actions, b"", "client began TLS directly, but TLS is off")
            return
        received = bytes(self._buffer)
        self._buffer.clear()
        self._state = _State.TLS_HANDSHAKE
        actions.append(StartTls(received, direct=True))

    def _take_packet(self, packet: messages.StartupPacket, actions: list[StartupAction]) -> None:
        match packet:
            case messages.SSLRequest():
                self._answer_ssl_request(actions)
            case messages.GSSENCRequest():
                if self._gss_asked:
                    raise ClientProtocolError("client asked for GSSAPI encryption twice")
                self._gss_asked = True
                actions.append(ReplyBytes(b"N"))
            case messages.CancelRequest(pid, key):
                self._state = _State.DONE
                actions.append(CancelRequested(pid, key))
            case messages.StartupMessage():
                self._take_startup_message(packet, actions)
            case messages.UnsupportedProtocol(major, minor):
                text = f"unsupported frontend protocol {major}.{minor}: this proxy speaks 3.0 to 3.{messages.NEWEST_MINOR}"
                self._fail(actions, messages.fatal("0A000", text), text)

    def _answer_ssl_request(self, actions: list[StartupAction]) -> None:
        if self._ssl_asked:
            raise ClientProtocolError("client asked for TLS twice, or inside TLS")
        self._ssl_asked = True
        if self._tls_mode == "off":
            actions.append(ReplyBytes(b"N"))
            return
        if self._buffer:
            # Plain bytes that would be read as if they came encrypted: CVE-2021-23214.
            text = "received unencrypted data after SSL request"
            detail = "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."
            self._fail(actions, messages.fatal("08P01", text, detail=detail), text)
            return
        self._state = _State.TLS_HANDSHAKE
        actions.append(ReplyBytes(b"S"))
        actions.append(StartTls())

    def _take_startup_message(self, packet: messages.StartupMessage, actions: list[StartupAction]) -> None:
        if self._tls_mode == "require" and not self._tls_active:
            text = "this proxy takes encrypted connections only, and this one is not"
            self._fail(actions, messages.fatal("28000", text, hint="Connect with sslmode=require (or verify-full)."), text)
            return
        startup = _login_requested(packet)
        if not startup.user:
            text = "no PostgreSQL user name specified in startup packet"
            self._fail(actions, messages.fatal("28000", text), text)
            return
        self.startup = startup
        if packet.minor > messages.NEWEST_MINOR or startup.unknown_options:
            actions.append(ReplyBytes(messages.negotiate_protocol_version(startup.minor, startup.unknown_options)))
        if self._certified:
            self._state = _State.DONE
            actions.append(startup)
            return
        actions.append(ReplyBytes(messages.authentication_cleartext_password()))
        self._state = _State.PASSWORD

    def _receive_password(self, actions: list[StartupAction]) -> None:
        cut = self._words.next(b"p")
        startup = self.startup
        if cut is None or startup is None:
            return
        password = messages.parse_password_message(cut[1])
        if not password:
            text = f'empty password returned by client for user "{startup.user}"'
            self._fail(actions, messages.fatal("28P01", text, hint="The password is a token of this proxy."), "empty password")
            return
        self._state = _State.DONE
        actions.append(
            LoginRequested(startup.user, startup.database, startup.parameters, startup.minor, startup.unknown_options, password)
        )

    def _fail(self, actions: list[StartupAction], error_response: bytes, reason: str) -> None:
        self._state = _State.FAILED
        self._buffer.clear()
        self._words.take_rest()
        actions.append(Fail(error_response, reason))


def _login_requested(packet: messages.StartupMessage) -> LoginRequested:
    parameters: dict[str, str] = {}
    unknown: list[str] = []
    for raw_name, raw_value in packet.parameters.items():
        name = _text(raw_name)
        if name.startswith("_pq_."):
            unknown.append(name)  # none is known in 3.2
        else:
            # application_name alone may be in another encoding: the server escapes it too (pg_clean_ascii).
            parameters[name] = raw_value.decode("utf-8", "backslashreplace") if name == "application_name" else _text(raw_value)
    user = parameters.pop("user", "")
    database = parameters.pop("database", "") or user
    minor = min(packet.minor, messages.NEWEST_MINOR)
    return LoginRequested(user, database, parameters, minor, tuple(unknown), b"")


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ClientProtocolError("startup parameters must be UTF-8") from None
