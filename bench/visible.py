"""How long after a statement ends is its row there for an analyst?

The whole of Affidavit on one machine, pgbench running beside the probe at a fixed rate. The probe runs a statement with
a ticket of its own through the proxy and asks the API for that ticket until it answers with the row: what is measured
is what a person sees, the API's own time included. Settings are the defaults.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg

from bench.proxy import DEFAULT_AUDIT, initialise
from tests.support import affidavit, binaries, postgres

POLL_SECONDS = 0.01


def probe(machine: affidavit.Machine, connection: psycopg.Connection[object], token: str, number: int) -> float:
    """Return the seconds from the end of a statement to its row in an answer of the API."""
    ticket = f"probe-{number}"
    connection.execute(f"SELECT 1 /*ticket='{ticket}'*/")
    ended = time.perf_counter()
    with httpx.Client(base_url=f"http://127.0.0.1:{machine.api_port}", headers={"Authorization": f"Bearer {token}"}) as api:
        while time.perf_counter() - ended < 60:
            answer = api.get("/api/v1/events", params={"q": f"claim.ticket:{ticket}", "from": "-5m"})
            answer.raise_for_status()
            if answer.json()["items"]:
                return time.perf_counter() - ended
            time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{ticket} was not visible within a minute")


def load(target: dict[str, object], rate: int, seconds: int) -> None:
    """Run pgbench beside the probe."""
    command = [binaries.program("pgbench"), "-S", "-n", "-M", "prepared", "-c", "8", "-R", str(rate), "-T", str(seconds)]
    command += ["-h", str(target["host"]), "-p", str(target["port"]), "-U", str(target["user"]), str(target["dbname"])]
    environment = {**os.environ, "PGPASSWORD": str(target["password"]), "PGSSLMODE": "disable"}
    subprocess.run(command, env=environment, capture_output=True, check=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few probes")
    parser.add_argument("--probes", type=int, default=100)
    options = parser.parse_args()
    probes = 15 if options.quick else options.probes
    print(f"{platform.platform()}, {os.cpu_count()} cores; command: python -m bench.visible --probes {probes}")
    with postgres.running(oracle=False) as server, affidavit.machine(server, {"audit": DEFAULT_AUDIT}) as machine:
        initialise(server.app(), scale=1)
        token = machine.token("soc", roles=["analyst"])
        target = machine.app("shop")
        with psycopg.connect(**target, autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
            for rate in (0, 1000):
                beside = pool.submit(load, target, rate, 10 + probes) if rate else None
                time.sleep(1)
                took = sorted(probe(machine, connection, token, rate * 1000 + n) for n in range(probes))
                p99 = took[min(len(took) - 1, round(len(took) * 0.99))]
                print(
                    f"{rate:>6} statements/s beside: statement end to row visible p50 {statistics.median(took) * 1000:.0f} ms, "
                    f"p99 {p99 * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms, {probes} probes"
                )
                if beside is not None:
                    beside.cancel()


if __name__ == "__main__":
    main()
