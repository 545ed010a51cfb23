"""Which values do nearly all rows of a column have? Said by statistics, or by the column's name."""

from __future__ import annotations

import re
from typing import Any

from processors.statements.facts.collector import NEARLY_ALL, Collector
from processors.statements.facts.plain import constant_of
from processors.statements.facts.rows import Target

DEAD = re.compile(r"(?:is_)?(?:soft_?)?(?:deleted|removed|archived|discarded)(?:_?(?:at|on|date|time|by))?\Z", re.IGNORECASE)
_ALIVE = re.compile(r"(?:is_)?(?:active|enabled|alive)\Z", re.IGNORECASE)
"""Columns by whose names nearly all rows are alike: none is deleted yet, all are in use. That counts for changes alone."""


def is_usual(column: str, target: Target, facts: Collector, *, truth: bool) -> bool:
    """Tell whether a boolean column has this value in nearly all rows: by statistics, or by its name."""
    share = facts.share_of(target.name, column, truth=truth)
    return share >= NEARLY_ALL if share is not None else bool(facts.writes and (_ALIVE if truth else DEAD).match(column))


_TRUTHS = {
    "t": True,
    "true": True,
    "y": True,
    "yes": True,
    "on": True,
    "f": False,
    "false": False,
    "n": False,
    "no": False,
    "off": False,
}


def equates_usual(column: str, value: Any, target: Target, facts: Collector) -> bool:
    """Tell whether a column is set equal to what it is in nearly all rows; where it is no such column, no literal is read."""
    named = facts.writes and (_ALIVE.match(column) or DEAD.match(column))
    if not named and facts.share_of(target.name, column, truth=True) is None:
        return False
    items = value.get("A_ArrayExpr", {}).get("elements", [value]) if isinstance(value, dict) else []
    for item in items:
        while isinstance(item, dict) and "TypeCast" in item:
            item = item["TypeCast"].get("arg", {})
        facts.asks_values = facts.asks_values or "ParamRef" in item
        constant = constant_of(item, facts) if "A_Const" in item else ...
        if constant is None:
            share = facts.share_of(target.name, column, truth=None)
            if share >= NEARLY_ALL if share is not None else bool(named and DEAD.match(column)):
                return True
        words = constant.strip(" {}").lower().split(",") if isinstance(constant, str) else [str(constant).lower()]
        truths = [_TRUTHS.get(w.strip(' "'), {"1": True, "0": False}.get(w)) for w in words]
        if any(truth is not None and is_usual(column, target, facts, truth=truth) for truth in truths):
            return True
    return False
