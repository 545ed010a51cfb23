"""Spools for tests: small, without a thread, on a clock that a test moves; and a reader of the log to check them by."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import orjson

from ingest.spool import UNKNOWN_OUTCOME, Spool
from ingest.spool.keeper import OwnSealer
from schemas.config import AuditSettings, Durability
from schemas.integrity import Block, BlockHeader, verify_block, verify_successor

SOURCE = "proxy/0"
CONTEXT = (
    b',"session_id":"s1","principal":{"id":"ann","kind":"human","groups":[],"auth_method":"token","credential_id":"",'
    b'"on_behalf_of":"","delegation":[]},"database":{"alias":"shop","engine":"postgres","environment":"test","name":"shop"},'
    b'"db_user":"app","client":{"address":"127.0.0.1:5","application":"","driver":"","tls":""}'
)
STATEMENT = (
    b',"text":"select $1","text_hash":"00","fingerprint":"11","facts":{"verbs":["select"],"reads":[],"writes":[],"columns":[],'
    b'"functions":[],"flags":[]}'
)
OK_OUTCOME = UNKNOWN_OUTCOME.replace(b"unknown", b"ok").replace(b'"ended_at":0', b'"ended_at":1700000000000001')
STARTED = b',"version":"0","host":"h","pid":1,"role":"proxy"'


def dynamic(name: str, size: int = 0) -> bytes:
    """Return the fragment of a statement that can be told from others by its one parameter."""
    return (
        b',"kind":"simple","transaction":"I","params":["int:%b"],"claims":{"pad":"%b"},"decision":{"verdict":"allow",'
        b'"policies":[],"bundle":"","risk":0,"approval_id":""}'
        % (name.encode(), random.Random(name).randbytes(size // 2).hex().encode())
    )


def small(**changes: object) -> AuditSettings:
    """Return settings with segments far smaller than a configuration may ask for, so that tests rotate often."""
    if "durability" in changes:
        changes["durability"] = Durability(changes["durability"])
    return AuditSettings().model_copy(update={"wal_segment_bytes": 160 * 1024, "max_events_per_block": 5, **changes})


class Clock:
    """Microseconds that go on by one at each look, and by `advance`."""

    def __init__(self, now: int = 1_700_000_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def advance(self, ms: int) -> int:
        self.now += ms * 1000
        return self.now


def open_spool(folder: Path, clock: Clock | None = None, settings: AuditSettings | None = None) -> Spool:
    """Open a spool that does everything inside calls."""
    return Spool.open(folder, SOURCE, settings or small(), clock or Clock(), None, background=False)


def abandon(spool: Spool) -> None:
    """Let go of a spool as a killed process would: descriptors closed, nothing written."""
    files = spool._files
    segments = [files.segment, *files._full, *([files._spare] if files._spare else [])]
    segments += [b.file.segment for b in spool.blocks._unacked if b.file.segment]
    segments += [spool.blocks._file.segment] if spool.blocks._file and spool.blocks._file.segment else []
    for segment in segments:
        segment.close()
    assert isinstance(spool._keeper, OwnSealer)
    if spool._keeper.sealer._fd >= 0:
        os.close(spool._keeper.sealer._fd)
    spool._keeper._file_lock.release()
    spool._lock.release()


class Reader:
    """The other end: takes blocks as a log's reader does, drops repeats, checks the chain, keeps every line."""

    def __init__(self) -> None:
        self.headers: dict[int, BlockHeader] = {}
        self.events: list[dict[str, object]] = []
        self.lines: list[bytes] = []
        self.repeats = 0
        self._last: BlockHeader | None = None

    def copy(self) -> Reader:
        other = Reader()
        other.headers, other.events, other.lines = dict(self.headers), list(self.events), list(self.lines)
        other.repeats, other._last = self.repeats, self._last
        return other

    def take(self, block: Block, gap: bool = False) -> None:
        known = self.headers.get(block.header.number)
        if known is not None:
            assert known == block.header, f"block {known.number} came twice and differs"
            self.repeats += 1
            return
        verify_block(block)
        if not gap:
            verify_successor(self._last, block.header)
        self._last = self.headers[block.header.number] = block.header
        self.lines += block.lines()
        self.events += map(orjson.loads, block.lines())

    def drain(self, spool: Spool, blocks: int = 1_000_000, gap: bool = False, ack: bool = True) -> None:
        for block in spool.blocks.oldest(blocks, 1 << 40):
            self.take(block, gap)
            if ack:
                spool.blocks.ack(block.header)

    def names(self) -> list[str]:
        """The statements by name (see `dynamic`), in order."""
        return [str(e["params"][0])[4:] for e in self.events if e["type"] == "QueryExecuted"]  # type: ignore[index]

    def statuses(self) -> dict[str, str]:
        """Outcome status by name."""
        return {str(e["params"][0])[4:]: e["outcome"]["status"] for e in self.events if e["type"] == "QueryExecuted"}  # type: ignore[index]


@contextmanager
def watched_disk(before: Callable[[str, Path, bytes, int], None]) -> Iterator[None]:
    """Call `before(kind, path, data, offset)` ahead of each change a spool makes to a file: write, create, delete, rename."""
    real_pwrite, real_fallocate = os.pwrite, os.posix_fallocate
    real_unlink, real_replace, real_rename = Path.unlink, Path.replace, Path.rename

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        before("write", Path(os.readlink(f"/proc/self/fd/{fd}")), data, offset)
        return real_pwrite(fd, data, offset)

    def fallocate(fd: int, offset: int, length: int) -> None:
        before("create", Path(os.readlink(f"/proc/self/fd/{fd}")), b"", 0)
        real_fallocate(fd, offset, length)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        before("delete", path, b"", 0)
        real_unlink(path, missing_ok)

    def replace(path: Path, target: Path) -> Path:
        before("rename", path, b"", 0)
        return real_replace(path, target)

    def rename(path: Path, target: Path) -> Path:
        before("rename", path, b"", 0)
        return real_rename(path, target)

    with (
        mock.patch.object(os, "pwrite", pwrite),
        mock.patch.object(os, "posix_fallocate", fallocate),
        mock.patch.object(Path, "unlink", unlink),
        mock.patch.object(Path, "replace", replace),
        mock.patch.object(Path, "rename", rename),
    ):
        yield


def snapshot(folder: Path, target: Path, path: Path, data: bytes, offset: int) -> Path:
    """Copy a spool's folder as a crash would leave it after `data` (the first bytes of a write) went to `path`."""
    shutil.copytree(folder, target)
    if data:
        with open(target / path.name, "r+b") as file:
            file.seek(offset)
            file.write(data)
    return target
