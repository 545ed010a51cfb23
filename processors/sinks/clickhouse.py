"""The store: ClickHouse through one client, whether it is a server or chDB inside this process.

`connect` opens it. One process at a time may own a chDB folder; a lock file beside it names the owner, because chDB's own
message for this ("Error initializing EmbeddedServer") names nothing. Within that process any number of clients may be open: one
per thread that queries (`Store.new_client`).

`Store.insert` writes Arrow tables with a deduplication token, so that a repeated insert changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_connect
from clickhouse_connect import common
from clickhouse_connect.driver.exceptions import ClickHouseError

from processors.chain import MAX_GAPS, Chain, Gap
from processors.sinks.errors import MigrationError, StoreError, StoreLockedError, StoreUnavailableError, refined, was_not_done
from processors.sinks.migrations import lacking, migrate
from processors.sinks.profiles import profile_of
from schemas.config import ClickHouseSettings
from schemas.integrity import BlockHeader

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MigrationError", "Store", "StoreError", "StoreLockedError", "StoreUnavailableError", "connect", "migrate"]

EVENT_TABLES = ("query_events", "other_events", "texts", "sessions", "approvals", "approval_steps", "blocks")
"""In the order of inserting: `blocks` last, since a block's row says that its events are there."""


REPEAT_AFTER_SECONDS = (0.2, 0.5, 1.0, 2.0)
"""Waits before an insert that was not done is repeated. Past them the pipeline itself waits, longer, and says so."""

SOURCES_AT_ONCE = 100
"""Asked about in one query, whose text then is about 10 KB."""

GAP_HORIZON = 4_000_000
"""Blocks of a source looked through for gaps: nine days of five a second. The log keeps less: none older can be filled."""


class Store:
    """An open store. Close it to release the chDB folder for another process."""

    def __init__(self, settings: ClickHouseSettings, path: Path | None, lock_fd: int | None) -> None:
        self.settings = settings
        self.database = settings.database
        self._profile = profile_of(settings)
        self._path = path
        self._lock_fd = lock_fd
        self._clients: list[Any] = []
        self.client = self.new_client()

    def new_client(self) -> Any:
        """Open one more client on the store, with its own session; for use by one thread at a time."""
        common.set_setting("autogenerate_session_id", False)
        try:
            if self.settings.interface == "chdb":
                client = clickhouse_connect.get_client(interface="chdb", path=str(self._path))
            else:
                client = clickhouse_connect.get_client(**_reached(self.settings))
        except Exception as error:  # the driver raises its own, urllib3's and chDB's types here
            if self.settings.interface == "chdb":
                remedy = "if the folder is damaged, move it away and run `affidavit archive rebuild`"
                raise StoreUnavailableError(f"chDB cannot open {self._path}: {error}; {remedy}") from error
            raise refined(error, "connecting", self.settings) from error
        self._clients.append(client)
        return client

    def migrate(self) -> tuple[str, ...]:
        """Bring the schema up to date; return the names of the migrations applied now."""
        with self._worded(f"migrating database {self.database}"):
            return migrate(self.client, self.settings)

    def cluster_problem(self) -> str:
        """Return what the server lacks to be of the cluster that the settings name, or nothing."""
        if self.settings.cluster is None:
            return ""
        with self._worded("looking at the server's clusters and macros"):
            known = sorted({str(c) for (c,) in self.client.query("SELECT DISTINCT cluster FROM system.clusters").result_rows})
            macros = {str(m) for (m,) in self.client.query("SELECT macro FROM system.macros").result_rows}
        if self.settings.cluster not in known:
            return f"clickhouse.cluster: the server knows no {self.settings.cluster!r}; it knows {', '.join(known) or 'none'}"
        if wanted := sorted({"shard", "replica"} - macros):
            return (
                f"clickhouse.cluster: the server has no macro {' and '.join(wanted)}; set it in its configuration, on each node"
            )
        return ""

    def lacking(self) -> tuple[str, ...]:
        """Return the names of the migrations that the store lacks; raise MigrationError if it is a newer version's."""
        with self._worded(f"looking at the migrations of {self.database}"):
            return lacking(self.client, self.settings)

    def insert(self, table: str, rows: pa.Table, token: str | None) -> None:
        """Insert rows once: a repeat with the same token changes nothing; without a token they go in whatever came before.

        What certainly was not done is repeated some times. What may have been done is not: an engine that died between noting
        a token and placing its rows would drop the repeat, so the caller must look what is there first.
        Raises StoreUnavailableError, StoreError.
        """
        if rows.num_rows == 0:
            return
        # Not asynchronous: returned means written, and only then is a token honoured.
        once: dict[str, Any] = {"async_insert": 0, "insert_deduplicate": int(token is not None)}
        if token is not None:
            once["insert_deduplication_token"] = token
        if self.settings.cluster is not None:
            once["distributed_foreground_insert"] = 1  # every shard has its rows before it returns
        with self._worded(f"inserting {rows.num_rows} rows into {self.database}.{table}"):
            for wait in (*REPEAT_AFTER_SECONDS, None):
                try:
                    self.client.insert_arrow(f"{self.database}.{table}", rows, settings=once)
                    return
                except ClickHouseError as error:
                    if wait is None or not was_not_done(error):
                        raise
                    time.sleep(wait)

    @property
    def tokens_hold_rows(self) -> bool:
        """Whether a token is noted together with its rows, as Keeper does, and not a moment before them."""
        return self.settings.cluster is not None

    def catch_up(self) -> None:
        """Return when what is read next is no older than what was written before this call, by whoever."""
        with self._worded(f"waiting for the replicas of {self.database}"):
            for table in EVENT_TABLES:
                if (statement := self._profile.caught_up(table)) is not None:
                    self.client.command(statement)

    def block_ids(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Return the ids of those blocks, of the (source, number) asked for, that the store has."""
        spans: dict[str, tuple[int, int]] = {}
        for source, number in wanted:
            first, last = spans.get(source, (number, number))
            spans[source] = min(first, number), max(last, number)
        asked = [(source, first, last) for source, (first, last) in spans.items()]
        found: dict[tuple[str, int], str] = {}
        with self._worded(f"reading {self.database}.blocks"):
            for at in range(0, len(asked), SOURCES_AT_ONCE):
                parameters: dict[str, Any] = {}
                for n, (source, first, last) in enumerate(asked[at : at + SOURCES_AT_ONCE]):
                    parameters |= {f"s{n}": source, f"a{n}": first, f"b{n}": last}
                either = " OR ".join(
                    f"source = {{s{n}:String}} AND number BETWEEN {{a{n}:UInt64}} AND {{b{n}:UInt64}}"
                    for n in range(len(parameters) // 3)
                )
                rows = self.client.query(
                    f"SELECT source, number, toString(block_id) FROM {self.database}.blocks WHERE {either}",  # noqa: S608 - checked names
                    parameters=parameters,
                ).result_rows
                found.update({(str(source), int(number)): str(block_id) for source, number, block_id in rows})
        return found

    def header(self, source: str, number: int) -> BlockHeader | None:
        """Return the header of one block as recorded, or None."""
        with self._worded(f"reading {self.database}.blocks"):
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
        with self._worded(f"reading {self.database}.blocks"):
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
        with self._worded(f"reading {self.database}.blocks"):
            rows = self.client.query(
                f"SELECT 1 FROM {self.database}.blocks WHERE source = {{source:String}} "  # noqa: S608 - a checked name
                "AND signature = 'verified' LIMIT 1",
                parameters={"source": source},
            ).result_rows
        return bool(rows)

    def positions(self, table: str, source: str, epoch: int, first_seq: int, last_seq: int) -> set[int]:
        """Return the sequence numbers of one epoch, between two inclusive, that an events table has."""
        with self._worded(f"reading {self.database}.{table}"):
            rows = self.client.query(
                f"SELECT seq FROM {self.database}.{table} WHERE source = {{source:String}} "  # noqa: S608 - checked names
                "AND epoch = {epoch:UInt32} "
                "AND seq BETWEEN {first:UInt64} AND {last:UInt64}",
                parameters={"source": source, "epoch": epoch, "first": first_seq, "last": last_seq},
            ).result_rows
        return {int(seq) for (seq,) in rows}

    def counts(self, tables: Sequence[str] = EVENT_TABLES) -> dict[str, int]:
        """Return the number of rows of each table."""
        with self._worded(f"counting in {self.database}"):
            return {
                t: int(self.client.command(f"SELECT count() FROM {self.database}.{t}"))  # noqa: S608 - checked names
                for t in tables
            }

    def truncate(self, tables: Sequence[str] = EVENT_TABLES) -> None:
        """Empty tables, `blocks` first: an interrupted truncation must not leave blocks without events."""
        with self._worded(f"emptying tables of {self.database}"):
            for table in reversed(tables):
                self.client.command(self._profile.emptied(table))

    def bytes_at_rest(self) -> dict[str, tuple[int, int]]:
        """Return rows and bytes on disk of the active parts of each table."""
        with self._worded("reading system.parts"):
            rows = self.client.query(
                "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts "
                "WHERE active AND database = {d:String} GROUP BY table",
                parameters={"d": self.database},
            ).result_rows
        return {str(table): (int(count), int(size)) for table, count, size in rows}

    @contextlib.contextmanager
    def _worded(self, doing: str) -> Iterator[None]:
        """Turn the driver's errors into ours, naming what was being done."""
        try:
            yield
        except (StoreError, MigrationError):
            raise
        except (ClickHouseError, OSError) as error:
            raise refined(error, doing, self.settings) from error

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
    try:
        for folder in (data_dir, path):  # each with its mode: `parents` would make them open to others
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_fd = _lock(path)
    except OSError as error:
        remedy = "chDB needs a data_dir that this user may write"
        raise StoreError(f"{error.filename or path} cannot be written: {error.strerror}; {remedy}") from None
    try:
        return Store(settings, path, lock_fd)
    except BaseException:
        os.close(lock_fd)
        raise


def _reached(s: ClickHouseSettings) -> dict[str, Any]:
    """What the driver must know to reach a server."""
    known: dict[str, Any] = {
        "interface": s.interface,
        "host": s.host,
        "port": s.effective_port,
        "username": s.user,
        "password": s.password.get_secret_value() if s.password else "",
        "compress": s.compression if s.compression != "none" else False,
        "connect_timeout": s.connect_timeout_seconds,
        "send_receive_timeout": s.timeout_seconds,
        "client_name": "affidavit",
    }
    if s.interface == "https":
        known["ca_cert"] = str(s.ca_file) if s.ca_file else None
        if s.cert_file is not None:
            # With a password the certificate is for the connection only; without, it is the login (the user's SSL_CERTIFICATE).
            known |= {"client_cert": str(s.cert_file), "client_cert_key": str(s.key_file)}
            known["tls_mode"] = "strict" if s.password else "mutual"
    return known


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
