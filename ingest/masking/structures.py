"""Masks inside of documents, arrays and rows of members: what holds a value is masked, the rest stays as it came.

Values are looked for in members taken apart: in binary format a length before a member could hide where it begins, in text format
escapes could hide what it is. A member of a JSON document is also masked where a key above it says what it holds: `full_name`, or
`name` in `customer`. What cannot be taken apart for certain is not shown at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from struct import Struct, error

import orjson

from ingest.masking.cells import JSON, JSONB, REDACTED, TEXTS
from processors.sensitivity import Scanner, Span
from processors.sensitivity.columns import by_name
from schemas.classes import DataClass

ARRAYS = frozenset((1003, 1009, 1014, 1015))
"""name[], text[], bpchar[], varchar[]."""
DOCUMENT_ARRAYS = frozenset((199, 3807))
"""json[], jsonb[]."""
ANYONE = b"person"
"""What a document may have been in that was taken out of another: a `name` in it may be somebody's."""
MAX_BYTES = 256 * 1024
"""Longer documents and arrays are not taken apart, which would stop all else for longer than a quarter of a second."""
MAX_DEPTH = 64
MAX_FIELDS = 1664
"""Of a row: the server makes none with more."""
"""Levels of a document that are followed; deeper ones are masked whole."""

_TOKEN = re.compile(rb'\s*(?:("(?:[^"\\\x00-\x1f]|\\.)*")|([{}\[\],:])|(true|false|null|-?[0-9][0-9.eE+-]*))')
_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"(\s*+:)?|\\?\Z)', re.DOTALL)
"""A string and whether it is a key; one that does not end is taken to the end, so that no byte is looked at from two quotes."""
_ANY_KEY = re.compile(rb'(?=(?:"|\A)([^"\\]{1,128})\\*"\s*+(?::|=>))')
"""What looks like a key wherever it stands: in text that a document is a part of, quotes before it may be of anything."""
_ELEMENT = re.compile(rb'([{},])|"((?:[^"\\]|\\.)*)"|([^{},"\\]+)', re.DOTALL)
_BOUNDS = re.compile(rb"(?:\[-?[0-9]+:-?[0-9]+\])+=")
_FIELD = re.compile(rb'(?:"((?:[^"\\]|\\.|"")*)"|([^,()"\\]*))(,|\)$)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)|\"(\")", re.DOTALL)
_INT = Struct(">i")
_HEAD = Struct(">iiI")
_MASKED = b'"[masked]"'
_NONE: frozenset[DataClass] = frozenset()
_Array = tuple[list[bytes], list[int], list[bytes]]
"""An array's bytes in pieces, which of them are elements, and what these mean."""


@lru_cache(maxsize=4096)
def key_classes(key: bytes, above: bytes = b"") -> frozenset[DataClass]:
    """Return the classes of what stands under a key of a document, by its name and that of what it is in."""
    return by_name(_word(key), _word(above)) - {DataClass.FREE_TEXT} if len(key) <= 128 else _NONE


def _word(key: bytes) -> str:
    if b"\\" in key:
        try:
            return str(orjson.loads(b'"' + key + b'"'))
        except orjson.JSONDecodeError:
            return ""
    return key.decode("utf-8", "replace")


def has_keys(text: bytes, above: bytes, clear: frozenset[DataClass]) -> bool:
    """Return whether a document has keys that may say of a class that is not clear. Documents of a column are alike."""
    if len(text) > MAX_BYTES:
        return True
    keys = tuple(dict.fromkeys(string for string, mark in _STRING.findall(text) if mark))
    return len(keys) > 256 or not _telling(keys, above) <= clear  # too many to look at each


def names_keys(text: bytes, above: bytes, clear: frozenset[DataClass]) -> bool:
    """Return whether text that is no document has what looks like keys of a class that is not clear, as a part of it may have."""
    if text[:2] == b"\0\0" and not _telling(_hstore_keys(text), above) <= clear:
        return True
    if b'"' not in text or (b":" not in text and b"=>" not in text):
        return False
    if len(text) > MAX_BYTES:
        return True
    keys = tuple(dict.fromkeys(_ANY_KEY.findall(text)))
    return len(keys) > 256 or not _telling(keys, above) <= clear


def _hstore_keys(value: bytes) -> tuple[bytes, ...]:
    """Return the keys of an hstore in binary format: a count, then each key and value behind its length; none of what is none."""
    keys: list[bytes] = []
    try:
        (count,) = _INT.unpack_from(value)
        at = 4
        while at < len(value):
            (size,) = _INT.unpack_from(value, at)
            keys.append(value[at + 4 : at + 4 + size])
            (held,) = _INT.unpack_from(value, at + 4 + size)
            if size < 0 or len(value) > MAX_BYTES:
                return ()
            at += 8 + size + max(0, held)
    except error:
        return ()
    return tuple(dict.fromkeys(keys)) if len(keys) == count and at == len(value) else ()


@lru_cache(maxsize=1024)
def _telling(keys: tuple[bytes, ...], above: bytes) -> frozenset[DataClass]:
    return telling(keys, (above, *keys))


def telling(keys: Iterable[bytes], around: Iterable[bytes]) -> frozenset[DataClass]:
    """Return the classes that keys may say of, whichever of the names around them they are in: only of `name` that says more."""
    outer = tuple(around)
    found = _NONE.union(*(key_classes(key) for key in keys))
    if any(len(key) <= 32 and _word(key).strip(" _-").lower() == "name" for key in keys):
        found = found.union(*(key_classes(b"name", name) for name in outer))
    return found


def member(
    classes: frozenset[DataClass] | None, keys: tuple[str, ...] | None, around: Iterable[str]
) -> frozenset[DataClass] | None:
    """Return the classes of what comes of a document by these keys, from tables `around`; None where it may be anything."""
    if classes is None or DataClass.FREE_TEXT not in classes or keys == ():
        return classes
    if keys is None:
        return None
    names = [key.encode() for key in keys]
    return classes | telling(names, (b"", *names, *(table.rpartition(".")[2].encode() for table in around)))


@dataclass(slots=True)
class _Document:
    """A document taken apart: `leaves` are (place in `out`, as written, start, end) of what is under no telling key."""

    out: list[bytes]
    leaves: list[tuple[int, bytes, int, int]]
    texts: list[bytes]
    """What the leaves mean."""
    changed: bool


class Members:
    """Masks members for those who see `clear`; `found` is told the class of each that is masked."""

    def __init__(self, scanner: Scanner, clear: frozenset[DataClass], found: Callable[[DataClass], None]) -> None:
        self._scanner = scanner
        self._clear = clear
        self._found = found

    def text(self, value: bytes) -> bytes:
        """Return a text, or a document of its own, with the values in it masked: itself where there are none."""
        return self.texts((value,))[0]

    def texts(self, values: Sequence[bytes]) -> list[bytes]:
        """Return texts as `text` does each: all are searched at once, and then what is in those that are documents."""
        found: dict[int, list[Span]] = {}
        for span in self._scanner.scan(values):
            if span.data_class not in self._clear:
                found.setdefault(span.cell, []).append(span)
        out = list(values)
        documents: list[tuple[int, _Document]] = []
        for n, value in enumerate(values):
            head = 1 if value[:1] == b"\x01" else 0  # the version of a jsonb in binary format
            document = self._read(value[head:], ANYONE) if head or value[:1] in (b"{", b"[") else None
            if document is not None:
                documents.append((n, document))
            elif n in found or (b'"' in value and b":" in value):
                out[n] = self._plain(value, found.get(n, ()))
        within = self._searched([leaf for _, document in documents for leaf in document.texts])
        at = 0
        for n, document in documents:
            value, spans = values[n], found.get(n, ())
            head = 1 if value[:1] == b"\x01" else 0
            moved = [replace(s, start=s.start - head, end=s.end - head) for s in spans]
            if self._leaves(document, moved, within[at : at + len(document.texts)]):
                out[n] = value[:head] + b"".join(document.out)
            elif spans:
                out[n] = self._plain(value, spans)
            at += len(document.texts)
        return out

    def _plain(self, value: bytes, spans: Sequence[Span]) -> bytes:
        if names_keys(value, ANYONE, self._clear):
            self._found(DataClass.FREE_TEXT)
            return REDACTED
        return self._without(value, spans) if spans else value

    def _searched(self, texts: Sequence[bytes]) -> list[list[Span]]:
        """Return what is found in each of these texts."""
        within: list[list[Span]] = [[]] * len(texts)
        for span in self._scanner.scan(texts) if texts else ():
            if span.data_class not in self._clear:
                within[span.cell] = [*within[span.cell], span]
        return within

    def _without(self, value: bytes, spans: Iterable[Span]) -> bytes:
        out: list[bytes] = []
        at = 0
        for span in spans:
            self._found(span.data_class)
            out += [value[at : span.start], REDACTED]
            at = max(at, span.end)
        return b"".join(out) + value[at:]

    def document(self, value: bytes, spans: Sequence[Span], above: bytes = b"") -> bytes | None:
        """Return a JSON document with values, and what stands under telling keys, masked; None where it cannot be read.

        `spans` are what was found in the document as it stands: members that these touch are masked whole. `above` is the name of
        the table.
        """
        document = self._read(value, above)
        if document is None:
            return None
        return b"".join(document.out) if self._leaves(document, spans, self._searched(document.texts)) else value

    def _read(self, value: bytes, above: bytes) -> _Document | None:
        """Take a document apart, and mask what stands under telling keys."""
        if len(value) > MAX_BYTES:
            return None
        out: list[bytes] = []
        stack: list[tuple[bytes, bytes, frozenset[DataClass]]] = []  # bracket, name of what it is in, classes of all within
        key: bytes | None = None
        size, at, names, classes, changed = len(value), 0, above, _NONE, False
        leaves: list[tuple[int, bytes, int, int]] = []
        while at < size:
            match = _TOKEN.match(value, at)
            if match is None:
                if value[at:].strip():
                    return None
                break
            text, mark, scalar = match.groups()
            end = match.end()
            start = end - len(text or mark or scalar)
            out.append(value[at:start])
            at = end
            if mark:
                out.append(mark)
                if mark in b"{[":
                    if len(stack) >= MAX_DEPTH:
                        return None
                    stack.append((mark, names, classes))
                    names, classes = key if key is not None else names, classes | self._under(key, names)
                    key = None
                elif mark in b"}]":
                    if not stack:
                        return None
                    _, names, classes = stack.pop()
                    key = None
                elif mark == b",":
                    key = None
                continue
            if text and key is None and stack and stack[-1][0] == b"{":
                key = text[1:-1]
                leaves.append((len(out), text, start, end))
                out.append(text)
                continue
            hidden = classes | self._under(key, names)
            if hidden and scalar != b"null":
                self._found(min(hidden))
                out.append(_MASKED if text else b"null")
                changed = True
            else:
                leaves.append((len(out), text or scalar, start, end))
                out.append(text or scalar)
        if stack:
            return None
        return _Document(out, leaves, [_unescaped(leaf) for _, leaf, _, _ in leaves], changed)

    def _under(self, key: bytes | None, names: bytes) -> frozenset[DataClass]:
        return key_classes(key, names) - self._clear if key is not None else _NONE

    def _leaves(self, document: _Document, spans: Sequence[Span], within: Sequence[list[Span]]) -> bool:
        """Mask values in what stands under no telling key, keys themselves among it; return whether anything is masked."""
        out, texts, changed = document.out, document.texts, document.changed
        for n, (place, leaf, start, end) in enumerate(document.leaves):
            found = within[n]
            touching = [s for s in spans if s.start < end and s.end > start] if spans else []
            # A document as a string of another, or as a part of one.
            inside = texts[n][:1] in (b"{", b"[") and has_keys(texts[n], b"", self._clear)
            inside = inside or names_keys(texts[n], b"", self._clear)
            if not found and not touching and not inside:
                continue
            changed = True
            if found and not inside and leaf[:1] == b'"' and leaf.isascii() and b"\\" not in leaf:
                out[place] = b'"' + self._without(texts[n], found) + b'"'
            else:
                self._found(DataClass.FREE_TEXT if inside else (found or touching)[0].data_class)
                out[place] = _MASKED if leaf[:1] == b'"' else b"null"
        return changed

    def array(self, value: bytes, binary: bool, mask: Callable[[bytes], bytes | None] | None = None) -> bytes | None:
        """Return an array of texts with its elements masked, by `mask` or by what is found; None where it cannot be read."""
        if len(value) > MAX_BYTES:
            return None
        try:
            pieces, places, elements = _binary_array(value) if binary else _text_array(value)
            after = self.texts(elements) if mask is None else list(map(mask, elements))
            return (_binary_written if binary else _text_written)(pieces, places, elements, after)
        except (ValueError, error):
            return None

    def row(self, value: bytes, binary: bool) -> bytes | None:
        """Return a composite value with what is found in its fields masked; None where it cannot be read."""
        if len(value) > MAX_BYTES:
            return None
        try:
            return self._binary_row(value) if binary else self._text_row(value)
        except (ValueError, error):
            return None

    def _binary_row(self, value: bytes) -> bytes:
        fields = binary_fields(value)
        after = iter(self.texts([field for _, field in fields if field is not None]))
        out = [value[:4]]
        for oid, field in fields:
            shown = next(after) if field is not None else None
            if shown is not field and shown != field and oid not in TEXTS and oid not in (JSON, JSONB):
                shown = None
            out.append(oid.to_bytes(4, "big") + (b"\xff\xff\xff\xff" if shown is None else _INT.pack(len(shown)) + shown))
        return b"".join(out)

    def _text_row(self, value: bytes) -> bytes:
        """What is masked becomes NULL: no type says whether a word could stand there."""
        out = [b"("]
        fields = text_fields(value)
        for (raw, field, mark), shown in zip(fields, self.texts([field for _, field, _ in fields]), strict=True):
            out += [raw if shown == field else b"", mark]
        return b"".join(out)


def members(value: bytes, type_oid: int, binary: bool) -> bytes:
    """Return what to search of an array's or a row's bytes: its members apart by zero bytes, where it can be taken apart."""
    if len(value) > MAX_BYTES:
        return value
    try:
        if type_oid in ARRAYS or type_oid in DOCUMENT_ARRAYS:
            _, _, elements = _binary_array(value) if binary else _text_array(value)
            return b"\x00".join(elements)
        if binary:
            return b"\x00".join([value, *(field for _, field in binary_fields(value) if field)])
        if value[:1] == b"(":
            return b"\x00".join([value, *(field for _, field, _ in text_fields(value))])
    except (ValueError, error):
        pass
    return value


def _binary_array(value: bytes) -> _Array:
    dimensions = _HEAD.unpack_from(value)[0]
    at = 12 + 8 * dimensions
    if not 0 <= dimensions <= 6 or at > len(value):
        raise ValueError("not an array")
    pieces, places, elements = [value[:at]], [], []
    size, unpack = len(value), _INT.unpack_from
    while at < size:
        length = unpack(value, at)[0]
        at += 4
        if length < 0:
            pieces.append(b"\xff\xff\xff\xff")
            continue
        if at + length > size:
            raise ValueError("an element is longer than its array")
        places.append(len(pieces))
        pieces.append(value[at - 4 : at + length])
        elements.append(value[at : at + length])
        at += length
    return pieces, places, elements


def _binary_written(pieces: list[bytes], places: list[int], elements: list[bytes], after: Sequence[bytes | None]) -> bytes:
    nulls = False
    for place, element, shown in zip(places, elements, after, strict=True):
        if shown is not element:
            nulls = nulls or shown is None
            pieces[place] = b"\xff\xff\xff\xff" if shown is None else _INT.pack(len(shown)) + shown
    if nulls:
        pieces[0] = pieces[0][:4] + b"\x00\x00\x00\x01" + pieces[0][8:]
    return b"".join(pieces)


def _text_array(value: bytes) -> _Array:
    bounds = _BOUNDS.match(value)
    at = bounds.end() if bounds else 0
    if value[at : at + 1] != b"{" or value[-1:] != b"}":
        raise ValueError("not an array")
    pieces, places, elements, depth = [value[:at]], [], [], 0
    size = len(value)
    for match in _ELEMENT.finditer(value, at):
        if match.start() != at:
            break
        mark, quoted, bare = match.groups()
        at = match.end()
        if mark:
            depth += (mark == b"{") - (mark == b"}")
            if depth < 0 or (depth == 0 and at != size):
                raise ValueError("an array ends before its end")
        elif bare is None or bare.upper() != b"NULL":
            places.append(len(pieces))
            elements.append(bare if quoted is None else _ESCAPED.sub(rb"\1\2", quoted) if b"\\" in quoted else quoted)
        pieces.append(match[0])
    if at != size:
        raise ValueError("an element cannot be read")
    if depth:
        raise ValueError("an array does not end")
    return pieces, places, elements


def _text_written(pieces: list[bytes], places: list[int], elements: list[bytes], after: Sequence[bytes | None]) -> bytes:
    for place, element, shown in zip(places, elements, after, strict=True):
        if shown is None:
            pieces[place] = b"NULL"
        elif shown != element:
            pieces[place] = b'"' + shown.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"".join(pieces)


def binary_fields(value: bytes) -> list[tuple[int, bytes | None]]:
    """Return type and bytes of each field of a row in binary format. Raises ValueError, struct.error where it is none."""
    count, at = _INT.unpack_from(value)[0], 4
    if not 0 <= count <= MAX_FIELDS:
        raise ValueError("not a row")
    fields: list[tuple[int, bytes | None]] = []
    for _ in range(count):
        oid, length = int.from_bytes(value[at : at + 4], "big"), _INT.unpack_from(value, at + 4)[0]
        at += 8
        if length > len(value) - at:
            raise ValueError("a field is longer than its row")
        fields.append((oid, None if length < 0 else value[at : at + length]))
        at += max(length, 0)
    if at != len(value):
        raise ValueError("a row is longer than its fields")
    return fields


def text_fields(value: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return each field of a row in text format: as written, as meant, and what stands behind it. Raises ValueError."""
    if value[:1] != b"(" or value[-1:] != b")":
        raise ValueError("not a row")
    fields: list[tuple[bytes, bytes, bytes]] = []
    at = 1
    while at < len(value):
        match = _FIELD.match(value, at)
        if match is None:
            raise ValueError("a field cannot be read")
        quoted, bare, mark = match.groups()
        if len(fields) == MAX_FIELDS:
            raise ValueError("not a row")
        fields.append((match[0][: -len(mark)], bare if quoted is None else _ESCAPED.sub(rb"\1\2", quoted), mark))
        at = match.end()
    if not fields or fields[-1][2] != b")":
        raise ValueError("a row does not end")
    return fields


def _unescaped(leaf: bytes) -> bytes:
    """The text of a string of a document, or a number as it stands."""
    if leaf[:1] != b'"':
        return leaf
    if b"\\" not in leaf:
        return leaf[1:-1]
    try:
        return str(orjson.loads(leaf)).encode("utf-8", "replace")
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return leaf[1:-1].replace(b"\\", b"")
