"""What do queries read and show? Walks SELECT, scope by scope; `changes` walks INSERT, UPDATE, DELETE and MERGE.

Columns of subqueries and CTEs are followed to the tables behind them, so that `SELECT s.x FROM (SELECT ssn AS x FROM people) s`
is an output of `people.ssn`. What a derived table selects counts as output even where nothing outer shows it.
"""

from __future__ import annotations

from itertools import product

from processors.statements.dangers.settings import of_showing
from processors.statements.facts import bombs, injection, members, signs
from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.expression import ExpressionWalk, is_literal
from processors.statements.facts.lookups import lookup
from processors.statements.facts.predicate import judge
from processors.statements.facts.rows import cte_bodies
from processors.statements.facts.scope import (
    CONSTANT,
    NOTHING,
    RESULT,
    ROWS,
    UNKNOWN,
    Names,
    Output,
    Scope,
    Source,
    relabelled,
    spread,
    united,
)
from processors.statements.facts.trees import spend, strings
from schemas.events import StatementFlag

_DML = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")
QUERIES = ("SelectStmt", *_DML)
Roles = tuple[str, ...]
OUTPUT: Roles = ("output",)
_SPELLING = frozenset(("lower", "upper", "btrim"))
MAX_RESULT_COLUMNS = 1664
"""PostgreSQL's own limit for a target list (MaxTupleAttributeNumber)."""


class QueryWalk(ExpressionWalk):
    """Walks query nodes into a Collector."""

    def __init__(self, facts: Collector) -> None:
        super().__init__(facts)

    def query(self, node: Node, outer: Scope | None = None, roles: Roles = OUTPUT) -> Output:
        """Walk any query node; return what it gives."""
        kind, fields = next(iter(node.items()))
        if kind == "SelectStmt":
            self.facts.verb("select")
            return self.select(fields, outer, roles)
        return self.change(kind, fields, outer)

    def change(self, kind: str, fields: Node, outer: Scope | None) -> Output:
        """Walk INSERT, UPDATE, DELETE or MERGE: `changes` does."""
        raise NotImplementedError

    def select(
        self, fields: Node, outer: Scope | None, roles: Roles, recursive: tuple[Scope, str, tuple[str, ...]] | None = None
    ) -> Output:
        """Walk a SelectStmt's fields. `recursive` names the CTE that the first arm of a UNION defines for the second."""
        scope = Scope(outer)
        self._ctes(fields, scope)
        if fields.get("op", "SETOP_NONE") != "SETOP_NONE":
            output = self._set_operation(fields, scope, roles, recursive)
            scope.aliases = dict(output.columns)
        elif "valuesLists" in fields:
            output = self._values(fields, scope, roles)
        else:
            for item in fields.get("fromClause", ()):
                self._from(item, scope)
            outside, self.picked = self.picked, self._picked(fields)
            output = self._targets(fields.get("targetList", ()), scope, roles)
            self.picked = outside
            named = {t["ResTarget"]["name"] for t in fields.get("targetList", ()) if t.get("ResTarget", {}).get("name")}
            shown = set(self.shown(named))
            scope.aliases = {n: c for n, c in output.columns if n in shown}
            scope.targets = {
                self.facts.namer.plain(t["ResTarget"]["name"]): t["ResTarget"].get("val", {})
                for t in fields.get("targetList", ())
                if t.get("ResTarget", {}).get("name")
            }
            self._condition(fields.get("whereClause"), scope)
            self._condition(fields.get("havingClause"), scope)
            self._keys(fields.get("groupClause", ()), scope, output, "group")
            self._keys([d for d in fields.get("distinctClause", ()) if d], scope, output, "group")
            if not all(fields.get("distinctClause", ())):
                for target in fields.get("targetList", ()):
                    if not self._is_stored(target.get("ResTarget", {}).get("val", {}), scope):
                        self.expression(target, scope, ("group",))
            for window in fields.get("windowClause", ()):
                self.window(window.get("WindowDef", {}), scope)
            signs.of_select(fields, scope, self.facts)
        self._keys(fields.get("sortClause", ()), scope, output, "order")
        self._tail(fields, scope, output)
        return output

    def _stored(self, value: Node, behind: Names, scope: Scope) -> str:
        """Return the table's column that a value is, empty if it is none, or not for certain."""
        if len(behind) != 1 or not self._is_stored(value, scope):
            return ""
        [name] = behind
        return "" if name.endswith(".*") or name.startswith("?.") else name

    def _is_as_it_is(self, value: Node, scope: Scope) -> bool:
        """Tell whether a value is a column's of a table as it is, or in small letters, trimmed."""
        value = self._unspelled(value)
        names = self.shown(strings(value.get("ColumnRef", {}).get("fields", ())))
        return bool(names) and scope.is_plain(names)

    def _is_stored(self, value: Node, scope: Scope) -> bool:
        """Tell whether a value is a table's column as it is: how many different ones there are tells nothing of them."""
        names = strings(value.get("ColumnRef", {}).get("fields", ()))
        source = scope.source(names[-2]) if len(names) > 1 else scope.sources[0] if len(scope.sources) == 1 else None
        return bool(names) and source is not None and source.base is not None

    def _picked(self, fields: Node) -> str | None:
        """Return `x` of `… FROM pg_settings WHERE name = 'x'`, as pg_dump asks."""
        items, where = fields.get("fromClause", []), fields.get("whereClause", {}).get("A_Expr", {})
        left, right = where.get("lexpr", {}), where.get("rexpr", {})
        if len(items) != 1 or items[0].get("RangeVar", {}).get("relname") != "pg_settings" or "A_Const" not in right:
            return None
        if strings(where.get("name", ())) != ["="] or strings(left.get("ColumnRef", {}).get("fields", ()))[-1:] != ["name"]:
            return None
        value = self.facts.constant(right["A_Const"])
        self.facts.dangers |= of_showing(value) if isinstance(value, str) else frozenset()
        return value if isinstance(value, str) else None

    def _tail(self, fields: Node, scope: Scope, output: Output) -> None:
        for limit in ("limitCount", "limitOffset"):
            if limit in fields:
                self.facts.counted |= self.expression(fields[limit], scope, ("argument",))
        if "limitCount" in fields and not fields["limitCount"].get("A_Const", {}).get("isnull"):
            self.facts.flag(StatementFlag.LIMITED)
        if fields.get("lockingClause"):
            self.facts.flag(StatementFlag.LOCKING)
        into = fields.get("intoClause", {}).get("rel")
        if into:
            self.facts.verb("create_table")
            self.facts.flag(StatementFlag.DDL)
            self.facts.write(self.facts.relation(into))

    def _set_operation(
        self, fields: Node, scope: Scope, roles: Roles, recursive: tuple[Scope, str, tuple[str, ...]] | None
    ) -> Output:
        arms: list[Node] = []
        left = fields
        while left.get("op", "SETOP_NONE") != "SETOP_NONE" and (left is fields or not self._has_own_clauses(left)):
            arms.append(left["rarg"])
            left = left["larg"]
        known = dict(self.facts.reads)
        self.facts.reads.clear()
        output = self.select(left, scope, roles)
        merged = [{behind} for _, behind in output.columns]
        plain = [name in output.plain for name, _ in output.columns]
        distinct = "all" not in fields
        reads = [set(self.facts.reads)]
        self.facts.reads = known | self.facts.reads
        while True:
            if recursive is not None:
                where, name, renamed = recursive
                own = Output(output.columns, output.stars, output.lineage, behind=output.behind)
                where.ctes[name] = relabelled(own, renamed)
            before = output
            del reads[1:]
            for arm in reversed(arms):
                known = dict(self.facts.reads)
                self.facts.reads.clear()
                outside, self.recurs = self.recurs, self.recurs or recursive is not None
                other = self.select(arm, scope, roles)
                self.recurs = outside
                reads.append(set(self.facts.reads))
                self.facts.reads = known | self.facts.reads
                columns = list(output.columns)
                for i, (_, behind) in enumerate(other.columns):
                    if i < len(columns):
                        columns[i] = (columns[i][0], columns[i][1] | behind)
                        merged[i].add(behind)
                        plain[i] = plain[i] and other.columns[i][0] in other.plain
                    else:  # the first's stars stand for more than is known, or no server takes it
                        columns.append(other.columns[i])
                        merged.append({behind})
                        plain.append(False)
                lineage = united(output.lineage, other.lineage)
                stars = tuple(dict.fromkeys(output.stars + other.stars))
                output = Output(columns, stars, lineage, behind=output.behind | other.behind)
            # What a round of a recursion gives is what the next one takes, and may move from column to column.
            if recursive is None or (before.columns, before.stars, before.lineage, before.behind) == (
                columns,
                output.stars,
                lineage,
                output.behind,
            ):
                break
            self.facts.rounds -= 1
            if self.facts.rounds < 0:
                output = Output([(n, b | {UNKNOWN}) for n, b in columns], output.stars, None, behind=frozenset((UNKNOWN,)))
                break
        if output.behind:  # an arm whose columns have no names here: any of it
            output.columns = [(name, behind | output.behind) for name, behind in output.columns]
        picks = fields["op"] != "SETOP_UNION"
        for (_, behind), arms_of in zip(output.columns, merged, strict=False):
            self.facts.unite(behind, arms_of)
            if picks or distinct:  # how many rows are left tells which are equal
                self.facts.use(behind, "filter" if picks else "group")
            if distinct and (scope.outer is not None or len(output.columns) > 1):
                self.facts.compare(arms_of)  # rows that are equal become one, or are what is left
        output.plain = frozenset(n for (n, _), is_plain in zip(output.columns, plain, strict=False) if is_plain)
        injection.of_union([left, *reversed(arms)], reads, self.facts)
        return output

    @staticmethod
    def _has_own_clauses(fields: Node) -> bool:
        return any(c in fields for c in ("withClause", "sortClause", "limitCount", "limitOffset", "lockingClause"))

    def _values(self, fields: Node, scope: Scope, roles: Roles) -> Output:
        columns: list[tuple[str, Names]] = []
        for row in fields["valuesLists"]:
            for i, value in enumerate(row.get("List", {}).get("items", ())):
                behind = self.value(value, scope, roles)
                if i == len(columns):
                    columns.append((f"column{i + 1}", behind))
                elif behind:
                    columns[i] = (columns[i][0], columns[i][1] | behind)
        return Output(columns, lineage=tuple(behind for _, behind in columns))

    def _targets(self, targets: list[Node], scope: Scope, roles: Roles) -> Output:
        output = Output()
        stars: dict[str, None] = {}
        lineage: list[Names | str | None] = []
        stored: list[str] = []
        countable = True
        plain: dict[str, bool] = {}
        for target in targets:
            fields = target.get("ResTarget", {})
            value = fields.get("val", {})
            reference = value.get("ColumnRef", {}).get("fields", ())
            if reference and "A_Star" in reference[-1]:
                self.facts.flag(StatementFlag.STAR)
                starred = self._starred(strings(reference), scope)
                spend(sum(4 + 4 * len(source.outputs) + len(source.stars) for source in starred))
                for source in starred:
                    self.facts.use(source.everything(), *roles)
                    # Columns of USING and NATURAL JOIN come first, and once: how many come here is not known.
                    lineage += [None] if scope.merged or scope.uncounted else spread(source)
                    stored.append("" if source.base is None else f"{source.base}.*")
                    countable = countable and source.base is not None and not scope.merged and not scope.uncounted
                    if len(lineage) > MAX_RESULT_COLUMNS:  # no server answers so; CTEs that double would not fit in memory
                        lineage = [None]
                for source in starred:
                    if source.base is not None:
                        stars[source.base] = None
                    else:
                        stars.update(dict.fromkeys(source.stars))
                        output.columns += source.outputs.items()
                        if not source.sealed:  # a function's columns, whose names and number only the catalogue tells
                            output.behind |= source.behind
                        for name in source.outputs:
                            plain[name] = plain.get(name, True) and name in source.plain
                continue
            behind = self.value(value, scope, roles)
            name = fields.get("name") or (strings(reference)[-1] if reference else "")
            for whole in [b for b in behind if b.endswith(".*")]:
                stars[whole[:-2]] = None
            name = self.facts.namer.plain(name) if name else "?column?"
            is_constant = is_literal(value)
            as_it_is = is_constant or (bool(reference) and scope.is_plain(self.shown(strings(reference))))
            plain[name] = plain.get(name, True) and as_it_is
            shown = self._shown(value, behind, scope)
            output.columns.append((name, frozenset((CONSTANT,)) if is_constant else shown))
            stored.append(self._stored(value, behind, scope))
            if self._is_as_it_is(value, scope):
                output.whole.add(len(output.columns) - 1)
            countable = countable and "A_Indirection" not in value
            lineage.append(None if "A_Indirection" in value and _ends_in_star(value["A_Indirection"]) else shown)
        output.stars = tuple(stars)
        output.lineage = tuple(lineage)
        output.stored = tuple(stored) if countable else None
        output.plain = frozenset(name for name, is_plain in plain.items() if is_plain)
        return output

    def _shown(self, value: Node, behind: Names, scope: Scope) -> Names:
        """What a column's cells tell of: of a count of a column, and of whether it is NULL, nothing of its values."""
        call = value.get("FuncCall", {})
        names = [n.lower() for n in strings(call.get("funcname", ()))]
        own = names in (["count"], ["pg_catalog", "count"]) and not self.facts.is_redefined(names)
        if own and not call.keys() & {"agg_filter", "agg_order"}:
            return frozenset((f"count{RESULT}",)) if all(self._is_counted(a, scope) for a in call.get("args", ())) else behind
        return behind

    def _is_counted(self, node: Node, scope: Scope) -> bool:
        """Tell whether how many values there are tells nothing of them: of a column as it is, or in small letters, trimmed."""
        return self.is_plain(self._unspelled(node), scope)

    def _unspelled(self, node: Node) -> Node:
        """Return what functions that keep a value whole are given."""
        while "FuncCall" in node:
            call = node["FuncCall"]
            names = strings(call.get("funcname", ()))
            if not names or names[-1] not in _SPELLING or self.facts.is_redefined(names) or len(call.get("args", ())) != 1:
                break
            node = call["args"][0]
        return node

    def _starred(self, qualifier: list[str], scope: Scope) -> list[Source]:
        if not qualifier:
            return [s for s in scope.sources if not s.hidden]
        source = scope.source(qualifier[-1], qualifier[-2] if len(qualifier) > 1 else None)
        return [source] if source else [Source(qualifier[-1], self.facts.namer.relation(None, qualifier[-1]))]

    def _condition(self, node: Node | None, scope: Scope) -> None:
        if node:
            self.condition(node, scope, ("filter",))
            judge(node, self.facts)

    def _keys(self, keys: list[Node], scope: Scope, output: Output, role: str) -> None:
        """GROUP BY, DISTINCT ON and ORDER BY: expressions, output names, or output positions."""
        for key in keys:
            node = key.get("SortBy", {}).get("node", key)
            constant = node.get("A_Const")
            if constant is not None:
                position = self.facts.constant(constant)
                if output.stars:
                    self.facts.use([f"{star}.*" for star in output.stars], role)
                elif isinstance(position, int) and 1 <= position <= len(output.columns):
                    self.facts.use(output.columns[position - 1][1], role)
                    self.facts.compare((output.columns[position - 1][1],), sorts=True)
                continue
            names = strings(node.get("ColumnRef", {}).get("fields", ()))
            alias = self.facts.namer.plain(names[0]) if len(names) == 1 else ""
            if alias in scope.aliases:
                shown = lookup(scope.targets.get(alias), scope, self.facts, role) if alias in scope.targets else frozenset()
                known = self.facts.asked.copy() if shown else set()
                self.facts.use(scope.aliases[alias], role)
                if shown == {c for c in scope.aliases[alias] if not c.endswith(RESULT)}:  # in the order of what is shown as well
                    self.facts.asked -= shown - known
                    for name in shown:
                        self.facts.looked_up[name] = self.facts.looked_up.get(name, 0) + 1
                self.facts.compare((scope.aliases[alias],), sorts=True)
                if role == "order":
                    continue
                self.facts.named_outputs |= scope.unqualified(alias)
            if not scope.sources and names:
                continue
            self.condition(node, scope, (role,))

    def _ctes(self, fields: Node, scope: Scope) -> None:
        clause = fields.get("withClause", {})
        entries = [c.get("CommonTableExpr", {}) for c in clause.get("ctes", ())]
        recursive = clause.get("recursive", False)
        scope.bodies = cte_bodies(fields) if entries else {}
        for entry in entries if recursive else ():
            bombs.of_recursion(entry, fields, self.facts)
        if recursive:
            scope.ctes.update({e.get("ctename", ""): Output(behind=frozenset((UNKNOWN,))) for e in entries})
        for entry in entries:
            name, renamed = entry.get("ctename", ""), tuple(self.shown(strings(entry.get("aliascolnames", ()))))
            body = entry.get("ctequery", {})
            if "SelectStmt" in body:
                self.facts.verb("select")
                output = self.select(body["SelectStmt"], scope, OUTPUT, (scope, name, renamed) if recursive else None)
            else:
                output = self.query(body, scope) if body else Output()
            scope.ctes[name] = relabelled(output, renamed)

    def _from(self, item: Node, scope: Scope) -> list[Source]:
        kind, fields = next(iter(item.items()))
        alias = fields.get("alias", {})
        name, renamed = alias.get("aliasname", ""), tuple(self.shown(strings(alias.get("colnames", ()))))
        if kind == "JoinExpr":
            return self._join(fields, name, renamed, scope)
        if kind == "RangeVar":
            source = self._table(fields, name, renamed, scope)
        elif kind == "RangeSubselect":
            inside = scope if fields.get("lateral") else Scope(scope.outer, ctes=scope.ctes)
            body = fields.get("subquery", {})
            output = self.select(body["SelectStmt"], inside, OUTPUT) if "SelectStmt" in body else self.query(body, inside)
            source = output.source(name, renamed)
        elif kind == "RangeTableSample":
            says = [*fields.get("args", []), fields.get("repeatable", {})]
            self.facts.counted |= self.expression(says, scope, ("argument",))  # how many rows it picks, and which
            return self._from(fields.get("relation", {"RangeVar": {}}), scope)
        else:
            members.of_table(kind, fields, self.facts)
            behind = self.condition(fields, scope, ("argument",))  # of a function's arguments, how many rows there are
            defined = self.shown(c.get("ColumnDef", {}).get("colname", "") for c in fields.get("coldeflist", ()))
            outputs = dict.fromkeys(renamed or defined, behind)
            source = Source(name or self.function_alias(fields), None, outputs, sealed=bool(outputs), behind=behind)
        scope.sources.append(source)
        return [source]

    def _table(self, fields: Node, alias: str, renamed: tuple[str, ...], scope: Scope) -> Source:
        name = fields.get("relname", "")
        cte = scope.cte(name) if not fields.get("schemaname") else None
        if cte is not None:
            return cte.source(alias or name, renamed)
        base = self.facts.relation(fields)
        self.facts.read(base)
        return Source(alias or name, base, schema=fields.get("schemaname"), renamed=renamed)

    def _join(self, fields: Node, alias: str, renamed: tuple[str, ...], scope: Scope) -> list[Source]:
        scope.uncounted = scope.uncounted or bool(fields.get("isNatural")) or bool(alias)
        left = self._from(fields["larg"], scope) if "larg" in fields else []
        right = self._from(fields["rarg"], scope) if "rarg" in fields else []
        for name in self.shown(strings(fields.get("usingClause", ()))):
            owners = [s for s in left + right if s.may_own(name)]
            columns = NOTHING.union(*(s.column(name) for s in owners))
            self.facts.use(columns, "join")
            self.facts.compared[frozenset(s.column(name) | {ROWS} for s in owners)] = None
            scope.merged[name] = scope.merged.get(name, NOTHING) | columns
        if fields.get("isNatural"):
            for one, other in product(left, right):
                either, both = one.outputs.keys() | other.outputs.keys(), one.outputs.keys() & other.outputs.keys()
                for name in either if one.base or other.base else both:
                    self.facts.compared[frozenset((one.column(name) | {ROWS}, other.column(name) | {ROWS}))] = None
                if one.behind or other.behind:  # a function's columns have names that only the catalogue tells
                    self.facts.compared[frozenset((one.everything() | {ROWS}, other.everything() | {ROWS}))] = None
        if "quals" in fields:
            self.condition(fields["quals"], scope, ("join",))
        if alias:
            outputs: dict[str, Names] = {}
            stars: dict[str, None] = {}
            for source in left + right:
                for column in (*source.outputs, *source.renamed):
                    outputs[column] = outputs.get(column, NOTHING) | source.column(column)
                stars.update(dict.fromkeys((source.base,) if source.base else source.stars))
            behind = NOTHING.union(*(source.behind for source in left + right))
            scope.sources.append(Source(alias, None, outputs, tuple(stars), not behind, renamed=renamed, behind=behind))
        return left + right

    def relation_scope(self, range_var: Node) -> Scope:
        """Return a scope of one table, for expressions in definitions (indexes, policies, COPY … WHERE)."""
        return Scope(None, [Source(range_var.get("relname", ""), self.facts.relation(range_var))])


def _ends_in_star(fields: Node) -> bool:
    return any("A_Star" in part for part in fields.get("indirection", ()))
