"""Where what a column holds comes from, by what the catalogue says: other columns as they are, or what was computed.

A style that keeps a part of a value, or is equal for equal values, may not be applied to what somebody computed: the mask would
tell what they wanted to know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import orjson

from processors.statements.catalogue import Catalogue, Column, Relation
from processors.statements.facts import collect
from processors.statements.facts.collector import Collector
from processors.statements.facts.names import Namer
from processors.statements.grammar import tree_json
from schemas.classes import DataClass


def read(sql: str, namer: Namer, catalogue: Catalogue | None) -> Collector:
    """Return what a text of the catalogue reads and shows. Raises what reading it does; in doubt it may be anything."""
    [entry] = orjson.loads(tree_json(sql))["stmts"]
    return collect(entry["stmt"], namer, elided=False, catalogue=catalogue)


class Origins:
    """The origins of the columns of one snapshot; `learned` returns the classes of what a column was filled with."""

    def __init__(self, catalogue: Catalogue, namer: Namer, learned: Callable[[Relation, Column], frozenset[DataClass]]) -> None:
        self.catalogue = catalogue
        self._namer = namer
        self._learned = learned
        self._derived: dict[tuple[int, int], bool] = {}

    def named(self, relation: Relation, column: str) -> list[Column]:
        """Return the columns of a relation that a name of facts means, all for `*`."""
        if column == "*":
            return list(relation.columns)
        return [c for c in relation.columns if c.name == column or (column[:1] == "~" and self._namer.plain(c.name) == column)]

    def derived(self, relation: Relation, column: Column) -> bool:
        """Return whether a column may hold what was computed: a view's, if it is none of a table's, one that was filled."""
        key = relation.oid, column.number
        if key not in self._derived:
            self._derived[key] = True  # a view that refers to itself
            self._derived[key] = self._is_derived(relation, column)
        return self._derived[key]

    def _is_derived(self, relation: Relation, column: Column) -> bool:
        kin = [other for name in relation.kin for other in self.catalogue.find(*name.split(".", 1))]
        if column.generated or any(self._learned(r, c) for r in (relation, *kin) for c in r.columns if c.name == column.name):
            return True
        if relation.kind not in ("v", "m"):
            code = [f.body for _, name in relation.triggers for f in self.catalogue.find_functions(name)]
            word = re.compile(rf"\b{re.escape(column.name)}\b|\bNEW\s*:?=|\bINTO\s+NEW\b", re.IGNORECASE)
            # Of what a trigger or a rule names, it may make something.
            return any(map(word.search, (*code, *(text for _, text in relation.rules))))
        try:
            made = read(relation.definition, self._namer, None)
        except Exception:  # what cannot be read may compute anything
            return True
        places = made.stored or ()
        name = places[relation.columns.index(column)] if len(places) == len(relation.columns) else ""
        table, _, short = name.rpartition(".")
        found = self.catalogue.find(*table.split(".", 1)) if "." in table else ()
        named = self.named(found[0], short) if len(found) == 1 else []
        return len(named) != 1 or self.derived(found[0], named[0])

    def beneath(self, view: Relation, column: Column) -> list[tuple[Relation, Column]]:
        """Return the tables' columns that a value written to a view's column may get to: all where that cannot be told."""
        found: list[tuple[Relation, Column]] = []
        seen, left = set(), [(view, column)]
        while left:
            relation, shown = left.pop()
            if (relation.oid, shown.number) in seen:
                continue
            seen.add((relation.oid, shown.number))
            if relation.kind != "v":
                found.append((relation, shown))
                continue
            for name in self._behind_view(relation, shown):
                table, _, short = name.rpartition(".")
                for one in self.catalogue.find(*table.split(".", 1)) if "." in table else ():
                    left += [(one, c) for c in self.named(one, short)]
        return found

    def _behind_view(self, view: Relation, column: Column) -> Iterable[str]:
        try:
            made = read(view.definition, self._namer, None)
        except Exception:  # what cannot be read has no tables that are known
            return ()
        place = [c.number for c in view.columns].index(column.number)
        outputs = made.outputs or ()
        if len(outputs) == len(view.columns) and isinstance(output := outputs[place], frozenset):
            return output
        return [f"{name}.*" for name in made.reads]
