"""Is this installation well? Looks at one thing after another; each line says ok, warn or fail, and what to do.

Looks only: writes nothing but a probe file it deletes, and runs beside a running Affidavit as well as without one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import orjson

from deploy.compiled import HOT
from deploy.config import ConfigError, load
from deploy.layout import DataDir
from ingest.net.lineage_register import REMEDY
from schemas.config import Config, DatabaseSettings, LogKind

CLOCK_WARN_SECONDS = 2.0
CERTIFICATE_WARN = timedelta(days=14)
BROKER_SECONDS = 5.0  # who looks does not want to wait for as long as a spool can
LEAST_FREE_BYTES = 512 * 1024**2
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, `ok`, `warn` or `fail`, what was seen, and what to do about it."""

    check: str
    state: str
    seen: str
    remedy: str = ""


def examine(path: Path, *, as_json: bool) -> int:
    """Look at everything, print the findings as they come, return 1 if any failed."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    failed = False
    for finding in findings(path):
        failed |= finding.state == "fail"
        if as_json:
            sys.stdout.write(orjson.dumps(asdict(finding)).decode() + "\n")
            continue
        line = Text(f"{finding.state:<5}", STYLES[finding.state]).append(f"{finding.check:<24}", "bold").append(finding.seen, "")
        console.print(line.append(f" → {finding.remedy}", "italic") if finding.remedy else line)
    return int(failed)


def findings(path: Path) -> Iterator[Finding]:
    """Yield the findings for a configuration file, in the order of looking."""
    try:
        config = load(path)
    except ConfigError as error:
        for problem in str(error).splitlines():
            yield Finding("configuration", "fail", problem, "mend the file; docs/configuration.md lists every setting")
        return
    yield _configuration(path, config)
    yield _hot_modules()
    if config.policy.files:
        yield _policy(config)
    data = DataDir(config.data_dir)
    yield from _data_directory(data, config)
    running = _running(data)
    yield _supervisor(running)
    yield from _addresses(config, running)
    for database in config.databases:
        yield from _database(database)
        yield from _certificate(database)
    if config.log.kind is LogKind.KAFKA:
        yield _brokers(config)
    yield from _store(config, running)
    yield _api(config, running)
    yield from _archive(data)


def _configuration(path: Path, config: Config) -> Finding:
    names = ", ".join(database.alias for database in config.databases)
    if names:
        return Finding("configuration", "ok", f"{path}: {names}")
    return Finding("configuration", "warn", f"{path} names no database", "add one to databases: nobody can connect")


def _policy(config: Config) -> Finding:
    from deploy.policy_commands import load_policy
    from processors.policy import PolicyError

    try:
        policy = load_policy(list(config.policy.files))
    except PolicyError as error:
        remedy = "mend it: proxies do not start with it, and those that run keep the last one; docs/policy.md"
        return Finding("policy", "fail", "; ".join(str(error).splitlines()), remedy)
    return Finding("policy", "ok", f"{policy.version}: {len(policy.bundle.rules)} rules")


def _hot_modules() -> Finding:
    """What a proxy started as this command was, from the same folders, runs."""
    specs = [find_spec(name.removesuffix(".py").replace("/", ".")) for name in HOT]
    compiled = sum(spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES)) for spec in specs)
    if compiled == len(HOT):
        return Finding("hot modules", "ok", "compiled to C")
    if compiled:
        return Finding("hot modules", "warn", f"{compiled} of {len(HOT)} compiled to C", "build the copy again: make compiled")
    return Finding("hot modules", "ok", "interpreted; the images and `make compiled` have them compiled to C")


def _data_directory(data: DataDir, config: Config) -> Iterator[Finding]:
    if not data.root.exists():
        yield Finding("data directory", "warn", f"{data.root} is not there yet", "`affidavit up` makes it")
        return
    mode = data.root.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding("data directory", "warn", f"{data.root} is open to others (mode {mode:o})", f"chmod 700 {data.root}")
    else:
        yield Finding("data directory", "ok", f"{data.root}, mode {mode:o}")
    spool = data.root / "spool"
    probe = spool / f".doctor.{os.getpid()}"
    try:
        spool.mkdir(exist_ok=True)
        probe.write_bytes(b"probe")
        with probe.open("rb") as file:
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        yield Finding("spool", "fail", f"{spool}: {error.strerror}", "statements are refused until it can be written")
    else:
        held = sum(f.stat().st_size for f in spool.rglob("*") if f.is_file())
        yield Finding("spool", "ok", f"writable, {held / 1024**2:,.1f} MiB")
        torn = [f.name for f in spool.rglob("*.corrupt")]
        if torn:
            yield Finding("spool damage", "warn", f"kept aside: {', '.join(torn[:5])}", "see SpoolDamaged in the trail")
    if config.masking.enabled and (problem := _unreadable(data.root / "lineage.db")):
        yield Finding("lineage", "fail", problem, REMEDY)
    free = shutil.disk_usage(data.root).free
    seen = f"{free / 1024**3:,.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        yield Finding("disk", "fail", seen, "free some: a full disk refuses statements (audit.on_failure)")
    elif free < config.audit.spool_limit_bytes:
        yield Finding("disk", "warn", seen, "less than audit.spool_limit_bytes: the disk is full before the limit holds")
    else:
        yield Finding("disk", "ok", seen)


def _brokers(config: Config) -> Finding:
    from schemas.log import LogError
    from schemas.log.kafka_topics import ensure

    settings = config.log.kafka.model_copy(update={"timeout_seconds": min(config.log.kafka.timeout_seconds, BROKER_SECONDS)})
    try:
        topics = ensure(settings, make=False)
    except LogError as error:
        return Finding(
            "brokers", "fail", str(error), "until then blocks wait in the spool, and a proxy that starts refuses logins"
        )
    differs = [f"{topic.name} {problem}" for topic in topics for problem in topic.differs]
    if differs:
        remedy = "`affidavit topics` makes what is missing"
        if any(topic.partitions for topic in topics if topic.differs):  # it changes no topic that is there
            remedy += "; change what differs by Kafka's own tools, partitions with all workers stopped and their lag at 0"
        return Finding("brokers", "fail", "; ".join(differs), remedy)
    return Finding("brokers", "ok", f"{', '.join(settings.bootstrap_servers)}: {len(topics)} topics as they should be")


def _running(data: DataDir) -> int:
    """The pid of the supervisor that holds this data directory, 0 if none does."""
    with contextlib.suppress(OSError), (data.run / "up.pid").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read().strip() or 0)
    return 0


def _supervisor(running: int) -> Finding:
    if running:
        return Finding("processes", "ok", f"affidavit runs, pid {running}")
    return Finding("processes", "warn", "affidavit does not run on this data directory", "affidavit up -c …")


def _addresses(config: Config, running: int) -> Iterator[Finding]:
    from deploy.addresses import accepts
    from deploy.single import check_addresses
    from deploy.supervisor import UpError

    if not running:
        try:
            check_addresses(config, ("proxy", "node"))
        except UpError as error:
            yield Finding("addresses", "fail", str(error))
        else:
            yield Finding("addresses", "ok", "all free")
        return
    for address in sorted({d.listen for d in config.databases}):
        if accepts(address):
            yield Finding("proxy", "ok", f"{address} accepts")
        else:
            yield Finding("proxy", "fail", f"{address} does not accept", "see the last lines `affidavit up` printed")


def _database(database: DatabaseSettings) -> Iterator[Finding]:
    import psycopg

    up = database.upstream
    name = f"database {database.alias}"
    where = f"{up.user}@{up.socket_dir or up.host}:{up.port}/{up.database}"
    files = {"sslrootcert": up.ca_file, "sslcert": up.cert_file, "sslkey": up.key_file}
    parameters: dict[str, str | int] = {
        "host": str(up.socket_dir or up.host),
        "port": up.port,
        "dbname": up.database,
        "user": up.user,
        "password": up.password.get_secret_value() if up.password else "",
        "sslmode": str(up.tls),
        "connect_timeout": max(2, int(up.connect_timeout_seconds)),
        "application_name": "affidavit doctor",
        **{key: str(file) for key, file in files.items() if file is not None},
    }
    try:
        began = time.monotonic()
        with psycopg.connect(psycopg.conninfo.make_conninfo("", **parameters)) as connection:
            took = time.monotonic() - began
            row = connection.execute("SELECT clock_timestamp(), current_setting('server_version')").fetchone()
            now = _now()
    except psycopg.OperationalError as error:
        said = " ".join(str(error).split()).removeprefix("connection failed: ")
        yield Finding(name, "fail", f"{where}: {said}", _remedy(said))
        return
    assert row is not None
    yield Finding(name, "ok", f"{where}: PostgreSQL {row[1]}, logged in within {took * 1000:.0f} ms")
    apart = abs((now - row[0]).total_seconds())
    state = "warn" if apart > CLOCK_WARN_SECONDS else "ok"
    remedy = "synchronise the clocks (NTP): events are compared with the database's own log" if state == "warn" else ""
    yield Finding("clock", state, f"{apart:.1f} s apart from {database.alias}'s", remedy)


def _remedy(said: str) -> str:
    for part, remedy in (
        ("password authentication failed", "check upstream.user and the password"),
        ("refused", "is the server running, and listening there?"),
        ("does not exist", "check upstream.database and upstream.user"),
        ("certificate", "check upstream.tls and upstream.ca_file"),
        ("SSL", "check upstream.tls"),
        ("timeout", "a firewall, or the wrong upstream.host?"),
        ("resolve", "check upstream.host"),
    ):
        if part in said:
            return remedy
    return "check upstream.host, upstream.port and the server's pg_hba.conf"


def _certificate(database: DatabaseSettings) -> Iterator[Finding]:
    tls = database.client_tls
    if tls.cert_file is None or tls.key_file is None:
        return
    from ingest.core.errors import CertificateError
    from ingest.net.certificates import configured_certificate

    name = f"certificate {database.alias}"
    now = _now()
    try:
        until = configured_certificate(tls.cert_file, tls.key_file, now).not_after
    except CertificateError as error:
        yield Finding(name, "fail", str(error), "clients that want TLS are refused")
        return
    soon = until - now < CERTIFICATE_WARN
    yield Finding(name, "warn" if soon else "ok", f"valid until {until:%Y-%m-%d}", "renew it, then restart" if soon else "")


def _now() -> datetime:
    return datetime.fromtimestamp(time.time_ns() / 1e9, UTC)


def _store(config: Config, running: int) -> Iterator[Finding]:
    if running and config.clickhouse.interface == "chdb":
        yield Finding("store", "ok", "chDB, held by the running node")
        return
    from processors.sinks.clickhouse import MigrationError, StoreError, connect

    settings = config.clickhouse
    if settings.interface == "chdb" and not (config.data_dir / "clickhouse").exists():  # to open it would make it
        yield Finding("store", "ok", "chDB has nothing yet; `affidavit up` makes its folder")
        return
    try:
        store = connect(settings, config.data_dir)
        try:
            answer = str(store.client.command("SELECT version()"))
            problem, lacking = store.cluster_problem(), store.lacking()
        finally:
            store.close()
    except (StoreError, MigrationError) as error:
        yield Finding("store", "fail", str(error), "until then blocks wait in the log; statements go on")
        return
    if problem:
        yield Finding("store", "fail", problem)
        return
    if lacking:
        yield Finding(
            "store tables", "warn", f"lack {', '.join(lacking)}", "`affidavit migrate`, or the next start of `up` or `process`"
        )
    if settings.interface == "http" and settings.host not in ("127.0.0.1", "::1", "localhost"):
        seen = f"ClickHouse {answer} at {settings.host}, in the clear"
        yield Finding(
            "store", "warn", seen, "clickhouse.interface: https, or everybody on the way reads the trail and the password"
        )
    else:
        yield Finding("store", "ok", f"{'chDB' if settings.interface == 'chdb' else 'ClickHouse'} {answer} answers")


def _api(config: Config, running: int) -> Finding:
    from deploy.addresses import api_problem

    if not running:
        return Finding("API", "warn", "not running")
    problem = api_problem(config.api.listen)
    if problem:
        return Finding("API", "fail", f"{config.api.listen}: {problem}")
    return Finding("API", "ok", f"{config.api.listen} is ready")


def _unreadable(path: Path) -> str:
    """What is wrong with a file of SQLite, if something is and it is there."""
    if not path.exists():
        return ""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            [said] = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        said = str(error)
    return "" if said == "ok" else f"{path} cannot be read: {said}"


def _archive(data: DataDir) -> Iterator[Finding]:
    from processors.archive_report import verify_archive

    if not data.archive.is_dir():
        yield Finding("archive", "ok", "nothing archived yet")
        return
    report = verify_archive(data.archive, data.keys)
    if report.ok:
        yield Finding("archive", "ok", f"{report.blocks:,} blocks with {report.events:,} events: every chain is whole")
    else:
        bad = ", ".join(name for name, source in report.sources.items() if not source.ok)
        yield Finding("archive", "fail", f"does not hold: {bad}", "`affidavit archive verify` says where")
