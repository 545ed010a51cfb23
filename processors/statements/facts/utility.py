"""What do statements other than queries do? One table says each node's verb and flags; the rest follow rules per kind.

A node the table does not know gets its own name as verb and the flag `utility`: new grammar is recorded, not refused. What
defines objects is `definitions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processors.statements.dangers import of_setting
from processors.statements.dangers.settings import of_size, takes_memory
from processors.statements.dangers.statements import of_statement
from processors.statements.facts import body, loops, signs
from processors.statements.facts.assignments import ROW, Assignments
from processors.statements.facts.collector import FOLLOWED_SETTINGS, Collector, Node
from processors.statements.facts.definitions import DefinitionWalk
from processors.statements.facts.query import OUTPUT, QUERIES
from processors.statements.facts.scope import Output, Scope
from processors.statements.facts.trees import strings
from processors.statements.grammar import TooComplexError
from processors.statements.statement import RESTORED, Code, CopyFormat, Made
from schemas.events import Danger
from schemas.events import StatementFlag as F


class StatementWalk(DefinitionWalk):
    """Walks any statement into a Collector."""

    last = Output()
    """What the query walked last gives."""

    def statement(self, node: Node) -> None:
        """Record one statement's facts."""
        kind, fields = next(iter(node.items()))
        if kind in QUERIES:
            if kind == "SelectStmt" and self.facts.depth == 0:
                # A call alone is made for certain: not where no row, no branch and no later EXECUTE may come to it.
                self.is_alone = not self.facts.verbs and _is_one_call(fields)
                self.facts.whole = signs.is_whole(fields, self.facts) or signs.gathers_all(fields, self.facts)
            elif kind == "InsertStmt" and self.facts.depth == 0:
                selected = fields.get("selectStmt", {}).get("SelectStmt", {})
                self.facts.whole = "valuesLists" not in selected and signs.is_whole(selected, self.facts)
            self._result(self.query(node), fields)
            return
        self.facts.dangers |= of_statement(kind, fields)
        if kind in _RULES:
            _RULES[kind](self, fields)
        else:
            self.specified(kind, fields)

    def _result(self, output: Output, fields: Node) -> None:
        self.last = output
        into, self.facts.made = fields.get("intoClause") or self.facts.made, {}
        if fields.get("intoClause", {}).get("rel", {}).get("relpersistence", "t") != "t":
            self._copied({"SelectStmt": fields})
        if into.get("rel"):
            self._made(output, into)
        if self.facts.depth == 0:
            self.facts.outputs = output.lineage
            self.facts.stored = output.stored

    def _made(self, output: Output, into: Node) -> None:
        """A table that a query makes has columns of the query's names, but for those that it is given names for."""
        name, lineage = self.facts.relation(into["rel"]), output.lineage
        renamed = tuple(self.shown(strings(into.get("colNames", ()))))
        temporary = into["rel"].get("relpersistence") == "t" or name.startswith("pg_temp")
        single = [o for o in lineage or () if isinstance(o, frozenset)]
        if lineage is None or None in lineage or len(single) != len(output.columns):
            self.facts.makes.append(Made(name, temporary, outputs=None, renamed=renamed))
        else:
            names = iter(output.columns)
            columns = tuple(next(names)[0] if isinstance(o, frozenset) else "*" for o in lineage)
            self.facts.makes.append(Made(name, temporary, columns, lineage, renamed))  # type: ignore[arg-type]
        if renamed:
            every = output.everything()
            exact = len(single) == len(lineage or ()) == len(output.columns)
            for n, column in enumerate(renamed):
                self.facts.flow(f"{name}.{column}", output.columns[n][1] if exact and n < len(output.columns) else every)
        for star in output.stars:
            self.facts.flow(f"{name}.*", frozenset((f"{star}.*",)))
        self.facts.flow(f"{name}.*", output.behind)
        for column, behind in output.columns[0 if output.stars else len(renamed) :]:
            self.facts.flow(f"{name}.{column}", behind)

    def body(self, fields: Node) -> None:
        elements = [o.get("DefElem", {}) for o in fields.get("options", ())]
        language = next((e["arg"]["String"].get("sval", "") for e in elements if e.get("defname") == "language"), "sql")
        for element in elements:
            if element.get("defname") == "as":
                self.facts.read_value()
                made = StatementWalk(Collector(self.facts.namer, self.facts.elided))
                made.facts.depth = self.facts.depth
                made.run((strings(element.get("arg", {}).get("List", {}).get("items", ())) or [""])[0], language)
                # It is made, not run: what it would do is a danger, not a fact.
                self.facts.dangers |= made.facts.dangers
                self.facts.code = Code((), frozenset(made.facts.reads), frozenset(made.facts.functions), bool(made.facts.writes))
                if F.DYNAMIC_SQL in made.facts.flags:
                    self.facts.flag(F.DYNAMIC_SQL)
            elif element.get("defname") == "set":
                self.facts.flag(F.CHANGES_SETTINGS)

    # -- rules ---------------------------------------------------------------------------------------------------------

    def transaction(self, fields: Node) -> None:
        kind = fields.get("kind", "TRANS_STMT_BEGIN").removeprefix("TRANS_STMT_").lower()
        verb = {"start": "begin", "rollback_to": "rollback", "prepare": "prepare_transaction"}.get(kind, kind)
        self.facts.verb(verb)
        self.facts.flag(F.TRANSACTION)
        if kind == "prepare":
            # Its locks are held, and its snapshot, until somebody ends it: its session, or the server's next start, does not.
            self.facts.danger(Danger.LOCK_EXHAUSTION)

    def set_variable(self, fields: Node) -> None:
        self.facts.verb("set")
        self.facts.flag(F.UTILITY, F.CHANGES_SETTINGS)
        kind, name = fields.get("kind", "VAR_SET_VALUE"), fields.get("name", "").lower()
        if takes_memory(name) and "A_Const" in (fields.get("args") or [{}])[0]:
            self.facts.dangers |= of_size(name, self.facts.constant(fields["args"][0]["A_Const"]))
        if kind in ("VAR_SET_VALUE", "VAR_SET_CURRENT") or name in ("role", "session_authorization"):
            self.facts.dangers |= set() if name == "row_security" and self._turns_on(fields) else of_setting(name)
        if kind == "VAR_SET_MULTI":
            self.facts.flag(F.TRANSACTION)
            for option in fields.get("args", ()):
                self.facts.change_setting(option.get("DefElem", {}).get("defname", "*").lower(), None)
        elif kind == "VAR_RESET_ALL":
            self.facts.settings |= {"*": None, "search_path": RESTORED}
        elif kind in ("VAR_RESET", "VAR_SET_DEFAULT") and name == "search_path":
            self.facts.settings[name] = RESTORED
        elif kind != "VAR_SET_VALUE" or name not in FOLLOWED_SETTINGS or fields.get("is_local"):
            self.facts.change_setting(name, None)
        else:
            constants = [a.get("A_Const") for a in fields.get("args", ())]
            values = [self.facts.constant(c) if c is not None else None for c in constants]
            known = all(isinstance(v, str | int | float) for v in values)
            self.facts.change_setting(name, ", ".join(str(v) for v in values) if known else None)

    def _turns_on(self, fields: Node) -> bool:
        value = self.facts.constant(fields["args"][0]["A_Const"]) if "A_Const" in (fields.get("args") or [{}])[0] else None
        return str(value).lower() in ("on", "true", "yes", "1")

    def discard(self, fields: Node) -> None:
        self.facts.verb("discard")
        self.facts.flag(F.UTILITY)
        if fields.get("target", "DISCARD_ALL") == "DISCARD_ALL":
            self.facts.flag(F.CHANGES_SETTINGS)
            self.facts.settings |= {"*": None, "search_path": RESTORED}

    def explain(self, fields: Node) -> None:
        self.facts.verb("explain")
        self.facts.flag(F.EXPLAIN)
        options = [o.get("DefElem", {}) for o in fields.get("options", ())]
        analyze = [o for o in options if o.get("defname") == "analyze"]
        if any("arg" in o for o in analyze):
            self.facts.read_value()
        runs = any(not _is_off(o.get("arg")) for o in analyze)
        if runs:
            self.statement(fields["query"])
            return
        inner = StatementWalk(Collector(self.facts.namer, self.facts.elided, self.facts.catalogue))
        inner.statement(fields["query"])
        self.facts.absorb_unexecuted(inner.facts)

    def prepare(self, fields: Node) -> None:
        self.facts.verb("prepare")
        self.facts.flag(F.PREPARE)
        for kind in fields.get("argtypes", ()):
            self.facts.types.update(strings(kind.get("TypeName", {}).get("names", ()))[-1:])
        self.statement(fields["query"])

    def execute(self, fields: Node) -> None:
        self.facts.verb("execute")
        self.facts.flag(F.EXECUTE)
        self.expression(fields.get("params", []), Scope(None), ("argument",))

    def declare(self, fields: Node) -> None:
        self.facts.verb("declare")
        self.statement(fields["query"])

    def create_table_as(self, fields: Node) -> None:
        matview = fields.get("objtype") == "OBJECT_MATVIEW"
        self.facts.verb("create_materialized_view" if matview else "create_table")
        self.facts.flag(F.DDL)
        rel = fields.get("into", {}).get("rel")
        if rel:
            self.facts.write(self.facts.relation(rel))
            self.facts.made = fields["into"]
        self.statement(fields["query"])
        if rel and self.facts.made:  # what EXECUTE runs has no tree here
            self.facts.made = {}
            name = self.facts.relation(rel)
            self.facts.makes.append(Made(name, rel.get("relpersistence") == "t" or name.startswith("pg_temp"), outputs=None))
        if rel and rel.get("relpersistence") != "t":
            self._copied(fields["query"])

    def _copied(self, query: Node) -> None:
        """Judge a table that is made of a query and stays: of another one's every row it is a copy, as COPY makes one."""
        if signs.is_copy(query.get("SelectStmt", {}), self.facts):
            self.facts.danger(Danger.BULK_EXPORT)

    def copy(self, fields: Node) -> None:
        into = bool(fields.get("is_from"))
        self.facts.verb("copy_from" if into else "copy_to")
        self.facts.flag(F.COPY_IN if into else F.COPY_OUT)
        if fields.get("is_program"):
            self.facts.flag(F.COPY_PROGRAM)
        elif "filename" in fields:
            self.facts.flag(F.COPY_FILE)
        if not into:
            self.facts.copy_format = self._copy_format(fields)
        if "query" in fields:
            self.statement(fields["query"])
            if signs.is_whole(fields["query"].get("SelectStmt", {}), self.facts):
                self.facts.danger(Danger.BULK_EXPORT)
        relation = fields.get("relation")
        if not relation:
            return
        name = self.facts.relation(relation)
        (self.facts.write if into else self.facts.read)(name)
        columns = self.shown(strings(fields.get("attlist", ()))) or ["*"]
        self.facts.use([f"{name}.{c}" for c in columns], "write" if into else "output")
        if not into and self.facts.depth == 0:
            self.facts.outputs = (name,) if columns == ["*"] else tuple(frozenset((f"{name}.{c}",)) for c in columns)
            self.facts.stored = tuple(f"{name}.{c}" for c in columns)
        if "whereClause" in fields:
            self._condition(fields["whereClause"], self.relation_scope(relation))

    def _copy_format(self, fields: Node) -> CopyFormat:
        options = {e.get("defname", ""): e.get("arg") for e in (o.get("DefElem", {}) for o in fields.get("options", ()))}
        if options:
            self.facts.read_value()
        words = {n: _word(a) for n, a in options.items()}
        header = "header" in options and not _is_off(options["header"])
        form = words.get("format") or "text"
        return CopyFormat(
            form,
            words.get("delimiter") or ("," if form == "csv" else "\t"),
            words.get("null"),
            words.get("quote") or '"',
            words.get("escape") or words.get("quote") or '"',
            words.get("encoding") or "",
            header,
        )

    def do(self, fields: Node) -> None:
        self.facts.verb("do")
        self.facts.read_value()
        elements = {e.get("defname"): e.get("arg", {}).get("String", {}).get("sval", "") for e in _elements(fields)}
        self.run(elements.get("as", ""), elements.get("language", "plpgsql"))

    def run(self, text: str, language: str) -> None:
        """Take in what code in a string does."""
        self.facts.depth += 1
        changed: list[str] = []
        pieces: list[body.Piece] = []
        before, self.facts.settings = self.facts.settings, {}
        try:
            if self.facts.depth > body.MAX_BODIES:
                raise body.OpaqueBodyError("too deep")
            if language.lower() == "plpgsql" and len(text) <= body.MAX_BODY_CHARS:
                self.facts.types |= body.words(text)
            given = Assignments()
            for piece in body.statements(text, language):
                if piece.variables:
                    given.variables, given.untold = piece.variables, piece.untold
                    self.facts.variables |= piece.variables
                    continue
                pieces.append(piece)
                if piece.endless:
                    self.facts.danger(Danger.RESOURCE_EXHAUSTION)
                elif not piece.tree and not piece.fetches:
                    self._unknown_code()
                    self.facts.flag(F.DYNAMIC_SQL)
                elif piece.tree:
                    self.facts.in_rounds = piece.in_rounds
                    if piece.is_expression:
                        given.take(piece, self.select(piece.tree["SelectStmt"], None, OUTPUT))
                    else:
                        self.last = Output()
                        self.statement(piece.tree)
                        given.take(piece, self.last)
                        changed += [kind for kind in loops.CHANGES if kind in piece.tree]
                    self.facts.in_rounds = False
                    loops.of_piece(piece, self.facts)
            loops.of_rounds(pieces, self.facts)
            self.facts.counted |= given.counted
            self.facts.given |= given.all()
            for column, behind in given.row().items():
                shown = column if column == "*" else self.facts.namer.plain(column)
                self.facts.flow(f"{ROW}.{shown}", behind)
            if Danger.BULK_EXPORT in self.facts.dangers:
                # A variable may hold the keys of a whole table, and pick its rows by them.
                self.facts.danger(*(loops.CHANGES[kind] for kind in changed))
        except (body.OpaqueBodyError, TooComplexError):
            self._unknown_code()
        finally:
            self.facts.depth -= 1
            self.facts.code_reads |= self.facts.reads.keys()
            self.facts.code_writes |= self.facts.writes.keys()
            # Which branch ran is not known, and so neither is a value set in one.
            self.facts.settings = before | dict.fromkeys(self.facts.settings)

    def _unknown_code(self) -> None:
        self.facts.flag(F.OPAQUE, F.CHANGES_SETTINGS)
        self.facts.danger(Danger.OPAQUE)
        self.facts.settings["*"] = None

    def call(self, fields: Node) -> None:
        self.facts.verb("call")
        self.expression({"FuncCall": fields.get("funccall", {})}, Scope(None), ("argument",))

    def truncate(self, fields: Node) -> None:
        self.facts.verb("truncate")
        for item in fields.get("relations", ()):
            self.facts.write(self.facts.relation(item.get("RangeVar", {})))

    def lock(self, fields: Node) -> None:
        self.facts.verb("lock")
        self.facts.flag(F.LOCKING, F.TRANSACTION)
        for item in fields.get("relations", ()):
            self.facts.read(self.facts.relation(item.get("RangeVar", {})))

    def vacuum(self, fields: Node) -> None:
        self.facts.verb("vacuum" if fields.get("is_vacuumcmd") else "analyze")
        self.facts.flag(F.UTILITY)
        for item in fields.get("rels", ()):
            relation = item.get("VacuumRelation", {}).get("relation")
            if relation:
                name = self.facts.relation(relation)
                self.facts.read(name)
                self.facts.computed.add(name)

    def grant(self, fields: Node) -> None:
        self.facts.verb("grant" if fields.get("is_grant") else "revoke")
        self.facts.flag(F.DCL)
        for item in fields.get("objects", ()):
            if "RangeVar" in item:
                self.facts.write(self.facts.relation(item["RangeVar"]))
            elif fields.get("objtype") == "OBJECT_SCHEMA" and "String" in item:
                self.facts.relation_names.add(item["String"].get("sval", ""))


def _is_one_call(fields: Node) -> bool:
    targets = fields.get("targetList", [])
    alone = fields.keys() <= {"targetList", "limitOption", "op"} and len(targets) == 1
    return alone and "FuncCall" in targets[0].get("ResTarget", {}).get("val", {})


def _elements(fields: Node) -> list[Node]:
    return [o.get("DefElem", {}) for o in fields.get("args", ())]


def _word(arg: Node | None) -> str | None:
    return arg["String"].get("sval", "") if arg and "String" in arg else None


def _is_off(arg: Node | None) -> bool:
    if arg is None:
        return False
    kind, fields = next(iter(arg.items()))
    if kind == "String":
        return str(fields.get("sval", "")).lower() in ("off", "false", "0", "no")
    return kind in ("Integer", "Boolean") and not fields


_RULES: dict[str, Callable[[StatementWalk, Any], None]] = {
    "AlterObjectSchemaStmt": StatementWalk.move,
    "AlterTableStmt": StatementWalk.alter_table,
    "CallStmt": StatementWalk.call,
    "CopyStmt": StatementWalk.copy,
    "CreateSchemaStmt": StatementWalk.create_schema,
    "CreateStmt": StatementWalk.create,
    "CreateTableAsStmt": StatementWalk.create_table_as,
    "DeclareCursorStmt": StatementWalk.declare,
    "DiscardStmt": StatementWalk.discard,
    "DoStmt": StatementWalk.do,
    "DropStmt": StatementWalk.drop,
    "ExecuteStmt": StatementWalk.execute,
    "ExplainStmt": StatementWalk.explain,
    "GrantStmt": StatementWalk.grant,
    "LockStmt": StatementWalk.lock,
    "PrepareStmt": StatementWalk.prepare,
    "RenameStmt": StatementWalk.rename,
    "TransactionStmt": StatementWalk.transaction,
    "TruncateStmt": StatementWalk.truncate,
    "VacuumStmt": StatementWalk.vacuum,
    "VariableSetStmt": StatementWalk.set_variable,
}
