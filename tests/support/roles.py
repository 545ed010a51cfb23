"""Affidavit's roles apart, each with a data directory of its own: proxy, worker and API, over Kafka and a ClickHouse server.

The worker logs in to the store as a writer, the API as a reader who may write nothing; `migrate` as neither. The proxy has no
login to the store at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.layout import DataDir
from deploy.proxy_metrics import Workers
from deploy.supervisor import pid_file
from schemas.control_keys import PRIVATE, PUBLIC
from schemas.log.kafka_topics import ensure
from tests.support.affidavit import ROOT, Affidavit
from tests.support.clickhouse import Server
from tests.support.kafka import Kafka
from tests.support.ports import accepts, free_port, wait_for
from tests.support.postgres import Postgres
from tests.support.stepped_clock import Clock

_CLI = "import sys; from deploy.cli import main; sys.exit(main())"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
USERS: Mapping[str, Mapping[str, Any]] = {
    "migrator": {"password": "migrator-pw-1"},
    "writer": {"password": "writer-pw-2"},
    "reader": {"password": "reader-pw-3", "readonly": True},
}


class Apart:
    """The roles' configurations and processes; the store's server belongs to the caller, and knows `USERS`.

    Proxies reach the brokers by `listener`; `proxies` are further sections of their configuration. Workers share `archive`, where
    there is one. `clocks` are of roles whose time steps.
    """

    def __init__(
        self,
        server: Postgres,
        cluster: Kafka,
        store: Server,
        prefix: str,
        *,
        listener: str = "CLEAR",
        proxies: Mapping[str, Any] | None = None,
        archive: Path | None = None,
        clocks: Mapping[str, Clock] | None = None,
    ) -> None:
        self.store, self._clocks = store, clocks or {}
        settings = cluster.settings(topic_prefix=prefix, timeout_seconds=30.0)
        ensure(settings)
        log = Kafka.written(settings)
        reached = Kafka.written(cluster.settings(listener, topic_prefix=prefix, timeout_seconds=30.0))
        sections: dict[str, Any] = {"proxy": {"workers": 3}, **(proxies or {}), "log": reached}
        self._proxies = sections["proxy"]["workers"]
        self.proxy = Affidavit(server, sections)
        self.folder = self.proxy.folder
        self.api_port, self._ports = free_port(), {"process": free_port(), "process2": free_port()}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        users = {"migrate": "migrator", "process": "writer", "process2": "writer", "api": "reader"}
        for role, user in users.items():
            (self.folder / f"{user}.password").write_text(USERS[user]["password"] + "\n")
            reached = {"interface": "http", "port": store.port, "user": user, "password_file": f"{user}.password"}
            config = {
                "data_dir": f"data-{role}",
                "log": log,
                "clickhouse": {**reached, "timeout_seconds": 20},
                "api": {"listen": f"127.0.0.1:{self.api_port}"},
                "process": {"listen": f"127.0.0.1:{self._ports.get(role, 1)}"} | ({"archive": str(archive)} if archive else {}),
                "audit": {"heartbeat_seconds": 60, "seal_interval_ms": 50},
            }
            self.config(role).write_text(yaml.safe_dump(config))
            keys = self.folder / f"data-{role}" / "keys"
            keys.mkdir(parents=True, mode=0o700)
            for name in (PRIVATE, PUBLIC):  # one administrator works on all of them
                shutil.copy(self.proxy.data_dir / "keys" / name, keys / name)

    def config(self, role: str) -> Path:
        """A role's configuration file."""
        return self.proxy.config_path if role == "proxy" else self.folder / f"{role}.yaml"

    def command(self, role: str, *words: str) -> str:
        """Run a command on the machine of a role; return what it printed."""
        arguments = [sys.executable, "-c", _CLI, *words, "-c", str(self.config(role))]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, role: str, wait: bool = True) -> None:
        """Start a role (`process2` is another worker); return when it is ready, or at once."""
        clock = self._clocks.get(role.rstrip("2"))
        arguments = ["-c", _CLI, role.rstrip("2"), "-c", str(self.config(role))]
        self._processes[role] = self.proxy._spawn(arguments, subprocess.DEVNULL, clock.environment if clock else None)
        if wait:
            self.await_ready(role)

    def await_ready(self, role: str) -> None:
        """Return when a role is ready."""

        def ready() -> bool:
            process = self._processes[role]
            assert process.poll() is None, f"{role} ended with {process.returncode}: {self.proxy.said()[-3000:]}"
            if role == "proxy":
                return accepts(self.proxy.port)
            return self._status(self._ports.get(role, self.api_port)) == 200

        wait_for(ready, f"{role} to be ready", 90, 0.1)

    def _status(self, port: int) -> int:
        try:
            with _DIRECT.open(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def share_keys(self) -> None:
        """Register the proxies' public keys with the workers, as an operator does who copies them."""
        keys = DataDir(self.proxy.data_dir).keys
        wait_for(lambda: len(list(keys.glob("proxy*.pub"))) == self._proxies, "every proxy to have made its key", 60)
        for worker in ("process", "process2"):
            folder = DataDir(self.folder / f"data-{worker}").keys
            folder.mkdir(parents=True, exist_ok=True)
            for key in keys.glob("proxy*.pub"):
                shutil.copy(key, folder)

    def proxies(self) -> list[str]:
        """What each proxy process is at, with its children (sealers): for messages of failures."""
        folder = DataDir(self.proxy.data_dir)
        answers = Workers(folder.run, self._proxies).answers()
        found = []
        for number, answer in enumerate(answers):
            file = pid_file(folder.run, f"proxy/{number}")
            pid = file.read_text().strip() if file.exists() else ""
            told = "does not answer" if answer is None else f"{len(answer.problems)} problems {answer.problems}"
            found.append(f"proxy/{number}: process {pid or 'none'} {_process(pid)}, {told}")
            sealer = folder.spool(f"proxy/{number}") / "SEALER"
            holder = sealer.read_text().strip() if sealer.exists() else ""
            found.append(f"  its sealer: process {holder or 'none'} {_process(holder)}")
        return found

    def kill_proxy(self, number: int) -> None:
        """Kill -9 one of the proxies' processes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid_file(DataDir(self.proxy.data_dir).run, f"proxy/{number}").read_text()), signal.SIGKILL)

    def worker_status(self, role: str) -> dict[str, Any]:
        """What /readyz of a worker shows, ready or not; nothing if it does not answer."""
        try:
            with _DIRECT.open(f"http://127.0.0.1:{self._ports[role]}/readyz", timeout=30) as answer:
                return dict(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            return dict(json.loads(error.read()))
        except OSError:
            return {}

    def runs(self, role: str) -> bool:
        """Whether a role's process lives."""
        return role in self._processes and self._processes[role].poll() is None

    def api_status(self) -> int:
        """What /readyz of the API answers."""
        return self._status(self.api_port)

    def get(self, token: str, path: str) -> dict[str, Any]:
        """Ask the API."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}{path}", headers={"Authorization": f"Bearer {token}"})
        with _DIRECT.open(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def stop(self, role: str, number: signal.Signals = signal.SIGTERM) -> int:
        """End a role; return its exit code."""
        process = self._processes.pop(role)
        process.send_signal(number)
        return process.wait(90)

    def end(self) -> None:
        """Kill what runs and remove everything."""
        for role in list(self._processes):
            self.stop(role, signal.SIGKILL)
        self.proxy.remove()


def _process(pid: str) -> str:
    """State, threads and what the main thread waits for in the kernel, of a process."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        state = ", ".join(line.replace("\t", " ") for line in lines if line.startswith(("State", "Threads", "PPid")))
        return f"({state}, waits in {Path(f'/proc/{pid}/wchan').read_text() or 'nothing'})"
    return "(gone)"
