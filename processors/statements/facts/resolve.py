"""What does a statement do through the objects it names? Views to tables, writes to triggers and rules, calls to bodies.

Takes a statement's facts and a snapshot of the database, and adds to the facts until nothing new comes. A name that may mean
several objects means all of them. A body that cannot be read is opaque if it may change anything, unknown code otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from processors.statements.catalogue import Catalogue, Column, Function, Relation
from processors.statements.dangers import of_setting
from processors.statements.dangers.builtins import BUILTINS
from processors.statements.dangers.objects import records_actions
from processors.statements.facts import signs
from processors.statements.facts.assignments import ROW
from processors.statements.facts.circles import circles_of
from processors.statements.facts.collector import Collector
from processors.statements.facts.expression import MULTIPLYING
from processors.statements.facts.names import is_syntax
from processors.statements.facts.scope import NOTHING, RESULT, UNKNOWN, Output
from processors.statements.facts.trees import within_effort
from processors.statements.facts.utility import StatementWalk
from processors.statements.grammar import tree_json
from schemas.events import Danger, StatementFlag

MAX_STEPS = 2000
"""Objects looked at for one statement; past that it is opaque."""
MANY_ROWS = 100_000
"""Rows from which reading a whole table is an export of it."""

_ROW = f"{ROW}."
_VIEWS = ("v", "m")
_OWN_LANGUAGES = ("internal", "c")
_OF_VIEWS = frozenset((Danger.OPAQUE, Danger.ROLE_CHANGE, Danger.AUDIT_TAMPERING, Danger.CONFIGURATION_CHANGE))
"""Of what a view's query could do, what a query of it does, whatever it filters; the functions it calls count besides."""
_ASKING = frozenset(("filter", "join", "group", "order"))
_CONDITIONS = frozenset(("filter", "join"))
_OF_ARGUMENTS = _CONDITIONS | {"argument"}
EVENTS = ("insert", "update", "delete", "truncate")
"""What triggers and rules run at."""
_RUNS = {
    "insert": frozenset(("insert", "copy_from")),
    "update": frozenset(("update",)),
    "delete": frozenset(("delete",)),
    "truncate": frozenset(("truncate",)),
}
"""By event, the verbs of statements that it comes about by."""
_EACH = {"update": Danger.MASS_UPDATE, "delete": Danger.MASS_DELETE}
_TYPE = re.compile(r"(?:.*[.])?\"?([^.\"(\[]+)\"?")


def resolve(facts: Collector, catalogue: Catalogue) -> None:
    """Add to the facts what the objects named in them do."""
    _Resolution(facts, catalogue).run()


class _Resolution:
    """One statement's way through the snapshot."""

    def __init__(self, facts: Collector, catalogue: Catalogue) -> None:
        self.facts = facts
        self.catalogue = catalogue
        self._seen: set[tuple[str, str]] = set()
        self._whole: set[str] = set()
        """Relations that are read with nothing to restrict the rows, through views too."""
        self._anywhere: set[str] = set()
        """Functions that code calls which sets a search path of its own."""
        self._path = facts.namer.path
        self._code_of: dict[str, Collector] = {}
        """The database's functions that are called, by name without schema, and what their bodies do."""
        self._from_arguments: list[tuple[str, frozenset[str]]] = []
        """Columns that code gives its arguments' values, and what else."""
        self._by_arguments: set[str] = set()
        self._unnamed: set[str] = set()
        """Functions by name without schema that have arguments, and that run without a call of this name."""
        self._triggered: list[str] = []
        """Tables whose triggers run."""
        self._cascaded: set[str] = set()
        """Tables that foreign keys write, by deleting or by changing rows."""

    def run(self) -> None:
        facts = self.facts
        self._whole = set(facts.reads) if facts.whole else set()
        if StatementFlag.DDL in facts.flags:
            facts.functions.update(dict.fromkeys(self.catalogue.event_triggers))
        self._operators(facts.operators, self._path)
        self._types(facts.types)
        for name in facts.fields & self.catalogue.functions.keys():
            if not any(
                c.name == name for read in facts.reads for r in self.catalogue.find(*read.split(".", 1)) for c in r.columns
            ):
                facts.functions[name] = None
        self._own_columns()
        self._outputs_as_columns()
        self._functions_as_columns()
        facts.called_here = frozenset(facts.functions)
        changed = True
        while changed:
            before = len(self._seen)
            for name in list(facts.reads):
                self._once("read", name)
            for name in list(facts.writes):
                self._once("write", name)
                for event in EVENTS:
                    if name in self._cascaded or not _RUNS[event].isdisjoint(facts.verbs):
                        self._once(event, name)
            for name in list(facts.functions):
                self._once("call", name)
            for name in list(self._anywhere):
                self._once("call anywhere", name)
            changed = len(self._seen) > before
            self._exports()
            if len(self._seen) > MAX_STEPS:
                facts.flag(StatementFlag.OPAQUE)
                facts.danger(Danger.OPAQUE)
                return
        if self._by_arguments & self._unnamed or not self._by_arguments.isdisjoint(BUILTINS):
            facts.handed_on.add(
                "?.?"
            )  # by operators, casts, views, or a name of the server's own, nobody noted what they are given
        for target, others in self._from_arguments:
            facts.flow(target, others.union(facts.handed, facts.handed_on))
        self._rows_of_triggers()
        self._recursions()

    def _rows_of_triggers(self) -> None:
        """What triggers give to the rows that they see, tables with triggers are given."""
        given = [(target, behind) for target, behind in self.facts.flows if target.startswith(_ROW)]
        for target, behind in given:
            del self.facts.flows[target, behind]
            for table in self._triggered:
                column = target.removeprefix(_ROW)
                known = {c.name for r in self.catalogue.find(*table.split(".", 1)) for c in r.columns}
                if column == "*" or column in known:
                    self.facts.flow(f"{table}.{column}", behind)

    def _once(self, what: str, name: str) -> None:
        if (what, name) in self._seen:
            return
        self._seen.add((what, name))
        if what.startswith("call"):
            self._call(name, None if what == "call anywhere" else self._path)
        elif what in EVENTS:
            self._event(name, what)
        else:
            self._relation(name, written=what == "write")

    def _recursions(self) -> None:
        """Find functions that come back to themselves with the next key: what they change of a row, they change of all."""
        calls = {
            name: {short for f in code.functions if (short := f.rpartition(".")[2].lower()) in self._code_of}
            for name, code in self._code_of.items()
        }
        circles = circles_of(calls)
        stack = [n for n, code in self._code_of.items() if any(circles[n] == circles.get(s) for s in code.stepped & calls[n])]
        reached: set[str] = set()
        while stack:
            name = stack.pop()
            if name not in reached:
                reached.add(name)
                stack += calls[name]
        verbs = {verb for name in reached for verb in self._code_of[name].verbs}
        self.facts.danger(*(danger for verb, danger in _EACH.items() if verb in verbs))

    def _exports(self) -> None:
        siblings: dict[str, float] = {}
        for name in self._whole:
            schema, _, table = name.partition(".")
            for relation in self.catalogue.find(schema, table):
                for parent in (relation.qualified, *relation.kin):
                    siblings[parent] = siblings.get(parent, 0.0) + max(relation.rows, 0.0)
        if any(rows >= MANY_ROWS for rows in siblings.values()):
            self.facts.danger(Danger.BULK_EXPORT)

    def _own_columns(self) -> None:
        """Find the owners of columns that the text alone leaves open."""
        open_columns = [c for c in self.facts.columns if c.startswith("?.") and c.count(".") == 1]
        if not open_columns:
            return
        tables = [*self.facts.reads, *self.facts.writes]
        for column in open_columns:
            short = column[2:]
            owners = [
                f"{name}.{short}"
                for name in tables
                for r in self.catalogue.find(*name.split(".", 1))
                if any(c.name == short for c in r.columns)
            ]
            if owners:
                self.facts.use_as(column, owners, *self.facts.columns.pop(column))
            elif (
                "do" not in self.facts.verbs  # it may be a variable
                and all(self.catalogue.find(*name.split(".", 1)) for name in tables)
            ):
                # A subquery's: what is behind it was noted beside.
                roles = self.facts.columns.pop(column)
                if rest := [role for role in roles if role not in _ASKING]:
                    self.facts.use([column], *rest)

    def _outputs_as_columns(self) -> None:
        """Forget columns that GROUP BY names and no table has: an output is called so, and what is behind that is grouped by."""
        facts = self.facts
        for column in facts.named_outputs & facts.columns.keys():
            if facts.columns[column].keys() == {"group"} and not self._may_have(column, facts):
                del facts.columns[column]

    def _functions_as_columns(self) -> None:
        """Find functions of a row written as its columns: `SELECT c.wipe FROM customers c` calls `wipe(c)`."""
        for column in self.facts.columns:
            table, _, short = column.rpartition(".")
            if short != "*" and short in self.catalogue.functions and table.count(".") <= 1:
                relations = self.catalogue.find(*table.split(".")) if "." in table else ()
                if not any(c.name == short for r in relations for c in r.columns):
                    self.facts.functions[short] = None

    def _relation(self, name: str, *, written: bool) -> None:
        schema, _, table = name.partition(".")
        found = self.catalogue.find(schema, table)
        if schema == "?" and found:
            near = [r for r in found if self._path is None or r.schema in self._path or r.schema.startswith("pg_temp")]
            self._rename(name, [r.qualified for r in near or found], written=written)
            return
        for relation in found:
            if relation.qualified != name:
                self._whole |= {relation.qualified} if name in self._whole else set()
                (self.facts.write if written else self.facts.read)(relation.qualified)
                continue
            if relation.kind in _VIEWS and relation.definition:
                self._view(relation, written=written)
            for kin in relation.kin:
                (self.facts.write if written else self.facts.read)(kin)
            for column in relation.columns:
                name = _short_type(column.type)
                self._run(*self.catalogue.casts.get(name, ()), *self.catalogue.compares.get(name, ()))
                self._run(*(self.catalogue.types.get(name, ()) if written else ()))
            texts = list(relation.policies)
            if written or relation.qualified in self.facts.computed:
                texts += relation.expressions
            if written:
                for column in relation.columns:
                    if column.default:
                        self._default(relation, column)
            for text in texts:
                self._expression(text)
            if relation.kind == "f":
                self.facts.danger(Danger.FILE_ACCESS if relation.wrapper == "file_fdw" else Danger.NETWORK_EGRESS)

    def _event(self, name: str, event: str) -> None:
        """Take in what triggers and rules do when rows of a table are inserted, updated, deleted or truncated."""
        for relation in self.catalogue.find(*name.split(".", 1)):
            # A row that changes its partition is deleted here and inserted there.
            moves = event == "update" and bool(relation.kin)
            triggers = [function for when, function in relation.triggers if moves or when == event]
            if triggers:
                self._triggered.append(relation.qualified)
            self._run(*triggers)
            for when, text in relation.rules:
                if when == event or when not in EVENTS:
                    self._absorb(self._code(("text", text), text, "sql"))
            self._cascade(relation, event)

    def _default(self, relation: Relation, column: Column) -> None:
        """Note that a column may be given what its default's functions give."""
        made = self._expression(column.default)
        own = [name for name in made.functions if any(not f.extension for f in self.catalogue.find_functions(name))]
        self.facts.flow(f"{relation.qualified}.{column.name}", frozenset(name + RESULT for name in own))

    def _cascade(self, relation: Relation, what: str) -> None:
        """Take in what foreign keys do to other tables' rows: they go or change with the rows that they refer to."""
        for event, child, key in relation.cascades:
            if event != what:
                continue
            if (
                event == "update"
                and relation.qualified not in self._cascaded
                and not any("write" in self.facts.columns.get(f"{relation.qualified}.{c}", ()) for c in (*key, "*"))
            ):
                continue
            self.facts.write(child)
            self._cascaded.add(child)
            if records_actions(child):
                self.facts.danger(Danger.AUDIT_TAMPERING)

    def _rename(self, name: str, names: list[str], *, written: bool) -> None:
        place = self.facts.writes if written else self.facts.reads
        del place[name]
        if name in self._whole:
            self._whole |= set(names)
        place.update(dict.fromkeys(names))
        for column in [c for c in self.facts.columns if c.startswith(name + ".")]:
            roles = self.facts.columns.pop(column)
            self.facts.use_as(column, [n + column[len(name) :] for n in names], *roles)

    def _view(self, relation: Relation, *, written: bool) -> None:
        made: tuple[Collector, Output] | None = self.catalogue.effects.get(("view", relation.qualified))
        if made is None:
            walk = StatementWalk(Collector(self.facts.namer.uncertain(), elided=False))
            output = Output()
            try:
                [entry] = orjson.loads(tree_json(relation.definition))["stmts"]
                with within_effort():
                    output = walk.query(entry["stmt"])
                    walk.facts.whole = signs.is_whole(entry["stmt"].get("SelectStmt", {}), walk.facts)
            except Exception:
                walk.facts.danger(Danger.OPAQUE)
            made = self.catalogue.effects[("view", relation.qualified)] = (walk.facts, output)
        inner, output = made
        if written:
            self.facts.writes.update(inner.reads)
        self.facts.reads.update(inner.reads)
        self.facts.qualified |= inner.qualified
        self._run(*inner.functions)
        self._operators(inner.operators, frozenset())
        self._types(inner.types)
        self.facts.dangers |= inner.dangers & _OF_VIEWS
        if relation.qualified in self._whole and not written:
            self.facts.dangers |= inner.dangers & {Danger.BULK_EXPORT}
            self._whole |= inner.reads.keys() if inner.whole else set()
        for column, behind in inner.columns.items():
            rest = [role for role in behind if role != "output"]
            if rest:
                known = column in self.facts.asked
                self.facts.use([column], *rest)
                if not known and column not in inner.asked:
                    self.facts.asked.discard(column)
        self.facts.null_tested |= inner.null_tested
        self.facts.looked_up.update(inner.looked_up)
        self.facts.searched |= inner.searched
        shown = dict(output.columns)
        own = self.facts.own_columns(relation.qualified) or frozenset()
        everything = (
            frozenset(f"{star}.*" for star in output.stars).union(*shown.values()) if shown or output.stars else frozenset()
        )
        prefix = relation.qualified + "."
        for column in [c for c in self.facts.columns if c.startswith(prefix)]:
            short = column[len(prefix) :]
            if short in own and short in shown:
                self.facts.use_as(column, shown[short], *self.facts.columns[column])
            else:
                self.facts.use(shown.get(short, everything) if short != "*" else everything, *self.facts.columns[column])

    def _run(self, *names: str) -> None:
        """Take in what the functions of these names do."""
        for name in names:
            short = name.rpartition(".")[2]
            self.facts.functions[name] = None
            self._unnamed.add(short)
            self.facts.called(short)
            if short == "set_config":  # which setting is not known: it comes by number, or from an aggregate's state
                self.facts.dangers |= of_setting("*")
                self.facts.flag(StatementFlag.CHANGES_SETTINGS)
                self.facts.settings["*"] = None

    def _operators(self, used: Iterable[tuple[str, str]], path: frozenset[str] | None) -> None:
        for schema, name in used:
            for where, function in self.catalogue.operators.get(name, ()):
                if where == schema if schema else path is None or where in path:
                    self._run(function)

    def _types(self, names: Iterable[str]) -> None:
        for name in names:
            self._run(*self.catalogue.types.get(name, ()))

    def _call(self, name: str, path: frozenset[str] | None) -> None:
        if name.startswith("function_oid_"):
            known = self.catalogue.by_oid.get(int(name[13:]) if name[13:].isdigit() else 0)
            if known is None:
                self.facts.danger(Danger.OPAQUE)
            else:
                self._run(known)
                if known in MULTIPLYING:
                    self.facts.danger(Danger.RESOURCE_EXHAUSTION)
            return
        found = self.catalogue.find_functions(name)
        if path is not None and "." not in name:
            found = tuple(f for f in found if f.schema in path)
        if is_syntax(name):
            return
        short = name.rpartition(".")[2]
        if not found and short in self.catalogue.types:  # a cast, written as a call
            self._types((short,))
        elif not found and short not in self.catalogue.builtins and "(" not in name:
            self.facts.danger(Danger.UNKNOWN_CODE)
        for function in found:
            self._function(function)

    def _function(self, function: Function) -> None:
        for setting in function.settings:
            self.facts.dangers |= of_setting(setting.partition("=")[0])
        strays = any(s.startswith("search_path=") for s in function.settings) and not function.extension
        if function.result:
            self._types((function.result,))
        self._types(function.takes)
        if function.defaults:
            self._expression(function.defaults)
        if function.calls:
            self._run(*function.calls)
        elif function.language in _OWN_LANGUAGES:
            if not function.extension:
                self.facts.danger(Danger.OPAQUE)
        elif function.language in ("sql", "plpgsql"):
            inner = self._code(("function", function.oid, function.body), function.body, function.language)
            arguments = frozenset(map(self.facts.namer.plain, function.arguments)) - inner.variables
            if arguments:
                self._by_arguments.add(function.name.lower())
            self._absorb(inner, arguments)
            self._code_of[function.name.lower()] = inner
            if function.name.lower() in self.facts.per_row:
                # A row for each row: whatever its condition is, all of them together are the table's.
                self.facts.danger(*(danger for verb, danger in _EACH.items() if verb in inner.verbs))
            if strays:
                self._path = None
                self._anywhere.update(inner.functions)
        else:
            self.facts.danger(Danger.OPAQUE if function.volatility == "v" else Danger.UNKNOWN_CODE)

    def _expression(self, text: str) -> Collector:
        """Take in what expressions do that the database evaluates by itself: read as a SELECT, which they are of tables alone."""
        made = self._code(("expression", text), f"SELECT {text}", "sql")
        if not made.reads:
            made.verbs.pop("select", None)
        self._absorb(made)
        return made

    def _code(self, key: object, text: str, language: str) -> Collector:
        made: Collector | None = self.catalogue.effects.get(key)
        if made is None:
            walk = StatementWalk(Collector(self.facts.namer.uncertain(), elided=False))
            with within_effort():
                walk.run(text, language)
            made = self.catalogue.effects[key] = walk.facts
        return made

    def _absorb(self, inner: Collector, arguments: frozenset[str] = frozenset()) -> None:
        facts: Any = self.facts
        for name in ("verbs", "reads", "writes", "functions"):
            getattr(facts, name).update(getattr(inner, name))
        for column, roles in inner.columns.items():
            short = column.rpartition(".")[2]
            names_it = short in arguments or (short in inner.given and not _CONDITIONS.isdisjoint(roles))
            if not names_it or self._may_have(column, inner):
                facts.use([column], *(r for r in roles if r != "output"))
                if short in inner.variables and not _CONDITIONS.isdisjoint(roles):  # of any of what the code reads
                    facts.use((f"{name}.*" for name in inner.reads), *(r for r in roles if r in _CONDITIONS))
                continue
            # A variable, or an argument: what it was given is noted where it is, and what it is compared with there.
            given = inner.given.get(short, NOTHING)
            facts.asks_handed = facts.asks_handed or (not _CONDITIONS.isdisjoint(roles) and not given) or UNKNOWN in given
            facts.asks_handed = facts.asks_handed or any(c.endswith(RESULT) for c in given)
            rest = [r for r in roles if r != "output"]
            facts.use(given, *rest)
            if short in arguments and not _OF_ARGUMENTS.issuperset(rest):
                facts.use([column], *(r for r in rest if r not in _CONDITIONS))
        for target, behind in inner.flows:
            handed = {c for c in behind if c.rpartition(".")[2] in arguments and not self._may_have(c, inner)}
            if handed:
                self._from_arguments.append((target, behind - handed))
            else:
                facts.flows[target, behind] = None
        for column in inner.handed:
            short = column.rpartition(".")[2]
            if short not in arguments or self._may_have(column, inner):
                facts.handed_on |= inner.given.get(short, frozenset((column,)))
        facts.handed_on |= inner.handed_on
        facts.code_compared.update(inner.compared | inner.code_compared)
        facts.counted |= inner.counted
        facts.takes(inner.keys)
        facts.per_row |= inner.per_row
        facts.qualified |= inner.qualified
        facts.code_reads |= inner.reads.keys()
        facts.code_writes |= inner.writes.keys()
        facts.dangers |= inner.dangers
        facts.flags |= inner.flags & {StatementFlag.OPAQUE, StatementFlag.DYNAMIC_SQL, StatementFlag.CHANGES_SETTINGS}
        facts.settings.update(dict.fromkeys(inner.settings))
        facts.asks_handed = facts.asks_handed or inner.asks_handed
        self._operators(inner.operators, self._path)
        self._types(inner.types)

    def _may_have(self, column: str, code: Collector) -> bool:
        """Tell whether a table may have a column of the name that a function's argument has: that one is meant then."""
        table, _, short = column.rpartition(".")
        for name in (*code.reads, *code.writes) if table == "?" else (table,):
            found = self.catalogue.find(*name.split(".", 1)) if "." in name else ()
            if not found or any(c.name == short for r in found for c in r.columns):
                return True
        return False


def _short_type(name: str) -> str:
    """Return a type's name without its schema, its modifier and the brackets of arrays of it."""
    found = _TYPE.match(name)
    return found[1] if found else name
