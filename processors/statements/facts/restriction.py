"""Does a condition keep an UPDATE or DELETE from most of its table? Proven, or it does not.

There is no end to conditions that are always true, so none is looked for: a condition restricts only if one of a few shapes
says so (a column compared with something that does not depend on it, a choice by another table, a test of a boolean), and
everything else, however it is dressed, does not. AND needs one arm that restricts, OR needs all of them, NOT turns `=` into
`<>`, which leaves most rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from processors.statements.dangers.functions import of_function
from processors.statements.facts.collector import NEARLY_ALL, Collector, Node
from processors.statements.facts.moments import EARLY, LATE, NAMED, NOW, PARTS, date_part, is_bound, is_deadline
from processors.statements.facts.plain import LONG, bare, constant_of, constants_in, is_selective, own_column, params
from processors.statements.facts.rows import Bodies, Target, cte_bodies, join_conditions, sources, tables_read
from processors.statements.facts.trees import calls, columns, has_query, spend, strings, sublinks, walk
from processors.statements.facts.usual import DEAD, equates_usual, is_usual

MAX_DEPTH = 60
"""Nesting looked into; a deeper condition does not restrict."""

_HUGE = 1_000_000_000
_NINES = re.compile(r"-?9{5,}\Z")
"""Meant for more than there is."""


def restricts(node: Node | None, target: Target, facts: Collector, depth: int = MAX_DEPTH, *, negated: bool = False) -> bool:
    """Tell whether a condition (or its negation) is proven to leave out rows of the target."""
    if not isinstance(node, dict) or len(node) != 1 or depth <= 0:
        return False
    spend(4)
    kind, fields = next(iter(node.items()))
    depth -= 1
    match kind:
        case "BoolExpr":
            args = fields.get("args", [])
            if fields.get("boolop") == "NOT_EXPR":
                return restricts(args[0], target, facts, depth, negated=not negated)
            every = (fields.get("boolop") == "OR_EXPR") != negated
            args = [_without_not(a) for a in args]
            if every and _cover_each_other(args, target):
                return False
            found = (restricts(a, target, facts, depth, negated=negated) for a in _cheap_first(args))
            return all(found) if every else any(found)
        case "ColumnRef":
            column = own_column(node, target, facts)
            return column is not None and not is_usual(column, target, facts, truth=not negated)
        case "BooleanTest":
            if fields.get("booltesttype") in ("IS_UNKNOWN", "IS_NOT_UNKNOWN"):
                return bool((fields["booltesttype"] == "IS_UNKNOWN") != negated)
            kept = fields.get("booltesttype", "IS_TRUE") in ("IS_TRUE", "IS_NOT_FALSE")
            arg = fields.get("arg", {})
            if "ColumnRef" in arg:
                wanted = fields.get("booltesttype", "IS_TRUE") in ("IS_TRUE", "IS_NOT_FALSE")
                column = own_column(arg, target, facts)
                return column is None or not is_usual(column, target, facts, truth=wanted != negated)
            return restricts(arg, target, facts, depth, negated=negated == kept)
        case "NullTest":
            return _null_test(fields, target, facts, negated=negated)
        case "A_Expr":
            return _operator(fields, target, facts, depth, negated=negated)
        case "SubLink":
            return _sublink(fields, target, facts, depth, negated=negated)
        case "CurrentOfExpr":
            return not negated
    return False


_OPPOSITE = {"=": "<>", "<>": "=", "!=": "=", "<": ">=", ">": "<=", "<=": ">", ">=": "<"}


def _without_not(arm: Node) -> Node:
    """Return `NOT (a < b)` as `a >= b`."""
    for _ in range(8):
        inner = arm.get("BoolExpr", {})
        fields = (inner.get("args") or [{}])[0].get("A_Expr", {}) if inner.get("boolop") == "NOT_EXPR" else {}
        opposite = _OPPOSITE.get((strings(fields.get("name", ())) or [""])[-1])
        if fields.get("kind") == "AEXPR_OP" and opposite:
            return {"A_Expr": {**fields, "name": [{"String": {"sval": opposite}}]}}
        nested = (inner.get("args") or [{}])[0].get("BoolExpr", {}) if inner.get("boolop") == "NOT_EXPR" else {}
        if nested.get("boolop") != "NOT_EXPR":
            return arm
        arm = nested["args"][0]
    return arm


def _cover_each_other(arms: list[Node], target: Target) -> bool:
    """Tell whether arms of OR ask the same column from two sides: `x < 5 OR x >= 5`, NULL or not, true or false."""
    sides: dict[str, set[str]] = {}
    for arm in arms:
        kind, fields = next(iter(arm.items())) if arm else ("", {})
        if kind in ("NullTest", "BooleanTest"):
            column, side = own_column(fields.get("arg", {}), target), f"{fields.get('nulltesttype')}{fields.get('booltesttype')}"
        elif kind == "A_Expr":
            left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
            name = (strings(fields.get("name", ())) or [""])[-1]
            column = own_column(left, target)
            if column is None:
                column, name = own_column(right, target), {"<": ">", ">": "<", "<=": ">", ">=": "<"}.get(name, name)
            truth = _constant_truth(right)
            side = f"{truth}" if truth is not None else name[:1]
            if truth is None and side not in ("<", ">"):
                continue
        elif kind in ("ColumnRef", "BoolExpr"):
            inner = fields.get("args", [{}])[0] if fields.get("boolop") == "NOT_EXPR" else arm
            column, side = own_column(inner, target), kind
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


def _null_test(fields: Node, target: Target, facts: Collector, *, negated: bool) -> bool:
    column = own_column(fields.get("arg", {}), target)
    wants_null = (fields.get("nulltesttype", "IS_NULL") == "IS_NULL") != negated
    if column is None:
        return False
    if "A_Expr" in fields.get("arg", {}) and wants_null:
        return False  # what JSON does not hold is NULL in every row
    if wants_null and "ColumnRef" in fields.get("arg", {}):
        share = facts.share_of(target.name, column, truth=None)
        return share < NEARLY_ALL if share is not None else not (facts.writes and DEAD.match(column))
    share = facts.share_of(target.name, column, truth=None)
    few = share is not None and 1 - share >= NEARLY_ALL
    return wants_null or (not few and target.nullable is not None and column in target.nullable)


def _operator(fields: Node, target: Target, facts: Collector, depth: int, *, negated: bool) -> bool:
    kind = fields.get("kind", "AEXPR_OP")
    names = strings(fields.get("name", ())) or [""]
    if facts.is_redefined(names, operator=True):
        return False
    name = names[-1]
    left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
    if kind in ("AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR") or (kind == "AEXPR_OP" and name in ("~", "~*", "!~", "!~*")):
        if name.startswith("!") != negated or own_column(left, target, facts) is None:
            return False
        return is_selective(right, facts)
    if kind in ("AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM"):
        bounds = right.get("List", {}).get("items", [])
        if kind == "AEXPR_BETWEEN_SYM":
            values = [constant_of(b, facts) for b in bounds]
            if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
                return False
            bounds = [b for _, b in sorted(zip(values, bounds, strict=True), key=lambda pair: pair[0])]
        words = [constant_of(b, facts) for b in bounds]
        if all(isinstance(w, str) and w[:1].isalpha() for w in words) and own_column(left, target, facts) is not None:
            return not negated and len(words) == 2 and words[0][:1].lower() == words[1][:1].lower()
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
        part = date_part(left, facts)
        if part is not None and (facts.elided or len(items) >= PARTS.get(part, 366)):
            return False
        return (name == "<>") == negated and bool(items) and all(_equates(left, i, target, facts, depth) for i in items)
    if kind == "AEXPR_OP_ANY":
        # `ANY (enum_range(NULL::state))` is every value that there is.
        every = any(c == "enum_range" for c in calls(right))
        return name == "=" and not negated and not every and _equates(left, right, target, facts, depth)
    if kind == "AEXPR_OP_ALL":
        return name == "<>" and negated and _equates(left, right, target, facts, depth)
    if kind != "AEXPR_OP":
        return False
    if negated:
        name = _OPPOSITE.get(name, "")
    if name == "=":
        for one, other in ((left, right), (right, left)):
            truth = _constant_truth(other)
            if truth is not None and ("A_Expr" in one or "BoolExpr" in one or "NullTest" in one or "SubLink" in one):
                return restricts(one, target, facts, depth, negated=not truth)
            if truth is not None and "ColumnRef" in one and (column := own_column(one, target, facts)):
                return not is_usual(column, target, facts, truth=truth)
        return _equates(left, right, target, facts, depth) or _equates(right, left, target, facts, depth)
    if name in ("<", ">", "<=", ">="):
        mirrored = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[name]
        return _compares(fields, name, target, facts, depth) or _compares(
            {"lexpr": right, "rexpr": left}, mirrored, target, facts, depth
        )
    if name not in ("@>", "<@", "&&", "?", "?|", "?&", "@@", "<<", ">>", "<<=") or not _equates(
        left, right, target, facts, depth
    ):
        return False
    return not _holds_everything(left, right, name, target, facts, depth)


def _holds_everything(left: Node, right: Any, name: str, target: Target, facts: Collector, depth: int) -> bool:
    """Tell whether a containment may hold of every value: of nothing (`x @> '{}'`), or in a range without bounds."""
    if name == "<@":
        called = right.get("FuncCall", {})
        if (strings(called.get("funcname", ())) or [""])[-1].endswith("range"):
            bounds = called.get("args", [])[:2]
            sides = zip(bounds, (">=", "<="), strict=False)
            return not any(_compares({"lexpr": left, "rexpr": b}, o, target, facts, depth) for b, o in sides)
    if name == "@>" and facts.writes and any(c in NOW for c in calls(right)):
        return True  # that it is in force now holds of nearly every row, as `active` does
    constant = constant_of(right, facts)
    if not isinstance(constant, str):
        return False
    text = constant.strip()
    if name == "@>":
        return not text.strip("{}[]() ,")
    if name == "<@" and text[:1] in "[(" and "," in text:
        place = right.get("A_Const") or right.get("TypeCast", {}).get("arg", {}).get("A_Const") or {}
        for bound, side in zip(text[1:-1].split(",", 1), (">=", "<="), strict=True):
            value = {"A_Const": {**place, "sval": {"sval": bound.strip('" ')}}}
            if bound.strip('" ') and _compares({"lexpr": left, "rexpr": value}, side, target, facts, depth):
                return False
        return True
    return False


def _constant_truth(node: Node) -> bool | None:
    constant = node.get("A_Const", {}) if isinstance(node, dict) else {}
    return bool(constant["boolval"].get("boolval", False)) if "boolval" in constant else None


def _equates(column: Node, value: Any, target: Target, facts: Collector, depth: int) -> bool:
    """Tell whether `column = value` picks rows: a column of the target, and a value that does not come from the same column."""
    value = bare(value)
    names = {own_column(column, target, facts)}
    if None in names and "RowExpr" in column:
        names = {own_column(c, target, facts) for c in column["RowExpr"].get("args", ())}
        if not names - {None}:
            return False
    elif None in names or any(equates_usual(c, value, target, facts) for c in names if c):
        return False
    if has_query(value):
        return _is_choice(value, target, facts, depth)
    owners = list(columns(value))
    if not owners:
        return not _is_series(value)
    for qualifier, column_name in owners:
        qualifier = qualifier or target.foreign.get(column_name, "")
        if qualifier and qualifier not in target.aliases:
            if not target.others.get(qualifier, qualifier not in target.others):
                return False
        elif column_name in names or (not qualifier and target.others and not any(target.others.values())):
            return False
    return True


def _compares(fields: Node, name: str, target: Target, facts: Collector, depth: int) -> bool:
    """Tell whether a range leaves rows out: not `id > 0`, `created_at < now()`, `name >= ''`, nor a bound beyond any value."""
    column = own_column(fields.get("lexpr", {}), target, facts)
    value = bare(fields.get("rexpr", {}))
    default = fields.get("lexpr", {}).get("CoalesceExpr", {}).get("args", [])[1:]
    if any(isinstance(c, str) and LONG.search(c) for c in constants_in(default, facts)):
        return False
    if column is None or column == "ctid" or any(True for _ in columns(value)) or value.get("A_Const", {}).get("isnull"):
        return False
    if has_query(value):
        return _is_choice(value, target, facts, depth)
    if "MinMaxExpr" in value:
        return all(_compares({**fields, "rexpr": a}, name, target, facts, depth) for a in value["MinMaxExpr"].get("args", ()))
    upward = name.startswith(">")
    facts.asks_values = facts.asks_values or any(True for _ in params(value))
    constant = constant_of(value, facts)
    if isinstance(constant, bool):
        return False
    part = date_part(fields.get("lexpr", {}), facts)
    if part is not None:
        # 2000 to 2090, as years and as seconds since 1970; of any other part a range leaves out too little.
        low, high = {"year": (2000.0, 2090.0), "epoch": (946_684_800.0, 3_786_912_000.0)}.get(part, (0.0, 0.0))
        return isinstance(constant, int | float) and bool(high) and (constant >= low if upward else constant < high)
    if isinstance(constant, int | float):
        if _NINES.match(str(constant)) or facts.holds_nearly_all(target.name, column, constant, upward=upward):
            return False
        return constant > 1 and constant < _HUGE if upward else constant < _HUGE and constant > -_HUGE
    if isinstance(constant, str):
        text = constant.strip().lower()
        if not text or LONG.search(text) or text == "epoch":
            return False
        if text in NAMED:
            return upward or is_deadline(column)
        if text.lstrip("+-").replace(".", "", 1).isdigit():
            number = float(text) if len(text) < 300 else float(_HUGE)
            if facts.holds_nearly_all(target.name, column, number, upward=upward):
                return False
            if not re.match(r"(?:19|20)\d\d\Z", text):
                return 1 < number < _HUGE if upward else -_HUGE < number < _HUGE
        if text[:1].isdigit():
            return text[:4] >= EARLY if upward else text[:4] < LATE
        # Words have an order that few think of: that of an enumeration leaves out nothing from its first value on.
        return not text.replace(" ", "").isalpha() and len(text) > 1 and text[:1] not in ("~", "{", "|", "}", "\x7f")
    return is_bound(value, column, facts, upward=upward)


def _sublink(fields: Node, target: Target, facts: Collector, depth: int, *, negated: bool) -> bool:
    kind = fields.get("subLinkType")
    query = fields.get("subselect", {}).get("SelectStmt", {})
    if kind == "EXISTS_SUBLINK":
        return _is_correlated(query, target)
    if kind == "ANY_SUBLINK":
        test = fields.get("testexpr", {})
        operator = (strings(fields.get("operName", ())) or ["="])[-1]
        if operator != "=" or (own_column(test, target, facts) is None and "RowExpr" not in test):
            return False
        if negated:
            # NOT IN: rows that nothing in another table refers to.
            return bool(_others_read(query, target)) and "limitCount" not in query and not _is_never(query.get("whereClause"))
        return chooses(query, target, facts, depth)
    return False


def _is_choice(value: Any, target: Target, facts: Collector, depth: int) -> bool:
    """Tell whether a value with a subquery in it (a scalar one, or ARRAY(…)) is a choice of its own."""
    queries = [s.get("subselect", {}).get("SelectStmt", {}) for s in sublinks(value)]
    return bool(queries) and all(chooses(q, target, facts, depth) for q in queries)


def chooses(query: Node, target: Target, facts: Collector, depth: int = MAX_DEPTH) -> bool:
    """Tell whether a subquery gives some rows only: restricted itself, limited, listed, or about another table."""
    facts.proofs -= 1
    if depth <= 0 or facts.proofs < 0:
        return False
    if "larg" in query:
        arms = [query.get("larg", {}), query.get("rarg", {})]
        again = [b is query for _, b in sources(arms[1].get("fromClause", []), target.ctes)]
        if any(again):
            # A recursive CTE: of itself alone it counts, beside a table it follows that table's rows from where it began.
            return not all(again) and chooses(arms[0], target, facts, depth - 1)
        if query.get("op") == "SETOP_UNION":
            return all(chooses(a, target, facts, depth - 1) for a in arms)
        return chooses(arms[0], target, facts, depth - 1)
    if "valuesLists" in query:
        return not any(True for _ in columns(query["valuesLists"]))
    if _gives_its_row(query, target):
        return _is_correlated(query, target)
    ctes = Bodies({**target.ctes, **cte_bodies(query)}, target.ctes)
    # A LIMIT leaves nothing out where the query is asked anew, each round or for each row of its own table.
    anew = facts.in_rounds or _asks_itself(query, target) or any(map(_of_its_row(query, target), columns(query)))
    limit = query.get("limitCount", {}).get("A_Const") if not anew else None
    if limit is not None and not limit.get("isnull"):
        count = facts.constant(limit)
        tables = list(tables_read(query, ctes))
        if isinstance(count, int) and count < min([1_000_000, *(NEARLY_ALL * facts.rows_of(t) for t in tables)]):
            return True
    elif "ParamRef" in query.get("limitCount", {}) and not anew:
        facts.asks_values = True
        return True
    items = query.get("fromClause", [])
    if not items:
        # `id IN (SELECT id)` is the row itself; `(SELECT $1)` a value.
        targets = query.get("targetList", [])
        free = any(key == "FuncCall" and "args" not in value for key, value in walk(targets))
        return not any(True for _ in columns(targets)) and not _is_series(targets) and not has_query(targets) and not free
    if "groupClause" in query and any(True for _ in columns(query.get("havingClause", {}))):
        return True
    inner = list(sources(items, ctes))
    names = frozenset(a for a, _ in inner)
    body = [b for _, b in inner]
    if _aggregates(query) and "groupClause" not in query:
        # One row; but of each of the target's rows one, if it asks its own table about itself, and the next one in each round.
        moves = facts.in_rounds and any(b == target.name.rpartition(".")[2] for b in body)
        return not moves and not _asks_itself(query, target)
    inside = Target(target.name, target.aliases, target.others, ctes, target.nullable, target.columns, target.foreign)
    if any(isinstance(b, dict) and chooses(b, inside, facts, depth - 1) for b in body):
        return True
    if all(isinstance(b, str) and b.startswith("()") for b in body):
        if _is_series(items):
            return False
        if has_query(items):
            return _is_choice(items, target, facts, depth - 1)
        return any(b == "()unnest" for b in body) or _is_given(items)
    same = any(b == target.name.rpartition(".")[2] for b in body)
    here = Target(target.name if same else "", names, dict.fromkeys(target.aliases - names, not same), ctes)
    where = query.get("whereClause")
    if where is not None and restricts(where, here, facts, depth - 1):
        return True
    return any(restricts(q, here, facts, depth - 1) for q in join_conditions(items)) if not same and len(body) > 1 else False


def _asks_itself(query: Node, target: Target) -> bool:
    """Tell whether a subquery asks the target's own table about the target's row."""
    inner = list(sources(query.get("fromClause", []), target.ctes))
    names = {alias for alias, _ in inner}
    if not any(body == target.name.rpartition(".")[2] for _, body in inner):
        return False
    return any(q in target.aliases and q not in names for q, _ in columns(query))


def _of_its_row(query: Node, target: Target) -> Callable[[tuple[str, str]], bool]:
    """Return what tells whether a column in a subquery is one of the target's row, as far as the query itself says so."""
    inner = list(sources(query.get("fromClause", []), target.ctes))
    names = {alias for alias, _ in inner}
    made = all("valuesLists" in body if isinstance(body, dict) else body.startswith("()") for _, body in inner)

    def outer(column: tuple[str, str]) -> bool:
        qualifier, name = column
        if qualifier:
            return qualifier in target.aliases and qualifier not in names
        return made and name not in names and (not inner or name in (target.columns or ()))

    return outer


def _gives_its_row(query: Node, target: Target) -> bool:
    """Tell whether a subquery gives the target's row itself: `id IN (SELECT accounts.id FROM …)` asks no more than EXISTS."""
    given = [item.get("ResTarget", {}).get("val", {}) for item in query.get("targetList", [])]
    outer = _of_its_row(query, target)
    return bool(given) and all("ColumnRef" in value and all(map(outer, columns(value))) for value in given)


def _is_given(sources: list[Node]) -> bool:
    """Tell whether what a function in FROM gives depends on what it is given: a list, a document, a key."""
    called = [value for key, value in walk(sources) if key == "FuncCall"]
    names = [(strings(c.get("funcname", ())) or [""])[-1] for c in called]
    return bool(called) and not any(map(of_function, names)) and all("args" in c and not has_query(c["args"]) for c in called)


def overwrites(query: Node, target: Target, facts: Collector) -> bool:
    """Tell whether an INSERT … SELECT … ON CONFLICT DO UPDATE meets most rows there are: it selects them, or every key."""
    if "valuesLists" in query:
        return False
    bodies = list(tables_read(query, target.ctes))
    own = target.name.rpartition(".")[2]
    return _is_series(query) or (own in bodies and not chooses(query, target, facts, MAX_DEPTH))


def _is_correlated(query: Node, target: Target) -> bool:
    """Tell whether an EXISTS asks another table about the target's row."""
    if not _others_read(query, target):
        return False
    inner = {a for a, _ in sources(query.get("fromClause", []), {})}
    arms = [a for c in (query.get("whereClause", {}), *join_conditions(query.get("fromClause", []))) for a in _conjuncts(c)]
    if not all(any(True for _ in columns(a)) for a in arms):
        return False
    for arm in arms:
        fields = arm.get("A_Expr", {})
        if strings(fields.get("name", ()))[-1:] == ["<>"]:  # every row is unlike some other
            continue
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
    found = tables_read(query, target.ctes)
    return [b for b in found if b != own and not b.startswith("()")]


def _aggregates(query: Node) -> bool:
    return any(c in ("max", "min", "count", "sum", "avg") for c in calls(query.get("targetList", [])))


def _is_series(node: Any) -> bool:
    return any(c == "generate_series" for c in calls(node))
