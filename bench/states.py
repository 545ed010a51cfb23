"""What does a principal's state cost a worker of `affidavit process`: in memory, and in RocksDB?

Each place in a process of its own: a changelog's states are heard, then some of them are looked up and kept anew. Columns: memory
that the process grew by, a state; µs to hear one, as at a worker's start, and to look one up and keep it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processors.principals import Principal, fold, trimmed
from processors.runtimes.states import States, place
from schemas.activity import HOUR_US, Activity, Bucket
from schemas.config import StatesKind

FIRST_HOUR = 480_000
SAMPLE = 20_000


def state(name: str, offset: int) -> Principal:
    """Return the state of somebody who used two databases in two hours."""
    made = Principal(principal=name)
    for step in range(4):
        hour = FIRST_HOUR + step // 2
        bucket = Bucket(
            hour=hour,
            database=("shop", "hr")[step % 2],
            events=100,
            denied=1,
            errors=2,
            rows_returned=4_000,
            first_at=hour * HOUR_US,
            last_at=hour * HOUR_US + 1_000_000,
            verbs={"select": 80, "insert": 15, "update": 5},
            classes={"email": 20, "person_name": 3},
        )
        at = (offset % 12, offset + step)
        made = trimmed(fold(made, Activity(principal=name, kind="agent", at=at, buckets=(bucket,))))
    return made


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(kind: StatesKind, count: int) -> None:
    """Print a line about one place."""
    with tempfile.TemporaryDirectory() as folder:
        where = place(kind, Path(folder) / "states")
        states = States(lambda partition, records: None, where)
        states.heard("state:warm", state("warm", 0).encode(), 0)
        size = len(state("agent-100000@example.com", 9).encode())
        before, heard = resident(), 0.0
        for n in range(count):
            data = state(f"agent-{n}@example.com", n).encode()
            began = time.perf_counter()
            states.heard(f"state:agent-{n}@example.com", data, n % 12)
            heard += time.perf_counter() - began
        grew = (resident() - before) / count
        names = [f"agent-{n * 7919 % count}@example.com" for n in range(min(SAMPLE, count))]
        began = time.perf_counter()
        for name in names:
            states.keep({name: states.state_of(name)}, 1, 0)
        kept = (time.perf_counter() - began) / len(names)
        print(
            f"{kind:8} {count:8,} states of {size} bytes: {grew:7,.0f} bytes each, heard {heard / count * 1e6:5.1f} µs, ", end=""
        )
        print(f"looked up and kept {kept * 1e6:5.1f} µs", flush=True)
        where.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer states")
    parser.add_argument("--only", choices=list(StatesKind), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(StatesKind(options.only), 50_000 if options.quick else 500_000)
        return
    for kind in StatesKind:
        more = ["--quick"] if options.quick else []
        subprocess.run([sys.executable, "-m", "bench.states", "--only", kind, *more], check=True)


if __name__ == "__main__":
    main()
