"""Whose rows do FROM items hold: the target's own, another table's, a list's? And what stands behind a name in FROM?

CTEs and, with a catalogue, views are read through to their queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from processors.statements.facts.collector import Node
from processors.statements.facts.trees import calls, has_query, strings

Views = Callable[[str | None, str], Node | None]


@dataclass(slots=True)
class Target:
    """The table written, what else the statement reads, and the CTEs in sight.

    `aliases` are the names the target goes by; `others` maps the other FROM items to whether they hold another table's rows;
    `foreign` the names that are theirs, unqualified, to their alias. `columns` are the columns whose values are its rows' own:
    None where that is not known.
    """

    name: str
    aliases: frozenset[str]
    others: Mapping[str, bool] = field(default_factory=dict)
    ctes: Mapping[str, Node] = field(default_factory=dict)
    nullable: frozenset[str] | None = None
    columns: frozenset[str] | None = None
    foreign: Mapping[str, str] = field(default_factory=dict)


class Bodies(dict[str, Node]):
    """The CTEs in sight, and behind them the database's views: what a name in FROM stands for."""

    def __init__(self, known: Mapping[str, Node], outer: Mapping[str, Node] | Views | None = None) -> None:
        super().__init__(known)
        self.view: Views | None = outer.view if isinstance(outer, Bodies) else outer if callable(outer) else None


def in_sight(ctes: Mapping[str, Node], view: Views) -> Mapping[str, Node]:
    """Return what names in FROM stand for: `view` gives a view's SELECT by schema (None: not said) and name."""
    return Bodies(ctes, view)


def cte_bodies(fields: Node) -> dict[str, Node]:
    """Return the SELECTs that a statement's WITH names."""
    found = {}
    for item in fields.get("withClause", {}).get("ctes", ()):
        entry = item.get("CommonTableExpr", {})
        found[entry.get("ctename", "")] = entry.get("ctequery", {}).get("SelectStmt", {})
    return found


def holds_other_rows(item: Node, target: Target, chooses: Callable[[Node], bool]) -> Iterator[tuple[str, bool]]:
    """Yield each FROM item's alias, and whether joining it can leave rows of the target out: not itself, nor a series.

    `chooses` tells whether a query that reads the target itself gives some of its rows only.
    """
    own = target.name.rpartition(".")[2]
    for alias, body in sources([item], target.ctes):
        if isinstance(body, str):
            yield alias, body != own and (not body.startswith("()") or body == "()unnest")
            continue
        reads = list(tables_read(body, target.ctes))
        bare = "fromClause" not in body and "larg" not in body
        listed = "valuesLists" in body or (bare and "generate_series" not in calls(body) and not has_query(body))
        others = bool(reads) and own not in reads and not all(b.startswith("()") for b in reads)
        yield alias, listed or others or chooses(body)


def foreign_names(items: list[Node], ctes: Mapping[str, Node]) -> dict[str, str]:
    """Return the unqualified names that FROM items own for certain, and each one's alias: of functions, lists and subqueries."""
    found: dict[str, str] = {}
    for item in items:
        kind, fields = next(iter(item.items()))
        if kind == "JoinExpr":
            found |= foreign_names([s for s in (fields.get("larg"), fields.get("rarg")) if s], ctes)
            continue
        if kind == "RangeVar":
            continue
        given = fields.get("alias", {})
        for alias, body in sources([item], ctes):
            names = strings(given.get("colnames", ()))
            if isinstance(body, str):
                names = [*names, alias]
            else:
                names += [t.get("ResTarget", {}).get("name", "") for t in body.get("targetList", ())]
            found |= dict.fromkeys((n for n in names if n), alias)
    return found


def sources(items: list[Node], ctes: Mapping[str, Node]) -> Iterator[tuple[str, Any]]:
    """Yield alias and body: a table's name, a subquery's fields, or `()function`."""
    for item in items:
        kind, fields = next(iter(item.items()))
        alias = fields.get("alias", {}).get("aliasname", "")
        if kind == "JoinExpr":
            yield from sources([s for s in (fields.get("larg"), fields.get("rarg")) if s], ctes)
        elif kind == "RangeVar":
            name = fields.get("relname", "")
            body = ctes.get(name) if not fields.get("schemaname") else None
            if not body and isinstance(ctes, Bodies) and ctes.view is not None:
                body = ctes.view(fields.get("schemaname"), name)
            yield alias or name, body if body else name
        elif kind == "RangeSubselect":
            yield alias, fields.get("subquery", {}).get("SelectStmt", {})
        elif kind == "RangeTableSample":
            yield from sources([fields["relation"]] if "relation" in fields else [], ctes)
        else:
            called = next(calls(fields), "")
            yield alias or called, "()" + called


def join_conditions(items: list[Node]) -> Iterator[Node]:
    for item in items:
        join = item.get("JoinExpr")
        if join:
            if "quals" in join:
                yield join["quals"]
            yield from join_conditions([s for s in (join.get("larg"), join.get("rarg")) if s])


def tables_read(query: Node, ctes: Mapping[str, Node]) -> Iterator[str]:
    """Yield the tables and functions that a query reads, those behind its subqueries, CTEs and views in FROM included."""
    seen: set[int] = set()
    stack: list[tuple[Node, Mapping[str, Node]]] = [(query, ctes)]
    while stack:
        now, known = stack.pop()
        if id(now) in seen:
            continue
        seen.add(id(now))
        known = Bodies({**known, **cte_bodies(now)}, known)
        for _, body in sources(now.get("fromClause", []), known):
            if isinstance(body, str):
                yield body
            else:
                stack.append((body, known))
        stack += [(now[arm], known) for arm in ("larg", "rarg") if arm in now]
