"""How many rows does a statement's condition meet? The query that only counts them, made from the parse tree, not from text.

    UPDATE t SET … WHERE p,  DELETE FROM t WHERE p,  SELECT … FROM t WHERE p
    →  SELECT count(*) FROM (SELECT 1 FROM schema.t WHERE p LIMIT n + 1) AS counted

Only what is known to have no effect gets through: one table, and of the condition only the nodes, functions and forms that are
listed here. What it names (columns, functions, operators, types) is returned beside it, so that the database can be asked whether
each is its own. Everything else is refused with the reason, which holds nothing of the statement's values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind, SQLValueFunctionOp
from pglast.parser import ParseError
from pglast.stream import RawStream

MOST_COUNTED: Final = 100_000
"""Rows counted at most: past so many, an approver knows enough."""
_TEMPLATE: Final = f"SELECT count(*) FROM (SELECT 1 FROM t LIMIT {MOST_COUNTED + 1}) AS counted"  # noqa: S608 - a number
_LOCKING: Final = "LOCK TABLE t IN ACCESS SHARE MODE NOWAIT"
_MAX_NODES: Final = 2000
"""Of a condition: one of a list of a thousand values is looked at, and nothing much longer."""

PURE: Final = frozenset(
    (  # noqa: SIM905 - a list of words
        "abs age array_length array_lower array_position array_upper ascii bit_length btrim cardinality ceil ceiling "
        "char_length character_length chr concat concat_ws date_bin date_part date_trunc decode div encode extract "
        "floor initcap isempty isfinite json_array_length json_extract_path json_extract_path_text json_typeof "
        "jsonb_array_length jsonb_exists jsonb_extract_path jsonb_extract_path_text jsonb_typeof justify_days "
        "justify_hours justify_interval left length like_escape lower lower_inc lower_inf ltrim make_date make_interval "
        "make_time make_timestamp make_timestamptz md5 mod now num_nonnulls num_nulls octet_length overlaps overlay "
        "position power regexp_count regexp_like regexp_replace replace reverse right round rtrim sign "
        "similar_to_escape split_part sqrt starts_with statement_timestamp strpos substr substring timezone to_char "
        "to_date to_number to_timestamp transaction_timestamp translate trunc upper upper_inc upper_inf"
    ).split()
)
"""Functions of pg_catalog that only compute: none reads a table, a file or a setting, waits, or makes much of little."""

_OPERATOR_OF: Final = {
    A_Expr_Kind.AEXPR_BETWEEN: (">=", "<="),
    A_Expr_Kind.AEXPR_NOT_BETWEEN: ("<", ">"),
    A_Expr_Kind.AEXPR_BETWEEN_SYM: (">=", "<="),
    A_Expr_Kind.AEXPR_NOT_BETWEEN_SYM: ("<", ">"),
    A_Expr_Kind.AEXPR_DISTINCT: ("=",),
    A_Expr_Kind.AEXPR_NOT_DISTINCT: ("=",),
    A_Expr_Kind.AEXPR_NULLIF: ("=",),
}
_NAMED_OPERATOR: Final = frozenset(
    (
        A_Expr_Kind.AEXPR_OP,
        A_Expr_Kind.AEXPR_OP_ANY,
        A_Expr_Kind.AEXPR_OP_ALL,
        A_Expr_Kind.AEXPR_IN,
        A_Expr_Kind.AEXPR_LIKE,
        A_Expr_Kind.AEXPR_ILIKE,
        A_Expr_Kind.AEXPR_SIMILAR,
    )
)
_TIMES: Final = frozenset(
    op for op in SQLValueFunctionOp if op.name.startswith(("SVFOP_CURRENT_DATE", "SVFOP_CURRENT_TIME", "SVFOP_LOCALTIME"))
)
_WALKED: Final = (
    ast.BoolExpr, ast.NullTest, ast.BooleanTest, ast.CoalesceExpr, ast.MinMaxExpr, ast.CaseExpr, ast.CaseWhen, ast.A_ArrayExpr,
)  # fmt: skip
_CONSTANTS: Final = (ast.A_Const, ast.Integer, ast.Float, ast.Boolean, ast.String, ast.BitString)


class UncountableError(Exception):
    """There is no query that could count this and do nothing else. The text is why, for approvers."""


@dataclass(slots=True)
class Counting:
    """A query that counts, the statement that first locks its table against change, and what the condition names.

    `params`: which of the statement's parameters (from 1) its own are, in order. `ambiguous`: those among them that the
    statement also uses elsewhere, where their type may come from.
    """

    sql: str = ""
    lock: str = ""
    schema: str = ""
    table: str = ""
    columns: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    params: list[int] = field(default_factory=list)
    ambiguous: set[int] = field(default_factory=set)


def counting(text: str, objects: Collection[str]) -> Counting:
    """Return how to count what one statement's condition meets; `objects`: those that it reads and writes, as facts name them.

    Raises UncountableError.
    """
    try:
        parsed = parse_sql(text)
    except (ParseError, RecursionError, UnicodeError):
        raise UncountableError("it cannot be read") from None
    if len(parsed) != 1:
        raise UncountableError("only single statements are counted")
    statement: Any = parsed[0].stmt
    found = Counting()
    relation = _relation(statement, objects, found)
    names = {str(relation.alias.aliasname if relation.alias else relation.relname)}
    condition = statement.whereClause
    _look(condition, names, found)
    _renumber(statement, condition, found)
    try:
        found.sql, found.lock = _written(relation, condition, found)
    except RecursionError:
        raise UncountableError("its condition is nested too deeply") from None
    return found


def _relation(statement: Any, objects: Collection[str], found: Counting) -> Any:
    """Return the one table whose rows are counted. Raises UncountableError."""
    relation: Any
    if isinstance(statement, ast.UpdateStmt | ast.DeleteStmt):
        others = statement.fromClause if isinstance(statement, ast.UpdateStmt) else statement.usingClause
        if others or statement.withClause:
            raise UncountableError("only rows of one table are counted")
        relation = statement.relation
    elif isinstance(statement, ast.SelectStmt):
        relation = _selected(statement)
    else:
        raise UncountableError("only UPDATE, DELETE and SELECT of one table are counted")
    if not isinstance(relation, ast.RangeVar) or relation.catalogname:
        raise UncountableError("only rows of one table are counted")
    if relation.alias is not None and relation.alias.colnames:
        raise UncountableError("its columns have other names")
    named = set(objects)
    whole = named.pop() if len(named) == 1 else ""
    schema = whole.removesuffix(f".{relation.relname}")
    if not whole or schema in (whole, "", "?") or schema.startswith("pg_") or schema == "information_schema":
        raise UncountableError("it is not certain that it touches one ordinary table only")
    if relation.schemaname not in (None, schema):
        raise UncountableError("it is not certain which table it touches")
    found.schema, found.table = schema, str(relation.relname)
    return relation


def _selected(select: ast.SelectStmt) -> Any:
    """Return what a SELECT reads, if the rows it returns are those that its condition meets. Raises UncountableError."""
    statement: Any = select
    more = ("withClause", "distinctClause", "intoClause", "groupClause", "havingClause", "windowClause", "valuesLists",
            "limitOffset", "limitCount", "lockingClause", "larg", "rarg")  # fmt: skip
    if any(getattr(statement, name) for name in more) or len(statement.fromClause or ()) != 1:
        raise UncountableError("it returns other rows than its condition meets")
    for node in _nodes(statement.targetList):
        if isinstance(node, ast.FuncCall) and _function(node) not in PURE:
            raise UncountableError("it returns other rows than its condition meets")
        if isinstance(node, ast.SubLink | ast.JsonTable | ast.RangeFunction):
            raise UncountableError("it reads more than one table")
    return statement.fromClause[0]


def _look(condition: Any, names: set[str], found: Counting) -> None:
    """Take down what a condition names. Raises UncountableError on all that is not known to have no effect."""
    waiting = [condition] if condition is not None else []
    seen = 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > _MAX_NODES:
            raise UncountableError("its condition is too long")
        if node is None or isinstance(node, _CONSTANTS):
            continue
        if isinstance(node, tuple):
            waiting += node
        elif isinstance(node, _WALKED):
            if isinstance(node, ast.CaseExpr) and node.arg is not None:
                found.operators.add("=")
            waiting += [value for value in _members(node) if isinstance(value, ast.Node | tuple)]
        elif isinstance(node, ast.A_Expr):
            found.operators.update(_operators(node))
            waiting += [node.lexpr, node.rexpr]
        elif isinstance(node, ast.ColumnRef):
            found.columns.add(_column(node, names))
        elif isinstance(node, ast.TypeCast):
            found.types.add(_type(node.typeName))
            waiting.append(node.arg)
        elif isinstance(node, ast.FuncCall):
            found.functions.add(_function(node))
            waiting += node.args or ()
        elif (isinstance(node, ast.SQLValueFunction) and node.op in _TIMES) or (isinstance(node, ast.ParamRef) and node.number):
            continue
        elif isinstance(node, ast.SubLink):
            raise UncountableError("its condition has a query of its own")
        elif isinstance(node, ast.CurrentOfExpr):
            raise UncountableError("it is for a cursor's row")
        else:
            raise UncountableError(f"its condition has a {type(node).__name__}, which is not counted")


def _own(name: Any) -> str:
    """Return the last part of a name that is not qualified, or by pg_catalog. Raises UncountableError."""
    parts = [part.sval for part in name]
    if len(parts) > 2 or (len(parts) == 2 and parts[0] != "pg_catalog"):
        raise UncountableError("its condition uses what is not the database's own")
    return str(parts[-1])


def _operators(node: Any) -> tuple[str, ...]:
    if node.kind in _OPERATOR_OF:
        return _OPERATOR_OF[node.kind]
    if node.kind in _NAMED_OPERATOR:
        return (_own(node.name),)
    raise UncountableError("its condition has an expression that is not counted")


def _column(node: Any, names: set[str]) -> str:
    parts = [getattr(part, "sval", None) for part in node.fields]
    if None in parts or len(parts) > 2 or (len(parts) == 2 and parts[0] not in names):
        raise UncountableError("its condition names more than columns of the table")
    return str(parts[-1])


def _type(node: Any) -> str:
    if node.setof or node.pct_type or not node.names:
        raise UncountableError("its condition uses a type that is not counted")
    if any(not isinstance(n, _CONSTANTS) for n in node.typmods or ()):
        raise UncountableError("its condition uses a type that is not counted")
    return _own(node.names)


def _function(node: Any) -> str:
    name = _own(node.funcname)
    plain = not (node.agg_order or node.agg_filter or node.over or node.agg_within_group or node.agg_star or node.agg_distinct)
    if name not in PURE or not plain or node.func_variadic or any(isinstance(a, ast.NamedArgExpr) for a in node.args or ()):
        raise UncountableError("its condition calls a function that is not known only to compute")
    return name


def _renumber(statement: Any, condition: Any, found: Counting) -> None:
    inside: list[Any] = [n for n in _nodes(condition) if isinstance(n, ast.ParamRef)]
    everywhere = [n for n in _nodes(statement) if isinstance(n, ast.ParamRef)]
    numbers = sorted({n.number for n in inside})
    found.params = numbers
    uses = [n.number for n in everywhere]
    for number in numbers:
        if uses.count(number) > sum(1 for n in inside if n.number == number):
            found.ambiguous.add(number)
    for node in inside:
        node.number = numbers.index(node.number) + 1


def _written(relation: Any, condition: Any, found: Counting) -> tuple[str, str]:
    """Return both statements as text, which reads as the trees they were made of: a mistake of the printer counts nothing."""
    relation.schemaname = found.schema
    whole: Any = parse_sql(_TEMPLATE)[0].stmt
    inner = whole.fromClause[0].subquery
    inner.fromClause, inner.whereClause = (relation,), condition
    bare = ast.RangeVar(schemaname=found.schema, relname=found.table, inh=relation.inh, relpersistence=relation.relpersistence)
    lock: Any = parse_sql(_LOCKING)[0].stmt
    lock.relations = (bare,)
    texts = []
    for tree in (whole, lock):
        text = RawStream()(tree)
        try:
            again = parse_sql(text)
        except ParseError:
            again = ()
        if len(again) != 1 or again[0].stmt != tree:
            raise UncountableError("it could not be written as a query that counts")
        texts.append(text)
    return texts[0], texts[1]


def _members(node: Any) -> Iterator[Any]:
    for name in node.__slots__:
        yield getattr(node, name, None)


def _nodes(root: Any) -> Iterator[Any]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple):
            waiting += node
        elif isinstance(node, ast.Node):
            yield node
            waiting += [value for value in _members(node) if isinstance(value, ast.Node | tuple)]
