"""Reading libpg_query's JSON trees: names in lists, and everything below a node, without recursion.

What looks for something below each of many nodes that hold each other looks at the same ones many times over. How often is
counted, and past MAX_VISITS the text is too complex: `within_effort` says where a count begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from processors.statements.grammar import TooComplexError

Node = dict[str, Any]
MAX_VISITS = 2_000_000
"""Nodes looked at for one text, each as often as it was: up to a second. 64 KiB of ordinary SQL take under a million."""


class _Effort:
    left = float("inf")


@contextmanager
def within_effort() -> Iterator[None]:
    """Look at MAX_VISITS nodes at most within, whatever has been looked at outside: past that TooComplexError is raised."""
    outside, _Effort.left = _Effort.left, MAX_VISITS
    try:
        yield
    finally:
        _Effort.left = outside


def spend(visits: int) -> None:
    """Count nodes that are looked at in another way. Raises TooComplexError."""
    _Effort.left -= visits
    if _Effort.left < 0:
        raise TooComplexError("looking through this text takes too long")


def strings(nodes: Iterable[Node]) -> list[str]:
    """Return the values of the String nodes in a list."""
    return [n["String"].get("sval", "") for n in nodes if "String" in n]


def walk(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of everything in a tree. Raises TooComplexError."""
    stack = [node]
    while stack:
        item = stack.pop()
        _Effort.left -= 1
        if _Effort.left < 0:
            spend(0)
        if isinstance(item, list):
            stack += item
        elif isinstance(item, dict):
            for key, value in item.items():
                yield key, value
                if isinstance(value, dict | list):
                    stack.append(value)


def with_params(tree: Any, values: Sequence[Node | None]) -> Any:
    """Return a tree with expressions in the places of its parameters; None leaves one a parameter."""
    if isinstance(tree, list):
        return [with_params(item, values) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "ParamRef" in tree:
        number = tree["ParamRef"].get("number", 0) - 1
        value = values[number] if 0 <= number < len(values) else None
        return value or tree
    return {key: with_params(value, values) for key, value in tree.items()}


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
