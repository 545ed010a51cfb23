"""A ClickHouse server for tests: the real one in Docker where a daemon answers, else chDB behind ClickHouse's HTTP interface.

Both are reached by HTTP, so that clickhouse-connect's path is the one exercised. Faults, a death in the middle of an insert,
logins and TLS of the test's making are the stand-in's alone.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from testcontainers.core.container import DockerContainer

from schemas.config import ClickHouseSettings
from tests.support.certificates import Issued
from tests.support.ports import accepts, free_port, wait_for

ROOT = Path(__file__).parents[2]
PASSWORD = "store-pw-7Qm2"
IMAGE = "clickhouse/clickhouse-server:25.8"
START_SECONDS = 60.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@functools.cache
def docker_missing() -> str:
    """Why there can be no real server in a container; empty if there can."""
    # In a process of its own: the client leaves a socket open where nothing answers.
    command = [sys.executable, "-c", "import docker; docker.from_env(timeout=20).close()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else f"no Docker daemon answers, for a ClickHouse server: {done.stderr.strip()[-100:]}"


class Server:
    """chDB behind HTTP in a process of its own, over a folder that outlives it.

    `users` are logins ({name: {password, readonly, certificate}}); `grants` are what the engine lets all of them do (default:
    everything); `sections` is XML for the engine's configuration: clusters, macros, logs of queries.
    """

    def __init__(
        self,
        folder: Path,
        users: Mapping[str, Mapping[str, Any]] | None = None,
        tls: Issued | None = None,
        client_ca: Path | None = None,
        grants: Sequence[str] = (),
        sections: str = "",
    ) -> None:
        self.folder, self.port, self._tls = folder, free_port(), tls
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"path": str(folder / "data"), "port": self.port}
        options["users"] = users or {"default": {"password": PASSWORD}}
        if grants or sections:
            options["config_file"] = str(self._configured(grants, sections))
        if tls is not None:
            options["tls"] = {"cert": str(tls.cert), "key": str(tls.key), "client_ca": str(client_ca or "")}
        self._options = options

    def _configured(self, grants: Sequence[str], sections: str) -> Path:
        allowed = "".join(f"<query>{escape(grant)}</query>" for grant in grants) or "<query>GRANT ALL ON *.*</query>"
        users, config = self.folder / "users.xml", self.folder / "config.xml"
        users.write_text(
            "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password/><networks><ip>::/0"
            f"</ip></networks><profile>default</profile><quota>default</quota><grants>{allowed}</grants></default></users></clickhouse>"
        )
        config.write_text(f"<clickhouse><users_config>{users}</users_config>{sections}</clickhouse>")
        return config

    def settings(self, **others: Any) -> ClickHouseSettings:
        """Our settings for this server; `others` override."""
        plain: dict[str, Any] = {"interface": "http", "host": "127.0.0.1", "port": self.port, "password": PASSWORD}
        if self._tls is not None:
            plain |= {"interface": "https", "ca_file": self._tls.ca}
        return ClickHouseSettings.model_validate({**plain, **others})

    def start(self) -> Server:
        """Start, or start again after a death; return when it answers."""
        command = [sys.executable, "-m", "tests.support.clickhouse_http", json.dumps(self._options)]
        with (self.folder / "output").open("ab") as out:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)

        def ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"the server ended:\n{(self.folder / 'output').read_text()[-3000:]}"
            return accepts(self.port)

        wait_for(ready, "chDB behind HTTP", START_SECONDS, poll=0.02)
        return self

    def fail(self, **faults: Any) -> None:
        """Set what goes wrong next: see tests.support.clickhouse_http.Faults."""
        self._faults(faults)

    def seen(self) -> dict[str, Any]:
        """What was counted, and which faults are left."""
        return self._faults({})

    def _faults(self, faults: Mapping[str, Any]) -> dict[str, Any]:
        assert self._tls is None, "faults are asked for in the clear"
        with _DIRECT.open(f"http://127.0.0.1:{self.port}/-/faults", json.dumps(faults).encode(), timeout=30) as answer:
            shown: dict[str, Any] = json.loads(answer.read())
        return shown

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._process is not None
        return self._process.pid

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process, and wait for its end."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
            self._process.wait(30)

    def kill(self) -> None:
        """Kill -9."""
        self.end(signal.SIGKILL)


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[Server]:
    """A started stand-in, in a folder of its own; see `Server`."""
    folder = Path(tempfile.mkdtemp(prefix="affidavit-clickhouse-"))
    server = Server(folder, **options)
    try:
        yield server.start()
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def real() -> Iterator[ClickHouseSettings]:
    """Our settings for the real server in a container, where Docker is (see `docker_missing`); it is removed at the end."""
    port = free_port()
    container = DockerContainer(IMAGE).with_env("CLICKHOUSE_PASSWORD", PASSWORD)
    container.ports["8123/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment]  # else it listens on every address

    def ready() -> bool:
        with contextlib.suppress(OSError), _DIRECT.open(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    with container:
        wait_for(ready, "ClickHouse in Docker", START_SECONDS, poll=0.2)
        yield ClickHouseSettings.model_validate({"interface": "http", "host": "127.0.0.1", "port": port, "password": PASSWORD})
