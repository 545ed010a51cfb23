"""A wall clock that a test steps for some processes while they run, as when NTP or a person corrects it; monotonic clocks go on.

Done inside Python (`stepped/sitecustomize.py`), where all our code and Faust read the clock. Not by libfaketime: once its clock
is off, its clock_nanosleep (which is time.sleep) fails with EINVAL, and its timed waits have librdkafka wait an hour too long. A
time namespace steps the monotonic clock, not this one. So librdkafka and OpenSSL keep the machine's time here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path


class Clock:
    """The wall clock of the processes that get its `environment`, and of their children; right until it is stepped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._path.write_bytes(bytes(8))
        self.off_seconds = 0

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables for processes that are to follow this clock."""
        folders = [str(Path(__file__).parent / "stepped"), os.environ.get("PYTHONPATH", "")]
        return {"AFFIDAVIT_TEST_CLOCK": str(self._path), "PYTHONPATH": os.pathsep.join(filter(None, folders))}

    def step_to(self, off_seconds: int) -> None:
        """Be so many seconds fast (or slow, where negative) from now on."""
        with self._path.open("r+b") as file:
            file.write(struct.pack("<q", off_seconds * 10**9))
        self.off_seconds = off_seconds
