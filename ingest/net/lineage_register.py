"""What all workers of a machine learned about where tables' values come from, in one file: names and classes, never values.

Written when a statement is about to put classes where none were, which is rare; read again when another worker wrote. Whatever
goes wrong leaves no room: then statements that would carry more are refused, as nobody would know of it afterwards.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

import structlog

from ingest.masking.lineage import Row

MAX_ROWS = 100_000
"""Of all databases: columns times classes. As SQLite about 10 MB, and as much again in each worker."""
_BUSY_SECONDS = 0.5
"""How long another worker's write is waited for; writing takes it some milliseconds."""
_OPENING_SECONDS = 3.0
"""The same at start, where a worker without the file would refuse for as long as it lives."""
REMEDY = "until it can be read, every column is masked: mend it, or move it away and lose what was learned"
_AGAIN_SECONDS = 10.0
"""After which a file that could not be read is tried again."""
_TABLE = """CREATE TABLE IF NOT EXISTS lineage (
  alias TEXT, schema_name TEXT, table_name TEXT, oid INTEGER, number INTEGER, class TEXT,
  PRIMARY KEY (alias, schema_name, table_name, oid, number, class)) WITHOUT ROWID"""


class LineageRegister:
    """One database's part of the file (`ingest.masking.lineage.Register`)."""

    def __init__(self, path: Path, alias: str, max_rows: int = MAX_ROWS) -> None:
        self._alias = alias
        self._max_rows = max_rows
        self._version = -1
        self._log = structlog.get_logger("proxy")
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._tried = 0.0
        self._open(_OPENING_SECONDS)

    def _open(self, seconds: float) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            self._db = _opened(self._path, seconds)
        except (OSError, sqlite3.Error) as error:
            self._say("lineage_register_unusable", error)
        self._tried = time.monotonic()

    def rows(self) -> list[Row] | None:
        """Return all there is of this database; None where it cannot be read."""
        if self._db is None:
            return None
        try:
            self._version = self._data_version()
            found = self._db.execute(
                "SELECT schema_name, table_name, oid, number, class FROM lineage WHERE alias = ?", (self._alias,)
            )
            return [(str(r[0]), str(r[1]), int(r[2]), int(r[3]), str(r[4])) for r in found]
        except sqlite3.Error as error:
            self._say("lineage_register_unreadable", error)
            self.close()
            return None

    def look(self) -> None:
        """Say in the log what is wrong with the file, if something is."""
        self.rows()
        self.close()

    def _say(self, what: str, error: Exception) -> None:
        self._log.error(what, path=str(self._path), reason=str(error), remedy=REMEDY)

    def add(self, rows: Iterable[Row]) -> bool:
        """Keep rows; False where there is no room, or no file. The last statement that finds room may go past the limit."""
        if self._db is None:
            return False
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                [count] = self._db.execute("SELECT count(*) FROM lineage").fetchone()
                new = [(self._alias, *row) for row in rows]
                if count >= self._max_rows:
                    return False
                self._db.executemany("INSERT OR IGNORE INTO lineage VALUES (?, ?, ?, ?, ?, ?)", new)
        except sqlite3.Error as error:
            self._log.error("lineage_register_unwritable", reason=str(error))
            return False
        return True

    def remove(self, rows: Iterable[Row]) -> None:
        """Forget rows; one that stays says too much of a table that is gone, no more."""
        if self._db is None:
            return
        where = "alias = ? AND schema_name = ? AND table_name = ? AND oid = ? AND number = ? AND class = ?"
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(f"DELETE FROM lineage WHERE {where}", [(self._alias, *row) for row in rows])  # noqa: S608 - a constant
        except sqlite3.Error as error:
            self._log.warning("lineage_register_unwritable", reason=str(error))

    def changed(self) -> bool:
        """Whether another worker wrote since `rows` was asked, or the file can be read again."""
        if self._db is None and time.monotonic() - self._tried > _AGAIN_SECONDS:
            self._open(0)
            return self._db is not None
        try:
            return self._db is not None and self._data_version() != self._version
        except sqlite3.Error:
            return False

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _data_version(self) -> int:
        assert self._db is not None
        [version] = self._db.execute("PRAGMA data_version").fetchone()
        return int(version)


def _opened(path: Path, seconds: float) -> sqlite3.Connection:
    """Return the file, made if there is none. Workers start together: whoever finds another making it tries again."""
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS if seconds else 0, isolation_level=None)
    until = time.monotonic() + seconds
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")  # SQLite waits for nobody here
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(_TABLE)
            db.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
            return db
        except sqlite3.OperationalError:
            if time.monotonic() >= until:
                db.close()
                raise
            time.sleep(0.01)
        except sqlite3.Error:
            db.close()
            raise
