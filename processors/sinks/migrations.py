"""Which tables the store has: applies `schemas/clickhouse/NNNN_*.sql` in order, each once, forward only.

Every applied migration is a row of `schema_migrations` with the checksum of its file. A file that changed after it was applied
is an error: the store would no longer be what the files say. ClickHouse has no transactional DDL, so a migration may be cut
short; its statements are therefore written to be repeatable (`IF NOT EXISTS`) and it is recorded only after the last of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from processors.sinks.errors import MigrationError
from processors.sinks.profiles import Profile, profile_of
from schemas.config import ClickHouseSettings

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Hex SHA-256 of the file's text, before placeholders are filled in."""
        return sha256(self.sql.encode()).hexdigest()

    def statements(self, values: Mapping[str, str]) -> Iterator[str]:
        """Yield the statements with placeholders filled in; raise MigrationError on an unknown placeholder."""
        code = "\n".join(line for line in self.sql.splitlines() if not line.lstrip().startswith("--"))
        for statement in re.split(r";[ \t]*(?:\n|\Z)", code):
            if statement.strip():
                yield _PLACEHOLDER.sub(lambda m: self._value(m.group(1), values), statement.strip())

    def _value(self, name: str, values: Mapping[str, str]) -> str:
        if name not in values:
            raise MigrationError(f"migration {self.name}: unknown placeholder {{{name}}}")
        return values[name]


def bundled() -> tuple[Migration, ...]:
    """Return the migrations that came with this version, in order; numbers start at 1 without holes."""
    found = []
    for entry in files("schemas.clickhouse").iterdir():
        if match := _NAME.match(entry.name):
            found.append(Migration(int(match.group(1)), entry.name, entry.read_text(encoding="utf-8")))
    found.sort(key=lambda m: m.number)
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"migrations are not numbered 1, 2, 3, …: {', '.join(m.name for m in found)}")
    return tuple(found)


def migrate(client: Any, settings: ClickHouseSettings, migrations: tuple[Migration, ...] | None = None) -> tuple[str, ...]:
    """Bring the store's schema up to date; return the names of the migrations applied now.

    Raises MigrationError if an applied migration's file changed or is unknown to this version.
    """
    migrations = bundled() if migrations is None else migrations
    database, profile = settings.database, profile_of(settings)
    applied = _applied(client, database)
    if applied is None:
        for statement in profile.prelude():
            client.command(statement, use_database=False)
        applied = {}
    _check(applied, migrations)
    done = []
    for migration in migrations:
        if migration.number in applied:
            continue
        for statement in _said(migration, profile):
            client.command(statement)
        client.command(_record(migration, database), settings={"async_insert": 0})
        done.append(migration.name)
    return tuple(done)


def lacking(client: Any, settings: ClickHouseSettings) -> tuple[str, ...]:
    """Return the names of the migrations that a store lacks; raise MigrationError as `migrate` does. Changes nothing."""
    migrations = bundled()
    applied = _applied(client, settings.database) or {}
    _check(applied, migrations)
    return tuple(m.name for m in migrations if m.number not in applied)


def _applied(client: Any, database: str) -> dict[int, tuple[str, str]] | None:
    """Return what was applied, by number; None where the database or the table is not there.

    Asked first, so that a store that is of this version needs no right to change it.
    """
    query = f"SELECT number, name, toString(checksum) FROM {database}.schema_migrations"  # noqa: S608 - a checked name
    try:
        rows = client.query(query).result_rows
    except ClickHouseError as error:
        if getattr(error, "code", None) in (60, 81):
            return None
        raise
    return {int(number): (str(name), str(checksum)) for number, name, checksum in rows}


def script(settings: ClickHouseSettings, migrations: tuple[Migration, ...] | None = None) -> Iterator[str]:
    """Yield every statement that `migrate` gives an empty store, for a person to read or to run."""
    profile = profile_of(settings)
    yield from profile.prelude()
    for migration in bundled() if migrations is None else migrations:
        yield from _said(migration, profile)
        yield _record(migration, settings.database)


def _said(migration: Migration, profile: Profile) -> Iterator[str]:
    for statement in migration.statements(profile.placeholders):
        yield from profile.said(statement)


def _record(migration: Migration, database: str) -> str:
    return (
        f"INSERT INTO {database}.schema_migrations (number, name, checksum) VALUES "  # noqa: S608 - checked names
        f"({migration.number}, '{migration.name}', '{migration.checksum}')"
    )


def _check(applied: Mapping[int, tuple[str, str]], migrations: tuple[Migration, ...]) -> None:
    known = {m.number: m for m in migrations}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in known:
            raise MigrationError(
                f"the store has migration {name}, which this version of affidavit does not know: "
                "it was migrated by a newer version; run that one, or a later"
            )
        if known[number].checksum != checksum:
            raise MigrationError(
                f"migration {name} changed after it was applied (now {known[number].checksum[:12]}, applied {checksum[:12]}): "
                "restore the file and put the change in a new migration"
            )
