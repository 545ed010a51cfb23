"""A process to be killed: writes statements to a spool and tells an oracle file, line by line, what it was promised.

    python -m tests.support.spool_child FOLDER [thread|process]

reads seeds from standard input, forks a process for each (imports are done once) and prints its process id.
The oracle is a file opened for appending and written with one system call a line, so that it survives the kill as the spool must:
`i NAME` a commit returned after this intent, `c NAME` a commit returned after its outcome, `b NAME` it is about to be committed.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import structlog

from ingest.spool import Destination, Shipper, Spool
from schemas.config import AuditSettings
from schemas.log.place import LogPlace
from schemas.log.sqlite import SqliteLog
from tests.support.spools import CONTEXT, OK_OUTCOME, SOURCE, STARTED, STATEMENT, dynamic

MODE = sys.argv[2] if len(sys.argv) > 2 else "thread"
"""Who seals: a thread of the process, or a process of its own, whose id is then in the file `sealer`."""


def clock() -> int:
    return time.time_ns() // 1000


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            write_until_killed(Path(sys.argv[1]), int(line))
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)


def write_until_killed(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    oracle = os.open(folder / "oracle", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    settings = AuditSettings(seal_interval_ms=5, max_events_per_block=50, wal_segment_bytes=1024**2)
    if MODE == "process":
        spool = Spool.open(
            folder / "spool", SOURCE, settings, clock, None, destination=Destination(LogPlace(folder / "log.db"), None)
        )
    else:
        spool = Spool.open(folder / "spool", SOURCE, settings, clock, None)
        Shipper(spool, SqliteLog(folder / "log.db"), clock, poll_seconds=0.002).start()
    spool.record("ProxyStarted", clock(), STARTED)
    open_intents: list[tuple[int, str]] = []
    done = 0
    sealer = ""
    while True:
        began = []
        for _ in range(chance.randint(1, 8)):
            name = f"{seed}.{done}"
            done += 1
            os.write(oracle, b"b %b\n" % name.encode())
            began.append((spool.intend(clock(), CONTEXT, STATEMENT, dynamic(name, chance.choice([0, 0, 0, 3000]))), name))
        spool.commit()
        os.write(oracle, b"".join(b"i %b\n" % name.encode() for _, name in began))
        open_intents += began
        chance.shuffle(open_intents)
        ending = [open_intents.pop() for _ in range(chance.randint(0, len(open_intents)))]
        for number, _ in ending:
            spool.conclude(number, OK_OUTCOME)
        spool.commit()
        os.write(oracle, b"".join(b"c %b\n" % name.encode() for _, name in ending))
        if spool.seal_due(clock()):
            spool.seal(clock())
        if MODE == "process" and str(spool.sealer_pid) != sealer and spool.sealer_pid:
            sealer = str(spool.sealer_pid)
            (folder / "sealer.tmp").write_text(sealer)
            (folder / "sealer.tmp").replace(folder / "sealer")


if __name__ == "__main__":
    main()
