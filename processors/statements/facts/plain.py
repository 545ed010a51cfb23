"""Is an expression a column of the table in question, or a constant? What `restriction` builds its proofs from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.patterns import is_trivial
from processors.statements.facts.rows import Target
from processors.statements.facts.trees import columns, strings, walk

_WRAPPERS = frozenset(
    [
        "lower",
        "upper",
        "trim",
        "btrim",
        "ltrim",
        "rtrim",
        "initcap",
        "date",
        "date_trunc",
        "date_part",
        "extract",
        "timezone",
        "to_char",
        "to_date",
        "to_timestamp",
        "unaccent",
        "md5",
        "sha256",
        "digest",
        "encode",
        "jsonb_extract_path_text",
        "json_extract_path_text",
        "jsonb_extract_path",
        "coalesce",
        "hashtext",
        "text",
        "int4",
        "int8",
        "numeric",
        "host",
    ]
)
"""Functions of a column whose value still tells its rows apart."""
LONG = re.compile(r"decade|centur|millen|infinity", re.IGNORECASE)
_SYSTEM_COLUMNS = frozenset(("tableoid", "xmin", "xmax", "cmin", "cmax"))


def own_column(node: Any, target: Target, facts: Collector | None = None) -> str | None:
    """Return the target's column that an expression is a plain form of: itself, cast, or under a function that keeps it apart."""
    for _ in range(8):
        if not isinstance(node, dict) or len(node) != 1:
            return None
        kind, fields = next(iter(node.items()))
        if kind == "ColumnRef":
            names = strings(fields.get("fields", ()))
            if not names or len(names) != len(fields.get("fields", ())):
                return None
            if (names[-2] not in target.aliases) if len(names) > 1 else (names[-1] in target.foreign):
                return None
            if target.columns is not None and names[-1] not in target.columns:
                return None
            return None if names[-1] in _SYSTEM_COLUMNS else names[-1]
        if kind == "TypeCast" or kind == "CollateClause":
            node = fields.get("arg")
        elif kind == "FuncCall":
            node = _wrapped(fields, facts)
        elif kind == "CoalesceExpr":
            # Whatever stands before the column may hide it: `coalesce(1, id)` is 1.
            node = (fields.get("args") or [None])[0]
        elif kind == "A_Expr":
            name = (strings(fields.get("name", ())) or [""])[-1]
            if name not in ("->>", "->", "#>>", "#>"):
                return None
            node = fields.get("lexpr")
        elif kind == "A_Indirection":
            node = fields.get("arg")
        else:
            return None
    return None


def _wrapped(fields: Node, facts: Collector | None) -> Any:
    """Return the argument whose values a call of one of `_WRAPPERS` keeps apart."""
    args, names = fields.get("args", []), strings(fields.get("funcname", ())) or [""]
    if names[-1] not in _WRAPPERS or not args or (facts is not None and facts.is_redefined(names)):
        return None
    found = [a for a in args if any(True for _ in columns(a))]
    if len(found) != 1:
        return None
    others = [a for a in args if a is not found[0]]
    if facts is not None and others and names[-1] in ("date_trunc", "date_part", "extract", "to_char"):
        how = constant_of(others[0], facts)
        if isinstance(how, str) and (LONG.search(how) or (names[-1] == "to_char" and not _FORMAT.search(_QUOTED.sub("", how)))):
            return None
    return found[0]


_QUOTED = re.compile(r'"[^"]*"')
_FORMAT = re.compile(r"YY|DD|Y,YYY|HH|MI|SS|IW|WW|MM|Mon|9|0|J", re.IGNORECASE)
"""Patterns of to_char that rows differ in."""


def is_selective(pattern: Any, facts: Collector) -> bool:
    """Tell whether a pattern can fail: constants that may match everything do not; what is computed is not known to."""
    if "FuncCall" in pattern:
        name = (strings(pattern["FuncCall"].get("funcname", ())) or [""])[-1]
        if name in ("like_escape", "similar_to_escape", "similar_escape"):
            pattern = (pattern["FuncCall"].get("args") or [{}])[0]
    while "TypeCast" in pattern:
        pattern = pattern["TypeCast"].get("arg", {})
    if "ParamRef" in pattern:
        facts.asks_values = True
        return True
    if "A_Const" not in pattern:
        texts = [c for c in constants_in(pattern, facts) if isinstance(c, str)]
        if any(not is_trivial(c) for c in texts):
            return True
        facts.asks_values = facts.asks_values or any(True for _ in params(pattern))
        return any(True for _ in params(pattern))
    return facts.pattern(pattern["A_Const"]) is None


def bare(node: Any) -> Any:
    """Return what `(SELECT value)` selects, anything else as it is."""
    for _ in range(8):
        query = node.get("SubLink", {}).get("subselect", {}).get("SelectStmt", {}) if isinstance(node, dict) else {}
        targets = query.get("targetList", [])
        if len(targets) != 1 or query.keys() - {"targetList", "limitOption", "op"}:
            break
        node = targets[0].get("ResTarget", {}).get("val", {})
    return node


def constant_of(node: Any, facts: Collector, depth: int = 8) -> Any:
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    if isinstance(node, dict) and "A_Const" in node:
        return facts.constant(node["A_Const"])
    if isinstance(node, dict) and "A_Expr" in node and depth > 0:
        fields = node["A_Expr"]
        right = constant_of(fields.get("rexpr", {}), facts, depth - 1)
        if not isinstance(right, int | float) or isinstance(right, bool):
            return None
        name = (strings(fields.get("name", ())) or [""])[-1]
        if "lexpr" not in fields:
            return -right
        left = constant_of(fields["lexpr"], facts, depth - 1) if name in ("+", "-") else None
        if isinstance(left, int | float) and not isinstance(left, bool):
            return left + right if name == "+" else left - right
    return None


def constants_in(node: Any, facts: Collector) -> Iterator[Any]:
    for key, value in walk(node):
        if key == "A_Const":
            yield facts.constant(value)


def params(node: Any) -> Iterator[str]:
    return (key for key, _ in walk(node) if key == "ParamRef")
