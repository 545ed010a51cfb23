"""Which columns does the condition of an UPDATE or DELETE compare with how many values, as far as statistics could tell?"""

from __future__ import annotations

from collections.abc import Mapping

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.rows import Target
from processors.statements.facts.trees import strings, walk
from processors.statements.sizes import ANYTHING, LISTED, Condition

_DEPTH = 32
_PARTS = 64
"""Arms of one AND or OR that are looked at; what generators write with more is a list in other words."""


def condition_of(node: Node | None, target: Target, facts: Collector, depth: int = _DEPTH) -> Condition:
    """Return what a condition compares."""
    if not isinstance(node, dict) or len(node) != 1 or depth <= 0:
        return ANYTHING
    kind, fields = next(iter(node.items()))
    if kind == "BoolExpr" and fields.get("boolop") != "NOT_EXPR":
        args = fields.get("args", [])
        together = fields.get("boolop") == "AND_EXPR"
        if len(args) > _PARTS and not together:
            return ANYTHING
        parts = tuple(condition_of(arg, target, facts, depth - 1) for arg in args[:_PARTS])
        return ("and" if together else "or", *parts) if parts else ANYTHING
    if kind == "NullTest" and fields.get("nulltesttype", "IS_NULL") == "IS_NULL":
        column = _column(fields.get("arg", {}), target)
        return ("null", column) if column else ANYTHING
    if kind == "A_Expr":
        return _comparison(fields, target, facts)
    if kind == "BoolExpr":
        kind, fields = next(iter((fields.get("args") or [{}])[0].items()), ("", {}))
    tested = fields.get("arg", {}) if kind == "BooleanTest" else {kind: fields}
    if (column := _column(tested, target)) and kind in ("ColumnRef", "BooleanTest"):
        unknown = kind == "BooleanTest" and fields.get("booltesttype") in ("IS_NOT_TRUE", "IS_NOT_FALSE")
        return ("or", ("equal", column, 1), ("null", column)) if unknown else ("equal", column, 1)
    return ANYTHING


def of_base(condition: Condition, names: Mapping[str, str]) -> Condition:
    """Return a condition on columns of a view as one on the columns of its table that they are: `names` maps them."""
    match condition:
        case ("equal" | "null", str(column), *rest):
            return (condition[0], names[column], *rest) if column in names else ANYTHING
        case ("and" | "or", *parts):
            return (condition[0], *(of_base(part, names) for part in parts if isinstance(part, tuple)))
    return condition


def _comparison(fields: Node, target: Target, facts: Collector) -> Condition:
    names = strings(fields.get("name", ()))
    if names[-1:] != ["="] or facts.is_redefined(names, operator=True):
        return ANYTHING
    left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
    match fields.get("kind", "AEXPR_OP"):
        case "AEXPR_OP" | "AEXPR_NOT_DISTINCT":
            for one, other in ((left, right), (right, left)):
                if (column := _column(one, target)) and _is_value(other):
                    return ("equal", column, 1)
                default = one.get("CoalesceExpr", {}).get("args", []) if isinstance(one, dict) else []
                if len(default) == 2 and (column := _column(default[0], target)) and _is_value(default[1]) and _is_value(other):
                    return ("or", ("equal", column, 1), ("null", column))
        case "AEXPR_IN":
            column, items = _column(left, target), right.get("List", {}).get("items", []) if isinstance(right, dict) else []
            if column and items and all(map(_is_value, items)):
                return ("equal", column, LISTED if facts.elided else len(items))
        case "AEXPR_OP_ANY":
            column = _column(left, target)
            if column and _is_value(right):
                return ("equal", column, LISTED)
    return ANYTHING


def _column(node: Node, target: Target) -> str:
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    names = strings(node.get("ColumnRef", {}).get("fields", ())) if isinstance(node, dict) else []
    if len(names) == 1:
        return "" if names[0] in target.foreign or target.others else names[0]
    return names[1] if len(names) == 2 and names[0] in target.aliases else ""


def _is_value(node: object) -> bool:
    """Whether it is the same for every row: neither a column nor a query is in it."""
    return isinstance(node, dict) and not any(kind in ("ColumnRef", "SubLink", "CurrentOfExpr") for kind, _ in walk(node))
