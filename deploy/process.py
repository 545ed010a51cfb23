"""What is one worker of `affidavit process`? Log, store and archive of the configuration, and Faust around the pipeline.

Ends with 0 on SIGTERM or SIGINT, after the batch under way; with an error where it cannot go on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

from deploy.config import split_address
from deploy.layout import DataDir, archive_of
from deploy.limits import raise_open_files
from deploy.logs import configure
from deploy.maintenance import MaintenanceError
from deploy.supervisor import owning
from deploy.tracing import tracing
from schemas.config import Config


def run_process(config: Config) -> int:
    """Run until told to stop; return the exit code. Raises MaintenanceError, PipelineError, StoreError, LogError."""
    if config.log.kind != "kafka":
        raise MaintenanceError("log.kind is embedded, which `affidavit up` works off by itself; `process` is for kafka")
    from processors.archive import Archive
    from processors.runtimes.faust_app import FaustRuntime
    from processors.runtimes.states import place
    from processors.sinks.clickhouse import connect

    os.umask(0o077)
    configure("process")
    raise_open_files()
    data = DataDir(config.data_dir)
    data.prepare()
    with contextlib.ExitStack() as stack:
        stack.enter_context(owning(data.run / "process.pid", "affidavit process"))
        store = connect(config.clickhouse, config.data_dir)
        stack.callback(store.close)
        store.migrate()
        archive = Archive(archive_of(config))
        stack.callback(archive.close)
        states = place(config.process.states, data.states)
        stack.callback(states.close)
        stored = tracing(config, stack)

        async def work() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            limit = config.process.max_rejected
            runtime = FaustRuntime(
                config.log.kafka, store, archive, _now, data.keys, data.faust, limit, stored=stored, place=states
            )
            await runtime.run(stop, split_address(config.process.listen))

        asyncio.run(work())
    return 0


def _now() -> int:
    return time.time_ns() // 1000
