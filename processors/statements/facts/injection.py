"""Does a query look like SQL put together from somebody's input? Arms that say nothing, guesses, questions to the server."""

from __future__ import annotations

import re
from collections.abc import Iterator

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.plain import constant_of
from processors.statements.facts.predicate import are_complementary, shape
from processors.statements.facts.trees import calls, columns, expressions, has_query, strings, sublinks, walk
from schemas.events import Danger

_CUTTING = frozenset(
    ["substr", "substring", "ascii", "left", "right", "length", "char_length", "octet_length", "strpos", "position", "get_byte"]
)
_ABOUT_SERVER = frozenset(
    [
        "version",
        "current_database",
        "current_user",
        "session_user",
        "user",
        "current_catalog",
        "current_setting",
        "inet_server_addr",
        "inet_server_port",
        "pg_postmaster_start_time",
        "current_role",
        "pg_conf_load_time",
    ]
)
_SYSTEM = ("pg_", "information_schema")
_CREDENTIAL = re.compile(
    r"passw|pwd|secret|token|api_?key|card_?n(?:o|um)|tax_?id|national_?id|(?:^|_)(?:hash|salt|ssn|iban|cvv|pin)(?:_|$)",
    re.IGNORECASE,
)
_NUMBERS = frozenset(("int2", "int4", "int8", "numeric", "float4", "float8"))


def of_select(fields: Node, aliases: set[str], facts: Collector, *, own: bool) -> None:
    """Judge a SELECT of tables; `own`: none of them is the server's, and `aliases` are the names they go by."""
    where, having = fields.get("whereClause", {}), fields.get("havingClause", {})
    if having and not any(key in ("ColumnRef", "FuncCall", "ParamRef", "SubLink") for key, _ in walk(having)):
        facts.danger(Danger.INJECTION_SIGNS)
    for query in sublinks([fields.get(name, {}) for name in ("limitCount", "limitOffset")]):
        if any(c in _CUTTING for c in calls(query)):
            facts.danger(Danger.INJECTION_SIGNS, Danger.INFERENCE)
    if not own:
        return
    for query in sublinks(where):
        if _asks_the_catalogue(query.get("subselect", {}), aliases):
            facts.danger(Danger.INJECTION_SIGNS)
    if any(_asks_the_server(arm, facts) for arm in _arms(where)):
        facts.danger(Danger.INJECTION_SIGNS)


def _asks_the_catalogue(query: Node, aliases: set[str]) -> bool:
    """Tell whether a subquery asks the server's catalogue something that no row of the tables has to do with: a guess."""
    read = [v for k, v in walk(query) if k == "RangeVar"]
    about = any(qualifier in aliases for qualifier, _ in columns(query))
    return bool(read) and not about and all((r.get("schemaname") or r.get("relname", "")).startswith(_SYSTEM) for r in read)


def _arms(node: Node) -> Iterator[Node]:
    inner = node.get("BoolExpr", {})
    if inner.get("boolop") == "AND_EXPR":
        for arm in inner.get("args", ()):
            yield from _arms(arm)
    elif node:
        yield node


def _asks_the_server(arm: Node, facts: Collector) -> bool:
    """Tell whether an arm of AND asks about the server or the session, and of no row. Settings of an application have a dot."""
    fields = arm.get("A_Expr", {})
    if not fields or any(key in ("ColumnRef", "ParamRef", "RangeVar") for key, _ in walk(fields)):
        return False
    for call in (v for k, v in walk(fields) if k == "FuncCall"):
        if (strings(call.get("funcname", ())) or [""])[-1] == "current_setting":
            return "." not in str(constant_of((call.get("args") or [{}])[0], facts))
    return any(c in _ABOUT_SERVER for c in calls(fields))


def of_union(arms: list[Node], reads: list[set[str]], facts: Collector) -> None:
    """Judge a UNION: one arm that adds the catalogue, or padding, to another's rows of a table."""
    own = [any(not r.startswith(("pg_catalog.", "information_schema.")) for r in read) for read in reads]
    for arm, mine, read in zip(arms, own, reads, strict=True):
        others = sum(own) - mine
        if not others or mine:
            continue
        targets = arm.get("targetList", [])
        nulls = sum("A_Const" in t.get("ResTarget", {}).get("val", {}) for t in targets)
        if (
            read
            or (len(targets) > 1 and nulls >= len(targets) - 1 and "fromClause" not in arm and _null(targets))
            or any(c in _ABOUT_SERVER for c in calls(targets))
        ):
            facts.danger(Danger.INJECTION_SIGNS)
    secret = [any(_CREDENTIAL.search(name) for _, name in columns(arm.get("targetList", []))) for arm in arms]
    if any(secret[1:]) and not secret[0] and reads and reads[0]:
        facts.danger(Danger.INJECTION_SIGNS)


def _null(targets: list[Node]) -> bool:
    return sum(bool(t.get("ResTarget", {}).get("val", {}).get("A_Const", {}).get("isnull")) for t in targets) > 1


def of_condition(node: Node, facts: Collector) -> None:
    """Judge a WHERE: an arm of OR without a column, guesses at a subquery's value piece by piece, errors that tell it."""
    for key, value in walk(node):
        if key == "BoolExpr" and value.get("boolop") == "OR_EXPR":
            args = value.get("args", [])
            if any(_is_foreign_arm(a, args) for a in args) or are_complementary(args):
                facts.danger(Danger.INJECTION_SIGNS)
        elif key == "CaseWhen" and _guesses_in(value):
            facts.danger(Danger.INJECTION_SIGNS, Danger.INFERENCE)
        elif key == "TypeCast" and _forces(value):
            facts.danger(Danger.INJECTION_SIGNS)
        elif key == "FuncCall":
            name = (strings(value.get("funcname", ())) or [""])[-1]
            if name in _CUTTING and has_query(value.get("args", [])):
                facts.danger(Danger.INJECTION_SIGNS, Danger.INFERENCE)
        elif key == "SubLink" and _guesses(value):
            facts.danger(Danger.INJECTION_SIGNS, Danger.INFERENCE)
        elif key == "A_Expr" and isinstance(value, dict):
            sides = [value.get("lexpr", {}), value.get("rexpr", {})]
            if strings(value.get("name", ()))[-1:] == ["||"] and _is_broken_out(sides, facts):
                facts.danger(Danger.INJECTION_SIGNS)
            for one, other in (sides, sides[::-1]):
                if isinstance(one, dict) and "A_Const" in one and isinstance(other, dict) and _cuts(other.get("SubLink", {})):
                    facts.danger(Danger.INJECTION_SIGNS, Danger.INFERENCE)
                if isinstance(one, dict) and "A_Const" in one and isinstance(other, dict) and "TypeCast" in other:
                    inner = other["TypeCast"].get("arg", {})
                    if has_query(inner) and not any(c in ("count", "sum") for c in calls(inner)):
                        facts.danger(Danger.INJECTION_SIGNS)


def of_value(node: Node, facts: Collector) -> None:
    """Judge a value to be stored: one that a subquery is joined with where its quote was broken out of."""
    for fields in expressions(node) if has_query(node) else ():
        sides = [fields.get("lexpr", {}), fields.get("rexpr", {})]
        if strings(fields.get("name", ()))[-1:] == ["||"] and _is_broken_out(sides, facts):
            facts.danger(Danger.INJECTION_SIGNS)


def _cuts(sublink: Node) -> bool:
    """Tell whether a scalar subquery gives a piece of a value: what is compared with a constant then is a guess."""
    targets = sublink.get("subselect", {}).get("SelectStmt", {}).get("targetList", [])
    value = targets[0].get("ResTarget", {}).get("val", {}) if len(targets) == 1 else {}
    return (strings(value.get("FuncCall", {}).get("funcname", ())) or [""])[-1] in _CUTTING


def _guesses(fields: Node) -> bool:
    """Tell whether a subquery asks whether a piece of another one's value is this or that."""
    return any(_guesses_in(v) for k, v in walk(fields.get("subselect", {})) if k == "CaseWhen")


def _guesses_in(case: Node) -> bool:
    return any(has_query(e) and any(c in _CUTTING for c in calls(e)) for e in expressions(case.get("expr", {})))


def _forces(cast: Node) -> bool:
    """Tell whether what the server says of itself, or a secret, is made a number: the error has the words."""
    number = strings(cast.get("typeName", {}).get("names", ()))[-1:]
    inner = cast.get("arg", {})
    if not set(number) & _NUMBERS or not has_query(inner):
        return False
    queries = [q.get("subselect", {}).get("SelectStmt", {}) for q in sublinks(inner)]
    shown = [name for query in queries for _, name in columns(query.get("targetList", []))]
    return any(c in _ABOUT_SERVER for c in calls(inner)) or any(map(_CREDENTIAL.search, shown))


def _is_broken_out(sides: list[Node], facts: Collector) -> bool:
    """Tell whether an empty text is joined with a subquery: what stands where a quoted value was broken out of."""
    for one, other in (sides, sides[::-1]):
        if "SubLink" in one and "A_Const" in other and facts.constant(other["A_Const"]) == "":
            return True
    return False


def _is_foreign_arm(arm: Node, arms: list[Node]) -> bool:
    """Tell whether an arm of OR says nothing of any row. `(NULL IS NULL OR x = NULL)` is an optional filter and does."""
    fields = arm.get("A_Expr", {})
    if fields.get("kind") == "AEXPR_OP" and strings(fields.get("name", ()))[-1:] in (["="], ["<="], [">="]):
        left = fields.get("lexpr", {})
        if shape(left) == shape(fields.get("rexpr")) and any(True for _ in columns(left)) and not has_query(left):
            return True
    if any(key in ("ColumnRef", "ParamRef", "RangeVar") for key, _ in walk(arm)):
        return False
    if "A_Const" in arm and "boolval" in arm["A_Const"] and not arm["A_Const"]["boolval"].get("boolval"):
        return False
    test = arm.get("NullTest", {}).get("arg", {})
    if test:
        while "TypeCast" in test:
            test = test["TypeCast"].get("arg", {})
        mine = shape(test)
        return not any(
            key == "A_Const" and {"A_Const": shape(value)} == mine for a in arms if a is not arm for key, value in walk(a)
        )
    return True
