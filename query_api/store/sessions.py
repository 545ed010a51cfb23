"""Which sessions there were: pages newest first, and one by id. A session's open and close rows are merged here by FINAL."""

from __future__ import annotations

from typing import Any

from query_api.store.cursor import Cursor
from query_api.store.events import Page, Range
from query_api.store.reader import Reader

_SELECT = """
    session_id, toUnixTimestamp64Micro(opened_at) AS opened_us, toUnixTimestamp64Micro(closed_at) AS closed_us,
    principal_id, principal_kind, on_behalf_of, database_alias, database_name, db_user,
    client_address, application, driver, tls, reason, statements, bytes_in, bytes_out, source"""

FILTERS = {"principal": "principal_id", "principal_kind": "principal_kind", "db": "database_alias", "client": "client_address"}
"""Query parameters that a listing takes, and the column each must equal."""


def page(reader: Reader, filters: dict[str, str], is_open: bool | None, span: Range, after: Cursor | None, limit: int) -> Page:
    """Sessions newest first by opening. `filters` maps names of FILTERS to values; `is_open`: without an end yet."""
    parameters: dict[str, Any] = {}
    where = [span.sql("opened_at", parameters)]
    for name, value in filters.items():
        parameters[f"filter_{name}"] = value
        where.append(f"{FILTERS[name]} = {{filter_{name}:String}}")
    if is_open is not None:
        where.append(f"(toUnixTimestamp64Micro(closed_at) {'=' if is_open else '!='} 0)")
    if after is not None:
        parameters |= {"after_at": after.at, "after_id": after.key}
        moment = "fromUnixTimestamp64Micro({after_at:Int64}, 'UTC')"
        where.append(f"(opened_at < {moment} OR (opened_at = {moment} AND session_id < {{after_id:String}}))")
    rows = reader.rows(
        f"SELECT {_SELECT} FROM {reader.table('sessions')} FINAL WHERE {' AND '.join(where)} "  # noqa: S608
        f"ORDER BY opened_at DESC, session_id DESC LIMIT {limit + 1:d}",
        parameters,
    )
    more = len(rows) > limit
    rows = rows[:limit]
    return Page([_as_session(r) for r in rows], (rows[-1]["opened_us"], rows[-1]["session_id"]) if more else None)


def one(reader: Reader, session_id: str) -> dict[str, Any] | None:
    """The session of this id, or None."""
    rows = reader.rows(
        f"SELECT {_SELECT} FROM {reader.table('sessions')} FINAL WHERE session_id = {{id:String}} LIMIT 1",  # noqa: S608
        {"id": session_id},
    )
    return _as_session(rows[0]) if rows else None


def _as_session(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "session_id": row["session_id"],
        "opened_at": row["opened_us"],
        "closed_at": row["closed_us"],
        "open": row["closed_us"] == 0,
        "principal": {"id": row["principal_id"], "kind": row["principal_kind"], "on_behalf_of": row["on_behalf_of"]},
        "database": {"alias": row["database_alias"], "name": row["database_name"]},
        "db_user": row["db_user"],
        "client": {
            "address": row["client_address"],
            "application": row["application"],
            "driver": row["driver"],
            "tls": row["tls"],
        },
        "reason": row["reason"],
        "statements": row["statements"],
        "bytes_in": row["bytes_in"],
        "bytes_out": row["bytes_out"],
        "source": row["source"],
    }
