"""How is one value written the same way, whether it came as text, in binary, or as a literal? Canonical forms by type.

A canoniser takes a value's wire bytes and returns (type word, canonical bytes). Exact or not at all:
- text format that cannot be converted exactly (odd spelling, time zone left to the session) keeps its bytes and its word;
- binary format that cannot (wrong size, beyond the calendar) keeps its bytes under the word `oid<n>`;
- every type not named here keeps its bytes under `oid<n>`, so its text and binary forms do not correlate.
Text is compared as bytes in the client's encoding. Type OIDs are those of pg_type.dat, fixed for all versions.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

Canonised = tuple[str, bytes]
Canoniser = Callable[[bytes], Canonised]

UNSPECIFIED: Final = 0

MAX_CONVERTED_BYTES: Final = 4096  # longest number, date or uuid worth converting; longer text is hashed as it is

_INTEGER: Final = re.compile(rb"[ \t\n\r\f\v]*([+-]?)0*([0-9]{1,40})[ \t\n\r\f\v]*")
_DECIMAL = re.compile(r"\s*([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?\s*", re.ASCII)
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?) ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    re.ASCII,
)
_SPECIAL_NUMBERS = {"nan": "NaN", "infinity": "Infinity", "inf": "Infinity", "+infinity": "Infinity", "+inf": "Infinity"}
_SPECIAL_NUMBERS |= {"-infinity": "-Infinity", "-inf": "-Infinity"}
_BOOLEANS = {b"1": b"t", b"on": b"t", b"0": b"f", b"off": b"f", b"of": b"f"}
_BOOLEANS |= {word[:n]: word[:1] for word in (b"true", b"false") for n in range(1, len(word) + 1)}
_BOOLEANS |= {b"yes"[:n]: b"t" for n in (1, 2, 3)} | {b"no"[:n]: b"f" for n in (1, 2)}

_EPOCH = datetime(2000, 1, 1)  # day 0 of date_send and timestamp_send
_PLAIN_EXPONENT = 400  # numbers beyond this many zeros are written with an exponent, or they would fill memory


def canoniser(oid: int, format_code: int) -> Canoniser:
    """The canoniser of a type in a format (0 text, 1 binary; the server refuses others, their bytes are taken as they are)."""
    found = (_TEXT, _BINARY)[format_code].get(oid) if format_code in (0, 1) else None
    return found or _opaque(oid)


def _opaque(oid: int) -> Canoniser:
    word = f"oid{oid}"
    return lambda value: (word, value)


def _as_is(word: str) -> Canoniser:
    return lambda value: (word, value)


def unspecified_text(value: bytes) -> Canonised:
    # The client left the type to the server. A canonical integer is taken as one, so that it correlates with literals;
    # "007" and "+7" are text: as an identifier or a telephone number they are not 7.
    digits = value[1:] if value[:1] == b"-" else value
    if digits.isdigit() and len(digits) <= 19 and (digits[:1] != b"0" or value == b"0"):
        return "int", value
    return "text", value


# ---- numbers ----------------------------------------------------------------------------------------------------------


def _int_text(value: bytes) -> Canonised:
    if len(value) > MAX_CONVERTED_BYTES or (found := _INTEGER.fullmatch(value)) is None:
        return "int", value
    sign, digits = found.groups()
    return "int", b"-" + digits if sign == b"-" and digits != b"0" else digits


def _int_binary(oid: int, layout: str) -> Canoniser:
    size, unpack, word = struct.calcsize(layout), struct.Struct(layout).unpack, f"oid{oid}"

    def canonise(value: bytes) -> Canonised:
        if len(value) != size:
            return word, value
        return "int", b"%d" % unpack(value)[0]

    return canonise


def decimal_text(text: str) -> str | None:
    """The canonical form of a decimal number as PostgreSQL reads it: no exponent, no leading or trailing zeros, "0" for -0.

    Numbers beyond 400 zeros keep an exponent ("1e500"). None if it is not a decimal number.
    """
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return _SPECIAL_NUMBERS.get(text.strip().lower())
    sign, whole, fraction, exponent = found.groups()
    fraction = fraction or ""
    if not whole and not fraction:
        return None
    return _decimal(sign == "-", whole + fraction, int(exponent or 0) - len(fraction))


def _decimal(negative: bool, digits: str, exponent: int) -> str:
    stripped = digits.rstrip("0")
    exponent += len(digits) - len(stripped)
    digits = stripped.lstrip("0")
    if not digits:
        return "0"
    sign = "-" if negative else ""
    if not -_PLAIN_EXPONENT <= exponent + len(digits) <= _PLAIN_EXPONENT:
        return f"{sign}{digits}e{exponent}"
    if exponent >= 0:
        return sign + digits + "0" * exponent
    point = len(digits) + exponent
    return f"{sign}{digits[:point]}.{digits[point:]}" if point > 0 else f"{sign}0.{'0' * -point}{digits}"


def _number_text(value: bytes) -> Canonised:
    if len(value) > MAX_CONVERTED_BYTES or not value.isascii():
        return "numeric", value
    text = decimal_text(value.decode("ascii"))
    return "numeric", value if text is None else text.encode("ascii")


def _float8_binary(value: bytes) -> Canonised:
    if len(value) != 8:
        return "oid701", value
    return _number_text(repr(struct.unpack("!d", value)[0]).encode("ascii"))  # shortest form, as the server writes it


def _float4_binary(value: bytes) -> Canonised:
    if len(value) != 4:
        return "oid700", value
    number = struct.unpack("!f", value)[0]
    for digits in range(6, 10):
        text = f"{number:.{digits}g}"
        if number != number or struct.pack("!f", min(max(float(text), -3.4028234663852886e38), 3.4028234663852886e38)) == value:
            break
    return _number_text(text.encode("ascii"))


def _numeric_binary(value: bytes) -> Canonised:
    # numeric_send: count of base-10000 digits, weight of the first, sign, display scale, digits.
    if len(value) < 8:
        return "oid1700", value
    count, weight, sign, _ = struct.unpack_from("!HhHH", value)
    if sign in (0xC000, 0xD000, 0xF000):
        return "numeric", {0xC000: b"NaN", 0xD000: b"Infinity", 0xF000: b"-Infinity"}[sign]
    if len(value) != 8 + 2 * count or sign not in (0, 0x4000):
        return "oid1700", value
    groups = struct.unpack_from(f"!{count}H", value, 8)
    if any(group > 9999 for group in groups):
        return "oid1700", value
    return "numeric", _decimal(sign == 0x4000, "".join(f"{group:04}" for group in groups), (weight - count + 1) * 4).encode(
        "ascii"
    )


# ---- the rest ---------------------------------------------------------------------------------------------------------


def _bool_text(value: bytes) -> Canonised:
    return "bool", _BOOLEANS.get(value.strip().lower(), value) if len(value) <= 64 else value


def _bool_binary(value: bytes) -> Canonised:
    return ("bool", b"t" if value != b"\0" else b"f") if len(value) == 1 else ("oid16", value)


def _bytea_text(value: bytes) -> Canonised:
    if value[:2] in (b"\\x", b"\\X"):
        try:
            return "bytes", bytes.fromhex(value[2:].decode("ascii"))
        except ValueError:
            return "bytes", value
    if b"\\" not in value:
        return "bytes", value
    return "bytes", re.sub(rb"\\(\\|[0-3][0-7]{2})", lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[1], 8)]), value)


def _uuid_text(value: bytes) -> Canonised:
    digits = value.strip().removeprefix(b"{").removesuffix(b"}").replace(b"-", b"") if len(value) <= 64 else b""
    if re.fullmatch(rb"[0-9a-fA-F]{32}", digits) is None:
        return "uuid", value
    return "uuid", str(uuid.UUID(digits.decode("ascii"))).encode("ascii")


def _uuid_binary(value: bytes) -> Canonised:
    return ("uuid", str(uuid.UUID(bytes=value)).encode("ascii")) if len(value) == 16 else ("oid2950", value)


def _date_text(value: bytes) -> Canonised:
    try:
        return "date", (value if len(value) != 10 else date.fromisoformat(value.decode("ascii")).isoformat().encode("ascii"))
    except ValueError:
        return "date", value


def _date_binary(value: bytes) -> Canonised:
    if len(value) != 4:
        return "oid1082", value
    days = struct.unpack("!i", value)[0]
    if days in (2**31 - 1, -(2**31)):
        return "date", b"infinity" if days > 0 else b"-infinity"
    try:
        return "date", (_EPOCH + timedelta(days=days)).date().isoformat().encode("ascii")
    except OverflowError:
        return "oid1082", value


def _timestamp_text(zoned: bool) -> Canoniser:
    def canonise(value: bytes) -> Canonised:
        found = _TIMESTAMP.fullmatch(value.decode("ascii")) if len(value) <= 64 and value.isascii() else None
        if found is None:
            return "timestamp", value
        day, time, zone = found.groups()
        if zoned and zone is None:  # the session's TimeZone decides
            return "timestamp", value
        try:  # a zone on a type without one is ignored by the server
            moment = datetime.fromisoformat(f"{day}T{time}{zone if zoned else ''}")
            return "timestamp", _moment(moment.astimezone(UTC).replace(tzinfo=None) if zoned else moment, zoned)
        except (ValueError, OverflowError):
            return "timestamp", value

    return canonise


def _timestamp_binary(oid: int, zoned: bool) -> Canoniser:
    def canonise(value: bytes) -> Canonised:
        if len(value) != 8:
            return f"oid{oid}", value
        micros = struct.unpack("!q", value)[0]
        if micros in (2**63 - 1, -(2**63)):
            return "timestamp", b"infinity" if micros > 0 else b"-infinity"
        try:
            return "timestamp", _moment(_EPOCH + timedelta(microseconds=micros), zoned)
        except OverflowError:
            return f"oid{oid}", value

    return canonise


def _moment(moment: datetime, zoned: bool) -> bytes:
    text = moment.isoformat(sep=" ")
    if moment.microsecond:
        text = text.rstrip("0")
    return (text + "+00" if zoned else text).encode("ascii")


def _jsonb_binary(value: bytes) -> Canonised:
    return ("json", value[1:]) if value[:1] == b"\1" else ("oid3802", value)


_TEXT_OIDS = (18, 19, 25, 705, 1042, 1043)  # char, name, text, unknown, bpchar, varchar

_TEXT: dict[int, Canoniser] = {
    UNSPECIFIED: unspecified_text,
    16: _bool_text,
    17: _bytea_text,
    **dict.fromkeys((20, 21, 23, 26), _int_text),
    **dict.fromkeys((700, 701, 1700), _number_text),
    **dict.fromkeys(_TEXT_OIDS, _as_is("text")),
    **dict.fromkeys((114, 3802), _as_is("json")),
    1082: _date_text,
    1114: _timestamp_text(zoned=False),
    1184: _timestamp_text(zoned=True),
    2950: _uuid_text,
}

_BINARY: dict[int, Canoniser] = {
    16: _bool_binary,
    17: _as_is("bytes"),
    20: _int_binary(20, "!q"),
    21: _int_binary(21, "!h"),
    23: _int_binary(23, "!i"),
    26: _int_binary(26, "!I"),
    700: _float4_binary,
    701: _float8_binary,
    1700: _numeric_binary,
    **dict.fromkeys(_TEXT_OIDS, _as_is("text")),
    114: _as_is("json"),
    3802: _jsonb_binary,
    1082: _date_binary,
    1114: _timestamp_binary(1114, zoned=False),
    1184: _timestamp_binary(1184, zoned=True),
    2950: _uuid_binary,
}
