"""Which condition asks for the rows of one whole value, and so tells only whoever knows it already?

`email = 'ann@example.org'` does; `email LIKE 'a%'`, `email < 'm'` and `md5(email) = '…'` ask for a part of it, and `email IN (…)`
and `email = ANY (…)` for many values at once. A value found in another spelling (`lower(email) = lower($1)`) is whole as well, a
member of a document by its key, and a word that a text search looks for: what may be searched by a word's beginning is none.
"""

from __future__ import annotations

from typing import Any

from processors.statements.facts.collector import Collector
from processors.statements.facts.scope import NOTHING, Names, Scope
from processors.statements.facts.trees import strings

_SPELLING = frozenset(("lower", "upper"))
_TEXTS = frozenset(("text", "varchar", "citext"))
"""Types that a value may be cast to and stay whole; of `varchar(1)` a part would be left."""
_WHOLE = _TEXTS | {"bool", "int2", "int4", "int8", "numeric", "uuid"}
"""Types that a document's member may be cast to and stay whole."""
_SEARCHES = frozenset(("plainto_tsquery", "phraseto_tsquery", "websearch_to_tsquery"))
"""Functions that look for whole words, whatever they are given."""
_RANKS = frozenset(("ts_rank", "ts_rank_cd"))
_VECTORS = frozenset(("to_tsvector", "setweight", "concat_ws"))
"""Functions that keep words whole."""

Node = dict[str, Any]


def lookup(part: Any, scope: Scope, facts: Collector, role: str) -> Names:
    """Return the columns of tables in this FROM that a condition compares with one whole constant, mostly none.

    `role` is `filter`, or `group` or `order`: keys then, which ask by nothing but a document's members or a search's rank.
    """
    if not isinstance(part, dict) or not scope.sources or any(s.base is None for s in scope.sources) or _is_derived(scope):
        return NOTHING
    if role in ("group", "order"):
        document = _document(part, facts)
        if document is not None:
            return _column(document, scope, facts)
    if role == "order":
        call = part.get("FuncCall", {})
        names = strings(call.get("funcname", ()))
        ranks = bool(names) and names[-1] in _RANKS and len(call.get("args", ())) == 2 and not facts.is_redefined(names)
        return _searched(call["args"][0], call["args"][1], scope, facts) if ranks else NOTHING
    if role == "group":
        return NOTHING
    fields = part.get("A_Expr", {})
    names = strings(fields.get("name", ()))
    left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
    if len(names) != 1 or names[0] not in ("=", "<>", "@@", "?") or facts.is_redefined(names, operator=True):
        return NOTHING
    if names[0] == "@@":
        return _searched(left, right, scope, facts)
    if names[0] == "?":
        found = _column(left, scope, facts) if _is_constant(right) else NOTHING
        facts.searched |= found
        return found
    document = _document(left, facts)
    if document is not None:
        parts = right.get("List", {}).get("items", ()) if fields.get("kind") == "AEXPR_IN" else (right,)
        return _column(document, scope, facts) if all(map(_is_constant, parts)) else NOTHING
    if fields.get("kind") != "AEXPR_OP" or names[0] != "=":
        return NOTHING
    left, right = _spelt(left, facts), _spelt(right, facts)
    if "ColumnRef" not in left:
        left, right = right, left
    return _column(left, scope, facts) if "ParamRef" in right or "A_Const" in right else NOTHING


def _column(node: Node, scope: Scope, facts: Collector) -> Names:
    """Return the columns that a reference may be to, nothing if it is none or one to a query around this."""
    parts = node.get("ColumnRef", {}).get("fields", ())
    names = strings(parts)
    if len(names) != len(parts) or not 1 <= len(names) <= 3:
        return NOTHING
    column = facts.namer.plain(names[-1])
    if len(names) == 1:
        return scope.unqualified(column)
    schema = names[0] if len(names) == 3 else None
    source = next((s for s in scope.sources if s.alias == names[-2] and schema in (None, s.schema)), None)
    return source.column(column) if source is not None else NOTHING


def _spelt(node: Node, facts: Collector) -> Node:
    """Return what a value is without casts to text and changes between small and capital letters."""
    while True:
        call = node.get("FuncCall")
        if "TypeCast" in node:
            arg = node["TypeCast"].get("arg", {})
            # What a constant is cast to matters not: it is compared whole.
            if not _keeps_whole(node["TypeCast"], _TEXTS) and not _is_constant(arg):
                return {}
            node = arg
        elif call is not None:
            names = strings(call.get("funcname", ()))
            if names[-1] not in _SPELLING or facts.is_redefined(names) or len(call.get("args", ())) != 1:
                return {}
            node = call["args"][0]
        else:
            return node


def _document(node: Node, facts: Collector) -> Node | None:
    """Return the document of which a value is a member by constant keys, None if it is none."""
    while "TypeCast" in node:
        if not _keeps_whole(node["TypeCast"], _WHOLE):
            return None
        node = node["TypeCast"].get("arg", {})
    steps = 0
    while "A_Expr" in node:
        fields = node["A_Expr"]
        names = strings(fields.get("name", ()))
        if names not in (["->"], ["->>"], ["#>"], ["#>>"]) or not _is_constant(fields.get("rexpr", {})):
            return None
        if facts.is_redefined(names, operator=True):
            return None
        node = fields.get("lexpr", {})
        steps += 1
    return node if steps and "ColumnRef" in node else None


def _searched(text: Node, query: Node, scope: Scope, facts: Collector) -> Names:
    """Return the columns that a text search looks for whole words in."""
    call = query.get("FuncCall", {})
    names = strings(call.get("funcname", ()))
    if not names or names[-1] not in _SEARCHES or facts.is_redefined(names) or not all(map(_is_constant, call.get("args", ()))):
        return NOTHING
    found: set[str] = set()
    stack = [text]
    while stack:
        node = stack.pop()
        call = node.get("FuncCall", {})
        names = strings(call.get("funcname", ()))
        if names and names[-1] in _VECTORS and not facts.is_redefined(names):
            stack += call.get("args", ())
        elif "CoalesceExpr" in node:
            stack += node["CoalesceExpr"].get("args", ())
        elif "A_Expr" in node and strings(node["A_Expr"].get("name", ())) == ["||"]:
            stack += [node["A_Expr"].get("lexpr", {}), node["A_Expr"].get("rexpr", {})]
        elif not _is_constant(node):
            columns = _column(node, scope, facts)
            if not columns:
                return NOTHING
            found |= columns
    facts.searched |= found
    return frozenset(found)


def _keeps_whole(cast: Node, types: frozenset[str]) -> bool:
    named = cast.get("typeName", {})
    names = strings(named.get("names", ()))
    return bool(names) and names[-1] in types and "typmods" not in named and "arrayBounds" not in named


def _is_constant(node: Node) -> bool:
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    return "A_Const" in node or "ParamRef" in node


def _is_derived(scope: Scope) -> bool:
    """Tell whether a query around it has subqueries, of which a name without a table may be as well: of a part of a value."""
    outer = scope.outer
    while outer is not None:
        if any(s.base is None for s in outer.sources):
            return True
        outer = outer.outer
    return False
