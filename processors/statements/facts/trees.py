"""Reading libpg_query's JSON trees: names in lists, and everything below a node, without recursion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Node = dict[str, Any]


def strings(nodes: Iterable[Node]) -> list[str]:
    """Return the values of the String nodes in a list."""
    return [n["String"].get("sval", "") for n in nodes if "String" in n]


def walk(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of everything in a tree."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif isinstance(item, dict):
            for key, value in item.items():
                yield key, value
                if isinstance(value, dict | list):
                    stack.append(value)


def columns(node: Any) -> Iterator[tuple[str, str]]:
    """Yield (qualifier, column) of the columns in an expression, those of subqueries included."""
    for key, value in walk(node):
        if key == "ColumnRef":
            names = strings(value.get("fields", ()))
            if "A_Star" in (value.get("fields") or [{}])[-1]:
                names = [*names, "*"]
            if names:
                yield (names[-2] if len(names) > 1 else ""), names[-1]


def calls(node: Any) -> Iterator[str]:
    """Yield the names of the functions called, without schemas; those with a syntax of their own as `now` and `current_user`."""
    for key, value in walk(node):
        if key == "FuncCall":
            yield (strings(value.get("funcname", ())) or [""])[-1]
        elif key == "SQLValueFunction":
            yield str(value.get("op", "")).removeprefix("SVFOP_").lower().removesuffix("_n")


def sublinks(node: Any) -> Iterator[Node]:
    """Yield the fields of the subqueries in an expression."""
    return (value for key, value in walk(node) if key == "SubLink")


def expressions(node: Any) -> Iterator[Node]:
    """Yield the fields of the operators in an expression."""
    return (value for key, value in walk(node) if key == "A_Expr" and isinstance(value, dict))


def has_query(node: Any) -> bool:
    """Tell whether there is a subquery in an expression."""
    return any(True for _ in sublinks(node))
