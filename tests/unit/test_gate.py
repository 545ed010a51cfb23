"""When are connections let go, and by how many commits? On a real event loop and a real spool."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.net.gate import Gate
from ingest.spool import Spool
from ingest.spool.frames import scan
from schemas.config import Durability
from tests.support.spools import CONTEXT, STATEMENT, dynamic, open_spool, small


class Waiting:
    """A connection that has statements for its server. `told` is what it learned, with the frames the spool's file had then."""

    def __init__(self, gate: Gate, spool: Spool) -> None:
        self.gate, self.spool = gate, spool
        self.told: list[tuple[str, int]] = []

    def send(self, name: str) -> None:
        self.spool.intend(1, CONTEXT, STATEMENT, dynamic(name))
        if self.gate.wait(self):
            self.release()

    def committed(self) -> None:
        pass

    def release(self) -> None:
        self.told.append(("released", frames(self.spool)))

    def refuse(self, reason: str) -> None:
        self.told.append(("refused", frames(self.spool)))


def frames(spool: Spool) -> int:
    """How many frames stand in the write-ahead file, by what another process would read of it."""
    return len(scan(spool._files.segment.path.read_bytes()).frames)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = open_spool(tmp_path, settings=small(max_events_per_block=500))
    yield opened
    opened.close(0)


def in_one_turn(spool: Spool, count: int, durability: Durability = Durability.WRITE) -> list[Waiting]:
    """Have so many connections send within one turn of a loop; return them when the next turns are over."""

    async def run() -> list[Waiting]:
        gate = Gate(spool, durability, asyncio.get_running_loop())
        connections = [Waiting(gate, spool) for _ in range(count)]
        for number, connection in enumerate(connections):
            connection.send(f"s{number}")
        while not all(connection.told for connection in connections):
            await asyncio.sleep(0)
        return connections

    return asyncio.run(run())


def test_a_statement_alone_is_let_go_at_once(spool: Spool) -> None:
    before = frames(spool)

    async def run() -> None:
        connection = Waiting(Gate(spool, Durability.WRITE, asyncio.get_running_loop()), spool)
        connection.send("a")
        assert connection.told == [("released", before + 1)], "without a turn of the loop"

    asyncio.run(run())


@pytest.mark.parametrize("durability", list(Durability))
def test_statements_of_one_turn_share_a_commit_and_leave_after_it(spool: Spool, durability: Durability) -> None:
    spool.intend(1, CONTEXT, STATEMENT, dynamic("under way"))
    spool.commit()
    before = frames(spool)
    connections = in_one_turn(spool, 5, durability)
    assert [connection.told for connection in connections] == [[("released", before + 1)]] * 5


def test_all_of_a_turn_are_refused_where_their_commit_fails(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.intend(1, CONTEXT, STATEMENT, dynamic("under way"))
    spool.commit()
    before = frames(spool)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        connections = in_one_turn(spool, 3)
    assert [connection.told for connection in connections] == [[("refused", before)]] * 3


def test_an_outcome_is_written_though_nobody_waits_for_it(spool: Spool) -> None:
    async def run() -> None:
        gate = Gate(spool, Durability.WRITE, asyncio.get_running_loop())
        number = spool.intend(1, CONTEXT, STATEMENT, dynamic("a"))
        spool.commit()
        before = frames(spool)
        spool.conclude(number, b"")
        gate.touch()
        gate.touch()
        while frames(spool) == before:
            await asyncio.sleep(0.001)
        assert frames(spool) == before + 1

    asyncio.run(asyncio.wait_for(run(), 30))
