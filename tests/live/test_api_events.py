"""Does the API find exactly the events that match, page through them stably, and give them as they were published?"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from processors.sinks.clickhouse import Store
from query_api.app import create_app
from query_api.limits import Limits
from query_api.search import FIELDS
from query_api.times import rfc3339
from schemas.events import QueryExecuted
from tests.support import clickhouse
from tests.support.served import serving
from tests.support.stored_events import (
    IDENTITIES,
    LONG,
    LONG_TEXT,
    PRINCIPALS,
    SETTINGS,
    Recorded,
    Shop,
    insert,
    session_id,
    stored,
)

NOW = 1_790_000_000_000_000
ANA = {"authorization": "Bearer token-of-ana"}
Event = dict[str, Any]


class Api:
    """The app on a store of 700 events, and what it was told to record."""

    def __init__(self, store: Store, shop: Shop) -> None:
        self.store, self.shop, self.recorded = store, shop, Recorded()
        self.status: dict[str, Any] = {"ready": True, "problems": [], "pipeline": {"lag": 3}}
        self.now = NOW
        self.clients = [store.new_client() for _ in range(2)]
        self.http: httpx.Client

    @contextlib.contextmanager
    def client(self, limits: Limits | None = None, clients: list[Any] | None = None) -> Iterator[httpx.Client]:
        """A client of an app of its own."""
        app = create_app(
            clients or self.clients, SETTINGS, IDENTITIES.get, self.recorded, lambda: self.status, lambda: self.now, limits=limits
        )
        with serving(app) as url, httpx.Client(base_url=url, headers=ANA, timeout=60, trust_env=False) as http:
            yield http

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        """The JSON of one GET."""
        response = self.http.get(f"/api/v1{path}", params={k.rstrip("_"): v for k, v in query.items()})
        assert response.status_code == status, response.text
        return response.json()

    def forget(self, condition: str) -> None:
        """Delete events that a test added."""
        self.store.client.command(
            f"ALTER TABLE {SETTINGS.database}.query_events DELETE WHERE {condition} SETTINGS mutations_sync = 1"
        )

    def found(self, q: str, **query: Any) -> list[Event]:
        """The first 1,000 events of a search."""
        items: list[Event] = self.get("/events", q=q, limit=1000, **query)["items"]
        return items


@pytest.fixture(scope="module", params=["chdb", "http"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """On chDB in this process, and by HTTP, where other clients of the server answer side by side."""
    with contextlib.ExitStack() as stack:
        by_http = request.param == "http"
        settings = stack.enter_context(clickhouse.serving()).settings() if by_http else SETTINGS
        store, shop = stack.enter_context(stored(tmp_path_factory.mktemp("chdb"), NOW, 698, settings))
        api = Api(store, shop)
        with api.client() as api.http:
            yield api


@pytest.fixture
def api(stage: Api) -> Api:
    stage.recorded.reads.clear()
    stage.recorded.broken = False
    stage.status = {"ready": True, "problems": [], "pipeline": {"lag": 3}}
    stage.now = NOW
    return stage


def test_every_event_is_given_once_newest_first_and_as_published(api: Api) -> None:
    items = api.found("")
    assert len(items) == len(api.shop.events)
    assert [i["at"] for i in items] == sorted((e["at"] for e in api.shop.events), reverse=True)
    expected = {e["event_id"]: e for e in api.shop.events}
    assert {i["event_id"]: i for i in items} == expected
    reader = TypeAdapter(QueryExecuted)
    for item in items[:20]:
        reader.validate_python(item, strict=False)


def _any(names: list[str], last: str) -> bool:
    return any(n == last or n.endswith("." + last) for n in names)


MATCHES: tuple[tuple[str, Callable[[Event], bool]], ...] = (
    ("principal:checkout-service", lambda e: e["principal"]["id"] == "checkout-service"),
    ("principal:*@example.com", lambda e: e["principal"]["id"].endswith("@example.com")),
    ("principal_kind:agent", lambda e: e["principal"]["kind"] == "agent"),
    ("principal_kind:AGENT", lambda e: e["principal"]["kind"] == "agent"),
    ("group:support", lambda e: "support" in e["principal"]["groups"]),
    ("group:su*", lambda e: "support" in e["principal"]["groups"]),
    ("on_behalf_of:*", lambda e: e["principal"]["on_behalf_of"] != ""),
    ("on_behalf_of:tom*", lambda e: e["principal"]["on_behalf_of"].startswith("tom")),
    ("auth:token", lambda e: True),
    ("credential:tok_0*", lambda e: True),
    ("db:warehouse", lambda e: e["database"]["alias"] == "warehouse"),
    ("engine:postgres env:production dbname:shop", lambda e: e["database"]["name"] == "shop"),
    ("db_user:shop_rw", lambda e: e["db_user"] == "shop_rw"),
    ("db_user:shop%rw", lambda e: False),
    ("db_user:shop?rw*", lambda e: False),
    ("client:10.0.1.*", lambda e: e["client"]["address"].startswith("10.0.1.")),
    ("app:psql", lambda e: e["client"]["application"] == "psql"),
    ("driver:(asyncpg OR jdbc)", lambda e: e["client"]["driver"] in ("asyncpg", "jdbc")),
    (f"session:{session_id(0)}", lambda e: e["session_id"] == session_id(0)),
    ("kind:copy", lambda e: e["kind"] == "copy"),
    ("tx:t", lambda e: e["transaction"] == "T"),
    ("verb:DELETE", lambda e: "delete" in e["facts"]["verbs"]),
    ("verb:sel*", lambda e: "select" in e["facts"]["verbs"]),
    ("table:public.c*", lambda e: "public.customers" in e["facts"]["reads"] + e["facts"]["writes"]),
    ("table:orders", lambda e: _any(e["facts"]["reads"] + e["facts"]["writes"], "orders")),
    ("table:rders", lambda e: False),
    ("reads:orders", lambda e: _any(e["facts"]["reads"], "orders")),
    ("writes:orders", lambda e: _any(e["facts"]["writes"], "orders")),
    ("writes:*", lambda e: bool(e["facts"]["writes"])),
    ("column:customers.email", lambda e: any(c["name"] == "public.customers.email" for c in e["facts"]["columns"])),
    ("column:em*", lambda e: any(c["name"] == "public.customers.email" for c in e["facts"]["columns"])),
    ("function:pg_sleep", lambda e: "pg_catalog.pg_sleep" in e["facts"]["functions"]),
    ("flag:no_where", lambda e: "no_where" in e["facts"]["flags"]),
    ("flag:(no_where AND star)", lambda e: {"no_where", "star"} <= set(e["facts"]["flags"])),
    ("danger:mass_delete", lambda e: "mass_delete" in e["facts"]["dangers"]),
    ("class:email", lambda e: "email" in e["exposure"]),
    ("verdict:(deny OR hold)", lambda e: e["decision"]["verdict"] in ("deny", "hold")),
    ("approval:apr_0192", lambda e: e["decision"]["approval_id"] == "apr_0192"),
    ("policy:pci-scope", lambda e: "pci-scope" in e["decision"]["policies"]),
    ("risk:>=90", lambda e: e["decision"]["risk"] >= 90),
    ("status:(error OR denied)", lambda e: e["outcome"]["status"] in ("error", "denied")),
    ("NOT status:ok", lambda e: e["outcome"]["status"] != "ok"),
    ("sqlstate:42*", lambda e: e["outcome"]["sqlstate"].startswith("42")),
    ("sqlstate:*", lambda e: e["outcome"]["sqlstate"] != ""),
    ("rows:>1000", lambda e: e["outcome"]["rows_returned"] > 1000),
    ("rows:[10 TO 100]", lambda e: 10 <= e["outcome"]["rows_returned"] <= 100),
    ("rows:(>5 AND <10)", lambda e: 5 < e["outcome"]["rows_returned"] < 10),
    ("rows:0", lambda e: e["outcome"]["rows_returned"] == 0),
    ("rows:*", lambda e: e["outcome"]["rows_returned"] > 0),
    ("affected:1", lambda e: e["outcome"]["rows_affected"] == 1),
    ("bytes_in:<=100", lambda e: e["outcome"]["bytes_in"] <= 100),
    ("bytes_out:>1MB", lambda e: e["outcome"]["bytes_out"] > 1_000_000),
    ("bytes_out:>1MiB", lambda e: e["outcome"]["bytes_out"] > 1_048_576),
    ("db_time:>2s", lambda e: e["outcome"]["db_us"] > 2_000_000),
    ("db_us:>2000000", lambda e: e["outcome"]["db_us"] > 2_000_000),
    ("held_time:>5s", lambda e: e["outcome"]["held_us"] > 5_000_000),
    ("held_us:*", lambda e: e["outcome"]["held_us"] > 0),
    ("total_time:[1ms TO 1.5ms]", lambda e: 1000 <= e["outcome"]["total_us"] <= 1500),
    ("total_us:>=5000", lambda e: e["outcome"]["total_us"] >= 5000),
    ("Customers", lambda e: "customers" in e["text"].lower()),
    ("text:customers", lambda e: "customers" in e["text"].lower()),
    ('"join tickets"', lambda e: "join tickets" in e["text"].lower()),
    ("select*customers", lambda e: "customers" in e["text"] and e["text"].startswith("SELECT")),
    ("<img", lambda e: "<img" in e["text"]),
    ("needle_in_a_haystack", lambda e: "public.needle_in_a_haystack" in e["facts"]["reads"]),
    ("text:*", lambda e: True),
    ("fingerprint:*", lambda e: True),
    ("source:proxy/0", lambda e: True),
    ("claim.ticket:*", lambda e: "ticket" in e["claims"]),
    ("claim.ticket:SUP-*", lambda e: e["claims"].get("ticket", "").startswith("SUP-")),
    ("claim.tool_call:sql", lambda e: e["claims"].get("tool_call") == "sql"),
    ("token:numeric:*", lambda e: any(p.startswith("numeric:") for p in e["params"])),
    ("-principal_kind:service (verdict:deny OR rows:>1000)",
     lambda e: e["principal"]["kind"] != "service"
     and (e["decision"]["verdict"] == "deny" or e["outcome"]["rows_returned"] > 1000)),
    ("principal:\"'; DROP TABLE x; --\"", lambda e: False),
    ("principal:{p0:String}", lambda e: False),
)  # fmt: skip


@pytest.mark.parametrize(("q", "expected"), MATCHES, ids=[q for q, _ in MATCHES])
def test_a_search_finds_exactly_what_it_says(api: Api, q: str, expected: Callable[[Event], bool]) -> None:
    assert {e["event_id"] for e in api.found(q)} == {e["event_id"] for e in api.shop.events if expected(e)}


def test_every_field_of_the_language_is_searched_above() -> None:
    asked = " ".join(q for q, _ in MATCHES)
    assert {name for name in FIELDS if f"{name}:" not in asked} == {"id"}


def test_a_token_finds_its_equals_with_and_without_its_type(api: Api) -> None:
    token = next(p for e in api.shop.events for p in e["params"])
    expected = {e["event_id"] for e in api.shop.events if token in e["params"]}
    assert {e["event_id"] for e in api.found(f"token:{token}")} == expected
    assert expected <= {e["event_id"] for e in api.found(f"token:{token.split(':')[1]}")}


def test_an_id_finds_its_event(api: Api) -> None:
    wanted = api.shop.events[5]
    assert api.found(f"id:{wanted['event_id']}") == [wanted]


def test_pages_are_stable_while_events_arrive(api: Api) -> None:
    before = [e["event_id"] for e in api.found("db:*")]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get("/events", q="db:*", limit=150, **cursor)
        seen += [i["event_id"] for i in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        # Newer than everything: shifts every offset, and must shift no page.
        fresh = Shop(NOW, seed=len(seen))
        fresh.events = [{}] * (10_000 + len(seen))
        insert(api.store.client, [fresh.event(NOW - 1)])
    assert seen == before
    api.forget("seq > 10000")


def test_pages_do_not_lose_events_of_the_same_microsecond(api: Api) -> None:
    at = NOW - 40 * 86_400_000_000
    same = Shop(NOW, seed=3)
    same.events = [{}] * 20_000
    made = [same.event(at) for _ in range(23)]
    insert(api.store.client, made)
    try:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = api.get("/events", limit=5, from_="2026-01-01", to="-30d", **cursor)
            seen += [i["event_id"] for i in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert sorted(seen) == sorted(e["event_id"] for e in made)
    finally:
        api.forget("seq > 20000")


def test_a_relative_range_does_not_move_between_pages(api: Api) -> None:
    whole = [e["event_id"] for e in api.found("", from_="-2h")]
    first = api.get("/events", limit=3, from_="-2h")
    api.now = NOW + 7_000_000_000
    second = api.get("/events", limit=1000, from_="-2h", cursor=first["next_cursor"])
    assert [e["event_id"] for e in first["items"] + second["items"]] == whole


def test_from_is_included_and_to_is_not(api: Api) -> None:
    at = sorted(e["at"] for e in api.shop.events)[100]
    iso = rfc3339(at)
    assert at in [e["at"] for e in api.found("", from_=iso)]
    assert at not in [e["at"] for e in api.found("", to=iso)]
    assert min(e["at"] for e in api.found("", from_=iso)) == at


def test_one_event_has_its_whole_text(api: Api) -> None:
    wanted = next(e for e in api.shop.events if e["text_hash"] and e["facts"]["reads"] == list(LONG.reads))
    assert wanted["text"] == ""
    given = api.get(f"/events/{wanted['event_id']}")
    assert given["text"] == LONG_TEXT
    assert given["text_truncated"] is False
    assert {k: v for k, v in given.items() if k in wanted} == wanted | {"text": LONG_TEXT}


@pytest.mark.parametrize(
    ("path", "query", "status", "kind", "says"),
    [
        ("/events", {"q": "princpal:x"}, 400, "bad-search", "Did you mean principal?"),
        ("/events", {"q": "db:(a"}, 400, "bad-search", "never closed"),
        ("/events", {"from": "yesterday"}, 400, "bad-time", "-24h"),
        ("/events", {"from": "-1h", "to": "-2h"}, 400, "bad-time", "ends before"),
        ("/events", {"limit": "1001"}, 400, "bad-request", "1 to 1000"),
        ("/events", {"limit": "x"}, 400, "bad-request", "limit"),
        ("/events", {"cursor": "!!!"}, 400, "bad-cursor", "Start again"),
        ("/events", {"cursor": "WzEsMl0"}, 400, "bad-cursor", "Start again"),
        ("/events", {"q": "a" * 2001}, 400, "bad-search", "2000"),
        ("/events/not-a-uuid", {}, 400, "bad-request", "event_id"),
        ("/events/0192d1a0-0000-7000-8000-000000000000", {}, 404, "not-found", "no event"),
        ("/sessions/none", {}, 404, "not-found", "no session"),
        ("/nowhere", {}, 404, "not-found", "/api/v1/nowhere"),
    ],
)
def test_errors_are_problems_that_say_what_to_do(
    api: Api, path: str, query: dict[str, str], status: int, kind: str, says: str
) -> None:
    response = api.http.get(f"/api/v1{path}", params=query)
    body = response.json()
    assert response.status_code == body["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:affidavit:problem:{kind}"
    assert {"title", "detail", "instance"} <= set(body)
    assert says in body["detail"]


def test_a_bad_search_names_its_place(api: Api) -> None:
    body = api.get("/events", 400, q="db:shop verdict:dney")
    assert (body["position"], body["length"], body["hint"]) == (16, 4, "Did you mean deny?")


def test_a_cursor_does_not_continue_another_search(api: Api) -> None:
    cursor = api.get("/events", q="db:shop", limit=2)["next_cursor"]
    assert "another search" in api.get("/events", 400, q="db:warehouse", cursor=cursor)["detail"]


def test_a_search_that_takes_too_long_is_stopped_and_says_so(api: Api) -> None:
    class Slow:
        def query(self, query: str, parameters: Any = None, settings: Any = None) -> Any:
            endless = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 0"
            return api.clients[0].query(endless, settings=settings)

    with api.client(Limits(query_seconds=1), [Slow()]) as http:
        body = http.get("/api/v1/events").json()
    assert body["type"].endswith("search-too-expensive")
    assert "1 seconds" in body["detail"]


@pytest.mark.parametrize(
    ("at_once", "status", "after"), [(2, 503, "2"), (1, 429, "1")], ids=["readers taken", "principal's share taken"]
)
def test_too_many_searches_at_once_are_refused(api: Api, at_once: int, status: int, after: str) -> None:
    held, release = threading.Event(), threading.Event()

    class Held:
        def query(self, query: str, parameters: Any = None, settings: Any = None) -> Any:
            held.set()
            release.wait(30)
            return api.clients[0].query(query, parameters=parameters, settings=settings)

    answers: list[int] = []
    with api.client(Limits(queue_seconds=0.05, reads_per_principal=at_once), [Held()]) as http:
        first = threading.Thread(target=lambda: answers.append(http.get("/api/v1/events?limit=1").status_code))
        first.start()
        assert held.wait(30)
        busy = http.get("/api/v1/events?limit=1")
        release.set()
        first.join(30)
    assert (busy.status_code, busy.headers["retry-after"]) == (status, after)
    assert answers == [200]


def test_sessions_merge_page_and_filter(api: Api) -> None:
    everything = api.get("/sessions")["items"]
    assert len(everything) == len(PRINCIPALS)
    assert [s["opened_at"] for s in everything] == sorted((s["opened_at"] for s in everything), reverse=True)
    assert {s["session_id"] for s in api.get("/sessions", open="true")["items"]} == {session_id(i) for i in (1, 3, 5)}
    closed = api.get("/sessions", open="false", principal_kind="service")["items"]
    assert [(s["principal"]["id"], s["reason"], s["statements"]) for s in closed] == [("checkout-service", "terminated", 12)]
    first = api.get("/sessions", limit=4)
    second = api.get("/sessions", limit=4, cursor=first["next_cursor"])
    assert first["items"] + second["items"] == everything
    assert second["next_cursor"] is None
    assert api.get(f"/sessions/{session_id(2)}")["principal"]["on_behalf_of"] == "tom.brandt@example.com"


def test_stats_count_what_the_search_finds(api: Api) -> None:
    found = api.found("db:shop", from_="-6h", to="now")
    stats = api.get("/stats", q="db:shop", from_="-6h", to="now")
    assert stats["totals"]["events"] == len(found) == sum(b["events"] for b in stats["buckets"])
    assert stats["totals"]["denied"] == sum(e["outcome"]["status"] == "denied" for e in found)
    assert len(stats["buckets"]) <= 90
    assert {b["at"] - a["at"] for a, b in zip(stats["buckets"], stats["buckets"][1:], strict=False)} == {stats["step_us"]}
    top = stats["top"]["principal"][0]
    assert top["events"] == sum(e["principal"]["id"] == top["value"] for e in found)


def test_every_read_is_recorded_with_who_and_how_much(api: Api) -> None:
    some = api.shop.events[0]["event_id"]
    rows = len(api.found("verdict:deny"))
    api.get(f"/events/{some}")
    api.get("/sessions", principal_kind="agent")
    api.get(f"/sessions/{session_id(1)}")
    api.get("/stats", q="db:shop")
    assert api.recorded.reads == [
        ("ana@example.com", "127.0.0.1", "events", "verdict:deny", rows),
        ("ana@example.com", "127.0.0.1", "events/{id}", some, 1),
        ("ana@example.com", "127.0.0.1", "sessions", "principal_kind:agent", 2),
        ("ana@example.com", "127.0.0.1", "sessions/{id}", session_id(1), 1),
        ("ana@example.com", "127.0.0.1", "stats", "db:shop", 0),
    ]


@pytest.mark.parametrize("path", ["/events", f"/sessions/{session_id(1)}", "/sessions", "/stats", "/events/stream"])
def test_a_read_that_cannot_be_recorded_is_not_answered(api: Api, path: str) -> None:
    api.recorded.broken = True
    body = api.get(path, 503)
    assert body["type"] == "urn:affidavit:problem:not-recorded"
    assert "items" not in body
