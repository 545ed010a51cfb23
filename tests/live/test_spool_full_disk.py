"""A spool on a full disk: refuses in words, still takes every outcome it promised, loses nothing, and goes on when there is room.

Twice: on a real, tiny tmpfs where this process may mount one, and everywhere with a file system that says it is full.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.spool import Spool, SpoolFullError
from schemas.config import AuditSettings
from tests.support.spools import CONTEXT, OK_OUTCOME, SOURCE, STATEMENT, Clock, Reader, abandon, dynamic

MIB = 1024**2
SETTINGS = AuditSettings(wal_segment_bytes=MIB, max_events_per_block=50)


class TinyDisk:
    """A tmpfs of 6 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with open(self._filler, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
        assert os.statvfs(self.folder).f_bavail == 0

    def empty(self) -> None:
        self._filler.unlink()


class PretendedDisk:
    """A folder whose file system is full when told: no free blocks, and no allocation succeeds."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch

    def fill(self) -> None:
        def no_space(fd: int, offset: int, length: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self._monkeypatch.setattr(os, "posix_fallocate", no_space)

    def empty(self) -> None:
        self._monkeypatch.undo()


@pytest.fixture(params=["tmpfs", "pretended"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyDisk | PretendedDisk]:
    if request.param == "pretended":
        yield PretendedDisk(tmp_path, monkeypatch)
        return
    folder = tmp_path / "mounted"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
    try:
        yield TinyDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_refuses_and_keeps_every_promise(disk: TinyDisk | PretendedDisk) -> None:
    clock, reader, names = Clock(), Reader(), []
    spool = Spool.open(disk.folder / "spool", SOURCE, SETTINGS, clock, None, background=False)
    disk.fill()
    open_intents: list[int] = []
    with pytest.raises(SpoolFullError) as refused:
        for i in range(5000):
            open_intents.append(spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"n{i}", 3_000)))
            names.append(f"n{i}")
            spool.commit()
            if i % 2:
                spool.conclude(open_intents.pop(0), OK_OUTCOME)
                spool.commit()
            if spool.seal_due(clock()):
                spool.seal(clock())
    assert len(names) > 50, "the reserve is so large that nothing was accepted"
    assert str(disk.folder) in str(refused.value)
    assert "bytes free" in str(refused.value)
    assert "free disk space there" in str(refused.value)
    assert spool.refusal == str(refused.value)
    assert not spool.accepting

    for number in open_intents:  # what was accepted ends, as promised, on the full disk
        spool.conclude(number, OK_OUTCOME)
        spool.commit()
    spool.seal(clock())
    with pytest.raises(SpoolFullError):  # that gave back what was kept for them; use it up, statement by statement
        for i in range(20_000):
            spool.conclude(spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"m{i}")), OK_OUTCOME)
            names.append(f"m{i}")
            spool.commit()
    spool.seal(clock())
    assert not spool.accepting
    assert spool.stats.open_intents == 0

    disk.empty()
    assert spool.seal_due(clock())
    spool.seal(clock())
    spool.seal(clock())
    assert spool.accepting, spool.refusal
    spool.conclude(spool.intend(clock(), CONTEXT, STATEMENT, dynamic("after")), OK_OUTCOME)
    spool.seal(clock())
    reader.drain(spool)
    assert sorted(reader.names()) == sorted([*names, "after"])
    assert set(reader.statuses().values()) == {"ok"}
    spool.close(clock())


def test_killed_and_started_again_on_a_full_disk(disk: TinyDisk | PretendedDisk) -> None:
    clock, names = Clock(), []
    spool = Spool.open(disk.folder / "spool", SOURCE, SETTINGS, clock, None, background=False)
    for i in range(100):
        spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"n{i}", 1_000))
        names.append(f"n{i}")
        spool.commit()
    abandon(spool)
    disk.fill()
    with pytest.raises(SpoolFullError, match=r"has no room: .*free disk space there"):
        Spool.open(disk.folder / "spool", SOURCE, SETTINGS, clock, None, background=False)
    disk.empty()
    reader = Reader()
    spool = Spool.open(disk.folder / "spool", SOURCE, SETTINGS, clock, None, background=False)
    reader.drain(spool)
    assert sorted(reader.names()) == sorted(names)
    spool.close(clock())
