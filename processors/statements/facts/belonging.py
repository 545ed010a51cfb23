"""Does a change pick its rows by nothing but a table that every row refers to? Then it picks them all.

`DELETE FROM orders USING customers c WHERE c.id = orders.customer_id` looks like a choice by another table; with a foreign key
that is never NULL it is none, nor is `WHERE EXISTS (SELECT FROM customers c WHERE c.id = orders.customer_id)`.
"""

from __future__ import annotations

from collections.abc import Iterator

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.restriction import restricts
from processors.statements.facts.rows import Target
from processors.statements.facts.trees import columns, strings, walk


def picks_all(condition: Node | None, others: list[Node], target: str, alias: str, facts: Collector) -> bool:
    """Tell whether a join with `others` (FROM or USING items) is on foreign keys of the target, and nothing else is asked."""
    if facts.catalogue is None or condition is None:
        return False
    asked = condition.get("SubLink", {})
    if not others and asked.get("subLinkType") == "EXISTS_SUBLINK":
        query = asked.get("subselect", {}).get("SelectStmt", {})
        condition, others = query.get("whereClause"), query.get("fromClause", [])
    if not others or condition is None:
        return False
    tables: dict[str, str] = {}
    arms = list(_arms(condition))
    for item in _joined(others, arms):
        table = item.get("RangeVar")
        if table is None:
            return False
        tables[table.get("alias", {}).get("aliasname") or table.get("relname", "")] = facts.relation(table)
    named = {alias: target, **tables}
    belongs = {(a, *pair) for a, t in named.items() for r in facts.catalogue.find(*t.split(".", 1)) for pair in r.belongs}
    rest = [arm for arm in arms if not _is_reference(arm, alias, tables, belongs)]
    return len(rest) < len(arms) and not any(_picks(arm, alias, tables, facts) for arm in rest)


def _arms(condition: Node) -> Iterator[Node]:
    """Yield what a condition demands one by one."""
    joined = condition.get("BoolExpr", {})
    if joined.get("boolop") == "AND_EXPR":
        for arm in joined.get("args", []):
            yield from _arms(arm)
    else:
        yield condition


def _joined(items: list[Node], arms: list[Node]) -> Iterator[Node]:
    """Yield the tables of FROM items and joins; put conditions of joins with `arms`, but outer ones', which leave none out."""
    for item in items:
        join = item.get("JoinExpr")
        if join is None or "usingClause" in join or join.get("isNatural"):
            yield item
            continue
        if "quals" in join and join.get("jointype", "JOIN_INNER") == "JOIN_INNER":
            arms += _arms(join["quals"])
        yield from _joined([join[side] for side in ("larg", "rarg") if side in join], arms)


def _picks(arm: Node, alias: str, tables: dict[str, str], facts: Collector) -> bool:
    """Tell whether an arm may leave out rows of one of the tables: it is about others as well, or restricts it."""
    about = {qualifier for qualifier, _ in columns(arm)}
    if not about or not about <= tables.keys():
        return True
    found = {one: Target(tables[one], frozenset((one,)), {o: False for o in (*tables, alias) if o != one}) for one in about}
    return any(restricts(arm, target, facts) for target in found.values())


def _is_reference(arm: Node, alias: str, tables: dict[str, str], belongs: set[tuple[str, str, str]]) -> bool:
    """Tell whether an arm is `other.key = target.reference`, or says nothing of any column."""
    fields = arm.get("A_Expr", {})
    sides = [fields.get("lexpr", {}), fields.get("rexpr", {})]
    if fields.get("kind") != "AEXPR_OP" or strings(fields.get("name", ()))[-1:] != ["="]:
        return not any(key in ("ColumnRef", "ParamRef", "SubLink", "FuncCall") for key, _ in walk(arm))
    if not all(isinstance(side, dict) and "ColumnRef" in side for side in sides):
        return False
    named = [next(columns(side), ("", "")) for side in sides]
    for (other, _), (own, reference) in (named, named[::-1]):
        if other in tables and other != own and (own or alias, tables[other], reference) in belongs:
            return True
    return False
