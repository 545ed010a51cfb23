"""How many files may one of our processes have open? As many as the system lets it. What does a crash leave of it? Nothing.

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


def leave_no_core() -> None:
    """Have no crash of this process, or of its children, leave a core file: it would hold credentials and values in clear.

    One byte rather than none: that also stops programs that the kernel gives cores to (core(5)), which no limit of 0 does.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    most = 1 if hard == resource.RLIM_INFINITY else min(hard, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
