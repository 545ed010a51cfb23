"""The store: ClickHouse through one client, whether it is a server or chDB inside this process.

`connect` opens it. One process at a time may own a chDB folder; a lock file beside it names the owner, because chDB's own
message for this ("Error initializing EmbeddedServer") names nothing. Within that process any number of clients may be open: one
per thread that queries (`Store.new_client`).

`Store.insert` writes Arrow tables with a deduplication token, so that a repeated insert changes nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_connect
from clickhouse_connect import common
from clickhouse_connect.driver.exceptions import ClickHouseError

from processors.chain import MAX_GAPS, Chain, Gap
from processors.sinks.migrations import MigrationError, migrate
from schemas.config import ClickHouseSettings
from schemas.integrity import BlockHeader

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MigrationError", "Store", "StoreError", "StoreLockedError", "StoreUnavailableError", "connect", "migrate"]

EVENT_TABLES = ("query_events", "other_events", "texts", "sessions", "blocks")
"""In the order of inserting: `blocks` last, since a block's row says that its events are there."""


GAP_HORIZON = 4_000_000
"""Blocks of a source looked through for gaps: nine days of five a second. The log keeps less: none older can be filled."""


class StoreError(Exception):
    """The store refused for good: retrying the same thing does not help."""


class StoreUnavailableError(StoreError):
    """The store is out of reach, overloaded or out of space: the same call may succeed later."""


class StoreLockedError(StoreError):
    """Another process owns the chDB folder."""


class Store:
    """An open store. Close it to release the chDB folder for another process."""

    def __init__(self, settings: ClickHouseSettings, path: Path | None, lock_fd: int | None) -> None:
        self.settings = settings
        self.database = settings.database
        self._path = path
        self._lock_fd = lock_fd
        self._clients: list[Any] = []
        self.client = self.new_client()

    def new_client(self) -> Any:
        """Open one more client on the store, with its own session; for use by one thread at a time."""
        common.set_setting("autogenerate_session_id", False)
        s = self.settings
        try:
            if s.interface == "chdb":
                client = clickhouse_connect.get_client(interface="chdb", path=str(self._path))
            else:
                password = s.password.get_secret_value() if s.password else ""
                client = clickhouse_connect.get_client(
                    interface=s.interface, host=s.host, port=s.port, username=s.user, password=password, compress="zstd"
                )
        except Exception as error:  # the driver raises its own, urllib3's and chDB's types here
            raise StoreUnavailableError(self._unreachable(error)) from error
        self._clients.append(client)
        return client

    def _unreachable(self, error: Exception) -> str:
        s = self.settings
        if s.interface == "chdb":
            remedy = "if the folder is damaged, move it away and run `affidavit archive rebuild`"
            return f"chDB cannot open {self._path}: {error}; {remedy}"
        where = f"{s.interface}://{s.host}:{s.port} as {s.user!r}"
        return f"ClickHouse at {where} is out of reach: {error}; check `clickhouse` in the configuration"

    def migrate(self) -> tuple[str, ...]:
        """Bring the schema up to date; return the names of the migrations applied now."""
        with _worded(f"migrating database {self.database}"):
            return migrate(self.client, self.settings)

    def insert(self, table: str, rows: pa.Table, token: str | None) -> None:
        """Insert rows once: a repeat with the same token changes nothing; without a token they go in whatever came before.

        Raises StoreUnavailableError, StoreError.
        """
        if rows.num_rows == 0:
            return
        with _worded(f"inserting {rows.num_rows} rows into {self.database}.{table}"):
            # Not asynchronous: returned means written, and only then is a token honoured.
            once = {"insert_deduplicate": 1, "insert_deduplication_token": token} if token else {"insert_deduplicate": 0}
            self.client.insert_arrow(f"{self.database}.{table}", rows, settings={"async_insert": 0, **once})

    def block_ids(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Return the ids of those blocks, of the (source, number) asked for, that the store has."""
        spans: dict[str, list[int]] = {}
        for source, number in wanted:
            spans.setdefault(source, []).append(number)
        found: dict[tuple[str, int], str] = {}
        with _worded(f"reading {self.database}.blocks"):
            for source, numbers in spans.items():
                rows = self.client.query(
                    f"SELECT number, toString(block_id) FROM {self.database}.blocks "  # noqa: S608 - a checked name
                    "WHERE source = {source:String} AND number BETWEEN {first:UInt64} AND {last:UInt64}",
                    parameters={"source": source, "first": min(numbers), "last": max(numbers)},
                ).result_rows
                found.update({(source, int(number)): str(block_id) for number, block_id in rows})
        return found

    def header(self, source: str, number: int) -> BlockHeader | None:
        """Return the header of one block as recorded, or None."""
        with _worded(f"reading {self.database}.blocks"):
            rows = self.client.query(
                f"SELECT epoch, number, first_seq, count, toUnixTimestamp64Micro(sealed_at), "  # noqa: S608 - a checked name
                f"toString(prev), toString(root) FROM {self.database}.blocks "
                "WHERE source = {source:String} AND number = {number:UInt64} LIMIT 1",
                parameters={"source": source, "number": number},
            ).result_rows
        if not rows:
            return None
        epoch, number, first_seq, count, sealed_at, prev, root = rows[0]
        return BlockHeader(source, int(epoch), int(number), int(first_seq), int(count), int(sealed_at), str(prev), str(root))

    def chain(self, source: str, number: int | None = None) -> Chain:
        """Return a source's chain as recorded, up to a block (default: its newest), with the gaps within GAP_HORIZON."""
        with _worded(f"reading {self.database}.blocks"):
            if number is None:
                newest = f"SELECT max(number) FROM {self.database}.blocks WHERE source = {{source:String}}"  # noqa: S608
                number = int(self.client.query(newest, parameters={"source": source}).result_rows[0][0])
            horizon = max(0, number - GAP_HORIZON)
            rows = self.client.query(
                "SELECT before, number FROM (SELECT number, lagInFrame(number, 1, {horizon:UInt64}) OVER (ORDER BY number "  # noqa: S608
                "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before FROM "
                f"(SELECT DISTINCT number FROM {self.database}.blocks "
                "WHERE source = {source:String} AND number > {horizon:UInt64} AND number <= {number:UInt64})) "
                f"WHERE number > before + 1 ORDER BY number DESC LIMIT {MAX_GAPS}",
                parameters={"source": source, "horizon": horizon, "number": number},
            ).result_rows
        gaps = []
        for before, after in reversed(rows):
            if (next_one := self.header(source, int(after))) is not None:
                gaps.append(Gap(int(before) + 1, int(after) - 1, self.header(source, int(before)), next_one.prev))
        return Chain(self.header(source, number), tuple(gaps))

    def was_verified(self, source: str) -> bool:
        """Whether any of a source's blocks was verified under a registered key."""
        with _worded(f"reading {self.database}.blocks"):
            rows = self.client.query(
                f"SELECT 1 FROM {self.database}.blocks WHERE source = {{source:String}} "  # noqa: S608 - a checked name
                "AND signature = 'verified' LIMIT 1",
                parameters={"source": source},
            ).result_rows
        return bool(rows)

    def positions(self, table: str, source: str, epoch: int, first_seq: int, last_seq: int) -> set[int]:
        """Return the sequence numbers of one epoch, between two inclusive, that an events table has."""
        with _worded(f"reading {self.database}.{table}"):
            rows = self.client.query(
                f"SELECT seq FROM {self.database}.{table} WHERE source = {{source:String}} "  # noqa: S608 - checked names
                "AND epoch = {epoch:UInt32} "
                "AND seq BETWEEN {first:UInt64} AND {last:UInt64}",
                parameters={"source": source, "epoch": epoch, "first": first_seq, "last": last_seq},
            ).result_rows
        return {int(seq) for (seq,) in rows}

    def counts(self, tables: Sequence[str] = EVENT_TABLES) -> dict[str, int]:
        """Return the number of rows of each table."""
        with _worded(f"counting in {self.database}"):
            return {
                t: int(self.client.command(f"SELECT count() FROM {self.database}.{t}"))  # noqa: S608 - checked names
                for t in tables
            }

    def truncate(self, tables: Sequence[str] = EVENT_TABLES) -> None:
        """Empty tables, `blocks` first: an interrupted truncation must not leave blocks without events."""
        with _worded(f"emptying tables of {self.database}"):
            for table in reversed(tables):
                self.client.command(f"TRUNCATE TABLE {self.database}.{table}")

    def bytes_at_rest(self) -> dict[str, tuple[int, int]]:
        """Return rows and bytes on disk of the active parts of each table."""
        with _worded("reading system.parts"):
            rows = self.client.query(
                "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts "
                "WHERE active AND database = {d:String} GROUP BY table",
                parameters={"d": self.database},
            ).result_rows
        return {str(table): (int(count), int(size)) for table, count, size in rows}

    def close(self) -> None:
        """Close all clients and release the folder."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def connect(settings: ClickHouseSettings, data_dir: Path) -> Store:
    """Open the store; raise StoreLockedError if another process owns the folder, StoreUnavailableError if out of reach."""
    if settings.interface != "chdb":
        return Store(settings, None, None)
    path = data_dir / "clickhouse"
    path.mkdir(parents=True, exist_ok=True)
    lock_fd = _lock(path)
    try:
        return Store(settings, path, lock_fd)
    except BaseException:
        os.close(lock_fd)
        raise


def _lock(path: Path) -> int:
    lock_path = path.with_name("clickhouse.lock")
    lock_fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock_fd, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock_fd)
        raise StoreLockedError(
            f"{path} is in use by process {owner}: chDB allows one process a folder. Stop that process (`affidavit up` keeps the "
            "folder open; ask its API instead), or give this one another data_dir"
        ) from None
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
    return lock_fd


# Server-side errors that pass: memory or too many queries/parts, disk, network, timeouts, read-only, shutting down.
_TRANSIENT_CODES = frozenset({159, 164, 201, 202, 203, 209, 210, 241, 242, 243, 252, 279, 319, 425, 439, 999})


class _worded:
    """Turn the driver's errors into ours, naming what was being done."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, StoreError | MigrationError):
            return
        if isinstance(error, ClickHouseError):
            code = getattr(error, "code", None)
            message = f"{self._doing}: {error}"
            if code is None or code in _TRANSIENT_CODES or "No space left" in message:
                raise StoreUnavailableError(message) from error
            raise StoreError(message) from error
        if isinstance(error, OSError):
            raise StoreUnavailableError(f"{self._doing}: {error}") from error
