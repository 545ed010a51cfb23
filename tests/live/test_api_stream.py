"""Does the live tail give every event that arrives, once, in order, and end when it should?"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from clickhouse_connect.driver.exceptions import OperationalError

from processors.sinks.clickhouse import Store
from query_api.app import create_app
from query_api.identity import Identity
from query_api.limits import Limits
from tests.support.served import serving
from tests.support.stored_events import IDENTITIES, SETTINGS, Recorded, Shop, insert, stored

ANA = {"authorization": "Bearer token-of-ana"}
QUICK = Limits(
    stream_poll_seconds=0.05,
    stream_settle_us=50_000,
    stream_heartbeat_seconds=0.3,
    stream_recheck_seconds=0.2,
    streams=3,
    stream_batch=7,
)
Frame = dict[str, str]


def now() -> int:
    return time.time_ns() // 1000


class Feed:
    """A store that events arrive in, and an app on it."""

    def __init__(self, store: Store) -> None:
        self.store, self.recorded = store, Recorded()
        self.clients = [store.new_client() for _ in range(3)]
        self.identities: dict[str, Identity] = dict(IDENTITIES)
        self.shop = Shop(now(), seed=11)
        self.shop.events = [{}] * 5000

    @contextlib.contextmanager
    def served(self, limits: Limits = QUICK) -> Iterator[httpx.Client]:
        app = create_app(
            self.clients, SETTINGS, lambda t: self.identities.get(t), self.recorded, lambda: {"ready": True}, now, limits=limits
        )
        with serving(app) as url, httpx.Client(base_url=url, headers=ANA, timeout=20, trust_env=False) as http:
            self.app = app
            yield http

    def arrive(self, count: int) -> list[dict[str, Any]]:
        made = [self.shop.event(now()) for _ in range(count)]
        insert(self.store.client, made)
        return made


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with stored(tmp_path_factory.mktemp("chdb"), now(), 50) as (store, _):
        yield Feed(store)


def frames(response: httpx.Response) -> Iterator[Frame]:
    """The frames of a stream; comments are frames with only `comment`."""
    frame: Frame = {}
    for line in response.iter_lines():
        if not line:
            if frame:
                yield frame
            frame = {}
        else:
            name, _, value = line.partition(": ")
            frame["comment" if line.startswith(":") else name] = value


@contextlib.contextmanager
def tail(http: httpx.Client, q: str = "", **headers: str) -> Iterator[Iterator[Frame]]:
    with http.stream("GET", "/api/v1/events/stream", params={"q": q}, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        given = frames(response)
        assert next(given)["retry"] == "2000"
        yield given


def take(given: Iterator[Frame], count: int) -> list[Frame]:
    taken = []
    for frame in given:
        if "data" in frame and "event" not in frame:
            taken.append(frame)
            if len(taken) == count:
                return taken
    raise AssertionError(f"the stream ended after {len(taken)} events")


def test_events_are_tailed_as_they_arrive_whole_and_once(feed: Feed) -> None:
    with feed.served() as http, tail(http) as given:
        first = feed.arrive(20)
        got = take(given, 20)
        second = feed.arrive(3)
        got += take(given, 3)
    tailed = [json.loads(f["data"]) for f in got]
    assert sorted(tailed, key=lambda e: e["seq"]) == first + second
    assert {e["event_id"] for e in tailed[:20]} == {e["event_id"] for e in first}


def test_a_tail_shows_only_what_its_search_finds(feed: Feed) -> None:
    with feed.served() as http, tail(http, "principal_kind:agent") as given:
        expected = []
        while len(expected) < 3:
            expected += [e["event_id"] for e in feed.arrive(10) if e["principal"]["kind"] == "agent"]
        got = take(given, len(expected))
    assert {json.loads(f["data"])["event_id"] for f in got} == set(expected)


def test_a_tail_resumes_right_behind_the_last_event(feed: Feed) -> None:
    with feed.served() as http:
        with tail(http) as given:
            before = feed.arrive(10)
            seen = take(given, 4)
        missed = feed.arrive(5)
        with tail(http, **{"last-event-id": seen[-1]["id"]}) as given:
            rest = take(given, 11)
    ids = [json.loads(f["data"])["event_id"] for f in seen + rest]
    assert len(set(ids)) == 15
    assert set(ids) == {e["event_id"] for e in before + missed}


def test_a_resume_from_too_long_ago_says_what_is_left_out(feed: Feed) -> None:
    with (
        feed.served(Limits(stream_lookback_us=60_000_000)) as http,
        tail(http, **{"last-event-id": "1700000000000000-0192d1a0-0000-7000-8000-000000000000"}) as given,
    ):
        gap = next(given)
    assert gap["event"] == "gap"
    left_out = json.loads(gap["data"])
    assert left_out["from"] == 1_700_000_000_000_000
    assert now() - 120_000_000 < left_out["to"] < now()


def test_a_tail_outlives_an_outage_of_the_store(feed: Feed) -> None:
    whole = feed.clients

    class Flaky:
        away = False
        refused = threading.Event()

        def query(self, query: str, parameters: Any = None, settings: Any = None) -> Any:
            if self.away:
                self.refused.set()
                raise OperationalError("connection refused")
            return whole[0].query(query, parameters=parameters, settings=settings)

    flaky = Flaky()
    try:
        feed.clients = [flaky]
        with feed.served() as http, tail(http) as given:
            flaky.away = True
            assert flaky.refused.wait(20)
            made = feed.arrive(3)
            flaky.away = False
            assert {json.loads(f["data"])["event_id"] for f in take(given, 3)} == {e["event_id"] for e in made}
    finally:
        feed.clients = whole


def test_a_quiet_tail_beats(feed: Feed) -> None:
    with feed.served() as http, tail(http, "db:nothing-like-it") as given:
        assert next(f for f in given if "comment" in f)["comment"] == "still here"


def test_tails_are_limited_and_places_come_back(feed: Feed) -> None:
    with feed.served() as http:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(tail(http))
            refused = http.get("/api/v1/events/stream")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
            assert "3 live tails" in refused.json()["detail"]
        deadline = time.monotonic() + 20
        while http.get("/metrics").text.count("affidavit_api_streams 0.0") == 0:
            assert time.monotonic() < deadline, "a closed tail keeps its place"
        with tail(http):
            pass


def test_a_revoked_token_ends_its_tail(feed: Feed) -> None:
    with feed.served() as http, tail(http) as given:
        kept = feed.identities.pop("token-of-ana")
        try:
            end = next(f for f in given if "event" in f)
        finally:
            feed.identities["token-of-ana"] = kept
    assert (end["event"], "no longer valid" in end["data"]) == ("problem", True)


def test_stopping_ends_tails_and_refuses_new_ones(feed: Feed) -> None:
    ended: list[Frame] = []
    with feed.served() as http:
        opened = threading.Event()

        def follow() -> None:
            with tail(http) as given:
                opened.set()
                ended.extend(f for f in given if "event" in f)

        follower = threading.Thread(target=follow)
        follower.start()
        assert opened.wait(20)
        feed.app.state.streams.close()
        follower.join(20)
        assert not follower.is_alive()
        assert http.get("/api/v1/events/stream").status_code == 503
    assert [f["event"] for f in ended] == ["end"]


def test_a_tail_is_recorded_once_when_it_opens(feed: Feed) -> None:
    feed.recorded.reads.clear()
    with feed.served() as http, tail(http, "status:ok") as given:
        feed.arrive(20)
        take(given, 3)
    assert feed.recorded.reads == [("ana@example.com", "127.0.0.1", "events/stream", "status:ok", 0)]


def test_a_bad_search_is_refused_before_the_stream_begins(feed: Feed) -> None:
    with feed.served() as http:
        refused = http.get("/api/v1/events/stream", params={"q": "db:("})
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
