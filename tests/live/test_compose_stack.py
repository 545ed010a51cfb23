"""The compose file, by the reader that docker compose itself uses; and that what it mounts and runs is there."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli import run
from deploy.config import load
from processors.sinks.clickhouse import connect
from processors.sinks.users import users_script
from schemas.config import ClickHouseSettings, Config
from tests.support import go_tools
from tests.support.clickhouse import serving
from tests.support.promtool import promtool

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"
pytestmark = pytest.mark.skipif(
    "compose-go" in go_tools.missing(), reason="compose-go is not here; make provision builds it where Go is"
)


def read(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([go_tools.tool("compose-go"), str(path)], cwd=COMPOSE, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    done = read(COMPOSE / "compose.yaml")
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)  # type: ignore[no-any-return]


def test_a_fault_is_found(tmp_path: Path) -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    for old, new in (
        ("stop_grace_period", "stop_grace_periods"),
        ("service_healthy", "service_well"),
        ("127.0.0.1:6432:6432", "6432:x"),
    ):
        broken = tmp_path / "compose.yaml"
        broken.write_text(text.replace(old, new, 1))
        assert read(broken).returncode != 0, new


def test_names_are_of_things_in_the_file(stack: dict[str, Any]) -> None:
    """compose-go's command reads the model and leaves this to the engine."""
    for name, service in stack["services"].items():
        assert set(service.get("depends_on", ())) <= set(stack["services"]), name
        volumes = {volume["source"] for volume in service.get("volumes", ()) if volume["type"] == "volume"}
        assert volumes <= set(stack["volumes"]), name


def test_what_is_mounted_and_built_is_there(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        for volume in service.get("volumes", ()):
            if volume["type"] == "bind":
                assert Path(volume["source"]).is_file(), f"{name} mounts {volume['source']}"
        if build := service.get("build"):
            dockerfile = (Path(build["context"]) / build["dockerfile"]).read_text()
            assert f" AS {build['target']}\n" in dockerfile, name


def test_our_containers_are_confined_and_run_commands_of_ours(stack: dict[str, Any]) -> None:
    ours = {name: service for name, service in stack["services"].items() if "build" in service}
    assert set(ours) == {"topics", "proxy", "process", "api"}
    for name, service in ours.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        command = (service.get("command") or [service["build"]["target"]])[0]
        assert run([command, "--help"]) == 0, name


def test_only_this_machine_is_let_in(stack: dict[str, Any]) -> None:
    opened = [port for service in stack["services"].values() for port in service.get("ports", ())]
    assert opened
    assert {port["host_ip"] for port in opened} == {"127.0.0.1"}


SECTIONS = {
    "proxy": ("databases", "policy", "identity", "log"),
    "process": ("log", "clickhouse"),
    "api": ("log", "clickhouse", "api"),
    "migrate": ("clickhouse",),
    "topics": ("log",),
}
LOGINS = {"process": "writer", "api": "reader", "migrate": "migrator"}


def configured(stack: dict[str, Any], name: str) -> Config:
    """A service's configuration, as it reads it from what is mounted and from its environment."""
    service = stack["services"][name]
    mounted = {volume["target"]: volume["source"] for volume in service["volumes"]}
    return load(Path(mounted["/etc/affidavit/affidavit.yaml"]), service.get("environment", {}), sections=SECTIONS[name])


@pytest.mark.parametrize("name", SECTIONS)
def test_a_role_reads_its_configuration_with_its_own_secrets_alone(stack: dict[str, Any], name: str) -> None:
    secrets = {"SHOP_PASSWORD"} if name == "proxy" else {"CLICKHOUSE_PASSWORD"} if name in LOGINS else set()
    assert set(stack["services"][name].get("environment", {})) == secrets
    config = configured(stack, name)
    hosts = {config.clickhouse.host} if name in LOGINS else set()
    hosts |= {server.partition(":")[0] for server in config.log.kafka.bootstrap_servers} if name != "migrate" else set()
    hosts |= {database.upstream.host for database in config.databases}
    assert hosts
    assert hosts <= set(stack["services"])


def test_each_role_logs_in_to_clickhouse_as_somebody_else(stack: dict[str, Any]) -> None:
    """And each with a password that only it, and who makes the users, is given."""
    making = stack["services"]["clickhouse-users"]["environment"]
    passwords = {
        f"{user}_PASSWORD".upper(): making[f"{user}_PASSWORD".upper()] for user in (*LOGINS.values(), "auditor", "admin")
    }
    assert passwords == making
    assert len(set(making.values())) == len(making)
    for name, user in LOGINS.items():
        assert configured(stack, name).clickhouse.user == user
        assert stack["services"][name]["environment"]["CLICKHOUSE_PASSWORD"] == making[f"{user.upper()}_PASSWORD"]
    grafana = stack["services"]["grafana"]["environment"]
    assert (grafana["AFFIDAVIT_CLICKHOUSE_USER"], grafana["AFFIDAVIT_CLICKHOUSE_PASSWORD"]) == (
        "auditor",
        making["AUDITOR_PASSWORD"],
    )
    needs = {name: service.get("depends_on", {}) for name, service in stack["services"].items()}
    assert needs["process"]["migrate"] == needs["migrate"]["clickhouse-users"]  # each only when the one before it is done
    assert needs["migrate"]["clickhouse-users"]["condition"] == "service_completed_successfully"


def test_the_users_and_rights_shipped_are_those_of_this_version(stack: dict[str, Any], tmp_path: Path) -> None:
    """What the container prints, by the shell, and every statement of it by the engine's parser."""
    service = stack["services"]["clickhouse-users"]
    mounted = {volume["target"]: Path(volume["source"]) for volume in service["volumes"]}
    script = mounted["/etc/affidavit/users.sh"]
    assert {path.parent for path in mounted.values()} == {script.parent}
    shipped = mounted["/etc/affidavit/users.sql"].read_text().splitlines()[1:]
    assert shipped == [f"{statement};" for statement in users_script(ClickHouseSettings(interface="http"))]
    environment = {"PATH": os.environ["PATH"], **service["environment"], "READER_PASSWORD": "it's; DROP"}
    done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=True)
    assert not any(password in done.stdout for password in environment.values())
    assert hashlib.sha256(b"it's; DROP").hexdigest() in done.stdout
    statements = [s for s in re.split(r";\n", re.sub(r"^--.*\n", "", done.stdout)) if s]
    assert statements[: len(shipped)] == [line.removesuffix(";") for line in shipped]
    assert len(statements) == len(shipped) + 4 * len(LOGINS | {"grafana": "auditor"})
    assert all(" IDENTIFIED WITH sha256_hash BY '" in s for s in statements if "CREATE USER" in s)  # from the first moment
    with serving() as server:
        store = connect(server.settings(), tmp_path)
        for statement in statements:
            assert store.client.command(f"EXPLAIN AST {statement}"), statement
        store.close()
    del environment["WRITER_PASSWORD"]
    lacking = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert (lacking.returncode != 0, lacking.stdout) == (True, "")
    assert "WRITER_PASSWORD" in lacking.stderr


def test_who_makes_the_users_is_logged_in_by_a_password_that_no_process_list_shows(stack: dict[str, Any], tmp_path: Path) -> None:
    """The container's command, run by the shell, with a client that writes down what it was given."""
    service = stack["services"]["clickhouse-users"]
    mounted = {volume["target"]: volume["source"] for volume in service["volumes"]}
    (command,) = service["command"]
    command = command.replace("$$", "$").replace("/tmp/", f"{tmp_path}/")
    for inside, outside in mounted.items():
        command = command.replace(inside, outside)
    client = tmp_path / "clickhouse-client"
    client.write_text(
        f'#!/bin/sh\nprintf \'%s\\n\' "$@" > {tmp_path}/told\nprintf %s "$CLICKHOUSE_PASSWORD" > {tmp_path}/password\n'
    )
    client.chmod(0o755)
    environment = {**service["environment"], "PATH": f"{tmp_path}:{os.environ['PATH']}", "ADMIN_PASSWORD": "it's $HOME"}
    subprocess.run([*service["entrypoint"], command], env=environment, check=True)
    assert (tmp_path / "password").read_text() == "it's $HOME"
    told = (tmp_path / "told").read_text().splitlines()
    assert told == ["--host", "clickhouse", "--user", "admin", "--queries-file", f"{tmp_path}/users.sql"]
    assert "CREATE USER" in (tmp_path / "users.sql").read_text()


def test_prometheus_reads_its_configuration(tmp_path: Path) -> None:
    text = (COMPOSE / "prometheus" / "prometheus.yaml").read_text()
    rules = COMPOSE.parent / "prometheus" / "alerts.yaml"
    config = tmp_path / "prometheus.yaml"
    config.write_text(text.replace("/etc/prometheus/alerts.yaml", str(rules)))
    done = subprocess.run([promtool(), "check", "config", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_grafana_gets_every_dashboard_and_what_its_data_sources_are_named_by(stack: dict[str, Any]) -> None:
    grafana = stack["services"]["grafana"]
    mounted = {volume["source"]: volume["target"] for volume in grafana["volumes"] if volume["type"] == "bind"}
    folder = COMPOSE.parent / "grafana"
    files = {str(path) for path in (*folder.glob("dashboards/*.json"), *folder.glob("provisioning/*/*.yaml"))}
    assert {str(Path(source).resolve()) for source in mounted} == files
    provider = yaml.safe_load((folder / "provisioning" / "dashboards" / "affidavit.yaml").read_text())["providers"][0]
    targets = {target for source, target in mounted.items() if source.endswith(".json")}
    assert {str(Path(target).parent) for target in targets} == {provider["options"]["path"]}
    sources = (folder / "provisioning" / "datasources" / "affidavit.yaml").read_text()
    assert set(re.findall(r"\$([A-Z_]+)", sources)) <= set(grafana["environment"])


def test_prometheus_scrapes_every_role_where_it_listens(stack: dict[str, Any]) -> None:
    scraped = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"][0]["static_configs"]
    proxy, process, api = (configured(stack, name) for name in ("proxy", "process", "api"))
    listens = {"proxy": proxy.proxy.metrics_listen, "api": api.api.listen, "process": process.process.listen}
    assert set(scraped[0]["targets"]) == {f"{role}:{str(listen).rpartition(':')[2]}" for role, listen in listens.items()}
