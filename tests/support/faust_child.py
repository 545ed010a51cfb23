"""Runs a Faust worker over a data directory and a broker, as a process to kill: works until SIGTERM, prints its status.

python -m tests.support.faust_child <data directory> <broker> <topic prefix> <group> <most rejected> [<slow seconds>]
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
from processors.runtimes.work import PipelineError
from processors.sinks.clickhouse import Store, StoreUnavailableError, connect
from schemas.config import ClickHouseSettings, KafkaSettings


class SlowStore(Store):
    """A store whose inserts take their time, and now and then refuse."""

    seconds = 0.0
    inserts = 0

    def insert(self, table: str, rows: Any, token: str | None) -> None:
        self.inserts += 1
        time.sleep(self.seconds)
        if self.seconds and self.inserts % 5 == 0:
            raise StoreUnavailableError("told to be out of reach")
        super().insert(table, rows, token)


async def main(arguments: list[str]) -> int:
    """Work until told to stop; exit code 3 where the worker stopped by itself."""
    data, broker, prefix, group, most = Path(arguments[0]), arguments[1], arguments[2], arguments[3], int(arguments[4])
    configure("process")
    store = connect(ClickHouseSettings(), data)
    store.migrate()
    if len(arguments) > 5:
        store.__class__, SlowStore.seconds = SlowStore, float(arguments[5])
    settings = KafkaSettings.model_validate(
        {"bootstrap_servers": [broker], "topic_prefix": prefix, "replication": 1, "security": {"tls": False}}
    )
    archive = Archive(data / "archive")
    runtime = FaustRuntime(
        settings, store, archive, lambda: time.time_ns() // 1000, data / "keys", most, group, session_seconds=6.0
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
