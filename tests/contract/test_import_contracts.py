"""Is every folder rule held, and does each contract catch the import it is there for?

Each contract of pyproject.toml gets one wrong import planted into a copy of the sources and must then, and only then, break.
What a proxy really loads is asked of a proxy: a child process imports `ingest.net.worker` and names its modules.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "processors", "ingest", "query_api", "deploy")
CONTRACTS = [
    contract["id"] for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]


@dataclass(frozen=True)
class Planted:
    """A wrong import: the file it goes into, the line, and packages that must exist for it (empty ones are made)."""

    contract: str
    file: str
    line: str
    packages: tuple[str, ...] = field(default=())


PLANTED = (
    Planted("schemas", "schemas/planted.py", "import processors.statements"),
    Planted("processors", "processors/planted.py", "import ingest.core"),
    Planted("statements", "processors/statements/planted.py", "import processors.sinks"),
    Planted("sensitivity", "processors/sensitivity/planted.py", "import processors.statements"),
    Planted("ingest", "ingest/net/planted.py", "from processors import sinks"),
    Planted("query-api", "query_api/planted.py", "import processors.runtimes"),
    Planted(
        "protocols-independent",
        "ingest/protocols/postgres/planted.py",
        "def later():\n    from ingest.protocols import otherdb",
        ("ingest/protocols/otherdb",),
    ),
    Planted("protocols-know-core", "ingest/protocols/postgres/planted.py", "import ingest.spool"),
    Planted("core", "ingest/core/planted.py", "import ingest.protocols.postgres"),
    Planted("sans-io", "ingest/protocols/postgres/planted.py", "from time import monotonic"),
    Planted("light-proxies", "ingest/net/planted.py", "import polars.series"),
    Planted("sockets", "ingest/spool/planted.py", "import asyncio"),
    Planted("faust", "processors/runtimes/planted.py", "import faust"),
    Planted("deploy", "query_api/planted.py", "import deploy.config"),
    Planted("wiring", "deploy/planted.py", "import ingest.spool\nimport processors.sinks\nimport query_api"),
)


def _lint(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports_command; sys.path.insert(0, ''); lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo", "--contract", contract],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    ignore = shutil.ignore_patterns("__pycache__")
    for package in (*PACKAGES, "tests/support"):
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_each_contract_is_planted_once() -> None:
    assert sorted(CONTRACTS) == sorted(planted.contract for planted in PLANTED)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.contract)
def test_a_wrong_import_breaks_its_contract(copy: Path, planted: Planted) -> None:
    before = _lint(copy, planted.contract)
    assert before.returncode == 0, f"broken without a planted import:\n{before.stdout}{before.stderr}"
    made = [copy / package for package in planted.packages]
    for package in made:
        package.mkdir()
        (package / "__init__.py").touch()
    target = copy / planted.file
    assert not target.exists()
    target.write_text(planted.line + "\n")
    try:
        after = _lint(copy, planted.contract)
    finally:
        target.unlink()
        for package in made:
            shutil.rmtree(package)
    assert after.returncode == 1, after.stdout + after.stderr
    assert "0 kept, 1 broken" in after.stdout
    assert "planted" in after.stdout


def test_proxies_stay_light() -> None:
    """Importing a worker loads none of what takes half a gigabyte (DESIGN 9)."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, ingest.net.worker; print(*sorted({m.split('.')[0] for m in sys.modules}))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {"chdb", "clickhouse_connect", "fastapi", "numpy", "pandas", "polars", "pyarrow", "starlette", "uvicorn"}
    assert heavy.isdisjoint(loaded), sorted(heavy.intersection(loaded))
    assert "ingest" in loaded
