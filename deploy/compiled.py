"""Build a copy of the packages with the proxy's hot modules compiled to C: `python -m deploy.compiled build/compiled`.

The copy runs instead of the sources when its folder stands first on PYTHONPATH. It needs mypy and a C compiler, so nothing
depends on it; the sources stay what is developed and tested, and a copy cannot go stale beside them. `make compiled` builds it,
`bench.proxy` measures both.

It is compiled twice: the first build counts which way its branches go while `deploy.training` drives it, the second is laid out
by these counts. `--plain` compiles once, in less than half the time, for trying things out.

What each statement needs word for word is C by hand, `deploy/native`: the copy has it as `schemas._hot`, compiled as the rest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
NATIVE = ROOT / "deploy" / "native"
PACKAGES = ("schemas", "processors", "ingest", "query_api", "deploy")
DIRECT = "-fvisibility=hidden -fno-plt"
"""Nothing of ours is called from outside by name: it may be inlined; and the interpreter's library is called without a detour."""
COUNTING = "-fprofile-generate -fprofile-update=prefer-atomic"
COUNTED = "-fprofile-use -fprofile-partial-training -fprofile-correction -Wno-missing-profile"
"""What training does not reach is compiled as ever, not for size: it may be somebody else's hot path."""
HOT = (
    "ingest/core/actions.py",
    "ingest/core/guarding.py",
    "ingest/core/limits.py",
    "ingest/core/masking.py",
    "ingest/guard/guard.py",
    "ingest/masking/cells.py",
    "ingest/masking/cuts.py",
    "ingest/masking/rows.py",
    "ingest/masking/database.py",
    "ingest/masking/masking_guard.py",
    "ingest/masking/session.py",
    "ingest/masking/temporary.py",
    "ingest/net/busy_poll.py",
    "ingest/net/clock.py",
    "ingest/net/connection.py",
    "ingest/net/gate.py",
    "ingest/net/server_side.py",
    "ingest/protocols/postgres/admission.py",
    "ingest/protocols/postgres/answers.py",
    "ingest/protocols/postgres/bounds.py",
    "ingest/protocols/postgres/copying.py",
    "ingest/protocols/postgres/cursors.py",
    "ingest/protocols/postgres/executions.py",
    "ingest/protocols/postgres/expected.py",
    "ingest/protocols/postgres/framing.py",
    "ingest/protocols/postgres/names.py",
    "ingest/protocols/postgres/parameters.py",
    "ingest/protocols/postgres/repeats.py",
    "ingest/protocols/postgres/requests.py",
    "ingest/protocols/postgres/responses.py",
    "ingest/protocols/postgres/results.py",
    "ingest/protocols/postgres/session.py",
    "ingest/protocols/postgres/values.py",
    "ingest/protocols/postgres/waiting.py",
    "ingest/spool/blocks.py",
    "ingest/spool/frames.py",
    "ingest/spool/lines.py",
    "ingest/spool/records.py",
    "ingest/spool/replay.py",
    "ingest/spool/room.py",
    "ingest/spool/sealing.py",
    "ingest/spool/segments.py",
    "ingest/spool/spool.py",
    "ingest/spool/write_ahead.py",
    "processors/statements/analyser.py",
    "processors/statements/cache.py",
    "processors/statements/shapes.py",
    "processors/statements/statement.py",
    "processors/statements/tokens.py",
    "schemas/integrity.py",
)


def build(target: Path, plain: bool = False) -> None:
    """Copy the packages to `target` and compile the hot modules there. Raises SystemExit with what is missing."""
    if shutil.which(_compiler()) is None:
        raise SystemExit("no C compiler (cc) is on the PATH; install one, or run the sources as they are")
    if not plain and not _is_gcc():
        print(f"{_compiler()} is not GCC, whose profiles this knows: compiling without one", flush=True)
        plain = True
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", target)
    began = time.monotonic()
    print(f"compiling {len(HOT)} modules, which takes {'a minute or two' if plain else 'some minutes'}", flush=True)
    if plain:
        _compile(target, "")
    else:
        _compile(target, COUNTING)
        _run("training", target, [sys.executable, "-m", "deploy.training"], {"PYTHONPATH": str(target)})
        print(f"trained after {time.monotonic() - began:.0f} s; compiling again", flush=True)
        _compile(target, COUNTED)
    shutil.rmtree(target / "build")
    shutil.rmtree(target / ".mypy_cache", ignore_errors=True)
    loaded = _run(
        "loading",
        target,
        [sys.executable, "-c", "import ingest.net.connection as module; print(module.__file__)"],
        {"PYTHONPATH": str(target)},
    ).strip()
    if loaded.endswith(".py"):
        raise SystemExit(f"what is loaded is not compiled: {loaded}")
    print(f"built {loaded} in {time.monotonic() - began:.0f} s")


def compile_native(folder: Path, objects: Path | None = None, flags: str = "") -> Path:
    """Compile what is C by hand into a folder; return the module's path. Raises SystemExit with what the compiler said.

    `objects` is the folder for what is made on the way, counts included; the same one if None.
    """
    objects = objects or folder
    objects.mkdir(parents=True, exist_ok=True)
    module = folder / f"_hot{sysconfig.get_config_var('EXT_SUFFIX')}"
    compiler = [*os.environ.get("CC", "cc").split(), "-O3", "-fPIC", *DIRECT.split(), *flags.split()]
    made = []
    for source in sorted(NATIVE.glob("*.c")):
        made.append(str(objects / f"{source.stem}.o"))
        _run(str(source), folder, [*compiler, f"-I{sysconfig.get_path('include')}", "-c", str(source), "-o", made[-1]], {})
    shared = ["-shared", *(["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else [])]
    _run(str(NATIVE), folder, [*compiler, *shared, *made, "-o", str(module)], {})
    return module


def _compile(target: Path, flags: str) -> None:
    """Compile in place; objects, and the counts that GCC keeps beside them, stay in `build`."""
    for made in [*(target / "build").glob("temp*/**/*.o"), *target.rglob("*.so")]:
        made.unlink()  # else they would be taken for up to date
    compile_native(target / "schemas", target / "build" / "native", flags)
    given = {name: f"{os.environ.get(name, '')} {DIRECT} {flags}".strip() for name in ("CFLAGS", "LDFLAGS")}
    given["MYPYC_DEBUG_LEVEL"] = os.environ.get("MYPYC_DEBUG_LEVEL", "0")
    _run("mypyc", target, [sys.executable, "-m", "mypyc", *HOT], given)


def _run(what: str, target: Path, command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(  # noqa: S603 - a fixed list
        command, cwd=target, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def _compiler() -> str:
    return os.environ.get("CC", "cc").split()[0]


def _is_gcc() -> bool:
    said = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    return "Free Software Foundation" in said


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="folder to build in; what it held is deleted")
    parser.add_argument("--plain", action="store_true", help="compile once, without a profile")
    options = parser.parse_args()
    build(options.target.resolve(), options.plain)


if __name__ == "__main__":
    main()
