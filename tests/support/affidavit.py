"""Affidavit's own processes for tests: one proxy worker alone, or the whole machine by `affidavit up`.

Each has a data directory of its own. Processes are real children, so that a test can kill -9 them, weigh them, and read
everything they wrote.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.config import load, to_wire
from deploy.layout import DataDir
from deploy.supervisor import pid_file
from ingest.identity.tokens import TokenStore
from schemas.control_keys import create_control_key
from tests.support import log_under_test
from tests.support.pipeline_under_test import SUPERVISED, FaustPipeline
from tests.support.ports import accepts, free_port, wait_for
from tests.support.postgres import APP_PASSWORD, APP_USER, DATABASE, Postgres
from tests.support.trail import Trail

ROOT = Path(__file__).parents[2]
CLEAR = Path(__file__).parent / "clear.yaml"
UNMASKED = {"enabled": False}
"""For tests of other rules: a table made a moment ago is masked whole until the catalogue is read again."""
_CLI = "import sys; from deploy.cli import main; sys.exit(main())"


def _now_us() -> int:
    return time.time_ns() // 1000


class Affidavit:
    """A configured data directory. `overrides` are sections of affidavit.yaml, merged over the test's defaults.

    `database` is merged into the one database; `also` names further databases of the same server behind the same listener.
    """

    def __init__(self, server: Postgres, overrides: Mapping[str, Any] | None = None, folder: Path | None = None) -> None:
        # Where the processes find our packages; `deploy.compiled` makes another such folder.
        self.packages = Path(os.environ.get("AFFIDAVIT_TEST_PACKAGES", ROOT)).resolve()
        self.folder = folder or Path(tempfile.mkdtemp(prefix="affidavit-test-"))
        self.config_path = self.folder / "affidavit.yaml"
        self.data_dir = self.folder / "data"
        self.port = free_port()
        self.api_port = free_port()
        self.output = self.folder / "output"
        self.output.touch()
        database: dict[str, Any] = {
            "alias": DATABASE,
            "environment": "test",
            "listen": f"127.0.0.1:{self.port}",
            "upstream": {
                "host": server.host,
                "port": server.port,
                "database": DATABASE,
                "user": APP_USER,
                "password": APP_PASSWORD,
            },
        }
        settings: dict[str, Any] = {
            "data_dir": str(self.data_dir),
            "audit": {"seal_interval_ms": 50, "heartbeat_seconds": 60},
            "api": {"listen": f"127.0.0.1:{self.api_port}"},
            "databases": [database],
            # Most tests compare results with those of a direct connection, so everybody sees everything.
            "policy": {"files": [str(CLEAR)]},
        }
        for section, values in (overrides or {}).items():
            if section == "also":  # names of further databases of the same server, behind the same listener
                also = [{**database, "alias": name, "upstream": {**database["upstream"], "database": name}} for name in values]
                settings["databases"].extend(also)
            elif section == "database":
                upstream = values.get("upstream", {})
                database.update({**values, "upstream": {**database["upstream"], **upstream}})
            else:
                settings[section] = {**settings.get(section, {}), **values}
        if "log" not in settings:
            settings |= log_under_test.section()
        settings |= self._beside(settings)
        self.log = log_under_test.place(settings, self.data_dir)
        self.trail = Trail(self.data_dir, self.log.open if self.log.kafka is not None else None)
        self.config_path.write_text(yaml.safe_dump(settings))
        DataDir(self.data_dir).prepare()
        create_control_key(DataDir(self.data_dir).keys)

    def _beside(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Sections of what a kind of machine runs beside; see `Machine`."""
        return {}

    # -- clients ---------------------------------------------------------------------------------------------------

    def token(self, principal: str = "ana", kind: str = "human", **options: Any) -> str:
        """Issue a token straight into the store."""
        store = TokenStore(DataDir(self.data_dir).identity, _now_us, secrets.token_bytes)
        try:
            return store.create(principal, kind, created_by="tests", **options)[1]
        finally:
            store.close()

    def app(self, principal: str = "ana", token: str | None = None, database: str = DATABASE) -> dict[str, Any]:
        """Return libpq parameters for a connection through the proxy, by default with a fresh token of `principal`."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "dbname": database,
            "user": principal,
            "password": token or self.token(principal),
        }

    # -- processes -------------------------------------------------------------------------------------------------

    def _spawn(
        self, arguments: list[str], stdin: int = subprocess.DEVNULL, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *arguments],
                stdin=stdin,
                stdout=output,
                stderr=output,
                cwd=self.packages,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                start_new_session=True,
            )

    def said(self) -> str:
        """Return everything the processes printed."""
        return self.output.read_text(errors="replace")

    def remove(self) -> None:
        """Delete the folder, and the topics that were made for it."""
        log_under_test.forget(self.log.kafka)
        shutil.rmtree(self.folder, ignore_errors=True)

    def assert_nowhere(self, *needles: str) -> None:
        """Assert that no needle stands in any file of the data directory, in any event, or in what was printed."""
        for needle in needles:
            assert needle not in self.said(), f"{needle} was printed"
            for event in self.trail.refresh():
                assert needle not in json.dumps(event, ensure_ascii=False), f"{needle} stands in an event: {event}"
        patterns = [pattern for needle in needles for pattern in (needle.encode(), needle.encode().hex().encode())]
        # Files and folders may go while we look: the spool deletes what was shipped, the store its parts of inserts.
        for path in (Path(folder, name) for folder, _, names in os.walk(self.data_dir) for name in names):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    data = path.read_bytes()
                    for pattern in patterns:
                        assert pattern not in data, f"{pattern!r} stands in {path.relative_to(self.folder)}"


class Proxy(Affidavit):
    """One proxy worker alone: `python -m deploy.child proxy 0`, as the supervisor starts it."""

    process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Proxy:
        """Start the worker and wait until it listens."""
        config = load(self.config_path)
        self.process = self._spawn(["-m", "deploy.child", "proxy", "0"], subprocess.PIPE)
        assert self.process.stdin is not None
        self.process.stdin.write(to_wire(config) + b"\n")  # and keep it open: the worker ends with its supervisor
        self.process.stdin.flush()
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 120) -> None:
        """Wait until the worker accepts connections; raise with its own words if it ends instead."""
        assert self.process is not None

        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the proxy ended with {self.process.returncode}: {self.said()[-3000:]}")
            return accepts(self.port)

        wait_for(ready, f"the proxy to listen on {self.port}; it said: {self.said()[-1000:]}", seconds)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        assert self.process is not None, "not started"
        return self.process.pid

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop in order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=30)
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process = None

    def memory(self, field: str = "VmHWM") -> int:
        """Return the worker's peak resident memory in bytes (or another field of /proc/PID/status)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found, f"no {field} in /proc/{self.pid}/status"
        return int(found[1]) * 1024


@contextlib.contextmanager
def proxy(server: Postgres, overrides: Mapping[str, Any] | None = None) -> Iterator[Proxy]:
    """Run one proxy worker for the length of a with block."""
    running = Proxy(server, overrides)
    try:
        yield running.start()
    finally:
        running.kill() if running.process and running.process.poll() is None else None
        running.remove()


class Machine(Affidavit):
    """The whole of Affidavit on one machine: `affidavit up -c affidavit.yaml`, or its parts around a Faust worker (the switch).

    `node` is the process that has the API, and in `up` the pipeline: to kill it kills the worker as well, where there is one.
    """

    process: subprocess.Popen[bytes] | None = None
    node = "node/0"
    _faust: FaustPipeline | None = None

    def _beside(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        if log_under_test.kind() != "faust" or settings.get("log", {}).get("kind") != "kafka":
            return {}
        self.node = "api/0"
        self._faust = FaustPipeline(self.data_dir, self.config_path, self._spawn, self.said)
        own = self._faust.sections()
        return {name: {**settings.get(name, {}), **section} for name, section in own.items()}

    def start(self) -> Machine:
        """Start the supervisor, and the worker, and wait until proxy and API answer."""
        command = ["-c", "from deploy.cli import main; main()", "up", "-c", str(self.config_path)]
        if self._faust is not None:
            self._faust.start()
            wait_for(self._faust.ready, "the worker to be ready", 120, 0.1)
            command = ["-c", SUPERVISED, str(self.config_path)]
        self.process = self._spawn(command, subprocess.DEVNULL)
        self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 120) -> None:
        """Wait until the proxy listens and the API answers that it is ready."""

        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"affidavit up ended with {self.process.returncode}: {self.said()[-3000:]}")
            return accepts(self.port) and self._api_ready() and (self._faust is None or self._faust.ready())

        wait_for(ready, "affidavit up to answer", seconds, poll=0.05)

    def _api_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def child(self, name: str) -> int:
        """Return the process id of a child, `proxy/0` or `node/0`, that is alive; wait for the supervisor to have one."""

        def alive() -> int:
            with contextlib.suppress(FileNotFoundError, ValueError):
                pid = int(pid_file(DataDir(self.data_dir).run, name).read_text())
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                return pid if state != "Z" else 0  # killed, and its supervisor has not looked yet
            return 0

        return wait_for(alive, f"a live {name}", 120)

    def kill(self, name: str) -> None:
        """Kill -9 one child, with `node` the pipeline as well."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child(name), signal.SIGKILL)
        if name == self.node and self._faust is not None:
            self._faust.kill()

    def stop(self) -> int:
        """Stop in order and return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=150)  # two minutes are promised
        self.process = None
        if self._faust is not None:
            with contextlib.closing(self.log.open()) as log:
                code = code or self._faust.stop(log)
        return code

    def remove(self) -> None:
        """End the store's server, where it is the machine's own, and delete everything."""
        if self._faust is not None:
            self._faust.end()
        super().remove()

    def end(self) -> None:
        """Stop in order if it runs, and remove everything."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            if self.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.remove()


@contextlib.contextmanager
def machine(server: Postgres, overrides: Mapping[str, Any] | None = None) -> Iterator[Machine]:
    """Run the whole of Affidavit for the length of a with block."""
    running = Machine(server, overrides)
    try:
        yield running.start()
    finally:
        running.end()
