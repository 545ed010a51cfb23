"""The proxies' metrics, of real sessions on real workers: what clients do is counted, and probes tell when a worker is gone."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.affidavit import Machine, machine
from tests.support.exposed import full_proxy_status, proxies
from tests.support.ports import free_port, wait_for
from tests.support.postgres import Postgres
from tests.support.promtool import promtool

RULES = [{"id": "no-drops", "effect": "deny", "when": "'drop_table' in statement.verbs", "reason": "Nothing is dropped here."}]


@pytest.fixture(scope="module")
def up(pg: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    policy = tmp_path_factory.mktemp("policy") / "rules.yaml"
    policy.write_text(yaml.safe_dump({"bundle": "metrics", "rules": RULES}))
    overrides: dict[str, Any] = {
        "proxy": {"workers": 2, "metrics_listen": f"127.0.0.1:{free_port()}"},
        "policy": {"files": [str(policy)]},
    }
    with machine(pg, overrides) as started:
        yield started


def get(up: Machine, path: str) -> tuple[int, str]:
    listen = yaml.safe_load(up.config_path.read_text())["proxy"]["metrics_listen"]
    connection = http.client.HTTPConnection(*listen.split(":"), timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def values(up: Machine) -> dict[str, float]:
    """Each sample's value, summed over workers."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(get(up, "/metrics")[1]):
        for sample in family.samples:
            rest = {k: v for k, v in sample.labels.items() if k != "worker"}
            name = sample.name + (json.dumps(rest) if rest else "")
            found[name] = found.get(name, 0) + sample.value
    return found


def test_what_clients_do_is_counted(up: Machine) -> None:
    before = values(up)
    with psycopg.connect(**up.app(), autocommit=True) as client:
        for n in range(20):
            client.execute(f"SELECT 'text {n}'")  # type: ignore[call-overload]
        with pytest.raises(psycopg.Error, match="no-drops"):
            client.execute("DROP TABLE nothing")
        wait_for(lambda: values(up)["affidavit_proxy_sessions_open"] == 1, "one open session")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**up.app(token="wrong"))

    def seen() -> dict[str, float]:
        now = values(up)
        return now if now["affidavit_proxy_sessions_open"] == 0 and now["affidavit_proxy_spool_unshipped_blocks"] == 0 else {}

    now = wait_for(seen, "the session to end and its blocks to be shipped")
    grown = {name: value - before.get(name, 0) for name, value in now.items()}
    assert grown["affidavit_proxy_sessions_total"] == 1
    assert grown["affidavit_proxy_statements_total"] == 21
    assert grown["affidavit_proxy_statements_denied_total"] == 1
    refused = {name: value for name, value in grown.items() if name.startswith("affidavit_proxy_logins_refused_total{")}
    assert list(refused) == ['affidavit_proxy_logins_refused_total{"reason": "unknown_token"}']
    assert min(refused.values()) >= 1
    assert grown["affidavit_proxy_upstream_login_seconds_count"] == 1
    assert grown["affidavit_proxy_events_total"] >= 24
    # 20 texts of one template, and the drop: each text is new, two templates are.
    assert grown["affidavit_proxy_analysis_misses_total"] == 21
    assert grown["affidavit_proxy_analysis_parses_total"] == 2
    assert grown["affidavit_proxy_decision_seconds_count"] == 2
    assert grown["affidavit_proxy_client_received_bytes_total"] > 20 * len("SELECT 1")
    for histogram in ("seal", "ship", "loop_lag"):
        assert grown[f"affidavit_proxy_{histogram}_seconds_count"] > 0
        assert (
            now[f'affidavit_proxy_{histogram}_seconds_bucket{{"le": "+Inf"}}']
            == now[f"affidavit_proxy_{histogram}_seconds_count"]
        )
    assert now["affidavit_proxy_ship_seconds_count"] == now["affidavit_proxy_blocks_shipped_total"]
    for quiet in (
        "statements_unaudited_total",
        "events_lost_total",
        "statements_refused_total",
        "control_unreadable_total",
        "control_refused_total",
    ):
        assert now[f"affidavit_proxy_{quiet}"] == 0
    assert now[f'affidavit_proxy_build_info{{"compiled": "no", "version": "{version("affidavit")}"}}'] == 2
    assert now["affidavit_proxy_up"] == now["affidavit_proxy_spool_accepting"] == now["affidavit_proxy_control_known"] == 2


def test_promtool_finds_nothing_to_mend_in_the_exposition(up: Machine) -> None:
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=get(up, "/metrics")[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_real_worker_leaves_nothing_out(up: Machine) -> None:
    families = {f.name: f for f in text_string_to_metric_families(get(up, "/metrics")[1])}
    documented = {f.name for f in proxies(full_proxy_status()).collect()}
    assert set(families) == documented
    assert [name for name, family in families.items() if not family.samples] == []


def test_nothing_else_is_served_and_who_is_slow_holds_no_place(up: Machine) -> None:
    assert get(up, "/healthz") == (200, "ok\n")
    assert get(up, "/../etc/passwd")[0] == 404
    status, body = get(up, "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "problems": []})
    host, port = yaml.safe_load(up.config_path.read_text())["proxy"]["metrics_listen"].split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(40)]
    try:

        def answers() -> bool:
            try:
                return get(up, "/healthz")[0] == 200
            except OSError:
                return False

        wait_for(answers, "room again for a probe", 30)
    finally:
        for connection in slow:
            connection.close()


def test_a_worker_that_hangs_or_is_gone_is_told(up: Machine) -> None:
    victim = up.child("proxy/1")
    os.kill(victim, signal.SIGSTOP)
    try:
        wait_for(lambda: get(up, "/readyz")[0] == 503, "readiness to fail")
        _, body = get(up, "/readyz")
        assert json.loads(body)["problems"] == ["worker 1: does not answer"]
        assert 'affidavit_proxy_up{worker="1"} 0.0' in get(up, "/metrics")[1]
        assert get(up, "/healthz")[0] == 200
    finally:
        os.kill(victim, signal.SIGCONT)
    wait_for(lambda: get(up, "/readyz")[0] == 200, "readiness to return")
    up.kill("proxy/1")
    wait_for(lambda: up.child("proxy/1") != victim and get(up, "/readyz")[0] == 200, "another worker", 60)


def test_others_cannot_open_the_workers_sockets(up: Machine) -> None:
    for n in range(2):
        path = Path(up.data_dir) / "run" / f"status-{n}.sock"
        assert path.stat().st_mode & 0o077 == 0
