"""A spool may be cut off after any byte it writes and between any two changes to its files: nothing lost, nothing twice.

Each test keeps, beside the spool, what a caller was promised at that moment; a copy of the folder as the crash would leave it
is then opened, read to its end, and compared.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.spool.frames import FRAME_OVERHEAD, encode_frame, scan
from ingest.spool.recovery import recover
from tests.support.spools import (
    CONTEXT,
    OK_OUTCOME,
    STARTED,
    STATEMENT,
    Clock,
    Reader,
    abandon,
    dynamic,
    open_spool,
    small,
    snapshot,
)
from tests.support.spools import watched_disk as watched


@dataclass
class Promise:
    """What a caller knows: names committed as intents, names committed as concluded, names not yet committed."""

    intents: set[str] = field(default_factory=set)
    concluded: set[str] = field(default_factory=set)
    loose_intents: set[str] = field(default_factory=set)
    loose_concluded: set[str] = field(default_factory=set)

    def copy(self) -> Promise:
        return Promise(*(set(s) for s in (self.intents, self.concluded, self.loose_intents, self.loose_concluded)))

    def committed(self) -> None:
        self.intents |= self.loose_intents
        self.concluded |= self.loose_concluded
        self.loose_intents, self.loose_concluded = set(), set()


def check(folder: Path, promise: Promise, shipped: Reader) -> None:
    """Open what the crash left, read everything, compare with the promise."""
    spool = open_spool(folder)
    reader = shipped.copy()
    reader.drain(spool)
    names = reader.names()
    assert len(names) == len(set(names)), f"twice: {[n for n in names if names.count(n) > 1]}"
    assert promise.intents | promise.concluded <= set(names), f"lost: {(promise.intents | promise.concluded) - set(names)}"
    assert set(names) <= promise.intents | promise.loose_intents
    statuses = reader.statuses()
    for name in names:
        if name in promise.concluded:
            assert statuses[name] == "ok", name
        elif name not in promise.loose_concluded:
            assert statuses[name] == "unknown", name
    assert spool.recovered.damaged == 0
    spool.record("ProxyStarted", 1_800_000_000_000_000, STARTED)
    spool.seal(1_800_000_000_000_000)
    reader.drain(spool)
    assert reader.events[-1]["epoch"] == spool.epoch
    spool.close(1_800_000_000_000_001)


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["intend", "intend", "conclude", "conclude", "commit", "commit", "seal", "ship", "big", "big", "record"]),
        st.integers(0, 7),
    ),
    min_size=5,
    max_size=80,
)


class Scenario:
    """Runs steps against a spool and calls `crash(folder copy, promise, shipped)` at chosen moments."""

    def __init__(self, root: Path, seed: int, rate: float) -> None:
        self.root, self.folder = root, root / "spool"
        self.random, self.rate = random.Random(seed), rate
        self.promise, self.shipped = Promise(), Reader()
        self.copies: list[tuple[Path, Promise, Reader]] = []

    def before(self, kind: str, path: Path, data: bytes, offset: int) -> None:
        if path.parent != self.folder or self.random.random() >= self.rate or len(self.copies) >= 12:
            return
        cut = self.random.choice([0, 1, len(data) // 2, max(len(data) - 1, 0), len(data), self.random.randint(0, len(data))])
        target = snapshot(self.folder, self.root / f"copy{len(self.copies)}", path, data[:cut], offset)
        self.copies.append((target, self.promise.copy(), self.shipped.copy()))

    def run(self, steps: list[Step]) -> None:
        clock = Clock()
        with watched(self.before):
            spool = open_spool(self.folder, clock)
            spool.record("ProxyStarted", clock(), STARTED)
            open_intents: dict[int, str] = {}
            for i, (what, n) in enumerate(steps):
                if what in ("intend", "big"):
                    name = f"s{i}"
                    self.promise.loose_intents.add(name)
                    size = 60_000 if what == "big" else n * 10
                    number = spool.intend(clock(), CONTEXT, STATEMENT.replace(b"$1", b"$%d" % n), dynamic(name, size))
                    open_intents[number] = name
                elif what == "conclude" and open_intents:
                    number = sorted(open_intents)[n % len(open_intents)]
                    self.promise.loose_concluded.add(open_intents.pop(number))
                    spool.conclude(number, OK_OUTCOME)
                elif what == "record":
                    spool.record("Heartbeat", clock(), b',"open_sessions":0,"open_statements":0')
                elif what == "commit":
                    spool.commit()
                    self.promise.committed()
                elif what == "seal":
                    spool.seal(clock.advance(300))
                    self.promise.committed()
                elif what == "ship":
                    self.shipped.drain(spool, blocks=1 + n)
            abandon(spool)
        self.copies.append((self.folder, self.promise, self.shipped))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(0, 2**32), st.sampled_from([0.03, 0.1, 0.3]))
def test_any_crash_loses_nothing_and_doubles_nothing(steps: list[Step], seed: int, rate: float) -> None:
    root = Path(tempfile.mkdtemp(prefix="spool-crash-"))
    try:
        scenario = Scenario(root, seed, rate)
        scenario.run(steps)
        for folder, promise, shipped in scenario.copies:
            check(folder, promise, shipped)
    finally:
        shutil.rmtree(root)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(0, 2**32))
def test_a_crash_while_recovering_is_as_harmless(steps: list[Step], seed: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="spool-crash-"))
    try:
        first = Scenario(root, seed, rate=0.05)
        first.run(steps)
        folder, promise, shipped = first.copies[-1]
        again: list[Path] = []

        def before(kind: str, path: Path, data: bytes, offset: int) -> None:
            if path.parent == folder:
                for cut in {0, len(data) // 2, len(data)}:
                    again.append(snapshot(folder, root / f"again{len(again)}", path, data[:cut], offset))

        with watched(before):
            abandon(open_spool(folder))
        assert again
        for copy in again:
            check(copy, promise, shipped)
        check(folder, promise, shipped)
    finally:
        shutil.rmtree(root)


def test_every_prefix_of_every_write_keeps_all_earlier_commits(tmp_path: Path) -> None:
    """Exhaustive where the property test draws: each byte count of each write of a short life, read by `recover`."""
    folder, clock = tmp_path / "spool", Clock()
    committed: set[int] = set()
    writes: list[tuple[Path, int, bytes, set[int]]] = []
    with watched(
        lambda kind, path, data, offset: writes.append((path, offset, data, set(committed))) if kind == "write" else None
    ):
        spool = open_spool(folder, clock)
        for i in range(6):
            number = spool.intend(clock(), b',"c":1', b',"s":%d' % i, b',"n":%d' % i)
            spool.commit()
            committed.add(number)
            if i % 2:
                spool.conclude(number - 1, OK_OUTCOME)
                spool.commit()
        abandon(spool)
    wal = [w for w in writes if w[0].name.startswith("wal")]
    assert len({w[0] for w in wal}) == 1
    copy = tmp_path / "copy"
    copy.mkdir()
    target = copy / wal[0][0].name
    whole = wal[0][0].read_bytes()
    tried = 0
    for _, offset, data, promised in wal:
        for cut in range(len(data) + 1):
            for padding in (b"", bytes(64)):
                target.write_bytes(whole[:offset] + data[:cut] + padding)
                found = recover(copy)
                assert found.damage == [], (offset, cut)
                seen = {number for number, *_ in found.unknown} | {event.number for _, event in found.events}
                assert promised <= seen, (offset, cut)
                tried += 1
    assert tried > 2000


@given(st.lists(st.binary(max_size=200), max_size=6), st.data())
def test_scan_reads_whole_frames_of_any_prefix_and_calls_the_rest_torn(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(encode_frame(3, i, p) for i, p in enumerate(payloads))
    cut = data.draw(st.integers(0, len(whole)))
    result = scan(whole[:cut] + bytes(data.draw(st.integers(0, 50))))
    ends = [sum(len(p) + FRAME_OVERHEAD for p in payloads[: i + 1]) for i in range(len(payloads))]
    assert [f.payload for f in result.frames] == [p for p, end in zip(payloads, ends, strict=True) if end <= cut]
    assert result.damage == ()


@settings(max_examples=300)
@given(st.lists(st.binary(min_size=1, max_size=120), min_size=3, max_size=6), st.data())
def test_scan_salvages_all_frames_around_a_damaged_one(payloads: list[bytes], data: st.DataObject) -> None:
    frames = [encode_frame(3, i, p) for i, p in enumerate(payloads)]
    hurt = data.draw(st.integers(0, len(frames) - 1))
    at = data.draw(st.integers(0, len(frames[hurt]) - 1))
    bad = bytearray(frames[hurt])
    bad[at] ^= data.draw(st.integers(1, 255))
    result = scan(b"".join((*frames[:hurt], bytes(bad), *frames[hurt + 1 :])) + bytes(100))
    assert [f.payload for f in result.frames] == [p for i, p in enumerate(payloads) if i != hurt]
    if hurt < len(frames) - 1 or at < len(frames[hurt]) - 1:
        assert len(result.damage) == 1, "a damaged frame passed as torn"


@pytest.mark.parametrize("durability", ["write", "fsync"])
def test_recovery_twice_changes_nothing_more(tmp_path: Path, durability: str) -> None:
    clock, options = Clock(), small(durability=durability)
    spool = open_spool(tmp_path / "s", clock, options)
    numbers = [spool.intend(clock(), CONTEXT, STATEMENT, dynamic(f"n{i}")) for i in range(7)]
    for number in numbers[:3]:
        spool.conclude(number, OK_OUTCOME)
    spool.commit()
    spool.sync()
    abandon(spool)
    second = open_spool(tmp_path / "s", clock, options)
    assert (second.recovered.events, second.recovered.unknown) == (3, 4)
    assert second.epoch == 2
    abandon(second)
    third = open_spool(tmp_path / "s", clock, options)
    assert (third.recovered.events, third.recovered.unknown) == (0, 0)
    assert third.epoch == 2, "an epoch without any event must not count"
    reader = Reader()
    reader.drain(third)
    assert sorted(reader.names()) == [f"n{i}" for i in range(7)]
    third.close(clock())
