"""How many files may one of our processes have open? As many as the system lets it.

A proxy has two for each client and its server, a pipeline two for each source whose folder of the archive it has; shells often
begin programs with room for 1,024.
"""

from __future__ import annotations

import resource

MOST_FILES = 65_536
"""Enough for 30,000 of either, and what our units for systemd say."""


def raise_open_files() -> None:
    """Raise this process's soft limit to MOST_FILES, or to the hard limit where that is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
