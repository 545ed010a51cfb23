"""What `affidavit process` itself shows Prometheus and probes, while it takes blocks from a real broker into chDB."""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from schemas.log.kafka import KafkaLog
from schemas.topics import EVENTS, TOPICS
from tests.support import kafka_jars
from tests.support.event_blocks import Source, record
from tests.support.exposed import worker_page
from tests.support.kafka import Kafka
from tests.support.ports import free_port, wait_for
from tests.support.promtool import promtool

pytestmark = pytest.mark.skipif(bool(kafka_jars.missing()), reason=kafka_jars.missing() or "the broker's jars are there")


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def test_a_worker_has_room_for_the_files_of_hundreds_of_sources(kafka: Kafka, tmp_path: Path) -> None:
    """Two for each source, where a shell gives 512 and the system allows more."""
    prefix, port, sources = "hundreds.", free_port(), 350
    kafka.make_topics([prefix + t.name for t in TOPICS], 1)
    settings = kafka.settings(topic_prefix=prefix)
    log = KafkaLog(settings)
    for _ in range(2):  # what comes twice is known again, of every source
        log.append(EVENTS.name, [record(next(Source(f"proxy/{n}").blocks(1, 2))) for n in range(sources)])
    log.close()
    config = tmp_path / "affidavit.yaml"
    listen = {"listen": f"127.0.0.1:{port}"}
    config.write_text(yaml.safe_dump({"data_dir": "data", "log": kafka.written(settings), "process": listen}))
    started = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (512, r.getrlimit(r.RLIMIT_NOFILE)[1])); "
    started += "from deploy.cli import main; main()"
    with (tmp_path / "said").open("w+") as said:
        worker = subprocess.Popen(
            [sys.executable, "-c", started, "process", "-c", str(config)], cwd=Path(__file__).parents[2], stdout=said, stderr=said
        )
        try:

            def done() -> bool:
                assert worker.poll() is None, (tmp_path / "said").read_text()[-3000:]
                page = get(port, "/metrics")[1]
                return f"events_total {2 * sources:.1f}" in page and f"repeats_total {sources:.1f}" in page

            wait_for(done, "the events of all sources, once", 120)
            assert len(list(Path(f"/proc/{worker.pid}/fd").iterdir())) > 2 * sources
        finally:
            worker.terminate()
            worker.wait(60)


def test_a_worker_shows_what_it_did(kafka: Kafka, tmp_path: Path) -> None:
    prefix, port = "shown.", free_port()
    kafka.make_topics([prefix + t.name for t in TOPICS], 2)
    settings = kafka.settings(topic_prefix=prefix)
    log = KafkaLog(settings)
    source = Source()
    log.append(EVENTS.name, [record(block) for block in source.blocks(3, 20)])
    log.close()
    config = tmp_path / "affidavit.yaml"
    listen = {"listen": f"127.0.0.1:{port}"}
    config.write_text(yaml.safe_dump({"data_dir": "data", "log": kafka.written(settings), "process": listen}))
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "process", "-c", str(config), "--log-format", "json"]
    with (tmp_path / "said").open("w+") as said:
        worker = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=said, stderr=said)
        try:

            def done() -> bool:
                assert worker.poll() is None, (tmp_path / "said").read_text()[-3000:]
                return "affidavit_process_events_total 60.0" in get(port, "/metrics")[1]

            wait_for(done, "60 events in the worker's metrics", 90)
            page = get(port, "/metrics")[1]
            assert get(port, "/healthz")[0] == 200
            status, ready = get(port, "/readyz")
            assert (status, orjson.loads(ready)["ready"]) == (200, True)
        finally:
            worker.terminate()
            worker.wait(60)
    checked = subprocess.run([promtool(), "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    families = {f.name: f for f in text_string_to_metric_families(page)}
    documented = {f.name for f in text_string_to_metric_families(worker_page({0: 0}).decode())}
    assert set(families) == documented
    values = {s.name: s.value for f in families.values() for s in f.samples if not s.labels}
    assert values["affidavit_process_blocks_total"] == 3
    assert values["affidavit_process_partitions"] == 2
    for name in ("archive", "insert", "projection"):
        assert 1 <= values[f"affidavit_process_{name}_seconds_count"] <= 3
    assert {s.value for s in families["affidavit_process_lag_blocks"].samples} == {0}
    assert all(orjson.loads(line)["process"] for line in (tmp_path / "said").read_text().splitlines())
