"""Which table does a column name belong to, here? Scopes as the server nests them: FROM items inside, outer queries outside.

A name is given a table only when no other table could own it: without the catalogue, an unqualified name with two candidate
tables, or with a table in an outer query that it may be correlated to, stays `?.name`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Names = frozenset[str]
NOTHING: Names = frozenset()
RESULT = "().?"
"""Behind a function's name: what it gives, among the columns behind a value. Facts do not show it."""
ROWS = "()" + RESULT
"""Beside what functions give: it differs from row to row, though no table is behind it."""
CONSTANT = "'" + RESULT
"""Behind an output column that is a constant."""
UNKNOWN = "?" + RESULT
"""Behind a column of a CTE that stands further on."""
Lineage = tuple[Names | str | None, ...]
"""Of a result's columns in order, what is behind each: see `processors.statements.statement.Shape`."""


@dataclass(slots=True)
class Source:
    """One FROM item. A table has `base`; a subquery, CTE or function has `outputs` (name to the columns behind it).

    `stars` are tables whose columns all show through; `sealed` says that nothing but `outputs` and `stars` can; `hidden`
    that only qualified names reach it (`old`, `new`); `behind` is what else any of its columns may come from (a function's
    arguments).
    """

    alias: str
    base: str | None = None
    outputs: dict[str, Names] = field(default_factory=dict)
    stars: tuple[str, ...] = ()
    sealed: bool = True
    schema: str | None = None
    renamed: tuple[str, ...] = ()
    behind: Names = NOTHING
    hidden: bool = False
    lineage: Lineage | None = None
    plain: Names = NOTHING

    def is_plain(self, name: str) -> bool:
        """Tell whether a column is a table's as it is, or a constant: whether it is NULL then tells nothing of its values."""
        if self.base is not None or name in self.plain:
            return True
        return name not in self.outputs and bool(self.stars) and not self.renamed and not self.behind

    def column(self, name: str) -> Names:
        """Return the table columns behind a column of this source."""
        if self.base is not None:
            # Column aliases (`t(a, b)`) hide which column it is; the table is still certain.
            return frozenset((f"{self.base}.{'*' if name in self.renamed else name}",))
        if name in self.outputs:
            return self.outputs[name]
        if self.renamed:
            return self.everything()
        if len(self.stars) + bool(self.behind) > 1:  # whichever has it
            return frozenset((f"?.{name}",)) | self.behind
        return frozenset(f"{star}.{name}" for star in self.stars) | self.behind

    def everything(self) -> Names:
        """Return what `alias.*` shows."""
        if self.base is not None:
            return frozenset((f"{self.base}.*",))
        return frozenset(f"{star}.*" for star in self.stars).union(self.behind, *self.outputs.values())

    def beside(self, name: str) -> Names:
        """Return what a column of a subquery, CTE or function may come from where tables may own its name as well."""
        if name in self.outputs:
            return self.outputs[name] or frozenset((ROWS,))
        return self.everything() if self.renamed else self.behind or frozenset((ROWS,))

    def may_own(self, name: str) -> bool:
        """Tell whether an unqualified name could be a column of this source."""
        if self.hidden:
            return False
        return self.base is not None or bool(self.stars) or name in self.outputs or not self.sealed or bool(self.renamed)


@dataclass(slots=True)
class Output:
    """What a query gives: (name, columns behind it) in order, and tables shown whole."""

    columns: list[tuple[str, Names]] = field(default_factory=list)
    stars: tuple[str, ...] = ()
    lineage: Lineage | None = None
    plain: Names = NOTHING
    """Names of columns that are a table's as they are, or constants."""
    behind: Names = NOTHING
    """What is behind any of its columns besides."""
    whole: set[int] = field(default_factory=set)
    """Places of columns that are a table's, as they are or in another spelling."""
    stored: tuple[str, ...] | None = None
    """For each column the table's column that it is, `table.*` for all of a table's in order, empty for what is computed."""

    def everything(self) -> Names:
        """Return what any of its columns may come from."""
        return frozenset(f"{star}.*" for star in self.stars).union(self.behind, *(behind for _, behind in self.columns))

    def source(self, alias: str, renamed: tuple[str, ...] = ()) -> Source:
        """Return this output as a FROM item, its first columns renamed."""
        columns, plain = self.columns, self.plain
        if renamed and not self.stars:
            names = [renamed[i] if i < len(renamed) else n for i, (n, _) in enumerate(columns)]
            plain = frozenset(new for new, (n, _) in zip(names, columns, strict=True) if n in plain and names.count(new) == 1)
            columns = [(new, c) for new, (_, c) in zip(names, columns, strict=True)]
            renamed = ()
        outputs: dict[str, Names] = {}
        for name, behind in columns:
            outputs[name] = outputs.get(name, NOTHING) | behind
        source = Source(alias, None, outputs, self.stars, not self.behind, renamed=renamed, behind=self.behind)
        source.lineage, source.plain = self.lineage, NOTHING if renamed else plain
        return source


@dataclass(slots=True)
class Scope:
    """The names one query level sees. `merged` are USING columns: they belong to every table that has them.

    `aliases` and `targets` are what is behind its named outputs, and their trees; `bodies` are the trees of its WITH.
    `uncounted`: how many columns `*` is here, and in which order, is not known.
    """

    outer: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    ctes: dict[str, Output] = field(default_factory=dict)
    merged: dict[str, Names] = field(default_factory=dict)
    uncounted: bool = False
    aliases: dict[str, Names] = field(default_factory=dict)
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    _looked: int = 0
    _derived: list[Source] = field(default_factory=list)

    def cte(self, name: str) -> Output | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.ctes:
                return scope.ctes[name]
            scope = scope.outer
        return None

    def source(self, alias: str, schema: str | None = None) -> Source | None:
        """Return the FROM item an alias names, the innermost first."""
        scope: Scope | None = self
        while scope is not None:
            for source in scope.sources:
                if source.alias == alias and (schema is None or schema == source.schema):
                    return source
            scope = scope.outer
        return None

    def unqualified(self, name: str) -> Names:
        """Return the columns an unqualified name may be: `?.name` where more than one table could own it.

        What subqueries, CTEs and functions that may own it give is then there as well.
        """
        if name in self.merged:
            return self.merged[name]
        owners: list[Source] = []
        found: set[Names] = set()
        scope: Scope | None = self
        while scope is not None:
            certain = False
            for source in scope.derived():
                if source.may_own(name):
                    owners.append(source)
                    certain = certain or name in source.outputs
            for source in scope.sources if len(found) < 2 else ():  # how many more tables, of thousands, changes nothing
                if source.base is not None and source.may_own(name):
                    found.add(source.column(name))
                    if len(found) > 1:
                        break
            # An explicit output of a sealed subquery is certain: the search ends at the level that has the name.
            if certain:
                break
            scope = scope.outer
        if not found and owners and all(name in owner.outputs for owner in owners):
            return NOTHING.union(*(owner.outputs[name] for owner in owners))
        found |= {owner.column(name) for owner in owners}
        if len(found) == 1:
            return found.pop()
        return frozenset((f"?.{name}",)).union(*(owner.beside(name) for owner in owners))

    def is_plain(self, names: list[str]) -> bool:
        """Tell whether a reference can only be to a table's column as it is, or to a whole row of one."""
        if len(names) > 1:
            source = self.source(names[-2], names[-3] if len(names) > 2 else None)
            return source is not None and source.is_plain(names[-1])
        whole = self.source(names[0]) if names else None
        if whole is not None and whole.base is None:
            return False
        found = False
        scope: Scope | None = self
        while scope is not None:
            derived = scope.derived()
            owners = [s for s in derived if s.may_own(names[0])]
            if not all(s.is_plain(names[0]) for s in owners):
                return False
            found = found or bool(owners) or len(scope.sources) > len(derived)
            scope = scope.outer
        return found

    def derived(self) -> list[Source]:
        """Return the FROM items that are no tables."""
        for source in self.sources[self._looked :]:
            if source.base is None:
                self._derived.append(source)
        self._looked = len(self.sources)
        return self._derived


def spread(source: Source) -> list[Names | str | None]:
    """What `alias.*` stands for in a list of columns."""
    if source.base is not None:
        return [source.base]
    return [None] if source.lineage is None else list(source.lineage)


def united(one: Lineage | None, other: Lineage | None) -> Lineage | None:
    """What is behind the columns of a UNION."""
    if one is None or other is None or len(one) != len(other):
        return None
    if not all(isinstance(n, frozenset) for n in (*one, *other)):
        return one if one == other else None
    return tuple(a | b for a, b in zip(one, other, strict=True))  # type: ignore[operator]


def relabelled(output: Output, names: tuple[str, ...]) -> Output:
    """Return what a CTE gives under the names that it was given."""
    if not names:
        return output
    columns: list[Any] = [(names[i] if i < len(names) else n, c) for i, (n, c) in enumerate(output.columns)]
    if output.stars:
        # Which column of a star gets which name is not known: each name may be any of them.
        columns = [(name, output.everything()) for name in names]
    return Output(columns, output.stars, output.lineage, behind=output.behind)
