"""A bundle's files change while they are looked at: half of one is never in force."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from ingest.guard.loading import PolicyFiles

RULE = """
  - id: {id}
    effect: deny
    when: '"{id}" in statement.verbs'
    reason: No.
"""
WHOLE = "bundle: p\nrules:\n" + "".join(RULE.format(id=verb) for verb in ("drop_table", "truncate", "delete"))
HALF = WHOLE[: WHOLE.index("  - id: delete")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(WHOLE)
    return path


def test_a_file_that_is_being_written_is_not_read(file: Path) -> None:
    said: list[bytes] = []
    files = PolicyFiles((file,), said.append)
    first = files.guard.policy.version
    for at in range(len(HALF) - 60, len(HALF) + 1, 10):  # slowly, over a bad line
        file.write_text(WHOLE[:at])
        assert not files.changed()
    file.write_text(WHOLE + "# done\n")
    assert not files.changed()
    assert files.changed()
    files.reload()
    assert files.guard.policy.version != first
    assert len(files.guard.policy.bundle.rules) == 3
    assert not files.changed()
    assert [orjson.loads(b"{" + body[1:] + b"}")["rules"] for body in said] == [3, 3]


def test_a_file_written_while_it_is_read_is_left_for_the_next_look(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = PolicyFiles((file,), lambda body: None)
    file.write_text(HALF)
    read = Path.read_bytes

    def meanwhile(path: Path) -> bytes:
        data = read(path)
        path.write_text(WHOLE)
        return data

    monkeypatch.setattr(Path, "read_bytes", meanwhile)
    files.reload()
    assert len(files.guard.policy.bundle.rules) == 3


def test_files_that_are_gone_or_unreadable_leave_the_old_bundle_and_say_so(file: Path) -> None:
    said: list[bytes] = []
    files = PolicyFiles((file,), said.append)
    moved = file.with_suffix(".away")
    file.rename(moved)
    assert [files.changed(), files.changed()] == [False, True]
    files.reload()
    assert b"cannot be read: No such file" in said[-1]
    file.mkdir()
    assert [files.changed(), files.changed()] == [False, True]
    files.reload()
    assert b"Is a directory" in said[-1]
    file.rmdir()
    os.rename(moved, file)
    assert [files.changed(), files.changed()] == [False, True]
    files.reload()
    assert len(files.guard.policy.bundle.rules) == 3
    assert not files.changed()
