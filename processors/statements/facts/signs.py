"""What does the shape of a query say of its intent? Locks, exports, and listings of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator

from processors.statements.facts import bombs, injection
from processors.statements.facts.bombs import joins, relates
from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.restriction import restricts
from processors.statements.facts.rows import Target
from processors.statements.facts.scope import Scope
from processors.statements.facts.trees import calls, columns, expressions, strings, sublinks, walk
from schemas.events import Danger

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
        "pg_notify",
    ]
)
"""Functions that put many rows into one, or take them elsewhere."""
_MULTIPLIES = frozenset(("generate_series", "unnest", "generate_subscripts"))
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
        "pg_stat_all_tables",
        "pg_statio_user_tables",
        "pg_statio_all_tables",
        "pg_indexes",
        "pg_trigger",
    ]
)
_KINDS = frozenset(("relkind", "relpersistence", "attnum", "attisdropped", "prokind", "relispartition"))
"""What says which kind of things to list, and leaves none of the kind out."""
_TABLE_NAMING = frozenset(("relname", "tablename", "table_name", "viewname"))
_COLUMN_NAMING = frozenset(("column_name", "attname", "prosrc", "routine_definition", "view_definition"))


def of_select(fields: Node, scope: Scope, facts: Collector) -> None:
    """Judge one SELECT that was just walked."""
    items = fields.get("fromClause", [])
    where = fields.get("whereClause")
    if items:
        limited = "limitCount" in fields
        bombs.of_product(fields, scope, facts, limited=limited)
        bombs.of_texts(fields, facts)
        bases = [s.base for s in scope.sources if s.base is not None]
        own = [b for b in bases if not b.startswith(("pg_catalog.", "information_schema."))]
        inner = [i["RangeSubselect"].get("subquery", {}).get("SelectStmt", {}) for i in items if "RangeSubselect" in i]
        locks = own or any(is_whole(query, facts) for query in inner)
        if fields.get("lockingClause") and locks and not limited and not _picks(fields, facts):
            facts.danger(Danger.LOCK_EXHAUSTION)
        _for_every_row(fields, facts)
        if not _catalogue_only(facts) and _collects(fields) and is_whole({**fields, "targetList": []}, facts):
            facts.danger(Danger.BULK_EXPORT)
        if len(own) < len(bases):
            _listing(bases, {s.alias for s in scope.sources}, fields, facts)
        injection.of_select(fields, {x.alias for x in scope.sources}, facts, own=bool(own) and len(own) == len(bases))
    many = bool(items) or any(c in _MULTIPLIES for c in calls(fields.get("targetList", [])))
    called = list(calls(fields.get("targetList", []))) if many and Danger.ADVISORY_LOCK in facts.dangers else ()
    if any(c.startswith("pg_advisory") for c in called) or (
        any(c.startswith("pg_try_advisory") for c in called) and "limitCount" not in fields and not _picks(fields, facts)
    ):
        facts.danger(Danger.LOCK_EXHAUSTION)
    if where is not None:
        injection.of_condition(where, facts)
    for key in fields.get("sortClause", ()):
        injection.of_condition(key, facts)


def _for_every_row(fields: Node, facts: Collector) -> None:
    """Note which of the database's functions a SELECT calls with values of each row, of all there are."""
    if facts.catalogue is None:
        return
    called = [v for k, v in walk(fields) if k == "FuncCall" and any(True for _ in columns(v.get("args", [])))]
    names = {(strings(call.get("funcname", ())) or [""])[-1].lower() for call in called} & facts.catalogue.functions.keys()
    if not names or not is_whole({**fields, "targetList": []}, facts):
        return
    items = fields.get("fromClause", [])
    if any(key == "RangeVar" for key, _ in walk(items)) or bombs.longest(items, facts) >= _LONG:
        facts.per_row |= names


_LONG = 1000


def _picks(fields: Node, facts: Collector) -> bool:
    """Tell whether a query's conditions pick rows of one of its tables, joins with the others aside; `<>` is enough here."""
    conditions = [c for c in (fields.get("whereClause"), *(j.get("quals") for j in joins(fields.get("fromClause", [])))) if c]
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


def is_asked(node: object) -> bool:
    """Tell whether an expression's value depends on a condition on columns: on a comparison, or on a CASE."""
    return any(
        key in ("CaseExpr", "BoolExpr", "NullTest", "BooleanTest")
        or (key == "A_Expr" and (strings(value.get("name", ())) or [""])[-1] not in ("+", "-", "*", "/", "%", "^", "||"))
        for key, value in walk(node)
    ) and has_columns(node)


def has_columns(node: object) -> bool:
    """Tell whether an expression's value depends on columns."""
    return any(True for _ in columns(node))


def is_whole(fields: Node, facts: Collector, depth: int = 20) -> bool:
    """Tell whether a SELECT gives nearly all rows of what it reads: nothing restricts, limits, groups or aggregates them."""
    if depth <= 0:
        return False
    if "larg" in fields:
        return is_whole(fields["larg"], facts, depth - 1) or is_whole(fields.get("rarg", {}), facts, depth - 1)
    items = fields.get("fromClause", [])
    limit = fields.get("limitCount", {}).get("A_Const", {}) if "limitCount" in fields else None
    if limit is not None and not limit.get("isnull") and "whereClause" not in fields and facts.is_large(limit):
        limit = None
    if (
        not items
        or (limit is not None and not limit.get("isnull"))
        or _grouped(fields)
        or any(True for _ in columns(fields.get("havingClause", {})))
    ):
        return False
    if any(c in ("count", "sum", "avg", "min", "max") for c in calls(fields.get("targetList", []))):
        return False
    if "whereClause" in fields:
        relation = items[0].get("RangeVar", {}) if len(items) == 1 else {}
        alias = relation.get("alias", {}).get("aliasname") or relation.get("relname", "")
        if not alias and not _is_beside(items, fields["whereClause"]):
            return False
        if alias and restricts(fields["whereClause"], Target(relation["relname"], frozenset((alias,))), facts):
            return False
    return any(_is_all(item, facts, depth) for item in items)


def _is_all(item: Node, facts: Collector, depth: int) -> bool:
    """Tell whether a FROM item gives nearly all rows of something: a subquery that restricts, and what joins its rows, do not."""
    if "RangeSubselect" in item:
        return is_whole(item["RangeSubselect"].get("subquery", {}).get("SelectStmt", {}), facts, depth - 1)
    join = item.get("JoinExpr", {})
    if depth <= 0 or join.get("jointype") not in ("JOIN_INNER", "JOIN_LEFT") or _is_all(join.get("larg", {}), facts, depth - 1):
        return True
    left = frozenset(a.get("aliasname", "") for k, a in walk(join["larg"]) if k == "alias")
    return not any(_joins(part, left) for part in _conjuncts(join.get("quals", {})))


def _conjuncts(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        part = stack.pop()
        if part.get("BoolExpr", {}).get("boolop") == "AND_EXPR":
            stack += part["BoolExpr"].get("args", ())
        else:
            yield part


def _joins(part: Node, left: frozenset[str]) -> bool:
    """Tell whether a part of ON says that a column of the left side equals one of the right."""
    fields = part.get("A_Expr", {})
    if fields.get("kind") != "AEXPR_OP" or strings(fields.get("name", ())) != ["="]:
        return False
    sides = [strings(fields.get(side, {}).get("ColumnRef", {}).get("fields", ())) for side in ("lexpr", "rexpr")]
    return all(len(names) == 2 for names in sides) and sum(names[0] in left for names in sides) == 1


def _is_beside(items: list[Node], where: Node) -> bool:
    """Tell whether a condition is about others than one of the tables in FROM, and so leaves out none of its rows."""
    about = {qualifier for qualifier, _ in columns(where)}
    tables = [i["RangeVar"] for i in items if "RangeVar" in i]
    names = {t.get("alias", {}).get("aliasname") or t.get("relname", "") for t in tables}
    return "" not in about and bool(names - about) and not any(True for _ in sublinks(where))


def gathers_all(fields: Node, facts: Collector) -> bool:
    """Tell whether a SELECT that groups puts all rows into its groups' values."""
    bare = {key: value for key, value in fields.items() if key not in ("targetList", "groupClause")}
    return "groupClause" in fields and _collects(fields) and is_whole(bare, facts)


def is_copy(query: Node, facts: Collector) -> bool:
    """Tell whether a query gives the rows of a table of the database as they are: all of them."""
    return (
        is_whole(query, facts)
        and not _catalogue_only(facts)
        and any(k == "RangeVar" for k, _ in walk(query.get("fromClause", [])))
    )


def _grouped(fields: Node) -> bool:
    return any(True for _ in columns(fields.get("groupClause", [])))


def _listing(bases: list[str], aliases: set[str], fields: Node, facts: Collector) -> None:
    """Judge a query of the catalogue: a hunt through all names, where tools ask for one object or leave the system's out."""
    found = [b for b in bases if b in _LISTINGS or b in _CATALOGUES]
    if not found:
        return
    where = [fields.get("whereClause", {}), *[j["quals"] for j in joins(fields.get("fromClause", [])) if "quals" in j]]
    if any(_hunts(e, facts) for e in expressions(where)):
        facts.danger(Danger.CATALOGUE_ENUMERATION)
        return
    only = len(bases) > 1 and all(b in _LISTINGS or b in _CATALOGUES or b == "pg_catalog.pg_namespace" for b in bases)
    used = {name for arm in (_filters(where, aliases) if only else where) for _, name in columns(arm)}
    everything = not used - _KINDS or ("information_schema.columns" in found and "table_name" not in used)
    if everything and "limitCount" not in fields and not _counts(fields):
        facts.danger(Danger.CATALOGUE_ENUMERATION)


def _filters(conditions: list[Node], aliases: set[str]) -> Iterator[Node]:
    """Yield the parts of conditions that do not only join one of the query's own tables with another."""
    stack = list(conditions)
    while stack:
        arm = stack.pop()
        if "BoolExpr" in arm:
            stack += arm["BoolExpr"].get("args", [])
        elif not relates(arm.get("A_Expr", {})) or any(q and q not in aliases for q, _ in columns(arm)):
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
