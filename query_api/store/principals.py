"""Who was active, when, and at what: the rollup that stage 2 keeps (`principal_activity`), by principal or of one by hour.

Hours are counted whole: a range counts every hour that it touches. An hour may have several rows (see the migration): all sums.
"""

from __future__ import annotations

from typing import Any

from query_api.store.events import Page, Range
from query_api.store.reader import Reader
from schemas.activity import HOUR_US

_SUMS = """
    any(principal_kind) AS kind, toUnixTimestamp64Micro(min(first_at)) AS first_seen,
    toUnixTimestamp64Micro(max(last_at)) AS last_seen, sum(events) AS statements, sum(denied) AS denied_, sum(errors) AS errors_,
    sum(rows_returned) AS returned, sumMap(verbs) AS by_verb, sumMap(classes) AS by_class,
    arraySlice(arraySort(groupUniqArray(database_alias)), 1, 100) AS databases, uniqExact(database_alias) AS databases_,
    uniqExact(hour) AS hours_"""


def listing(reader: Reader, span: Range, kind: str | None, limit: int) -> Page:
    """Principals with activity in a range, the last seen first."""
    parameters: dict[str, Any] = {}
    where = _hours(span, parameters)
    if kind:
        parameters["kind"] = kind
        where += " AND principal_kind = {kind:String}"
    rows = reader.rows(
        f"SELECT principal_id, {_SUMS} FROM {reader.table('principal_activity')} FINAL WHERE {where} "  # noqa: S608
        f"GROUP BY principal_id ORDER BY last_seen DESC, principal_id LIMIT {limit + 1:d}",
        parameters,
    )
    return Page([_as_principal(r) for r in rows[:limit]], (rows[limit]["last_seen"], "") if len(rows) > limit else None)


def one(reader: Reader, principal: str, span: Range, limit: int) -> dict[str, Any] | None:
    """One principal in a range, and its hours by database, newest first; None if there was no activity of it."""
    parameters: dict[str, Any] = {"principal": principal}
    where = f"{_hours(span, parameters)} AND principal_id = {{principal:String}}"
    table = f"{reader.table('principal_activity')} FINAL"
    found = reader.rows(f"SELECT principal_id, {_SUMS} FROM {table} WHERE {where} GROUP BY principal_id", parameters)  # noqa: S608
    if not found:
        return None
    hours = reader.rows(
        f"SELECT toUnixTimestamp64Micro(hour) AS at, database_alias AS db, {_SUMS} FROM {table} WHERE {where} "  # noqa: S608
        f"GROUP BY at, db ORDER BY at DESC, db LIMIT {limit + 1:d}",
        parameters,
    )
    by_hour = [{"at": r["at"], "database": r["db"], **_counts(r)} for r in hours[:limit]]
    return {**_as_principal(found[0]), "by_hour": by_hour, "more": len(hours) > limit}


def _hours(span: Range, parameters: dict[str, Any]) -> str:
    return Range(span.low // HOUR_US * HOUR_US, span.high).sql("hour", parameters)


def _as_principal(row: dict[str, Any]) -> dict[str, Any]:
    who = {"principal": row["principal_id"], "kind": row["kind"]}
    where = {"databases": row["databases"], "databases_total": row["databases_"], "hours": row["hours_"]}
    return {**who, **where, **_counts(row)}


def _counts(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "first_seen": row["first_seen"],
        "last_seen": row["last_seen"],
        "statements": row["statements"],
        "denied": row["denied_"],
        "errors": row["errors_"],
        "rows_returned": row["returned"],
        "verbs": dict(row["by_verb"]),
        "classes": dict(row["by_class"]),
    }
