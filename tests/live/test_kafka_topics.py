"""`affidavit topics` on the real broker: makes what is missing, names what differs, changes nothing that is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.cli import run
from schemas.topics import TOPICS
from tests.support.kafka import Kafka
from tests.support.ports import free_port


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


def brokers(file: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    run(["doctor", "-c", file, "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return next(finding for finding in found if finding["check"] == "brokers")


def test_doctor_looks_at_brokers_and_topics_and_makes_none(
    kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = configure(tmp_path, kafka, "doctor.")
    for _ in range(2):  # looking made nothing
        finding = brokers(file, capsys)
        assert finding["state"] == "fail"
        assert "doctor.affidavit.events is missing" in finding["seen"]
        assert finding["remedy"] == "`affidavit topics` makes what is missing"
    assert run(["topics", "-c", file]) == 0
    assert brokers(file, capsys)["state"] == "ok"


def test_doctor_does_not_send_people_to_topics_for_what_that_leaves(
    kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.make_topics(["fewer.affidavit.events"], partitions=2)
    finding = brokers(configure(tmp_path, kafka, "fewer."), capsys)
    assert "fewer.affidavit.events has 2 partitions, not 12" in finding["seen"]
    assert "Kafka's own tools, partitions with all workers stopped" in finding["remedy"]


def test_doctor_says_that_brokers_are_away(kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(configure(tmp_path, kafka, "away."))
    file.write_text(file.read_text().replace(kafka.bootstrap()[0], f"127.0.0.1:{free_port()}"))
    finding = brokers(str(file), capsys)
    assert finding["state"] == "fail"
    assert "refused" in finding["seen"] and "log.kafka.bootstrap_servers" in finding["seen"]
    assert "spool" in finding["remedy"]
