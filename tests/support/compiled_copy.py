"""The packages with their hot modules compiled, as `make compiled` makes them, for tests to run proxies from.

Compiled once, without a profile and without optimisation: what may go wrong in compiling is what the code means, and this takes a
sixth of the time. Kept under `.cache/compiled`, by what went into it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from deploy.compiled import PACKAGES, ROOT

CACHE = ROOT / ".cache" / "compiled"
BUILD_SECONDS = 900


def missing() -> str:
    """Return in one sentence what keeps the copy from being built here; empty if nothing does."""
    if shutil.which(os.environ.get("CC", "cc").split()[0]) is None:
        return "no C compiler is on the PATH, so nothing compiled can be tested"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "this Python's headers are not installed, so nothing compiled can be tested"
    return ""


def folder() -> Path:
    """Return the copy of the packages as they are now, built if it is not there. Raises AssertionError with what went wrong."""
    target = CACHE / _digest()
    if not target.is_dir():
        shutil.rmtree(CACHE, ignore_errors=True)
        half = CACHE / "half"
        half.mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-m", "deploy.compiled", str(half), "--plain"],
            cwd=ROOT,
            env={**os.environ, "MYPYC_OPT_LEVEL": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        half.rename(target)
    return target


def _digest() -> str:
    seen = sha256(f"{sys.version} mypy {version('mypy')}".encode())
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()):
        if path.suffix not in (".pyc", ".so"):
            seen.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return seen.hexdigest()[:16]
