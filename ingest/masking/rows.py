"""Rewrites a stream of backend messages: the cells of DataRow by plan, everything else as it is. Fed any cut of the stream.

A row has its length in front, so it is held until whole, up to `max_row` bytes. A longer row is never held: its bytes are dropped
as they come and a row of NULLs stands for it, unless no column of the result is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from ingest.masking.cells import detected, masked
from ingest.masking.plan import ColumnPlan, Treatment
from processors.sensitivity import Scanner
from processors.statements import Tokenizer
from schemas.classes import DataClass

MAX_ROW = 16 * 1024**2
"""Bytes of one row held to be masked; longer cells are documents that nobody reads cell by cell."""

_LENGTH = Struct(">i")
_NULL = b"\xff\xff\xff\xff"
_ROW = ord("D")


class RowMasker:
    """Masks the rows of one result. `masked` counts by class what was hidden."""

    def __init__(self, plan: Sequence[ColumnPlan], scanner: Scanner, tokenizer: Tokenizer, max_row: int = MAX_ROW) -> None:
        self._plan = tuple(plan)
        self._scanner = scanner
        self._tokenizer = tokenizer
        self._max_row = max_row
        self._passes = all(c.treatment is Treatment.PASS for c in self._plan)
        self._held = bytearray()
        self._skip = 0
        self._through = 0
        self.masked: dict[DataClass, int] = {}
        self.oversize = 0
        """Rows that were longer than `max_row` and are a row of NULLs."""

    def feed(self, data: bytes) -> bytes:
        """Return what the client gets. Raises ValueError on a row that does not fit the plan: nothing of it is returned."""
        if self._passes:
            return data
        held = self._held
        held += data
        out: list[bytes] = []
        at, size = 0, len(held)
        while at < size:
            if self._skip or self._through:
                step = min(self._skip or self._through, size - at)
                if self._skip:
                    self._skip -= step
                else:
                    out.append(bytes(held[at : at + step]))
                    self._through -= step
                at += step
                continue
            if size - at < 5:
                break
            length = _LENGTH.unpack_from(held, at + 1)[0]
            if length < 4:
                raise ValueError(f"a message claims a length of {length} bytes")
            if held[at] != _ROW:
                self._through = length + 1
                continue
            if length > self._max_row:
                self.oversize += 1
                self._skip = length + 1
                out.append(_message(len(self._plan), _NULL * len(self._plan)))
                continue
            if size - at < length + 1:
                break
            out.append(self._row(bytes(held[at + 5 : at + 1 + length])))
            at += length + 1
        del held[:at]
        return b"".join(out)

    def _row(self, body: bytes) -> bytes:
        count = int.from_bytes(body[:2], "big")
        if count != len(self._plan):
            raise ValueError(f"a row of {count} columns where {len(self._plan)} were described")
        cells: list[bytes] = []
        at = 2
        for column in self._plan:
            if at + 4 > len(body):
                raise ValueError("a row ends within a cell's length")
            length = _LENGTH.unpack_from(body, at)[0]
            at += 4
            if length < 0:
                cells.append(_NULL)
                continue
            if at + length > len(body):
                raise ValueError("a cell is longer than its row")
            value: bytes | None = body[at : at + length]
            at += length
            if column.treatment is not Treatment.PASS:
                value = self._cell(column, value or b"")
            cells.append(_NULL if value is None else _LENGTH.pack(len(value)) + value)
        if at != len(body):
            raise ValueError("a row is longer than its cells")
        return _message(count, b"".join(cells))

    def _cell(self, column: ColumnPlan, value: bytes) -> bytes | None:
        if column.treatment is Treatment.DETECT:
            found: dict[DataClass, int] = {}
            result = detected(value, column.type_oid, column.binary, self._scanner, found)
            if result is not value and not found:
                found = {DataClass.FREE_TEXT: 1}
            for data_class, n in found.items():
                self._count(data_class, n)
            return result
        self._count(column.data_class, 1)
        return masked(value, column.data_class, column.style, column.type_oid, column.binary, self._tokenizer)

    def _count(self, data_class: DataClass, n: int) -> None:
        self.masked[data_class] = self.masked.get(data_class, 0) + n


def _message(count: int, cells: bytes) -> bytes:
    return b"D" + _LENGTH.pack(len(cells) + 6) + count.to_bytes(2, "big") + cells
