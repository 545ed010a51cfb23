"""The exposure ledger: every cell that events count is counted once, by class, column and principal, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from processors.sinks.clickhouse import Store, connect
from query_api.app import create_app
from query_api.identity import Identity
from tests.support.approval_events import Projected, principal
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

NOW = 1_790_000_000_000_000
HOUR = 3600 * 10**6
MIXED = {"email": 40, "phone": 20}


def shown(
    site: Projected, who: dict[str, Any], at: int, seen: dict[str, int], masked: dict[str, int], columns: dict[str, int]
) -> None:
    """Project a statement whose result showed so many cells."""
    event = orjson.loads(site.source.query())
    event |= {"at": at, "ended_at": at, "principal": who, "exposure": seen, "masked": masked, "exposed": columns}
    site.lines(orjson.dumps(event))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with closing(connect(SETTINGS, tmp_path_factory.mktemp("chdb"))) as store:
        store.migrate()
        site = Projected(store)
        ana, bot = principal("ana"), principal("bot", "agent", "ana")
        shown(site, ana, NOW - HOUR, MIXED, {"phone": 20}, {"public.customers.email": 40})
        shown(site, ana, NOW - 2 * HOUR, {"email": 5}, {}, {"public.customers.email": 5})
        shown(site, bot, NOW - 3 * HOUR, {"email": 7}, {"email": 7}, {})
        shown(site, bot, NOW - 50 * HOUR, {"email": 1000}, {"email": 1}, {"public.customers.email": 999})
        shown(site, ana, NOW - HOUR, {}, {}, {})
        yield store


@pytest.fixture(scope="module")
def http(store: Store) -> Iterator[tuple[httpx.Client, Recorded]]:
    recorded = Recorded()
    who = {"ana": Identity("ana", "human", frozenset({"auditor"})), "ben": Identity("ben", "human", frozenset({"approver"}))}
    app = create_app(store.new_client(), SETTINGS, who.get, recorded, lambda: {"ready": True}, lambda: NOW)
    with serving(app) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        client.headers["authorization"] = "Bearer ana"
        yield client, recorded


def test_cells_by_class_column_and_principal(http: tuple[httpx.Client, Recorded]) -> None:
    client, recorded = http
    found = client.get("/api/v1/exposure").json()
    classes = [(c["class"], c["seen"], c["masked"], c["clear"], c["statements"], c["principals"]) for c in found["classes"]]
    assert classes == [("email", 52, 7, 45, 3, 2), ("phone", 20, 20, 0, 1, 1)]
    by_who = [(p["principal"], p["kind"], p["on_behalf_of"], p["class"], p["clear"], p["masked"]) for p in found["principals"]]
    assert by_who == [
        ("ana", "human", "", "email", 45, 0),
        ("ana", "human", "", "phone", 0, 20),
        ("bot", "agent", "ana", "email", 0, 7),
    ]
    assert [(c["column"], c["clear"], c["statements"]) for c in found["columns"]] == [("public.customers.email", 45, 2)]
    assert (found["more"], found["classes"][0]["last_at"]) == (False, NOW - HOUR)
    assert recorded.reads[-1][2:] == ("exposure", "", 3)


def test_it_can_be_narrowed_and_widened(http: tuple[httpx.Client, Recorded]) -> None:
    client, recorded = http
    wide = client.get("/api/v1/exposure", params={"from": "-7d", "principal": "bot"}).json()
    assert [(c["seen"], c["clear"]) for c in wide["classes"]] == [(1007, 999)]
    assert recorded.reads[-1][3] == "principal:bot"
    behalf = client.get("/api/v1/exposure", params={"on_behalf_of": "ana"}).json()
    assert [p["principal"] for p in behalf["principals"]] == ["bot"]
    assert client.get("/api/v1/exposure", params={"db": "'; DROP TABLE x; --"}).json()["classes"] == []
    short = client.get("/api/v1/exposure", params={"limit": "1"}).json()
    assert (len(short["classes"]), len(short["principals"]), short["more"]) == (1, 1, True)
    for bad in ({"limit": "0"}, {"limit": "5000"}, {"from": "yesterdayish"}):
        assert client.get("/api/v1/exposure", params=bad).status_code == 400


def test_the_page_shows_it_to_readers_only(http: tuple[httpx.Client, Recorded]) -> None:
    client, recorded = http
    page = client.get("/exposure", params={"range": "-7d", "principal": "bot"})
    assert (page.status_code, "999" in page.text, recorded.reads[-1][2]) == (200, True, "ui/exposure")
    assert "Nothing is counted" in client.get("/exposure", params={"db": "<script>"}).text
    assert client.get("/exposure", headers={"authorization": "Bearer ben"}).status_code == 403
    assert client.get("/exposure", headers={"authorization": "Bearer x"}).headers["location"] == "/login?next=%2Fexposure"


def test_what_cannot_be_recorded_is_not_shown(http: tuple[httpx.Client, Recorded]) -> None:
    client, recorded = http
    recorded.broken = True
    try:
        assert client.get("/api/v1/exposure").status_code == 503
        assert client.get("/exposure").status_code == 503
    finally:
        recorded.broken = False


def test_masked_never_counts_for_more_than_was_seen(store: Store, tmp_path: Path, http: tuple[httpx.Client, Recorded]) -> None:
    shown(Projected(store, "proxy/8"), principal("odd"), NOW - HOUR, {"iban": 3}, {"iban": 9}, {})
    found = http[0].get("/api/v1/exposure", params={"principal": "odd"}).json()
    assert [(c["seen"], c["masked"], c["clear"]) for c in found["classes"]] == [(3, 3, 0)]
