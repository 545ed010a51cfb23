"""How a masked cell looks, so that its type stays valid on the wire in text and in binary format.

Only types whose values are plain text in both formats get words; of JSON and XML the whole document is replaced, for its escapes
could hide a value; every other type (numbers, arrays, composites, bytea, what extensions add) becomes NULL.
"""

from __future__ import annotations

from enum import StrEnum

from processors.sensitivity import Scanner
from processors.statements import Tokenizer
from schemas.classes import DataClass


class Style(StrEnum):
    """What stands for a masked value. `token`: equal values have equal tokens, under the key of the data directory."""

    PARTIAL = "partial"
    TOKEN = "token"
    REDACT = "redact"
    NULL = "null"


TEXTS = frozenset((18, 19, 25, 1042, 1043, 705))
"""char, name, text, bpchar, varchar, unknown: the same bytes in both formats."""
CHAR, JSON, XML, JSONB = 18, 114, 142, 3802
NUMBERS = frozenset((20, 21, 23, 26, 700, 701, 1700))

REDACTED = b"[masked]"
_TAIL = {DataClass.PAYMENT_CARD: 4, DataClass.BANK_ACCOUNT: 4, DataClass.PHONE: 2}


def masked(value: bytes, data_class: DataClass, style: Style, type_oid: int, binary: bool, tokenizer: Tokenizer) -> bytes | None:
    """Return what stands for a cell; None is NULL. Nothing of the value is in it but what `partial` keeps."""
    if style is Style.NULL:
        return None
    if type_oid == JSON:
        return b'"[masked]"'
    if type_oid == JSONB:
        return b'\x01"[masked]"' if binary else b'"[masked]"'
    if type_oid == XML:
        return b"<masked/>"
    if type_oid not in TEXTS or type_oid == CHAR:
        return None
    if style is Style.TOKEN:
        return tokenizer.token(data_class, value).encode()
    return partial(value, data_class) if style is Style.PARTIAL else REDACTED


def partial(value: bytes, data_class: DataClass) -> bytes:
    """Keep a mail address' domain, or the last digits of a card, an account or a telephone; of all else nothing.

    Only ASCII is kept, so that the result is valid in every client encoding.
    """
    if not value.isascii():
        return REDACTED
    if data_class is DataClass.EMAIL:
        user, at, domain = value.partition(b"@")
        return b"***@" + domain if user and at and b"@" not in domain and b" " not in value and len(domain) <= 255 else REDACTED
    keep = _TAIL.get(data_class, 0)
    tail = value[-keep:] if keep else b""
    if keep and len(value) >= 3 * keep and tail.isalnum() and len(value) <= 64:
        return b"***" + tail
    return REDACTED


def detected(value: bytes, type_oid: int, binary: bool, scanner: Scanner, counts: dict[DataClass, int]) -> bytes | None:
    """Return a cell with the sensitive values found in it masked; `counts` grows by what was found.

    What cannot be searched is masked whole: binary numbers, arrays and other types, and documents with escapes.
    """
    if type_oid in NUMBERS and not binary:
        spans = scanner.scan((value,))
        for span in spans:
            counts[span.data_class] = counts.get(span.data_class, 0) + 1
        return None if spans else value
    document = type_oid in (JSON, JSONB, XML)
    if type_oid not in TEXTS and not document:
        return None
    spans = scanner.scan((value,))
    for span in spans:
        counts[span.data_class] = counts.get(span.data_class, 0) + 1
    if document:
        if not spans and not (b"&" in value if type_oid == XML else b"\\" in value):
            return value
        if type_oid == XML:
            return b"<masked/>"
        return b'\x01"[masked]"' if type_oid == JSONB and binary else b'"[masked]"'
    if not spans:
        return value
    out: list[bytes] = []
    at = 0
    for span in spans:
        if span.start > at:
            out.append(value[at : span.start])
        out.append(REDACTED)
        at = max(at, span.end)
    out.append(value[at:])
    return b"".join(out)
