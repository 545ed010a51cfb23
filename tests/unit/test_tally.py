"""What a batch tells stage 2: every statement once, under its principal, hour and database, in the order of the log."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import orjson
import pytest

from processors.pipeline import run
from processors.steps.work import Batch, State
from schemas.activity import HOUR_US, MOST, Activity
from schemas.integrity import Block
from schemas.log import Record
from tests.support.event_blocks import START, Source, record

STATUSES = ("ok", "ok", "ok", "denied", "error", "cancelled", "not_executed", "unknown")


def varied(source: Source, rng: random.Random, count: int) -> list[bytes]:
    """Lines of several hours, databases and outcomes."""
    lines = []
    for _ in range(count):
        event = orjson.loads(source.query())
        event["at"] += rng.randrange(3) * HOUR_US
        event["ended_at"] += 3 * HOUR_US
        event["database"]["alias"] = rng.choice(("shop", "crm"))
        event["outcome"]["status"] = rng.choice(STATUSES)
        event["outcome"]["rows_returned"] = rng.choice((0, 1, 7, 1 << 20))
        event["exposure"] = rng.choice(({}, {"iban": 3}, {"iban": 1, "email": 2}, {"email": 4}))  # SELECT * names no column
        lines.append(orjson.dumps(event))
    return lines


def told(blocks: list[Block]) -> tuple[Batch, tuple[Activity, ...]]:
    made = [record(b) for b in blocks]
    records = tuple(Record("affidavit.events", 40 + i, n.key, n.value, n.headers, 3) for i, n in enumerate(made))
    _, batch = run(State(), Batch(records), START)
    assert not batch.rejected
    return batch, batch.activity


def expected(block: Block, classes: dict[int, list[str]]) -> dict[tuple[str, int, str], dict[str, Any]]:
    """The counts of a block, one line after the other."""
    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for e in map(orjson.loads, block.lines()):
        at, end = e["at"], e["outcome"]
        new: dict[str, Any] = {
            "events": 0,
            "denied": 0,
            "errors": 0,
            "rows_returned": 0,
            "verbs": Counter(),
            "classes": Counter(),
        }
        key = (e["principal"]["id"], at // HOUR_US, e["database"]["alias"])
        c = found.setdefault(key, new | {"first_at": at, "last_at": at})
        c["events"] += 1
        c["denied"] += end["status"] == "denied"
        c["errors"] += end["status"] not in ("ok", "denied")
        c["rows_returned"] += end["rows_returned"]
        c["first_at"], c["last_at"] = min(c["first_at"], at), max(c["last_at"], at)
        c["verbs"].update(e["facts"]["verbs"])
        c["classes"].update(classes[e["seq"]])
    return found


@pytest.mark.parametrize("seed", range(6))
def test_every_statement_is_counted_once_where_it_belongs(seed: int) -> None:
    rng, source = random.Random(seed), Source(seed=seed)
    blocks = [source.seal(varied(source, rng, rng.randrange(1, 60))) for _ in range(rng.randrange(1, 6))]
    batch, activity = told(blocks)
    rows = batch.tables["query_events"]
    classes = dict(zip(rows["seq"].to_pylist(), rows["data_classes"].to_pylist(), strict=True))
    assert any("iban" in found for found in classes.values()) or len(rows) < 20
    assert any(classes.values()) or len(rows) < 20
    for number, block in enumerate(blocks):
        found = {
            (a.principal, b.hour, b.database): {
                name: Counter(value) if isinstance(value := getattr(b, name), dict) else value
                for name in ("events", "denied", "errors", "rows_returned", "first_at", "last_at", "verbs", "classes")
            }
            for a in activity
            if a.at == (3, 40 + number)
            for b in a.buckets
        }
        assert found == expected(block, classes)
    assert [a.at for a in activity] == sorted(a.at for a in activity)
    assert len({(a.principal, a.at) for a in activity}) == len(activity)


def test_the_same_batch_tells_the_same_bytes() -> None:
    rng, source = random.Random(1), Source()
    blocks = [source.seal(varied(source, rng, 80)) for _ in range(3)]
    first, second = ([a.record() for a in told(blocks)[1]] for _ in range(2))
    assert first == second


def test_rows_that_no_column_holds_together_do_not_wrap_around() -> None:
    source = Source()
    lines = []
    for _ in range(9):
        event = orjson.loads(source.query())
        event["principal"]["id"] = "ana"
        event["outcome"]["rows_returned"] = MOST
        lines.append(orjson.dumps(event))
    _, activity = told([source.seal(lines)])
    total = sum(b.rows_returned for a in activity for b in a.buckets)
    assert MOST - len(lines) <= total <= MOST


def test_a_batch_without_statements_tells_nothing() -> None:
    source = Source()
    _, activity = told([source.seal([source.session_opened()])])
    assert activity == ()
