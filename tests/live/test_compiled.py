"""What the images run, the hot modules compiled to C, is the proxy that the sources say: real clients, the guard, holds, masking.

The tests of these run once more over a compiled copy (`AFFIDAVIT_TEST_PACKAGES`), in a pytest of their own.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from deploy.compiled import HOT
from schemas.local_socket import address_of
from schemas.proxy_status import ProxyStatus, status_socket
from tests.support import affidavit, compiled_copy
from tests.support.postgres import Postgres

ROOT = Path(__file__).parents[2]
AGAIN = ("clients_psql", "clients_psycopg", "clients_asyncpg", "clients_protocol", "guard", "holds", "masking_dodges")
LEFT_OUT = ("history_is_judged", "policy_it_cannot_use", "log_out_of_reach", "decides_in_time")
"""About the command line or waiting, with nothing compiled in them."""


@pytest.fixture(scope="module")
def copy() -> Path:
    if reason := compiled_copy.missing():
        pytest.skip(reason)
    return compiled_copy.folder()


@pytest.fixture(scope="module")
def compiled(pg: Postgres, copy: Path) -> Iterator[affidavit.Proxy]:
    running = affidavit.Proxy(pg)
    running.packages = copy
    try:
        yield running.start()
    finally:
        running.kill()
        running.remove()


@pytest.mark.timeout(compiled_copy.BUILD_SECONDS + 60)
def test_every_hot_module_is_compiled(copy: Path) -> None:
    lacking = [name for name in HOT if not list((copy / name).parent.glob(f"{Path(name).stem}.*.so"))]
    assert lacking == []
    assert list((copy / "schemas").glob("_hot.*.so"))


def test_proxy_and_sealer_load_them_and_the_proxy_says_so(compiled: affidavit.Proxy) -> None:
    with psycopg.connect(**compiled.app()) as connection:
        assert connection.execute("SELECT 40 + 2").fetchone() == (42,)
    assert ProxyStatus.decode(_asked(compiled.data_dir / "run" / status_socket(0))).compiled
    listening = next(line for line in compiled.said().splitlines() if "listening" in line)
    assert re.search(r"compiled\W+(T|t)rue", listening), listening
    children = " ".join(path.read_text() for path in Path(f"/proc/{compiled.pid}/task").glob("*/children")).split()
    assert len(children) == 1  # the sealer
    for pid in (compiled.pid, *children):
        assert f"{compiled.packages}/ingest/spool/" in Path(f"/proc/{pid}/maps").read_text()


def _asked(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as asked, address_of(path) as address:
        asked.settimeout(10)
        asked.connect(address)
        return asked.makefile("rb").read()


def test_the_doctor_says_so(compiled: affidavit.Proxy) -> None:
    command = [sys.executable, "-P", "-c", "from deploy.cli import main; main()", "doctor", "-c", str(compiled.config_path)]
    environment = {**os.environ, "PYTHONPATH": str(compiled.packages)}
    done = subprocess.run(command, env=environment, cwd=compiled.folder, capture_output=True, text=True, check=False)
    assert "hot modules             compiled to C" in done.stdout


@pytest.mark.timeout(600)
def test_clients_guard_holds_and_masking_over_the_compiled_copy(copy: Path, tmp_path: Path) -> None:
    files = [str(ROOT / "tests" / "live" / f"test_{name}.py") for name in AGAIN]
    environment = {**os.environ, "AFFIDAVIT_TEST_PACKAGES": str(copy), "PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", f"not ({' or '.join(LEFT_OUT)})", *files],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 100, done.stdout[-500:]
