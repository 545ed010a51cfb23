"""Is a condition always true? Folds what stands in it as constants, by three values: true, false, not known.

Flagged is a condition that folds to true as a whole, and any OR with an arm that does: `WHERE 1=1 AND id = 5`, as
generators write it, is neither. Where lists were elided from the tree, a constant looked for in one makes the condition true.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from processors.statements.facts.collector import UNKNOWN, Collector, Node
from schemas.events import StatementFlag

MAX_DEPTH = 60
"""Nesting of a condition that is folded; deeper ones are not known."""

_TRUE_WORDS = frozenset(("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"))
_FALSE_WORDS = frozenset(("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"))

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "length": lambda a: len(str(a)),
    "char_length": lambda a: len(str(a)),
    "lower": lambda a: str(a).lower(),
    "upper": lambda a: str(a).upper(),
    "ascii": lambda a: ord(str(a)[0]),
    "chr": lambda a: chr(int(a)),
    "abs": lambda a: abs(a),
    "md5": lambda a: UNKNOWN,
}


def judge(condition: Node, facts: Collector) -> None:
    """Flag the statement if its condition is, or has an OR arm that is, always true."""
    if _truth(condition, facts, MAX_DEPTH) is True:
        facts.flag(StatementFlag.TAUTOLOGY)


def _truth(node: Node, facts: Collector, depth: int) -> bool | None:
    value = _fold(node, facts, depth)
    if value is UNKNOWN or value is None:
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE_WORDS else False if word in _FALSE_WORDS else None
    return bool(value)


def _fold(node: Node, facts: Collector, depth: int) -> Any:
    """Return the constant value of an expression, None for NULL, UNKNOWN if it has none or none is known."""
    if depth <= 0 or not isinstance(node, dict) or len(node) != 1:
        return UNKNOWN
    kind, fields = next(iter(node.items()))
    fold = _FOLDS.get(kind)
    return fold(fields, facts, depth - 1) if fold else UNKNOWN


def _bool(fields: Node, facts: Collector, depth: int) -> Any:
    truths = [_truth(arg, facts, depth) for arg in fields.get("args", ())]
    match fields.get("boolop"):
        case "NOT_EXPR":
            return UNKNOWN if truths[0] is None else not truths[0]
        case "AND_EXPR":
            return False if False in truths else True if all(t is True for t in truths) else UNKNOWN
        case _:
            if True in truths:
                facts.flag(StatementFlag.TAUTOLOGY)
                return True
            if are_complementary(fields.get("args", ())):
                facts.flag(StatementFlag.TAUTOLOGY)
                return True
            return False if all(t is False for t in truths) else UNKNOWN


def are_complementary(args: list[Node]) -> bool:
    """Tell whether two arms are `x IS NULL` and `x IS NOT NULL`."""
    tests = [a["NullTest"] for a in args if "NullTest" in a]
    nulls = [shape(t.get("arg")) for t in tests if t.get("nulltesttype") == "IS_NULL"]
    return any(shape(t.get("arg")) in nulls for t in tests if t.get("nulltesttype") == "IS_NOT_NULL")


def _operator(fields: Node, facts: Collector, depth: int) -> Any:
    names = fields.get("name") or [{}]
    name = names[-1].get("String", {}).get("sval", "")
    left, right = fields.get("lexpr"), fields.get("rexpr", {})
    kind = fields.get("kind", "AEXPR_OP")
    if left is not None and not _is_constant(left, depth):
        return _about_column(left, right, name, kind, facts)
    if not _is_constant(right, depth):
        return UNKNOWN
    if kind == "AEXPR_IN":
        return _in(fields, name, facts, depth)
    if kind in ("AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN"):
        return _between(fields, kind, facts, depth)
    if kind in ("AEXPR_LIKE", "AEXPR_ILIKE"):
        return _like(fields, name, kind, facts, depth)
    if kind not in ("AEXPR_OP", "AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT"):
        return UNKNOWN
    b = _fold(right, facts, depth)
    if left is None:
        return -b if name == "-" and isinstance(b, int | float) else b if name == "+" else UNKNOWN
    a = _fold(left, facts, depth)
    if a is UNKNOWN or b is UNKNOWN or a is None or b is None:
        return UNKNOWN
    if name == "||":
        return f"{a}{b}"
    a, b = _comparable(a, b)
    try:
        if name in _COMPARE:
            return _COMPARE["<>" if kind == "AEXPR_DISTINCT" else name](a, b)
        if name in _ARITHMETIC and isinstance(a, int | float) and isinstance(b, int | float):
            return _ARITHMETIC[name](a, b)
    except (TypeError, ValueError, OverflowError):
        pass
    return UNKNOWN


def _about_column(left: Node, right: Any, name: str, kind: str, facts: Collector) -> Any:
    """True for `x = x`, `x LIKE '%'` and `x ~ '.*'`: of every value but NULL."""
    if kind in ("AEXPR_LIKE", "AEXPR_ILIKE") or (kind == "AEXPR_OP" and name in ("~", "~*")):
        pattern = facts.pattern(right["A_Const"]) if isinstance(right, dict) and "A_Const" in right else None
        return pattern in (_ANY_REGEX if kind == "AEXPR_OP" else _ANY_LIKE) or UNKNOWN if not name.startswith("!") else UNKNOWN
    same = (kind == "AEXPR_OP" and name in ("=", "<=", ">=")) or kind == "AEXPR_NOT_DISTINCT"
    alike = same and isinstance(right, dict) and left.keys() == right.keys() and shape(left) == shape(right)
    return True if alike and _has_column(left) else UNKNOWN


_ANY_LIKE = ("%", "%%", "%%%")
_ANY_REGEX = ("", ".*", "^", "$", "^.*$", ".*$", "^.*", "()")


def _is_constant(node: Any, depth: int) -> bool:
    """Tell whether an expression is made of constants, without reading any."""
    if depth <= 0 or not isinstance(node, dict) or len(node) != 1:
        return False
    kind, fields = next(iter(node.items()))
    match kind:
        case "A_Const":
            return True
        case "TypeCast" | "NullTest" | "BooleanTest":
            return _is_constant(fields.get("arg"), depth - 1)
        case "A_Expr":
            left, right = fields.get("lexpr"), fields.get("rexpr")
            return (left is None or _is_constant(left, depth - 1)) and _is_constant(right, depth - 1)
        case "List":
            return all(_is_constant(n, depth - 1) for n in fields.get("items", ()))
        case "BoolExpr" | "FuncCall" | "CoalesceExpr":
            return all(_is_constant(n, depth - 1) for n in fields.get("args", ()))
    return False


def _comparable(a: Any, b: Any) -> tuple[Any, Any]:
    """The server reads an untyped literal as the other side's type."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a, b
    try:
        if isinstance(a, str) and isinstance(b, int | float):
            return float(a), b
        if isinstance(b, str) and isinstance(a, int | float):
            return a, float(b)
    except ValueError:
        pass
    return a, b


def _in(fields: Node, name: str, facts: Collector, depth: int) -> Any:
    wanted = _fold(fields.get("lexpr", {}), facts, depth)
    if wanted is UNKNOWN or wanted is None:
        return UNKNOWN
    if facts.elided:
        return True
    found = False
    for item in fields.get("rexpr", {}).get("List", {}).get("items", ()):
        value = _fold(item, facts, depth)
        if value is UNKNOWN:
            return UNKNOWN
        a, b = _comparable(wanted, value)
        found = found or a == b
    return found if name == "=" else not found


def _between(fields: Node, kind: str, facts: Collector, depth: int) -> Any:
    bounds = fields.get("rexpr", {}).get("List", {}).get("items", ())
    values = [_fold(n, facts, depth) for n in (fields.get("lexpr", {}), *bounds)]
    if len(values) != 3 or any(v is UNKNOWN or v is None for v in values):
        return UNKNOWN
    try:
        low, value = _comparable(values[1], values[0])
        high, same = _comparable(values[2], values[0])
        inside = low <= value and same <= high
    except TypeError:
        return UNKNOWN
    return inside if kind == "AEXPR_BETWEEN" else not inside


def _like(fields: Node, name: str, kind: str, facts: Collector, depth: int) -> Any:
    left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
    pattern, value = _fold(right, facts, depth), _fold(left, facts, depth)
    if not isinstance(pattern, str) or not isinstance(value, str) or len(pattern) > 200 or pattern.count("%") > 3:
        return UNKNOWN
    regex = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    matched = re.fullmatch(regex, value[:1000], re.DOTALL | (re.IGNORECASE if kind == "AEXPR_ILIKE" else 0)) is not None
    return matched != name.startswith("!")


def _null_test(fields: Node, facts: Collector, depth: int) -> Any:
    value = _fold(fields.get("arg", {}), facts, depth)
    if value is UNKNOWN:
        return UNKNOWN
    return (value is None) == (fields.get("nulltesttype", "IS_NULL") == "IS_NULL")


def _boolean_test(fields: Node, facts: Collector, depth: int) -> Any:
    truth = _truth(fields.get("arg", {}), facts, depth)
    if truth is None:
        return UNKNOWN
    wanted = {"IS_TRUE": truth, "IS_NOT_TRUE": not truth, "IS_FALSE": not truth, "IS_NOT_FALSE": truth}
    return wanted.get(fields.get("booltesttype", "IS_TRUE"), UNKNOWN)


def _cast(fields: Node, facts: Collector, depth: int) -> Any:
    value = _fold(fields.get("arg", {}), facts, depth)
    names = fields.get("typeName", {}).get("names") or [{}]
    if names[-1].get("String", {}).get("sval") == "bool" and isinstance(value, str | int):
        word = str(value).strip().lower()
        return True if word in _TRUE_WORDS else False if word in _FALSE_WORDS else UNKNOWN
    return value


def _call(fields: Node, facts: Collector, depth: int) -> Any:
    names, args = fields.get("funcname") or [{}], fields.get("args", ())
    function = _FUNCTIONS.get(names[-1].get("String", {}).get("sval", ""))
    if function is None or len(args) != 1:
        return UNKNOWN
    value = _fold(args[0], facts, depth)
    if value is UNKNOWN or value is None:
        return UNKNOWN
    try:
        return function(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return UNKNOWN


def _coalesce(fields: Node, facts: Collector, depth: int) -> Any:
    if not all(_is_constant(arg, depth) for arg in fields.get("args", ())):
        return UNKNOWN
    values = [_fold(arg, facts, depth) for arg in fields.get("args", ())]
    for value in values:
        if value is not None:
            return value
    return None


def _constant(fields: Node, facts: Collector, _depth: int) -> Any:
    return facts.constant(fields)


_FOLDS: dict[str, Callable[[Node, Collector, int], Any]] = {
    "A_Const": _constant,
    "A_Expr": _operator,
    "BoolExpr": _bool,
    "BooleanTest": _boolean_test,
    "CoalesceExpr": _coalesce,
    "FuncCall": _call,
    "NullTest": _null_test,
    "TypeCast": _cast,
}


def shape(node: Any) -> Any:
    """Return an expression without its places in the text, for comparison."""
    if isinstance(node, dict):
        return {k: shape(v) for k, v in node.items() if k not in ("location", "rexpr_list_start", "rexpr_list_end")}
    if isinstance(node, list):
        return [shape(n) for n in node]
    return node


def _has_column(node: Any) -> bool:
    if isinstance(node, dict):
        return "ColumnRef" in node or any(_has_column(v) for v in node.values())
    return isinstance(node, list) and any(_has_column(n) for n in node)
