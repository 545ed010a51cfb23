"""Put a file in place whole or not at all, and on disk before anybody relies on it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_beside(path: Path, data: bytes, mode: int) -> Path:
    """Write a file beside `path`; return where, for the caller to put it in place. Raises OSError, and leaves nothing then."""
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        half.unlink()
        raise
    finally:
        os.close(descriptor)
    return half


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file, in place of the one that is there. Raises OSError, and leaves that as it is then."""
    write_beside(path, data, mode).replace(path)
