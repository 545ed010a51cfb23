"""How a migration, written once for one server, is said to one server or to a cluster.

A migration names engines and settings by placeholders, and tables by the name that everybody reads and writes. For a cluster each
such table becomes two: `NAME_local`, replicated, on every node, and `NAME`, a Distributed table over them; each statement runs
ON CLUSTER. Names in braces that ClickHouse fills in itself, `{shard}` and `{replica}`, are the macros of each node.

A row's shard: rows that replace each other must meet, so tables whose rows do are spread by the first column they are sorted
by; the others by `source`, so that an insert of one source's block makes one part on one shard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from processors.sinks.errors import MigrationError
from schemas.config import ClickHouseSettings

_DURABLE = (
    # An insert that returned survives power loss: the log's offsets are committed after it.
    "fsync_after_insert = 1, fsync_part_directory = 1, deduplicate_merge_projection_mode = 'rebuild'"
)


class Profile(Protocol):
    """What differs between one server and a cluster."""

    placeholders: Mapping[str, str]

    def prelude(self) -> Iterator[str]:
        """Yield the statements that make the database and the table of applied migrations, repeatable."""

    def said(self, statement: str) -> Iterator[str]:
        """Yield what a migration's statement, its placeholders filled in, is said as."""

    def emptied(self, table: str) -> str:
        """Return the statement that empties a table."""

    def caught_up(self, table: str) -> str | None:
        """Return the statement after which every node has what any node has of a table; None where there is one node."""


class Single:
    """One server, or chDB."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._database = settings.database
        self.placeholders: Mapping[str, str] = {
            "merge_tree": "MergeTree",
            "replacing_merge_tree": "ReplacingMergeTree",
            "replacing_merge_tree_version": "ReplacingMergeTree(version)",
            # A retried insert finds its token among the last 1,000 inserts of the table.
            "table_settings": f"non_replicated_deduplication_window = 1000, {_DURABLE}",
            "database": settings.database,
            "retention_days": str(settings.retention_days),
        }

    def prelude(self) -> Iterator[str]:
        """Yield the statements that make the database and the table of applied migrations."""
        yield f"CREATE DATABASE IF NOT EXISTS {self._database}"
        yield _migrations_table(f"{self._database}.schema_migrations", "MergeTree")

    def said(self, statement: str) -> Iterator[str]:
        """Yield the statement."""
        yield statement

    def emptied(self, table: str) -> str:
        """Return the statement that empties a table."""
        return f"TRUNCATE TABLE {self._database}.{table}"

    def caught_up(self, table: str) -> str | None:
        """Return None: there is one node."""
        return None


class Cluster:
    """A cluster of shards and replicas, with Keeper."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        assert settings.cluster is not None
        self._database, self._keeper_path = settings.database, settings.keeper_path
        self._cluster = _identifier(settings.cluster)
        self._on = f"ON CLUSTER {self._cluster}"
        # `{table}` is ours, filled in when the table's name is known; the macros stay.
        place = f"'{self._keeper_path}/{{shard}}/{self._database}/{{table}}', '{{replica}}'"
        self.placeholders: Mapping[str, str] = {
            "merge_tree": f"ReplicatedMergeTree({place})",
            "replacing_merge_tree": f"ReplicatedReplacingMergeTree({place})",
            "replacing_merge_tree_version": f"ReplicatedReplacingMergeTree({place}, version)",
            # A repeated insert finds its token for as long as the log keeps its blocks: seven days.
            "table_settings": "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800, "
            + _DURABLE,
            "database": settings.database,
            "retention_days": str(settings.retention_days),
        }

    def prelude(self) -> Iterator[str]:
        """Yield the statements that make the database and the table of applied migrations, one for the whole cluster."""
        yield f"CREATE DATABASE IF NOT EXISTS {self._database} {self._on}"
        place = f"'{self._keeper_path}/all/{self._database}/schema_migrations', '{{shard}}-{{replica}}'"
        yield _migrations_table(f"{self._database}.schema_migrations {self._on}", f"ReplicatedMergeTree({place})")

    def said(self, statement: str) -> Iterator[str]:
        """Yield the statement for the nodes' own tables, then what it means for the Distributed one. Raises MigrationError."""
        name = rf"{re.escape(self._database)}\.(\w+)"
        if made := re.match(rf"CREATE TABLE IF NOT EXISTS {name}\s*\(", statement):
            table = made[1]
            local = f"{self._database}.{table}_local"
            yield f"CREATE TABLE IF NOT EXISTS {local} {self._on} (" + statement[made.end() :].replace("{table}", table)
            engine = f"Distributed({self._cluster}, {self._database}, {table}_local, {_sharding_key(statement)})"
            yield f"CREATE TABLE IF NOT EXISTS {self._database}.{table} {self._on} AS {local} ENGINE = {engine}"
        elif altered := re.match(rf"ALTER TABLE {name}\s+", statement):
            rest = statement[altered.end() :]
            yield f"ALTER TABLE {self._database}.{altered[1]}_local {self._on} {rest}"
            if re.match(r"(ADD|DROP|MODIFY|RENAME) COLUMN\b", rest):  # the only parts a Distributed table has
                yield f"ALTER TABLE {self._database}.{altered[1]} {self._on} {re.sub(r' CODEC[(].*[)]', '', rest)}"
        elif seen := re.match(rf"CREATE VIEW IF NOT EXISTS {name}\s+AS\b", statement):
            yield f"CREATE VIEW IF NOT EXISTS {self._database}.{seen[1]} {self._on} AS" + statement[seen.end() :]
        elif dropped := re.match(rf"DROP VIEW IF EXISTS {name}", statement):
            yield f"DROP VIEW IF EXISTS {self._database}.{dropped[1]} {self._on}" + statement[dropped.end() :]
        else:
            raise MigrationError(
                f"no rule says this to a cluster: {' '.join(statement.split())[:120]}; write it as CREATE TABLE IF NOT EXISTS, "
                "ALTER TABLE, CREATE VIEW IF NOT EXISTS or DROP VIEW IF EXISTS, or add the rule in processors/sinks/profiles.py"
            )

    def emptied(self, table: str) -> str:
        """Return the statement that empties a table on every node: a Distributed table has no rows to empty."""
        return f"TRUNCATE TABLE {self._database}.{table}_local {self._on}"

    def caught_up(self, table: str) -> str | None:
        """Return the statement that waits until every replica has fetched what the others have."""
        return f"SYSTEM SYNC REPLICA {self._on} {self._database}.{table}_local LIGHTWEIGHT"


def profile_of(settings: ClickHouseSettings) -> Single | Cluster:
    """Return the profile that the settings ask for."""
    return Single(settings) if settings.cluster is None else Cluster(settings)


def _migrations_table(name: str, engine: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (number UInt32, name String, checksum FixedString(64), "
        f"applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = {engine} ORDER BY number"
    )


def _sharding_key(statement: str) -> str:
    replaces = re.search(r"ENGINE = \w*Replacing", statement)
    if replaces is None and re.search(r"^\s*source\b", statement, re.MULTILINE):
        return "cityHash64(source)"
    found = re.search(r"^ORDER BY \(?\s*(\w+)", statement, re.MULTILINE)
    if found is None:
        raise MigrationError(f"no shard can be told for: {' '.join(statement.split())[:100]}; give it ORDER BY on its own line")
    return f"cityHash64({found[1]})"


def _identifier(name: str) -> str:
    return "`" + name + "`"
