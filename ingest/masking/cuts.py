"""DataRow messages cut into cells, many at once, and written again with other cells.

Rows are cut no further than the last column that something is done to; what lies between the cells that change passes as it
came. Work is by column and not by cell, because a list of a thousand slices costs Python little more than one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from struct import Struct

_LENGTH = Struct(">i")
_HEAD = Struct(">ci")
_ROW = ord("D")
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
        add, unpack, size, head = places.append, _LENGTH.unpack_from, len(data), columns.to_bytes(2, "big")
        every = range(walked)
        length: int
        while size - pos >= 5 and data[pos] == _ROW:
            (length,) = unpack(data, pos + 1)
            end = pos + 1 + length
            if end > size:
                break
            if data[pos + 5 : pos + 7] != head:
                count = int.from_bytes(data[pos + 5 : pos + 7], "big")
                raise ValueError(f"a row of {count} columns where {columns} were described")
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
