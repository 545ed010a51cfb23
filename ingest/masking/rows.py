"""Rewrites DataRow messages by a plan. Many rows at once: values are searched in bulk, and masked a column at a time.

What reaches here are whole messages; a row too long to hold is not masked but left out, and `too_long` gives the row of NULLs
that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from struct import Struct, error

from ingest.masking.cells import (
    BYTEA,
    JSON,
    JSONB,
    NULL_CELL,
    REDACTED,
    TEXT,
    TEXTS,
    XML,
    detected,
    hider,
    masked,
    readable,
    searched,
    sized,
    statement,
)
from ingest.masking.cuts import Cut
from ingest.masking.plan import ColumnPlan, Treatment
from ingest.masking.structures import ANYONE, ARRAYS, DOCUMENT_ARRAYS, MAX_BYTES, Members, has_keys, members, names_keys
from processors.sensitivity import Scanner, Span
from processors.sensitivity.scanner import SEPARATOR
from processors.statements import Tokenizer
from schemas.classes import DataClass, Style

MAX_ROW = 16 * 1024**2
"""Bytes of one row held to be masked; longer cells are documents that nobody reads cell by cell."""

_LENGTH = Struct(">i")


_OF_EXTENSIONS = 16384
"""Types of extensions and the database's own have larger oids (FirstNormalObjectId)."""


class Exposure:
    """Counts cells that are not NULL: by class those seen and those masked, by column those shown in clear."""

    __slots__ = ("columns", "masked", "seen")

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.masked: dict[str, int] = {}
        self.columns: dict[str, int] = {}

    def add(self, column: ColumnPlan, name: str, cells: int, hidden: bool) -> None:
        """Count cells of one column."""
        for data_class in column.classes:
            self.seen[data_class] = self.seen.get(data_class, 0) + cells
            if hidden:
                self.masked[data_class] = self.masked.get(data_class, 0) + cells
        if not hidden and column.classes and name:
            self.columns[name] = self.columns.get(name, 0) + cells


class RowMasker:
    """Masks the rows of one result."""

    def __init__(
        self,
        plan: Sequence[ColumnPlan],
        scanner: Scanner,
        tokenizer: Tokenizer,
        names: Callable[[ColumnPlan], str] | None = None,
        clear: frozenset[DataClass] = frozenset(),
        observed: Callable[[ColumnPlan, int, bool], None] | None = None,
    ) -> None:
        self.plan = tuple(plan)
        self.exposure = Exposure()
        self.oversize = 0
        """Rows that were too long and are rows of NULLs."""
        self.passes = all(c.treatment is Treatment.PASS for c in self.plan)
        self._scanner = scanner
        self._names = names
        self._clear = clear
        self._observed = observed
        self._members = Members(scanner, clear, self._count)
        columns = list(enumerate(self.plan))
        hidden = (Treatment.MASK, Treatment.STATEMENT)
        self._masked = [(n, c, self._hider(c, tokenizer)) for n, c in columns if c.treatment in hidden]
        self._searched = [(n, c) for n, c in columns if c.treatment in (Treatment.DETECT, Treatment.WATCH)]
        self._shown = [(n, c) for n, c in columns if c.treatment is Treatment.PASS and c.classes]
        self._walked = max((n + 1 for n, c in columns if c.treatment is not Treatment.PASS or c.classes), default=0)
        self._head = len(self.plan).to_bytes(2, "big")

    def run(self, data: bytes, pos: int) -> tuple[int, bytes, int]:
        """Mask the whole DataRows that stand at `pos`: return where they end, what the client gets, and how many they were.

        Raises ValueError on a row that does not fit the plan.
        """
        try:
            cut = Cut(data, pos, len(self.plan), self._walked)
        except error:
            raise ValueError("a row ends within a cell's length") from None
        count = cut.count
        if not count:
            return pos, b"", 0
        changed: list[tuple[int, list[bytes] | bytes]] = []
        for n, column, hide in self._masked:
            nulls = cut.null(n)
            cells: list[bytes] | bytes = hide if isinstance(hide, bytes) else hide(cut.cells(n))
            if nulls and not column.nulls_tell:
                cells = [cells] * count if isinstance(cells, bytes) else cells
                for row in nulls:
                    cells[row] = NULL_CELL
            if count > len(nulls):
                self.exposure.add(column, "", count - len(nulls), True)
            changed.append((n, cells))
        for n, column in self._searched:
            searched_cells = self._search(cut, n, column)
            if searched_cells is not None:
                changed.append((n, searched_cells))
        for n, column in self._shown:
            self.exposure.add(column, self._name(column), count - len(cut.null(n)), False)
        if not changed:
            return cut.end, data[pos : cut.end], count
        changed.sort(key=_number)
        return cut.end, cut.written(changed), count

    def passed(self, rows: int) -> None:
        """Count rows that were passed without a look: NULLs count as cells."""
        for _, column in self._shown:
            self.exposure.add(column, self._name(column), rows, False)

    def too_long(self) -> bytes:
        """Return what stands for a row that is too long to hold."""
        self.oversize += 1
        body = self._head + NULL_CELL * len(self.plan)
        return b"D" + _LENGTH.pack(len(body) + 4) + body

    def _name(self, column: ColumnPlan) -> str:
        return self._names(column) if self._names is not None else ""

    def _hider(self, column: ColumnPlan, tokenizer: Tokenizer) -> Callable[[list[bytes]], list[bytes]] | bytes:
        """As `hider`, and arrays of texts by their elements: not computed ones, whose length may tell something."""
        if column.treatment is Treatment.STATEMENT:
            return lambda values: [sized(statement(value)) for value in values]
        data_class, style, binary = column.data_class, column.style, column.binary
        if column.type_oid not in ARRAYS or not column.table or not column.known or style is Style.NULL:
            return hider(data_class, style, column.type_oid, binary, tokenizer)

        def element(value: bytes) -> bytes | None:
            return masked(value, data_class, style, TEXT, binary, tokenizer)

        return lambda values: [_cell(self._members.array(value, binary, element)) for value in values]

    def _search(self, cut: Cut, n: int, column: ColumnPlan) -> list[bytes] | None:
        """Return the cells of a searched column with what is found in them masked; None where nothing changes."""
        values = cut.cells(n)
        type_oid, doubt = column.type_oid, column.treatment is Treatment.DETECT
        changes: dict[int, bytes] = {}
        texts: Sequence[bytes | None] = values
        every = SEPARATOR.join(values)
        if not readable(type_oid, doubt):
            texts = ()
        elif type_oid not in TEXTS or b"\\" in every:
            texts = [self._text(v, column, doubt) if v else b"" for v in values]
            for row, text in enumerate(texts):
                if text is None:
                    changes[row] = NULL_CELL
                    self.exposure.add(column, "", 1, True)
        by_cell: dict[int, list[Span]] = {}
        for span in self._scanner.joined(every, values) if texts is values else self._scanner.scan(texts):
            if span.data_class not in self._clear:
                by_cell.setdefault(span.cell, []).append(span)
        rows: Iterable[int] = by_cell
        if type_oid in (JSON, JSONB, XML):
            rows = range(len(values))
        elif type_oid in ARRAYS or type_oid in DOCUMENT_ARRAYS:
            rows = by_cell.keys() | {row for row, v in enumerate(values) if b"{" in v or b"[" in v or len(v) > MAX_BYTES}
        elif column.binary and type_oid >= _OF_EXTENSIONS:
            rows = range(len(values))  # an hstore's keys speak
        elif (b"{" in every or b"[" in every or b'"' in every) and type_oid != BYTEA and readable(type_oid, doubt):
            # A document, or one among the members of what it is, or a part of one.
            rows = by_cell.keys() | {row for row, v in enumerate(values) if b"{" in v or b"[" in v or b'"' in v}
        for row in rows:
            if values[row] and row not in changes:
                found = by_cell.get(row, [])
                after = self._replaced(values[row], column, found)
                if after is not values[row]:
                    changes[row] = _cell(after)
        if self._observed is not None and not doubt:
            self._observed(column, cut.count, bool(by_cell))
        if not changes:
            return None
        cells = list(map(sized, values))
        for row in cut.null(n):
            cells[row] = NULL_CELL
        for row, cell in changes.items():
            cells[row] = cell
        return cells

    @staticmethod
    def _text(value: bytes, column: ColumnPlan, doubt: bool) -> bytes | None:
        text = searched(value, column.type_oid, column.binary, doubt)
        taken_apart = column.type_oid in TEXTS or column.type_oid in (BYTEA, JSON, JSONB, XML)
        return text if taken_apart or text is not value else members(value, column.type_oid, column.binary)

    def _replaced(self, value: bytes, column: ColumnPlan, spans: list[Span]) -> bytes | None:
        """Return a cell in which these values were found without them, itself where nothing of it is to be masked."""
        type_oid, binary = column.type_oid, column.binary
        if type_oid in (JSON, JSONB):
            return self._document(value, column, spans)
        if type_oid in TEXTS and value[:1] in (b"{", b"[") and has_keys(value, self._around(column), self._clear):
            document = self._members.document(value, spans, self._around(column))
            if document is not None or len(value) > MAX_BYTES:
                return REDACTED if document is None else document
        if type_oid not in ARRAYS and type_oid not in DOCUMENT_ARRAYS and names_keys(value, self._around(column), self._clear):
            self._count(DataClass.FREE_TEXT)  # a document is a part of it
            return REDACTED if type_oid in TEXTS else b"<masked/>" if type_oid == XML else None
        if type_oid in ARRAYS or type_oid in DOCUMENT_ARRAYS:
            after = self._members.array(value, binary)
            return None if after is None or (spans and after == value) else value if after == value else after
        if type_oid not in TEXTS and type_oid not in (BYTEA, XML):
            after = self._members.row(value, binary)
            if after is not None and not (spans and after == value):
                return value if after == value else after
        for span in spans:
            self._count(span.data_class)
        after = detected(value, type_oid, spans)
        if after is not value and not spans:
            self._count(DataClass.FREE_TEXT)
        return after

    def _around(self, column: ColumnPlan) -> bytes:
        """Return the name of the table whose members a document has."""
        return self._name(column).rpartition(".")[0].rpartition(".")[2].encode() if column.table else ANYONE

    def _document(self, value: bytes, column: ColumnPlan, spans: list[Span]) -> bytes | None:
        head = value[:1] if column.type_oid == JSONB and column.binary else b""
        text = value[len(head) :]
        table = self._around(column)
        if not spans and b"\\" not in text and not has_keys(text, table, self._clear):
            return value
        moved = [replace(s, start=s.start - len(head), end=s.end - len(head)) for s in spans]
        document = self._members.document(text, moved, table)
        if document is None or (document is text and spans):
            self._count(DataClass.FREE_TEXT)
            return head + b'"[masked]"'
        return value if document is text else head + document

    def _count(self, data_class: DataClass) -> None:
        for counts in (self.exposure.seen, self.exposure.masked):
            counts[data_class] = counts.get(data_class, 0) + 1


def _number(changed: tuple[int, list[bytes] | bytes]) -> int:
    return changed[0]


def _cell(value: bytes | None) -> bytes:
    return NULL_CELL if value is None else sized(value)
