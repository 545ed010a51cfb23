"""Which columns and functions does an expression use, and in which roles?

The walk keeps its own stack, so that a chain of ten thousand operators costs no depth. Only a subquery recurses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from processors.statements.dangers import of_setting
from processors.statements.dangers.builtins import BUILTINS
from processors.statements.dangers.settings import of_showing, of_size, takes_memory
from processors.statements.facts import bombs, members, signs
from processors.statements.facts.collector import FOLLOWED_SETTINGS, HANDED, UNKNOWN, Collector, Node
from processors.statements.facts.lookups import lookup
from processors.statements.facts.scope import CONSTANT, NOTHING, RESULT, ROWS, Names, Output, Scope
from processors.statements.facts.trees import strings, walk
from schemas.events import Danger, StatementFlag

MULTIPLYING = frozenset(("generate_series", "repeat", "lpad", "rpad", "array_fill", "factorial", "gen_salt", "normal_rand"))
"""Functions that make as much as their arguments say."""
_COUNTING = frozenset(("generate_series", "normal_rand"))
"""Of these, those whose first argument says how many, too."""
_FAILING = frozenset(("/", "%"))
_CHECKED = frozenset(("whereClause", "where_clause"))
"""The predicate of an index, or of an exclusion constraint."""
_PICKING = frozenset(("filter", "join", "group", "order"))
"""Operators that fail for one value on their right, and so tell it."""
_LOOKING = ("filter", "group", "order")
_SETS = frozenset(
    (  # noqa: SIM905 - a list of words
        "generate_series generate_subscripts json_array_elements json_array_elements_text json_each json_each_text "
        "json_object_keys json_populate_recordset json_to_recordset jsonb_array_elements jsonb_array_elements_text "
        "jsonb_each jsonb_each_text jsonb_object_keys jsonb_path_query jsonb_path_query_tz jsonb_populate_recordset "
        "jsonb_to_recordset aclexplode _pg_expandarray regexp_matches regexp_split_to_table string_to_table ts_debug "
        "ts_parse ts_stat ts_token_type unnest xpath_table each skeys svals"
    ).split()
)
"""Functions of the server and its extensions that give as many rows as their arguments say, so that these are a condition."""
_WHOLE_ROW = frozenset(
    (
        "row_to_json",
        "to_json",
        "to_jsonb",
        "hstore",
        "json_agg",
        "jsonb_agg",
        "array_agg",
        "record_out",
    )
)
"""Functions that also work written as a column of a row: `SELECT u.to_jsonb FROM users u` shows every column."""


class ExpressionWalk:
    """Walks expression nodes into a Collector."""

    def __init__(self, facts: Collector) -> None:
        self.facts = facts
        self._references: list[Names] | None = None
        self._sets = False
        self.recurs = False
        """Whether what is walked is the part of a CTE that is done again and again."""
        self.is_alone = False
        """Whether the statement is one call and nothing else."""
        self.picked: str | None = None
        """The setting that a query of pg_settings picks by its name."""

    def condition(self, node: Any, scope: Scope, roles: tuple[str, ...]) -> Names:
        """Record what a condition or a sort key uses, and what each of its parts compares with what; return what is behind it."""
        stack, behind = [node], NOTHING
        role = roles[0] if len(roles) == 1 and roles[0] in _LOOKING else ""
        needed = {id(node)} if role else set()
        while stack:
            part = stack.pop()
            if isinstance(part, dict) and "BoolExpr" in part:
                parts = part["BoolExpr"].get("args", ())
                if id(part) in needed and part["BoolExpr"].get("boolop") == "AND_EXPR":
                    needed.update(map(id, parts))
                stack += parts
                continue
            looked_up = lookup(part, scope, self.facts, role) if id(part) in needed else NOTHING
            known = self.facts.asked & looked_up
            pairs = _pairs(part["A_Expr"]) if isinstance(part, dict) and "A_Expr" in part else []
            if pairs:
                stack += pairs
                continue
            outside, self._references = self._references, []
            behind |= self.expression(part, scope, roles)
            self.facts.asked -= looked_up - known
            for name in looked_up:
                self.facts.looked_up[name] = self.facts.looked_up.get(name, 0) + 1
            self.facts.compare(self._references, sorts="order" in roles or "group" in roles)
            if (
                self.recurs
                and len(asked := {frozenset(c for c in r if not c.endswith(RESULT)) for r in self._references} - {NOTHING}) == 1
            ):
                self.facts.counted.update(*asked)  # it says how often a recursion goes on
            self._references = outside
        return behind

    def value(self, node: Any, scope: Scope, roles: tuple[str, ...]) -> Names:
        """Record what an output's value uses, as `expression` does, and what it is made of: `a = b AS c` may be a condition."""
        outside, self._references = self._references, []
        before, self._sets = self._sets, False
        behind = self.expression(node, scope, roles)
        # Beside others in a list of values, a call that gives rows is shown: which functions do, only the server's own tell here.
        self._references = [r | {ROWS} if _is_call_of_another(r) else r for r in self._references]
        if not all(map(_is_made_here, self._references)):
            self.facts.mix(behind, self._references)
        if self._sets:
            self.facts.compare(self._references)
        self._references, self._sets = outside, before or self._sets
        return behind

    def query(self, node: Node, outer: Scope | None = None, roles: tuple[str, ...] = ("output",)) -> Output:
        """Walk a query inside the expression."""
        raise NotImplementedError

    def shown(self, names: Iterable[str]) -> list[str]:
        """Return names as facts show them."""
        return [self.facts.namer.plain(n) for n in names]

    def expression(self, node: Any, scope: Scope, roles: tuple[str, ...]) -> Names:
        """Record what an expression (or list of them) uses under `roles`; return the table columns behind its value."""
        behind: set[str] = set()
        stack: list[tuple[Any, tuple[str, ...]]] = [(node, roles)]
        while stack:
            item, now = stack.pop()
            if isinstance(item, list):
                stack += [(i, now) for i in item]
            elif isinstance(item, dict):
                if "relname" in item:
                    # A RangeVar where the grammar allows nothing else, as in REFERENCES.
                    self.facts.read(self.facts.relation(item))
                    continue
                for key, value in item.items():
                    if key == "ColumnRef":
                        self._column(value, scope, now, behind)
                    elif key == "NullTest" and self.is_plain(value.get("arg", {}), scope):
                        outside, self._references = self._references, None
                        tested: set[str] = set()
                        before = self.facts.asked.copy()
                        self._column(value["arg"]["ColumnRef"], scope, now, tested)
                        self.facts.asked -= tested - before
                        self.facts.null_tested |= tested
                        self._references = outside
                    elif key == "A_Indirection":
                        stack += self._indirection(value, scope, now, behind)
                    elif key == "FuncCall":
                        stack += self._call(value, scope, now, behind)
                    elif key == "SubLink":
                        stack += self._sublink(value, scope, now, behind)
                    elif key in ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
                        self._add(self.query({key: value}, scope, now), behind)
                    elif key == "IndexElem" and "name" in value:
                        self.facts.use(scope.unqualified(self.facts.namer.plain(value["name"])), *now)
                    elif key == "IndexElem" and signs.is_asked(value.get("expr", {})):
                        stack.append((value, (*now, "filter")))  # a unique index tells whether two rows are equal in it
                    elif key == "A_Expr" and isinstance(value, dict):
                        self._operator(value.get("name", ()))
                        name = next(iter(strings(value.get("name", ()))[-1:]), "")
                        members.of_operator(name, value, self.facts, shown="output" in now and "filter" not in now)
                        if "~" in name:
                            bombs.of_pattern(value, self.facts)
                        if name in _FAILING and signs.has_columns(value.get("rexpr", {})):
                            stack += [(value.get("lexpr", {}), now), (value.get("rexpr", {}), (*now, "filter"))]
                        elif HANDED not in now and self.facts.is_redefined(strings(value.get("name", ())) or [""], operator=True):
                            stack.append((value, (*now, HANDED)))
                        else:
                            stack.append((value, now))
                    elif key == "CaseWhen":
                        # What a branch depends on shows by which one is taken, be its value masked: by an error, or by its time.
                        stack += [(value.get("expr", {}), (*now, "filter")), (value.get("result", {}), now)]
                    elif key in ("typeName", "TypeName"):
                        self.facts.types.update(strings(value.get("TypeName", value).get("names", ()))[-1:])
                    elif key == "useOp":
                        self._operator(value)
                    elif key == "JsonArrayQueryConstructor":
                        self._add(self.query(value.get("query", {"SelectStmt": {}}), scope, now), behind)
                        signs.of_array(value.get("query", {}).get("SelectStmt", {}), self.facts)
                    elif key in ("A_Const", "ParamRef", "String", "name", "alias"):
                        continue
                    elif key == "SQLValueFunction":
                        self.facts.functions[str(value.get("op", "")).removeprefix("SVFOP_").lower()] = None
                    elif key == "XmlExpr":
                        self.facts.functions[str(value.get("op", "xml")).removeprefix("IS_").lower()] = None
                        stack.append((value, (*now, "argument")))
                    elif key in _CHECKED or (key == "raw_expr" and self._is_check(item)):
                        stack.append((value, (*now, "filter")))  # whether rows that are there pass shows by an error
                    elif isinstance(value, dict | list):
                        stack.append((value, now))
        return frozenset(behind) if behind else NOTHING

    def _is_check(self, constraint: Node) -> bool:
        return constraint.get("contype") == "CONSTR_CHECK" and next(iter(self.facts.verbs), "") == "alter_table"

    def is_plain(self, node: Any, scope: Scope) -> bool:
        """Tell whether a value is a table's column as it is: of how many there are, and whether one is NULL, nobody learns it."""
        fields = node.get("ColumnRef", {}).get("fields", ())
        names = self.shown(strings(fields))
        return bool(names) and len(names) == len(fields) and scope.is_plain(names)

    def _operator(self, parts: Iterable[Node]) -> None:
        names = strings(parts)
        if names:
            self.facts.operators.add((names[-2] if len(names) > 1 else "", names[-1]))

    def window(self, fields: Node, scope: Scope) -> None:
        """Walk a window definition: PARTITION BY groups, ORDER BY orders."""
        # How many rows a frame has tells what its ends are.
        ends = [fields[f] for f in ("startOffset", "endOffset") if f in fields]
        self.facts.counted |= self.expression(ends, scope, ("argument",))
        for key in fields.get("partitionClause", ()):
            self.condition(key, scope, ("group",))
        for key in fields.get("orderClause", []):
            self.condition(key, scope, ("order",))

    def _column(self, fields: Node, scope: Scope, roles: tuple[str, ...], behind: set[str]) -> None:
        parts = fields.get("fields", ())
        names = strings(parts)
        if parts and "A_Star" in parts[-1]:
            self._whole(names, scope, roles, behind)
            return
        if len(names) == 1:
            columns = scope.unqualified(self.facts.namer.plain(names[0]))
            source = scope.source(names[0])
            if source is not None:
                # A bare table name is the whole row, unless a column has that name.
                self._whole(names, scope, roles, behind)
                if source.base is not None or names[0] not in source.outputs:
                    return
        else:
            column = self.facts.namer.plain(names[-1])
            source = scope.source(names[-2], names[-3] if len(names) > 2 else None)
            if source is not None:
                columns = source.column(column)
                if names[-1] in _WHOLE_ROW:
                    self._whole(names[:-1], scope, roles, behind)
            elif len(names) > 2:
                columns = frozenset((f"{self.facts.namer.relation(names[-3], names[-2])}.{column}",))
            else:
                columns = frozenset((f"?.{column}",))
        self.facts.use(columns, *roles)
        behind |= columns
        self._refers(columns)

    def _refers(self, columns: Names) -> None:
        """Note what one column or call in a condition has behind it; a column that functions give may be another in each row."""
        if self._references is not None:
            varies = columns and all(c.endswith(RESULT) for c in columns)
            self._references.append(columns | {ROWS} if varies else columns)

    def _whole(self, qualifier: list[str], scope: Scope, roles: tuple[str, ...], behind: set[str]) -> None:
        """Every column of one FROM item, or of all."""
        if qualifier:
            source = scope.source(qualifier[-1], qualifier[-2] if len(qualifier) > 1 else None)
            columns = source.everything() if source else frozenset((f"{self.facts.namer.relation(None, qualifier[-1])}.*",))
        else:
            columns = NOTHING.union(*(s.everything() for s in scope.sources))
        if any(c.endswith(".*") for c in columns):
            self.facts.flag(StatementFlag.STAR)
        self.facts.use(columns, *roles)
        behind |= columns
        self._refers(columns)

    def _indirection(
        self, fields: Node, scope: Scope, roles: tuple[str, ...], behind: set[str]
    ) -> list[tuple[Any, tuple[str, ...]]]:
        """`(u).ssn` is a column of `u` when `u` is a FROM item; anything else keeps its own columns."""
        arg, path = fields.get("arg", {}), fields.get("indirection", [])
        members.of_subscripts(path, self.facts)
        names = strings(arg.get("ColumnRef", {}).get("fields", ()))
        source = scope.source(names[0]) if len(names) == 1 else None
        first = path[0].get("String", {}).get("sval") if path else None
        if source is not None and first is not None:
            columns = source.column(self.facts.namer.plain(first))
            self.facts.use(columns, *roles)
            behind |= columns
            return [(path[1:], roles)]
        self.facts.fields.update(strings(path))
        return [(arg, roles), (path, roles)]

    def _call(self, fields: Node, scope: Scope, roles: tuple[str, ...], behind: set[str]) -> list[tuple[Any, tuple[str, ...]]]:
        name = self.function_name(fields.get("funcname", ()))
        self.facts.functions[name] = None
        short = name.rsplit(".", 1)[-1]
        result = frozenset((name + RESULT,))
        behind |= result
        if self._references is not None:
            self._references.append(result | {ROWS} if short in _SETS or short.startswith("pg_") else result)
        if short in MULTIPLYING:
            bombs.of_call(short, fields.get("args", []), self.facts)
            self.facts.asks_amounts = self.facts.asks_amounts or any(key == "ParamRef" for key, _ in walk(fields.get("args", [])))
            self.facts.counted |= self.expression(fields.get("args", [])[0 if short in _COUNTING else 1 :], scope, roles)
        if any(strings(a.get("A_Expr", {}).get("name", ()))[-1:] in (["+"], ["-"]) for a in fields.get("args", ())):
            self.facts.stepped.add(short.lower())
        if short == "format":
            bombs.of_format(fields.get("args", []), self.facts)
        self.facts.called(short)
        self._sets = self._sets or short in _SETS
        members.of_call(short, fields.get("args", []), self.facts)
        if short == "current_setting" and "A_Const" in (fields.get("args") or [{}])[0]:
            self.facts.dangers |= of_showing(str(self.facts.constant(fields["args"][0]["A_Const"])))
        if short == "pg_stat_statements" and not _is_false((fields.get("args") or [{}])[0]):
            self.facts.danger(Danger.CREDENTIAL_READ)  # the texts, of which its view shows masks
        if short == "set_config":
            self._set_config(fields.get("args", ()))
        if "over" in fields:
            self.window(fields["over"], scope)
        if name not in BUILTINS and not _PICKING.isdisjoint(roles):
            self.facts.asking.add(name)
        inner = roles if "argument" in roles else (*roles, "argument")
        if name not in BUILTINS and HANDED not in inner:
            inner = (*inner, HANDED)
        if "agg_filter" in fields:
            self.condition(fields["agg_filter"], scope, ("filter",))
        return [
            (fields.get("args", []), inner),
            (fields.get("agg_order", []), ("order",)),
            (fields.get("agg_filter", {}), ("filter",)),
        ]

    def _set_config(self, args: list[Node]) -> None:
        self.facts.flag(StatementFlag.CHANGES_SETTINGS)
        constants = [a["A_Const"] for a in args[:2] if "A_Const" in a]
        name = self.facts.constant(constants[0]) if constants and "A_Const" in args[0] else UNKNOWN
        if name is UNKNOWN and self.picked and strings((args or [{}])[0].get("ColumnRef", {}).get("fields", ())) == ["name"]:
            name = self.picked
        name = name.lower() if isinstance(name, str) else "*"
        self.facts.dangers |= of_setting(name)
        if takes_memory(name) and len(constants) > 1:
            self.facts.dangers |= of_size(name, self.facts.constant(constants[1]))
        known = self.is_alone and name in FOLLOWED_SETTINGS and len(constants) > 1 and _is_false((args[2:] or [{}])[0])
        value = self.facts.constant(constants[1]) if known else None
        self.facts.change_setting(name, value if isinstance(value, str) else None)

    def _sublink(self, fields: Node, scope: Scope, roles: tuple[str, ...], behind: set[str]) -> list[tuple[Any, tuple[str, ...]]]:
        exists = fields.get("subLinkType") == "EXISTS_SUBLINK"
        outside, self._references = self._references, None
        output = self.query(fields.get("subselect", {}), scope, ("filter",) if exists else roles)
        self._references = outside
        if not exists:
            shown: set[str] = set()
            self._add(output, shown)
            behind |= shown
            if outside is not None and not is_list(fields.get("subselect", {}).get("SelectStmt", {})):
                outside.append(frozenset(shown))
            elif outside is not None and shown:
                outside.append(frozenset(shown) - {ROWS})
        self._operator(fields.get("operName", ()))
        if fields.get("subLinkType") == "ARRAY_SUBLINK":
            signs.of_array(fields.get("subselect", {}).get("SelectStmt", {}), self.facts)
        return [(fields.get("testexpr", {}), roles)]

    @staticmethod
    def _add(output: Output, behind: set[str]) -> None:
        behind |= output.everything()

    def function_name(self, parts: Iterable[Node]) -> str:
        """Return a function's name as written, lower-case; `pg_catalog.` goes without saying."""
        names = [n.lower() for n in self.shown(strings(parts))]
        if len(names) > 1 and names[0] == "pg_catalog":
            names = names[1:]
        return ".".join(names)

    def function_alias(self, fields: Node) -> str:
        """Return the alias a function in FROM has when none is given: its name."""
        for function in fields.get("functions", ()):
            for item in function.get("List", {}).get("items", ()):
                if item and "FuncCall" in item:
                    return (strings(item["FuncCall"].get("funcname", ())) or [""])[-1]
        return ""


def _is_made_here(behind: Names) -> bool:
    """Tell whether a value comes of functions of the server's and nothing else."""
    return bool(behind) and all(c.endswith(RESULT) and (c in (ROWS, CONSTANT) or c[: -len(RESULT)] in BUILTINS) for c in behind)


def is_literal(node: Node) -> bool:
    """Tell whether a value is a constant as written, cast or not."""
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    return "A_Const" in node or "ParamRef" in node


def is_list(select: Node) -> bool:
    """Tell whether a subquery gives constants and nothing else: VALUES, or a function of constants that takes a list apart."""
    items = select.get("fromClause", [])
    own: set[str] = set()
    for item in items:
        if "RangeFunction" not in item:
            return False
        alias = item["RangeFunction"].get("alias", {})
        own |= {alias.get("aliasname", ""), *strings(alias.get("colnames", ()))}
    for key, value in walk(select):
        if key in ("SubLink", "RangeSubselect", "RangeVar", "withClause"):
            return False
        if key == "ColumnRef" and not own.issuperset(strings(value.get("fields", ()))[:1] or ("*",)):
            return False
    return bool(select)


def _pairs(fields: Node) -> list[Node]:
    """Return the comparisons that one of rows consists of: `(a, b) > (1, 2)`, `(a, b) IN ((1, 2), (3, 4))`."""
    left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
    rows = right.get("List", {}).get("items", []) if fields.get("kind") == "AEXPR_IN" else [right]
    if fields.get("kind") not in ("AEXPR_OP", "AEXPR_IN") or not all("RowExpr" in r for r in (left, *rows)):
        return []
    found = []
    for row in rows:
        one, other = left["RowExpr"].get("args", []), row["RowExpr"].get("args", [])
        if len(one) != len(other):
            return []
        plain = {**fields, "kind": "AEXPR_OP"}
        found += [{"A_Expr": {**plain, "lexpr": a, "rexpr": b}} for a, b in zip(one, other, strict=True)]
    return found


def _is_call_of_another(behind: Names) -> bool:
    """Tell whether a value is what a function gave that not every server has."""
    return len(behind) == 1 and all(c.endswith(RESULT) and c[: -len(RESULT)] not in BUILTINS for c in behind)


def _is_false(node: Node) -> bool:
    """Tell whether an argument is `false` as such: `set_config(…, true)` lasts as long as its transaction."""
    node = node.get("NamedArgExpr", {}).get("arg", node)
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    constant = node.get("A_Const", {})
    return "boolval" in constant and not constant["boolval"].get("boolval", False)
