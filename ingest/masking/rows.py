"""Rewrites DataRow messages by a plan. Many rows at once, because values are searched in bulk.

What reaches here are whole messages; a row too long to hold is not masked but left out, and `too_long` gives the row of NULLs
that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, error

from ingest.masking.cells import DOCUMENTS, TEXTS, detected, hider, searched
from ingest.masking.plan import ColumnPlan, Treatment
from processors.sensitivity import Scanner, Span
from processors.statements import Tokenizer
from schemas.classes import DataClass

MAX_ROW = 16 * 1024**2
"""Bytes of one row held to be masked; longer cells are documents that nobody reads cell by cell."""

_LENGTH = Struct(">i")
_NULL = b"\xff\xff\xff\xff"
_ROW = ord("D")
Row = list[tuple[int, int]]


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
        self._masked = [
            (i, c, hider(c.data_class, c.style, c.type_oid, c.binary, tokenizer))
            for i, c in enumerate(self.plan)
            if c.treatment is Treatment.MASK
        ]
        self._searched = [i for i, c in enumerate(self.plan) if c.treatment in (Treatment.DETECT, Treatment.WATCH)]
        self._shown = [(i, c) for i, c in enumerate(self.plan) if c.treatment is Treatment.PASS and c.classes]
        self._head = len(self.plan).to_bytes(2, "big")

    def run(self, data: bytes, pos: int) -> tuple[int, bytes, int]:
        """Mask the whole DataRows that stand at `pos`: return where they end, what the client gets, and how many they were.

        Raises ValueError on a row that does not fit the plan.
        """
        rows: list[Row] = []
        size = len(data)
        unpack = _LENGTH.unpack_from
        start = pos
        try:
            while size - pos >= 5 and data[pos] == _ROW:
                end = pos + 1 + unpack(data, pos + 1)[0]
                if end > size:
                    break
                rows.append(self._walk(data, pos + 5, end))
                pos = end
        except error:
            raise ValueError("a row ends within a cell's length") from None
        changes: list[dict[int, bytes]] = [{} for _ in rows]
        self._hide(data, rows, changes)
        if self._searched:
            self._search(data, rows, changes)
        for i, column in self._shown:
            self.exposure.add(column, self._name(column), sum(row[i][1] >= 0 for row in rows), False)
        if not any(changes):
            return pos, data[start:pos], len(rows)
        return pos, self._written(data, start, rows, changes), len(rows)

    def _walk(self, data: bytes, pos: int, end: int) -> Row:
        """Return where each cell of a row begins, and its length: -1 for NULL."""
        if data[pos : pos + 2] != self._head:
            count = int.from_bytes(data[pos : pos + 2], "big")
            raise ValueError(f"a row of {count} columns where {len(self.plan)} were described")
        row: Row = []
        unpack = _LENGTH.unpack_from
        pos += 2
        for _ in self.plan:
            length: int = unpack(data, pos)[0]
            pos += 4
            row.append((pos, length))
            if length > 0:
                pos += length
        if pos != end:
            raise ValueError("a row is longer or shorter than its cells")
        return row

    def _hide(self, data: bytes, rows: list[Row], changes: list[dict[int, bytes]]) -> None:
        """Mask the columns that are masked whole; a change is a cell with its length before it."""
        for i, column, hide in self._masked:
            hidden = 0
            for row, change in zip(rows, changes, strict=True):
                at, length = row[i]
                if length >= 0:
                    hidden += 1
                    change[i] = hide if type(hide) is bytes else hide(data[at : at + length])  # type: ignore[operator]
            if hidden:
                self.exposure.add(column, "", hidden, True)

    @staticmethod
    def _written(data: bytes, pos: int, rows: list[Row], changes: list[dict[int, bytes]]) -> bytes:
        out: list[bytes] = []
        for row, change in zip(rows, changes, strict=True):
            end = pos + 1 + int(_LENGTH.unpack_from(data, pos + 1)[0])
            if not change:
                out.append(data[pos:end])
                pos = end
                continue
            size, at = end - pos - 1, pos + 5
            mark = len(out)
            out.append(b"")
            for i in sorted(change) if len(change) > 1 else change:
                start, length = row[i]
                cell = change[i]
                out.append(data[at : start - 4])
                out.append(cell)
                at = start + length if length > 0 else start
                size += len(cell) - 4 - (length if length > 0 else 0)
            out.append(data[at:end])
            out[mark] = b"D" + _LENGTH.pack(size)
            pos = end
        return b"".join(out)

    def passed(self, rows: int) -> None:
        """Count rows that were passed without a look: NULLs count as cells."""
        for _, column in self._shown:
            self.exposure.add(column, self._name(column), rows, False)

    def too_long(self) -> bytes:
        """Return what stands for a row that is too long to hold."""
        self.oversize += 1
        body = self._head + _NULL * len(self.plan)
        return b"D" + _LENGTH.pack(len(body) + 4) + body

    def _name(self, column: ColumnPlan) -> str:
        return self._names(column) if self._names is not None else ""

    def _search(self, data: bytes, rows: list[Row], changes: list[dict[int, bytes]]) -> None:
        """Mask what value detection finds in the columns that are searched."""
        places: list[tuple[int, int, bytes]] = []
        values: list[bytes] = []
        for i in self._searched:
            column = self.plan[i]
            doubt = column.treatment is Treatment.DETECT
            type_oid, binary = column.type_oid, column.binary
            plain = type_oid in TEXTS
            for n, row in enumerate(rows):
                at, length = row[i]
                if length <= 0:
                    continue
                value = data[at : at + length]
                text = value if plain and value[:1] != b"\\" else searched(value, type_oid, binary, doubt)
                if text is None:
                    changes[n][i] = _NULL
                    self.exposure.add(column, "", 1, True)
                elif text:
                    places.append((n, i, value))
                    values.append(text)
        by_cell: dict[int, list[Span]] = {}
        for span in self._scanner.scan(values):
            if span.data_class not in self._clear:
                by_cell.setdefault(span.cell, []).append(span)
        found_in: set[int] = set()
        documents = any(self.plan[i].type_oid in DOCUMENTS for i in self._searched)
        for m in range(len(places)) if documents else by_cell:
            n, i, value = places[m]
            found = by_cell.get(m, [])
            after = detected(value, self.plan[i].type_oid, found)
            for span in found:
                self._count(span.data_class)
            if found:
                found_in.add(i)
            if after is not value:
                changes[n][i] = _cell(after)
                if not found:
                    self._count(DataClass.FREE_TEXT)
        if self._observed is not None:
            for i in self._searched:
                if self.plan[i].treatment is Treatment.WATCH:
                    self._observed(self.plan[i], len(rows), i in found_in)

    def _count(self, data_class: DataClass) -> None:
        for counts in (self.exposure.seen, self.exposure.masked):
            counts[data_class] = counts.get(data_class, 0) + 1


def _cell(value: bytes | None) -> bytes:
    return _NULL if value is None else _LENGTH.pack(len(value)) + value
