"""The log on one machine: one SQLite file in WAL mode, one table, several processes appending at once.

Values are zstd-compressed, here or by whoever appends. An append is one transaction. With `synchronous` FULL it is on disk when
it returned; with NORMAL it survives the death of any process and, after power loss, is missing whole or there whole.
`truncate_before` is the retention, `compact` keeps each key's newest record. A tombstone is a record without any bytes, which
no zstd frame is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import orjson
import zstandard

from schemas.log import LogCorruptError, LogError, LogUnavailableError, NewRecord, Record

BUSY_TIMEOUT_MS = 5_000
"""How long an append waits for another process's before it is reported as unavailable."""

WAIT_POLL_SECONDS = 0.05
"""How often a waiting reader looks for new records; one look is a lookup by key in a cached page."""

CACHE_KIB = 4096
"""SQLite's page cache per connection: appends and reads are sequential, more would not help."""

MAX_VALUE_BYTES = 256 * 1024 * 1024
"""The largest value read back; a record that claims more is damage."""

_APPLICATION_ID = 0x41664C67
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    topic TEXT NOT NULL,
    "offset" INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    headers BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    PRIMARY KEY (topic, "offset")
) STRICT;
CREATE TABLE IF NOT EXISTS ends (topic TEXT NOT NULL PRIMARY KEY, next INTEGER NOT NULL) STRICT;
"""
_RETRY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _clock() -> int:
    return time.time_ns() // 1000


class SqliteLog:
    """A log in the file `path`. Threads may share it; each process opens its own. See `schemas.log.Log`."""

    def __init__(
        self,
        path: Path,
        synchronous: str = "NORMAL",
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        clock: Callable[[], int] = _clock,
    ) -> None:
        """Open or make the log. `synchronous`: NORMAL or FULL; `clock` returns microseconds UTC."""
        if synchronous not in ("NORMAL", "FULL"):
            raise LogError(f"log {path}: synchronous must be NORMAL or FULL, not {synchronous!r}")
        self.path = path
        self._clock = clock
        self._lock = Lock()
        self._compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        self._decompressor = zstandard.ZstdDecompressor()
        with self._errors("cannot be opened"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=busy_timeout_ms / 1000, isolation_level=None, check_same_thread=False)
        try:
            with self._errors("cannot be opened"):
                self._prepare_patiently(synchronous, time.monotonic() + busy_timeout_ms / 1000)
        except BaseException:
            self._db.close()
            raise

    def _prepare_patiently(self, synchronous: str, deadline: float) -> None:
        """Prepare; where several make the file at once, SQLite's own patience does not cover the change of the journal's mode."""
        while True:
            try:
                return self._prepare(synchronous)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _prepare(self, synchronous: str) -> None:
        db = self._db
        # In this order: another process making the file this moment commits tables and marks together.
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if tables and application != _APPLICATION_ID:
            raise LogError(f"log {self.path} is a SQLite database of something else: move it away, or name another data_dir")
        if version > _SCHEMA_VERSION:
            raise LogError(f"log {self.path} was written by a newer version (format {version}): run that version")
        if not tables:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute("PRAGMA journal_size_limit = 67108864")
        if not tables:
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
                db.execute("COMMIT")
            except BaseException:
                self._rollback()
                raise
            self.path.chmod(0o600)

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        """Append all records or none; see `schemas.log.Log.append`."""
        if not records:
            return
        rows = [(r.key, self._stored(r), _encode_headers(r.headers)) for r in records]
        with self._lock, self._errors(f"did not take {len(records)} records for {topic}"):
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            try:
                first = self._end(topic)
                now = self._clock()
                db.executemany(
                    'INSERT INTO records (topic, "offset", key, value, headers, timestamp) VALUES (?, ?, ?, ?, ?, ?)',
                    [(topic, first + i, *row, now) for i, row in enumerate(rows)],
                )
                db.execute(
                    "INSERT INTO ends VALUES (?, ?) ON CONFLICT (topic) DO UPDATE SET next = excluded.next",
                    (topic, first + len(rows)),
                )
                db.execute("COMMIT")
            except BaseException:
                self._rollback()
                raise

    def _stored(self, record: NewRecord) -> bytes:
        return b"" if record.tombstone else record.zstd or self._compressor.compress(record.value)

    def read(self, topic: str, offset: int, limit: int, max_bytes: int = 32 * 1024 * 1024, partition: int = 0) -> list[Record]:
        """Return records from `offset` on; see `schemas.log.Log.read`. Records before the retention are skipped."""
        self._only_partition(topic, partition)
        found: list[Record] = []
        size = 0
        with self._lock, self._errors(f"cannot read {topic}"):
            cursor = self._db.execute(
                'SELECT "offset", key, value, headers, timestamp FROM records WHERE topic = ? AND "offset" >= ? '
                'ORDER BY "offset" LIMIT ?',
                (topic, offset, limit),
            )
            try:
                for at, key, compressed, headers, timestamp in cursor:
                    value = self._decompress(topic, at, compressed) if compressed else b""
                    size += len(value)
                    if found and size > max_bytes:
                        break
                    found.append(Record(topic, at, key, value, _decode_headers(headers), 0, timestamp, not compressed))
            finally:
                cursor.close()
        return found

    def _decompress(self, topic: str, offset: int, compressed: bytes) -> bytes:
        try:
            if zstandard.frame_content_size(compressed) > MAX_VALUE_BYTES:
                raise zstandard.ZstdError("it claims to be larger than any record")
            return self._decompressor.decompress(compressed, max_output_size=MAX_VALUE_BYTES)
        except zstandard.ZstdError as error:
            raise LogCorruptError(
                f"log {self.path}: record {offset} of {topic} does not decompress ({error}); {_REMEDY}"
            ) from error

    def partitions(self, topic: str) -> int:
        """Return 1: one file has nothing to spread."""
        return 1

    def wait(self, topic: str, offset: int, seconds: float, partition: int = 0) -> bool:
        """Return whether there is a record at `offset` or after it, waiting for one; see `schemas.log.Log.wait`."""
        deadline = time.monotonic() + seconds
        while self.end_offset(topic, partition) <= offset:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(WAIT_POLL_SECONDS, left))
        return True

    def end_offset(self, topic: str, partition: int = 0) -> int:
        """Return the offset the next record will get."""
        self._only_partition(topic, partition)
        with self._lock, self._errors(f"cannot read {topic}"):
            return self._end(topic)

    def _only_partition(self, topic: str, partition: int) -> None:
        if partition != 0:
            raise LogError(f"log {self.path}: {topic} has partition 0 only, not {partition}")

    def _end(self, topic: str) -> int:
        row = self._db.execute("SELECT next FROM ends WHERE topic = ?", (topic,)).fetchone()
        return int(row[0]) if row else 0

    def start_offset(self, topic: str) -> int:
        """Return the offset of the oldest record kept; the end offset if there is none."""
        with self._lock, self._errors(f"cannot read {topic}"):
            row = self._db.execute('SELECT min("offset") FROM records WHERE topic = ?', (topic,)).fetchone()
            return int(row[0]) if row[0] is not None else self._end(topic)

    def truncate_before(self, topic: str, offset: int) -> int:
        """Drop the records before `offset` and give their room back; return how many. Offsets of the others stay."""
        with self._lock, self._errors(f"cannot drop old records of {topic}"):
            dropped = self._db.execute('DELETE FROM records WHERE topic = ? AND "offset" < ?', (topic, offset)).rowcount
            self._db.executescript("PRAGMA incremental_vacuum")  # `execute` would step it once, which frees one page
            return int(dropped)

    def compact(self, topic: str, tombstones_before: int, also: Sequence[int] = ()) -> int:
        """Drop every record that has a newer one of its key, tombstones appended before a time (µs UTC), and offsets `also`.

        Returns how many; offsets of the others stay. A reader that follows has read an old tombstone long ago; one that begins
        needs none.
        """
        with self._lock, self._errors(f"cannot compact {topic}"):
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            try:
                before = db.total_changes
                db.execute(
                    'DELETE FROM records WHERE topic = ? AND "offset" NOT IN '
                    '(SELECT max("offset") FROM records WHERE topic = ? GROUP BY key)',
                    (topic, topic),
                )
                db.execute(
                    "DELETE FROM records WHERE topic = ? AND length(value) = 0 AND timestamp < ?", (topic, tombstones_before)
                )
                db.executemany('DELETE FROM records WHERE topic = ? AND "offset" = ?', [(topic, at) for at in also])
                dropped = db.total_changes - before
                db.execute("COMMIT")
            except BaseException:
                self._rollback()
                raise
            return dropped

    def interrupt(self) -> None:
        """See `schemas.log.Log.interrupt`: an append here waits for nobody longer than a busy file's few seconds."""

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            self._db.close()

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn SQLite's errors into the log's: what may pass, what will not, and what to do about it."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _CORRUPT:
                raise LogCorruptError(f"log {self.path} is damaged or not a SQLite database ({error}); {_REMEDY}") from error
            if code in _RETRY:
                raise LogUnavailableError(f"log {self.path} {what}: {error}; {_HINT.get(code, _HINT_OTHER)}") from error
            raise LogError(f"log {self.path} {what}: {error}") from error
        except OSError as error:
            raise LogUnavailableError(f"log {self.path} {what}: {error.strerror}; check owner, permissions and disk") from error


_REMEDY = (
    "move it and its -wal and -shm files aside and restart: spools keep what it had not taken, the archive what was processed"
)
_HINT_OTHER = "check the disk, owner and permissions"
_HINT = {
    sqlite3.SQLITE_FULL: "free disk space",
    sqlite3.SQLITE_BUSY: "another process holds it; the call can be repeated",
    sqlite3.SQLITE_LOCKED: "another process holds it; the call can be repeated",
}


def _encode_headers(headers: Mapping[str, bytes]) -> bytes:
    return orjson.dumps({name: value.decode("latin-1") for name, value in headers.items()})


def _decode_headers(data: bytes) -> dict[str, bytes]:
    return {name: value.encode("latin-1") for name, value in orjson.loads(data).items()}
