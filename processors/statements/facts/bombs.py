"""How much could a query make of very little? Products that nothing joins, series, texts, recursions without an end."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.moments import days_of
from processors.statements.facts.plain import constant_of, constants_in
from processors.statements.facts.products import product
from processors.statements.facts.scope import Scope
from processors.statements.facts.trees import calls, columns, expressions, strings, sublinks, walk
from schemas.events import Danger

_HUGE_SERIES = 10_000_000
_HUGE_TEXT = 10_000_000

_SOME_ROWS, _SOME_STEPS = 10_000.0, 1000.0
"""Taken for a table, and for a series whose bounds are no constants."""
_HUGE_PRODUCT = 1e8
_DATE = re.compile(r"\d{4}-")


def of_product(fields: Node, scope: Scope, facts: Collector, *, limited: bool) -> None:
    """Judge a product of everything in FROM with nothing that joins it."""
    items = fields["fromClause"]
    if limited:
        return
    if not _is_product(fields):
        if product(fields, lambda item: _rows(item, scope, facts, 8), facts) > _HUGE_PRODUCT:
            facts.danger(Danger.RESOURCE_EXHAUSTION)
        return
    where = fields.get("whereClause")
    if where is not None and any(True for _ in columns(where)) and len(items) < 3 and not _only_differs(where):
        return
    bases = [s.base for s in scope.sources if s.base is not None]
    beside = max([steps(call, facts) for call in series(fields.get("targetList", []))], default=1.0)
    rows = beside * math.prod(_rows(item, scope, facts, 8) for item in items)
    if len(bases) > 2 or len(bases) > len(set(bases)) or rows > _HUGE_PRODUCT:
        facts.danger(Danger.RESOURCE_EXHAUSTION)


def _only_differs(where: Node) -> bool:
    """Tell whether a condition is nothing but that columns of two tables differ."""
    fields = where.get("A_Expr", {})
    sides = [fields.get("lexpr", {}), fields.get("rexpr", {})]
    return strings(fields.get("name", ()))[-1:] == ["<>"] and all(isinstance(s, dict) and "ColumnRef" in s for s in sides)


def _is_product(fields: Node) -> bool:
    """Tell whether nothing relates the items of FROM with one another."""
    items = fields.get("fromClause", [])
    conditions = [fields.get("whereClause"), *(j.get("quals") for j in joins(items))]
    if any("usingClause" in v or v.get("isNatural") for v in joins(items)):
        return False
    return not any(relates(e) for e in expressions(conditions)) and not any(True for _ in sublinks(conditions))


def _rows(item: Node, scope: Scope, facts: Collector, depth: int) -> float:
    """Return about how many rows an item of FROM gives."""
    kind, fields = next(iter(item.items()))
    if kind == "JoinExpr":
        return math.prod(_rows(fields[arm], scope, facts, depth) for arm in ("larg", "rarg") if arm in fields)
    if kind == "RangeFunction":
        return max([steps(call, facts) for call in series(fields)], default=1.0)
    if kind == "RangeVar":
        body = _cte_body(fields, scope)
        return _table_rows(fields, facts) if body is None else _rows_of(body, scope, facts, depth - 1)
    if kind == "RangeSubselect":
        return _rows_of(fields.get("subquery", {}).get("SelectStmt", {}), scope, facts, depth - 1)
    return _SOME_ROWS


def _table_rows(fields: Node, facts: Collector) -> float:
    """Return how many rows a table has, as the catalogue knows it, or a guess."""
    found = facts.catalogue.find(*facts.relation(fields).split(".", 1)) if facts.catalogue is not None else ()
    return max([r.rows for r in found if r.rows > 0], default=_SOME_ROWS)


def _cte_body(fields: Node, scope: Scope) -> Node | None:
    level: Scope | None = scope
    while level is not None:
        if fields.get("relname", "") in level.bodies:
            return level.bodies[fields["relname"]]
        level = level.outer
    return None


def _rows_of(query: Node, scope: Scope, facts: Collector, depth: int) -> float:
    """Return about how many rows a query gives; what has a condition or groups counts as a few. Looked at once each."""
    if id(query) not in facts.sizes:
        facts.sizes[id(query)] = _SOME_ROWS  # of a query that reads itself
        facts.sizes[id(query)] = _product_of(query, scope, facts, depth)
    return facts.sizes[id(query)]


def _product_of(query: Node, scope: Scope, facts: Collector, depth: int) -> float:
    items = query.get("fromClause", [])
    few = "whereClause" in query or "groupClause" in query or "limitCount" in query or "distinctClause" in query
    if depth <= 0 or few or "larg" in query or "valuesLists" in query or not _is_product(query):
        return 100.0
    if not items or any(c in ("count", "sum", "avg", "min", "max") for c in calls(query.get("targetList", []))):
        return max([steps(call, facts) for call in series(query.get("targetList", []))], default=1.0)
    beside = max([steps(call, facts) for call in series(query.get("targetList", []))], default=1.0)
    return beside * math.prod(_rows(item, scope, facts, depth - 1) for item in items)


_MAKING = frozenset(("+", "-", "*", "/", "%", "^", "||"))
"""Operators that compare nothing."""


def relates(fields: Node) -> bool:
    """Tell whether a comparison has columns on both sides; to differ relates nothing."""
    name = (strings(fields.get("name", ())) or [""])[-1]
    differs = fields.get("kind") == "AEXPR_DISTINCT" or name == "<>" or name in _MAKING
    return not differs and all(any(True for _ in columns(fields.get(side, {}))) for side in ("lexpr", "rexpr"))


def series(node: object) -> Iterator[Node]:
    return (v for k, v in walk(node) if k == "FuncCall" and strings(v.get("funcname", ()))[-1:] == ["generate_series"])


def longest(items: list[Node], facts: Collector) -> float:
    """Return how long the longest series in FROM is."""
    return max([steps(call, facts) for call in series(items)], default=0.0)


def steps(call: Node, facts: Collector) -> float:
    """Return how long a series of constants is, and a guess for any other."""
    args = call.get("args", [])
    bounds = [_number(a, facts) for a in args[:2]]
    if len(bounds) == 2 and bounds[0] is not None and bounds[1] is not None:
        return abs(bounds[1] - bounds[0]) + 1
    texts = [constant_of(a, facts) for a in args[:3]]
    ago = sum(days_of(c) for a in args[:2] if "A_Expr" in a for c in constants_in(a, facts) if isinstance(c, str))
    if ago and len(texts) == 3 and isinstance(texts[2], str):
        return ago / max(days_of(texts[2]), 1e-5)
    years = [int(t[:4]) for t in texts[:2] if isinstance(t, str) and _DATE.match(t)]
    if len(years) == 2 and len(texts) == 3 and isinstance(texts[2], str):
        return (abs(years[1] - years[0]) + 1) * 366 / max(days_of(texts[2]), 1e-5)
    return _SOME_STEPS


def joins(items: list[Node]) -> Iterator[Node]:
    return (value for key, value in walk(items) if key == "JoinExpr")


def of_texts(fields: Node, facts: Collector) -> None:
    """Judge a query that makes a long text, or something that stays, for each step of a long series."""
    if any(c in _LASTING for c in calls(fields.get("targetList", []))) and longest(fields["fromClause"], facts) >= _MANY_OBJECTS:
        facts.danger(Danger.RESOURCE_EXHAUSTION)
    made = [v for k, v in walk(fields.get("targetList", [])) if k == "FuncCall" and strings(v.get("funcname", ()))[-1:] in _TEXTS]
    if made and max(_length({"FuncCall": call}, facts) for call in made) * longest(fields["fromClause"], facts) > _HUGE_PRODUCT:
        facts.danger(Danger.RESOURCE_EXHAUSTION)


_LASTING = frozenset(("lo_create", "lo_creat", "lo_from_bytea", "pg_notify"))
_MANY_OBJECTS = 100_000
_TEXTS = (["repeat"], ["lpad"], ["rpad"])
_WIDTH = re.compile(r"%(?:\d+\$)?-?(\d+|\*)")


def of_format(args: list[Node], facts: Collector) -> None:
    """Judge `format('%1000000000s', …)`: a width pads, that of `*` is an argument."""
    pattern = constant_of(args[0], facts) if args else None
    if not isinstance(pattern, str):
        return
    widths = [_number(a, facts) or 0.0 for a in args[1:]] if "*" in pattern else []
    widths += [float(w) for w in _WIDTH.findall(pattern) if w.isdigit()]
    if max((abs(w) for w in widths), default=0.0) > _HUGE_TEXT:
        facts.danger(Danger.RESOURCE_EXHAUSTION)


def of_pattern(fields: Node, facts: Collector) -> None:
    """Judge `repeat('a', 100000) ~ '(?=.*b)a*c'`: what looks ahead, behind or back is tried at each of a made text's places."""
    name = (strings(fields.get("name", ())) or [""])[-1]
    made = _length(fields.get("lexpr", {}), facts) if name in ("~", "~*", "!~", "!~*") else 0.0
    if made >= _LONG_TEXT and _LOOKING.search(str(constant_of(fields.get("rexpr", {}), facts))):
        facts.danger(Danger.RESOURCE_EXHAUSTION)


_LONG_TEXT = 20_000
_LOOKING = re.compile(r"\(\?<?[=!]|\\[1-9]")


def of_call(name: str, args: list[Node], facts: Collector) -> None:
    """Judge the constant arguments of a call that can make very much of very little."""
    if name == "generate_series":
        much = steps({"args": args}, facts) >= _HUGE_SERIES
    elif name == "gen_salt":
        much = len(args) > 1 and (_number(args[1], facts) or 0) > _MANY_ROUNDS
    elif name == "factorial":
        much = bool(args) and (_number(args[0], facts) or 0) > _HUGE_FACTORIAL
    elif name == "array_fill":
        sizes = [_number(n, facts) or 1 for n in args[1].get("A_ArrayExpr", {}).get("elements", [])] if len(args) > 1 else []
        much = math.prod(sizes) > _HUGE_TEXT
    else:
        much = _length({"FuncCall": {"funcname": [{"String": {"sval": name}}], "args": args}}, facts) > _HUGE_TEXT
    if much:
        facts.danger(Danger.RESOURCE_EXHAUSTION)


_HUGE_FACTORIAL = 10_000
_MANY_ROUNDS = 16
"""Of bcrypt, 2^16: seconds for one hash. Those of other kinds are counted in thousands, and that few are none."""


def _length(node: Node, facts: Collector, depth: int = 8) -> float:
    """Return about how long a text is that `repeat`, `lpad` or `rpad` make of constants; 1 of anything else."""
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    call = node.get("FuncCall", {})
    args = call.get("args", [])
    name = (strings(call.get("funcname", ())) or [""])[-1]
    if depth <= 0 or len(args) < 2 or name not in ("repeat", "lpad", "rpad"):
        return 1.0
    count = _number(args[1], facts) or 1.0
    return count * _length(args[0], facts, depth - 1) if name == "repeat" else count


def _number(node: Node, facts: Collector, depth: int = 8) -> float | None:
    """Return the value of a constant, of a sum or product of some, or of a subquery of nothing else."""
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    if depth <= 0:
        return None
    if "SubLink" in node:
        query = node["SubLink"].get("subselect", {}).get("SelectStmt", {})
        targets = query.get("targetList", [])
        bare = len(targets) == 1 and "fromClause" not in query and "whereClause" not in query
        return _number(targets[0].get("ResTarget", {}).get("val", {}), facts, depth - 1) if bare else None
    if "A_Expr" in node or "FuncCall" in node:
        return _computed(node, facts, depth - 1)
    if "A_Const" not in node:
        return None
    value = facts.constant(node["A_Const"])
    if isinstance(value, str):
        return float(value) if _DIGITS.match(value) else None
    return float(value) if isinstance(value, int | float) else None


_DIGITS = re.compile(r"\s*[-+]?\d{1,300}(?:\.\d{0,30})?(?:[eE]\d{1,2})?\s*\Z")
"""Numbers written as texts, as values of parameters are."""


_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": lambda a, b: a**b,
}


def _computed(node: Node, facts: Collector, depth: int) -> float | None:
    fields = node.get("A_Expr") or node.get("FuncCall", {})
    name = (strings(fields.get("name") or fields.get("funcname", ())) or [""])[-1]
    sides = fields.get("args", []) if "FuncCall" in node else [fields.get("lexpr", {}), fields.get("rexpr", {})]
    operation = _ARITHMETIC.get("^" if name in ("power", "pow") else name)
    if operation is None or len(sides) != 2:
        return None
    values = [_number(side, facts, depth) for side in sides]
    if values[0] is None or values[1] is None:
        return None
    try:
        found = operation(values[0], values[1])
    except (ArithmeticError, ValueError):
        return math.inf
    return found if isinstance(found, float) else None


def of_recursion(entry: Node, outer: Node, facts: Collector) -> None:
    """Judge a recursive CTE: one whose second arm reads only itself and never stops, under no limit, is a bomb."""
    body = entry.get("ctequery", {}).get("SelectStmt", {})
    again = body.get("rarg")
    if not again or "limitCount" in outer or "limitCount" in body:
        return
    items = again.get("fromClause", [])
    name = entry.get("ctename")
    if not any(key == "relname" and value == name for key, value in walk(items)):
        return
    tables = [v for k, v in walk(items) if k == "RangeVar"]
    alone = all(t.get("relname") == name for t in tables) and not any("RangeSubselect" in i for i in items)
    if alone and body.get("op") == "SETOP_UNION" and not _ends(again, facts):
        facts.danger(Danger.RESOURCE_EXHAUSTION)


_LESSENING = ("-", "/", ">>", "#-")


def _ends(again: Node, facts: Collector) -> bool:
    """Tell whether a recursion of itself alone has a condition that may end it: not `n > 0` of what only grows."""
    where = again.get("whereClause", {})
    shrinks = any(strings(e.get("name", ()))[-1:] in ([o] for o in _LESSENING) for e in expressions(again.get("targetList", [])))
    shrinks = shrinks or any(True for _ in calls(again.get("targetList", [])))
    for comparison in expressions(where):
        name = (strings(comparison.get("name", ())) or [""])[-1]
        left, right = (list(columns(comparison.get(side, {}))) for side in ("lexpr", "rexpr"))
        if (_number(comparison.get("rexpr", {}), facts) or 0) > _HUGE_SERIES:
            continue
        if (left or right) and (shrinks or not (name in (">", ">=") if left and not right else name in ("<", "<=") and not left)):
            return True
    # What is no longer NULL never will be, unless it is asked of a table, or computed by something that may give NULL.
    nulls = shrinks or any(
        key in ("SubLink", "CaseExpr") or value == "AEXPR_NULLIF" for key, value in walk(again.get("targetList", []))
    )
    return any(key in ("SubLink", "BooleanTest") or (nulls and key == "NullTest") for key, _ in walk(where)) or (
        "ColumnRef" in where or ("FuncCall" in where and any(True for _ in columns(where)))
    )
