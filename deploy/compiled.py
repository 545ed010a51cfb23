"""Build a copy of the packages with the proxy's hot modules compiled to C: `python -m deploy.compiled build/compiled`.

The copy runs instead of the sources when its folder stands first on PYTHONPATH. It needs mypy and a C compiler, so nothing
depends on it; the sources stay what is developed and tested, and a copy cannot go stale beside them. `make compiled` builds it,
`bench.proxy` measures both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "processors", "ingest", "query_api", "deploy")
HOT = (
    "ingest/core/actions.py",
    "ingest/core/guarding.py",
    "ingest/guard/guard.py",
    "ingest/masking/cells.py",
    "ingest/masking/cuts.py",
    "ingest/masking/rows.py",
    "ingest/masking/database.py",
    "ingest/masking/session.py",
    "ingest/net/clock.py",
    "ingest/net/connection.py",
    "ingest/net/gate.py",
    "ingest/net/server_side.py",
    "ingest/protocols/postgres/answers.py",
    "ingest/protocols/postgres/bounds.py",
    "ingest/protocols/postgres/cursors.py",
    "ingest/protocols/postgres/executions.py",
    "ingest/protocols/postgres/expected.py",
    "ingest/protocols/postgres/framing.py",
    "ingest/protocols/postgres/names.py",
    "ingest/protocols/postgres/parameters.py",
    "ingest/protocols/postgres/repeats.py",
    "ingest/protocols/postgres/requests.py",
    "ingest/protocols/postgres/responses.py",
    "ingest/protocols/postgres/session.py",
    "ingest/protocols/postgres/values.py",
    "ingest/protocols/postgres/waiting.py",
    "ingest/spool/blocks.py",
    "ingest/spool/frames.py",
    "ingest/spool/lines.py",
    "ingest/spool/records.py",
    "ingest/spool/replay.py",
    "ingest/spool/sealing.py",
    "ingest/spool/segments.py",
    "ingest/spool/spool.py",
    "processors/statements/analyser.py",
    "processors/statements/cache.py",
    "processors/statements/shapes.py",
    "processors/statements/statement.py",
    "processors/statements/tokens.py",
    "schemas/integrity.py",
)


def build(target: Path) -> None:
    """Copy the packages to `target` and compile the hot modules there. Raises SystemExit with what is missing."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        raise SystemExit("no C compiler (cc) is on the PATH; install one, or run the sources as they are")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", target)
    print(f"compiling {len(HOT)} modules, which takes a minute or two", flush=True)
    command = [sys.executable, "-m", "mypyc", *HOT]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed list
    if done.returncode:
        raise SystemExit(f"mypyc failed:\n{(done.stdout + done.stderr)[-4000:]}")
    shutil.rmtree(target / "build", ignore_errors=True)
    loaded = subprocess.run(
        [sys.executable, "-c", "import ingest.net.connection as module; print(module.__file__)"],
        cwd=target,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    print(f"built {loaded}")


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="folder to build in; what it held is deleted")
    build(parser.parse_args().target.resolve())


if __name__ == "__main__":
    main()
