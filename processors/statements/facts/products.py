"""Which items of FROM does nothing join with the others? Each such part is multiplied by all the rest.

A comparison of columns joins the items whose columns they are, and so do USING, a subquery that mentions both, and LATERAL.
That two columns differ joins nothing, and that one is less than the other next to nothing where both tables are large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.restriction import restricts
from processors.statements.facts.rows import Target
from processors.statements.facts.trees import columns, strings

FEW = 100.0
"""Rows that a part has at most where a condition picks some of one of its tables."""
LARGE = 10_000.0
"""Rows of a table from which an order joins it with another large one to nothing."""
_ORDERS = frozenset(("<", ">", "<=", ">="))


def product(fields: Node, rows: Callable[[Node], float], facts: Collector) -> float:
    """Return about how many rows parts of FROM that nothing joins give together; 1 where all are joined or it cannot be told.

    `rows` tells how many rows a table, subquery or function in FROM has.
    """
    items: dict[str, Node] = {}
    arms = list(_conjuncts(fields.get("whereClause")))
    links: list[set[str]] = []
    if not _gather(fields.get("fromClause", []), items, arms, links) or len(items) < 2:
        return 1.0
    sizes = {name: rows(item) for name, item in items.items()}
    orders: dict[frozenset[str], int] = {}
    few: set[str] = set()
    for arm in arms:
        about = {qualifier for qualifier, _ in columns(arm)}
        if "" in about:
            return 1.0
        about &= items.keys()
        operator = (strings(arm.get("A_Expr", {}).get("name", ())) or [""])[-1]
        if len(about) == 2 and operator in _ORDERS:
            orders[frozenset(about)] = orders.get(frozenset(about), 0) + 1
        elif len(about) > 1 and operator != "<>":
            links.append(about)
        elif len(about) == 1:
            [name] = about
            table = items[name].get("RangeVar", {})
            others = {other: False for other in items if other != name}
            if restricts(arm, Target(table.get("relname", ""), frozenset((name,)), others), facts):
                few.add(name)
    for pair, count in orders.items():
        if count > 1 or min(sizes[name] for name in pair) <= LARGE or pair & few:
            links.append(set(pair))
    parts = _parts(items.keys(), links)
    if len(parts) < 2:
        return 1.0
    return math.prod(min(FEW, *s) if part & few else max(s) for part in parts if (s := [sizes[n] for n in part]))


def _gather(found: list[Node], items: dict[str, Node], arms: list[Node], links: list[set[str]]) -> bool:
    """Put FROM items by name, conditions of joins, and what is joined otherwise; tell whether each item has a name of its own."""
    for item in found:
        kind, fields = next(iter(item.items()))
        if kind == "JoinExpr":
            before = set(items)
            if not _gather([fields[side] for side in ("larg", "rarg") if side in fields], items, arms, links):
                return False
            arms += _conjuncts(fields.get("quals"))
            if "usingClause" in fields or fields.get("isNatural"):
                links.append(items.keys() - before)
            continue
        name = fields.get("alias", {}).get("aliasname") or (fields.get("relname", "") if kind == "RangeVar" else "")
        if not name or name in items:
            return False
        items[name] = item
        if kind != "RangeVar":
            about = {qualifier for qualifier, _ in columns(item)} & items.keys()
            links.append(about | {name})
    return True


def _conjuncts(node: Node | None) -> Iterator[Node]:
    fields = (node or {}).get("BoolExpr", {})
    if fields.get("boolop") == "AND_EXPR":
        for arm in fields.get("args", ()):
            yield from _conjuncts(arm)
    elif node:
        yield node


def _parts(names: Iterable[str], links: list[set[str]]) -> list[set[str]]:
    """Return names grouped by what links them."""
    parts = [{name} for name in names]
    for link in links:
        joined = [part for part in parts if part & link]
        parts = [part for part in parts if not part & link]
        if joined:
            parts.append(set().union(*joined))
    return parts
