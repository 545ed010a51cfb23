"""Does a change pick its rows by nothing but a table that every row refers to? Then it picks them all.

`DELETE FROM orders USING customers c WHERE c.id = orders.customer_id` looks like a choice by another table; with a foreign key
that is never NULL it is none, nor is `WHERE EXISTS (SELECT FROM customers c WHERE c.id = orders.customer_id)`.
"""

from __future__ import annotations

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
    belongs = {pair for r in facts.catalogue.find(*target.split(".", 1)) for pair in r.belongs}
    tables = {}
    for item in others:
        table = item.get("RangeVar")
        if table is None:
            return False
        tables[table.get("alias", {}).get("aliasname") or table.get("relname", "")] = facts.relation(table)
    arms = condition["BoolExpr"].get("args", []) if condition.get("BoolExpr", {}).get("boolop") == "AND_EXPR" else [condition]
    rest = [arm for arm in arms if not _is_reference(arm, alias, tables, belongs)]
    return len(rest) < len(arms) and not any(_picks(arm, alias, tables, facts) for arm in rest)


def _picks(arm: Node, alias: str, tables: dict[str, str], facts: Collector) -> bool:
    """Tell whether an arm may leave out rows of one of the tables: it is about others as well, or restricts it."""
    about = {qualifier for qualifier, _ in columns(arm)}
    if not about or not about <= tables.keys():
        return True
    found = {one: Target(tables[one], frozenset((one,)), {o: False for o in (*tables, alias) if o != one}) for one in about}
    return any(restricts(arm, target, facts) for target in found.values())


def _is_reference(arm: Node, alias: str, tables: dict[str, str], belongs: set[tuple[str, str]]) -> bool:
    """Tell whether an arm is `other.key = target.reference`, or says nothing of any column."""
    fields = arm.get("A_Expr", {})
    sides = [fields.get("lexpr", {}), fields.get("rexpr", {})]
    if fields.get("kind") != "AEXPR_OP" or strings(fields.get("name", ()))[-1:] != ["="]:
        return not any(key in ("ColumnRef", "ParamRef", "SubLink", "FuncCall") for key, _ in walk(arm))
    if not all(isinstance(side, dict) and "ColumnRef" in side for side in sides):
        return False
    named = [next(columns(side), ("", "")) for side in sides]
    for (other, _), (own, reference) in (named, named[::-1]):
        if other in tables and own in (alias, "") and (tables[other], reference) in belongs:
            return True
    return False
