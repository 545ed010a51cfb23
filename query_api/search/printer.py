"""How a tree is written as search text again: `parse(show(tree)) == tree` for every tree in normal form."""

from __future__ import annotations

import re

from query_api.search import numbers
from query_api.search.ast import And, Between, Everything, Not, Or, Pattern, Search, Term
from query_api.search.fields import find

_PLAIN = re.compile(r"[^\s()\"\\*\-<>\[\]:][^\s()\"\\*:]*")
_SPECIAL = re.compile(r"([\s()\"\\*:<>\[\]\-])")


def show(tree: Search) -> str:
    """The tree as search text."""
    match tree:
        case Everything():
            return ""
        case And(items):
            return " ".join(f"({show(i)})" if isinstance(i, And | Or) else show(i) for i in items)
        case Or(items):
            return " OR ".join(f"({show(i)})" if isinstance(i, Or) else show(i) for i in items)
        case Not(item):
            return f"NOT ({show(item)})" if isinstance(item, And | Or) else f"NOT {show(item)}"
        case Term(field, match):
            return f"{field}:{_value(match, field)}" if field else _value(match, field)


def _value(match: Pattern | Between, name: str) -> str:
    if isinstance(match, Pattern):
        return _pattern(match)
    field = find(name)
    assert field is not None
    low, high = ("*" if n is None else numbers.write(n, field) for n in (match.low, match.high))
    return low if match.low == match.high else f"[{low} TO {high}]"


def _pattern(match: Pattern) -> str:
    exact = match.exact
    if exact is None:
        return "*".join(_SPECIAL.sub(r"\\\1", part) for part in match.parts)
    if _PLAIN.fullmatch(exact) and exact not in ("AND", "OR", "NOT"):
        return exact
    return '"' + exact.replace("\\", "\\\\").replace('"', '\\"') + '"'
