"""What does code in a string do? Bodies of SQL and PL/pgSQL functions and of DO, read with the server's own grammars.

Every statement and expression in a PL/pgSQL body is parsed and walked like a statement of its own, whatever branch it stands in.
What `EXECUTE` runs is opaque unless it is a constant. Bodies in other languages are opaque.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
from pglast import parser

from processors.statements.facts.trees import calls, walk, with_params
from processors.statements.grammar import tree_json

MAX_BODY_CHARS = 64 * 1024
"""Longer bodies are opaque."""
MAX_STATEMENTS = 2000
"""Statements and expressions of one body."""
MAX_BODIES = 8
"""Bodies within bodies: a DO in an EXECUTE of a constant, functions that call functions."""

Node = dict[str, Any]


class OpaqueBodyError(Exception):
    """The body cannot be read: not the language's grammar, too long, or another language."""


_WORD = re.compile(r"[^\W\d][\w$]*")


_VARIABLES_FIRST = re.compile(r"#\s*variable_conflict\s+use_variable", re.IGNORECASE)
"""`DELETE FROM t WHERE id = 5` under it compares a variable of that name, and deletes every row."""


def words(body: str) -> set[str]:
    """Return every word of a body: among them the types of its variables, which the parser keeps only of its own types."""
    found = set(_WORD.findall(body))
    return found | {word.lower() for word in found}


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that a body runs: a statement's tree, or a SELECT of an expression of PL/pgSQL.

    An empty `tree` stands for what the body builds at run time. `over` is the query, or the empty tree for a long count, whose
    every row it is run for; `in_rounds`: it is run until a condition holds; `endless`: it is a loop that nothing ends.
    `often`: a loop runs it more than a few times.
    `counter` is the variable of a counted loop around it whose end is not known; `assigned` the variable that is given its
    value, `into` those that its rows' columns are; `bounds`: it says how often a loop runs that gives rows; `is_raised`: RAISE
    shows it; `fetches`: it is nothing but a FETCH from a cursor. One that stands before the others has nothing but `variables`,
    and `untold`: something gives variables values that no piece tells.
    """

    tree: Node
    is_expression: bool = False
    over: Node | None = None
    in_rounds: bool = False
    endless: bool = False
    counter: str = ""
    assigned: str = ""
    often: bool = False
    is_raised: bool = False
    fetches: bool = False
    into: tuple[str, ...] = ()
    bounds: bool = False
    variables: frozenset[str] = frozenset()
    untold: bool = False


def statements(body: str, language: str) -> Iterator[Piece]:
    """Yield what a body runs, whatever branch it stands in. Raises OpaqueBodyError."""
    if len(body) > MAX_BODY_CHARS:
        raise OpaqueBodyError("too long")
    language = language.lower()
    if language == "sql":
        for tree in _parsed(body):
            yield Piece(tree)
    elif language == "plpgsql":
        yield from _plpgsql(body)
    else:
        raise OpaqueBodyError("another language")


def _parsed(text: str) -> list[Node]:
    try:
        return [entry["stmt"] for entry in orjson.loads(tree_json(text)).get("stmts", ())]
    except Exception as error:
        raise OpaqueBodyError("not SQL") from error


def _plpgsql(body: str) -> Iterator[Piece]:
    tag = "$b$"
    while tag in body:
        tag = tag[:-1] + "b$"
    if _VARIABLES_FIRST.search(body):
        raise OpaqueBodyError("its variables hide columns")
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


def _expressions(tree: Any) -> Iterator[Piece]:
    stack: list[tuple[Any, bool, _Around]] = [(tree, False, _Around())]
    count = 0
    names, gives_rows = _declared(tree)
    yield Piece({}, fetches=True, variables=names, untold=any(key in _GIVING for key, _ in walk(tree)))
    while stack:
        item, dynamic, around = stack.pop()
        if isinstance(item, list):
            stack += [(i, dynamic, around) for i in reversed(item)]
            continue
        if not isinstance(item, dict):
            continue
        for key, value in item.items():
            if key == "PLpgSQL_expr":
                count += 1
                if count > MAX_STATEMENTS:
                    raise OpaqueBodyError("too many statements")
                for piece in _expression(value, dynamic=dynamic):
                    yield around.put(piece)
            elif key in ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"):
                inside = replace(around, over={}) if key == "PLpgSQL_stmt_dynfors" else around
                if value.get("params"):  # USING: the statement runs with these in it
                    given = [_value(p.get("PLpgSQL_expr", {}).get("query", "")) for p in value["params"]]
                    for piece in _expression(value.get("query", {}).get("PLpgSQL_expr", {}), dynamic=True):
                        yield around.put(piece if piece.is_expression else replace(piece, tree=with_params(piece.tree, given)))
                    count += 1
                    if count > MAX_STATEMENTS:
                        raise OpaqueBodyError("too many statements")
                skipped = "query" if value.get("params") else ""
                stack += [(v, k == "query", inside if k == "body" else around) for k, v in value.items() if k != skipped]
            elif key in _LOOPS:
                if _is_endless(key, value):
                    yield Piece({}, endless=True)
                inside = around.within(key, value)
                outside = replace(around, bounds=gives_rows, into=_into(value) if key == "PLpgSQL_stmt_fors" else ())
                stack += [(v, False, inside if k == "body" else outside) for k, v in value.items()]
            elif key in ("PLpgSQL_stmt_execsql", "PLpgSQL_var") and ("target" in value or "default_val" in value):
                stack.append((value, False, replace(around, into=_into(value))))
            elif key == "PLpgSQL_stmt_fetch":
                yield around.put(Piece({}, fetches=True))
                stack.append((value, False, around))
            elif key == "PLpgSQL_stmt_raise":
                stack.append((value, False, replace(around, is_raised=True)))
            elif isinstance(value, dict | list):
                stack.append((value, key == "dynquery", around))


@dataclass(frozen=True, slots=True)
class _Around:
    """What a piece stands in: see `Piece`."""

    over: Node | None = None
    in_rounds: bool = False
    counter: str = ""
    is_raised: bool = False
    into: tuple[str, ...] = ()
    bounds: bool = False
    often: bool = False

    def put(self, piece: Piece) -> Piece:
        if self == _NOTHING_AROUND:
            return piece
        around = replace(piece, over=self.over, in_rounds=self.in_rounds, counter=self.counter, is_raised=self.is_raised)
        return replace(around, into=self.into, bounds=self.bounds, often=self.often)

    def within(self, kind: str, fields: Node) -> _Around:
        """Return what the body of a loop stands in. A loop that is left after few rounds is none."""
        if kind != "PLpgSQL_stmt_fori" or not 0 < _count(fields) < _DOUBLINGS:
            return replace(self, often=True)._within(kind, fields)
        return self._within(kind, fields)

    def _within(self, kind: str, fields: Node) -> _Around:
        inside = _rows(kind, fields)
        if inside is None:
            counter = fields.get("var", {}).get("PLpgSQL_var", {}).get("refname", "") if kind == "PLpgSQL_stmt_fori" else ""
            return self if not counter or _count(fields) else replace(self, counter=counter)
        return replace(self, over=inside, in_rounds=self.in_rounds or inside is ROUNDS)


_NOTHING_AROUND = _Around()


def _declared(tree: Any) -> tuple[frozenset[str], bool]:
    """Return the names of a body's variables, and whether it gives rows one by one."""
    names: set[str] = set()
    gives = False
    for key, value in walk(tree):
        if key in ("PLpgSQL_var", "PLpgSQL_rec"):
            names.add(str(value.get("refname", "")))
        gives = gives or key == "PLpgSQL_stmt_return_next"
    return frozenset(names), gives


def _into(fields: Node) -> tuple[str, ...]:
    """Return the variables that a statement, a loop or a declaration gives values to."""
    if "default_val" in fields:
        return (fields.get("refname", ""),)
    for target in (fields.get("target"), fields.get("var")):
        for key, value in target.items() if isinstance(target, dict) else ():
            if key == "PLpgSQL_row":
                return tuple(f.get("name", "") for f in value.get("fields", ()))
            return (value.get("refname", ""),)
    return ()


_GIVING = frozenset(
    f"PLpgSQL_stmt_{kind}" for kind in ("fetch", "dynexecute", "dynfors", "foreach_a", "getdiag", "call", "forc", "fori")
)
"""What gives variables values beside assignments, INTO and loops over queries."""
_LOOPS = frozenset(f"PLpgSQL_stmt_{kind}" for kind in ("loop", "while", "fori", "fors", "forc"))
_MANY_TIMES = 1000
"""Passes of a counted loop from which what it changes may be a whole table."""
_HUGE_COUNT = 10_000_000
_DOUBLINGS = 16
"""Passes of a loop in which a text that doubles with each becomes long."""
ROUNDS: Node = {"until": "a condition holds"}
"""Instead of a query: until a condition holds."""
_NUMBER = re.compile(r"\s*-?\d{1,18}\s*\Z")


def _rows(kind: str, fields: Node) -> Node | None:
    """Return what a loop runs its body for: a query, the empty tree for very often, None for what cannot be said of it."""
    if kind == "PLpgSQL_stmt_fors":
        found = _parsed(fields.get("query", {}).get("PLpgSQL_expr", {}).get("query", ""))
        return found[0] if found else None
    if kind == "PLpgSQL_stmt_forc":
        return {}
    if kind in ("PLpgSQL_stmt_loop", "PLpgSQL_stmt_while"):
        return None if kind == "PLpgSQL_stmt_while" and _is_short(fields) else ROUNDS
    return {} if kind == "PLpgSQL_stmt_fori" and _count(fields) > _MANY_TIMES else None


def _count(fields: Node) -> int:
    """Return how often a counted loop runs; 0 where its bounds are no constants."""
    bounds = [fields.get(name, {}).get("PLpgSQL_expr", {}).get("query", "") for name in ("lower", "upper")]
    return abs(int(bounds[1]) - int(bounds[0])) if all(_NUMBER.match(b) for b in bounds) else 0


_BELOW = re.compile(r"\s*\w+\s*<=?\s*(\d{1,9})\s*\Z")


def _is_short(fields: Node) -> bool:
    """Tell whether a WHILE counts to a small number."""
    found = _BELOW.match(fields.get("cond", {}).get("PLpgSQL_expr", {}).get("query", ""))
    return found is not None and int(found[1]) <= _MANY_TIMES


def _is_endless(kind: str, fields: Node) -> bool:
    if kind == "PLpgSQL_stmt_fori":
        return _count(fields) > _HUGE_COUNT
    if kind == "PLpgSQL_stmt_while":
        condition = _parsed("SELECT " + fields.get("cond", {}).get("PLpgSQL_expr", {}).get("query", ""))
        if any(name in ("clock_timestamp", "timeofday") for name in calls(condition)) and not _does(fields.get("body", [])):
            return True  # it waits for an hour, and lets no one rest
        if any(key in ("ColumnRef", "FuncCall", "SubLink", "SQLValueFunction") for key, _ in walk(condition)):
            return False
    elif kind != "PLpgSQL_stmt_loop":
        return False
    return not _ends(fields.get("body", []), None)


_SQL = frozenset(f"PLpgSQL_stmt_{kind}" for kind in ("execsql", "perform", "dynexecute", "call"))


def _does(loop: Any) -> bool:
    """Tell whether a loop's body runs any SQL."""
    return any(key in _SQL for key, _ in walk(loop))


def _ends(node: Any, within: frozenset[str] | None) -> bool:
    """Tell whether a loop's body may leave the loop; `within` are the labels of loops inside it, which EXIT may mean instead."""
    if isinstance(node, list):
        return any(_ends(item, within) for item in node)
    if not isinstance(node, dict):
        return False
    for key, value in node.items():
        if key in ("PLpgSQL_stmt_return", "PLpgSQL_stmt_raise"):
            return True
        if key == "PLpgSQL_stmt_exit":
            if value.get("is_exit") and (within is None if "label" not in value else value["label"] not in (within or ())):
                return True
        elif key in _LOOPS or key == "PLpgSQL_stmt_foreach_a":
            if _ends(value, (within or frozenset()) | {value.get("label", "")}):
                return True
        elif _ends(value, within):
            return True
    return False


def _value(text: str) -> Node:
    """Return the expression that EXECUTE … USING gives for a parameter."""
    trees = _parsed("SELECT " + text)
    targets = trees[0].get("SelectStmt", {}).get("targetList", []) if len(trees) == 1 else []
    value: Node = targets[0].get("ResTarget", {}).get("val", {}) if len(targets) == 1 else {}
    return value


_VARIABLE = re.compile(r"[\w.\"$ ]*\Z")
_PART = re.compile(r'"((?:[^"]|"")*)"|([\w$]+)')
_BRACKETS = re.compile(r"\[.*\]")


def _name(target: str) -> str:
    """Return a variable, or a field of one, as the server reads it: in small letters but for what is in quotes."""
    parts = _PART.findall(_BRACKETS.sub("", target))
    return ".".join(quoted.replace('""', '"') if quoted else bare.lower() for quoted, bare in parts[:2])


def _expression(fields: Node, *, dynamic: bool) -> Iterator[Piece]:
    text, mode = fields.get("query", ""), fields.get("parseMode", 0)
    if mode == 0:
        for tree in _parsed(text):
            yield Piece(tree, "SelectStmt" in tree and "fromClause" not in tree["SelectStmt"])
        return
    target = ""
    if mode >= 3:
        # An assignment: what stands behind := or = is the expression, and subscripts before it are others.
        target, colon, value = text.partition(":=")
        if not colon:
            target, _, value = text.partition("=")
        text = value
        if not _VARIABLE.match(target):
            yield from (Piece(tree, is_expression=True) for tree in _parsed("SELECT " + target))
    for tree in _parsed("SELECT " + text):
        yield Piece(tree, is_expression=True, assigned=_name(target) if mode >= 3 else "")
        if dynamic:
            constant = _constant(tree)
            if constant is None:
                yield Piece({})
            else:
                yield from (Piece(inner) for inner in _parsed(constant))


def _constant(tree: Node) -> str | None:
    """Return the text of a SELECT of one string constant."""
    targets = tree.get("SelectStmt", {}).get("targetList", ())
    value = targets[0].get("ResTarget", {}).get("val", {}) if len(targets) == 1 else {}
    while "TypeCast" in value:
        value = value["TypeCast"].get("arg", {})
    constant = value.get("A_Const", {})
    return constant["sval"].get("sval", "") if "sval" in constant else None
