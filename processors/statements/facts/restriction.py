"""Does a condition keep an UPDATE or DELETE from most of its table? Proven, or it does not.

There is no end to conditions that are always true, so none is looked for: a condition restricts only if one of a few shapes
says so (a column compared with something that does not depend on it, a choice by another table, a test of a boolean), and
everything else, however it is dressed, does not. AND needs one arm that restricts, OR needs all of them, NOT turns `=` into
`<>`, which leaves most rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.trees import calls, columns, has_query, strings, sublinks, walk

MAX_DEPTH = 60
"""Nesting looked into; a deeper condition does not restrict."""

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
        "family",
    ]
)
"""Functions of a column whose value still tells its rows apart."""
_NOW = frozenset(
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
_LONG = re.compile(r"decade|centur|millen|infinity", re.IGNORECASE)
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
_SYSTEM_COLUMNS = frozenset(("tableoid", "xmin", "xmax", "cmin", "cmax"))
_EARLY, _LATE = "2000", "2090"
_HUGE = 1_000_000_000
_TRIVIAL_PATTERN = "%_^$.*+?()|[]{}\\sSwWdD- "


@dataclass(slots=True)
class Target:
    """The table written, what else the statement reads, and the CTEs in sight.

    `aliases` are the names the target goes by; `others` maps the other FROM items to whether they hold another table's rows.
    """

    name: str
    aliases: frozenset[str]
    others: Mapping[str, bool] = field(default_factory=dict)
    ctes: Mapping[str, Node] = field(default_factory=dict)
    nullable: frozenset[str] | None = None


def restricts(node: Node | None, target: Target, facts: Collector, depth: int = MAX_DEPTH, *, negated: bool = False) -> bool:
    """Tell whether a condition (or its negation) is proven to leave out rows of the target."""
    if not isinstance(node, dict) or len(node) != 1 or depth <= 0:
        return False
    kind, fields = next(iter(node.items()))
    depth -= 1
    match kind:
        case "BoolExpr":
            args = fields.get("args", [])
            if fields.get("boolop") == "NOT_EXPR":
                return restricts(args[0], target, facts, depth, negated=not negated)
            every = (fields.get("boolop") == "OR_EXPR") != negated
            if every and _cover_each_other(args, target):
                return False
            found = (restricts(a, target, facts, depth, negated=negated) for a in _cheap_first(args))
            return all(found) if every else any(found)
        case "ColumnRef":
            return _own_column(node, target) is not None
        case "BooleanTest":
            if fields.get("booltesttype") in ("IS_UNKNOWN", "IS_NOT_UNKNOWN"):
                return bool((fields["booltesttype"] == "IS_UNKNOWN") != negated)
            kept = fields.get("booltesttype", "IS_TRUE") in ("IS_TRUE", "IS_NOT_FALSE")
            arg = fields.get("arg", {})
            return "ColumnRef" in arg or restricts(arg, target, facts, depth, negated=negated == kept)
        case "NullTest":
            return _null_test(fields, target, negated=negated)
        case "A_Expr":
            return _operator(fields, target, facts, depth, negated=negated)
        case "SubLink":
            return _sublink(fields, target, facts, depth, negated=negated)
        case "CurrentOfExpr":
            return not negated
    return False


def _cover_each_other(arms: list[Node], target: Target) -> bool:
    """Tell whether arms of OR ask the same column from two sides: `x < 5 OR x >= 5`, NULL or not, true or false."""
    sides: dict[str, set[str]] = {}
    for arm in arms:
        kind, fields = next(iter(arm.items())) if arm else ("", {})
        if kind in ("NullTest", "BooleanTest"):
            column, side = _own_column(fields.get("arg", {}), target), f"{fields.get('nulltesttype')}{fields.get('booltesttype')}"
        elif kind == "A_Expr":
            left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
            name = (strings(fields.get("name", ())) or [""])[-1]
            column = _own_column(left, target)
            if column is None:
                column, name = _own_column(right, target), {"<": ">", ">": "<", "<=": ">", ">=": "<"}.get(name, name)
            truth = _constant_truth(right)
            side = f"{truth}" if truth is not None else name[:1]
            if truth is None and side not in ("<", ">"):
                continue
        elif kind in ("ColumnRef", "BoolExpr"):
            inner = fields.get("args", [{}])[0] if fields.get("boolop") == "NOT_EXPR" else arm
            column, side = _own_column(inner, target), kind
        else:
            continue
        if column is not None:
            sides.setdefault(column, set()).add(side)
    return any(len(found - {"IS_NULLNone"}) > 1 or (len(found) > 1 and "IS_NOT_NULLNone" in found) for found in sides.values())


def _cheap_first(args: list[Node]) -> list[Node]:
    """Equalities first: to prove them no literal is read, so that statements that differ in literals stay one."""
    return sorted(
        args, key=lambda a: a.get("A_Expr", {}).get("kind") not in ("AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY") or not _equals(a)
    )


def _equals(node: Node) -> bool:
    fields = node.get("A_Expr", {})
    return fields.get("kind") in ("AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY") and strings(fields.get("name", ()))[-1:] == ["="]


def _null_test(fields: Node, target: Target, *, negated: bool) -> bool:
    column = _own_column(fields.get("arg", {}), target)
    wants_null = (fields.get("nulltesttype", "IS_NULL") == "IS_NULL") != negated
    if column is None:
        return False
    return wants_null or (target.nullable is not None and column in target.nullable)


def _operator(fields: Node, target: Target, facts: Collector, depth: int, *, negated: bool) -> bool:
    kind = fields.get("kind", "AEXPR_OP")
    name = (strings(fields.get("name", ())) or [""])[-1]
    left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
    if kind in ("AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR") or (kind == "AEXPR_OP" and name in ("~", "~*", "!~", "!~*")):
        if name.startswith("!") != negated or _own_column(left, target) is None:
            return False
        return _is_selective(right, facts)
    if kind in ("AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM"):
        bounds = right.get("List", {}).get("items", [])
        return not negated and any(
            _compares({"lexpr": left, "rexpr": b}, o, target, facts, depth) for b, o in zip(bounds, (">=", "<="), strict=False)
        )
    if kind == "AEXPR_NOT_DISTINCT" or kind == "AEXPR_DISTINCT":
        return (kind == "AEXPR_DISTINCT") == negated and _equates(left, right, target, facts, depth)
    if kind == "AEXPR_IN":
        items = right.get("List", {}).get("items", []) if isinstance(right, dict) else []
        truths = {_constant_truth(i) for i in items} - {None}
        if len(truths) > 1 or (truths and facts.elided):
            return False
        return (name == "<>") == negated and bool(items) and all(_equates(left, i, target, facts, depth) for i in items)
    if kind == "AEXPR_OP_ANY":
        return name == "=" and not negated and _equates(left, right, target, facts, depth)
    if kind == "AEXPR_OP_ALL":
        return name == "<>" and negated and _equates(left, right, target, facts, depth)
    if kind != "AEXPR_OP":
        return False
    if negated:
        name = {"=": "<>", "<>": "=", "!=": "=", "<": ">=", ">": "<=", "<=": ">", ">=": "<"}.get(name, "")
    if name == "=":
        for one, other in ((left, right), (right, left)):
            truth = _constant_truth(other)
            if truth is not None and ("A_Expr" in one or "BoolExpr" in one or "NullTest" in one or "SubLink" in one):
                return restricts(one, target, facts, depth, negated=not truth)
        return _equates(left, right, target, facts, depth) or _equates(right, left, target, facts, depth)
    if name in ("<", ">", "<=", ">="):
        mirrored = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[name]
        return _compares(fields, name, target, facts, depth) or _compares(
            {"lexpr": right, "rexpr": left}, mirrored, target, facts, depth
        )
    return name in ("@>", "<@", "&&", "?", "?|", "?&", "@@", "<<", ">>", "<<=") and _equates(left, right, target, facts, depth)


def _constant_truth(node: Node) -> bool | None:
    constant = node.get("A_Const", {}) if isinstance(node, dict) else {}
    return bool(constant["boolval"].get("boolval", False)) if "boolval" in constant else None


def _equates(column: Node, value: Any, target: Target, facts: Collector, depth: int) -> bool:
    """Tell whether `column = value` picks rows: a column of the target, and a value that does not come from the same column."""
    names = {_own_column(column, target)}
    if None in names and "RowExpr" in column:
        names = {_own_column(c, target) for c in column["RowExpr"].get("args", ())}
        if not names - {None}:
            return False
    elif None in names:
        return False
    if has_query(value):
        return _is_choice(value, target, facts, depth)
    owners = list(columns(value))
    if not owners:
        return not _is_series(value)
    for qualifier, column_name in owners:
        if qualifier and qualifier not in target.aliases:
            if not target.others.get(qualifier, qualifier not in target.others):
                return False
        elif column_name in names or (not qualifier and target.others and not any(target.others.values())):
            return False
    return True


def _compares(fields: Node, name: str, target: Target, facts: Collector, depth: int) -> bool:
    """Tell whether a range leaves rows out: not `id > 0`, `created_at < now()`, `name >= ''`, nor a bound beyond any value."""
    column = _own_column(fields.get("lexpr", {}), target)
    value = fields.get("rexpr", {})
    if column is None or column == "ctid" or any(True for _ in columns(value)):
        return False
    if has_query(value):
        return _is_choice(value, target, facts, depth)
    upward = name.startswith(">")
    constant = _constant(value, facts)
    if isinstance(constant, bool):
        return False
    if isinstance(constant, int | float):
        return constant > 1 and constant < _HUGE if upward else constant < _HUGE and constant > -_HUGE
    if isinstance(constant, str):
        text = constant.strip().lower()
        if not text or _LONG.search(text) or text == "epoch":
            return False
        if text in ("now", "today", "tomorrow", "yesterday"):
            return upward or _DEADLINE.search(column) is not None
        if text.lstrip("+-").replace(".", "", 1).isdigit():
            number = float(text) if len(text) < 300 else float(_HUGE)
            if not re.match(r"(?:19|20)\d\d\Z", text):
                return 1 < number < _HUGE if upward else -_HUGE < number < _HUGE
        if text[:1].isdigit():
            return text[:4] >= _EARLY if upward else text[:4] < _LATE
        return len(text) > 1 and text[:1] not in ("~", "{", "|", "}", "z", "\x7f")
    parts = list(calls(value))
    if any(p not in _NOW and p not in _MADE for p in parts):
        return False
    if any(p in _NOW for p in parts):
        bare = "A_Expr" not in value
        if bare:
            return upward or _DEADLINE.search(column) is not None
        intervals = [c for c in _constants(value, facts) if isinstance(c, str)]
        if any(_far(c) for c in intervals):
            return False
        forward = strings(value["A_Expr"].get("name", ()))[-1:] == ["+"]
        return forward == upward or _DEADLINE.search(column) is not None or (not forward and bool(intervals)) or not intervals
    return True


def _far(interval: str) -> bool:
    """Tell whether an interval is none at all, or so long that nothing lies beyond it."""
    found = _SPAN.findall(interval)
    if not found or _LONG.search(interval):
        return True
    days = sum(int(count[:9]) * _DAYS.get(unit[:3].lower(), 0.0) for count, unit in found)
    return not 0 < days < 15 * 365


def _sublink(fields: Node, target: Target, facts: Collector, depth: int, *, negated: bool) -> bool:
    kind = fields.get("subLinkType")
    query = fields.get("subselect", {}).get("SelectStmt", {})
    if kind == "EXISTS_SUBLINK":
        return _is_correlated(query, target)
    if kind == "ANY_SUBLINK":
        test = fields.get("testexpr", {})
        operator = (strings(fields.get("operName", ())) or ["="])[-1]
        if operator != "=" or (_own_column(test, target) is None and "RowExpr" not in test):
            return False
        if negated:
            # NOT IN: rows that nothing in another table refers to.
            return bool(_others_read(query, target)) and "limitCount" not in query and not _is_never(query.get("whereClause"))
        return _chooses(query, target, facts, depth)
    return False


def _is_choice(value: Any, target: Target, facts: Collector, depth: int) -> bool:
    """Tell whether a value with a subquery in it (a scalar one, or ARRAY(…)) is a choice of its own."""
    queries = [s.get("subselect", {}).get("SelectStmt", {}) for s in sublinks(value)]
    return bool(queries) and all(_chooses(q, target, facts, depth) for q in queries)


def _chooses(query: Node, target: Target, facts: Collector, depth: int) -> bool:
    """Tell whether a subquery gives some rows only: restricted itself, limited, listed, or about another table."""
    if depth <= 0:
        return False
    if "larg" in query:
        arms = [query.get("larg", {}), query.get("rarg", {})]
        if query.get("op") == "SETOP_UNION":
            return all(_chooses(a, target, facts, depth - 1) for a in arms)
        return _chooses(arms[0], target, facts, depth - 1)
    if "valuesLists" in query:
        return not any(True for _ in columns(query["valuesLists"]))
    ctes = {**target.ctes, **_cte_bodies(query)}
    limit = query.get("limitCount", {}).get("A_Const")
    if limit is not None and not limit.get("isnull"):
        count = facts.constant(limit)
        if isinstance(count, int) and count < 1_000_000:
            return True
    elif "ParamRef" in query.get("limitCount", {}):
        return True
    sources = query.get("fromClause", [])
    if not sources:
        # `id IN (SELECT id)` is the row itself; `(SELECT $1)` a value.
        targets = query.get("targetList", [])
        return not any(True for _ in columns(targets)) and not _is_series(targets) and not has_query(targets)
    if "groupClause" in query and any(True for _ in columns(query.get("havingClause", {}))):
        return True
    if _aggregates(query) and "groupClause" not in query:
        return True
    inner = list(_sources(sources, ctes))
    names = frozenset(a for a, _ in inner)
    body = [b for _, b in inner]
    if any(isinstance(b, dict) and _chooses(b, target, facts, depth - 1) for b in body):
        return True
    if all(isinstance(b, str) and b.startswith("()") for b in body):
        return any(b == "()unnest" for b in body)
    same = any(b == target.name.rpartition(".")[2] for b in body)
    here = Target(target.name if same else "", names, dict.fromkeys(target.aliases - names, not same), ctes)
    where = query.get("whereClause")
    if where is not None and restricts(where, here, facts, depth - 1):
        return True
    return any(restricts(q, here, facts, depth - 1) for q in _join_conditions(sources)) if not same and len(body) > 1 else False


def _is_correlated(query: Node, target: Target) -> bool:
    """Tell whether an EXISTS asks another table about the target's row."""
    if not _others_read(query, target):
        return False
    inner = {a for a, _ in _sources(query.get("fromClause", []), {})}
    arms = [a for c in (query.get("whereClause", {}), *_join_conditions(query.get("fromClause", []))) for a in _conjuncts(c)]
    if not all(any(True for _ in columns(a)) for a in arms):
        return False
    for arm in arms:
        fields = arm.get("A_Expr", {})
        sides = [list(columns(fields.get("lexpr", {}))), list(columns(fields.get("rexpr", {})))]
        outer = [[c for q, c in side if (q in target.aliases and q not in inner) or not q] for side in sides]
        local = [[c for q, c in side if q in inner or not q] for side in sides]
        if (outer[0] and local[1]) or (outer[1] and local[0]):
            return True
    return False


def _conjuncts(node: Node) -> list[Node]:
    fields = node.get("BoolExpr", {})
    if fields.get("boolop") == "AND_EXPR":
        return [a for arg in fields.get("args", ()) for a in _conjuncts(arg)]
    return [node] if node else []


def _is_never(node: Node | None) -> bool:
    """Tell whether a subquery's condition has no column in it, so that it may give nothing at all."""
    return node is not None and not any(True for _ in columns(node))


def _others_read(query: Node, target: Target) -> list[str]:
    own = target.name.rpartition(".")[2]
    return [b for _, b in _sources(query.get("fromClause", []), {}) if isinstance(b, str) and b != own and not b.startswith("()")]


def cte_bodies(fields: Node) -> dict[str, Node]:
    """Return the SELECTs that a statement's WITH names."""
    return _cte_bodies(fields)


def _cte_bodies(fields: Node) -> dict[str, Node]:
    found = {}
    for item in fields.get("withClause", {}).get("ctes", ()):
        entry = item.get("CommonTableExpr", {})
        found[entry.get("ctename", "")] = entry.get("ctequery", {}).get("SelectStmt", {})
    return found


def holds_other_rows(item: Node, target: Target) -> Iterator[tuple[str, bool]]:
    """Yield each FROM item's alias, and whether joining it can leave rows of the target out: not itself, nor a series."""
    own = target.name.rpartition(".")[2]
    for alias, body in _sources([item], target.ctes):
        if isinstance(body, str):
            yield alias, body != own and (not body.startswith("()") or body == "()unnest")
        else:
            reads = [b for _, b in _sources(body.get("fromClause", []), target.ctes)]
            listed = "valuesLists" in body
            yield (
                alias,
                listed
                or (bool(reads) and own not in reads and not all(str(b).startswith("()") for b in reads))
                or ("whereClause" in body or "limitCount" in body or "havingClause" in body),
            )


def _sources(items: list[Node], ctes: Mapping[str, Node]) -> Iterator[tuple[str, Any]]:
    """Yield alias and body: a table's name, a subquery's fields, or `()function`."""
    for item in items:
        kind, fields = next(iter(item.items()))
        alias = fields.get("alias", {}).get("aliasname", "")
        if kind == "JoinExpr":
            yield from _sources([s for s in (fields.get("larg"), fields.get("rarg")) if s], ctes)
        elif kind == "RangeVar":
            name = fields.get("relname", "")
            body = ctes.get(name) if not fields.get("schemaname") else None
            yield alias or name, body if body else name
        elif kind == "RangeSubselect":
            yield alias, fields.get("subquery", {}).get("SelectStmt", {})
        elif kind == "RangeTableSample":
            yield from _sources([fields["relation"]] if "relation" in fields else [], ctes)
        else:
            called = next(calls(fields), "")
            yield alias or called, "()" + called


def _join_conditions(items: list[Node]) -> Iterator[Node]:
    for item in items:
        join = item.get("JoinExpr")
        if join:
            if "quals" in join:
                yield join["quals"]
            yield from _join_conditions([s for s in (join.get("larg"), join.get("rarg")) if s])


def _aggregates(query: Node) -> bool:
    return any(c in ("max", "min", "count", "sum", "avg") for c in calls(query.get("targetList", [])))


def _own_column(node: Any, target: Target) -> str | None:
    """Return the target's column that an expression is a plain form of: itself, cast, or under a function that keeps it apart."""
    for _ in range(8):
        if not isinstance(node, dict) or len(node) != 1:
            return None
        kind, fields = next(iter(node.items()))
        if kind == "ColumnRef":
            names = strings(fields.get("fields", ()))
            if not names or len(names) != len(fields.get("fields", ())):
                return None
            if len(names) > 1 and names[-2] not in target.aliases:
                return None
            return None if names[-1] in _SYSTEM_COLUMNS else names[-1]
        if kind == "TypeCast" or kind == "CollateClause":
            node = fields.get("arg")
        elif kind == "FuncCall":
            args = fields.get("args", [])
            name = (strings(fields.get("funcname", ())) or [""])[-1]
            if name not in _WRAPPERS or not args:
                return None
            found = [a for a in args if any(True for _ in columns(a))]
            node = found[0] if len(found) == 1 else None
        elif kind == "CoalesceExpr":
            found = [a for a in fields.get("args", ()) if any(True for _ in columns(a))]
            node = found[0] if len(found) == 1 else None
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


def _is_selective(pattern: Any, facts: Collector) -> bool:
    """Tell whether a pattern can fail: constants that may match everything do not; what is computed is not known to."""
    if "FuncCall" in pattern:
        pattern = (pattern["FuncCall"].get("args") or [{}])[0]
    while "TypeCast" in pattern:
        pattern = pattern["TypeCast"].get("arg", {})
    if "ParamRef" in pattern:
        return True
    if "A_Const" not in pattern:
        texts = [c for c in _constants(pattern, facts) if isinstance(c, str)]
        return any(c.strip(_TRIVIAL_PATTERN) for c in texts) or any(True for _ in _params(pattern))
    return facts.pattern(pattern["A_Const"]) is None


def _constant(node: Any, facts: Collector) -> Any:
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    if isinstance(node, dict) and "A_Const" in node:
        return facts.constant(node["A_Const"])
    if isinstance(node, dict) and "A_Expr" in node and "lexpr" not in node["A_Expr"]:
        value = _constant(node["A_Expr"].get("rexpr", {}), facts)
        return -value if isinstance(value, int | float) else None
    return None


def _constants(node: Any, facts: Collector) -> Iterator[Any]:
    for key, value in walk(node):
        if key == "A_Const":
            yield facts.constant(value)


def _params(node: Any) -> Iterator[str]:
    return (key for key, _ in walk(node) if key == "ParamRef")


def _is_series(node: Any) -> bool:
    return any(c == "generate_series" for c in calls(node))
