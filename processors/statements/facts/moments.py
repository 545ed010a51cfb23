"""Which moments leave rows out as the bound of a column? Not now where all is older, no year beyond any, no endless interval."""

from __future__ import annotations

import re
from typing import Any

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.plain import LONG, constant_of, constants_in
from processors.statements.facts.trees import calls, strings

NOW = frozenset(
    [
        "now",
        "current_timestamp",
        "clock_timestamp",
        "statement_timestamp",
        "transaction_timestamp",
        "localtimestamp",
        "current_date",
    ]
)
_DEADLINE = re.compile(
    r"expir|until|valid_to|deadline|due|_end|end_|ends|ttl|retry|next|schedul|run_at|lease|timeout|not_after|available|visible|delete",
    re.IGNORECASE,
)
NAMED = ("now", "today", "tomorrow", "yesterday")
"""Moments as words."""
_SPAN = re.compile(r"(\d+)\s*([a-zA-Z]+)")
_DAYS = {
    "sec": 1e-5,
    "min": 7e-4,
    "hou": 0.04,
    "day": 1,
    "wee": 7,
    "mon": 30,
    "yea": 365,
    "s": 1e-5,
    "m": 7e-4,
    "h": 0.04,
    "d": 1,
}
_MADE = frozenset(
    ("date_trunc", "make_date", "make_timestamp", "make_timestamptz", "make_interval", "to_date", "to_timestamp", "timezone")
)
"""Functions that make a moment of constants and parameters."""
EARLY, LATE = "2000", "2090"
PARTS = {"quarter": 4, "month": 12, "day": 31, "dow": 7, "isodow": 7, "hour": 24, "minute": 60, "second": 60, "week": 53}
"""Values that a part of a date has."""


def is_deadline(column: str) -> bool:
    """Tell whether a column's name says that its moments are to come, so that few of them have passed."""
    return _DEADLINE.search(column) is not None


def is_bound(value: Node, column: str, facts: Collector, *, upward: bool) -> bool:
    """Tell whether rows are left out by a bound that functions make, if any do; `upward`: the column is to be greater."""
    parts = list(calls(value))
    if any(p not in NOW and p not in _MADE for p in parts):
        return False
    if any(p in NOW for p in parts):
        if "A_Expr" not in value:
            return upward or is_deadline(column)
        intervals = [c for c in constants_in(value, facts) if isinstance(c, str)]
        if any(_far(c) for c in intervals):
            return False
        forward = strings(value["A_Expr"].get("name", ()))[-1:] == ["+"]
        return forward == upward or is_deadline(column) or (not forward and bool(intervals)) or not intervals
    if parts:
        # A moment made of constants: seconds since 1970, or a year to begin with.
        first = next((c for c in constants_in(value, facts) if isinstance(c, int | float)), None)
        low, high = (946_684_800, 3_786_912_000) if "to_timestamp" in parts else (2000, 2090)
        return first is None or (first >= low if upward else first < high)
    return True


def date_part(node: Any, facts: Collector) -> str | None:
    """Return which part of a date an expression takes, None if it takes none."""
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    called = node.get("FuncCall", {}) if isinstance(node, dict) else {}
    if (strings(called.get("funcname", ())) or [""])[-1] not in ("extract", "date_part"):
        return None
    return str(constant_of((called.get("args") or [{}])[0], facts)).lower()


def _far(interval: str) -> bool:
    """Tell whether an interval is none at all, or so long that nothing lies beyond it."""
    return bool(LONG.search(interval)) or not 0 < days_of(interval) < 15 * 365


def days_of(interval: str) -> float:
    """Return about how many days an interval has; 0 if it says none."""
    return sum(int(count[:9]) * _DAYS.get(unit[:3].lower(), 0.0) for count, unit in _SPAN.findall(interval))
