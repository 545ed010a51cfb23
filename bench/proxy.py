"""What does the audit proxy cost, beside PgBouncer, direct connections and pgaudit?

`pgbench -S` against one PostgreSQL: direct, through PgBouncer in session mode, and through one Affidavit worker with full
audit at the default durability; and direct against a second server whose pgaudit logs reads, writes and parameters.
No connection is encrypted. Rounds alternate (A B C D A B C D …); medians are printed, ratios first.

`compiled` is the same worker from `make compiled` (hot modules compiled to C), where that was built.

    throughput   8 clients, simple and prepared mode: transactions a second, as a share of PgBouncer's
    latency      1 client: median of each transaction's own time; what a proxy adds is its median less the direct one's
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import affidavit, binaries, pgbouncer, postgres

PGAUDIT = {"shared_preload_libraries": "pgaudit", "pgaudit.log": "all", "pgaudit.log_parameter": "on"}
COMPILED = Path(__file__).parents[1] / "build" / "compiled"
MODES = ("simple", "prepared")


def run_pgbench(target: dict[str, Any], *arguments: str, seconds: int, mode: str, clients: int) -> tuple[float, float]:
    """Return (transactions a second, median latency in µs) of one read-only run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [binaries.program("pgbench"), "-S", "-n", "-M", mode, "-c", str(clients), "-j", "1", "-T", str(seconds)]
        command += [*arguments, "-l", "--log-prefix", f"{folder}/t", "-h", target["host"], "-p", str(target["port"])]
        done = subprocess.run(
            [*command, "-U", target["user"], target["dbname"]],
            env={**os.environ, "PGPASSWORD": target["password"], "PGSSLMODE": "disable"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"pgbench failed: {done.stderr[-2000:]}")
        tps = next(float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("tps ="))
        took = [int(line.split()[2]) for path in Path(folder).glob("t*") for line in path.read_text().splitlines()]
        return tps, statistics.median(took)


@contextlib.contextmanager
def targets(scale: int) -> Iterator[dict[str, dict[str, Any]]]:
    """Run every server; yield connection parameters by name."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres.running(oracle=False))
        bouncer = stack.enter_context(pgbouncer.running(server))
        audit = {"audit": DEFAULT_AUDIT}
        ours = stack.enter_context(affidavit.proxy(server, audit))
        found = {"direct": server.app(), "pgbouncer": bouncer.app(), "affidavit": ours.app("shop")}
        if COMPILED.is_dir():
            quick = affidavit.Proxy(server, audit)
            stack.callback(quick.remove)
            quick.packages = COMPILED
            stack.callback(quick.start().kill)
            found["compiled"] = quick.app("shop")
        if binaries.has_pgaudit(binaries.server()):
            audited = stack.enter_context(postgres.running({**PGAUDIT, "logging_collector": "on"}, oracle=False))
            with audited.superuser() as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS pgaudit")
            found["pgaudit"] = audited.app()
        for name in ("direct", "pgaudit"):
            if name in found:
                initialise(found[name], scale)
        yield found


DEFAULT_AUDIT = {"seal_interval_ms": 200, "heartbeat_seconds": 10}
"""The defaults of schemas.config, which the tests' own settings would otherwise replace."""


def initialise(target: dict[str, Any], scale: int) -> None:
    """Make pgbench's tables."""
    command = [binaries.program("pgbench"), "-i", "-q", "-s", str(scale), "-h", target["host"], "-p", str(target["port"])]
    subprocess.run(
        [*command, "-U", target["user"], target["dbname"]],
        env={**os.environ, "PGPASSWORD": target["password"], "PGSSLMODE": "disable"},
        capture_output=True,
        check=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--seconds", type=int, default=8, help="length of one run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="comma-separated targets")
    options = parser.parse_args()
    seconds, rounds = (3, 1) if options.quick else (options.seconds, options.rounds)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"command: python -m bench.proxy --seconds {seconds} --rounds {rounds}\n")
    with targets(scale=10) as found:
        if options.only:
            found = {name: found[name] for name in options.only.split(",")}
        for target in found.values():
            run_pgbench(target, seconds=1, mode="simple", clients=8)
        for mode in MODES:
            tps: dict[str, list[float]] = {name: [] for name in found}
            latency: dict[str, list[float]] = {name: [] for name in found}
            for _ in range(rounds):
                for name, target in found.items():
                    tps[name].append(run_pgbench(target, seconds=seconds, mode=mode, clients=8)[0])
                for name, target in found.items():
                    latency[name].append(run_pgbench(target, seconds=max(2, seconds // 2), mode=mode, clients=1)[1])
            report(mode, tps, latency)


def report(mode: str, tps: dict[str, list[float]], latency: dict[str, list[float]]) -> None:
    """Print one mode's medians and ratios."""
    rate = {name: statistics.median(values) for name, values in tps.items()}
    median = {name: statistics.median(values) for name, values in latency.items()}
    base = rate.get("pgbouncer", 0)
    print(f"{mode} mode        tps   of PgBouncer   of direct   median at 1 client   added to direct")
    for name in tps:
        of_bouncer = f"{rate[name] / base:.2f}" if base else "-"
        of_direct = f"{rate[name] / rate['direct']:.2f}" if "direct" in rate else "-"
        added = f"{median[name] - median['direct']:+.0f} µs" if "direct" in median else "-"
        print(f"  {name:<12} {rate[name]:8.0f}   {of_bouncer:>12}   {of_direct:>9}   {median[name]:12.0f} µs   {added:>15}")
    theirs = median.get("pgbouncer", 0) - median.get("direct", 0)
    for name in ("affidavit", "compiled"):
        if name in median and theirs > 0:
            print(f"  added latency, {name} to PgBouncer: {(median[name] - median['direct']) / theirs:.2f}")
    print()


if __name__ == "__main__":
    main()
