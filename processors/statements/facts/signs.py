"""What does the shape of a query say of its intent? Bombs, locks, exports, listings of the catalogue, and signs of injection."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.plain import constant_of
from processors.statements.facts.predicate import shape
from processors.statements.facts.restriction import days_of, restricts
from processors.statements.facts.rows import Target
from processors.statements.facts.scope import Scope
from processors.statements.facts.trees import calls, columns, expressions, has_query, strings, sublinks, walk
from schemas.events import Danger

_HUGE_SERIES = 10_000_000
_HUGE_TEXT = 10_000_000
_COLLECTING = frozenset(
    [
        "json_agg",
        "jsonb_agg",
        "json_object_agg",
        "jsonb_object_agg",
        "array_agg",
        "string_agg",
        "xmlagg",
        "json_arrayagg",
        "json_objectagg",
        "row_to_json",
    ]
)
_CUTTING = frozenset(
    ["substr", "substring", "ascii", "left", "right", "length", "char_length", "octet_length", "strpos", "position", "get_byte"]
)
_ABOUT_SERVER = frozenset(
    [
        "version",
        "current_database",
        "current_user",
        "session_user",
        "user",
        "current_catalog",
        "current_setting",
        "inet_server_addr",
        "inet_server_port",
        "pg_postmaster_start_time",
        "current_role",
        "pg_conf_load_time",
    ]
)
_LISTINGS = frozenset(
    f"information_schema.{name}"
    for name in [
        "columns",
        "tables",
        "views",
        "routines",
        "role_table_grants",
        "table_privileges",
        "column_privileges",
        "triggers",
        "schemata",
    ]
)
_CATALOGUES = frozenset(
    f"pg_catalog.{name}"
    for name in [
        "pg_class",
        "pg_attribute",
        "pg_tables",
        "pg_views",
        "pg_proc",
        "pg_roles",
        "pg_user",
        "pg_group",
        "pg_auth_members",
        "pg_matviews",
        "pg_policies",
        "pg_db_role_setting",
        "pg_stat_user_tables",
        "pg_indexes",
        "pg_trigger",
    ]
)
_TABLE_NAMING = frozenset(("relname", "tablename", "table_name", "viewname"))
_COLUMN_NAMING = frozenset(("column_name", "attname", "prosrc", "routine_definition", "view_definition"))


def of_select(fields: Node, scope: Scope, facts: Collector) -> None:
    """Judge one SELECT that was just walked."""
    items = fields.get("fromClause", [])
    where = fields.get("whereClause")
    if items:
        limited = "limitCount" in fields
        _bombs(fields, scope, facts, limited=limited)
        bases = [s.base for s in scope.sources if s.base is not None]
        own = [b for b in bases if not b.startswith(("pg_catalog.", "information_schema."))]
        inner = [i["RangeSubselect"].get("subquery", {}).get("SelectStmt", {}) for i in items if "RangeSubselect" in i]
        locks = own or any(is_whole(query, facts) for query in inner)
        if fields.get("lockingClause") and locks and not limited and not _picks(fields, facts):
            facts.danger(Danger.LOCK_EXHAUSTION)
        if not _catalogue_only(facts) and _collects(fields) and is_whole({**fields, "targetList": []}, facts):
            facts.danger(Danger.BULK_EXPORT)
        if len(own) < len(bases):
            _listing(bases, {s.alias for s in scope.sources}, fields, facts)
        if where is not None and own:
            _asks_the_catalogue(where, facts)
    called = list(calls(fields.get("targetList", []))) if items and Danger.ADVISORY_LOCK in facts.dangers else ()
    if any(c.startswith("pg_advisory") for c in called) or (
        any(c.startswith("pg_try_advisory") for c in called) and "limitCount" not in fields and not _picks(fields, facts)
    ):
        facts.danger(Danger.LOCK_EXHAUSTION)
    if where is not None:
        of_condition(where, facts)
    for key in fields.get("sortClause", ()):
        of_condition(key, facts)


def _picks(fields: Node, facts: Collector) -> bool:
    """Tell whether a query's conditions pick rows of one of its tables, joins with the others aside; `<>` is enough here."""
    conditions = [c for c in (fields.get("whereClause"), *(j.get("quals") for j in _joins(fields.get("fromClause", [])))) if c]
    tables = [v for k, v in walk(fields.get("fromClause", [])) if k == "RangeVar"]
    names = [t.get("alias", {}).get("aliasname") or t.get("relname", "") for t in tables]
    for table, name in zip(tables, names, strict=True):
        target = Target(table.get("relname", ""), frozenset((name,)), {n: False for n in names if n != name})
        if any(restricts(c, target, facts) for c in conditions):
            return True
    return any(
        strings(e.get("name", ()))[-1:] in (["<>"], ["!~~"]) and any(True for _ in columns(e.get("lexpr", {})))
        for e in expressions(conditions)
    )


def _asks_the_catalogue(where: Node, facts: Collector) -> None:
    """Judge a condition on rows of a table that asks the server's catalogue something unrelated: a guess, bit by bit."""
    for comparison in expressions(where):
        sides = [comparison.get("lexpr", {}), comparison.get("rexpr", {})]
        if not any(isinstance(side, dict) and "A_Const" in side for side in sides):
            continue
        for query in sublinks(sides):
            read = [v for k, v in walk(query.get("subselect", {})) if k == "RangeVar"]
            system = ("pg_", "information_schema")
            if read and all((r.get("schemaname") or r.get("relname", "")).startswith(system) for r in read):
                facts.danger(Danger.INJECTION_SIGNS)


def _catalogue_only(facts: Collector) -> bool:
    return all(name.startswith(("pg_catalog.", "information_schema.")) for name in facts.reads)


def of_array(query: Node, facts: Collector) -> None:
    """Judge an ARRAY of a whole query: one value that holds a table."""
    if not _catalogue_only(facts) and is_whole(query, facts):
        facts.danger(Danger.BULK_EXPORT)


def _collects(fields: Node) -> bool:
    if any(key in ("JsonArrayAgg", "JsonObjectAgg") for key, _ in walk(fields.get("targetList", []))):
        return True
    return any(c in _COLLECTING - {"row_to_json"} for c in calls(fields.get("targetList", [])))


def is_whole(fields: Node, facts: Collector, depth: int = 20) -> bool:
    """Tell whether a SELECT gives nearly all rows of what it reads: nothing restricts, limits, groups or aggregates them."""
    if depth <= 0:
        return False
    if "larg" in fields:
        return is_whole(fields["larg"], facts, depth - 1) or is_whole(fields.get("rarg", {}), facts, depth - 1)
    items = fields.get("fromClause", [])
    limited = "limitCount" in fields and not fields["limitCount"].get("A_Const", {}).get("isnull")
    if not items or limited or _grouped(fields) or any(True for _ in columns(fields.get("havingClause", {}))):
        return False
    if any(c in ("count", "sum", "avg", "min", "max") for c in calls(fields.get("targetList", []))):
        return False
    if "whereClause" in fields:
        relation = items[0].get("RangeVar", {}) if len(items) == 1 else {}
        alias = relation.get("alias", {}).get("aliasname") or relation.get("relname", "")
        if not alias or restricts(fields["whereClause"], Target(relation["relname"], frozenset((alias,))), facts):
            return False
    inner = [item["RangeSubselect"].get("subquery", {}).get("SelectStmt", {}) for item in items if "RangeSubselect" in item]
    return len(inner) < len(items) or any(is_whole(query, facts, depth - 1) for query in inner)


def _grouped(fields: Node) -> bool:
    return any(True for _ in columns(fields.get("groupClause", [])))


_SOME_ROWS, _SOME_STEPS = 10_000.0, 1000.0
"""Taken for a table, and for a series whose bounds are no constants."""
_HUGE_PRODUCT = 1e8
_DATE = re.compile(r"\d{4}-")


def _bombs(fields: Node, scope: Scope, facts: Collector, *, limited: bool) -> None:
    """Judge a product of everything in FROM with nothing that joins it."""
    items = fields["fromClause"]
    if limited or not _is_product(fields):
        return
    where = fields.get("whereClause")
    if where is not None and any(True for _ in columns(where)) and len(items) < 3:
        return
    bases = [s.base for s in scope.sources if s.base is not None]
    beside = max([_steps(call, facts) for call in _series(fields.get("targetList", []))], default=1.0)
    rows = beside * math.prod(_rows(item, scope, facts, 8) for item in items)
    if len(bases) > 2 or len(bases) > len(set(bases)) or rows > _HUGE_PRODUCT:
        facts.danger(Danger.RESOURCE_EXHAUSTION)


def _is_product(fields: Node) -> bool:
    """Tell whether nothing relates the items of FROM with one another."""
    items = fields.get("fromClause", [])
    conditions = [fields.get("whereClause"), *(j.get("quals") for j in _joins(items))]
    if any("usingClause" in v or v.get("isNatural") for v in _joins(items)):
        return False
    return not any(_relates(e) for e in expressions(conditions)) and not any(True for _ in sublinks(conditions))


def _rows(item: Node, scope: Scope, facts: Collector, depth: int) -> float:
    """Return about how many rows an item of FROM gives."""
    kind, fields = next(iter(item.items()))
    if kind == "JoinExpr":
        return math.prod(_rows(fields[arm], scope, facts, depth) for arm in ("larg", "rarg") if arm in fields)
    if kind == "RangeFunction":
        return max([_steps(call, facts) for call in _series(fields)], default=1.0)
    if kind == "RangeVar":
        body = _cte_body(fields, scope)
        return _SOME_ROWS if body is None else _rows_of(body, scope, facts, depth - 1)
    if kind == "RangeSubselect":
        return _rows_of(fields.get("subquery", {}).get("SelectStmt", {}), scope, facts, depth - 1)
    return _SOME_ROWS


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
        return max([_steps(call, facts) for call in _series(query.get("targetList", []))], default=1.0)
    beside = max([_steps(call, facts) for call in _series(query.get("targetList", []))], default=1.0)
    return beside * math.prod(_rows(item, scope, facts, depth - 1) for item in items)


def _relates(fields: Node) -> bool:
    """Tell whether a comparison has columns on both sides."""
    return all(any(True for _ in columns(fields.get(side, {}))) for side in ("lexpr", "rexpr"))


def _series(node: object) -> Iterator[Node]:
    return (v for k, v in walk(node) if k == "FuncCall" and strings(v.get("funcname", ()))[-1:] == ["generate_series"])


def _steps(call: Node, facts: Collector) -> float:
    """Return how long a series of constants is, and a guess for any other."""
    args = call.get("args", [])
    bounds = [_number(a, facts) for a in args[:2]]
    if len(bounds) == 2 and bounds[0] is not None and bounds[1] is not None:
        return abs(bounds[1] - bounds[0]) + 1
    texts = [constant_of(a, facts) for a in args[:3]]
    years = [int(t[:4]) for t in texts[:2] if isinstance(t, str) and _DATE.match(t)]
    if len(years) == 2 and len(texts) == 3 and isinstance(texts[2], str):
        return (abs(years[1] - years[0]) + 1) * 366 / max(days_of(texts[2]), 1e-5)
    return _SOME_STEPS


def _joins(items: list[Node]) -> Iterator[Node]:
    return (value for key, value in walk(items) if key == "JoinExpr")


def of_call(name: str, args: list[Node], facts: Collector) -> None:
    """Judge the constant arguments of a call that can make very much of very little."""
    if name == "generate_series":
        much = _steps({"args": args}, facts) >= _HUGE_SERIES
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


def _number(node: Node, facts: Collector) -> float | None:
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    if "A_Const" not in node:
        return None
    value = facts.constant(node["A_Const"])
    return float(value) if isinstance(value, int | float) else None


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
    return any(key in ("NullTest", "SubLink", "BooleanTest") for key, _ in walk(where)) or (
        "ColumnRef" in where or ("FuncCall" in where and any(True for _ in columns(where)))
    )


def _listing(bases: list[str], aliases: set[str], fields: Node, facts: Collector) -> None:
    """Judge a query of the catalogue: a hunt through all names, where tools ask for one object or leave the system's out."""
    found = [b for b in bases if b in _LISTINGS or b in _CATALOGUES]
    if not found:
        return
    where = [fields.get("whereClause", {}), *[j["quals"] for j in _joins(fields.get("fromClause", [])) if "quals" in j]]
    if any(_hunts(e, facts) for e in expressions(where)):
        facts.danger(Danger.CATALOGUE_ENUMERATION)
        return
    only = len(bases) > 1 and all(b in _LISTINGS or b in _CATALOGUES or b == "pg_catalog.pg_namespace" for b in bases)
    used = {name for arm in (_filters(where, aliases) if only else where) for _, name in columns(arm)}
    everything = not used or ("information_schema.columns" in found and "table_name" not in used)
    if everything and "limitCount" not in fields and not _counts(fields):
        facts.danger(Danger.CATALOGUE_ENUMERATION)


def _filters(conditions: list[Node], aliases: set[str]) -> Iterator[Node]:
    """Yield the parts of conditions that do not only join one of the query's own tables with another."""
    stack = list(conditions)
    while stack:
        arm = stack.pop()
        if "BoolExpr" in arm:
            stack += arm["BoolExpr"].get("args", [])
        elif not _relates(arm.get("A_Expr", {})) or any(q and q not in aliases for q, _ in columns(arm)):
            yield arm


def _counts(fields: Node) -> bool:
    return len(fields.get("targetList", ())) == 1 and any(c == "count" for c in calls(fields.get("targetList", [])))


def _hunts(fields: Node, facts: Collector) -> bool:
    """Tell whether a comparison looks for words within names of columns or in the text of code."""
    kind, name = fields.get("kind", ""), (strings(fields.get("name", ())) or [""])[-1]
    if kind not in ("AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR") and name not in ("~", "~*"):
        return False
    if name.startswith("!"):
        return False
    if any(column in _TABLE_NAMING for _, column in columns(fields.get("lexpr", {}))) and "A_Const" in fields.get("rexpr", {}):
        # Tools ask for a name or its beginning (`^(orders)$`, `ord%`); who looks for words within names has none in mind.
        pattern = str(facts.constant(fields["rexpr"]["A_Const"]))
        return (any(c.isalnum() for c in pattern) and pattern[:1] in (("%", "_") if kind.endswith("LIKE") else ())) or (
            kind == "AEXPR_OP" and pattern[:1] != "^" and any(c.isalnum() for c in pattern)
        )
    return any(column in _COLUMN_NAMING for _, column in columns(fields.get("lexpr", {}))) and not any(
        key == "ParamRef" for key, _ in walk(fields.get("rexpr", {}))
    )


def of_union(arms: list[Node], reads: list[set[str]], facts: Collector) -> None:
    """Judge a UNION: one arm that adds the catalogue, or padding, to another's rows of a table."""
    own = [any(not r.startswith(("pg_catalog.", "information_schema.")) for r in read) for read in reads]
    for arm, mine, read in zip(arms, own, reads, strict=True):
        others = sum(own) - mine
        if not others or mine:
            continue
        targets = arm.get("targetList", [])
        nulls = sum("A_Const" in t.get("ResTarget", {}).get("val", {}) for t in targets)
        if (
            read
            or (len(targets) > 1 and nulls >= len(targets) - 1 and "fromClause" not in arm and _null(targets))
            or any(c in _ABOUT_SERVER for c in calls(targets))
        ):
            facts.danger(Danger.INJECTION_SIGNS)


def _null(targets: list[Node]) -> bool:
    return sum(bool(t.get("ResTarget", {}).get("val", {}).get("A_Const", {}).get("isnull")) for t in targets) > 1


def of_condition(node: Node, facts: Collector) -> None:
    """Judge a WHERE: an arm of OR without a column, guesses at a subquery's value piece by piece, errors that tell it."""
    for key, value in walk(node):
        if key == "BoolExpr" and value.get("boolop") == "OR_EXPR":
            args = value.get("args", [])
            if any(_is_foreign_arm(a, args) for a in args):
                facts.danger(Danger.INJECTION_SIGNS)
        elif key == "FuncCall":
            name = (strings(value.get("funcname", ())) or [""])[-1]
            if name in _CUTTING and has_query(value.get("args", [])):
                facts.danger(Danger.INJECTION_SIGNS, Danger.INFERENCE)
        elif key == "SubLink" and _guesses(value):
            facts.danger(Danger.INJECTION_SIGNS, Danger.INFERENCE)
        elif key == "A_Expr" and isinstance(value, dict):
            sides = [value.get("lexpr", {}), value.get("rexpr", {})]
            for one, other in (sides, sides[::-1]):
                if isinstance(one, dict) and "A_Const" in one and isinstance(other, dict) and "TypeCast" in other:
                    inner = other["TypeCast"].get("arg", {})
                    if has_query(inner) and not any(c in ("count", "sum") for c in calls(inner)):
                        facts.danger(Danger.INJECTION_SIGNS)


def _guesses(fields: Node) -> bool:
    """Tell whether a subquery asks whether a piece of another one's value is this or that."""
    for case in (v for k, v in walk(fields.get("subselect", {})) if k == "CaseWhen"):
        for comparison in expressions(case.get("expr", {})):
            if has_query(comparison) and any(c in _CUTTING for c in calls(comparison)):
                return True
    return False


def _is_foreign_arm(arm: Node, arms: list[Node]) -> bool:
    """Tell whether an arm of OR says nothing of any row. `(NULL IS NULL OR x = NULL)` is an optional filter and does."""
    fields = arm.get("A_Expr", {})
    if fields.get("kind") == "AEXPR_OP" and strings(fields.get("name", ()))[-1:] in (["="], ["<="], [">="]):
        left = fields.get("lexpr", {})
        if shape(left) == shape(fields.get("rexpr")) and any(True for _ in columns(left)) and not has_query(left):
            return True
    if any(key in ("ColumnRef", "ParamRef", "RangeVar") for key, _ in walk(arm)):
        return False
    if "A_Const" in arm and "boolval" in arm["A_Const"] and not arm["A_Const"]["boolval"].get("boolval"):
        return False
    test = arm.get("NullTest", {}).get("arg", {})
    if test:
        while "TypeCast" in test:
            test = test["TypeCast"].get("arg", {})
        mine = shape(test)
        return not any(
            key == "A_Const" and {"A_Const": shape(value)} == mine for a in arms if a is not arm for key, value in walk(a)
        )
    return True
