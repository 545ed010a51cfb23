"""What do CREATE, ALTER and DROP define or change? They write the object they define; every other table named inside is read."""

from __future__ import annotations

import re
from dataclasses import replace

from processors.statements.dangers.settings import of_showing
from processors.statements.facts.changes import ChangeWalk
from processors.statements.facts.collector import Node
from processors.statements.facts.scope import Scope
from processors.statements.facts.specified import SPECIFIED
from processors.statements.facts.trees import strings
from processors.statements.statement import Code, Made
from schemas.events import StatementFlag as F

_FILLING = frozenset(("AT_AddColumn", "AT_ColumnDefault", "AT_SetExpression", "AT_AlterColumnType"))
"""Parts of ALTER TABLE that give a column values."""
_TARGETS = ("relation", "view", "sequence", "base", "table")
"""Fields in which a definition names the relation it defines or changes."""


class DefinitionWalk(ChangeWalk):
    """Walks definitions of objects, and every node that has no rule of its own, into a Collector."""

    def statement(self, node: Node) -> None:
        """Record the facts of a statement inside: `utility` does."""
        raise NotImplementedError

    def body(self, fields: Node) -> None:
        """Look into the code of a function or rule that is made: `utility` does."""
        raise NotImplementedError

    def create(self, fields: Node) -> None:
        """CREATE TABLE, without a query."""
        self.specified("CreateStmt", fields)
        relation = fields.get("relation", {})
        columns: list[str] = []
        outputs: list[frozenset[str] | str] = []
        for parent in fields.get("inhRelations", ()):
            columns.append("*")
            outputs.append(self.facts.relation(parent.get("RangeVar", {})))
        for element in fields.get("tableElts", ()):
            if "ColumnDef" in element:
                columns.append(self.facts.namer.plain(element["ColumnDef"].get("colname", "")))
                outputs.append(frozenset())
            elif "TableLikeClause" in element:
                columns.append("*")
                outputs.append(self.facts.relation(element["TableLikeClause"].get("relation", {})))
        name = self.facts.relation(relation)
        temporary = relation.get("relpersistence") == "t" or name.startswith("pg_temp")
        known = None if "ofTypename" in fields else tuple(outputs)
        self.facts.makes.append(Made(name, temporary, tuple(columns), known))

    def move(self, fields: Node) -> None:
        """ALTER … SET SCHEMA."""
        self.specified("AlterObjectSchemaStmt", fields)
        if "relation" in fields:
            self.facts.renames[self.facts.relation(fields["relation"]), "", self._schema(fields.get("newschema", "?"))] = None

    def specified(self, kind: str, fields: Node) -> None:
        """Record a node by the table of verbs and flags, and what it names."""
        verb, flags = SPECIFIED.get(kind) or derived(kind)
        if kind == "GrantRoleStmt" and not fields.get("is_grant"):
            verb = "revoke"
        if kind == "CreateFunctionStmt" and fields.get("is_procedure"):
            verb = "create_procedure"
        if kind == "FetchStmt" and fields.get("ismove"):
            verb = "move"
        self.facts.verb(verb)
        self.facts.flag(*flags)
        if kind == "VariableShowStmt":
            self.facts.dangers |= of_showing(fields.get("name", ""))
        if kind in ("CreateTrigStmt", "CreateEventTrigStmt"):
            self.facts.functions[self.function_name(fields.get("funcname", ()))] = None
        self._definition(fields)
        if kind in ("CreateFunctionStmt", "RuleStmt"):
            self.body(fields)
        names = strings(fields.get("funcname", ())) if kind == "CreateFunctionStmt" else ()
        if names or fields.get("kind") == "OBJECT_AGGREGATE":
            short = (names or strings(fields.get("defnames", ())))[-1:]
            self.facts.code = replace(self.facts.code, names=tuple(n.lower() for n in short))

    def _definition(self, fields: Node) -> None:
        scope = Scope(None)
        rest = dict(fields)
        for field in _TARGETS:
            target = rest.pop(field, None)
            if isinstance(target, dict) and "relname" in target:
                self.facts.write(self.facts.relation(target))
                scope = self.relation_scope(target)
            elif target is not None:
                rest[field] = target
        if isinstance(fields.get("objects"), list) and "removeType" in fields:
            self._dropped(fields)
            return
        if "object" in rest and isinstance(rest["object"], dict):
            self._object(rest["object"], fields.get("objtype", ""))
        query = rest.pop("query", None)
        if isinstance(query, dict):
            self.statement(query)
        for field in ("params", "options", "typeName", "returnType", "object", "objects"):
            rest.pop(field, None)
        self.expression(rest, scope, ("argument",))

    def _object(self, node: Node, kind: str) -> None:
        names = strings(node.get("List", {}).get("items", ()))
        if kind in ("OBJECT_COLUMN", "OBJECT_TABCONSTRAINT", "OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE") and len(names) > 1:
            names = names[:-1]
        elif kind not in (
            "OBJECT_TABLE",
            "OBJECT_VIEW",
            "OBJECT_MATVIEW",
            "OBJECT_SEQUENCE",
            "OBJECT_INDEX",
            "OBJECT_FOREIGN_TABLE",
        ):
            return
        self._write_names(names)

    def _write_names(self, names: list[str]) -> None:
        if names:
            self.facts.write(self.facts.relation({"relname": names[-1], "schemaname": names[-2] if len(names) > 1 else None}))

    def _dropped(self, fields: Node) -> None:
        kind = fields.get("removeType", "")
        for item in fields.get("objects", ()):
            if "List" in item:
                self._object(item, kind)
            elif kind == "OBJECT_SCHEMA" and "String" in item:
                self.facts.relation_names.add(item["String"].get("sval", ""))

    def create_schema(self, fields: Node) -> None:
        self.facts.verb("create_schema")
        self.facts.flag(F.DDL)
        name = fields.get("schemaname") or fields.get("authrole", {}).get("rolename") or "?"
        self.facts.relation_names.add(name)
        # The new schema comes first in the search path of what stands inside.
        outside, self.facts.namer = self.facts.namer, self.facts.namer.uncertain()
        for element in fields.get("schemaElts", ()):
            for inner in element.values():
                target = inner.get("relation") or inner.get("view") or inner.get("sequence")
                if isinstance(target, dict):
                    target.setdefault("schemaname", name)
            self.statement(element)
        self.facts.namer = outside

    def alter_table(self, fields: Node) -> None:
        self.facts.verb("alter_" + object_name(fields.get("objtype", "OBJECT_TABLE")))
        self.facts.flag(F.DDL)
        relation = fields.get("relation", {})
        name = self.facts.relation(relation)
        self.facts.write(name)
        for item in fields.get("cmds", ()):
            command = item.get("AlterTableCmd", {})
            if "COLUMN" in command.get("subtype", "").upper() and command.get("name"):
                self.facts.use([f"{name}.{self.facts.namer.plain(command['name'])}"], "write")
            behind = self.expression(command.get("def", {}), self.relation_scope(relation), ("argument",))
            if command.get("subtype") in _FILLING:
                made = command.get("name") or command.get("def", {}).get("ColumnDef", {}).get("colname", "")
                self.facts.flow(f"{name}.{self.facts.namer.plain(made)}", behind, reworked=True)

    def rename(self, fields: Node) -> None:
        self.facts.verb("alter_" + object_name(fields.get("renameType", "OBJECT_TABLE")))
        self.facts.flag(F.DDL)
        if fields.get("renameType") in ("OBJECT_FUNCTION", "OBJECT_AGGREGATE", "OBJECT_PROCEDURE", "OBJECT_ROUTINE"):
            self.facts.code = Code((fields.get("newname", "").lower(),), writes=True)  # what it does is not said here
        if fields.get("renameType") == "OBJECT_SCHEMA":
            self.facts.renames[self._schema(fields.get("subname", "")), "", self._schema(fields.get("newname", ""))] = None
        if "relation" in fields:
            name = self.facts.relation(fields["relation"])
            self.facts.write(name)
            column = self.facts.namer.plain(fields["subname"]) if fields.get("renameType") == "OBJECT_COLUMN" else ""
            if column or "subname" not in fields:
                self.facts.renames[name, column, self.facts.namer.plain(fields.get("newname", ""))] = None

    def _schema(self, name: str) -> str:
        return self.facts.namer.relation(name, "x").removesuffix("x")

    def drop(self, fields: Node) -> None:
        self.facts.verb("drop_" + object_name(fields.get("removeType", "OBJECT_TABLE")))
        self.facts.flag(F.DDL)
        self._dropped(fields)


def object_name(kind: str) -> str:
    """Return what verbs call a kind of object."""
    name = kind.removeprefix("OBJECT_").lower()
    return {"matview": "materialized_view", "tabconstraint": "table", "column": "table", "domconstraint": "domain"}.get(
        name, name
    )


def derived(kind: str) -> tuple[str, tuple[F, ...]]:
    """Return verb and flags of a node that `SPECIFIED` does not have."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.removesuffix("Stmt")).lower()
    ddl = words.startswith(("create_", "alter_", "drop_", "define"))
    return ("create_" + words.removeprefix("define_") if words == "define" else words), (F.DDL if ddl else F.UTILITY,)
