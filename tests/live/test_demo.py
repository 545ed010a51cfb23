"""`affidavit demo`: the first thing a newcomer runs. Its summary is checked, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg

from tests.support.ports import accepts, wait_for

GUARD = (
    "it sees 1, [masked], ***@example.com",
    "policy denied it, the session goes on",
    "lee denied ALTER TABLE payments DROP COLUMN card_last4",
    "lee approved DROP TABLE scratch",
    "held, approved",
    "3 refused: all there, none twice",
)
DEMO = [sys.executable, "-c", "from deploy.cli import main; main()", "demo"]


def environment(folder: Path) -> dict[str, str]:
    folder.chmod(0o755)  # the demonstration's server may run as another user
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    return {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}


def test_once_ends_with_a_true_summary_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([*DEMO, "--once"], capture_output=True, text=True, timeout=200, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary == {
        "events": summary["rows_in_clickhouse"],
        "principals": 3,
        "databases": 2,
        "rows_in_clickhouse": summary["rows_in_clickhouse"],
        "lost": 0,
        "duplicates": 0,
        "api": "ok",
    }
    assert summary["events"] > 400
    for seen in ("storefront", "dana", "copilot", "42703", "12,000 rows", "flag:no_where", "revoked token was refused", *GUARD):
        assert seen in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_serves_until_told_to_stop(tmp_path: Path) -> None:
    output = tmp_path / "said"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with output.open("wb") as file:
        demo = subprocess.Popen(DEMO, stdout=file, stderr=file, env=environment(scratch), start_new_session=True)
    try:
        wait_for(
            lambda: "Serving until Ctrl-C" in output.read_text() or demo.poll() is not None, "the demonstration to serve", 120
        )
        said = output.read_text()
        assert demo.poll() is None, said
        url = re.search(r"look +(http://[^/\s]+)/", said)
        token = re.search(r"/login#token=(\S+)", said)
        psql = re.search(r"PGPASSWORD=(\S+) psql -h (\S+) -p (\d+) -U (\S+) (\S+)", said)
        assert url
        assert token
        assert psql
        headers = {"authorization": f"Bearer {token[1]}"}
        found = httpx.get(f"{url[1]}/api/v1/events", params={"q": "principal_kind:agent"}, headers=headers, trust_env=False)
        assert {e["principal"]["on_behalf_of"] for e in found.json()["items"]} == {"dana"}
        password, host, port, user, database = psql.groups()
        with psycopg.connect(host=host, port=port, user=user, dbname=database, password=password) as connection:
            assert connection.execute("SELECT count(*) FROM customers").fetchone() == (12_000,)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0, output.read_text()
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGTERM)
            demo.wait(60)
    assert not accepts(int(port))
    assert list(scratch.iterdir()) == []
