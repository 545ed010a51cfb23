"""Runs a Faust worker over a data directory and a broker, as a process to kill: works until SIGTERM, prints its status.

python -m tests.support.faust_child <options as JSON>

Options: data (folder), broker and prefix (or kafka: settings), group, most (rejected), slow (seconds an insert), store
(settings), archive (folder), sweep (seconds between looks for idle principals), states (where these are kept).
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from deploy.logs import configure
from processors.archive import Archive
from processors.runtimes.faust_app import FaustRuntime
from processors.runtimes.folding import SWEEP_SECONDS
from processors.runtimes.states import place
from processors.runtimes.work import PipelineError
from processors.sinks.clickhouse import Store, StoreUnavailableError, connect
from schemas.config import ClickHouseSettings, KafkaSettings, StatesKind


class SlowStore(Store):
    """A store whose inserts take their time, and now and then refuse."""

    seconds = 0.0
    inserts = 0

    def insert(self, table: str, rows: Any, token: str | None) -> None:
        self.inserts += 1
        time.sleep(self.seconds)
        if self.seconds and self.inserts % 5 == 2:
            raise StoreUnavailableError("told to be out of reach")
        super().insert(table, rows, token)


async def main(arguments: list[str]) -> int:
    """Work until told to stop; exit code 3 where the worker stopped by itself."""
    o: dict[str, Any] = orjson.loads(arguments[0])
    data = Path(o["data"])
    configure("process")
    store = connect(ClickHouseSettings.model_validate(o.get("store", {})), data)
    store.migrate()
    if o.get("slow"):
        store.__class__, SlowStore.seconds = SlowStore, o["slow"]
    reached = o.get("kafka") or {
        "bootstrap_servers": [o["broker"]],
        "topic_prefix": o["prefix"],
        "replication": 1,
        "security": {"tls": False},
    }
    archive = Archive(Path(o.get("archive") or data / "archive"))
    states = place(StatesKind(o.get("states", "memory")), data / "states")
    runtime = FaustRuntime(
        KafkaSettings.model_validate(reached),
        store,
        archive,
        lambda: time.time_ns() // 1000,
        data / "keys",
        data / "faust {1}",
        o.get("most", 100),
        o["group"],
        session_seconds=6.0,
        sweep_seconds=o.get("sweep", SWEEP_SECONDS),
        place=states,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    say = asyncio.create_task(_say(runtime))
    code = 0
    try:
        await runtime.run(stop)
    except PipelineError as error:
        print(orjson.dumps({"stopped": str(error)}).decode(), flush=True)
        code = 3
    say.cancel()
    print(orjson.dumps({"ended": runtime.status}, option=orjson.OPT_NON_STR_KEYS).decode(), flush=True)
    archive.close()
    store.close()
    states.close()
    return code


async def _say(runtime: FaustRuntime) -> None:
    """One line of JSON whenever the status changed."""
    said = b""
    while True:
        status = orjson.dumps(runtime.status, option=orjson.OPT_NON_STR_KEYS)
        if status != said:
            print(status.decode(), flush=True)
            said = status
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
