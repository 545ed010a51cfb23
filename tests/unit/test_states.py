"""Places of principals' states: the same in memory and in RocksDB, and what is wrong with a folder or a package is told."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from processors.runtimes.states import InRocksDB, Place
from processors.runtimes.work import PipelineError

NewPlace = Callable[[], Place]


def test_a_place_holds_what_was_put_last(new_place: NewPlace) -> None:
    kept, told = new_place(), random.Random(7)
    expected: dict[str, bytes] = {}
    for _ in range(2_000):
        name = f"p{told.randrange(60)}\u00e4\x00"
        if told.random() < 0.7:
            expected[name] = told.randbytes(told.randrange(400))
            kept.put(name, expected[name])
        else:
            expected.pop(name, None)
            kept.drop(name)
        assert len(kept) == len(expected)
        assert kept.get(name) == expected.get(name)
    assert dict(kept.records()) == expected
    assert new_place().get(next(iter(expected))) is None


def test_a_name_may_be_empty_and_a_record_too(new_place: NewPlace) -> None:
    kept = new_place()
    kept.put("", b"")
    assert (kept.get(""), len(kept), list(kept.records())) == (b"", 1, [("", b"")])
    kept.drop("")
    assert (kept.get(""), len(kept)) == (None, 0)


def test_a_look_at_all_goes_on_beside_the_other_thread(new_place: NewPlace) -> None:
    """A sweep in the worker's thread, while the event loop hears of the partitions that we stand by for."""
    kept = new_place()
    ours = {f"a{n}": b"x" * 50 for n in range(500)}
    for name, record in ours.items():
        kept.put(name, record)
    stop = threading.Event()

    def hear() -> None:
        n = 0
        while not stop.is_set():
            kept.put(f"b{n % 300}", b"y")
            kept.drop(f"b{(n + 150) % 300}")
            n += 1

    heard = threading.Thread(target=hear)
    heard.start()
    try:
        for _ in range(30):
            seen = dict(kept.records())
            assert {name: record for name, record in seen.items() if name[0] == "a"} == ours
    finally:
        stop.set()
        heard.join()
    assert len(kept) == len(dict(kept.records()))


def test_what_an_earlier_worker_left_is_gone(tmp_path: Path) -> None:
    pytest.importorskip("rocksdict")
    for _ in range(2):
        kept = InRocksDB(tmp_path / "states")
        assert (len(kept), kept.get("ana"), list(kept.records())) == (0, None, [])
        kept.put("ana", b"1")
        kept.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    pytest.importorskip("rocksdict")
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match=rf"{tmp_path}/file/states: .*process\.states to memory"):
        InRocksDB(tmp_path / "file" / "states")


def test_what_fails_later_is_told(tmp_path: Path) -> None:
    pytest.importorskip("rocksdict")
    kept = InRocksDB(tmp_path / "states")
    kept.close()
    for use in (lambda: kept.get("a"), lambda: kept.put("a", b""), lambda: kept.drop("a"), lambda: list(kept.records())):
        with pytest.raises(PipelineError, match=r"states of principals in .*process\.states"):
            use()


def test_memory_is_bounded_whatever_is_put(tmp_path: Path) -> None:
    """300 MB of records; the process grows by the memtables and the cache, and what the kernel counts with them."""
    pytest.importorskip("rocksdict")
    kept, told = InRocksDB(tmp_path / "states"), random.Random(1)
    before = _resident()
    for n in range(300_000):
        kept.put(f"agent-{n}@example.com", told.randbytes(1_000))
    grown = _resident() - before
    assert (len(kept), len(kept.get("agent-7@example.com") or b"")) == (300_000, 1_000)
    kept.close()
    assert grown < 200_000_000, grown


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_package_that_is_not_here_is_told_with_what_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    with pytest.raises(PipelineError, match=r"pip install 'affidavit\[rocksdb\]'"):
        InRocksDB(tmp_path / "states")
    assert not (tmp_path / "states").exists()
