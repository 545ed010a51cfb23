"""Which bytes is a PostgreSQL v3 message made of? Constants, builders and parsers, named as in the manual (chapter 55.7).

A message is one type byte, an int32 length that counts itself but not the type, and a body; startup packets have no
type byte. Builders return whole messages. Parsers take the *body* and raise `ClientProtocolError` for messages that a
frontend sends, `ServerProtocolError` for those a backend sends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ingest.core.errors import ClientProtocolError, ProtocolError, ServerProtocolError

PROTOCOL_MAJOR = 3
NEWEST_MINOR = 2  # 3.2 (PostgreSQL 18): the only change that reaches a proxy is the longer cancel key

CANCEL_REQUEST_CODE = 80877102  # 1234 << 16 | 5678
SSL_REQUEST_CODE = 80877103  # 1234 << 16 | 5679
GSSENC_REQUEST_CODE = 80877104  # 1234 << 16 | 5680

MAX_STARTUP_PACKET_BYTES = 10_000  # MAX_STARTUP_PACKET_LENGTH in the server's source
MAX_PASSWORD_BYTES = 65_535  # PG_MAX_AUTH_TOKEN_LENGTH in the server's source
MAX_CANCEL_KEY_BYTES = 256  # the manual, BackendKeyData in protocol 3.2
MIN_CANCEL_KEY_BYTES = 4  # 4 exactly in 3.0, 4 to 256 in 3.2

AUTHENTICATION_OK_CODE = 0
AUTHENTICATION_CLEARTEXT_PASSWORD_CODE = 3
AUTHENTICATION_MD5_PASSWORD_CODE = 5
AUTHENTICATION_SASL_CODE = 10
AUTHENTICATION_SASL_CONTINUE_CODE = 11
AUTHENTICATION_SASL_FINAL_CODE = 12
AUTHENTICATION_NAMES = {
    0: "AuthenticationOk",
    2: "AuthenticationKerberosV5",
    3: "AuthenticationCleartextPassword",
    5: "AuthenticationMD5Password",
    6: "AuthenticationSCMCredential",
    7: "AuthenticationGSS",
    8: "AuthenticationGSSContinue",
    9: "AuthenticationSSPI",
    10: "AuthenticationSASL",
    11: "AuthenticationSASLContinue",
    12: "AuthenticationSASLFinal",
}

_INT32 = struct.Struct("!i")
_UINT32 = struct.Struct("!I")
_HEADER = struct.Struct("!cI")


def message(type_byte: bytes, body: bytes = b"") -> bytes:
    """One typed message."""
    return _HEADER.pack(type_byte, len(body) + 4) + body


REFUSED_QUERY = b"affidavit_refused"
REFUSED_PARSE = message(b"P", 2 * (REFUSED_QUERY + b"\x00") + b"\x00\x00")
"""Stands for a refused Execute: a syntax error whatever the session has made, where a portal's name could be one of its own."""


def cstring(text: str | bytes) -> bytes:
    """Text as the wire has it, zero-terminated. Raises ValueError for text that holds a zero byte."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if b"\0" in raw:
        raise ValueError("a protocol string cannot hold a zero byte")
    return raw + b"\0"


# ---- startup packets: what a client may send first --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SSLRequest:
    """The client asks for TLS."""


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    """The client asks for GSSAPI encryption."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The client asks, on a connection of its own, to cancel what another connection runs."""

    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """The client opens a session: protocol 3.`minor` and its parameters, as sent (names and values are bytes)."""

    minor: int
    parameters: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class UnsupportedProtocol:
    """A startup packet of a protocol major version other than 3."""

    major: int
    minor: int


StartupPacket = SSLRequest | GSSENCRequest | CancelRequest | StartupMessage | UnsupportedProtocol


def parse_startup_length(head: bytes | bytearray | memoryview) -> int:
    """Length in bytes of the startup packet that begins with these (at least 4) bytes, itself included."""
    (length,) = _UINT32.unpack_from(head)
    if not 8 <= length <= MAX_STARTUP_PACKET_BYTES:
        raise ClientProtocolError(
            f"invalid length of startup packet: {length} bytes, allowed are 8 to {MAX_STARTUP_PACKET_BYTES}"
        )
    return int(length)


def parse_startup_packet(packet: bytes) -> StartupPacket:
    """A whole startup packet, length included."""
    if parse_startup_length(packet) != len(packet):
        raise ClientProtocolError("startup packet is not as long as it says")
    (code,) = _UINT32.unpack_from(packet, 4)
    body = packet[8:]
    if code == CANCEL_REQUEST_CODE:
        return _parse_cancel(body)
    if code in (SSL_REQUEST_CODE, GSSENC_REQUEST_CODE):
        if body:
            raise ClientProtocolError("encryption request carries unexpected bytes")
        return SSLRequest() if code == SSL_REQUEST_CODE else GSSENCRequest()
    major, minor = code >> 16, code & 0xFFFF
    if major != PROTOCOL_MAJOR:
        return UnsupportedProtocol(major, minor)
    return StartupMessage(minor, _parse_parameters(body))


def _parse_cancel(body: bytes) -> CancelRequest:
    key = body[4:]
    if not MIN_CANCEL_KEY_BYTES <= len(key) <= MAX_CANCEL_KEY_BYTES:
        raise ClientProtocolError(
            f"CancelRequest key has {len(key)} bytes, allowed are {MIN_CANCEL_KEY_BYTES} to {MAX_CANCEL_KEY_BYTES}"
        )
    (pid,) = _INT32.unpack_from(body)
    return CancelRequest(pid, key)


def _parse_parameters(body: bytes) -> dict[bytes, bytes]:
    # Name and value strings in turn, then one empty name. The server takes nothing after that (ProcessStartupPacket).
    if body == b"\0":
        return {}
    if not body.endswith(b"\0\0"):
        raise ClientProtocolError("invalid startup packet layout: expected terminator as last byte")
    parts = body[:-2].split(b"\0")
    if len(parts) % 2 or b"" in parts[::2]:
        raise ClientProtocolError("invalid startup packet layout: names and values do not pair up")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def ssl_request() -> bytes:
    return struct.pack("!II", 8, SSL_REQUEST_CODE)


def gssenc_request() -> bytes:
    return struct.pack("!II", 8, GSSENC_REQUEST_CODE)


def cancel_request(pid: int, key: bytes) -> bytes:
    """CancelRequest; `pid` is the signed 32-bit number BackendKeyData gave."""
    return struct.pack("!IIi", 12 + len(key), CANCEL_REQUEST_CODE, pid) + key


def startup_message(parameters: Mapping[str, str], minor: int = 0) -> bytes:
    """StartupMessage. Raises ValueError past the server's packet limit, or for text with a zero byte."""
    body = b"".join(cstring(name) + cstring(value) for name, value in parameters.items()) + b"\0"
    if len(body) + 8 > MAX_STARTUP_PACKET_BYTES:
        raise ValueError(f"startup parameters take {len(body) + 8} bytes; the server takes at most {MAX_STARTUP_PACKET_BYTES}")
    return struct.pack("!IHH", len(body) + 8, PROTOCOL_MAJOR, minor) + body


# ---- frontend messages ------------------------------------------------------------------------------------------------


def query(text: str | bytes) -> bytes:
    return message(b"Q", cstring(text))


def parse(name: str | bytes, text: str | bytes, parameter_oids: Iterable[int] = ()) -> bytes:
    oids = tuple(parameter_oids)
    return message(b"P", cstring(name) + cstring(text) + struct.pack(f"!H{len(oids)}I", len(oids), *oids))


def sync() -> bytes:
    return message(b"S")


def terminate() -> bytes:
    return message(b"X")


def password_message(password: bytes) -> bytes:
    return message(b"p", cstring(password))


def sasl_initial_response(mechanism: str, response: bytes) -> bytes:
    return message(b"p", cstring(mechanism) + _INT32.pack(len(response)) + response)


def sasl_response(response: bytes) -> bytes:
    return message(b"p", response)


def parse_password_message(body: bytes) -> bytes:
    """The password of a PasswordMessage body, without its terminator."""
    if len(body) > MAX_PASSWORD_BYTES:
        raise ClientProtocolError(f"password message is longer than {MAX_PASSWORD_BYTES} bytes")
    if not body.endswith(b"\0") or body.index(b"\0") != len(body) - 1:
        raise ClientProtocolError("password message must hold exactly one zero-terminated string")
    return body[:-1]


# ---- backend messages -------------------------------------------------------------------------------------------------


def authentication_ok() -> bytes:
    return message(b"R", _INT32.pack(AUTHENTICATION_OK_CODE))


def authentication_cleartext_password() -> bytes:
    return message(b"R", _INT32.pack(AUTHENTICATION_CLEARTEXT_PASSWORD_CODE))


def backend_key_data(pid: int, key: bytes) -> bytes:
    """BackendKeyData; 4 bytes of key in protocol 3.0, up to 256 in 3.2. `pid` is a signed 32-bit number."""
    if not MIN_CANCEL_KEY_BYTES <= len(key) <= MAX_CANCEL_KEY_BYTES:
        raise ValueError(f"cancel key must have {MIN_CANCEL_KEY_BYTES} to {MAX_CANCEL_KEY_BYTES} bytes")
    return message(b"K", _INT32.pack(pid) + key)


def parameter_status(name: str | bytes, value: str | bytes) -> bytes:
    return message(b"S", cstring(name) + cstring(value))


def ready_for_query(status: bytes = b"I") -> bytes:
    """ReadyForQuery; `status` is I (idle), T (in a transaction) or E (in a failed one)."""
    if status not in (b"I", b"T", b"E"):
        raise ValueError("transaction status must be I, T or E")
    return message(b"Z", status)


def negotiate_protocol_version(minor: int, unrecognized_options: Iterable[str | bytes] = ()) -> bytes:
    """NegotiateProtocolVersion. Servers send the whole version number (3 << 16 | minor), whatever the manual says; so do we."""
    options = [cstring(option) for option in unrecognized_options]
    return message(b"v", struct.pack("!II", PROTOCOL_MAJOR << 16 | minor, len(options)) + b"".join(options))


def error_response(fields: Mapping[str, str | bytes]) -> bytes:
    """ErrorResponse; `fields` by the letters of chapter 55.8: S and V severity, C code, M message, D detail, H hint, …"""
    return message(b"E", _fields(fields))


def notice_response(fields: Mapping[str, str | bytes]) -> bytes:
    return message(b"N", _fields(fields))


def _fields(fields: Mapping[str, str | bytes]) -> bytes:
    return b"".join(letter.encode("ascii") + cstring(value) for letter, value in fields.items()) + b"\0"


def error(code: str, text: str, *, severity: str = "ERROR", detail: str = "", hint: str = "") -> bytes:
    """An ErrorResponse of ours: S, V, C, M, and D, H where given. Zero bytes in the text become spaces."""
    fields = {"S": severity, "V": severity, "C": code, "M": text, "D": detail, "H": hint}
    return error_response({letter: value.replace("\0", " ") for letter, value in fields.items() if value})


def fatal(code: str, text: str, *, detail: str = "", hint: str = "") -> bytes:
    """An ErrorResponse that ends the connection."""
    return error(code, text, severity="FATAL", detail=detail, hint=hint)


def parse_error_fields(body: bytes | memoryview) -> dict[str, bytes]:
    """Fields of an ErrorResponse or NoticeResponse body by their letter. The last of a repeated letter wins."""
    raw = bytes(body)
    fields: dict[str, bytes] = {}
    position = 0
    while True:
        letter = raw[position : position + 1]
        if letter == b"\0":
            if position != len(raw) - 1:
                raise ServerProtocolError("ErrorResponse or NoticeResponse has bytes after its terminator")
            return fields
        end = raw.find(b"\0", position + 1)
        if not letter or end < 0:
            raise ServerProtocolError("ErrorResponse or NoticeResponse is not terminated")
        fields[letter.decode("latin-1")] = raw[position + 1 : end]
        position = end + 1


def parse_parameter_status(body: bytes | memoryview) -> tuple[bytes, bytes]:
    """Name and value of a ParameterStatus body."""
    parts = bytes(body).split(b"\0")
    if len(parts) != 3 or parts[2] or not parts[0]:
        raise ServerProtocolError("ParameterStatus must hold exactly a name and a value")
    return parts[0], parts[1]


def parse_backend_key_data(body: bytes | memoryview) -> tuple[int, bytes]:
    """Process number (signed 32-bit) and cancel key of a BackendKeyData body."""
    if not 4 + MIN_CANCEL_KEY_BYTES <= len(body) <= 4 + MAX_CANCEL_KEY_BYTES:
        raise ServerProtocolError(f"BackendKeyData has {len(body)} bytes, allowed are 8 to {4 + MAX_CANCEL_KEY_BYTES}")
    return _INT32.unpack_from(body)[0], bytes(body[4:])


def parse_ready_for_query(body: bytes | memoryview) -> bytes:
    """Transaction status of a ReadyForQuery body: I, T or E."""
    status = bytes(body)
    if status not in (b"I", b"T", b"E"):
        raise ServerProtocolError("ReadyForQuery must hold one of I, T, E")
    return status


def parse_negotiate_protocol_version(body: bytes | memoryview) -> tuple[int, tuple[bytes, ...]]:
    """The newest minor version the server speaks and the protocol options it does not know."""
    raw = bytes(body)
    if len(raw) < 8:
        raise ServerProtocolError("NegotiateProtocolVersion is too short")
    version, count = struct.unpack_from("!II", raw)
    options = raw[8:].split(b"\0")
    if options.pop() or len(options) != count:
        raise ServerProtocolError("NegotiateProtocolVersion does not hold the options it counts")
    major, minor = version >> 16, version & 0xFFFF
    if major not in (0, PROTOCOL_MAJOR):  # 0: a server that follows the manual and sends the minor version alone
        raise ServerProtocolError(f"server wants protocol {major}.{minor}; 3.x was asked for")
    return minor, tuple(options)


def parse_authentication(body: bytes | memoryview) -> tuple[int, bytes]:
    """Code and data of an Authentication… body."""
    if len(body) < 4:
        raise ServerProtocolError("authentication request is too short")
    return _INT32.unpack_from(body)[0], bytes(body[4:])


class MessageBuffer:
    """Cuts received bytes into typed messages, for the login phases where messages are few and small.

    `limit` bounds one message; `fault` is the error type to raise, so that it names the side that sent the bytes.
    """

    __slots__ = ("_data", "_fault", "_limit")

    def __init__(self, limit: int, fault: type[ProtocolError]) -> None:
        self._data = bytearray()
        self._limit = limit
        self._fault = fault

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self, allowed: bytes) -> tuple[bytes, bytes] | None:
        """Type and body of the next whole message, or None. A type that is not in `allowed` is an error at its first byte."""
        data = self._data
        if data and data[0] not in allowed:
            raise self._fault(f"unexpected message type 0x{data[0]:02x}")
        if len(data) < 5:
            return None
        (length,) = _UINT32.unpack_from(data, 1)
        if not 4 <= length <= self._limit:
            raise self._fault(f"message type 0x{data[0]:02x} says it has {length} bytes, allowed are 4 to {self._limit}")
        if len(data) < 1 + length:
            return None
        type_byte, body = bytes(data[:1]), bytes(data[5 : 1 + length])
        del data[: 1 + length]
        return type_byte, body

    @property
    def size(self) -> int:
        """Bytes not cut yet."""
        return len(self._data)

    def take_rest(self) -> bytes:
        """Everything not cut yet; the buffer is empty after."""
        rest = bytes(self._data)
        self._data.clear()
        return rest
