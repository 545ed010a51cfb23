"""How many events match, when, and by whom: what the page draws above its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from query_api.search import Condition
from query_api.store.events import Range
from query_api.store.reader import Reader

_STEPS_S = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
    604_800,
    2_592_000,
    31_536_000,
)


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts over a range in steps of `step_us`; every step is there, also the empty ones."""

    step_us: int
    buckets: list[dict[str, int]]
    totals: dict[str, int]
    top: dict[str, list[dict[str, Any]]]


def step_for(low: int, high: int, buckets: int) -> int:
    """The smallest round step, in µs, that covers the range in at most `buckets` steps."""
    wanted = (high - low) / buckets / 1_000_000
    return next((s for s in _STEPS_S if s >= wanted), _STEPS_S[-1]) * 1_000_000


def stats(reader: Reader, condition: Condition, low: int, high: int, buckets: int, top: int) -> Stats:
    """Counts by step, totals, and the most frequent principals and databases of [low, high)."""
    step = step_for(low, high, buckets - 1)
    parameters: dict[str, Any] = condition.parameters | {"step": step}
    table = f"{reader.table('query_events')} AS query_events"
    where = f"{Range(low, high).sql('query_events.at', parameters)} AND {condition.sql}"
    counts = "count() AS events, countIf(status NOT IN ('ok', 'denied')) AS errors, countIf(status = 'denied') AS denied"
    bucket = "intDiv(toUnixTimestamp64Micro(query_events.at), {step:Int64})"
    found = {
        row["bucket"]: row
        for row in reader.rows(
            f"SELECT {bucket} AS bucket, {counts} FROM {table} WHERE {where} GROUP BY bucket",  # noqa: S608
            parameters,
        )
    }
    empty = {"events": 0, "errors": 0, "denied": 0}
    series = [
        {"at": number * step} | {name: int(found.get(number, empty)[name]) for name in empty}
        for number in range(low // step, max(low, high - 1) // step + 1)
    ]
    tops: dict[str, list[dict[str, Any]]] = {}
    for name, column, extra in (
        ("principal", "principal_id", ", any(principal_kind) AS kind"),
        ("db", "database_alias", ""),
    ):
        tops[name] = [
            {"value": row["value"], "events": row["events"]} | ({"kind": row["kind"]} if extra else {})
            for row in reader.rows(
                f"SELECT {column} AS value, count() AS events{extra} FROM {table} WHERE {where} "  # noqa: S608
                f"GROUP BY value ORDER BY events DESC, value LIMIT {top:d}",
                parameters,
            )
        ]
    totals = {name: sum(b[name] for b in series) for name in empty}
    return Stats(step, series, totals, tops)
