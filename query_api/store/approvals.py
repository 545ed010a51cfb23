"""Which statements wait or waited for people, what exactly was asked, who decided, and what it came to.

What was asked is read from the line as published, by the event's own type: so the binding that a decision carries is computed
from what is shown. A line that cannot be read, or whose binding is another, is shown and cannot be decided on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import orjson
from pydantic import TypeAdapter, ValidationError

from query_api.store.cursor import Cursor
from query_api.store.events import Arrival, Page
from query_api.store.reader import Reader
from schemas.approvals import Asked as Rules
from schemas.approvals import binding_of, same_binding
from schemas.events import ApprovalRequested, BreakGlassUsed

HISTORY_US = 24 * 3600 * 10**6
"""How far back the principal's counts go: a day's work."""
HISTORY_ROWS = 10
"""The newest statements of the principal that are listed: what fits beside the request."""


class State(StrEnum):
    """How a request stands. `used`: approved, and the database ran it; `review`: a use of break-glass nobody looked at yet.

    `approved`: enough people approved, or the proxy released it; it did not run, or has not yet. `lost`: its proxy died.
    """

    OPEN = "open"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"
    CANCELLED = "cancelled"
    LOST = "lost"
    REVIEW = "review"
    REVIEWED = "reviewed"


@dataclass(frozen=True, slots=True)
class Asked:
    """One approval as stored: `event` as published, None where it cannot be read; `fields` its members, or its texts."""

    approval_id: str
    at: int
    state: State
    fields: dict[str, Any]
    event: ApprovalRequested | BreakGlassUsed | None
    steps: tuple[dict[str, Any], ...] = ()

    @property
    def binding(self) -> str:
        """The hash over what was asked, computed here; empty where the event says another or cannot be read."""
        if self.event is None:
            return ""
        found = binding_of(self.rules)
        return found if same_binding(found, self.event.binding) else ""

    @property
    def rules(self) -> Rules:
        """What the rules look at; of a use of break-glass, which has no end, all but the end. Only where `event` is not None."""
        return cast(Rules, self.event)


_REQUEST: TypeAdapter[ApprovalRequested] = TypeAdapter(ApprovalRequested)
_BREAK_GLASS: TypeAdapter[BreakGlassUsed] = TypeAdapter(BreakGlassUsed)


_FEW = {
    State.OPEN: "expires_at > fromUnixTimestamp64Micro({now:Int64}, 'UTC')",
    State.REVIEW: "kind = 'break_glass'",
}
"""Conditions that all approvals of a state meet and few others: these two are looked for every second, among all ever."""


def _standing(reader: Reader, only: str = "1") -> str:
    """Approvals that meet `only`, a condition on columns of `approvals`, with what happened to them.

    Both sides are subqueries, and IN is GLOBAL: a cluster refuses to join one distributed table to another by itself.
    """
    asked = f"FROM {reader.table('approvals')} FINAL WHERE {only}"
    within = "1" if only == "1" else f"approval_id GLOBAL IN (SELECT approval_id {asked})"
    return f"""(SELECT approval_id, kind, at, expires_at {asked}) AS a LEFT JOIN (
        SELECT approval_id,
            maxIf(status, step = 'closed') AS closed_as,
            countIf(step = 'executed' AND status NOT IN ('denied', 'not_executed')
                AND (status != 'cancelled' OR db_us > 0)) AS executions, -- one that was cancelled while it waited never ran
            countIf(step = 'decided' AND status = 'denied') AS denials,
            countIf(step = 'decided' AND status = 'approved' AND needed > 0 AND nth >= needed) AS enough,
            countIf(step = 'reviewed') AS reviews
        FROM {reader.table("approval_steps")} FINAL WHERE {within} GROUP BY approval_id
    ) AS s ON a.approval_id = s.approval_id"""  # noqa: S608


_STATE = """multiIf(
    a.kind = 'break_glass', if(s.reviews > 0, 'reviewed', 'review'),
    s.executions > 0, 'used',
    s.closed_as != '', s.closed_as,
    s.denials > 0, 'denied',
    s.enough > 0, 'approved',
    a.expires_at <= fromUnixTimestamp64Micro({now:Int64}, 'UTC'), 'expired',
    'open')"""
_SELECT = f"a.approval_id AS id, toUnixTimestamp64Micro(a.at) AS at_us, {_STATE} AS state"


def page(reader: Reader, state: State | None, now: int, after: Cursor | None, limit: int) -> tuple[list[Asked], Page]:
    """Approvals newest first, and a Page without items that says where the next one starts."""
    parameters: dict[str, Any] = {"now": now}
    where = ["1"]
    if state is not None:
        parameters["state"] = str(state)
        where.append("state = {state:String}")
    if after is not None:
        parameters |= {"after_at": after.at, "after_id": after.key}
        moment = "fromUnixTimestamp64Micro({after_at:Int64}, 'UTC')"
        where.append(f"(a.at < {moment} OR (a.at = {moment} AND a.approval_id < {{after_id:String}}))")
    rows = reader.rows(
        f"SELECT {_SELECT} FROM {_standing(reader, _FEW.get(state, '1') if state else '1')} WHERE {' AND '.join(where)} "  # noqa: S608
        f"ORDER BY a.at DESC, a.approval_id DESC LIMIT {limit + 1:d}",
        parameters,
    )
    more = len(rows) > limit
    rows = rows[:limit]
    last = (rows[-1]["at_us"], rows[-1]["id"]) if more else None
    return _asked(reader, rows), Page([], last)


def one(reader: Reader, approval_id: str, now: int) -> Asked | None:
    """The approval of this id."""
    found = some(reader, [approval_id], now)
    return found[0] if found else None


def some(reader: Reader, ids: Sequence[str], now: int) -> list[Asked]:
    """The approvals of these ids, in no order."""
    if not ids:
        return []
    within = "approval_id IN {ids:Array(String)}"
    return _asked(reader, reader.rows(f"SELECT {_SELECT} FROM {_standing(reader, within)}", {"now": now, "ids": list(ids)}))  # noqa: S608


def text_of(reader: Reader, asked: Asked, limit: int) -> tuple[str, bool]:
    """The statement whole, from where long texts are kept if need be, and whether it was cut at `limit` characters."""
    text, text_hash = asked.fields.get("text"), asked.fields.get("text_hash")
    if isinstance(text, str) and text:
        return text, False
    found = reader.rows(
        f"SELECT substringUTF8(text, 1, {limit:d}) AS text, lengthUTF8(text) > {limit:d} AS cut "  # noqa: S608
        f"FROM {reader.table('texts')} WHERE text_hash = {{hash:String}} LIMIT 1",
        {"hash": str(text_hash or "")},
    )
    return (found[0]["text"], bool(found[0]["cut"])) if found else ("", False)


def history(reader: Reader, asked: Asked) -> dict[str, Any]:
    """What the principal did in the day before it asked: counts, whether it ran this statement before, the newest statements."""
    event = asked.event
    parameters = {
        "principal": event.principal.id if event else "",
        "fingerprint": event.fingerprint if event else "",
        "to": asked.at,
        "span": HISTORY_US,
    }
    where = (
        f"FROM {reader.table('query_events')} AS q WHERE q.principal_id = {{principal:String}} "
        "AND q.at < fromUnixTimestamp64Micro({to:Int64}, 'UTC') "
        "AND q.at >= fromUnixTimestamp64Micro({to:Int64}, 'UTC') - toIntervalMicrosecond({span:Int64})"
    )
    counts = reader.rows(
        "SELECT count() AS statements, countIf(q.status = 'denied') AS denied, countIf(q.status = 'error') AS errors, "
        "countIf(q.approval_id != '') AS held, "
        f"countIf({{fingerprint:String}} != '' AND q.fingerprint = {{fingerprint:String}}) AS same {where}",
        parameters,
    )[0]
    recent = reader.rows(
        "SELECT toString(q.event_id) AS event_id, toUnixTimestamp64Micro(q.at) AS at_us, q.verbs AS verbs, q.reads AS reads, "
        "q.writes AS writes, substringUTF8(q.text, 1, 300) AS statement, q.status AS status, q.verdict AS verdict, "
        f"q.rows_returned AS rows_returned, q.rows_affected AS rows_affected {where} ORDER BY q.at DESC LIMIT {HISTORY_ROWS:d}",
        parameters,
    )
    newest = [
        {
            "event_id": row["event_id"],
            "at": row["at_us"],
            "verbs": list(row["verbs"]),
            "objects": list(dict.fromkeys([*row["writes"], *row["reads"]])),
            "text": row["statement"],
            **{name: row[name] for name in ("status", "verdict", "rows_returned", "rows_affected")},
        }
        for row in recent
    ]
    return {"hours": HISTORY_US // 3_600_000_000, **{k: int(v) for k, v in counts.items()}, "recent": newest}


def arrived(reader: Reader, after: Arrival, now: int, settle_us: int, limit: int) -> list[tuple[Arrival, Asked]]:
    """Approvals to which something happened after a place in the order of arrival, each as it stands now."""
    parameters = {"after_at": after.inserted_at, "after_id": after.event_id, "settle": settle_us}
    moment = "fromUnixTimestamp64Micro({after_at:Int64}, 'UTC')"
    both = " UNION ALL ".join(
        f"SELECT approval_id, event_id, inserted_at FROM {reader.table(table)} "  # noqa: S608
        f"WHERE inserted_at >= {moment} AND inserted_at <= now64(6) - toIntervalMicrosecond({{settle:Int64}}) "
        f"AND (inserted_at > {moment} OR event_id > {{after_id:UUID}})"
        for table in ("approvals", "approval_steps")
    )
    rows = reader.rows(
        "SELECT approval_id, toString(event_id) AS id, toUnixTimestamp64Micro(inserted_at) AS inserted_us "  # noqa: S608
        f"FROM ({both}) ORDER BY inserted_at, event_id LIMIT {limit:d}",
        parameters,
    )
    known = {asked.approval_id: asked for asked in some(reader, list({row["approval_id"] for row in rows}), now)}
    return [(Arrival(row["inserted_us"], row["id"]), known[row["approval_id"]]) for row in rows if row["approval_id"] in known]


def _asked(reader: Reader, rows: Sequence[dict[str, Any]]) -> list[Asked]:
    if not rows:
        return []
    ids = {"ids": [row["id"] for row in rows]}
    lines = reader.rows(
        f"SELECT approval_id, line FROM {reader.table('approvals')} FINAL WHERE approval_id IN {{ids:Array(String)}}",  # noqa: S608
        ids,
    )
    line_of = {row["approval_id"]: row["line"] for row in lines}
    steps: dict[str, list[dict[str, Any]]] = {}
    for step in reader.rows(
        "SELECT approval_id, step, toUnixTimestamp64Micro(at) AS at_us, toString(event_id) AS id, who, status, reason, channel, "  # noqa: S608
        "nth, needed, deciders, sqlstate, rows_returned, rows_affected, db_us, held_us "
        f"FROM {reader.table('approval_steps')} FINAL WHERE approval_id IN {{ids:Array(String)}} ORDER BY at_us, id",
        ids,
    ):
        steps.setdefault(step["approval_id"], []).append(step)
    return [
        Asked(row["id"], row["at_us"], _state(row["state"]), *_read(line_of.get(row["id"], "")), tuple(steps.get(row["id"], ())))
        for row in rows
    ]


def _state(word: str) -> State:
    """A state; a word that a newer proxy ended a wait with means that it is over: nobody decides on it here."""
    return _STATES.get(word, State.LOST)


_STATES = {str(state): state for state in State}


def _read(line: str | bytes) -> tuple[dict[str, Any], ApprovalRequested | BreakGlassUsed | None]:
    try:
        fields = orjson.loads(line)
        if not isinstance(fields, dict):
            return {}, None
        adapter: TypeAdapter[Any] = _BREAK_GLASS if fields.get("type") == BreakGlassUsed.__name__ else _REQUEST
        event = adapter.validate_json(line, strict=True)
        return orjson.loads(orjson.dumps(event)), event
    except orjson.JSONDecodeError:
        return {}, None
    except ValidationError:
        return {name: value for name, value in fields.items() if isinstance(value, str)}, None
