"""Which events match: pages newest first, one by id, and what arrived since (for the live tail).

An event is given in the shape it was published in (`schemas.events.QueryExecuted`, nested), times in µs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from query_api.search import Condition
from query_api.store.cursor import Cursor
from query_api.store.reader import Reader

_SELECT = """
    source, epoch, seq, toString(event_id) AS id, toUnixTimestamp64Micro(query_events.at) AS at_us,
    toUnixTimestamp64Micro(query_events.ended_at) AS ended_us, kind, transaction, params, claims, session_id,
    principal_id, principal_kind, principal_groups, auth_method, credential_id, on_behalf_of, delegation,
    database_alias, engine, environment, database_name, db_user,
    client_address, application, driver, tls, text, text_hash, fingerprint,
    verbs, reads, writes, columns, column_roles, functions, flags, dangers,
    verdict, policies, bundle, risk, approval_id,
    status, sqlstate, rows_returned, rows_affected, bytes_in, bytes_out, db_us, held_us, total_us, exposure, masked, exposed"""


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` (included) to `high` (excluded), µs; None is open."""

    low: int | None = None
    high: int | None = None

    def sql(self, column: str, parameters: dict[str, Any]) -> str:
        """The condition on a DateTime64(6) column."""
        ends = []
        for name, value, sign in (("range_low", self.low, ">="), ("range_high", self.high, "<")):
            if value is not None:
                parameters[name] = value
                ends.append(f"{column} {sign} fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')")
        return " AND ".join(ends) or "1"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows and, where more follow, the place after the last."""

    items: list[dict[str, Any]]
    last: tuple[int, str] | None


def page(reader: Reader, condition: Condition, span: Range, after: Cursor | None, limit: int) -> Page:
    """Events newest first, after a cursor's place. Keyset on (at, event_id): rows that arrive meanwhile move nothing."""
    parameters = dict(condition.parameters)
    where = [span.sql("query_events.at", parameters), condition.sql]
    if after is not None:
        parameters |= {"after_at": after.at, "after_id": after.key}
        moment = "fromUnixTimestamp64Micro({after_at:Int64}, 'UTC')"
        where.append(f"(query_events.at < {moment} OR (query_events.at = {moment} AND event_id < {{after_id:UUID}}))")
    rows = reader.rows(
        f"SELECT {_SELECT} FROM {reader.table('query_events')} AS query_events WHERE {' AND '.join(where)} "  # noqa: S608
        f"ORDER BY query_events.at DESC, event_id DESC LIMIT {limit + 1:d}",
        parameters,
    )
    more = len(rows) > limit
    rows = rows[:limit]
    last = (rows[-1]["at_us"], rows[-1]["id"]) if more else None
    return Page([as_event(row) for row in rows], last)


def one(reader: Reader, event_id: str, text_limit: int) -> dict[str, Any] | None:
    """The event of this id with its whole text, or None. `text_truncated` says that the text was longer than the limit."""
    rows = reader.rows(
        f"SELECT {_SELECT}, block_number FROM {reader.table('query_events')} AS query_events "  # noqa: S608
        "WHERE event_id = {id:UUID} LIMIT 1",
        {"id": event_id},
    )
    if not rows:
        return None
    event = as_event(rows[0])
    event["block_number"] = rows[0]["block_number"]
    event["text_truncated"] = False
    if not event["text"] and event["text_hash"]:
        found = reader.rows(
            f"SELECT substringUTF8(text, 1, {text_limit:d}) AS text, lengthUTF8(text) > {text_limit:d} AS cut "  # noqa: S608
            f"FROM {reader.table('texts')} WHERE text_hash = {{hash:String}} LIMIT 1",
            {"hash": event["text_hash"]},
        )
        if found:
            event["text"], event["text_truncated"] = found[0]["text"], bool(found[0]["cut"])
    return event


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """A place in the order of arrival: when the row was inserted (µs, the server's clock), and its id."""

    inserted_at: int
    event_id: str = "00000000-0000-0000-0000-000000000000"

    def __str__(self) -> str:
        return f"{self.inserted_at}-{self.event_id}"


def arrived(
    reader: Reader, condition: Condition, after: Arrival, settle_us: int, lookback_us: int, limit: int
) -> list[tuple[Arrival, dict[str, Any]]]:
    """Events in order of arrival after a place, up to `settle_us` ago, started at most `lookback_us` before it."""
    parameters = condition.parameters | {
        "after_at": after.inserted_at,
        "after_id": after.event_id,
        "since": max(0, after.inserted_at - lookback_us),
        "settle": settle_us,
    }
    moment = "fromUnixTimestamp64Micro({after_at:Int64}, 'UTC')"
    rows = reader.rows(
        f"SELECT {_SELECT}, toUnixTimestamp64Micro(inserted_at) AS inserted_us "  # noqa: S608
        f"FROM {reader.table('query_events')} AS query_events "
        "WHERE query_events.at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') "
        "AND inserted_at <= now64(6) - toIntervalMicrosecond({settle:Int64}) "
        f"AND (inserted_at > {moment} OR (inserted_at = {moment} AND event_id > {{after_id:UUID}})) "
        f"AND {condition.sql} ORDER BY inserted_at, event_id LIMIT {limit:d}",
        parameters,
    )
    return [(Arrival(row["inserted_us"], row["id"]), as_event(row)) for row in rows]


def server_now(reader: Reader) -> int:
    """The store's clock, µs: the one that `inserted_at` is written by."""
    return int(reader.rows("SELECT toUnixTimestamp64Micro(now64(6)) AS now")[0]["now"])


def as_event(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the event it came from."""
    return {
        "type": "QueryExecuted",
        "v": 1,
        "source": row["source"],
        "epoch": row["epoch"],
        "seq": row["seq"],
        "event_id": row["id"],
        "at": row["at_us"],
        "ended_at": row["ended_us"],
        "kind": row["kind"],
        "transaction": row["transaction"],
        "params": list(row["params"]),
        "claims": dict(row["claims"]),
        "session_id": row["session_id"],
        "principal": {
            "id": row["principal_id"],
            "kind": row["principal_kind"],
            "groups": list(row["principal_groups"]),
            "auth_method": row["auth_method"],
            "credential_id": row["credential_id"],
            "on_behalf_of": row["on_behalf_of"],
            "delegation": list(row["delegation"]),
        },
        "database": {
            "alias": row["database_alias"],
            "engine": row["engine"],
            "environment": row["environment"],
            "name": row["database_name"],
        },
        "db_user": row["db_user"],
        "client": {
            "address": row["client_address"],
            "application": row["application"],
            "driver": row["driver"],
            "tls": row["tls"],
        },
        "text": row["text"],
        "text_hash": row["text_hash"],
        "fingerprint": row["fingerprint"],
        "facts": {
            "verbs": list(row["verbs"]),
            "reads": list(row["reads"]),
            "writes": list(row["writes"]),
            "columns": [
                {"name": name, "roles": roles.split(",") if roles else []}
                for name, roles in zip(row["columns"], row["column_roles"], strict=False)
            ],
            "functions": list(row["functions"]),
            "flags": list(row["flags"]),
            "dangers": list(row["dangers"]),
        },
        "outcome": {
            name: row[name]
            for name in (
                "status",
                "sqlstate",
                "rows_returned",
                "rows_affected",
                "bytes_in",
                "bytes_out",
                "db_us",
                "held_us",
                "total_us",
            )
        },
        "decision": {
            "verdict": row["verdict"],
            "policies": list(row["policies"]),
            "bundle": row["bundle"],
            "risk": row["risk"],
            "approval_id": row["approval_id"],
        },
        "exposure": dict(row["exposure"]),
        "masked": dict(row["masked"]),
        "exposed": dict(row["exposed"]),
    }
