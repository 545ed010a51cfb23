"""What does a client meet when the spool's disk is full? Refusing, nothing more runs and the error says why; passing, it counts.

The spool lies on a small file system of its own (tmpfs; needs root) that a ballast file fills while a session is open. The
server's log is the oracle: of what ran while the disk was full, and that what ran before is in the trail.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import affidavit
from tests.support.clients import Parameters
from tests.support.ports import wait_for
from tests.support.postgres import Postgres
from tests.support.small_disk import fill, mounted

SIZE = 12 * 1024 * 1024
MOST = 20_000  # statements that fit beside a full disk: the spool's segments hold room made before; far fewer than this


@contextlib.contextmanager
def _proxy(pg: Postgres, on_failure: str) -> Iterator[tuple[affidavit.Proxy, Path]]:
    running = affidavit.Proxy(
        pg,
        {
            "audit": {
                "on_failure": on_failure,
                "wal_segment_bytes": 1024**2,
                "spool_limit_bytes": 64 * 1024**2,
                "heartbeat_seconds": 0.5,
            }
        },
    )
    try:
        with mounted(running.data_dir / "spool", SIZE) as disk:
            running.start()
            yield running, disk / "ballast"
            if running.process is not None:
                running.stop()
    finally:
        if running.process is not None:
            running.kill()
        running.remove()


def _insert(connection: psycopg.Connection[tuple[object, ...]], n: int) -> None:
    if n % 2:
        connection.execute("INSERT INTO disk_ledger VALUES (%s)", (n,))
    else:
        connection.execute(f"INSERT INTO disk_ledger VALUES ({n})")


@pytest.fixture
def ledger(pg: Postgres) -> Iterator[None]:
    with pg.superuser() as admin:
        admin.execute("CREATE TABLE disk_ledger (n int PRIMARY KEY)")
        admin.execute("GRANT ALL ON disk_ledger TO app_owner")
        yield
        admin.execute("DROP TABLE disk_ledger")


def _held(pg: Postgres) -> set[int]:
    with pg.superuser() as admin:
        return {n for (n,) in admin.execute("SELECT n FROM disk_ledger").fetchall()}


def test_refusing(pg: Postgres, ledger: None) -> None:
    with _proxy(pg, "refuse") as (proxy, ballast):
        to: Parameters = {**proxy.app(), "application_name": "full-refuse"}
        with psycopg.connect(**to, autocommit=True) as connection:
            n = ran = 0
            refused: psycopg.Error | None = None
            _insert(connection, n)
            fill(ballast)
            while refused is None and n < MOST:
                n, ran = n + 1, n + 1
                fill(ballast)  # what sealed segments give back is taken as well
                try:
                    _insert(connection, n)
                except psycopg.Error as error:
                    refused = error
            assert refused is not None, f"{n} statements went through beside a full disk"
            assert refused.sqlstate == "53100", proxy.said()[-2000:]
            assert "could not be recorded" in str(refused)
            assert str(proxy.data_dir / "spool") in (refused.diag.message_hint or "") + (refused.diag.message_detail or "")
            before = len(pg.executed())
            for more in (n + 2, n + 3):  # simple and extended alike; the connection survives
                with pytest.raises(psycopg.errors.DiskFull):
                    _insert(connection, more)
            with pytest.raises(psycopg.errors.DiskFull), connection.pipeline():
                connection.execute("DELETE FROM disk_ledger")
            with pytest.raises(psycopg.errors.DiskFull):
                connection.execute("BEGIN; DELETE FROM disk_ledger; COMMIT")
            executed = [line.text for line in pg.executed()[before:] if line.application == "full-refuse"]
            assert not [text for text in executed if "disk_ledger" in text], executed
            assert _held(pg) == set(range(ran))

            ballast.unlink()

            def works_again() -> bool:
                with contextlib.suppress(psycopg.errors.DiskFull):
                    _insert(connection, 1_000_000)
                    return True
                return False

            wait_for(works_again, "statements to be taken again", poll=0.1)
        events = [e for e in proxy.trail.session("full-refuse") if e["facts"]["writes"] == ["public.disk_ledger"]]
        done = [event for event in events if event["outcome"]["status"] == "ok"]
        assert len(done) == ran + 1, "everything that ran is in the trail"
        assert "Traceback" not in proxy.said()


def test_passing_is_counted(pg: Postgres, ledger: None) -> None:
    with _proxy(pg, "pass") as (proxy, ballast):
        to: Parameters = {**proxy.app(), "application_name": "full-pass"}
        with psycopg.connect(**to, autocommit=True) as connection:
            _insert(connection, 0)
            fill(ballast)
            n = 0
            while "spool refuses" not in proxy.said() and n < MOST:
                n += 1
                fill(ballast)
                _insert(connection, n)
            for _ in range(20):
                n += 1
                fill(ballast)
                _insert(connection, n)
            assert _held(pg) == set(range(n + 1))
            ballast.unlink()
        recorded = [e for e in proxy.trail.session("full-pass") if e["facts"]["writes"] == ["public.disk_ledger"]]
        passed = n + 1 - len(recorded)
        assert passed >= 20

        def counted() -> bool:
            beats = proxy.trail.of_type("Heartbeat")
            return bool(beats) and beats[-1]["passed_unaudited"] >= passed

        wait_for(counted, "a heartbeat that counts what passed", poll=0.1)
        assert proxy.trail.of_type("Heartbeat")[-1]["passed_unaudited"] == passed
