"""The systemd units, by systemd-analyze: nothing unknown in them, little exposed, and the commands they start are ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
EXPOSURE = "20"
"""Tenths, of systemd's scale from 0 to 10; what remains is the network and a user of its own, which it needs."""
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze (Debian package systemd) is not here")


def problems(unit: Path, tmp_path: Path, old: str = "", new: str = "") -> str:
    """Return what systemd says of a unit, its program replaced by one that exists here, after a change to its text."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.M)
    assert old in text
    path = tmp_path / unit.name
    path.write_text(text.replace(old, new))
    said = ""
    for arguments in (["verify", "--man=no"], ["security", "--offline=yes", f"--threshold={EXPOSURE}"]):
        done = subprocess.run([str(ANALYZE), *arguments, str(path)], capture_output=True, text=True, check=False)
        said += done.stderr + ("".join(done.stdout.splitlines()[-1:]) if done.returncode else "")
    return said


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_to_say(unit: Path, tmp_path: Path) -> None:
    assert problems(unit, tmp_path) == ""


@needs_systemd
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ProtectHome=", "ProtectHom=", "Unknown key 'ProtectHom'"),
        ("KillMode=mixed", "KillMode=all", "Failed to parse kill mode"),
        ("ExecStart=/bin/true", "ExecStart=/nowhere/affidavit", "not executable"),
        ("CapabilityBoundingSet=\n", "", "exposure level"),
    ],
)
def test_a_fault_in_a_unit_is_found(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert said in problems(FOLDER / "affidavit.service", tmp_path, old, new)


def test_units_start_commands_that_exist() -> None:
    from deploy.cli import run

    started = [re.search(r"^ExecStart=\S+/affidavit (\w+) -c \S+$", unit.read_text(), re.M) for unit in UNITS]
    assert len(started) == 2
    for found in started:
        assert found is not None
        assert run([found[1], "--help"]) == 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_let_processes_refuse_cores_also_to_programs(unit: Path) -> None:
    """core(5): a program behind `core_pattern` is started whatever the limit is, except at one byte, which 0 as limit forbids."""
    assert "\nLimitCORE=1\n" in unit.read_text()
