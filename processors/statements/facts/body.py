"""What does code in a string do? Bodies of SQL and PL/pgSQL functions and of DO, read with the server's own grammars.

Every statement and expression in a PL/pgSQL body is parsed and walked like a statement of its own, whatever branch it stands in.
What `EXECUTE` runs is opaque unless it is a constant. Bodies in other languages are opaque.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from pglast import parser

MAX_BODY_CHARS = 64 * 1024
"""Longer bodies are opaque."""
MAX_STATEMENTS = 2000
"""Statements and expressions of one body."""
MAX_BODIES = 8
"""Bodies within bodies: a DO in an EXECUTE of a constant, functions that call functions."""

Node = dict[str, Any]


class OpaqueBodyError(Exception):
    """The body cannot be read: not the language's grammar, too long, or another language."""


def statements(body: str, language: str) -> Iterator[tuple[Node, bool]]:
    """Yield the trees of what a body runs, and whether each is an expression of PL/pgSQL rather than a statement.

    Raises OpaqueBodyError. A tree of None stands for what a body builds at run time.
    """
    if len(body) > MAX_BODY_CHARS:
        raise OpaqueBodyError("too long")
    language = language.lower()
    if language == "sql":
        for tree in _parsed(body):
            yield tree, False
    elif language == "plpgsql":
        yield from _plpgsql(body)
    else:
        raise OpaqueBodyError("another language")


def _parsed(text: str) -> list[Node]:
    try:
        return [entry["stmt"] for entry in orjson.loads(parser.parse_sql_json(text)).get("stmts", ())]
    except Exception as error:
        raise OpaqueBodyError("not SQL") from error


def _plpgsql(body: str) -> Iterator[tuple[Node, bool]]:
    tag = "$b$"
    while tag in body:
        tag = tag[:-1] + "b$"
    wrapped = None
    # As a trigger it knows NEW and OLD, as a set-returning function RETURN NEXT and RETURN QUERY, as a procedure neither.
    for head in (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS ",
        "CREATE FUNCTION f() RETURNS SETOF record LANGUAGE plpgsql AS ",
        "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS ",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS ",
        "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS ",
    ):
        try:
            wrapped = orjson.loads(parser.parse_plpgsql_json(f"{head}{tag}{body}{tag}"))
            break
        except Exception:  # noqa: S112 - the next way to read it
            continue
    if wrapped is None:
        raise OpaqueBodyError("not PL/pgSQL")
    yield from _expressions(wrapped)


def _expressions(tree: Any) -> Iterator[tuple[Node, bool]]:
    stack: list[tuple[Any, bool]] = [(tree, False)]
    count = 0
    while stack:
        item, dynamic = stack.pop()
        if isinstance(item, list):
            stack += [(i, dynamic) for i in reversed(item)]
            continue
        if not isinstance(item, dict):
            continue
        for key, value in item.items():
            if key == "PLpgSQL_expr":
                count += 1
                if count > MAX_STATEMENTS:
                    raise OpaqueBodyError("too many statements")
                yield from _expression(value, dynamic=dynamic)
            elif key in ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"):
                stack += [(v, k == "query") for k, v in value.items()]
            elif isinstance(value, dict | list):
                stack.append((value, key == "dynquery"))


def _expression(fields: Node, *, dynamic: bool) -> Iterator[tuple[Node, bool]]:
    text, mode = fields.get("query", ""), fields.get("parseMode", 0)
    if mode == 0:
        for tree in _parsed(text):
            yield tree, "SelectStmt" in tree and "fromClause" not in tree["SelectStmt"]
        return
    if mode >= 3:
        # An assignment: what stands behind := or = is the expression.
        _, colon, value = text.partition(":=")
        text = value if colon else text.partition("=")[2]
    for tree in _parsed("SELECT " + text):
        yield tree, True
        if dynamic:
            constant = _constant(tree)
            if constant is None:
                yield {}, False
            else:
                for inner in _parsed(constant):
                    yield inner, False


def _constant(tree: Node) -> str | None:
    """Return the text of a SELECT of one string constant."""
    targets = tree.get("SelectStmt", {}).get("targetList", ())
    value = targets[0].get("ResTarget", {}).get("val", {}) if len(targets) == 1 else {}
    while "TypeCast" in value:
        value = value["TypeCast"].get("arg", {})
    constant = value.get("A_Const", {})
    return constant["sval"].get("sval", "") if "sval" in constant else None
