"""What does a statement do through the objects it names? Views to tables, writes to triggers and rules, calls to bodies.

Takes a statement's facts and a snapshot of the database, and adds to the facts until nothing new comes. A name that may mean
several objects means all of them. A body that cannot be read is opaque if it may change anything, unknown code otherwise.
"""

from __future__ import annotations

from typing import Any

import orjson
from pglast import parser

from processors.statements.catalogue import Catalogue, Function, Relation
from processors.statements.facts.collector import Collector
from processors.statements.facts.scope import Output
from processors.statements.facts.utility import StatementWalk
from schemas.events import Danger, StatementFlag

MAX_STEPS = 2000
"""Objects looked at for one statement; past that it is opaque."""
MANY_ROWS = 100_000
"""Rows from which reading a whole table is an export of it."""

_VIEWS = ("v", "m")
_SYNTAX = ("current_", "local", "session_user", "user", "xml", "json")
"""What the grammar calls functions of its own."""
_OWN_LANGUAGES = ("internal", "c")


def resolve(facts: Collector, catalogue: Catalogue) -> None:
    """Add to the facts what the objects named in them do."""
    _Resolution(facts, catalogue).run()


class _Resolution:
    """One statement's way through the snapshot."""

    def __init__(self, facts: Collector, catalogue: Catalogue) -> None:
        self.facts = facts
        self.catalogue = catalogue
        self._seen: set[tuple[str, str]] = set()

    def run(self) -> None:
        facts = self.facts
        if facts.whole:
            self._exports()
        if StatementFlag.DDL in facts.flags:
            facts.functions.update(dict.fromkeys(self.catalogue.event_triggers))
        for names, known in ((facts.operators, self.catalogue.operators), (facts.types, self.catalogue.types)):
            for name in names:
                facts.functions.update(dict.fromkeys(known.get(name, ())))
        self._own_columns()
        self._functions_as_columns()
        changed = True
        while changed:
            before = len(self._seen)
            for name in list(facts.reads):
                self._once("read", name)
            for name in list(facts.writes):
                self._once("write", name)
            for name in list(facts.functions):
                self._once("call", name)
            changed = len(self._seen) > before
            if len(self._seen) > MAX_STEPS:
                facts.flag(StatementFlag.OPAQUE)
                facts.danger(Danger.OPAQUE)
                return

    def _once(self, what: str, name: str) -> None:
        if (what, name) in self._seen:
            return
        self._seen.add((what, name))
        if what == "call":
            self._call(name)
        else:
            self._relation(name, written=what == "write")

    def _exports(self) -> None:
        for name in self.facts.reads:
            schema, _, table = name.partition(".")
            if any(r.rows >= MANY_ROWS for r in self.catalogue.find(schema, table)):
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
                self.facts.use(owners, *self.facts.columns.pop(column))

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
            self._rename(name, [r.qualified for r in found], written=written)
            return
        for relation in found:
            if relation.qualified != name:
                (self.facts.write if written else self.facts.read)(relation.qualified)
                continue
            if relation.kind in _VIEWS and relation.definition:
                self._view(relation, written=written)
            for kin in relation.kin:
                (self.facts.write if written else self.facts.read)(kin)
            if written:
                self.facts.functions.update(dict.fromkeys(relation.triggers))
                for text in (*relation.rules, *(f"SELECT {e}" for e in relation.expressions)):
                    self._absorb(self._code(("text", text), text, "sql"))
            if relation.kind == "f":
                self.facts.danger(Danger.FILE_ACCESS if relation.wrapper == "file_fdw" else Danger.NETWORK_EGRESS)

    def _rename(self, name: str, names: list[str], *, written: bool) -> None:
        place = self.facts.writes if written else self.facts.reads
        del place[name]
        place.update(dict.fromkeys(names))
        for column in [c for c in self.facts.columns if c.startswith(name + ".")]:
            roles = self.facts.columns.pop(column)
            self.facts.use([n + column[len(name) :] for n in names], *roles)

    def _view(self, relation: Relation, *, written: bool) -> None:
        made: tuple[Collector, Output] | None = self.catalogue.effects.get(("view", relation.qualified))
        if made is None:
            walk = StatementWalk(Collector(self.facts.namer.uncertain(), elided=False))
            output = Output()
            try:
                [entry] = orjson.loads(parser.parse_sql_json(relation.definition))["stmts"]
                output = walk.query(entry["stmt"])
            except Exception:
                walk.facts.danger(Danger.OPAQUE)
            made = self.catalogue.effects[("view", relation.qualified)] = (walk.facts, output)
        inner, output = made
        if written:
            self.facts.writes.update(inner.reads)
        self.facts.reads.update(inner.reads)
        self.facts.functions.update(inner.functions)
        self.facts.dangers |= inner.dangers & {Danger.OPAQUE}
        for column, behind in inner.columns.items():
            rest = [role for role in behind if role != "output"]
            if rest:
                self.facts.use([column], *rest)
        shown = dict(output.columns)
        everything = (
            frozenset(f"{star}.*" for star in output.stars).union(*shown.values()) if shown or output.stars else frozenset()
        )
        prefix = relation.qualified + "."
        for column in [c for c in self.facts.columns if c.startswith(prefix)]:
            short = column[len(prefix) :]
            self.facts.use(shown.get(short, everything) if short != "*" else everything, *self.facts.columns[column])

    def _call(self, name: str) -> None:
        if name.startswith("function_oid_"):
            known = self.catalogue.by_oid.get(int(name[13:]) if name[13:].isdigit() else 0)
            if known is None:
                self.facts.danger(Danger.OPAQUE)
            else:
                self.facts.functions[known] = None
                self.facts.called(known.rpartition(".")[2])
            return
        found = self.catalogue.find_functions(name)
        if name.startswith(_SYNTAX):
            return
        if not found and name.rpartition(".")[2] not in self.catalogue.builtins and "(" not in name:
            self.facts.danger(Danger.UNKNOWN_CODE)
        for function in found:
            self._function(function)

    def _function(self, function: Function) -> None:
        if function.language in _OWN_LANGUAGES:
            if not function.extension:
                self.facts.danger(Danger.OPAQUE)
        elif function.language in ("sql", "plpgsql"):
            self._absorb(self._code(("function", function.oid, function.body), function.body, function.language))
        else:
            self.facts.danger(Danger.OPAQUE if function.volatility == "v" else Danger.UNKNOWN_CODE)

    def _code(self, key: object, text: str, language: str) -> Collector:
        made: Collector | None = self.catalogue.effects.get(key)
        if made is None:
            walk = StatementWalk(Collector(self.facts.namer.uncertain(), elided=False))
            walk.run(text, language)
            made = self.catalogue.effects[key] = walk.facts
        return made

    def _absorb(self, inner: Collector) -> None:
        facts: Any = self.facts
        for name in ("verbs", "reads", "writes", "functions"):
            getattr(facts, name).update(getattr(inner, name))
        for column, roles in inner.columns.items():
            facts.use([column], *(r for r in roles if r != "output"))
        facts.flows.update(inner.flows)
        facts.compared.update(inner.compared)
        facts.counted |= inner.counted
        facts.takes(inner.keys)
        facts.code_reads |= inner.reads.keys()
        facts.code_writes |= inner.writes.keys()
        facts.dangers |= inner.dangers
        facts.flags |= inner.flags & {StatementFlag.OPAQUE, StatementFlag.DYNAMIC_SQL, StatementFlag.CHANGES_SETTINGS}
        facts.settings.update(dict.fromkeys(inner.settings))
        for known, names in ((self.catalogue.operators, inner.operators), (self.catalogue.types, inner.types)):
            for name in names:
                facts.functions.update(dict.fromkeys(known.get(name, ())))
