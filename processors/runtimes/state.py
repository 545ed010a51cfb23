"""What the pipeline remembers between batches, in one SQLite file: `pipeline.db`.

Sources' chains, counters and the next offset are committed together, after store and archive have the batch. Before a batch is
inserted, its plan is committed: which offsets it takes, and which keys it is verified with. A restart after a crash runs that
very plan again, so that it makes the same inserts. Losing the file loses nothing: the topic read again from the start changes
nothing, whatever was cut short then and however often this starts again meanwhile: how far that goes is kept as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType

import orjson

from processors import principals
from processors.chain import Chain, Gap
from processors.principals import KEPT_US, Principal
from processors.steps.work import Source, State
from schemas.integrity import BlockHeader

_SCHEMA = """
CREATE TABLE IF NOT EXISTS source (name TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID; CREATE TABLE IF NOT EXISTS value
(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID; CREATE TABLE IF NOT EXISTS plan (one INTEGER PRIMARY KEY CHECK
(one = 1), first INTEGER NOT NULL, last INTEGER NOT NULL, keys BLOB NOT NULL, partition INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS position (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS known (partition INTEGER PRIMARY KEY, until INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS principal (name TEXT PRIMARY KEY, state BLOB NOT NULL, last_at INTEGER NOT NULL DEFAULT 0)
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS activity (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
INSERT OR IGNORE INTO position SELECT 0, value FROM value WHERE name = 'next_offset';
"""
_BEFORE_PARTITIONS = "ALTER TABLE plan ADD COLUMN partition INTEGER NOT NULL DEFAULT 0"
_COUNTERS = tuple(f.name for f in fields(State) if f.name != "sources")


class StateError(Exception):
    """The pipeline's state file cannot be used; the message names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch about to be inserted: a partition's offsets `first` to `last`, and the registered keys by source as they were."""

    first: int
    last: int
    keys: Mapping[str, bytes]
    partition: int = 0


class StateFile:
    """The open file. `positions` are where each partition's next batch begins, `activity` the same of stage 2; `plan` is a batch
    that a crash cut short, if any. Records of a partition before `known_until` may have been inserted by a file that was lost.

    `existed` is false for a new file, until its first commit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            if "partition" not in {row[1] for row in self._db.execute("PRAGMA table_info(plan)")}:
                self._db.execute(_BEFORE_PARTITIONS)
            if "last_at" not in {row[1] for row in self._db.execute("PRAGMA table_info(principal)")}:
                self._tell_idle()
            self.state = self._load()
            self.positions = {int(p): int(n) for p, n in self._db.execute("SELECT partition, next_offset FROM position")}
            self.existed = bool(self.positions)
            self.known_until = {int(p): int(n) for p, n in self._db.execute("SELECT partition, until FROM known")}
            self.activity = {int(p): int(n) for p, n in self._db.execute("SELECT partition, next_offset FROM activity")}
            self.plan = self._plan()
        except (sqlite3.DatabaseError, OSError, ValueError, KeyError) as error:
            raise StateError(
                f"pipeline state {path} cannot be read: {error}. Move it away: the pipeline then reads the log again "
                "from its start, which changes nothing in the store"
            ) from error

    def know(self, ends: Mapping[int, int]) -> None:
        """Record where the partitions ended when this file was new: whether rows before that are there has to be looked up."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO known VALUES (?, ?)", ends.items())
        self.known_until = dict(ends)

    def begin(self, plan: Plan) -> None:
        """Record what is about to be inserted."""
        keys = orjson.dumps({source: key.hex() for source, key in plan.keys.items()})
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO plan VALUES (1, ?, ?, ?, ?)", (plan.first, plan.last, keys, plan.partition))
        self.plan = plan

    def commit(self, state: State, next_offset: int, partition: int = 0) -> None:
        """Record that everything before `next_offset` of a partition is in store and archive."""
        changed = [(n, _encode(s)) for n, s in state.sources.items() if self.state.sources.get(n) is not s]
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO source VALUES (?, ?)", changed)
            values = [(name, getattr(state, name)) for name in _COUNTERS]
            self._db.executemany("INSERT OR REPLACE INTO value VALUES (?, ?)", values)
            self._db.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (partition, next_offset))
            self._db.execute("DELETE FROM plan")
        self.state, self.plan, self.existed = state, None, True
        self.positions = {**self.positions, partition: next_offset}

    def state_of(self, principal: str) -> Principal:
        """Return a principal's state, an empty one if it was never seen."""
        row = self._db.execute("SELECT state FROM principal WHERE name = ?", (principal,)).fetchone()
        if row is None:
            return Principal(principal=principal)
        try:
            return principals.decode(row[0])
        except ValueError as error:
            raise StateError(f"pipeline state {self._path}: what is known of {principal!r} cannot be read: {error}") from error

    def keep(self, states: Mapping[str, Principal], next_offset: int, partition: int) -> None:
        """Record states, and that a partition's activity before `next_offset` is in them."""
        with self._transaction():
            rows = [(name, state.encode(), state.last_at) for name, state in states.items()]
            self._db.executemany("INSERT OR REPLACE INTO principal (name, state, last_at) VALUES (?, ?, ?)", rows)
            self._db.execute("INSERT OR REPLACE INTO activity VALUES (?, ?)", (partition, next_offset))
        self.activity = {**self.activity, partition: next_offset}

    def expire(self, now: int) -> int:
        """Forget principals that did nothing for long (`processors.principals.is_idle`); return how many."""
        with self._transaction():
            return self._db.execute("DELETE FROM principal WHERE last_at < ?", (now - KEPT_US,)).rowcount

    def _tell_idle(self) -> None:
        """Add to states of an older version when their principals were seen last."""
        states = [principals.decode(data) for (data,) in self._db.execute("SELECT state FROM principal")]
        with self._transaction():
            self._db.execute("ALTER TABLE principal ADD COLUMN last_at INTEGER NOT NULL DEFAULT 0")
            told = [(state.last_at, state.principal) for state in states]
            self._db.executemany("UPDATE principal SET last_at = ? WHERE name = ?", told)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db, self._path)

    def _load(self) -> State:
        sources = {str(n): _decode(s) for n, s in self._db.execute("SELECT name, state FROM source")}
        return State(sources=sources, **{name: self._value(name) for name in _COUNTERS})

    def _value(self, name: str) -> int:
        row = self._db.execute("SELECT value FROM value WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _plan(self) -> Plan | None:
        row = self._db.execute("SELECT first, last, keys, partition FROM plan").fetchone()
        if row is None:
            return None
        return Plan(int(row[0]), int(row[1]), {s: bytes.fromhex(k) for s, k in orjson.loads(row[2]).items()}, int(row[3]))


def known_sources(path: Path) -> dict[str, Source]:
    """Return where each source's chain stood at the last commit: all of that is in the archive. Only reads. Raises StateError."""
    if not path.exists():
        return {}
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            return {str(n): _decode(s) for n, s in db.execute("SELECT name, state FROM source")}
        finally:
            db.close()
    except (sqlite3.DatabaseError, ValueError, KeyError) as error:
        raise StateError(
            f"pipeline state {path} cannot be read: {error}, so that the archive cannot be compared with it"
        ) from error


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT, or ROLLBACK; failures worded."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path

    def __enter__(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise StateError(f"pipeline state {self._path} cannot be written: {error}; is another pipeline using it?") from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._db.execute("ROLLBACK" if error else "COMMIT")
        except sqlite3.Error as failure:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StateError(f"pipeline state {self._path} cannot be written: {failure}; free disk space") from failure
        if isinstance(error, sqlite3.Error):
            raise StateError(f"pipeline state {self._path} cannot be written: {error}") from error


def _encode(source: Source) -> bytes:
    chain = source.chain
    return orjson.dumps(
        {
            "last": _header(chain.last),
            "gaps": [[g.first, g.last, _header(g.before), g.last_id] for g in chain.gaps],
            "forgotten": chain.forgotten,
            "key": source.key.hex(),
        }
    )


def _decode(data: bytes) -> Source:
    value = orjson.loads(data)
    gaps = tuple(Gap(first, last, _unheader(before), last_id) for first, last, before, last_id in value["gaps"])
    return Source(Chain(_unheader(value["last"]), gaps, value["forgotten"]), bytes.fromhex(value["key"]))


def _header(header: BlockHeader | None) -> str:
    return header.encode().decode("ascii") if header else ""


def _unheader(text: str) -> BlockHeader | None:
    return BlockHeader.decode(text.encode("ascii")) if text else None
