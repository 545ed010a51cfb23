"""Runs the embedded pipeline over a data directory, as a process to kill: prints `ready`, then works until the log is read.

python -m tests.support.pipeline_child <data directory> <blocks per batch> [<settings of the store as JSON>]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from processors.archive import Archive
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import connect
from schemas.config import ClickHouseSettings
from schemas.log.sqlite import SqliteLog


def main(data_dir: Path, max_blocks: int, settings: ClickHouseSettings) -> None:
    """Work the log off."""
    store = connect(settings, data_dir)
    store.migrate()
    log = SqliteLog(data_dir / "log.db")
    archive = Archive(data_dir / "archive", roll_bytes=200_000)
    runtime = EmbeddedRuntime(
        log, store, archive, data_dir / "pipeline.db", lambda: time.time_ns() // 1000, max_blocks=max_blocks
    )
    print("ready", flush=True)
    while runtime.step():
        pass
    status = runtime.status
    print(f"done {status['blocks']} {status['repeats']} {status['dlq']} {status['gaps']}", flush=True)


if __name__ == "__main__":
    given = ClickHouseSettings.model_validate_json(sys.argv[3]) if len(sys.argv) > 3 else ClickHouseSettings()
    main(Path(sys.argv[1]), int(sys.argv[2]), given)
