"""Which columns of a result are masked, from the row description and the catalogue's tags. In doubt a column is masked.

A column that comes straight from a table names it by oid and attribute number, whatever the statement calls it. Anything computed
names none: in a statement that touches tagged columns it is masked whole, unless its lineage was proved to hold nothing tagged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from struct import Struct
from typing import Protocol

from ingest.masking.cells import Style
from schemas.classes import DataClass

_TAIL = Struct(">IhIhih")
"""Of a field of RowDescription behind its name: table oid, attribute number, type oid, type size, modifier, format."""


class ColumnTags(Protocol):
    """The catalogue's tags at one moment."""

    def lookup(self, table_oid: int, attribute: int) -> frozenset[DataClass] | None:
        """Return the classes of a column, empty for one known to hold nothing; None if the catalogue does not know the column."""
        ...


class Treatment(Enum):
    """What becomes of a column's cells."""

    PASS = "pass"
    MASK = "mask"
    DETECT = "detect"


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """What a principal may see: the classes in clear, and how the others look (`default` where `styles` names none)."""

    clear: frozenset[DataClass] = frozenset()
    styles: Mapping[DataClass, Style] = field(default_factory=dict)
    default: Style = Style.REDACT


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """One column of a result. `data_class` is the first of its classes that is not clear; free text for what is computed."""

    treatment: Treatment
    type_oid: int = 0
    binary: bool = False
    data_class: DataClass = DataClass.FREE_TEXT
    style: Style = Style.REDACT


def plan_result(
    description: bytes,
    tags: ColumnTags | None,
    principal: MaskPlan,
    *,
    touches_tagged: bool,
    safe: frozenset[int] = frozenset(),
    formats: tuple[int, ...] | None = None,
) -> tuple[ColumnPlan, ...]:
    """Return a plan for each column of a RowDescription's body; `tags` None means that no catalogue could be read.

    `safe` are positions of computed columns proved to hold nothing tagged. `formats` are those a Bind asked for, which a
    description of the statement does not know: none, one for all, or one each. Raises ValueError on a description that is none.
    """
    count = int.from_bytes(description[:2], "big")
    if formats is not None and len(formats) not in (0, 1, count):
        raise ValueError(f"{len(formats)} result formats for {count} columns")
    plans = []
    at = 2
    for n in range(count):
        at = description.index(b"\x00", at) + 1
        if at + _TAIL.size > len(description):
            raise ValueError("RowDescription ends within a field")
        table, attribute, type_oid, _, _, code = _TAIL.unpack_from(description, at)
        at += _TAIL.size
        if formats is not None:
            code = formats[n] if len(formats) == count else formats[0] if formats else 0
        plans.append(_column(table, attribute, type_oid, code != 0, tags, principal, touches_tagged and n not in safe))
    if at != len(description):
        raise ValueError("RowDescription is longer than its fields")
    return tuple(plans)


def _column(
    table: int, attribute: int, type_oid: int, binary: bool, tags: ColumnTags | None, principal: MaskPlan, doubtful: bool
) -> ColumnPlan:
    unknown = ColumnPlan(Treatment.MASK, type_oid, binary, DataClass.FREE_TEXT, _strict(principal.default))
    if tags is None:
        return unknown
    if table == 0:
        return unknown if doubtful else ColumnPlan(Treatment.PASS, type_oid, binary)
    # A whole-row, system or dropped column is not in the catalogue's snapshot and so not known.
    classes = tags.lookup(table, attribute)
    if classes is None:
        return unknown
    hidden = sorted(classes - principal.clear)
    if not hidden:
        return ColumnPlan(Treatment.PASS, type_oid, binary)
    if hidden == [DataClass.FREE_TEXT]:
        return ColumnPlan(Treatment.DETECT, type_oid, binary)
    data_class = next(c for c in hidden if c is not DataClass.FREE_TEXT)
    style = principal.styles.get(data_class, principal.default)
    # Several classes in one column: what `partial` keeps for one could be the other.
    return ColumnPlan(Treatment.MASK, type_oid, binary, data_class, _strict(style) if len(hidden) > 1 else style)


def _strict(style: Style) -> Style:
    return Style.REDACT if style is Style.PARTIAL else style
