"""Who has a spool open: one writer at a time, one sealer at a time, by `flock` on a file that names the process."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from ingest.spool.errors import SpoolError, SpoolLockedError

POLL_SECONDS = 0.02


class FileLock:
    """Holds a file until `release` or the end of the process, and of processes its descriptor was handed to, however they end."""

    def __init__(self, path: Path, refusal: str, patience_seconds: float = 0.0) -> None:
        """Take it, waiting for so long; `refusal` words the SpoolLockedError, `{holder}` in it is the holder's process id."""
        self.fd = -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(f"spool lock {path} cannot be opened: {error.strerror}; check owner and permissions") from error
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                    os.close(fd)
                    raise SpoolLockedError(refusal.format(holder=holder)) from error
                time.sleep(POLL_SECONDS)
        self.fd = fd
        sign(fd)

    def release(self) -> None:
        """Let go, as far as this process holds it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def sign(fd: int) -> None:
    """Name this process as the holder."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)


def lock_writer(directory: Path) -> FileLock:
    """Take the place of the one process that writes. Raises SpoolLockedError at once if another has it."""
    return FileLock(
        directory / "LOCK",
        f"spool {directory} is in use by process {{holder}}: stop it, or give this proxy another name (proxy.name)",
    )


def lock_sealer(directory: Path, patience_seconds: float) -> FileLock:
    """Take the place of the one process that seals; the sealer of a writer that died has some seconds to finish."""
    return FileLock(
        directory / "SEALER",
        f"spool {directory}: the sealer of an earlier proxy, process {{holder}}, is still at work after "
        f"{patience_seconds:.0f} s: wait for it, or kill it (nothing is lost by that)",
        patience_seconds,
    )
