"""`/api/v1/principals`: activity as stage 2 counted it, over whole hours, and every look at it recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from processors.archive import Archive
from processors.principals import Principal, Rows, changed, fold, table
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import Store, connect
from query_api.app import create_app
from query_api.identity import Identity
from schemas.activity import Activity, Bucket
from schemas.integrity import Block
from schemas.topics import EVENTS
from tests.support.activity_counts import statements
from tests.support.event_blocks import START, Source, record
from tests.support.memory_log import MemoryLog
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

HOUR = 3_600_000_000


def made() -> list[Block]:
    """Two blocks an hour apart, with a denial."""
    source = Source()
    first = source.seal([source.query() for _ in range(40)])
    source.now += HOUR
    denied = source.query().replace(b'"status":"ok"', b'"status":"denied"')
    return [first, source.seal([denied, *(source.query() for _ in range(40))])]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("chdb")
    with closing(connect(SETTINGS, folder)) as store:
        store.migrate()
        log, archive = MemoryLog(), Archive(folder / "archive")
        log.append(EVENTS.name, [record(b) for b in made()])
        runtime = EmbeddedRuntime(log, store, archive, folder / "pipeline.db", lambda: START)
        while runtime.step():
            pass
        runtime.close()
        archive.close()
        yield store


@pytest.fixture(scope="module")
def http(store: Store) -> Iterator[tuple[httpx.Client, Recorded]]:
    recorded = Recorded()
    who = {"ana": Identity("ana", "human", frozenset({"auditor"})), "ben": Identity("ben", "human", frozenset({"approver"}))}
    now = START + 2 * HOUR
    app = create_app(store.new_client(), SETTINGS, who.get, recorded, lambda: {"ready": True}, lambda: now)
    with serving(app) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        client.headers["authorization"] = "Bearer ana"
        yield client, recorded


def test_who_was_active_and_at_what(http: tuple[httpx.Client, Recorded]) -> None:
    client, recorded = http
    truth = statements(made())
    answer = client.get("/api/v1/principals").json()
    assert answer["more"] is False
    items = {i["principal"]: i for i in answer["items"]}
    assert set(items) == {who for who, _, _ in truth}
    for who, item in items.items():
        mine = [counts for (name, _, _), counts in truth.items() if name == who]
        assert item["statements"] == sum(c["events"] for c in mine)
        assert item["denied"] == sum(c["denied"] for c in mine)
        assert item["rows_returned"] == sum(c["rows_returned"] for c in mine)
        assert (item["first_seen"], item["last_seen"]) == (min(c["first_at"] for c in mine), max(c["last_at"] for c in mine))
        assert (item["kind"], item["databases"], item["hours"]) == (mine[0]["kind"], ["shop"], len(mine))
        assert item["verbs"] == {v: sum(c["verbs"].get(v, 0) for c in mine) for v in {v for c in mine for v in c["verbs"]}}
        assert set(item["classes"]) <= {"email", "person_name"}
    assert sum(i["denied"] for i in items.values()) == 1
    assert [i["last_seen"] for i in answer["items"]] == sorted((i["last_seen"] for i in items.values()), reverse=True)
    assert [i["principal"] for i in client.get("/api/v1/principals?kind=agent").json()["items"]] == ["triage-agent"]
    few = client.get("/api/v1/principals?limit=1").json()
    assert (len(few["items"]), few["more"]) == (1, True)
    assert [(who, endpoint, asked, rows) for who, _, endpoint, asked, rows in recorded.reads[-2:]] == [
        ("ana", "principals", "kind:agent", 1),
        ("ana", "principals", "", 1),
    ]


def test_databases_past_the_first_hundred_are_counted(store: Store, http: tuple[httpx.Client, Recorded]) -> None:
    hour = START // HOUR - 1000
    buckets = tuple(
        Bucket(
            hour=hour,
            database=f"db{n:03d}",
            events=1,
            denied=0,
            errors=0,
            rows_returned=0,
            first_at=hour * HOUR,
            last_at=hour * HOUR,
        )
        for n in range(120)
    )
    told = Activity(principal="crawler", kind="agent", at=(0, 1), buckets=buckets)
    rows: Rows = {}
    changed(rows, fold(Principal(principal="crawler"), told), told)
    store.insert("principal_activity", table(rows), None)
    asked = {name: datetime.fromtimestamp(at * 3600, UTC).isoformat() for name, at in (("from", hour), ("to", hour + 1))}
    for found in (
        http[0].get("/api/v1/principals", params=asked).json()["items"][0],
        http[0].get("/api/v1/principals/crawler", params=asked).json(),
    ):
        assert found["databases"] == [f"db{n:03d}" for n in range(100)]
        assert found["databases_total"] == found["statements"] == 120


def test_one_by_hour(http: tuple[httpx.Client, Recorded]) -> None:
    client, _ = http
    truth = {(hour, db): c for (who, hour, db), c in statements(made()).items() if who == "ana@example.com"}
    answer = client.get("/api/v1/principals/ana@example.com").json()
    assert {(h["at"] // HOUR, h["database"]): h["statements"] for h in answer["by_hour"]} == {
        k: c["events"] for k, c in truth.items()
    }
    assert answer["by_hour"] == sorted(answer["by_hour"], key=lambda h: -h["at"])
    newest = max(hour for hour, _ in truth) * HOUR
    later = client.get("/api/v1/principals/ana@example.com", params={"from": "-1h"}).json()
    assert [h["at"] for h in later["by_hour"]] == [newest], "an hour that is touched is counted whole, one before it is not"
    assert client.get("/api/v1/principals/nobody").status_code == 404


def test_who_may_not_read_may_not_read_this(http: tuple[httpx.Client, Recorded]) -> None:
    client, _ = http
    for path in ("/api/v1/principals", "/api/v1/principals/ana@example.com"):
        assert client.get(path, headers={"authorization": "Bearer ben"}).status_code == 403
        assert client.get(path, headers={"authorization": ""}).status_code == 401
        assert client.get(path, params={"limit": 0}).status_code == 400
