"""The exposure ledger: how many cells of each class of data, of each column, were shown to whom; and how many of them masked.

Counted from `query_events`, whose events carry what each execution showed (`schemas.events.QueryExecuted`). A cell is in clear if
it was seen and not masked. Lists are of the largest, and say by `more` that there are others.
"""

from __future__ import annotations

from typing import Any

from query_api.store.events import Range
from query_api.store.reader import Reader

FILTERS = {"principal": "principal_id", "db": "database_alias", "on_behalf_of": "on_behalf_of"}
"""What a ledger can be narrowed to, and the columns that equal it."""


def ledger(reader: Reader, span: Range, filters: dict[str, str], limit: int) -> dict[str, Any]:
    """Cells by class, by column, and by principal with class, within a range; `limit` of each list."""
    parameters: dict[str, Any] = {}
    where = [span.sql("e.at", parameters)]
    for name, value in filters.items():
        parameters[name] = value
        where.append(f"e.{FILTERS[name]} = {{{name}:String}}")
    events = f"{reader.table('query_events')} AS e"
    condition = " AND ".join(where)
    counts = (
        "sum(e.exposure[class]) AS seen, sum(least(e.masked[class], e.exposure[class])) AS hidden, seen - hidden AS clear, "
        "count() AS statements, toUnixTimestamp64Micro(max(e.at)) AS last_at"
    )
    classes = reader.rows(
        f"SELECT class, {counts}, uniqExact(e.principal_id) AS principals FROM {events} ARRAY JOIN mapKeys(e.exposure) AS class "  # noqa: S608
        f"WHERE {condition} GROUP BY class ORDER BY clear DESC, seen DESC, class LIMIT {limit + 1:d}",
        parameters,
    )
    principals = reader.rows(
        f"SELECT e.principal_id AS principal, any(e.principal_kind) AS kind, e.on_behalf_of AS behalf, class, {counts} "  # noqa: S608
        f"FROM {events} ARRAY JOIN mapKeys(e.exposure) AS class WHERE {condition} GROUP BY principal, behalf, class "
        f"ORDER BY clear DESC, seen DESC, principal, behalf, class LIMIT {limit + 1:d}",
        parameters,
    )
    columns = reader.rows(
        f"SELECT e.database_alias AS db, name, sum(e.exposed[name]) AS clear, count() AS statements, "  # noqa: S608
        f"uniqExact(e.principal_id) AS principals, toUnixTimestamp64Micro(max(e.at)) AS last_at FROM {events} "
        f"ARRAY JOIN mapKeys(e.exposed) AS name WHERE {condition} GROUP BY db, name "
        f"ORDER BY clear DESC, db, name LIMIT {limit + 1:d}",
        parameters,
    )
    return {
        "classes": [
            {"class": r["class"], **_cells(r), **{n: r[n] for n in ("statements", "principals", "last_at")}}
            for r in classes[:limit]
        ],
        "principals": [
            {"principal": r["principal"], "kind": r["kind"], "on_behalf_of": r["behalf"], "class": r["class"]}
            | {**_cells(r), **{n: r[n] for n in ("statements", "last_at")}}
            for r in principals[:limit]
        ],
        "columns": [
            {"db": r["db"], "column": r["name"], **{n: r[n] for n in ("clear", "statements", "principals", "last_at")}}
            for r in columns[:limit]
        ],
        "more": any(len(rows) > limit for rows in (classes, principals, columns)),
    }


def _cells(row: dict[str, Any]) -> dict[str, int]:
    return {"seen": row["seen"], "masked": row["hidden"], "clear": row["clear"]}
