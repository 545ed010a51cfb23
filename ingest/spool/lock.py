"""Who has a spool open: one process at a time, by `flock` on the file LOCK, which names it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ingest.spool.errors import SpoolError, SpoolLockedError


class DirectoryLock:
    """Holds a directory until `release` or the end of the process, however it ends."""

    def __init__(self, directory: Path) -> None:
        path = directory / "LOCK"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(f"spool {directory}: cannot open its lock: {error.strerror}; check owner and permissions") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise SpoolLockedError(
                f"spool {directory} is in use by process {holder}: stop it, or give this proxy another name (proxy.name)"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let go of the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
