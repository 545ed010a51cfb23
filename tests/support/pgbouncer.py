"""PgBouncer, by default in session mode, in front of a test's PostgreSQL: the baseline that the proxy is measured against."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import binaries
from tests.support.ports import accepts, free_port, wait_for
from tests.support.postgres import APP_PASSWORD, APP_USER, DATABASE, Postgres


class PgBouncer:
    """One running PgBouncer; clients log in with SCRAM from its auth_file, as it does to the server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self.pid = process.pid

    def app(self, database: str = DATABASE) -> dict[str, Any]:
        """Return libpq parameters for a connection as the application's role."""
        return {"host": "127.0.0.1", "port": self.port, "dbname": database, "user": APP_USER, "password": APP_PASSWORD}


@contextlib.contextmanager
def running(server: Postgres, pool_size: int = 100, mode: str = "session") -> Iterator[PgBouncer]:
    """Run PgBouncer for the length of a with block; raise RuntimeError where it is not installed."""
    program = binaries.find_pgbouncer()
    if program is None:
        raise RuntimeError("pgbouncer is not installed; run make provision")
    folder, port = Path(tempfile.mkdtemp(prefix="affidavit-pgbouncer-")), free_port()
    (folder / "users.txt").write_text(f'"{APP_USER}" "{APP_PASSWORD}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"pool_mode = {mode}\nauth_type = scram-sha-256\nauth_file = {folder}/users.txt\n"
        f"default_pool_size = {pool_size}\nmax_client_conn = {pool_size * 2}\n"
        "ignore_startup_parameters = extra_float_digits,options\nlog_connections = 0\nlog_disconnections = 0\n"
    )
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # like the server, it refuses to run as root
        owner = pwd.getpwnam("nobody")
        as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen([program, str(folder / "pgbouncer.ini")], stdout=out, stderr=out, cwd="/", **as_user)
    try:
        wait_for(lambda: accepts(port) or process.poll() is not None, "PgBouncer to listen")
        if process.poll() is not None:
            raise RuntimeError(f"PgBouncer ended at its start: {(folder / 'out').read_text()[-1000:]}")
        yield PgBouncer(process, port)
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)
