"""Who gets in, who does not, and what a browser is told: tokens, sessions, roles, origins, headers, health."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from query_api.app import create_app
from query_api.identity import Identity
from query_api.limits import Limits
from query_api.problems import PROBLEMS
from schemas.config import ApiSettings
from tests.support.served import serving
from tests.support.stored_events import IDENTITIES, SETTINGS, Recorded

NOW = 1_790_000_000_000_000
_DOC = Path(__file__).parents[2] / "docs" / "api.md"
READS = ("/api/v1/events", "/api/v1/events/0192d1a0-0000-7000-8000-000000000000", "/api/v1/events/stream", "/api/v1/sessions",
         "/api/v1/sessions/x", "/api/v1/stats", "/api/v1/exposure", "/api/v1/principals",
         "/api/v1/principals/x", "/ui/results", "/ui/rows", "/ui/stream",
         "/ui/events/0192d1a0-0000-7000-8000-000000000000")  # fmt: skip

OF_ANY_ROLE = ("/api/v1/approvals", "/api/v1/approvals/x", "/api/v1/approvals/stream")
ELSEWHERE = {"/api/v1/approvals/{approval_id}/decision"}
"""Tried in test_approvals_api.py."""


class Nothing:
    """A store without rows; `query` may be told to fail."""

    error: Exception | None = None
    result_rows: tuple[Any, ...] = ()
    column_names: tuple[str, ...] = ()

    def query(self, query: str, parameters: Any = None, settings: Any = None) -> Any:
        if self.error is not None:
            raise self.error
        if "AS now" in query:
            answer = Nothing()
            answer.result_rows, answer.column_names = ((NOW,),), ("now",)
            return answer
        return self


class Site:
    """An app whose tokens, clock and status the test changes."""

    def __init__(self) -> None:
        self.store = Nothing()
        self.identities: dict[str, Identity] = dict(IDENTITIES)
        self.status: dict[str, Any] = {"ready": True, "pipeline": {"lag": 3, "running": True}}
        self.now = NOW
        self.recorded = Recorded()

    @contextlib.contextmanager
    def open(self, limits: Limits | None = None, api: ApiSettings | None = None) -> Iterator[httpx.Client]:
        """A browser without cookies on a served app."""
        app = create_app(
            self.store,
            SETTINGS,
            lambda t: self.identities.get(t),
            self.recorded,
            lambda: self.status,
            lambda: self.now,
            limits=limits,
            api=api,
        )
        with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
            yield http


@pytest.fixture
def site() -> Site:
    return Site()


def log_in(http: httpx.Client, token: str = "token-of-ana", **form: str) -> httpx.Response:
    return http.post("/login", data={"token": token, **form}, headers={"origin": str(http.base_url).rstrip("/")})


def cookie_header(http: httpx.Client) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in http.cookies.items())}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        {"authorization": "Basic token-of-ana"},
        bearer("x" * 5000),
        {"cookie": "affidavit_session=guess"},
    ],
)
def test_without_a_valid_token_nothing_is_read(site: Site, headers: dict[str, str]) -> None:
    with site.open() as http:
        for path in READS + OF_ANY_ROLE:
            response = http.get(path, headers=headers)
            assert response.status_code == 401, path
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert response.json()["type"] == "urn:affidavit:problem:unauthenticated"
    assert site.recorded.reads == []


def test_the_wrong_role_reads_nothing(site: Site) -> None:
    with site.open() as http:
        for path in READS:
            response = http.get(path, headers=bearer("token-of-ben"))
            assert response.status_code == 403, path
            assert "analyst" in response.json()["detail"]
        log_in(http, "token-of-ben")
        assert http.get("/").headers["location"] == "/approvals"  # what this role is for
    assert site.recorded.reads == []


def test_every_read_of_the_api_is_among_those_tried_here(site: Site) -> None:
    open_to_all = {"/healthz", "/readyz", "/metrics"}
    with site.open() as http:
        paths = set(http.get("/api/v1/openapi.json").json()["paths"])
    tried = {re.sub(r"/(0192[^/]*)", "/{event_id}", p).replace("/sessions/x", "/sessions/{session_id}") for p in READS}
    tried |= {p.replace("/principals/x", "/principals/{principal}") for p in READS}
    tried |= {p.replace("/x", "/{approval_id}") for p in OF_ANY_ROLE}
    assert paths - open_to_all - ELSEWHERE <= tried


def test_auditors_read_too(site: Site) -> None:
    with site.open() as http:
        assert http.get("/api/v1/events", headers=bearer("token-of-eve")).status_code == 200


def test_a_browser_logs_in_reads_and_logs_out(site: Site) -> None:
    with site.open() as http:
        assert http.get("/?q=db:shop").headers["location"] == "/login?next=%2F%3Fq%3Ddb%3Ashop"
        answer = log_in(http, next="/?q=db:shop")
        assert (answer.status_code, answer.headers["location"]) == (303, "/?q=db:shop")
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
        assert "token-of-ana" not in cookie
        assert http.get("/").status_code == 200
        assert http.get("/api/v1/events").status_code == 200
        kept = cookie_header(http)
        assert http.post("/logout", headers={"origin": str(http.base_url).rstrip("/")}).headers["location"] == "/login"
        assert http.get("/api/v1/events", headers=kept).status_code == 401


def test_a_session_ends_with_its_token_and_with_time(site: Site) -> None:
    with site.open(Limits(browser_session_seconds=60)) as http:
        log_in(http)
        site.now += 59_000_000
        assert http.get("/api/v1/events").status_code == 200
        site.now += 2_000_000
        assert http.get("/api/v1/events").status_code == 401
        log_in(http)
        assert http.get("/api/v1/events").status_code == 200
        del site.identities["token-of-ana"]
        assert http.get("/api/v1/events").status_code == 401


def test_sessions_are_bounded_the_oldest_goes(site: Site) -> None:
    with site.open(Limits(browser_sessions=2)) as http:
        cookies = []
        for _ in range(3):
            http.cookies.clear()
            log_in(http)
            cookies.append(cookie_header(http))
        http.cookies.clear()
        assert [http.get("/api/v1/events", headers=c).status_code for c in cookies] == [401, 200, 200]


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {}, {"sec-fetch-site": "cross-site"}]
)
def test_another_sites_form_changes_nothing(site: Site, headers: dict[str, str]) -> None:
    with site.open() as http:
        refused = http.post("/login", data={"token": "token-of-ana"}, headers=headers)
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers
        log_in(http)
        assert http.post("/logout", headers=headers).status_code == 403
        assert http.get("/api/v1/events").status_code == 200


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/logout"]
)
def test_login_leads_only_to_our_own_page(site: Site, target: str) -> None:
    with site.open() as http:
        assert log_in(http, next=target).headers["location"] == "/"
        assert "evil" not in http.get("/login", params={"next": target}).text


def test_guessing_is_slowed_down(site: Site) -> None:
    with site.open(Limits(login_failures_per_minute=3)) as http:
        assert [log_in(http, "guess").status_code for _ in range(4)] == [401, 401, 401, 429]
        assert log_in(http).status_code == 303, "behind a proxy everybody has one address: nobody is shut out by a guesser"
        assert log_in(http, "guess").status_code == 429
        site.now += 61_000_000
        assert log_in(http, "guess").status_code == 401


def test_a_huge_login_is_refused(site: Site) -> None:
    with site.open() as http:
        assert log_in(http, "x" * 40_000).status_code == 413


@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/events", "/nowhere", "/healthz", "/api/v1/docs"])
def test_every_answer_carries_the_security_headers(site: Site, path: str) -> None:
    with site.open() as http:
        headers = http.get(path, headers=bearer("token-of-ana")).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {source for directive in policy.values() for source in directive.split()} == {"'none'", "'self'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/docs"])
def test_pages_load_nothing_from_elsewhere(site: Site, path: str) -> None:
    with site.open() as http:
        log_in(http)
        html = http.get(path).text
        loaded = re.findall(r'(?:src|href|action)="([^"]+)"', html)
        assert loaded
        assert all(address.startswith(("/", "#")) and not address.startswith("//") for address in loaded)
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", html)
        for address in loaded:
            if address.startswith("/static/"):
                static = http.get(address)
                assert static.status_code == 200
                assert "immutable" in static.headers["cache-control"]
                outside = set(re.findall(r"https?://[^\s\"')]+", static.text))
                assert outside <= {"http://www.w3.org/2000/svg"}  # a namespace, never fetched


def test_what_was_typed_is_sent_again_as_it_was(site: Site) -> None:
    """A character that cannot be seen, such as Persian has within words, is told by its number elsewhere, not in a field."""
    with site.open() as http:
        log_in(http)
        for path, name in (("/", "q"), ("/exposure", "db")):
            assert 'value="a\u200cb&lt;"' in http.get(path, params={name: "a\u200cb<"}).text


def test_static_files_are_only_ours(site: Site) -> None:
    with site.open() as http:
        assert http.get("/static/..%2fpages.py").status_code == 404
        assert http.get("/static/nothing.js").status_code == 404


def test_health_and_readiness(site: Site) -> None:
    with site.open() as http:
        assert http.get("/healthz").json() == {"status": "alive"}
        assert http.get("/readyz").json() == {"status": "ready", "problems": []}
        site.status = {"ready": False, "problems": ["pipeline stopped"]}
        unready = http.get("/readyz")
        assert (unready.status_code, unready.json()["problems"]) == (503, ["pipeline stopped"])
        site.status = {
            "ready": False,
            "problems": ["pipeline state '/var/lib/x/pipeline.db' is damaged, see https://a.example/b/c"],
        }
        told = http.get("/readyz").json()["problems"]
        assert told == ["pipeline state '…/pipeline.db' is damaged, see https://a.example/b/c"]
        site.status = {"ready": False}
        assert http.get("/readyz").status_code == 503
        site.status = {"ready": True}
        site.store.error = _gone()
        down = http.get("/readyz")
        assert down.status_code == 503
        assert "ClickHouse does not answer" in down.json()["problems"][0]
        assert "secret" not in down.text
        assert http.get("/healthz").status_code == 200


def _gone() -> Exception:
    from clickhouse_connect.driver.exceptions import OperationalError

    return OperationalError("Connection refused to secret-host:8123")


def test_a_store_that_is_gone_is_said_to_be(site: Site) -> None:
    with site.open() as http:
        site.store.error = _gone()
        answer = http.get("/api/v1/events", headers=bearer("token-of-ana"))
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:affidavit:problem:store-unavailable")
        assert "secret" not in answer.text
        log_in(http)
        page = http.get("/")
        assert page.status_code == 503
        assert "ClickHouse does not answer" in page.text


def test_metrics_need_a_token_unless_public(site: Site) -> None:
    with site.open() as http:
        assert http.get("/metrics").status_code == 401
        http.get("/api/v1/events", headers=bearer("token-of-ana"))
        http.get("/unheard/of")
        text = http.get("/metrics", headers=bearer("token-of-ben")).text
    assert 'affidavit_api_requests_total{method="GET",route="/api/v1/events",status="200"} 1.0' in text
    assert 'route="other",status="404"' in text
    assert "unheard" not in text
    assert "affidavit_pipeline_lag_blocks 3.0" in text
    with site.open(api=ApiSettings(metrics_public=True)) as http:
        assert http.get("/metrics").status_code == 200


def test_the_manual_lists_every_problem_metric_endpoint_and_limit(site: Site) -> None:
    manual = _DOC.read_text()
    for name, (status, _) in PROBLEMS.items():
        assert re.search(rf"`{name}` \| {status} ", manual), name
    with site.open() as http:
        for path in http.get("/api/v1/openapi.json").json()["paths"]:
            assert f"`{path}`" in manual, path
        metrics = http.get("/metrics", headers=bearer("token-of-ana")).text
    for metric in re.findall(r"^# TYPE (affidavit_\w+) (?:counter|histogram|gauge)$", metrics, re.MULTILINE):
        assert metric.endswith("_created") or f"`{metric}`" in manual, metric
    for limit in Limits.__dataclass_fields__:
        assert f"`{limit}`" in manual, limit


def closes(sock: socket.socket, sends: Iterator[bytes]) -> bytes:
    """Send one piece each 50 ms until the other side closes; return what it said."""
    said = b""
    sock.settimeout(0.05)
    deadline = time.monotonic() + 20
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            try:
                part = sock.recv(65536)
                said += part
                if not part:
                    return said
            except TimeoutError:
                sock.sendall(next(sends))
        raise AssertionError("the connection stays open")
    return said


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["at first", "after an answer"])
def test_a_request_that_is_never_whole_keeps_no_connection(site: Site, monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr("query_api.serving.HEAD_SECONDS", 0.5)
    with site.open() as http, socket.create_connection(("127.0.0.1", http.base_url.port)) as sock:
        sock.sendall(before)
        said = closes(sock, itertools.chain([b"GET / HTTP/1.1\r\nX: "], itertools.repeat(b"x")))
        assert said.count(b"200 OK") == bool(before)


def test_an_answer_may_take_longer_than_a_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query_api.serving.HEAD_SECONDS", 0.2)
    with site.open(Limits(stream_heartbeat_seconds=1.0)) as http:
        headers = {"Authorization": "Bearer token-of-ana"}
        with http.stream("GET", "/api/v1/events/stream", headers=headers) as answer:
            assert answer.status_code == 200
            assert any(":" in line for line in itertools.islice(answer.iter_lines(), 3))


def test_a_body_that_never_comes_keeps_no_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query_api.bodies.BODY_SECONDS", 0.5)
    with site.open() as http, socket.create_connection(("127.0.0.1", http.base_url.port)) as sock:
        host = f"127.0.0.1:{http.base_url.port}"
        head = f"POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: 20000\r\n\r\n"
        sock.sendall(head.encode())
        assert b"408" in closes(sock, itertools.repeat(b"x"))
