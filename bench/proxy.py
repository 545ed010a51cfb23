"""What does the audit proxy cost, beside PgBouncer, direct connections and pgaudit?

`pgbench -S` against one PostgreSQL: direct, through PgBouncer in session mode, and through one Affidavit worker with full
audit at the default durability; and direct against a second server whose pgaudit logs reads, writes and parameters.
No connection is encrypted. Rounds alternate (A B C D A B C D …); medians are printed, ratios first.

`compiled` is the same worker from `make compiled` (hot modules compiled to C), where that was built; `before` is one from another
checkout (`--before FOLDER`), to see in one run what a change brings. `sleeping` (`--sleeping`) is the compiled one, or the
plain one where none is, with `proxy.busy_poll_us: 0`.

    throughput   8 clients, simple and prepared mode: transactions a second, as a share of PgBouncer's
    processor    what those runs cost: µs of processor time a transaction, of the proxy and of its sealer (/proc/PID/stat);
                 steadier than throughput where other things run on the machine
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import affidavit, binaries, pgbouncer, postgres

PGAUDIT = {"shared_preload_libraries": "pgaudit", "pgaudit.log": "all", "pgaudit.log_parameter": "on"}
COMPILED = Path(__file__).parents[1] / "build" / "compiled"
MODES = ("simple", "prepared")
AGENTS = Path(__file__).parents[1] / "deploy" / "policies" / "agents.yaml"
POLICY = Path(__file__).parents[1] / "deploy" / "policies" / "production.yaml"


class Target(NamedTuple):
    """Where pgbench connects, and the processes that stand between it and the server: the proxy, then its sealer."""

    app: dict[str, Any]
    pids: tuple[int, ...] = ()

    def processor_us(self) -> list[float]:
        """Return the processor time each of its processes has had so far, in µs."""
        return [processor_us(pid) for pid in self.pids]


def processor_us(pid: int) -> float:
    """Return the processor time of a process so far, user and system, in µs (proc(5): the 14th and 15th field of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def with_sealer(pid: int) -> tuple[int, ...]:
    """Return a proxy's process and the child that seals for it."""
    children = [child for listed in Path(f"/proc/{pid}/task").glob("*/children") for child in listed.read_text().split()]
    sealers = [int(child) for child in children if b"ingest.spool.sealer" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return (pid, *sealers)


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
def targets(scale: int, bundles: Sequence[Path], before: Path | None, sleeping: bool) -> Iterator[dict[str, Target]]:
    """Run every server; yield them by name. `bundles` decide on every statement."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres.running(oracle=False))
        initialise(server.app(), scale)  # ahead of the proxies: a table that their catalogue does not know yet is masked whole
        bouncer = stack.enter_context(pgbouncer.running(server))
        audit: dict[str, Any] = {"audit": DEFAULT_AUDIT}
        if bundles:
            audit |= {"policy": {"files": [str(bundle) for bundle in bundles]}, "database": {"environment": "production"}}
        ours = stack.enter_context(affidavit.proxy(server, audit))
        found = {
            "direct": Target(server.app()),
            "pgbouncer": Target(bouncer.app(), (bouncer.pid,)),
            "affidavit": Target(ours.app("shop"), with_sealer(ours.pid)),
        }
        fastest = COMPILED if COMPILED.is_dir() else affidavit.ROOT
        for name, packages in (("compiled", COMPILED), ("before", before), ("sleeping", fastest if sleeping else None)):
            if packages is not None and packages.is_dir():
                other = affidavit.Proxy(server, audit | ({"proxy": {"busy_poll_us": 0}} if name == "sleeping" else {}))
                stack.callback(other.remove)
                other.packages = packages.resolve()
                stack.callback(other.start().kill)
                found[name] = Target(other.app("shop"), with_sealer(other.pid))
        if binaries.has_pgaudit(binaries.server()):
            audited = stack.enter_context(postgres.running({**PGAUDIT, "logging_collector": "on"}, oracle=False))
            with audited.superuser() as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS pgaudit")
            found["pgaudit"] = Target(audited.app())
            initialise(found["pgaudit"].app, scale)
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


class Taken(NamedTuple):
    """Measurements of one target in one mode, one of each a round."""

    tps: list[float]
    processor: list[list[float]]
    latency: list[float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--seconds", type=int, default=8, help="length of one run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="comma-separated targets")
    parser.add_argument("--before", type=Path, help="a checkout whose proxy is measured as well")
    parser.add_argument("--policy", action="store_true", help="decide by deploy/policies/production.yaml")
    parser.add_argument("--guard", action="store_true", help="by both starter bundles, their limits included")
    parser.add_argument("--sleeping", action="store_true", help="a proxy without busy polling as well")
    options = parser.parse_args()
    bundles = (POLICY, AGENTS) if options.guard else (POLICY,) if options.policy else ()
    seconds, rounds = (3, 1) if options.quick else (options.seconds, options.rounds)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    chosen = " --guard" if options.guard else " --policy" if options.policy else ""
    chosen += f" --before {options.before}" if options.before else ""
    chosen += " --sleeping" if options.sleeping else ""
    print(f"command: python -m bench.proxy --seconds {seconds} --rounds {rounds}{chosen}\n")
    with targets(10, bundles, options.before, options.sleeping) as found:
        if options.only:
            found = {name: found[name] for name in options.only.split(",")}
        for target in found.values():
            run_pgbench(target.app, seconds=1, mode="simple", clients=8)
        for mode in MODES:
            taken = {name: Taken([], [], []) for name in found}
            for _ in range(rounds):
                for name, target in found.items():
                    before = target.processor_us()
                    tps, _ = run_pgbench(target.app, seconds=seconds, mode=mode, clients=8)
                    spent = zip(target.processor_us(), before, strict=True)
                    taken[name].tps.append(tps)
                    taken[name].processor.append([(after - was) / (tps * seconds) for after, was in spent])
                for name, target in found.items():
                    latency = run_pgbench(target.app, seconds=max(2, seconds // 2), mode=mode, clients=1)[1]
                    taken[name].latency.append(latency)
            report(mode, taken)


def report(mode: str, taken: dict[str, Taken]) -> None:
    """Print one mode's medians and ratios."""
    rate = {name: statistics.median(t.tps) for name, t in taken.items()}
    median = {name: statistics.median(t.latency) for name, t in taken.items()}
    base = rate.get("pgbouncer", 0)
    print(f"{mode} mode        tps   of PgBouncer   of direct   proxy + sealer   median at 1 client   added to direct")
    for name, its in taken.items():
        of_bouncer = f"{rate[name] / base:.2f}" if base else "-"
        of_direct = f"{rate[name] / rate['direct']:.2f}" if "direct" in rate else "-"
        added = f"{median[name] - median['direct']:+.0f} µs" if "direct" in median else "-"
        parts = [statistics.median(of_process) for of_process in zip(*its.processor, strict=True)]
        spent = " + ".join(f"{part:.1f}" for part in parts) + " µs" if parts else "-"
        print(
            f"  {name:<12} {rate[name]:8.0f}   {of_bouncer:>12}   {of_direct:>9}   {spent:>14}   "
            f"{median[name]:15.0f} µs   {added:>15}"
        )
    theirs = median["pgbouncer"] - median["direct"] if {"pgbouncer", "direct"} <= median.keys() else 0
    for name in ("affidavit", "compiled", "sleeping"):
        if name in median and theirs > 0:
            print(f"  added latency, {name} to PgBouncer: {(median[name] - median['direct']) / theirs:.2f}")
    print()


if __name__ == "__main__":
    main()
