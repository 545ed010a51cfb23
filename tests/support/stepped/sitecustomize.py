"""Imported by every Python process at its start that has this folder in PYTHONPATH: its wall clock follows a test's `Clock`."""

import mmap
import os
import struct
import time
from collections.abc import Callable


def _follow(path: str, real_ns: Callable[[], int]) -> None:
    with open(path, "r+b") as file:
        off = mmap.mmap(file.fileno(), 8)

    def time_ns() -> int:
        return real_ns() + int(struct.unpack("<q", off[:])[0])

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


if "AFFIDAVIT_TEST_CLOCK" in os.environ:
    _follow(os.environ["AFFIDAVIT_TEST_CLOCK"], time.time_ns)
