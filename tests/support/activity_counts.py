"""What stage 2 must have counted, told from the blocks' lines by other means than the pipeline's; and what the store has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson

from processors.sinks.clickhouse import Store
from schemas.integrity import Block

Counts = dict[tuple[str, int, str], dict[str, Any]]
"""By principal, hour (since 1970) and database."""


def statements(blocks: Iterable[Block]) -> Counts:
    """What these blocks come to."""
    found: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for block in blocks:
        for event in map(orjson.loads, block.lines()):
            if event["type"] == "QueryExecuted":
                key = (event["principal"]["id"], event["at"] // 3_600_000_000, event["database"]["alias"])
                found.setdefault(key, []).append(event)
    return {
        key: {
            "kind": events[0]["principal"]["kind"],
            "events": len(events),
            "denied": sum(e["outcome"]["status"] == "denied" for e in events),
            "errors": sum(e["outcome"]["status"] not in ("ok", "denied") for e in events),
            "rows_returned": sum(e["outcome"]["rows_returned"] for e in events),
            "first_at": min(e["at"] for e in events),
            "last_at": max(e["at"] for e in events),
            "verbs": dict(Counter(v for e in events for v in e["facts"]["verbs"])),
        }
        for key, events in found.items()
    }


def counted(store: Store) -> Counts:
    """What the store says."""
    answer = store.client.query(
        "SELECT principal_id, toUnixTimestamp64Micro(hour) AS at, database_alias, any(principal_kind), sum(events), sum(denied), "
        "sum(errors), sum(rows_returned), toUnixTimestamp64Micro(min(first_at)), toUnixTimestamp64Micro(max(last_at)), "
        f"sumMap(verbs) FROM {store.database}.principal_activity FINAL GROUP BY principal_id, at, database_alias"
    )
    names = ("kind", "events", "denied", "errors", "rows_returned", "first_at", "last_at", "verbs")
    return {(who, at // 3_600_000_000, db): dict(zip(names, rest, strict=True)) for who, at, db, *rest in answer.result_rows}
