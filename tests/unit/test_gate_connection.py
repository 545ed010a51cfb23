from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingest.net.busy_poll import BusyPoll
from ingest.net.connection import Connection
from ingest.net.gate import Gate
from ingest.spool import SpoolError
from ingest.spool.frames import scan
from schemas.config import Durability
from tests.support.spools import CONTEXT, STATEMENT, dynamic, open_spool, small


@pytest.mark.replaces
def test_what_comes_while_a_group_syncs_waits_for_the_next(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, settings=small(max_events_per_block=500))
    go, syncs = threading.Event(), []

    def frames() -> int:
        return len(scan(spool._files.segment.path.read_bytes()).frames)

    real = spool.sync

    def sync() -> None:
        assert go.wait(5)
        real()
        syncs.append(frames())

    spool.sync = sync  # type: ignore
    sent: list[tuple[bytes, int, int]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        worker: Any = SimpleNamespace(
            spool=spool, gate=Gate(spool, Durability.FSYNC, loop), busy_poll=BusyPoll(loop, 0), clock=lambda: 1
        )
        c = Connection(worker, SimpleNamespace(tls_mode="disable"))  # type: ignore
        c._server = SimpleNamespace(transport=SimpleNamespace(write=lambda d: sent.append((d, frames(), len(syncs)))))

        def pass_on(name: str) -> None:
            spool.intend(1, CONTEXT, STATEMENT, dynamic(name))
            c._out.append(name.encode())
            c._send()

        before = frames()
        pass_on("first")
        await asyncio.sleep(0.01)  # committed; its sync is under way
        pass_on("second")  # pipelined
        go.set()
        while sum(d.count(b"second") for d, _, _ in sent) == 0:
            await asyncio.sleep(0.001)
        assert sent == [(b"first", before + 1, 1), (b"second", before + 2, 2)]

    asyncio.run(run())
    spool.close(0)


@pytest.mark.replaces
def test_a_closing_connection_whose_commit_fails_leaves_no_server_open(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, settings=small(max_events_per_block=500))
    closed: list[str] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        spool.intend(1, CONTEXT, STATEMENT, dynamic("under way"))
        spool.intend(1, CONTEXT, STATEMENT, dynamic("another"))
        spool.commit()
        worker: Any = SimpleNamespace(
            spool=spool,
            gate=Gate(spool, Durability.WRITE, loop),
            busy_poll=BusyPoll(loop, 0),
            clock=lambda: 1,
            cancels=None,
            forget=lambda c: None,
            log=SimpleNamespace(error=lambda *a, **k: None),
            loop=loop,
        )
        c = Connection(worker, SimpleNamespace(tls_mode="disable"))  # type: ignore
        c._server = SimpleNamespace(
            transport=SimpleNamespace(
                write=lambda d: None,
                close=lambda: closed.append("closed"),
                is_closing=lambda: False,
                get_write_buffer_size=lambda: 0,
            )
        )
        spool.intend(1, CONTEXT, STATEMENT, dynamic("first"))
        c._out.append(b"x")
        c._send()
        c.close("killed")
        real = spool.commit

        def fails() -> None:
            raise SpoolError("disk")

        spool.commit = fails  # type: ignore
        await asyncio.sleep(0.01)
        spool.commit = real  # type: ignore
        assert closed == ["closed"]

    asyncio.run(run())
    spool.close(0)
