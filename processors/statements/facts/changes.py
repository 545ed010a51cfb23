"""What do INSERT, UPDATE, DELETE and MERGE write, how much of it, and where do the values come from?"""

from __future__ import annotations

from processors.statements.dangers.objects import records_actions
from processors.statements.facts import injection
from processors.statements.facts.belonging import picks_all
from processors.statements.facts.collector import Node
from processors.statements.facts.condition import condition_of, of_base
from processors.statements.facts.query import OUTPUT, QueryWalk
from processors.statements.facts.restriction import chooses, overwrites, restricts
from processors.statements.facts.rows import Target, foreign_names, holds_other_rows, in_sight
from processors.statements.facts.scope import NOTHING, Names, Output, Scope, Source
from processors.statements.sizes import ANYTHING
from schemas.events import Danger, StatementFlag


class ChangeWalk(QueryWalk):
    """Walks statements that change rows into a Collector."""

    def change(self, kind: str, fields: Node, outer: Scope | None) -> Output:
        """Walk one of the four; return what its RETURNING gives."""
        self.facts.verb(kind.removesuffix("Stmt").lower())
        scope = Scope(outer)
        self._ctes(fields, scope)
        relation = fields.get("relation", {})
        target = self.facts.relation(relation)
        self.facts.write(target)
        if kind != "InsertStmt" and records_actions(target):
            self.facts.danger(Danger.AUDIT_TAMPERING)
        alias = relation.get("alias", {}).get("aliasname") or relation.get("relname", "")
        source = Source(alias, target, schema=relation.get("schemaname"))
        if kind == "InsertStmt":
            self._insert(fields, scope, source)
        else:
            scope.sources.append(source)
            for item in fields.get("fromClause", []) + fields.get("usingClause", []):
                self._from(item, scope)
            if kind == "MergeStmt":
                self._merge(fields, scope, target)
            self._assign(fields.get("targetList", ()), scope, target)
            if kind != "MergeStmt":
                if "whereClause" not in fields:
                    self.facts.flag(StatementFlag.NO_WHERE)
                self._condition(fields.get("whereClause"), scope)
                if "whereClause" in fields:
                    injection.of_condition(fields["whereClause"], self.facts)
                others = fields.get("fromClause", []) + fields.get("usingClause", [])
                where = fields.get("whereClause")
                meant = self._target(target, source, others, scope, where)
                base, names = self.facts.table_behind(target)
                condition = condition_of(where, meant, self.facts)
                self.facts.changes[base, condition if base == target else of_base(condition, names)] = None
                if not restricts(where, meant, self.facts) or picks_all(where, others, target, alias, self.facts):
                    self.facts.danger(Danger.MASS_DELETE if kind == "DeleteStmt" else Danger.MASS_UPDATE)
        returning = fields.get("returningClause", {}).get("exprs") or fields.get("returningList") or []
        if returning:
            self.facts.read(target)
            # RETURNING may say `old.x` and `new.x` (PostgreSQL 18), or give these names of its own.
            options = [
                o.get("ReturningOption", {}).get("value", "") for o in fields.get("returningClause", {}).get("options", ())
            ]
            seen = [source] if kind == "InsertStmt" else scope.sources
            rows = [Source(name, target, hidden=True) for name in ("old", "new", *options)]
            return self._targets(returning, Scope(outer, [*seen, *rows], scope.ctes, scope.merged), OUTPUT)
        return Output()

    def _target(self, name: str, source: Source, others: list[Node], scope: Scope, where: Node | None = None) -> Target:
        bodies: dict[str, Node] = {}
        level: Scope | None = scope
        while level is not None:
            bodies = {**level.bodies, **bodies}
            level = level.outer

        def view(schema: str | None, name: str) -> Node | None:
            """Return a view's SELECT; the written view is a table: what its own condition leaves out, it has not."""
            return None if self.facts.namer.relation(schema, name) == target_name else self.facts.view(schema, name)

        target_name = str(source.base)
        seen = in_sight(bodies, view)
        target = Target(name, frozenset((source.alias,)), {}, seen, self.facts.nullable(name), self.facts.own_columns(name))
        if others:

            def picks(query: Node) -> bool:
                return chooses(query, target, self.facts)

            target.others = {alias: other for item in others for alias, other in holds_other_rows(item, target, picks)}
            target.foreign = foreign_names(others, seen)
            for item in (i["RangeVar"] for i in others if "RangeVar" in i):
                # The table itself once more, or a view of it, that the condition restricts under its other name.
                alias = item.get("alias", {}).get("aliasname") or item.get("relname", "")
                if item.get("relname") in bodies or target.others.get(alias, True):
                    continue
                rest = {source.alias: False, **{other: False for other in target.others if other != alias}}
                again = Target(name, frozenset((alias,)), rest, seen, None, self.facts.own_columns(self.facts.relation(item)))
                target.others = {**target.others, alias: restricts(where, again, self.facts)}
        return target

    def _insert(self, fields: Node, scope: Scope, source: Source) -> None:
        target = str(source.base)
        columns = [c.get("ResTarget", {}) for c in fields.get("cols", ())]
        names = [f"{target}.{self.facts.namer.plain(c.get('name', ''))}" for c in columns]
        self.facts.use(names or [f"{target}.*"], "write")
        if "selectStmt" in fields:
            injection.of_value(fields["selectStmt"]["SelectStmt"].get("valuesLists", []), self.facts)
            self.flows_into(target, names, self.select(fields["selectStmt"]["SelectStmt"], scope, OUTPUT))
        conflict = fields.get("onConflictClause", {})
        if conflict:
            inside = Scope(scope, [source, Source("excluded", None, stars=(target,))])
            for element in conflict.get("infer", {}).get("indexElems", ()):
                self.expression(element, inside, ("filter",))
            if conflict.get("targetList"):
                self.facts.verb("update")
                if records_actions(target):
                    self.facts.danger(Danger.AUDIT_TAMPERING)
                selected = fields.get("selectStmt", {}).get("SelectStmt", {})
                if overwrites(selected, self._target(target, source, [], scope), self.facts):
                    self.facts.danger(Danger.MASS_UPDATE)
                self._assign(conflict["targetList"], Scope(scope, [source, Source("excluded", target)]), target)
            if "whereClause" in conflict:
                self.expression(conflict["whereClause"], Scope(scope, [source, Source("excluded", target)]), ("filter",))

    def _assign(self, targets: list[Node], scope: Scope, target: str, chosen: Names = NOTHING) -> None:
        for item in targets:
            fields = item.get("ResTarget", {})
            self.facts.use([f"{target}.{self.facts.namer.plain(fields.get('name', ''))}"], "write")
            if "val" in fields:
                injection.of_value(fields["val"], self.facts)
                behind = self.expression(fields["val"], scope, ("argument",)) | chosen
                name = f"{target}.{self.facts.namer.plain(fields.get('name', ''))}"
                self.facts.flow(name, behind, reworked=not self._is_as_it_is(fields["val"], scope))

    def flows_into(self, target: str, names: list[str], output: Output) -> None:
        """Note which columns of a table get what a query gives: `names` in order, or its own: `#0`, `#1`, …"""
        lineage = output.lineage
        if lineage and not names and None not in lineage:
            self.facts.inserted[target, lineage] = None  # type: ignore[index]
        elif not names:
            self.facts.inserted[target, ()] = None  # how many columns there are is not known
        if lineage is not None and all(isinstance(behind, frozenset) for behind in lineage):
            plain = [name in output.plain for name, _ in output.columns] if len(output.columns) == len(lineage) else []
            for n, behind in enumerate(lineage[: len(names) or None]):
                name = names[n] if names else f"{target}.#{n}"
                reworked = n not in output.whole and not (n < len(plain) and plain[n])
                self.facts.flow(name, behind, reworked=reworked)  # type: ignore[arg-type]
            return
        for behind in lineage or ():
            if isinstance(behind, str) and not names:
                self.facts.flow(f"{target}.*", frozenset((f"{behind}.*",)))
        every = output.everything()
        if names or lineage is None or not all(isinstance(behind, str) for behind in lineage):
            for name in names or (f"{target}.*",):
                self.facts.flow(name, every, reworked=any(name not in output.plain for name, _ in output.columns))

    def _merge(self, fields: Node, scope: Scope, target: str) -> None:
        if "sourceRelation" in fields:
            self._from(fields["sourceRelation"], scope)
        self.condition(fields.get("joinCondition", {}), scope, ("join",))
        items = [fields["sourceRelation"]] if "sourceRelation" in fields else []
        judged = self._target(target, scope.sources[0], items, scope)
        whole = not restricts(fields.get("joinCondition"), judged, self.facts) or picks_all(
            fields.get("joinCondition"), items, target, scope.sources[0].alias, self.facts
        )
        self.facts.changes[target, ANYTHING] = None
        for when in fields.get("mergeWhenClauses", ()):
            clause = when.get("MergeWhenClause", {})
            command = clause.get("commandType", "").removeprefix("CMD_").lower()
            if command in ("insert", "update", "delete"):
                self.facts.verb(command)
            by_source = clause.get("matchKind") == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE"
            changes = command in ("update", "delete") and (whole or by_source)
            if changes and not restricts(clause.get("condition"), judged, self.facts):
                self.facts.danger(Danger.MASS_DELETE if command == "delete" else Danger.MASS_UPDATE)
            # Which of its branches a row took shows by what it was given, as with CASE.
            chosen = self.expression(clause["condition"], scope, ("filter",)) if "condition" in clause else NOTHING
            self._assign(clause.get("targetList", ()), scope, target, chosen)
            if command == "insert" and not clause.get("targetList"):
                self.facts.use([f"{target}.*"], "write")
            targets = [t.get("ResTarget", {}).get("name", "") for t in clause.get("targetList", ())]
            row: list[Names] = []
            for i, value in enumerate(clause.get("values", ())):
                name = self.facts.namer.plain(targets[i]) if i < len(targets) else "*"
                row.append(self.expression(value, scope, ("argument",)) | chosen)
                self.facts.flow(f"{target}.{name}", row[-1], reworked=not self._is_as_it_is(value, scope))
            if any(row) and not targets:
                self.facts.inserted[target, tuple(row)] = None
