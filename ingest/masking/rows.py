"""Rewrites DataRow messages by a plan. Many rows at once, because values are searched in bulk.

What reaches here are whole messages; a row too long to hold is not masked but left out, and `too_long` gives the row of NULLs
that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from ingest.masking.cells import DOCUMENTS, detected, masked, searched
from ingest.masking.plan import ColumnPlan, Treatment
from processors.sensitivity import Scanner, Span
from processors.statements import Tokenizer
from schemas.classes import DataClass

MAX_ROW = 16 * 1024**2
"""Bytes of one row held to be masked; longer cells are documents that nobody reads cell by cell."""

_LENGTH = Struct(">i")
_HEAD = Struct(">cih")
_NULL = b"\xff\xff\xff\xff"
_ROW = ord("D")
Cells = list[bytes | None]


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
        self._tokenizer = tokenizer
        self._names = names
        self._clear = clear
        self._observed = observed
        self._masked = [(i, c) for i, c in enumerate(self.plan) if c.treatment is Treatment.MASK]
        self._searched = [i for i, c in enumerate(self.plan) if c.treatment in (Treatment.DETECT, Treatment.WATCH)]
        self._shown = [(i, c) for i, c in enumerate(self.plan) if c.treatment is Treatment.PASS and c.classes]
        self._head = len(self.plan).to_bytes(2, "big")

    def run(self, data: bytes, pos: int) -> tuple[int, bytes, int]:
        """Mask the whole DataRows that stand at `pos`: return where they end, what the client gets, and how many they were.

        Raises ValueError on a row that does not fit the plan.
        """
        rows: list[Cells] = []
        size = len(data)
        unpack = _LENGTH.unpack_from
        start = pos
        while size - pos >= 5 and data[pos] == _ROW:
            end = pos + 1 + unpack(data, pos + 1)[0]
            if end > size:
                break
            rows.append(self._cells(data, pos + 5, end))
            pos = end
        if not rows:
            return pos, b"", 0
        if not self.mask(rows):
            return pos, data[start:pos], len(rows)
        return pos, b"".join([self._message(cells) for cells in rows]), len(rows)

    def mask(self, rows: list[Cells]) -> bool:
        """Change cells in place; return whether any was changed."""
        changed = False
        tokenizer = self._tokenizer
        for i, column in self._masked:
            hidden = 0
            for cells in rows:
                value = cells[i]
                if value is not None:
                    cells[i] = masked(value, column.data_class, column.style, column.type_oid, column.binary, tokenizer)
                    hidden += 1
            if hidden:
                changed = True
                self.exposure.add(column, "", hidden, True)
        if self._searched:
            changed = self._search(rows) or changed
        for i, column in self._shown:
            self.exposure.add(column, self._name(column), sum(cells[i] is not None for cells in rows), False)
        return changed

    def passed(self, rows: int) -> None:
        """Count rows that were passed without a look: NULLs count as cells."""
        for _, column in self._shown:
            self.exposure.add(column, self._name(column), rows, False)

    def too_long(self) -> bytes:
        """Return what stands for a row that is too long to hold."""
        self.oversize += 1
        return self._message([None] * len(self.plan))

    def _name(self, column: ColumnPlan) -> str:
        return self._names(column) if self._names is not None else ""

    def _search(self, rows: list[Cells]) -> bool:
        """Mask what value detection finds in the columns that are searched."""
        places: list[tuple[Cells, int]] = []
        values: list[bytes] = []
        changed = False
        for i in self._searched:
            column = self.plan[i]
            doubt = column.treatment is Treatment.DETECT
            for cells in rows:
                value = cells[i]
                if value is None:
                    continue
                text = searched(value, column.type_oid, column.binary, doubt)
                if text is None:
                    cells[i] = None
                    changed = True
                    self.exposure.add(column, "", 1, True)
                elif text:
                    places.append((cells, i))
                    values.append(text)
        by_cell: dict[int, list[Span]] = {}
        for span in self._scanner.scan(values):
            if span.data_class not in self._clear:
                by_cell.setdefault(span.cell, []).append(span)
        found_in: set[int] = set()
        documents = any(self.plan[i].type_oid in DOCUMENTS for i in self._searched)
        for n in range(len(places)) if documents else by_cell:
            cells, i = places[n]
            column, found, before = self.plan[i], by_cell.get(n, []), cells[i]
            after = detected(before or b"", column.type_oid, found)
            for span in found:
                self._count(span.data_class)
            if found:
                found_in.add(i)
            if after is not before:
                cells[i] = after
                changed = True
                if not found:
                    self._count(DataClass.FREE_TEXT)
        if self._observed is not None:
            for i in self._searched:
                if self.plan[i].treatment is Treatment.WATCH:
                    self._observed(self.plan[i], len(rows), i in found_in)
        return changed

    def _count(self, data_class: DataClass) -> None:
        for counts in (self.exposure.seen, self.exposure.masked):
            counts[data_class] = counts.get(data_class, 0) + 1

    def _cells(self, data: bytes, pos: int, end: int) -> Cells:
        if data[pos : pos + 2] != self._head:
            count = int.from_bytes(data[pos : pos + 2], "big")
            raise ValueError(f"a row of {count} columns where {len(self.plan)} were described")
        cells: Cells = []
        unpack = _LENGTH.unpack_from
        pos += 2
        for _ in self.plan:
            if pos + 4 > end:
                raise ValueError("a row ends within a cell's length")
            length: int = unpack(data, pos)[0]
            pos += 4
            if length < 0:
                cells.append(None)
                continue
            after = pos + length
            if after > end:
                raise ValueError("a cell is longer than its row")
            cells.append(data[pos:after])
            pos = after
        if pos != end:
            raise ValueError("a row is longer than its cells")
        return cells

    def _message(self, cells: Cells) -> bytes:
        parts: list[bytes] = []
        size = 6
        pack = _LENGTH.pack
        for value in cells:
            if value is None:
                parts.append(_NULL)
                size += 4
            else:
                parts.append(pack(len(value)))
                parts.append(value)
                size += 4 + len(value)
        return _HEAD.pack(b"D", size, len(cells)) + b"".join(parts)
