"""What do statements that wait for approvals cost? A proxy, a server, and so many clients that each wait at once.

    python -m bench.holds [--sessions 1000] [--quick]

Prints, in one run: memory of the proxy with idle sessions and with the same sessions waiting, its processor time meanwhile, what
another session notices (median of SELECT 1), and how long it takes until all are served after all were approved.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
import yaml

from schemas.control import ApprovalDecided, publish
from schemas.control_keys import load_control_signer
from schemas.log.sqlite import SqliteLog
from tests.support.affidavit import Proxy
from tests.support.deciders import executions, requests
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

RULE = {
    "id": "hold-deletes",
    "effect": "hold",
    "when": "'delete' in statement.verbs",
    "reason": "Somebody looks first.",
    "approvers": {"groups": ["dba"]},
}
TICKS = os.sysconf("SC_CLK_TCK")
OTHERS = 300
"""SELECTs of the other session, for one median."""


async def measure(server: Postgres, sessions: int, policy: Path) -> None:
    overrides = {"policy": {"files": [str(policy)]}, "proxy": {"max_connections": sessions + 50}}
    overrides["approvals"] = {"max_open": sessions, "max_hourly": sessions}
    proxy = Proxy(server, overrides).start()
    try:
        to = proxy.app()
        async with await psycopg.AsyncConnection.connect(**to, autocommit=True) as setup:
            await setup.execute("CREATE TABLE many (a int PRIMARY KEY)")
            await setup.execute(f"INSERT INTO many SELECT generate_series(1, {sessions})")
        clients = [c for start in range(0, sessions, 50) for c in await some(to, min(50, sessions - start))]
        before, alone, idle = proxy.memory("VmRSS"), await others(to), await processor_over(proxy, 5)
        head = f"{sessions} idle sessions: {before / 1e6:.1f} MB, {100 * idle:.1f} % of a core"
        print(f"{head}; SELECT 1 of another {alone * 1e6:.0f} µs")
        tasks = [asyncio.create_task(c.execute(f"DELETE FROM many WHERE a = {n}")) for n, c in enumerate(clients, 1)]
        began = time.monotonic()
        await asyncio.to_thread(wait_for, lambda: len(requests(proxy)) == sessions, "all requests", 120)
        asked = time.monotonic() - began
        during, cpu = await others(to), await processor_over(proxy, 5)
        waiting = proxy.memory("VmRSS")
        print(
            f"{sessions} waiting: {waiting / 1e6:.1f} MB, {(waiting - before) / sessions / 1e3:.1f} kB each; "
            f"SELECT 1 of another {during * 1e6:.0f} µs; {100 * cpu:.1f} % of a core; all asked for within {asked:.1f} s"
        )
        began = time.monotonic()
        approve_all(proxy)
        done = await asyncio.gather(*tasks)
        print(f"all approved and served within {time.monotonic() - began:.1f} s after the first decision")
        assert all(cursor.rowcount == 1 for cursor in done)
        await asyncio.to_thread(wait_for, lambda: all(executions(proxy, r) for r in requests(proxy)[:3]), "events", 30)
        for client in clients:
            await client.close()
    finally:
        proxy.stop()
        proxy.remove()


async def some(to: dict[str, Any], count: int) -> list[psycopg.AsyncConnection[Any]]:
    return list(await asyncio.gather(*(psycopg.AsyncConnection.connect(**to, autocommit=True) for _ in range(count))))


async def others(to: dict[str, Any]) -> float:
    """Return the median of SELECT 1, in seconds, of a client in a process of its own: this one has its clients to wake."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, median, to)


def median(to: dict[str, Any]) -> float:
    found = []
    with psycopg.connect(**to, autocommit=True) as connection:
        for _ in range(OTHERS):
            began = time.perf_counter()
            connection.execute("SELECT 1")
            found.append(time.perf_counter() - began)
    return statistics.median(found)


async def processor_over(proxy: Proxy, seconds: float) -> float:
    """Return which share of a core a proxy uses while its clients do nothing."""

    def used() -> float:
        fields = Path(f"/proc/{proxy.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    before = used()
    await asyncio.sleep(seconds)
    return (used() - before) / seconds


def approve_all(proxy: Proxy) -> None:
    at = time.time_ns() // 1000
    said = {"at": at, "actor": "bob", "approved": True, "principal": "bob", "kind": "human", "groups": ("dba",)}
    log = SqliteLog(proxy.data_dir / "log" / "log.db")
    signer = load_control_signer(proxy.data_dir / "keys")
    publish(log, [ApprovalDecided(**said, approval_id=r["approval_id"], binding=r["binding"]) for r in requests(proxy)], signer)
    log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="100 sessions")
    given = parser.parse_args()
    sessions = 100 if given.quick else given.sessions
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.yaml"
        policy.write_text(yaml.safe_dump({"bundle": "bench", "rules": [RULE]}))
        server = Postgres({"max_connections": str(sessions + 100)}, oracle=False)
        server.start()
        try:
            asyncio.run(measure(server, sessions, policy))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
