"""DataRow messages cut into cells, many at once, and written again with other cells.

Rows are cut no further than the last column that something is done to; what lies between the cells that change passes as it
came. Work is by column and not by cell, because a list of a thousand slices costs Python little more than one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from struct import Struct, error
from typing import Final

_LENGTH = Struct(">i")
_START = Struct(">BI2s")
"""Of a row: type, length, and its number of columns as it stands."""
_HEAD = Struct(">ci")
_ROW: Final = ord("D")
_NEGATIVE: Final = 1 << 31
_TOO_SHORT: Final = (b"\0\0\0\4", b"\0\0\0\5")
"""Lengths of rows that end before their number of columns."""
COMPILED: Final = not __file__.endswith(".py")
_HEADS = tuple(_HEAD.pack(b"D", size + 4) for size in range(2048))
"""What stands before the bodies of rows, by their sizes: made once for those that are not long, which most are."""


class Cut:
    """Rows of one run, cut into the cells of their first `walked` columns.

    `places` holds for each row where its cells' values begin, then where that of one column more would begin, then its end. A
    NULL has no bytes; its index in `places` is in `nulls`.
    """

    __slots__ = ("count", "data", "end", "nulls", "places", "stride")

    def __init__(self, data: bytes, pos: int, columns: int, walked: int) -> None:
        """Cut the whole rows at `pos`, which are to have so many columns. Raises ValueError, struct.error."""
        places: list[int] = []
        nulls: list[int] = []
        walk = walk_compiled if COMPILED else walk_interpreted
        pos = walk(data, pos, columns, walked, places, nulls)
        if 5 <= len(data) - pos < 7 and data[pos] == _ROW and data[pos + 1 : pos + 5] in _TOO_SHORT:
            raise ValueError("a row without a number of columns")
        self.data = data
        self.end = pos
        self.places = places
        self.nulls = nulls
        self.stride = walked + 2
        self.count = len(places) // self.stride

    def cells(self, column: int) -> list[bytes]:
        """Return the values of a column, empty for NULL."""
        data, places, stride = self.data, self.places, self.stride
        return [data[a : b - 4] for a, b in zip(places[column::stride], places[column + 1 :: stride], strict=True)]

    def null(self, column: int) -> list[int]:
        """Return the numbers of the rows in which a column is NULL."""
        stride = self.stride
        return [place // stride for place in self.nulls if place % stride == column] if self.nulls else []

    def written(self, changed: Sequence[tuple[int, list[bytes] | bytes]]) -> bytes:
        """Return the rows with other cells: by column, in order, its cells with their lengths before them.

        One cell instead of a list stands in every row.
        """
        data, places, stride = self.data, self.places, self.stride
        parts: list[list[bytes]] = []
        begins, behind = places[0::stride], 0
        for column, cells in changed:
            if not parts:  # the number of columns is before the first cell's length
                ends = places[column::stride]
                parts.append([data[a - 6 : b - 4] for a, b in zip(begins, ends, strict=True)])
            elif column != behind:
                parts.append([data[a - 4 : b - 4] for a, b in zip(begins, places[column::stride], strict=True)])
            parts.append(cells if isinstance(cells, list) else [cells] * self.count)
            behind = column + 1
            begins = places[behind::stride]
        parts.append([data[a - 4 : b] for a, b in zip(begins, places[stride - 1 :: stride], strict=True)])
        bodies = list(map(b"".join, zip(*parts, strict=True)))
        sizes = list(map(len, bodies))
        short = max(sizes) < len(_HEADS)
        heads = [_HEADS[size] for size in sizes] if short else [_HEAD.pack(b"D", size + 4) for size in sizes]
        return b"".join(chain.from_iterable(zip(heads, bodies, strict=True)))


def walk_interpreted(data: bytes, pos: int, columns: int, walked: int, places: list[int], nulls: list[int]) -> int:
    """Note the places of whole rows at `pos` and return where they end, as fast as it goes in Python."""
    add, unpack, start, size, head = places.append, _LENGTH.unpack_from, _START.unpack_from, len(data), columns.to_bytes(2, "big")
    every = range(walked)
    kind: int
    length: int
    while size - pos >= 7:
        kind, length, said = start(data, pos)
        end = pos + 1 + length
        if kind != _ROW or end > size:
            break
        if said != head:
            raise _foreign(data, pos, columns)
        at = pos + 7
        for _ in every:
            (length,) = unpack(data, at)
            at += 4
            add(at)
            if length > 0:
                at += length
            elif length < 0:
                nulls.append(len(places) - 1)
        if at > end or (walked == columns and at != end):
            raise ValueError("a row is longer or shorter than its cells")
        add(at + 4)
        add(end)
        pos = end
    return pos


def walk_compiled(data: bytes, pos: int, columns: int, walked: int, places: list[int], nulls: list[int]) -> int:
    """The same byte by byte: several times as fast where it is compiled, and slower where it is not."""
    size = len(data)
    while size - pos >= 7 and data[pos] == _ROW:
        end = pos + 1 + (data[pos + 1] << 24 | data[pos + 2] << 16 | data[pos + 3] << 8 | data[pos + 4])
        if end > size:
            break
        if data[pos + 5] << 8 | data[pos + 6] != columns:
            raise _foreign(data, pos, columns)
        at = pos + 7
        for _ in range(walked):
            if at + 4 > size:
                raise error("a row ends within a cell's length")
            length = data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]
            at += 4
            places.append(at)
            if length < _NEGATIVE:
                at += length
            else:
                nulls.append(len(places) - 1)
        if at > end or (walked == columns and at != end):
            raise ValueError("a row is longer or shorter than its cells")
        places.append(at + 4)
        places.append(end)
        pos = end
    return pos


def _foreign(data: bytes, pos: int, columns: int) -> ValueError:
    count = int.from_bytes(data[pos + 5 : pos + 7], "big")
    return ValueError(f"a row of {count} columns where {columns} were described")
