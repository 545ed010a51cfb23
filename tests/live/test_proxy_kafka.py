"""`affidavit proxy` on Kafka as an operator runs it: topics made, two workers, statements shipped, a suspension heard by both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psycopg

from schemas.log.kafka import KafkaLog
from tests.support.affidavit import ROOT, Affidavit
from tests.support.kafka import SCRAM_PASSWORD, SCRAM_USER, Kafka
from tests.support.ports import accepts, wait_for
from tests.support.postgres import Postgres
from tests.support.trail import Trail

_CLI = "import sys; from deploy.cli import main; sys.exit(main())"


def command(machine: Affidavit, *words: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", _CLI, *words, "-c", str(machine.config_path)]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)


def sources(machine: Affidavit, application: str) -> set[str]:
    found = machine.trail.refresh()
    return {e["source"] for e in found if e["type"] == "SessionOpened" and e["client"]["application"] == application}


def over(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_topics_proxy_suspension_restart(pg: Postgres, kafka: Kafka) -> None:
    security = {"mechanism": "SCRAM-SHA-512", "username": SCRAM_USER, "password": SCRAM_PASSWORD}
    settings = kafka.settings("SCRAM", topic_prefix="operator.", security=security)
    written = Kafka.written(settings)
    del written["kafka"]["security"]["password"]
    written["kafka"]["security"]["password_file"] = "kafka.password"
    machine = Affidavit(pg, {"proxy": {"workers": 2}, "log": written})
    (machine.folder / "kafka.password").write_text(SCRAM_PASSWORD + "\n")
    machine.trail = Trail(machine.data_dir, lambda: KafkaLog(settings))
    process = None
    try:
        done = command(machine, "topics")
        assert done.returncode == 0, done.stdout + done.stderr
        for life in ("first", "second"):
            process = machine._spawn(["-c", _CLI, "proxy", "-c", str(machine.config_path)], subprocess.DEVNULL)
            wait_for(lambda: "ready after" in machine.said() and accepts(machine.port), f"the {life} start", 60)
            parameters = {**machine.app("olaf"), "application_name": f"{life} life"}
            connections = []

            def both_workers(parameters: dict[str, object] = parameters, opened: list[object] = connections) -> bool:
                opened.append(psycopg.connect(**parameters, autocommit=True))  # type: ignore[arg-type]
                return len(sources(machine, parameters["application_name"])) == 2  # type: ignore[arg-type]

            wait_for(both_workers, "sessions on both workers", 60, 0.1)
            if life == "first":
                dana = psycopg.connect(**machine.app("dana"), autocommit=True)
                done = command(machine, "principal", "suspend", "dana")
                assert done.returncode == 0, done.stderr
                wait_for(lambda dana=dana: over(dana), "dana's session to end")
            for _ in range(6):  # whichever worker answers
                try:
                    psycopg.connect(**machine.app("dana"))
                except psycopg.OperationalError as refused:
                    assert "suspended" in str(refused)
                else:
                    raise AssertionError("dana is suspended, and was let in")
            for connection in connections:
                connection.execute("SELECT 1")
                connection.close()
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(60) == 0, machine.said()[-3000:]
            machine.output.write_text("")
        stopped = {e["source"] for e in machine.trail.of_type("ProxyStopped")}
        assert stopped == {"proxy/0", "proxy/1"}
        assert not (machine.data_dir / "log" / "log.db").exists(), "there is no embedded log beside Kafka"
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        machine.remove()
