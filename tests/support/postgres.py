"""A real PostgreSQL server for tests: own cluster in a temporary folder, loopback port and Unix socket, settings as asked.

Its log is an oracle: with `log_statement = all` it says what the server really ran, whatever a proxy in front of it claims.
Everything is under one folder that `stop` removes; as root, the server runs as an unprivileged user, which PostgreSQL demands.
"""

from __future__ import annotations

import contextlib
import csv
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.support import binaries
from tests.support.certificates import Issued, issue
from tests.support.ports import free_port, wait_for

SUPERUSER, SUPERUSER_PASSWORD = "postgres", "super-pw-7Qd2"
APP_USER, APP_PASSWORD = "app_owner", "app-pw-9Xk4"
DATABASE = "shop"

_ORACLE = {
    "log_destination": "csvlog",
    "logging_collector": "on",
    "log_directory": "oracle",
    "log_filename": "server.log",
    "log_rotation_size": "0",
    "log_rotation_age": "0",
    "log_statement": "all",
}
_QUIET = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "timezone": "UTC",
}
_STATEMENT = re.compile(r"(statement|execute fetch from [^:]*|execute [^:]*|fastpath function call): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Executed:
    """One line of the server's statement log. `kind`: simple, prepared, fetch or function; `session` is the server's id."""

    kind: str
    text: str
    session: str
    user: str
    database: str
    application: str


def _owner() -> pwd.struct_passwd | None:
    """Return who the server must run as: nobody special unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to run it as")


def can_tls() -> bool:
    """Return whether the server here was built with TLS; the wheel's may not be."""
    config = subprocess.run([binaries.program("pg_config"), "--configure"], capture_output=True, text=True, check=False)
    return not binaries.server().bundled or "openssl" in config.stdout


class Postgres:
    """One running server. `settings` are postgresql.conf values, unquoted; `tls` serves an own certificate."""

    host = "127.0.0.1"

    def __init__(self, settings: Mapping[str, str] | None = None, *, tls: bool = False, oracle: bool = True) -> None:
        self.installed = binaries.server()
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="affidavit-pg-"))
        self.data = self.folder / "data"
        self.socket_dir = self.folder
        self.certificate: Issued | None = issue(self.folder) if tls else None
        self._settings = {**_QUIET, **(_ORACLE if oracle else {}), **(settings or {})}
        self._owner = _owner()
        self._process: subprocess.Popen[bytes] | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    def _run_as(self) -> dict[str, Any]:
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}

    def _program(self, name: str) -> str:
        """Return a server program's path. Root's own wheel may lie where the server's user cannot read: copy it once."""
        bin_dir = self.installed.bin
        if self.installed.bundled and self._owner is not None:
            package = self.installed.bin.parents[1]
            copy = self.folder / "wheel" / package.name
            if not copy.exists():
                shutil.copytree(package / self.installed.bin.parent.name, copy / self.installed.bin.parent.name)
                for libraries in package.parent.glob(f"{package.name}.libs"):  # its programs look for these beside the package
                    shutil.copytree(libraries, copy.parent / libraries.name)
            bin_dir = copy / self.installed.bin.parent.name / "bin"
        return str(bin_dir / name)

    def start(self) -> Postgres:
        """Make the cluster (the first time), start the server, wait until it answers, make the app's role and database."""
        fresh = not self.data.exists()
        if fresh:
            self._initialise()
        log = (self.folder / "postgres.out").open("ab")
        self._process = subprocess.Popen(
            [self._program("postgres"), "-D", str(self.data)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            **self._run_as(),
        )
        log.close()
        wait_for(self._answers, f"PostgreSQL on port {self.port} (see {self.folder}/postgres.out)")
        if fresh:
            with self.superuser("postgres") as admin:
                admin.execute(f"CREATE ROLE {APP_USER} LOGIN CREATEDB PASSWORD '{APP_PASSWORD}'")
                admin.execute(f"CREATE DATABASE {DATABASE} OWNER {APP_USER}")
        return self

    def _initialise(self) -> None:
        if self._owner is not None:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
            self.folder.chmod(0o755)
        password_file = self.folder / "initial-password"
        password_file.write_text(SUPERUSER_PASSWORD)
        if self._owner is not None:
            os.chown(password_file, self._owner.pw_uid, self._owner.pw_gid)
        subprocess.run(
            [
                self._program("initdb"), "-D", str(self.data), "-U", SUPERUSER, "--pwfile", str(password_file),
                "-E", "UTF8", "--locale", "C.UTF-8", "-A", "scram-sha-256", "--no-sync", "--no-instructions",
            ],
            check=True, capture_output=True, cwd="/", **self._run_as(),
        )  # fmt: skip
        password_file.unlink()
        settings = {
            **self._settings,
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.socket_dir),
        }
        if self.certificate is not None:
            settings |= {"ssl": "on", "ssl_cert_file": str(self.certificate.cert), "ssl_key_file": str(self.certificate.key)}
            settings["ssl_ca_file"] = str(self.certificate.ca)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended at its start: {(self.folder / 'postgres.out').read_text()[-2000:]}")
        try:
            self.superuser("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    def halt(self) -> None:
        """Shut the server down, sessions cut (fast shutdown), keeping its data for another `start`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=60)
            self._process = None

    def stop(self) -> None:
        """Shut down and remove everything."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def set_hba(self, *lines: str) -> None:
        """Replace pg_hba.conf and reload; the superuser may always log in through the Unix socket."""
        (self.data / "pg_hba.conf").write_text("\n".join((f"local all {SUPERUSER} scram-sha-256", *lines)) + "\n")
        with self.superuser("postgres") as admin:
            admin.execute("SELECT pg_reload_conf()")

    # -- connecting ------------------------------------------------------------------------------------------------

    def superuser(self, database: str = DATABASE, **options: Any) -> psycopg.Connection[Any]:
        """Return an autocommit connection as superuser, by Unix socket."""
        return psycopg.connect(
            host=str(self.socket_dir), port=self.port, dbname=database, user=SUPERUSER, password=SUPERUSER_PASSWORD,
            application_name="oracle", autocommit=True, **options,
        )  # fmt: skip

    def app(self, database: str = DATABASE) -> dict[str, Any]:
        """Return libpq parameters for a direct connection as the application's role."""
        return {"host": self.host, "port": self.port, "dbname": database, "user": APP_USER, "password": APP_PASSWORD}

    # -- the oracle ------------------------------------------------------------------------------------------------

    def executed(self, *, everyone: bool = False) -> list[Executed]:
        """Return what the server's log says it ran, in order; without `everyone`, not what the superuser's own sessions ran."""
        return [line for line in self._log_lines() if everyone or line.application not in ("oracle", "affidavit catalogue")]

    def _log_lines(self) -> Iterator[Executed]:
        path = self.data / "oracle" / "server.csv"
        # A cut last line (the server is writing still) makes a short row, which is left for the next read.
        with path.open(newline="", encoding="utf-8", errors="replace") as log:
            for row in csv.reader(log):
                if len(row) < 23 or not (match := _STATEMENT.match(row[13])):
                    continue
                said, text = match.groups()
                kind = {"statement": "simple", "fastpath function call": "function"}.get(
                    said, "fetch" if said.startswith("execute fetch") else "prepared"
                )
                yield Executed(kind, text, row[5], user=row[1], database=row[2], application=row[22])


@contextlib.contextmanager
def running(settings: Mapping[str, str] | None = None, *, tls: bool = False, oracle: bool = True) -> Iterator[Postgres]:
    """Run a server for the length of a with block."""
    server = Postgres(settings, tls=tls, oracle=oracle)
    try:
        yield server.start()
    finally:
        server.stop()
