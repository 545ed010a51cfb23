"""How much of a table would an UPDATE or DELETE change? An estimate from the database's own statistics, as numbers alone.

Statements say which columns they compare with how many values (`Condition`); statistics say how many rows a table has and which
share of them the commonest value of a column has: never which value that is. So an estimate is of the worst value that could be
meant. What statistics cannot tell (ranges, patterns, joins, subqueries) leaves out nothing, and is said not to be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil

Condition = tuple[object, ...]
"""`("equal", column, values)`, `("null", column)`, `("and", …)`, `("or", …)`, or `ANYTHING`."""
ANYTHING: Condition = ("anything",)
LISTED = 100
"""Values that a list of unknown length counts as: in a normalised text all lists are of one."""


@dataclass(frozen=True, slots=True)
class Size:
    """A table's statistics: by column the largest share of the rows that one value has (`commonest`), and that of NULL.

    `keys`: between which numbers a primary key of one whole number lies, which counts rows and says nothing of them.
    `truths`: the share of the rows in which a boolean column is true.
    """

    rows: int
    commonest: Mapping[str, float] = field(default_factory=dict)
    nulls: Mapping[str, float] = field(default_factory=dict)
    keys: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    truths: Mapping[str, float] = field(default_factory=dict)

    def share_beyond(self, column: str, bound: float, *, upward: bool) -> float:
        """Return the share of the rows whose key is above (or below) a bound, as if keys lay evenly; 0 where it is not known."""
        low, high = self.keys.get(column, (0.0, 0.0))
        if high <= low:
            return 0.0
        part = (high - bound if upward else bound - low) / (high - low)
        return min(1.0, max(0.0, part))


Sizes = Mapping[str, Mapping[str, Size]]
"""By name of a table and its schema."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a statement would change of one table, of several that of which it would change most.

    `known`: statistics tell what its condition leaves out, of every table that it changes.
    """

    table_rows: int = -1
    rows: int = -1
    percent: int = 100
    known: bool = False


NO_CHANGE = Change(-1, 0, 0, False)
"""Of what changes no rows of a table, or only adds some."""


def change_of(changes: Iterable[tuple[str, Condition]], sizes: Sizes) -> Change:
    """Return the estimate for (`schema.table`, condition) of each UPDATE and DELETE in a statement."""
    found = [_change(table, condition, sizes) for table, condition in changes]
    if not found:
        return NO_CHANGE
    most = max(found, key=lambda c: (c.rows, c.percent))
    return most if all(c.known for c in found) else replace(most, known=False)


def _change(table: str, condition: Condition, sizes: Sizes) -> Change:
    schema, _, name = table.partition(".")
    named = sizes.get(name, {})
    meant = [size for where, size in named.items() if schema in (where, "?")]
    if not meant:
        return Change()
    size = max(meant, key=lambda s: s.rows)
    part, known = _share(condition, size)
    return Change(size.rows, min(size.rows, ceil(part * size.rows)), min(100, ceil(part * 100)), known)


def _share(condition: Condition, size: Size) -> tuple[float, bool]:
    """Return the share of the rows that meet a condition, at most, and whether statistics tell."""
    match condition:
        case ("equal", str(column), int(values)):
            share = size.commonest.get(column)
            return (1.0, False) if share is None else (min(1.0, share * values), True)
        case ("null", str(column)):
            share = size.nulls.get(column)
            return (1.0, False) if share is None else (share, True)
        case ("and", *parts):
            shares = [_share(part, size) for part in parts if isinstance(part, tuple)]
            return min(s for s, _ in shares), any(known for _, known in shares)
        case ("or", *parts):
            shares = [_share(part, size) for part in parts if isinstance(part, tuple)]
            return min(1.0, sum(s for s, _ in shares)), all(known for _, known in shares)
    return 1.0, False
