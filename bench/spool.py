"""What does the spool cost per statement? Prints microseconds of the calling thread, and of the sealer's process.

    python -m bench.spool [--quick] [--statements 200000] [--tick 1,8] [--durability write]

`tick` is how many statements share a commit, 1 for one client. As in the proxy, an outcome waits for the next intent's commit.
Fragments have the sizes of an ordinary event line (about 1 kB). Figures in docs come from here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from ingest.spool import Destination, Spool, load_or_create_signer
from schemas.config import AuditSettings, Durability
from schemas.log.place import LogPlace

CONTEXT = (
    b',"session_id":"0d7f2c9a51e84c0b","principal":{"id":"ann@example.com","kind":"human","groups":["engineering"],"auth_method":"token",'
    b'"credential_id":"c3f1a9","on_behalf_of":"","delegation":[]},"database":{"alias":"shop","engine":"postgres","environment":"production",'
    b'"name":"shop"},"db_user":"app","client":{"address":"127.0.0.1:51234","application":"pgbench","driver":"","tls":"TLSv1.3"}'
)
STATEMENT = (
    b',"text":"SELECT abalance FROM pgbench_accounts WHERE aid = $1","text_hash":"%064d","fingerprint":"%016d",'
    b'"facts":{"verbs":["select"],"reads":["public.pgbench_accounts"],"writes":[],"columns":[{"name":"public.pgbench_accounts.abalance","roles":["output"]},'
    b'{"name":"public.pgbench_accounts.aid","roles":["filter"]}],"functions":[],"flags":[]}'
)
DYNAMIC = (
    b',"kind":"simple","transaction":"I","params":["int:%016x"],"claims":{},"decision":{"verdict":"allow","policies":[],"bundle":"",'
    b'"risk":0,"approval_id":""}'
)
OUTCOME = (
    b',"ended_at":%d,"outcome":{"status":"ok","sqlstate":"","rows_returned":1,"rows_affected":0,"bytes_in":68,"bytes_out":91,'
    b'"db_us":%d,"held_us":0,"total_us":212},"exposure":{}'
)


def clock() -> int:
    return time.time_ns() // 1000


def run(statements: int, tick: int, durability: Durability) -> None:
    folder = Path(tempfile.mkdtemp(prefix="affidavit-bench-"))
    keys = folder / "keys"
    signer = load_or_create_signer(keys, "proxy/0")
    destination = Destination(LogPlace(folder / "log.db"), keys)
    settings = AuditSettings(durability=durability)
    spool = Spool.open(folder / "spool", "proxy/0", settings, clock, signer, destination=destination)
    shapes = [STATEMENT % (i, i) for i in range(50)]
    dynamics = [DYNAMIC % (i * 7919) for i in range(1000)]
    outcomes = [OUTCOME % (clock(), i) for i in range(1000)]
    spool.record("ProxyStarted", clock(), b"")
    spool.seal(clock(), wait=True)  # the sealer runs
    sealer = Path(f"/proc/{spool.sealer_pid}/stat")
    before = cpu_seconds(sealer)
    wall, thread = time.perf_counter_ns(), time.thread_time_ns()
    slowest = 0
    ended: list[int] = []
    for first in range(0, statements, tick):
        began = time.perf_counter_ns()
        at = clock()
        for number in ended:
            spool.conclude(number, outcomes[number % 1000])
        ended = [spool.intend(at, CONTEXT, shapes[i % 50], dynamics[i % 1000]) for i in range(first, first + tick)]
        spool.commit()
        if durability is Durability.FSYNC:
            spool.sync()
        slowest = max(slowest, time.perf_counter_ns() - began)
    thread, wall = time.thread_time_ns() - thread, time.perf_counter_ns() - wall
    for number in ended:
        spool.conclude(number, outcomes[number % 1000])
    spool.seal(clock(), wait=True)
    done = statements * 1000
    sealing = cpu_seconds(sealer) - before
    print(
        f"{durability:>5} tick {tick:>3}: loop thread {thread / done:5.2f} µs/statement, wall {wall / done:5.2f}, "
        f"slowest tick {slowest / 1000:.0f} µs; sealer {sealing * 1e6 / statements:5.2f}, "
        f"{memory_mib(spool.sealer_pid):.0f} MiB, {spool.stats.blocks_sealed} blocks"
    )
    spool.close(clock(), 10)
    shutil.rmtree(folder)


def cpu_seconds(stat: Path) -> float:
    """Processor time of a process so far, in user and system."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a fifth of the statements")
    options.add_argument("--statements", type=int, default=100_000)
    options.add_argument("--tick", default="1,8")
    options.add_argument("--durability", type=Durability, default=Durability.WRITE)
    chosen = options.parse_args()
    statements = chosen.statements // 5 if chosen.quick else chosen.statements
    for tick in chosen.tick.split(","):
        run(statements // int(tick) * int(tick), int(tick), chosen.durability)


if __name__ == "__main__":
    main()
