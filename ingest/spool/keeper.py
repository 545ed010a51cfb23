"""Who seals for a writer: this process itself (`OwnSealer`), or a process that is watched and replaced (`SealerProcess`)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import orjson
import structlog

from ingest.spool.errors import SpoolError
from ingest.spool.lock import FileLock, lock_sealer
from ingest.spool.sealing import Sealer, SealRules
from ingest.spool.status import SealerState, StatusPage
from schemas.log.place import LogPlace

log = structlog.get_logger(__name__)

STOP_SECONDS = 8.0
"""How long a closing writer waits for its sealer beyond the time given for shipping; then it leaves it to itself. Room for
sealing what is left, and for the `sealer.LEAVE_SECONDS` after which the sealer is ended even in an append that waits."""

FIRST_RESTART_SECONDS, LAST_RESTART_SECONDS = 0.05, 5.0
STEADY_SECONDS = 10.0
"""A sealer that lived so long is replaced at once; one that dies sooner, again and again, ever later."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a sealer's process ships to, and the signing keys' folder (None: unsigned)."""

    log: LogPlace
    keys: Path | None


class Keeper(Protocol):
    """The writer's side of sealing."""

    @property
    def pid(self) -> int:
        """The process that seals; 0: there is none at the moment, or this one does."""

    def state(self) -> SealerState:
        """Return where sealing stands."""

    def tend(self, now: int) -> None:
        """Do, or see to, what is due. From the spool's thread, or inside its calls."""

    def flush(self, now: int) -> None:
        """Have everything committed sealed."""

    def close(self, now: int, ship_seconds: float) -> None:
        """Seal what is left and let go; a process has so long to ship it."""


class OwnSealer:
    """Seals in this process."""

    def __init__(self, sealer: Sealer, clock: Callable[[], int], lock: FileLock) -> None:
        self.sealer = sealer
        self._clock, self._file_lock = clock, lock
        self._lock = Lock()

    @property
    def pid(self) -> int:
        """None of its own."""
        return 0

    def state(self) -> SealerState:
        """Return where sealing stands this moment."""
        return self.sealer.state(self._clock())

    def tend(self, now: int) -> None:
        """Seal what is due."""
        with self._lock:
            self.sealer.step(now)

    def flush(self, now: int) -> None:
        """Seal everything."""
        with self._lock:
            self.sealer.step(now, flush=True)

    def close(self, now: int, ship_seconds: float) -> None:
        """Seal what is left."""
        self.flush(now)
        self.sealer.close()
        self._file_lock.release()


class SealerProcess:
    """A sealer in a process of its own. It ends when this one does; if it ends before, `tend` starts another."""

    def __init__(self, directory: Path, source: str, rules: SealRules, destination: Destination, lock: FileLock) -> None:
        self._directory, self._file_lock = directory, lock
        self._page = StatusPage.create()
        self._order = {
            "directory": str(directory),
            "source": source,
            "rules": asdict(rules),
            "log": destination.log.wire(),
            "keys": str(destination.keys) if destination.keys else None,
        }
        self._lock = Lock()
        self._closed = False
        self._began, self._wait, self._start_at = 0.0, FIRST_RESTART_SECONDS, 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self._start()

    @property
    def pid(self) -> int:
        """The sealer's process id, 0 while there is none."""
        process = self._process
        return process.pid if process is not None else 0

    def _start(self) -> None:
        if self._file_lock.fd < 0:
            self._file_lock = lock_sealer(self._directory, 0.0)
        order = {**self._order, "lock": self._file_lock.fd, "page": self._page.fd}
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
        self._began = time.monotonic()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ingest.spool.sealer"],
                stdin=subprocess.PIPE,
                pass_fds=(self._file_lock.fd, self._page.fd),
                env=environment,
            )
        except OSError as error:
            raise SpoolError(f"spool {self._directory}: its sealer cannot be started: {error}") from error
        self._file_lock.release()  # the process has it now
        self._say(orjson.dumps(order) + b"\n")  # not an argument: others could read the log's password there

    def state(self) -> SealerState:
        """Return what the sealer said last."""
        return self._page.read()

    def tend(self, now: int) -> None:
        """Start another sealer if there is none."""
        with self._lock:
            if self._closed:
                return
            process = self._process
            if process is not None:
                code = process.poll()
                if code is None:
                    return
                self._end(process)
                self._process = None
                lived = time.monotonic() - self._began
                self._wait = FIRST_RESTART_SECONDS if lived > STEADY_SECONDS else min(self._wait * 2, LAST_RESTART_SECONDS)
                self._start_at = time.monotonic() + self._wait
                log.error("sealer ended, another is started", directory=str(self._directory), pid=process.pid, code=code)
            if time.monotonic() < self._start_at:
                return
            try:
                self.restarts += 1
                self._start()
            except SpoolError as error:
                self._start_at = time.monotonic() + LAST_RESTART_SECONDS
                log.error("sealer cannot be started", directory=str(self._directory), reason=str(error))

    def flush(self, now: int) -> None:
        """Ask it to seal everything that was committed."""
        self._say(b"flush\n")

    def _say(self, what: bytes) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.closed:
            with contextlib.suppress(OSError):  # it is gone: the next one begins by reading everything
                os.write(process.stdin.fileno(), what)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def close(self, now: int, ship_seconds: float) -> None:
        """Ask it to seal and ship what is left, for so long, and wait for its end."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
            if process is not None:
                with contextlib.suppress(OSError):
                    assert process.stdin is not None
                    os.write(process.stdin.fileno(), b"end %d\n" % int(ship_seconds * 1000))
                self._end(process)
                try:
                    process.wait(ship_seconds + STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    log.warning("sealer still at work, left to itself", directory=str(self._directory), pid=process.pid)
            self._page.read()
            self._page.close()
            self._file_lock.release()
