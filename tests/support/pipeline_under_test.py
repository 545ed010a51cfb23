"""What takes the log into the store? The pipeline within `up`; with `AFFIDAVIT_TEST_LOG=faust` a worker of `affidavit process`.

In the second case the parts of a machine are those of a large installation, over one data directory: proxies and `api` under a
supervisor, a Faust worker, and a ClickHouse server. The server is there from the beginning, as it is for commands before a start.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.log import Log
from schemas.topics import ACTIVITY, EVENTS
from tests.support.clickhouse import PASSWORD, Server
from tests.support.ports import free_port, wait_for

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_CLI = "import sys; from deploy.cli import main; sys.exit(main())"
SUPERVISED = """
import pathlib, sys
from deploy.single import run_up
sys.exit(run_up(pathlib.Path(sys.argv[1]), ("proxy", "api")))
"""
"""What `affidavit proxy` and `affidavit api` run, under one supervisor."""

DRAIN_SECONDS = 120.0
"""A killed worker's partitions go to the next one when its membership ends (20 s); then that one works off what waits."""

Spawn = Callable[[list[str]], "subprocess.Popen[bytes]"]


class FaustPipeline:
    """One worker and its store. Whoever made it calls `end`.

    `spawn` starts a Python process of the machine, `said` is what all of them printed.
    """

    def __init__(self, data_dir: Path, config_path: Path, spawn: Spawn, said: Callable[[], str]) -> None:
        self._config, self._spawn, self._said = config_path, spawn, said
        self._killed = False
        self._port = free_port()
        self._worker: subprocess.Popen[bytes] | None = None
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._store = Server(data_dir / "clickhouse-server").start()

    def sections(self) -> dict[str, Any]:
        """Return the sections of affidavit.yaml that are of worker and store."""
        reached = {"interface": "http", "host": "127.0.0.1", "port": self._store.port, "password": PASSWORD}
        return {"clickhouse": reached, "process": {"listen": f"127.0.0.1:{self._port}"}}

    def start(self) -> None:
        """Start the worker, unless it runs; it makes the tables."""
        if self._worker is None or self._worker.poll() is not None:
            self._worker = self._spawn(["-c", _CLI, "process", "-c", str(self._config)])

    def kill(self) -> None:
        """Kill -9 the worker and start another, as systemd and Kubernetes do.

        From now on one that ends by itself is started again, too: brokers may be away when a worker starts.
        """
        self._killed = True
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
        self.start()

    def ready(self) -> bool:
        """Whether the worker works. Raises AssertionError if it ended by itself, and nothing was killed."""
        assert self._worker is not None
        if self._worker.poll() is not None:
            assert self._killed, f"affidavit process ended with {self._worker.returncode}: {self._said()[-3000:]}"
            self.start()
        return bool(self._status().get("ready"))

    def stop(self, log: Log) -> int:
        """Wait until the worker has everything that is in the log, stop it in order; return its exit code."""
        assert self._worker is not None
        wait_for(lambda: self.ready() and self._has_all(log), "the worker to have everything", DRAIN_SECONDS, 0.1)
        self._worker.send_signal(signal.SIGTERM)
        code = self._worker.wait(60)
        self._worker = None
        return code

    def end(self) -> None:
        """Kill what still runs."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
        self._store.kill()

    def _has_all(self, log: Log) -> bool:
        status = self._status()
        return all(
            int(status.get(offsets, {}).get(str(partition), 0)) >= end
            for topic, offsets in ((EVENTS.name, "next_offsets"), (ACTIVITY.name, "activity_offsets"))
            for partition in range(log.partitions(topic))
            if (end := log.end_offset(topic, partition))
        )

    def _status(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            try:
                with _DIRECT.open(f"http://127.0.0.1:{self._port}/readyz", timeout=30) as answer:
                    return dict(json.loads(answer.read()))
            except urllib.error.HTTPError as error:
                return dict(json.loads(error.read()))
        return {}
