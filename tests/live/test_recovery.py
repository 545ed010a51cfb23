"""A site is lost, and comes back from what docs/operations.md says to back up: nothing that was backed up is missing or twice.

The backup is taken while everything runs; then every process is killed and the data directory is gone.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml

from deploy.layout import DataDir
from tests.support.affidavit import ROOT, Machine
from tests.support.ports import wait_for
from tests.support.postgres import Postgres


def command(*arguments: str) -> str:
    line = [sys.executable, "-c", "from deploy.cli import main; main()", *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout or done.stderr


def statements(up: Machine, token: str, first: int, last: int) -> None:
    with psycopg.connect(**up.app(token=token), autocommit=True) as client:
        for n in range(first, last):
            client.execute(f"SELECT {n} AS recovery_{n}")  # type: ignore[call-overload]


def stored(up: Machine) -> Counter[str]:
    """How often each of our statements is in the store, as the API has it."""
    headers = {"authorization": f"Bearer {DataDir(up.data_dir).local_token.read_text()}"}
    url = f"http://127.0.0.1:{up.api_port}/api/v1/events"
    answer = httpx.get(url, params={"q": "recovery", "limit": 500}, headers=headers, trust_env=False, timeout=20).json()
    return Counter(name for item in answer["items"] for name in item["text"].split() if name.startswith("recovery_"))


def back_up(data: Path, to: Path) -> None:
    """As docs/operations.md says."""
    to.mkdir()
    shutil.copytree(data / "keys", to / "keys")
    with sqlite3.connect(data / "identity.db") as database:
        database.execute("VACUUM INTO ?", (str(to / "identity.db"),))
    shutil.copytree(data / "archive", to / "archive")


def test_a_lost_site_comes_back_from_its_backup(pg: Postgres, tmp_path: Path) -> None:
    expected = Counter(f"recovery_{n}" for n in range(30))
    lost = Machine(pg).start()
    try:
        token = lost.token("ana")
        statements(lost, token, 0, 30)
        wait_for(lambda: stored(lost) == expected, "all statements in the store", 60)
        back_up(lost.data_dir, tmp_path / "backup")
        statements(lost, token, 100, 110)  # after the backup: lost with the site
        for name in ("proxy/0", lost.node):
            lost.kill(name)
    finally:
        lost.end()
    assert not lost.data_dir.exists()

    site = Machine(pg)
    try:
        for name in ("keys", "archive"):
            shutil.copytree(tmp_path / "backup" / name, site.data_dir / name, dirs_exist_ok=True)
        shutil.copy(tmp_path / "backup" / "identity.db", site.data_dir / "identity.db")
        assert "rows from" in command("archive", "rebuild", "-c", str(site.config_path))
        with pytest.raises(AssertionError, match=rf"source {site.node} has blocks .* give api\.name a name that was never used"):
            site.start()
        settings = yaml.safe_load(site.config_path.read_text())
        settings["api"]["name"], settings["proxy"] = "node-2", {"name": "proxy-2"}
        site.config_path.write_text(yaml.safe_dump(settings))
        site.start()
        assert stored(site) == expected
        statements(site, token, 30, 40)  # with a token of the lost site
        expected += Counter(f"recovery_{n}" for n in range(30, 40))
        wait_for(lambda: stored(site) == expected, "new statements beside the old", 60)
        assert site.stop() == 0
        report = json.loads(command("archive", "verify", "--json", "-c", str(site.config_path)))
        assert report["ok"] is True
        assert set(report["sources"]) == {site.node, "node-2/0", "proxy/0", "proxy-2/0"}
    finally:
        site.end()
