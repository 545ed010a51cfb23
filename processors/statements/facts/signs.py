"""What does the shape of a query say of its intent? Bombs, locks, exports, listings of the catalogue, and signs of injection."""

from __future__ import annotations

from collections.abc import Iterator

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.predicate import shape
from processors.statements.facts.restriction import Target, restricts
from processors.statements.facts.scope import Scope
from processors.statements.facts.trees import calls, columns, expressions, has_query, strings, walk
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
_COLUMN_NAMING = frozenset(("column_name", "attname", "prosrc", "routine_definition", "view_definition"))


def of_select(fields: Node, scope: Scope, facts: Collector) -> None:
    """Judge one SELECT that was just walked."""
    items = fields.get("fromClause", [])
    where = fields.get("whereClause")
    if items:
        limited = "limitCount" in fields
        _bombs(items, where, scope, facts, limited=limited)
        bases = [s.base for s in scope.sources if s.base is not None]
        own = [b for b in bases if not b.startswith(("pg_catalog.", "information_schema."))]
        if fields.get("lockingClause") and own and where is None and not limited:
            facts.danger(Danger.LOCK_EXHAUSTION)
        if not _catalogue_only(facts) and _collects(fields) and is_whole({**fields, "targetList": []}, facts):
            facts.danger(Danger.BULK_EXPORT)
        if len(own) < len(bases):
            _listing(bases, fields, facts)
    called = calls(fields.get("targetList", [])) if items and Danger.ADVISORY_LOCK in facts.dangers else ()
    if any(name.startswith("pg_advisory") for name in called):
        facts.danger(Danger.LOCK_EXHAUSTION)
    if where is not None:
        of_condition(where, facts)


def _catalogue_only(facts: Collector) -> bool:
    return all(name.startswith(("pg_catalog.", "information_schema.")) for name in facts.reads)


def of_array(query: Node, facts: Collector) -> None:
    """Judge an ARRAY of a whole query: one value that holds a table."""
    if not _catalogue_only(facts) and is_whole(query, facts):
        facts.danger(Danger.BULK_EXPORT)


def _collects(fields: Node) -> bool:
    return any(c in _COLLECTING - {"row_to_json"} for c in calls(fields.get("targetList", [])))


def is_whole(fields: Node, facts: Collector, depth: int = 20) -> bool:
    """Tell whether a SELECT gives nearly all rows of what it reads: nothing restricts, limits, groups or aggregates them."""
    if depth <= 0:
        return False
    if "larg" in fields:
        return is_whole(fields["larg"], facts, depth - 1) or is_whole(fields.get("rarg", {}), facts, depth - 1)
    items = fields.get("fromClause", [])
    if not items or "limitCount" in fields or "havingClause" in fields or _grouped(fields):
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


def _bombs(items: list[Node], where: Node | None, scope: Scope, facts: Collector, *, limited: bool) -> None:
    if where is None and not limited and not any("quals" in v or "usingClause" in v or v.get("isNatural") for v in _joins(items)):
        bases = [s.base for s in scope.sources if s.base is not None]
        series = sum(1 for c in calls(items) if c == "generate_series")
        if len(bases) > 2 or len(bases) > len(set(bases)) or series > 1 or (series and bases):
            facts.danger(Danger.RESOURCE_EXHAUSTION)


def _joins(items: list[Node]) -> Iterator[Node]:
    return (value for key, value in walk(items) if key == "JoinExpr")


def of_call(name: str, args: list[Node], facts: Collector) -> None:
    """Judge the constant arguments of a call that can make very much of very little."""
    numbers = [_number(a, facts) for a in args[:3]]
    if name == "generate_series":
        if len(numbers) > 1 and numbers[0] is not None and numbers[1] is not None and numbers[1] - numbers[0] > _HUGE_SERIES:
            facts.danger(Danger.RESOURCE_EXHAUSTION)
    elif len(numbers) > 1 and numbers[1] is not None and numbers[1] > _HUGE_TEXT:
        facts.danger(Danger.RESOURCE_EXHAUSTION)


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
    alone = len(items) == 1 and "RangeVar" in items[0]
    if alone and not any(True for _ in columns(again.get("whereClause", {}))) and body.get("op") == "SETOP_UNION":
        facts.danger(Danger.RESOURCE_EXHAUSTION)


def _listing(bases: list[str], fields: Node, facts: Collector) -> None:
    """Judge a query of the catalogue: a hunt through all names, where tools ask for one object or leave the system's out."""
    found = [b for b in bases if b in _LISTINGS or b in _CATALOGUES]
    if not found:
        return
    where = [fields.get("whereClause", {}), *[j["quals"] for j in _joins(fields.get("fromClause", [])) if "quals" in j]]
    if any(_hunts(e, facts) for e in expressions(where)):
        facts.danger(Danger.CATALOGUE_ENUMERATION)
        return
    used = {name for _, name in columns(where)}
    everything = not used or ("information_schema.columns" in found and "table_name" not in used)
    if everything and "limitCount" not in fields and not _counts(fields):
        facts.danger(Danger.CATALOGUE_ENUMERATION)


def _counts(fields: Node) -> bool:
    return len(fields.get("targetList", ())) == 1 and any(c == "count" for c in calls(fields.get("targetList", [])))


def _hunts(fields: Node, facts: Collector) -> bool:
    """Tell whether a comparison looks for words within names of columns or in the text of code."""
    kind, name = fields.get("kind", ""), (strings(fields.get("name", ())) or [""])[-1]
    if kind not in ("AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR") and name not in ("~", "~*"):
        return False
    if name.startswith("!"):
        return False
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
        elif key == "A_Expr" and isinstance(value, dict):
            sides = [value.get("lexpr", {}), value.get("rexpr", {})]
            for one, other in (sides, sides[::-1]):
                if isinstance(one, dict) and "A_Const" in one and isinstance(other, dict) and "TypeCast" in other:
                    inner = other["TypeCast"].get("arg", {})
                    if has_query(inner) and not any(c in ("count", "sum") for c in calls(inner)):
                        facts.danger(Danger.INJECTION_SIGNS)


def _is_foreign_arm(arm: Node, arms: list[Node]) -> bool:
    """Tell whether an arm of OR says nothing of any row. `(NULL IS NULL OR x = NULL)` is an optional filter and does."""
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
