"""Rewrites the rows of COPY … TO STDOUT by a plan: text, CSV and binary. A CopyData message is a row, as PostgreSQL sends them.

No type is on the wire: a masked column of a table looks as in any result, by its type in the catalogue; what is computed, or of a
type that is not known, is NULL. Free text is searched as it stands, its escapes undone.
What cannot be cut into fields for certain (an encoding whose letters hold delimiters, a line that does not end) is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from struct import Struct

from ingest.masking.cells import JSON, JSONB, REDACTED, TEXTS, XML, masked
from ingest.masking.plan import ColumnPlan, Treatment
from ingest.masking.rows import Exposure
from ingest.masking.structures import ANYONE, MAX_BYTES, Members, names_keys
from ingest.masking.tags import CatalogueTags
from processors.sensitivity import Scanner
from processors.statements import Tokenizer
from processors.statements.statement import CopyFormat
from schemas.classes import DataClass

_LENGTH = Struct(">i")
_COPY = ord("d")
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_SAFE = re.compile(r"(utf-?8|unicode|latin|iso|win|koi8|sql_ascii|euc_|mule|abc|tcvn|vscii|alt)", re.IGNORECASE)
"""Client encodings in which no letter holds a byte of ASCII."""
_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_UNESCAPE = re.compile(rb"\\(.)", re.DOTALL)

Field = bytes | None


_TYPES = {
    "text": 25,
    "character varying": 1043,
    "character": 1042,
    "name": 19,
    "json": JSON,
    "jsonb": JSONB,
    "xml": XML,
    "smallint": 21,
    "integer": 23,
    "bigint": 20,
    "real": 700,
    "double precision": 701,
    "numeric": 1700,
    "date": 1082,
    "timestamp without time zone": 1114,
    "timestamp with time zone": 1184,
}
"""Of the types that a mask other than NULL fits: their oids by name."""
_SIZED = re.compile(r"character(?: varying)?\((\d+)\)")
_MODIFIER = re.compile(r"\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Stored:
    """A field's column, where it is one of a table as it is: `type_oid` 0 where none is known, `size` in letters, 0 for any."""

    table: int = 0
    attribute: int = 0
    type_oid: int = 0
    size: int = 0


def stored(tags: CatalogueTags | None, names: Iterable[str] | None, count: int) -> list[Stored]:
    """Return the columns of a COPY of `count` fields, by `Shape.stored`: none is known where one of their tables is not."""
    found: list[Stored] = []
    for name in names or ():
        if not name:
            found.append(Stored())
            continue
        table, _, column = name.rpartition(".")
        relations = tags.catalogue.find(*table.split(".", 1)) if tags is not None and "." in table else ()
        named = tags.origins.named(relations[0], column) if tags is not None and len(relations) == 1 else []
        if not named:
            return [Stored()] * count
        for one in named:
            size = _SIZED.fullmatch(one.type)
            type_oid = _TYPES.get(_MODIFIER.sub("", one.type), 0)
            found.append(Stored(relations[0].oid, one.number, type_oid, int(size[1]) if size is not None else 0))
    return found if len(found) == count else [Stored()] * count


class CopyMasker:
    """Masks one COPY. `sizes` say how many letters a mask of each field may have."""

    def __init__(
        self,
        plan: Sequence[ColumnPlan],
        form: CopyFormat,
        encoding: str,
        scanner: Scanner,
        tokenizer: Tokenizer,
        names: Callable[[ColumnPlan], str],
        clear: frozenset[DataClass] = frozenset(),
        sizes: Sequence[int] = (),
    ) -> None:
        if not _SAFE.match(form.encoding or encoding):
            raise ValueError(f"rows in encoding {(form.encoding or encoding)[:40]!r} cannot be cut into fields for certain")
        self.plan = tuple(plan)
        self.exposure = Exposure()
        self.passes = all(c.treatment is Treatment.PASS for c in self.plan)
        self._scanner = scanner
        self._tokenizer = tokenizer
        self._sizes = (*sizes, *(0 for _ in self.plan[len(sizes) :]))
        self._clear = clear
        self._members = Members(scanner, clear, self._found)
        self._names = names
        self._binary = form.format == "binary"
        self._csv = form.format == "csv"
        self._delimiter = form.delimiter.encode()
        self._null = (form.null if form.null is not None else "" if self._csv else "\\N").encode()
        # In text, a value that reads as the client wants NULL to be is told from it by nothing: one could be asked for by it. Of
        # `\N` the server makes `\\N`, and of empty values nobody learns more than of NULL.
        self._nulls = self._csv or self._binary or self._null in (b"\\N", b"")
        quote, escape = (re.escape(c.encode()) for c in (form.quote, form.escape or form.quote))
        self._quote, self._escape = form.quote.encode(), (form.escape or form.quote).encode()
        # A quoted value ends at a quote that is not escaped; where both are the same, two of them are one.
        inside = (
            rb"[^%b%b]|%b[%b%b]" % (quote, escape, escape, quote, escape) if quote != escape else rb"[^%b]|%b%b" % ((quote,) * 3)
        )
        bare = re.escape(self._delimiter) + quote
        self._field = re.compile(
            rb"(?:%b((?:%b)*)%b|([^%b]*))(?:%b|\Z)" % (quote, inside, quote, bare, re.escape(self._delimiter)), re.DOTALL
        )
        self._pair = re.compile(escape + rb"([%b%b])" % (quote, escape), re.DOTALL)
        self._heads = 1 if form.header or self._binary else 0

    def run(self, data: bytes, pos: int) -> tuple[int, bytes, int]:
        """Mask the whole CopyData messages at `pos`; see `ingest.core.masking.Rows`. Rows are counted by the command's tag."""
        out: list[bytes] = []
        size = len(data)
        while size - pos >= 5 and data[pos] == _COPY:
            end = pos + 1 + int(_LENGTH.unpack_from(data, pos + 1)[0])
            if end > size:
                break
            body = self._row(data[pos + 5 : end])
            out.append(b"d" + _LENGTH.pack(len(body) + 4) + body)
            pos = end
        return pos, b"".join(out), 0

    def passed(self, rows: int) -> None:
        """Count rows that nothing masks."""
        for column in self.plan:
            self.exposure.add(column, self._names(column), rows, False)

    def too_long(self) -> bytes:
        """Return a row of NULLs."""
        body = self._joined([None] * len(self.plan)) if not self._binary else self._packed([None] * len(self.plan))
        return b"d" + _LENGTH.pack(len(body) + 4) + body

    def _row(self, row: bytes) -> bytes:
        if self._binary:
            return self._binary_row(row)
        if not row.endswith(b"\n"):
            raise ValueError("a COPY row does not end with its line")
        if self._heads:
            self._heads = 0
            return row
        fields = self._csv_fields(row[:-1]) if self._csv else self._text_fields(row[:-1])
        if len(fields) != len(self.plan):
            raise ValueError(f"a COPY row of {len(fields)} fields where {len(self.plan)} were announced")
        return self._joined(fields) if self._mask(fields) else row

    def _mask(self, fields: list[Field]) -> bool:
        changed = False
        for n, column in enumerate(self.plan):
            value = fields[n]
            if value is None:
                if self._nulls or column.treatment is Treatment.PASS:
                    continue
                value = self._null
            if column.treatment is Treatment.PASS:
                self.exposure.add(column, self._names(column), 1, False)
                continue
            hidden = column.treatment in (Treatment.MASK, Treatment.STATEMENT)
            after = self._hidden(value, column, self._sizes[n]) if hidden else self._searched(value, column)
            if after is not value:
                changed = True
                fields[n] = after
                self.exposure.add(column, "", 1, True)
        return changed

    def _hidden(self, value: bytes, column: ColumnPlan, size: int) -> Field:
        if not column.type_oid or column.treatment is Treatment.STATEMENT:
            return None
        after = masked(value, column.data_class, column.style, column.type_oid, self._binary, self._tokenizer)
        return after if after is None or not size or len(after) <= size else None

    def _searched(self, value: bytes, column: ColumnPlan) -> Field:
        """Free text with the values found in it masked; NULL where escapes could hide one, or bytes are not text.

        A document keeps its structure, whatever its type; a jsonb in binary format begins with its version.
        """
        spans = [span for span in self._scanner.scan((value,)) if span.data_class not in self._clear]
        head = 1 if self._binary and value[:1] == b"\x01" else 0
        if value[head : head + 1] in (b"{", b"["):
            moved = [replace(s, start=s.start - head, end=s.end - head) for s in spans]
            document = self._members.document(value[head:], moved, ANYONE)
            if document is not None and not (spans and document == value[head:]):
                return value if document == value[head:] else value[:head] + document
            if len(value) > MAX_BYTES:
                return None
        if names_keys(value, ANYONE, self._clear):  # a document is a part of it
            return None
        if (column.type_oid not in TEXTS or value[:2] == b"\\x") and (b"\\" in value or (spans and self._binary)):
            return None
        if not spans:
            return value
        out, at = [], 0
        for span in spans:
            out += [value[at : span.start], REDACTED]
            at = max(at, span.end)
        return b"".join(out) + value[at:]

    def _found(self, data_class: DataClass) -> None:
        """Exposure counts fields here, not the members in them."""

    def _text_fields(self, line: bytes) -> list[Field]:
        if b"\\" not in line:
            return [None if f == self._null else f for f in line.split(self._delimiter)]
        fields: list[Field] = []
        start = at = 0
        while at <= len(line):
            if line[at : at + 1] == b"\\":
                at += 2
            elif at == len(line) or line.startswith(self._delimiter, at):
                raw = line[start:at]
                fields.append(None if raw == self._null else _UNESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), raw))
                at += 1
                start = at
            else:
                at += 1
        return fields

    def _csv_fields(self, line: bytes) -> list[Field]:
        fields: list[Field] = []
        at = 0
        while True:
            match = self._field.match(line, at)
            if match is None:
                raise ValueError("a CSV row cannot be cut into fields")
            quoted, bare = match.groups()
            fields.append(self._pair.sub(rb"\1", quoted) if quoted is not None else None if bare == self._null else bare)
            at = match.end()
            if at >= len(line) and not match[0].endswith(self._delimiter):
                return fields
            if at >= len(line):
                return [*fields, None if self._null == b"" else b""]

    def _joined(self, fields: list[Field]) -> bytes:
        return self._delimiter.join(self._written(f) for f in fields) + b"\n"

    def _written(self, value: Field) -> bytes:
        if value is None:
            return self._null
        if self._csv:
            plain = value != self._null and not any(c in value for c in (self._delimiter, self._quote, b"\n", b"\r"))
            return value if plain else self._quote + self._quoted(value) + self._quote
        out = value.replace(b"\\", b"\\\\")
        for letter, byte in _ESCAPES.items():
            out = out.replace(byte, b"\\" + letter)
        return out if self._delimiter == b"\t" else out.replace(self._delimiter, b"\\" + self._delimiter)

    def _quoted(self, value: bytes) -> bytes:
        if self._escape != self._quote:
            value = value.replace(self._escape, self._escape * 2)
        return value.replace(self._quote, self._escape + self._quote)

    def _binary_row(self, row: bytes) -> bytes:
        head = b""
        if self._heads:
            self._heads = 0
            if not row.startswith(_SIGNATURE):
                raise ValueError("a binary COPY without its signature")
            size = len(_SIGNATURE) + 8 + int(_LENGTH.unpack_from(row, len(_SIGNATURE) + 4)[0])
            head, row = row[:size], row[size:]
        if row in (b"", _END):
            return head + row
        if int.from_bytes(row[:2], "big") != len(self.plan):
            raise ValueError("a binary COPY row of another number of fields than was announced")
        fields: list[Field] = []
        at = 2
        for _ in self.plan:
            if at + 4 > len(row):
                raise ValueError("a binary COPY row ends within a length")
            length = int(_LENGTH.unpack_from(row, at)[0])
            at += 4
            if length > len(row) - at:
                raise ValueError("a field is longer than its COPY row")
            fields.append(None if length < 0 else row[at : at + length])
            at += max(length, 0)
        rest = row[at:]
        if rest not in (b"", _END):
            raise ValueError("a binary COPY row is longer than its fields")
        return head + (self._packed(fields) if self._mask(fields) else row[:at]) + rest

    def _packed(self, fields: list[Field]) -> bytes:
        cells = (_NULL if f is None else _LENGTH.pack(len(f)) + f for f in fields)
        return len(fields).to_bytes(2, "big") + b"".join(cells)
