"""Who needs which right in ClickHouse: four roles, their grants derived from the migrations, so that none is forgotten.

The writer (`process`, the pipeline of `up`) inserts and looks what is there; the reader (`api`) selects; the auditor is for
people with a client of their own, and sees what the reader sees; the migrator makes, changes and empties tables (`migrate`,
`archive rebuild`). Nobody but the migrator can take a row away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from processors.sinks.migrations import Migration, bundled, script
from schemas.config import ClickHouseSettings

ROLES = ("affidavit_migrator", "affidavit_writer", "affidavit_reader", "affidavit_auditor")
_MADE = re.compile(r"CREATE (TABLE|VIEW) IF NOT EXISTS \w+\.(\w+)")


def users_script(settings: ClickHouseSettings, migrations: tuple[Migration, ...] | None = None) -> Iterator[str]:
    """Yield the statements that make the roles and give them their rights, repeatable."""
    on = f" ON CLUSTER `{settings.cluster}`" if settings.cluster is not None else ""
    for role in ROLES:
        yield f"CREATE ROLE IF NOT EXISTS {role}{on}"
    for role, right in grants(settings, migrations):
        yield f"GRANT{on} {right} TO {role}"
    # 2: may set limits for its own queries, as the API does, and nothing that lets it write.
    reading = "affidavit_reader, affidavit_auditor"
    yield f"CREATE SETTINGS PROFILE IF NOT EXISTS affidavit_reading{on} SETTINGS readonly = 2 TO {reading}"


def grants(settings: ClickHouseSettings, migrations: tuple[Migration, ...] | None = None) -> Iterator[tuple[str, str]]:
    """Yield each role's rights, as `SELECT, INSERT ON database.table`."""
    database = settings.database
    made = [(m[1], m[2]) for s in script(settings, bundled() if migrations is None else migrations) if (m := _MADE.match(s))]
    migrator, writer, reader, auditor = ROLES
    yield migrator, f"CREATE DATABASE, CREATE TABLE, CREATE VIEW, ALTER, DROP VIEW, TRUNCATE, SELECT, INSERT ON {database}.*"
    engines = {m[1] for s in script(settings, migrations) for m in re.finditer(r"ENGINE = (\w+)", s)}
    for engine in sorted(engines):
        yield migrator, f"TABLE ENGINE ON {engine}"
    if settings.cluster is not None:
        yield migrator, "CLUSTER ON *.*"
        yield migrator, "READ, WRITE ON REMOTE"
        yield writer, "CLUSTER ON *.*"
        for role in ROLES[:3]:  # for `affidavit doctor`
            yield role, "SELECT ON system.clusters"
            yield role, "SELECT ON system.macros"
    for kind, name in made:
        if name != "schema_migrations":
            if kind == "TABLE":
                yield writer, f"SELECT, INSERT ON {database}.{name}"
            if settings.cluster is not None and name.endswith("_local"):
                yield writer, f"SYSTEM SYNC REPLICA ON {database}.{name}"
            yield reader, f"SELECT ON {database}.{name}"
        yield auditor, f"SELECT ON {database}.{name}"
    yield writer, f"SELECT ON {database}.schema_migrations"
    yield reader, f"SELECT ON {database}.schema_migrations"
