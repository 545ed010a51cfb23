"""What can be done to the data while Affidavit does not run, or beside it: migrate, verify, rebuild.

Reading the archive is safe at any time. What opens the store says who has it, if `up` does: chDB lets one process in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict

import orjson

from deploy.layout import DataDir, archive_of
from deploy.supervisor import owning
from schemas.config import Config


class MaintenanceError(Exception):
    """What was asked for cannot be done; the message says why."""


def migrate_store(config: Config) -> Iterator[str]:
    """Apply the migrations the store lacks; yield one line for each."""
    from processors.sinks.clickhouse import connect

    data = DataDir(config.data_dir)
    data.prepare()
    store = connect(config.clickhouse, config.data_dir)
    try:
        names = store.migrate()
    finally:
        store.close()
    yield from (f"applied {name}" for name in names)
    if not names:
        yield "nothing to apply: the tables are of this version"


def store_script(config: Config, *, tables: bool, users: bool) -> Iterator[str]:
    """Yield the SQL that makes the tables, the roles, or both, with a semicolon after each statement."""
    from processors.sinks.migrations import script
    from processors.sinks.users import users_script

    if tables:
        yield from (f"{statement};" for statement in script(config.clickhouse))
    if users:
        yield from (f"{statement};" for statement in users_script(config.clickhouse))
        yield "-- Then a user for each, such as:"
        yield "-- CREATE USER writer IDENTIFIED WITH sha256_password BY '…' DEFAULT ROLE affidavit_writer;"
        yield "-- GRANT affidavit_writer TO writer;"


def verify_archive(config: Config, *, as_json: bool) -> int:
    """Check every archived block and print what was found; return the exit code."""
    from processors.archive_report import Known, format_report
    from processors.archive_report import verify_archive as verify
    from processors.runtimes.state import StateError, known_sources

    data = DataDir(config.data_dir)
    folder = archive_of(config)
    if not folder.is_dir():
        raise MaintenanceError(f"{folder} is not there: nothing was archived yet")
    try:
        stood = known_sources(data.pipeline)
    except StateError as error:
        raise MaintenanceError(str(error)) from error
    known = {name: Known(source.chain.last, source.key) for name, source in stood.items() if source.chain.last is not None}
    report = verify(folder, data.keys, known)
    if as_json:
        content = {"ok": report.ok, "blocks": report.blocks, "events": report.events, "sources": report.sources}
        plain = orjson.dumps(content, default=lambda value: asdict(value))
        sys.stdout.write(plain.decode() + "\n")
    else:
        sys.stdout.write(format_report(report))
    return 0 if report.ok else 1


def rebuild_store(config: Config) -> tuple[str, bool]:
    """Empty ClickHouse's tables and fill them from the archive; return what was done, and whether all of it could be read."""
    from processors.archive import Archive
    from processors.rebuild import rebuild
    from processors.sinks.clickhouse import connect

    data = DataDir(config.data_dir)
    data.prepare()
    with owning(data.run / "up.pid", "affidavit"):
        store = connect(config.clickhouse, config.data_dir)
        try:
            done = rebuild(Archive(archive_of(config)), store)
        finally:
            store.close()
    lacking = f"; passed over {done.damaged:,} damaged places: `affidavit archive verify` names them" if done.damaged else ""
    return f"{done.rows:,} rows from {done.blocks:,} blocks{lacking}", not done.damaged
