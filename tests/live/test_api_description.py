"""The API's description of itself: complete, valid where programs read it, and true: answers have what its examples have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from jsonschema import Draft202012Validator

from processors.archive import Archive
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import connect
from query_api.app import create_app
from query_api.examples import EXAMPLES
from query_api.identity import Identity
from schemas.integrity import Block
from schemas.topics import EVENTS
from tests.support.approval_events import body, closed, decided, requested
from tests.support.event_blocks import Source, record
from tests.support.memory_log import MemoryLog
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

NOW = 1_790_000_000_000_000
HOUR = 3600 * 10**6
ASKED = "0197f0c2-a3b4-7c11-8d00-000000000001"


def written() -> Block:
    """A statement that showed something, a session, and an approval that was used."""
    source = Source()
    shown, used = (orjson.loads(source.query()) for _ in range(2))
    for event in (shown, used):
        event |= {"at": NOW - HOUR, "ended_at": NOW - HOUR}
    shown |= {"event_id": ASKED, "exposure": {"email": 2}, "masked": {"email": 1}, "exposed": {"public.customers.email": 1}}
    used["decision"] |= {"verdict": "hold", "approval_id": ASKED}
    lines = [orjson.dumps(shown), orjson.dumps(used), source.session_opened(), source.session_closed()]
    asked = requested(ASKED, NOW - HOUR)
    for kind, event, at in (
        ("ApprovalRequested", body(asked), asked["at"]),
        ("ApprovalDecided", decided(ASKED, "carol", True), NOW),
        ("ApprovalClosed", closed(ASKED, "approved", deciders=["carol"]), NOW),
    ):
        envelope = orjson.loads(source.envelope(kind) + b"}")
        lines.append(orjson.dumps(envelope | {"at": at} | event))
    return source.seal(lines)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("chdb")
    with closing(connect(SETTINGS, folder)) as store:
        store.migrate()
        log, archive = MemoryLog(), Archive(folder / "archive")
        log.append(EVENTS.name, [record(written())])
        runtime = EmbeddedRuntime(log, store, archive, folder / "pipeline.db", lambda: NOW)
        while runtime.step():
            pass
        runtime.close()
        archive.close()
        who = {"ana": Identity("ana", "human", frozenset({"auditor", "approver"}))}
        app = create_app(store.new_client(), SETTINGS, who.get, Recorded(), lambda: {"ready": True}, lambda: NOW)
        with serving(app) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            client.headers["authorization"] = "Bearer ana"
            yield client


@pytest.fixture(scope="module")
def said(api: httpx.Client) -> dict[str, Any]:
    described: dict[str, Any] = api.get("/api/v1/openapi.json").json()
    return described


def operations(said: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in said["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_everything_is_described(said: dict[str, Any]) -> None:
    assert len(said["paths"]) > 12
    for path, method, operation in operations(said):
        assert operation["summary"] and operation["description"], path
        answer = operation["responses"]["200"]["content"]
        (kind,) = answer
        assert answer[kind]["schema"] != {}, path
        assert all(p.get("description") for p in operation.get("parameters", ()) if p["in"] == "query"), (method, path)
        open_to_all = path in ("/healthz", "/readyz")
        assert ("security" in operation, "4XX" in operation["responses"]) == (not open_to_all, not open_to_all), path
        assert "422" not in operation["responses"], "bad parameters are answered by a problem"
    referred = {part.split('"')[0] for part in orjson.dumps(said).decode().split("#/components/schemas/")[1:]}
    assert referred <= set(said["components"]["schemas"])


def test_examples_fit_their_schemas(said: dict[str, Any]) -> None:
    seen = set()
    for path, _, operation in operations(said):
        for content in operation["responses"]["200"]["content"].values():
            if "example" in content:
                seen.add(path)
                Draft202012Validator(content["schema"]).validate(content["example"])
    assert seen == set(EXAMPLES)


@pytest.mark.parametrize("path", [path for path in EXAMPLES if not path.endswith("/decision")])
def test_answers_are_as_described(api: httpx.Client, said: dict[str, Any], path: str) -> None:
    named = {"event_id": ASKED, "approval_id": ASKED, "principal": "ana"}
    if "{session_id}" in path:
        named["session_id"] = api.get("/api/v1/sessions").json()["items"][0]["session_id"]
    if "{principal}" in path:
        named["principal"] = api.get("/api/v1/principals").json()["items"][0]["principal"]
    answer = api.get(path.format(**named), params={"limit": 1} if path.endswith(("events", "sessions", "approvals")) else {})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    schema = said["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator(schema).validate(found)
    assert set(found) == set(EXAMPLES[path])
    if "items" in found:
        assert set(found["items"][0]) == set(EXAMPLES[path]["items"][0])


def test_a_problem_is_as_described(api: httpx.Client, said: dict[str, Any]) -> None:
    schema = said["components"]["schemas"]["Problem"]
    for path, words in (
        ("/api/v1/events?from=yesterday", "is not a time"),
        ("/api/v1/events?query=verdict:deny", "There is no parameter 'query' here; there are: cursor, from, limit, q, to."),
        ("/api/v1/events?form=-1h", "did you mean from?"),
        ("/api/v1/principals?kind=robot", "'human', 'agent' or 'service'"),
        ("/api/v1/sessions?principal_kind=robot", "'human', 'agent' or 'service'"),
        ("/api/v1/sessions/none", "no session none"),
    ):
        answer = api.get(path)
        assert answer.headers["content-type"] == "application/problem+json"
        Draft202012Validator(schema).validate(answer.json())
        assert words in answer.json()["detail"]
