"""Which values does a Bind or FunctionCall carry? As keyed tokens, for no value may leave the proxy in clear.

One token per parameter, "null" for NULL. `values.py` brings a value to one spelling first, so that it gets the same token
in text, in binary and as a literal of the same type. Every value is tokenised whole, whatever its length; past
MAX_PARAMS of them, one `more.<count>` token stands for the rest, as for literals. Only what makes the rest of the
message unreadable is an error here; what the server itself refuses (a count of formats that does not fit, a format
code of 7) is left to it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

from ingest.core.errors import ClientProtocolError
from ingest.protocols.postgres.values import UNSPECIFIED, Canoniser, canoniser
from processors.statements.tokens import MAX_PARAMS
from processors.statements.valued import UNREADABLE, Value

NULL_TOKEN: Final = "null"
_MAX_CACHED_PARAMETERS: Final = 64  # statements with more are rare, and their types would fill the cache
_UNKNOWN_FORMAT = -1

_COUNT: Final = struct.Struct("!H")
_LENGTH: Final = struct.Struct("!i")
_OID: Final = struct.Struct("!I")


class TokenSource(Protocol):
    """What makes a keyed token of a typed value: `processors.statements.Tokenizer`."""

    def token(self, type: str, value: bytes) -> str: ...


def bind_tokens(payload: bytes | memoryview, param_oids: Sequence[int], tokenizer: TokenSource) -> tuple[bytes, bytes, list[str]]:
    """Portal name, statement name and the tokens of a Bind body's parameters.

    `param_oids` are the statement's parameter types as far as they are known: missing ones count as unspecified (0), and
    0 in text format is `int` for a canonical integer, else `text`. Raises ClientProtocolError for a malformed body.
    """
    data = payload if type(payload) is bytes else bytes(payload)
    try:
        portal_end = data.index(0)
        statement_end = data.index(0, portal_end + 1)
    except ValueError:
        raise ClientProtocolError("Bind message is malformed or cut short") from None
    tokens = parameter_tokens(data, statement_end + 1, len(data), tuple(param_oids), tokenizer)
    return data[:portal_end], data[portal_end + 1 : statement_end], tokens


def parameter_tokens(data: bytes, pos: int, end: int, param_oids: tuple[int, ...], tokenizer: TokenSource) -> list[str]:
    """The tokens of a Bind body's parameters, `pos` being behind its two names and `end` its end. See `bind_tokens`."""
    try:
        tokens, at = _values(data, pos, param_oids, tokenizer)
        results: int = _COUNT.unpack_from(data, at)[0]
    except (ValueError, struct.error):
        raise ClientProtocolError("Bind message is malformed or cut short") from None
    if at + 2 + 2 * results != end:
        raise ClientProtocolError("Bind message does not end where its counts say")
    return tokens


def result_formats(data: bytes, pos: int, end: int) -> tuple[int, ...]:
    """The formats that a well-formed Bind asks its results in: none, one for all, or one for each column."""
    at = pos + 2 + 2 * int(_COUNT.unpack_from(data, pos)[0])
    count: int = _COUNT.unpack_from(data, at)[0]
    at += 2
    for _ in range(count):
        at += 4 + max(0, int(_LENGTH.unpack_from(data, at)[0]))
    return struct.unpack_from(f"!{(end - at - 2) // 2}h", data, at + 2)


_WHOLE_NUMBERS: Final = frozenset((20, 21, 23))
_FIRST_USER_OID: Final = 16384


def parameter_values(data: bytes, pos: int, oids: Sequence[int]) -> list[Value]:
    """The values of a well-formed Bind's parameters, for what only they can tell: None for NULL, else text or a whole number.

    UNREADABLE for what is binary, of a type that is not known or not read.

    They are looked at and forgotten: nothing of them is kept or recorded.
    """
    codes: int = _COUNT.unpack_from(data, pos)[0]
    formats = struct.unpack_from(f"!{codes}H", data, pos + 2)
    pos += 2 + 2 * codes
    count: int = _COUNT.unpack_from(data, pos)[0]
    pos += 2
    found: list[Value] = []
    for n in range(count):
        length: int = _LENGTH.unpack_from(data, pos)[0]
        pos += 4
        value, pos = data[pos : pos + max(length, 0)], pos + max(length, 0)
        format = (formats[n] if n < codes else _UNKNOWN_FORMAT) if codes > 1 else formats[0] if codes else 0
        if length < 0:
            found.append(None)
        elif format:
            found.append(_binary_value(value, oids[n] if n < len(oids) else UNSPECIFIED))
        else:
            found.append(value.decode("utf-8", "replace"))
    return found


def _binary_value(value: bytes, oid: int) -> Value:
    if oid in _WHOLE_NUMBERS:
        return int.from_bytes(value, "big", signed=True)
    word, canonical = canoniser(oid, 1)(value)
    text = canonical.decode("utf-8", "replace")
    if not word.startswith("oid"):
        return text
    # Types that are not built in may be texts (citext, an enum); what nobody named may as well be a number.
    return text if oid >= _FIRST_USER_OID and text.isprintable() and "\ufffd" not in text else UNREADABLE


def parameter_plan(data: bytes, pos: int, param_oids: tuple[int, ...]) -> tuple[tuple[Canoniser, ...], int] | None:
    """How each parameter of a well-formed Bind is canonised, and where its values begin; None past what is cached."""
    values_at = pos + 2 + 2 * int(_COUNT.unpack_from(data, pos)[0])
    count: int = _COUNT.unpack_from(data, values_at)[0]
    if count > _MAX_CACHED_PARAMETERS or len(param_oids) > _MAX_CACHED_PARAMETERS:
        return None
    return _cached_plan(param_oids, data[pos + 2 : values_at], count), values_at + 2


def function_call_tokens(payload: bytes | memoryview, tokenizer: TokenSource) -> tuple[int, list[str]]:
    """The function's OID and the tokens of a FunctionCall body's arguments. Argument types are not on the wire."""
    data = payload if type(payload) is bytes else bytes(payload)
    try:
        (function,) = _OID.unpack_from(data, 0)
        tokens, end = _values(data, 4, (), tokenizer)
    except (ValueError, struct.error):
        raise ClientProtocolError("FunctionCall message is malformed or cut short") from None
    if end + 2 != len(data):
        raise ClientProtocolError("FunctionCall message does not end where its counts say")
    return function, tokens


def _values(data: bytes, pos: int, oids: Sequence[int], tokenizer: TokenSource) -> tuple[list[str], int]:
    """Read format codes, then counted values; the second result is where they end. Raises ValueError, struct.error."""
    (formats,) = _COUNT.unpack_from(data, pos)
    values_at = pos + 2 + 2 * formats
    (count,) = _COUNT.unpack_from(data, values_at)
    codes = data[pos + 2 : values_at]
    known = tuple(oids)
    plan = _cached_plan(known, codes, count) if count <= _MAX_CACHED_PARAMETERS >= len(known) else _plan(known, codes, count)
    tokens: list[str] = []
    token, unpack, size = tokenizer.token, _LENGTH.unpack_from, len(data)
    pos = values_at + 2
    for canonise in plan if count <= MAX_PARAMS else plan[:MAX_PARAMS]:
        (length,) = unpack(data, pos)
        pos += 4
        if length == -1:
            tokens.append(NULL_TOKEN)
            continue
        end = pos + length
        if length < 0 or end > size:
            raise ValueError("length")
        tokens.append(token(*canonise(data[pos:end])))
        pos = end
    if count > MAX_PARAMS:
        rest, pos = _rest(data, pos, plan[MAX_PARAMS:])
        tokens.append(token(f"more.{count - MAX_PARAMS}", rest))
    return tokens, pos


def _rest(data: bytes, pos: int, plan: tuple[Canoniser, ...]) -> tuple[bytes, int]:
    """What the token of the remaining values covers, spelled as `Tokenizer.rest` spells literals; and where they end."""
    parts: list[bytes] = []
    for canonise in plan:
        (length,) = _LENGTH.unpack_from(data, pos)
        pos += 4
        end = pos + max(length, 0)
        if length < -1 or end > len(data):
            raise ValueError("length")
        word, value = (NULL_TOKEN, b"") if length == -1 else canonise(data[pos:end])
        parts.append(b"%b:%d:%b" % (word.encode("ascii"), len(value), value))
        pos = end
    return b"".join(parts), pos


def _plan(oids: tuple[int, ...], codes: bytes, count: int) -> tuple[Canoniser, ...]:
    """The canoniser of each parameter: no format codes mean all text, one is for all."""
    formats = struct.unpack(f"!{len(codes) // 2}h", codes) or (0,)
    if len(formats) == 1:
        formats *= count
    return tuple(
        canoniser(oids[n] if n < len(oids) else UNSPECIFIED, formats[n] if n < len(formats) else _UNKNOWN_FORMAT)
        for n in range(count)
    )


_cached_plan = lru_cache(maxsize=512)(_plan)  # of a pure function; at most about 1 MB
