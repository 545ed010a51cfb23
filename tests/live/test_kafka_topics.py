"""`affidavit topics` on the real broker: makes what is missing, names what differs, changes nothing that is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.cli import run
from schemas.topics import TOPICS
from tests.support.kafka import Kafka


def configure(folder: Path, kafka: Kafka, prefix: str, replication: int = 1) -> str:
    file = folder / "affidavit.yaml"
    broker = kafka.bootstrap()[0]
    file.write_text(
        f"log:\n  kind: kafka\n  kafka:\n    bootstrap_servers: ['{broker}']\n    topic_prefix: {prefix}\n"
        f"    replication: {replication}\n    security: {{tls: false}}\n"
    )
    return str(file)


def test_topics_are_made_once_and_then_found_right(kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = configure(tmp_path, kafka, "made.")
    for fresh in (True, False):
        assert run(["topics", "-c", file, "--json"]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(r["name"], r["partitions"], r["made"]) for r in rows] == [
            ("made." + t.name, t.partitions, fresh) for t in TOPICS
        ]
        assert all(r["differs"] == [] for r in rows)


def test_a_topic_that_differs_is_named_and_left(kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kafka.make_topics(["other.affidavit.control"], partitions=2)
    assert run(["topics", "-c", configure(tmp_path, kafka, "other."), "--json"]) == 1
    rows = {r["name"]: r["differs"] for r in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {"has 2 partitions, not 1", "cleanup.policy is delete, not compact"} <= set(rows.pop("other.affidavit.control"))
    assert not any(rows.values())


def test_more_copies_than_brokers_is_a_clear_error(kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "-c", configure(tmp_path, kafka, "many.", replication=3)]) == 1
    assert "cannot make or check many.affidavit.events with 3 copies" in capsys.readouterr().err
