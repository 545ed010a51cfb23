"""What keeps the processes alive? One supervisor: starts children, restarts what dies, stops them in order.

- A child gets its configuration, with the passwords of its role alone, as one line on its standard input, which then stays
  open: when it ends, the supervisor is gone (also by kill -9) and the child stops by itself. No child outlives its supervisor,
  and no password is in an argument, an environment or a file.
- A child that dies is started again after 0.1 s. Deaths in quick succession double the wait up to 30 s; each is announced with
  its reason. A child that exits with `FATAL` says that starting again cannot help: everything stops, unless it had worked before.
- Children run in sessions of their own, so Ctrl-C reaches only the supervisor, which stops them group by group.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FATAL = 78  # EX_CONFIG of sysexits.h
FIRST_WAIT = 0.1
LONGEST_WAIT = 30.0
SETTLED_SECONDS = 10.0  # who lived this long did not die of its start
KILLED_SETTLED_SECONDS = 1.0  # somebody else's SIGKILL says little about the child: heal fast


class AlreadyRunningError(Exception):
    """Another supervisor, or a process it left, has this data directory; the message names its pid."""


class FatalError(Exception):
    """In a child: starting again cannot help; the message says what a person must do.

    Not in the child's own module, which runs as `__main__` and would be another class to whoever imports it by name.
    """


class UpError(Exception):
    """Affidavit cannot start; the message names the setting and the remedy."""


class ChildFatalError(Exception):
    """A child said that starting it again cannot help; the message is its reason."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One process: its name (`proxy/0`) and the interpreter's arguments; lower `stop_order` stops first, in `stop_seconds`.

    `wire` is what it reads from standard input: its configuration, with the passwords its role needs.
    """

    name: str
    arguments: tuple[str, ...]
    stop_order: int
    stop_seconds: float
    wire: bytes = field(repr=False)


def pid_file(run: Path, name: str) -> Path:
    """Where the process of this name notes its pid, and holds a lock while it lives."""
    return run / f"{name.replace('/', '_')}.pid"


def reason_file(run: Path, name: str) -> Path:
    """Where a child leaves the reason of its end for the supervisor to announce."""
    return run / f"{name.replace('/', '_')}.reason"


@contextlib.contextmanager
def owning(path: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock on a pid file and write our pid into it. Raises AlreadyRunningError after `patience` seconds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
                    text = f"{what} runs already on this data directory, pid {pid} ({path}); stop it first: kill {pid}"
                    raise AlreadyRunningError(text) from None
                time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


class Supervisor:
    """Runs `specs` until told to stop. `announce(text)` gets one line for people at each turn of events.

    Children get our environment but for the variables `withheld`, which hold passwords.
    """

    def __init__(
        self, specs: Sequence[ChildSpec], run: Path, announce: Callable[[str], None], withheld: Collection[str] = ()
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in withheld}
        self._children = [_Child(spec, run, environment) for spec in specs]
        self._announce = announce
        self._signals = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def run(self, tick: Callable[[], None] = lambda: None, tick_seconds: float = 0.25) -> None:
        """Start all children and keep them until SIGTERM or SIGINT; then stop them in order and return.

        Must be called in the main thread. `tick` is called every `tick_seconds` or sooner; what it raises stops everything.
        Raises ChildFatalError after stopping, if a child ended for good.
        """
        heard = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        # Whoever started us with one of them ignored (nohup, a shell's `&`) meant it.
        heard = [s for s in heard if s == signal.SIGTERM or signal.getsignal(s) is not signal.SIG_IGN]
        handlers = {s: signal.signal(s, self._on_signal) for s in heard}
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            for child in self._children:
                child.start()
            while not self._signals:
                self._wait(tick_seconds)
                for child in self._children:
                    self._tend(child, time.monotonic())
                tick()
            self._announce("stopping")
        finally:
            try:
                self._stop_all()
            finally:
                signal.set_wakeup_fd(before)
                for number, handler in handlers.items():
                    signal.signal(number, handler)

    def stop(self) -> None:
        """Ask `run` to end, as SIGTERM does; may be called from `tick`."""
        self._signals += 1

    def pids(self) -> dict[str, int]:
        """Return the pids of the children that live."""
        return {c.spec.name: c.process.pid for c in self._children if c.process is not None}

    def close(self) -> None:
        """Release the wake-up pipe."""
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1

    def _wait(self, seconds: float) -> None:
        now = time.monotonic()
        due = [c.start_at - now for c in self._children if c.process is None]
        select.select([self._wake_read], [], [], max(0.0, min([seconds, *due])))
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _tend(self, child: _Child, now: float) -> None:
        if child.process is None:
            if now >= child.start_at:
                try:
                    child.start()
                except OSError as error:  # no memory or processes left: what runs goes on, this is tried again
                    child.start_at = now + LONGEST_WAIT / 10
                    self._announce(f"{child.spec.name} cannot be started: {error.strerror}; trying again")
            return
        pid = child.process.pid
        code = child.process.poll()
        if code is None:
            return
        reason = child.ended(code, now)
        if code == FATAL and not child.has_settled:  # what has worked may again, and the others go on meanwhile
            raise ChildFatalError(child.reason() or f"{child.spec.name} {reason}")
        reason = " ".join(reason.split())
        self._announce(f"{child.spec.name} (pid {pid}) {reason}; starting it again in {child.start_at - now:.1f} s")

    def _stop_all(self) -> None:
        asked = self._signals
        for order in sorted({c.spec.stop_order for c in self._children}):
            group = [c for c in self._children if c.spec.stop_order == order and c.process is not None]
            for child in group:
                child.signal(signal.SIGTERM)
            deadline = time.monotonic() + max((c.spec.stop_seconds for c in group), default=0.0)
            while any(c.process is not None and c.process.poll() is None for c in group):
                if time.monotonic() > deadline or self._signals > max(asked, 1):
                    names = ", ".join(c.spec.name for c in group if c.process is not None and c.process.poll() is None)
                    self._announce(f"{names} did not stop in time and is killed; what it recorded is recovered at the next start")
                    for child in group:
                        child.signal(signal.SIGKILL)
                    deadline = float("inf")
                self._wait(0.1)
            for child in group:
                child.release()


class _Child:
    def __init__(self, spec: ChildSpec, run: Path, environment: Mapping[str, str]) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0
        self._run = run
        self._environment = environment
        self._started = 0.0
        self._quick_deaths = 0
        self.has_settled = False

    def start(self) -> None:
        reason_file(self._run, self.spec.name).unlink(missing_ok=True)
        self._started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", *self.spec.arguments],
            stdin=subprocess.PIPE,
            start_new_session=True,
            env=self._environment,
        )
        assert self.process.stdin is not None
        # A configuration is far below the 64 KiB a pipe holds, or its reader is there to take it.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(self.spec.wire + b"\n")
            self.process.stdin.flush()

    def ended(self, code: int, now: float) -> str:
        self.release()
        lived = now - self._started
        settled = lived >= (KILLED_SETTLED_SECONDS if code == -signal.SIGKILL else SETTLED_SECONDS)
        self.has_settled |= settled and code != FATAL  # said at a start, however long that took on a busy machine
        self._quick_deaths = 0 if settled else self._quick_deaths + 1
        self.start_at = now + min(FIRST_WAIT * 2 ** max(0, self._quick_deaths - 1), LONGEST_WAIT)
        if code < 0:
            return f"was killed by {signal.Signals(-code).name} after {lived:.1f} s"
        reason = self.reason()
        return f"ended after {lived:.1f} s" + (f": {reason}" if reason else f" with exit code {code}")

    def reason(self) -> str:
        """What it left as the reason of its end, a line each; empty if it left none."""
        with contextlib.suppress(OSError):
            return reason_file(self._run, self.spec.name).read_text("utf-8").strip()
        return ""

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def release(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.process = None
