"""Where promtool is, and how it is had: from Debian's package prometheus, unpacked into .cache so that no server is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_CACHE = Path(__file__).parents[2] / ".cache" / "promtool"


def find_promtool() -> str | None:
    """Return promtool's path: the one installed, else the one unpacked in .cache."""
    unpacked = _CACHE / "usr" / "bin" / "promtool"
    return shutil.which("promtool") or (str(unpacked) if unpacked.exists() else None)


def promtool() -> str:
    """Return the path of promtool, which the tests of rules cannot do without."""
    found = find_promtool()
    if found is None:
        raise RuntimeError("promtool is not here: run make provision, or install Debian's package prometheus")
    return found


def fetch() -> str:
    """Download and unpack the package; return what went wrong, or nothing. Needs apt-get, not root."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "promtool comes from Debian's package prometheus, and this is no Debian"
    _CACHE.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(["apt-get", "-q", "download", "prometheus"], cwd=_CACHE, capture_output=True, text=True, check=False)
    packages = sorted(_CACHE.glob("prometheus_*.deb"))
    if got.returncode or not packages:
        return f"apt-get download prometheus failed: {got.stderr.strip()[-200:]}"
    done = subprocess.run(["dpkg-deb", "-x", packages[-1], _CACHE], capture_output=True, text=True, check=False)
    for package in packages:
        package.unlink()
    return f"dpkg-deb -x {packages[-1].name} failed: {done.stderr.strip()[-200:]}" if done.returncode else ""
