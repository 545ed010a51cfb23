"""What a compiler is trained on is what the proxy does: every kind of statement, decided, masked, recorded, and no gap."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import uvloop

from deploy import training
from tests.support.trail import Trail


@pytest.mark.parametrize("guarded", [False, True])
def test_training_is_true_to_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    monkeypatch.setattr(training, "TURNS", 450)
    policies = (training.POLICIES / "production.yaml", training.POLICIES / "agents.yaml") if guarded else ()
    statements = uvloop.run(training.drive(tmp_path, policies))

    trail = Trail(tmp_path)
    events = trail.refresh()
    queries = [event for event in events if event["type"] == "QueryExecuted"]
    assert len(queries) == statements > 1000
    assert Counter(event["type"] for event in events)["SessionClosed"] == training.CONNECTIONS
    assert not trail.of_type("ProtocolGap")
    kinds = Counter(event["kind"] for event in queries)
    assert min(kinds["simple"], kinds["prepared"]) > 300
    copies = [e for e in queries if e["text"].startswith("COPY")]
    assert {e["outcome"]["status"] for e in copies} == {"ok"}
    assert any(e["outcome"]["bytes_in"] > 1000 for e in copies)
    assert any(e["outcome"]["rows_returned"] == 200 for e in copies)
    assert {e["outcome"]["sqlstate"] for e in queries} == {"", "42P01", *(["42501"] if guarded else [])}
    assert any(e["decision"]["verdict"] == "deny" for e in queries) is guarded
    masked = {event["principal"]["kind"] for event in queries if event.get("masked", {}).get("email")}
    assert masked == ({"human", "agent"} if guarded else {"service", "human", "agent"})
