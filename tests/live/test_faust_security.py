"""Workers log in to the real brokers in every way there is, Faust's client and the log's. Wrong ones say why."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from schemas.log.kafka import KafkaLog
from schemas.topics import EVENTS, TOPICS
from tests.support import kafka_jars
from tests.support.certificates import issue
from tests.support.event_blocks import Source, record
from tests.support.issuer import published
from tests.support.kafka import SCRAM_PASSWORD, SCRAM_USER, Kafka

pytestmark = pytest.mark.skipif(bool(kafka_jars.missing()), reason=kafka_jars.missing() or "the broker's jars are there")

ROOT = Path(__file__).parents[2]
LOGIN = {"mechanism": "SCRAM-SHA-512", "username": SCRAM_USER, "password": SCRAM_PASSWORD}
WRONG = "wrong-pw-88"


def bearer(kafka: Kafka, stack: ExitStack) -> dict[str, Any]:
    url = stack.enter_context(published(kafka.issuer))
    secret = kafka.issuer.secrets["affidavit-proxy"]
    return {"mechanism": "OAUTHBEARER", "username": "affidavit-proxy", "password": secret, "token_url": f"{url}/token"}


@pytest.mark.parametrize("listener", ["TLS", "MUTUAL", "SCRAM", "OAUTH"])
def test_a_worker_that_may_takes_blocks_through(kafka: Kafka, tmp_path: Path, listener: str) -> None:
    prefix = f"login-{listener}."
    kafka.make_topics([prefix + t.name for t in TOPICS], 2)
    log = KafkaLog(kafka.settings(topic_prefix=prefix))
    log.append(EVENTS.name, [record(b) for b in Source().blocks(2, 5)])
    log.close()
    with ExitStack() as stack:
        security: dict[str, Any] = {}
        if listener == "MUTUAL":
            security = {"cert_file": kafka.client.cert, "key_file": kafka.client.key}
        elif listener == "SCRAM":
            security = LOGIN
        elif listener == "OAUTH":
            security = bearer(kafka, stack)
        settings = kafka.written(kafka.settings(listener, topic_prefix=prefix, security=security))["kafka"]
        options = {"data": str(tmp_path), "kafka": settings, "group": "group"}
        command = [sys.executable, "-m", "tests.support.faust_child", orjson.dumps(options, default=str).decode()]
        with (tmp_path / "said").open("wb") as said:
            worker = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said))
        stack.callback(worker.kill)
        assert worker.stdout is not None
        assert any(orjson.loads(line).get("events") == 10 for line in worker.stdout), (tmp_path / "said").read_text()[-3000:]
        worker.send_signal(signal.SIGTERM)
        worker.stdout.read()
        assert worker.wait(60) == 0


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        ("SCRAM", "login refused"),
        ("TLS", "ca_file must hold the authority"),
        ("MUTUAL", "check cert_file and key_file"),
        ("OAUTH", "check token_url, and the username and password"),
    ],
)
def test_a_wrong_password_or_certificate_ends_it_with_what_to_mend(
    kafka: Kafka, tmp_path: Path, listener: str, words: str
) -> None:
    prefix = f"wrong-{listener}."
    kafka.make_topics([prefix + t.name for t in TOPICS], 1)
    with ExitStack() as stack:
        security: dict[str, Any] = {}
        if listener == "SCRAM":
            security = {**LOGIN, "password": WRONG}
        elif listener == "TLS":
            security = {"ca_file": issue(tmp_path).ca}
        elif listener == "OAUTH":
            security = {**bearer(kafka, stack), "password": WRONG}
        written = kafka.written(kafka.settings(listener, topic_prefix=prefix, security=security))
        config = tmp_path / "affidavit.yaml"
        config.write_text(yaml.safe_dump(orjson.loads(orjson.dumps({"data_dir": "data", "log": written}, default=str))))
        command = [sys.executable, "-c", "from deploy.cli import main; main()", "process", "-c", str(config)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert words in said
    assert "Traceback" not in said
    assert WRONG not in said
