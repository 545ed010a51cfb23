"""The principals' newest states in a Faust worker, by what it published and what the changelog brought; in memory or in RocksDB.

Newest is what has the highest version, not what stands last: a worker that was thought dead and wakes up may publish a state
behind its successor's newer one, and versions are the same whoever computes them.

A place to keep them holds each as it was published, behind what tells which of two is the newer. The changelog alone is durable:
RocksDB is room, not memory of a worker's, so it writes nothing ahead, and its folder is made anew at each start.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import orjson

from processors import principals
from processors.principals import Principal, is_idle, rank
from processors.runtimes.work import PipelineError
from schemas.config import StatesKind

Publish = Callable[[int, Sequence[tuple[str, bytes | None]]], None]
"""Has the brokers confirm records of the changelog (key, JSON; None: a tombstone) of a partition, in order; raises
LogUnavailableError."""

SWEPT_AT_ONCE = 10_000
"""Tombstones published at once: a few seconds, in which nothing else is folded."""

MEMTABLE_BYTES = 16 * 1024 * 1024
BLOCK_CACHE_BYTES = 64 * 1024 * 1024
"""What RocksDB takes of memory: this, two memtables, and an index of about a fiftieth of the states."""

_HEAD = struct.Struct("<Iqqq")
"""Partition, rank (`since`, `version`) and `last_at`, before a state's JSON."""

_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


class Place(Protocol):
    """Where records are kept by name, for one event loop and one thread beside it that never write the same name."""

    def get(self, name: str) -> bytes | None:
        """Return a record; None if there is none."""

    def put(self, name: str, record: bytes) -> None:
        """Keep a record in the place of the one that there may be."""

    def drop(self, name: str) -> None:
        """Forget a record, if there is one."""

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over all records, in any order; what is put or dropped meanwhile may be among them or not."""

    def __len__(self) -> int: ...

    def close(self) -> None:
        """Give up what is held."""


class InMemory:
    """All of them in a dictionary."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """Return a record; None if there is none."""
        return self._records.get(name)

    def put(self, name: str, record: bytes) -> None:
        """Keep a record."""
        self._records[name] = record

    def drop(self, name: str) -> None:
        """Forget a record."""
        self._records.pop(name, None)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over a copy."""
        return iter(list(self._records.items()))

    def __len__(self) -> int:
        return len(self._records)

    def close(self) -> None:
        """Do nothing."""


class InRocksDB:
    """In a folder of this process alone; what an earlier one left there is deleted. All that is called raises PipelineError."""

    def __init__(self, folder: Path) -> None:
        try:
            rocksdict: Any = import_module("rocksdict")  # any type: its stubs differ from what it is
        except ImportError:
            raise PipelineError(
                "process.states is rocksdb, and the package that reads and writes it is not here: "
                "pip install 'affidavit[rocksdb]', or set process.states to memory"
            ) from None
        self._folder, self._count, self._lock = folder, 0, Lock()
        try:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            self._db = rocksdict.Rdict(str(folder), _options(rocksdict))
            unlogged = rocksdict.WriteOptions()
            unlogged.disable_wal = True
            self._db.set_write_options(unlogged)
        except Exception as error:  # rocksdict's are plain exceptions
            raise self._told(error) from error

    def get(self, name: str) -> bytes | None:
        """Return a record; None if there is none."""
        try:
            found: bytes | None = self._db.get(name.encode())
        except Exception as error:
            raise self._told(error) from error
        return found

    def put(self, name: str, record: bytes) -> None:
        """Keep a record."""
        key = name.encode()
        try:
            with self._lock:
                fresh = self._db.get(key) is None
                self._db[key] = record
                self._count += fresh
        except Exception as error:
            raise self._told(error) from error

    def drop(self, name: str) -> None:
        """Forget a record."""
        key = name.encode()
        try:
            with self._lock:
                if self._db.get(key) is not None:
                    del self._db[key]
                    self._count -= 1
        except Exception as error:
            raise self._told(error) from error

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over them as they are now."""
        try:
            for key, record in self._db.items():
                yield key.decode(), record
        except Exception as error:
            raise self._told(error) from error

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Give the files up. They are of no use to anybody."""
        self._db.close()

    def _told(self, error: Exception) -> PipelineError:
        return PipelineError(
            f"states of principals in {self._folder}: {error}; see to its disk and owner, or set process.states to memory"
        )


def _options(rocksdict: Any) -> Any:
    options, tables = rocksdict.Options(raw_mode=True), rocksdict.BlockBasedOptions()
    options.create_if_missing(True)
    options.set_write_buffer_size(MEMTABLE_BYTES)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(256)
    options.set_keep_log_file_num(1)
    tables.set_bloom_filter(10, block_based=False)
    tables.set_block_cache(rocksdict.Cache(BLOCK_CACHE_BYTES))
    options.set_block_based_table_factory(tables)
    return options


def place(kind: StatesKind, folder: Path) -> Place:
    """Return the place that the configuration names. Raises PipelineError."""
    return InRocksDB(folder) if kind is StatesKind.ROCKSDB else InMemory()


class States:
    """The newest states and offsets known here, by what was published and what the changelog brought."""

    def __init__(self, publish: Publish, place: Place) -> None:
        self._publish, self._place = publish, place
        self.offsets: dict[int, int] = {}

    def heard(self, key: str, data: bytes | None, partition: int) -> None:
        """Take a record of the changelog (None: a tombstone). Raises ValueError."""
        kind, _, name = key.partition(":")
        if data is None:
            if kind == "state":
                self._place.drop(name)
        elif kind == "next":
            self.offsets[int(name)] = max(self.offsets.get(int(name), 0), int(orjson.loads(data)))
        else:
            self._learn(principals.decode(data), data, partition)

    def state_of(self, principal: str) -> Principal:
        """Return a principal's state, an empty one if it was never seen."""
        found = self._place.get(principal)
        return Principal(principal=principal) if found is None else principals.decode(found[_HEAD.size :])

    def keep(self, states: Mapping[str, Principal], next_offset: int, partition: int) -> None:
        """Publish states, and then the offset."""
        encoded = {name: state.encode() for name, state in states.items()}
        records: list[tuple[str, bytes | None]] = [(f"state:{name}", data) for name, data in encoded.items()]
        self._publish(partition, [*records, (f"next:{partition}", b"%d" % next_offset)])
        for name, state in states.items():
            self._learn(state, encoded[name], partition)
        self.offsets[partition] = next_offset

    def expire(self, partition: int, now: int) -> int:
        """Forget a partition's principals that did nothing for long, here and in the changelog; return how many."""
        gone: list[str] = []
        for name, record in self._place.records():
            where, _, _, last_at = _HEAD.unpack_from(record)
            if where == partition and is_idle(last_at, now):
                gone.append(name)
                if len(gone) == SWEPT_AT_ONCE:
                    break
        if gone:
            self._publish(partition, [(f"state:{name}", None) for name in gone])
        for name in gone:
            self._place.drop(name)
        return len(gone)

    def __len__(self) -> int:
        return len(self._place)

    def _learn(self, state: Principal, data: bytes, partition: int) -> None:
        head = _HEAD.pack(partition, *(min(max(n, _LEAST), _MOST) for n in (*rank(state), state.last_at)))
        known = self._place.get(state.principal)
        if known is None or _HEAD.unpack(head)[1:3] > _HEAD.unpack_from(known)[1:3]:
            self._place.put(state.principal, head + data)
