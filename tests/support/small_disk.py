"""A small file system of its own (tmpfs; needs root), to be filled to its last byte and freed again."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path]:
    """Mount `size` bytes at a folder, which is made; skip, saying why, where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root to mount a small file system at {folder.name}")
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "affidavit-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system at {folder.name} here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Take every byte the disk has left; to unlink the file gives them back."""
    for piece in (b"x" * 65536, b"x"):
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(piece):
                pass
