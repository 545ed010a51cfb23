"""Addresses of Unix sockets, however long the path of their folder: a kernel takes 107 bytes of it (unix(7))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_ADDRESS_BYTES = 107


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Yield what to bind or connect to for the socket at `path`; it holds within the block. Raises OSError without the folder."""
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
