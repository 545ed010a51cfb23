"""Do requests, decisions, endings and executions become rows of `approvals` and `approval_steps`, whatever they look like?"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from processors.pipeline import run
from processors.steps.work import Batch, State
from schemas.log import Record
from tests.support.approval_events import body, closed, decided, requested
from tests.support.event_blocks import START, Source, record

ID = "0197f0c2-a3b4-7c11-8d00-00000000000a"


def projected(*lines: bytes, source: Source) -> dict[str, list[dict[str, Any]]]:
    new = record(source.seal(list(lines)))
    _, batch = run(State(), Batch((Record("affidavit.events", 0, new.key, new.value, new.headers),)), START)
    assert not batch.rejected
    return {name: table.to_pylist() for name, table in batch.tables.items()}


def test_a_request_is_one_row_with_its_line() -> None:
    source = Source()
    line = source.event("ApprovalRequested", body(requested(ID, START)))
    tables = projected(line, source.query(), source=source)
    (row,) = tables["approvals"]
    event = orjson.loads(line)
    assert (row["approval_id"], row["kind"], row["line"], row["source"]) == (ID, "request", line, "proxy/0")
    assert (row["principal_id"], row["on_behalf_of"]) == ("migrations-bot", "maria.keller@example.com")
    assert (row["rule"], row["risk"], row["database_alias"], row["environment"]) == (
        "hold-mass-deletes",
        80,
        "shop",
        "production",
    )
    assert UUID(bytes=row["event_id"]) == UUID(event["event_id"])
    assert int(row["expires_at"].timestamp() * 1e6) == event["expires_at"]
    assert "approval_steps" not in tables
    assert [r["type"] for r in tables["other_events"]] == ["ApprovalRequested"]


def test_a_use_of_break_glass_is_a_row_of_its_own_kind() -> None:
    source = Source()
    event = body(requested(ID, START)) | {"justification": "disk full", "groups": ["oncall"]}
    (row,) = projected(source.event("BreakGlassUsed", event), source=source)["approvals"]
    assert (row["kind"], row["approval_id"]) == ("break_glass", ID)


def test_what_happens_to_a_request_is_a_row_each() -> None:
    source = Source()
    lines = [
        source.event("ApprovalDecided", decided(ID, "carol", True, nth=1, needed=2)),
        source.event("ApprovalDecided", decided(ID, "dave", False, reason="not today", channel="link")),
        source.event("ApprovalDecided", decided(ID, "erin", True, review=True)),
        source.event("ApprovalClosed", closed(ID, "denied", deciders=["dave"], held_us=7)),
    ]
    steps = projected(*lines, source=source)["approval_steps"]
    assert [(s["step"], s["who"], s["status"], s["nth"], s["needed"], s["channel"]) for s in steps] == [
        ("decided", "carol", "approved", 1, 2, "ui"),
        ("decided", "dave", "denied", 0, 0, "link"),
        ("reviewed", "erin", "approved", 1, 1, "ui"),
        ("closed", "", "denied", 0, 0, ""),
    ]
    assert (steps[1]["reason"], steps[3]["deciders"], steps[3]["held_us"]) == ("not today", ["dave"], 7)
    assert len({s["event_id"] for s in steps}) == 4


def test_only_executions_that_name_an_approval_are_steps() -> None:
    source = Source()
    plain, ran = source.query(), orjson.loads(source.query())
    ran["decision"]["approval_id"] = ID
    ran["outcome"] |= {"status": "ok", "rows_affected": 12_114, "held_us": 90}
    (step,) = projected(plain, orjson.dumps(ran), source=source)["approval_steps"]
    assert (step["approval_id"], step["step"], step["status"]) == (ID, "executed", "ok")
    assert (step["rows_affected"], step["held_us"], UUID(bytes=step["event_id"])) == (12_114, 90, UUID(ran["event_id"]))


@pytest.mark.parametrize(
    "broken",
    [
        {"approval_id": 7},
        {"approval_id": ID, "risk": 4000, "expires_at": "soon", "principal": "me"},
        {"approval_id": ID, "expires_at": -1, "at": 0},
        {"approval_id": ID, "nth": 70_000, "needed": -3, "deciders": [1, None], "decider": []},
    ],
)
@pytest.mark.parametrize("kind", ["ApprovalRequested", "ApprovalDecided", "ApprovalClosed"])
def test_events_that_do_not_fit_keep_their_line_and_stop_nothing(kind: str, broken: dict[str, object]) -> None:
    source = Source()
    tables = projected(source.event(kind, broken), source.query(), source=source)
    assert [r["type"] for r in tables["other_events"]] == [kind]
    assert len(tables["query_events"]) == 1
    rows = tables.get("approvals", []) + tables.get("approval_steps", [])
    assert len(rows) == (broken["approval_id"] == ID)


def test_the_same_batch_gives_the_same_rows() -> None:
    def once() -> dict[str, list[dict[str, Any]]]:
        source = Source()
        lines = [
            source.event("ApprovalRequested", body(requested(ID, START))),
            source.event("ApprovalClosed", closed(ID, "lost")),
        ]
        return projected(*lines, source=source)

    assert once() == once()
