"""How a masked cell looks, so that its type stays valid on the wire in text and in binary format.

Only types whose values are plain text in both formats get words; of JSON and XML the whole document is replaced, for its escapes
could hide a value; every other type (numbers, arrays, composites, bytea, what extensions add) becomes NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct

from ingest.masking.buckets import CLASSES, text_bucket, typed_bucket
from processors.sensitivity import Span
from processors.statements import Tokenizer
from processors.statements.scrub import without_literals
from schemas.classes import DataClass, Style

TEXTS = frozenset((18, 19, 25, 1042, 1043, 705))
"""char, name, text, bpchar, varchar, unknown: the same bytes in both formats."""
CHAR, TEXT, JSON, XML, JSONB = 18, 25, 114, 142, 3802
BYTEA = 17
_WITHOUT_TEXT = frozenset(
    (
        *(16, 18, 20, 21, 23, 24, 26, 27, 28, 29, 600, 601, 602, 603, 604, 628, 700, 701, 718, 790, 1082, 1083, 1114, 1184, 1186),
        *(1266, 1560, 1562, 1700, 2202, 2205, 2206, 2950, 3220),
    )
)
"""Types whose values are numbers, times, places or names of the catalogue."""
NUMBERS = frozenset((20, 21, 23, 26, 700, 701, 1700))

NULL_CELL = b"\xff\xff\xff\xff"
_SIZE = Struct(">i")
_SIZES = tuple(_SIZE.pack(size) for size in range(256))
REDACTED = b"[masked]"
_REMEMBERED_BYTES = 1024
"""Of a statement shown again and again: the server cuts at 1,024 by default, and a thousand long ones may be 1 GB."""
_LONGEST = 255
"""Bytes of a domain that is kept: as long as one may be (RFC 1035, section 2.3.4)."""
_TAIL = {DataClass.PAYMENT_CARD: 4, DataClass.BANK_ACCOUNT: 4, DataClass.PHONE: 2}


def masked(value: bytes, data_class: DataClass, style: Style, type_oid: int, binary: bool, tokenizer: Tokenizer) -> bytes | None:
    """Return what stands for a cell; None is NULL. Nothing of the value is in it but what `partial` and `bucket` keep."""
    if style is Style.NULL:
        return None
    if type_oid == JSON:
        return b'"[masked]"'
    if type_oid == JSONB:
        return b'\x01"[masked]"' if binary else b'"[masked]"'
    if type_oid == XML:
        return b"<masked/>"
    if type_oid not in TEXTS or type_oid == CHAR:
        return typed_bucket(value, data_class, type_oid, binary) if style is Style.BUCKET else None
    if style is Style.BUCKET:
        return text_bucket(value, data_class) or REDACTED
    if style is Style.TOKEN:
        return tokenizer.token(data_class, value).encode()
    return partial(value, data_class) if style is Style.PARTIAL else REDACTED


def statement(value: bytes) -> bytes:
    """Return SQL that a session sent without its literals and comments: of text in other encodings than UTF-8, nothing."""
    return _remembered(value) if len(value) <= _REMEMBERED_BYTES else _without_literals(value)


def _without_literals(value: bytes) -> bytes:
    try:
        return without_literals(value.decode()).encode()
    except UnicodeDecodeError:
        return REDACTED


_remembered = lru_cache(maxsize=1024)(_without_literals)


def sized(value: bytes) -> bytes:
    """Return a value as a cell: its length before it."""
    size = len(value)
    return (_SIZES[size] if size < len(_SIZES) else _SIZE.pack(size)) + value


def _cell(value: bytes | None) -> bytes:
    return NULL_CELL if value is None else sized(value)


def hider(
    data_class: DataClass, style: Style, type_oid: int, binary: bool, tokenizer: Tokenizer
) -> Callable[[list[bytes]], list[bytes]] | bytes:
    """Return what stands for the cells of one column, length before it: always the same, or made of a list of values."""
    if style is Style.BUCKET and data_class in CLASSES and type_oid not in (JSON, JSONB, XML):
        return lambda values: [_cell(masked(value, data_class, style, type_oid, binary, tokenizer)) for value in values]
    if type_oid not in TEXTS or type_oid == CHAR or style not in (Style.PARTIAL, Style.TOKEN):
        value = masked(b"", data_class, style, type_oid, binary, tokenizer)
        return NULL_CELL if value is None else sized(value)
    if style is Style.TOKEN:
        token = tokenizer.token
        return lambda values: [sized(token(data_class, value).encode()) for value in values]
    if data_class is DataClass.EMAIL:
        return _domains
    if data_class not in _TAIL:
        return sized(REDACTED)
    return lambda values: [sized(partial(value, data_class)) for value in values]


def _domains(values: list[bytes]) -> list[bytes]:
    """As `partial` of mail addresses, but most of what it looks at for all of them at once, and each domain once."""
    text = b"".join(values)
    if not text.isascii() or b" " in text or text.count(b"@") != len(values):
        return [sized(partial(value, DataClass.EMAIL)) for value in values]
    users, ats, domains = zip(*[value.partition(b"@") for value in values], strict=True)
    different = set(domains)
    if not all(users) or not all(ats) or len(max(different, key=len)) > _LONGEST:
        return [sized(partial(value, DataClass.EMAIL)) for value in values]
    shown = {domain: sized(b"***@" + domain) for domain in different}
    return [shown[domain] for domain in domains]


def partial(value: bytes, data_class: DataClass) -> bytes:
    """Keep a mail address' domain, or the last digits of a card, an account or a telephone; of all else nothing.

    Only ASCII is kept, so that the result is valid in every client encoding.
    """
    if not value.isascii():
        return REDACTED
    if data_class is DataClass.EMAIL:
        user, at, domain = value.partition(b"@")
        return (
            b"***@" + domain if user and at and b"@" not in domain and b" " not in value and len(domain) <= _LONGEST else REDACTED
        )
    keep = _TAIL.get(data_class, 0)
    tail = value[-keep:] if keep else b""
    if keep and len(value) >= 3 * keep and tail.isalnum() and len(value) <= 64:
        return b"***" + tail
    return REDACTED


def readable(type_oid: int, doubt: bool) -> bool:
    """Return whether values of a type can hold text at all; of numbers there may be doubt, see `searched`."""
    return type_oid not in _WITHOUT_TEXT or (doubt and type_oid in NUMBERS)


def searched(value: bytes, type_oid: int, binary: bool, doubt: bool) -> bytes | None:
    """Return what value detection reads of a cell: its text, where it has any. None: it cannot be read.

    `doubt`: the column is known to hold free text, so that a number may come from it.
    """
    if type_oid in _WITHOUT_TEXT:
        return b"" if not doubt or type_oid not in NUMBERS else None if binary else value
    if value[:2] == b"\\x" and (type_oid == BYTEA or type_oid in TEXTS) and len(value) % 2 == 0:
        try:
            return bytes.fromhex(value[2:].decode("ascii"))
        except ValueError:
            return value
    return value


def detected(value: bytes, type_oid: int, spans: Sequence[Span]) -> bytes | None:
    """Return a cell with the values found in what `searched` read of it masked: itself where there is nothing to mask.

    XML with a value in it, or with escapes, which could hide one, is masked whole; what is no text becomes NULL.
    """
    if type_oid == XML:
        return value if not spans and b"&" not in value else b"<masked/>"
    if not spans:
        return value
    if type_oid not in TEXTS or value[:2] == b"\\x":
        return None
    out: list[bytes] = []
    at = 0
    for span in spans:
        if span.start > at:
            out.append(value[at : span.start])
        out.append(REDACTED)
        at = max(at, span.end)
    out.append(value[at:])
    return b"".join(out)
