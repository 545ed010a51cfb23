"""Which columns of a result are masked, from the row description and the catalogue's tags. In doubt a column is masked.

A column that comes straight from a table names it by oid and attribute number, whatever the statement calls it. Anything computed
names none: it has the classes of the columns behind it, and where these are not known it is masked whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from struct import Struct
from typing import Protocol

from schemas.classes import DataClass, Style

_EVERY = frozenset(DataClass)
_TAIL = Struct(">IhIhih")
"""Of a field of RowDescription behind its name: table oid, attribute number, type oid, type size, modifier, format."""


class ColumnTags(Protocol):
    """The catalogue's tags at one moment."""

    def is_statement(self, table_oid: int, attribute: int) -> bool:
        """Return whether a column holds the statements of sessions."""
        ...

    def watched(self, table_oid: int, attribute: int) -> bool:
        """Return whether too little was seen of an untagged column to believe that it holds nothing."""
        ...

    def derived(self, table_oid: int, attribute: int) -> bool:
        """Return whether a column may hold what was computed."""
        ...

    def has(self, table_oid: int) -> bool:
        """Return whether a table is known."""
        ...

    def lookup(self, table_oid: int, attribute: int) -> frozenset[DataClass] | None:
        """Return the classes of a column, empty for one known to hold nothing; None if the catalogue does not know the column."""
        ...


Computed = Callable[[int, int], frozenset[DataClass] | None]


class Treatment(Enum):
    """What becomes of a column's cells."""

    PASS = "pass"
    MASK = "mask"
    DETECT = "detect"
    WATCH = "watch"
    """As DETECT, for a column of which nothing is known yet: what is found tags it."""
    STATEMENT = "statement"
    """SQL of sessions: shown as events show it, without its literals."""


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """What a principal may see: the classes in clear, and how the others look (`default` where `styles` names none)."""

    clear: frozenset[DataClass] = frozenset()
    styles: Mapping[DataClass, Style] = field(default_factory=dict)
    default: Style = Style.REDACT


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """One column of a result. `data_class` is the first of its classes that is not clear; free text for what is not known.

    `classes` are all of its classes, `table` and `attribute` where it comes from, for the exposure that an event counts.
    """

    treatment: Treatment
    type_oid: int = 0
    binary: bool = False
    data_class: DataClass = DataClass.FREE_TEXT
    style: Style = Style.REDACT
    classes: frozenset[DataClass] = frozenset()
    table: int = 0
    attribute: int = 0
    known: bool = True

    @property
    def nulls_tell(self) -> bool:
        """Whether NULLs are masked as well: where a value is computed, a condition may have made them."""
        return self.table == 0 and self.treatment is Treatment.MASK and self.style is Style.REDACT


def plan_result(
    description: bytes,
    tags: ColumnTags | None,
    principal: MaskPlan,
    computed: Computed,
    *,
    formats: tuple[int, ...] | None = None,
    watch: bool = False,
    own: Callable[[int], frozenset[DataClass] | None] | None = None,
) -> tuple[ColumnPlan, ...]:
    """Return a plan for each column of a RowDescription's body; `tags` None means that no catalogue could be read.

    `computed` tells the classes behind column n of a count, None if not known. `formats` are those a Bind asked for, which
    a description of the statement does not know: none, one for all, one each. `watch`: also search
    what is computed of untagged columns; `own` tells of columns that the catalogue does not know and that are temporary tables'
    of the session, beside what is behind them as computed. Raises ValueError on a description that is none.
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
        classes = computed(n, count) if table == 0 else tags.lookup(table, attribute) if tags is not None else None
        if own is not None and table and classes is None and tags is not None and not tags.has(table):
            classes, watch = computed(n, count), True
            held = own(attribute) if attribute > 0 else None
            if held is not None and classes is not None:  # it may be of another table that was made anew meanwhile
                classes = classes | held
            table = attribute = 0
        watched = watch if table == 0 else tags is not None and tags.watched(table, attribute)
        plan = planned(classes, principal, type_oid, code != 0, table, attribute, watched)
        if table and tags is not None:
            plan = only_stored(plan, tags)
        if plan.treatment is Treatment.MASK and table and tags is not None and tags.is_statement(table, attribute):
            plan = replace(plan, treatment=Treatment.STATEMENT, data_class=DataClass.FREE_TEXT)
        plans.append(plan)
    if at != len(description):
        raise ValueError("RowDescription is longer than its fields")
    return tuple(plans)


def planned(
    classes: frozenset[DataClass] | None,
    principal: MaskPlan,
    type_oid: int,
    binary: bool,
    table: int = 0,
    attribute: int = 0,
    watched: bool = False,
) -> ColumnPlan:
    """Return the plan of one column; `classes` None: not known, as of whole-row, system and dropped columns."""
    if classes is None:
        # Whoever may see everything need not be kept from what nobody knows.
        treatment = Treatment.PASS if principal.clear >= _EVERY else Treatment.MASK
        style = _strict(principal.default) if table or principal.default is Style.NULL else Style.REDACT
        return ColumnPlan(treatment, type_oid, binary, DataClass.FREE_TEXT, style, frozenset(), table, attribute, False)
    hidden = sorted(classes - principal.clear)
    if not hidden:
        treatment = Treatment.WATCH if watched and not classes and not principal.clear >= _EVERY else Treatment.PASS
        return ColumnPlan(treatment, type_oid, binary, classes=classes, table=table, attribute=attribute)
    if hidden == [DataClass.FREE_TEXT]:
        return ColumnPlan(Treatment.DETECT, type_oid, binary, classes=classes, table=table, attribute=attribute)
    data_class = next(c for c in hidden if c is not DataClass.FREE_TEXT)
    style = principal.styles.get(data_class, principal.default)
    # Several classes in one column: what `partial` keeps for one could be the other. Computed: it keeps of a part what is the
    # part, and equal tokens of single letters spell the word.
    if len(hidden) > 1 or table == 0:
        style = Style.REDACT if table == 0 and style is not Style.NULL else _strict(style)
    return ColumnPlan(Treatment.MASK, type_oid, binary, data_class, style, classes, table, attribute)


SPEAKING = (Style.PARTIAL, Style.TOKEN, Style.BUCKET)
"""What tells something of a value: of a value as it is what it should, of a part or a mixture what it should not."""


def only_stored(plan: ColumnPlan, tags: ColumnTags) -> ColumnPlan:
    """Return the plan of a table's column, redacted where it may hold what was computed."""
    speaks = plan.treatment is Treatment.MASK and plan.style in SPEAKING
    return replace(plan, style=Style.REDACT) if speaks and tags.derived(plan.table, plan.attribute) else plan


def _strict(style: Style) -> Style:
    return Style.REDACT if style in (Style.PARTIAL, Style.BUCKET) else style
