"""A fifth evasion suite by another hand, over a core bank: partitions, enumerations, casts, overloads, and values that decide.

`tests/golden/evasion/bank.sql` makes the database and what somebody left in it. `dangerous_bank.txt` and `everyday_bank.txt`
hold the statements. They are judged as the proxy's guard judges them, and sent through a real proxy as a service: there also
those whose danger is in the values of their parameters.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

from ingest.net.catalogue import read_catalogue
from ingest.protocols.postgres.scram import ScramKeys
from processors.statements.catalogue import Catalogue
from schemas.config import Upstream
from tests.live.test_evasion_clinic import judge_of
from tests.live.test_evasion_objects import send
from tests.live.test_evasion_strangers import GOLDEN, POLICIES, lines
from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.postgres import APP_USER, DATABASE, SUPERUSER, SUPERUSER_PASSWORD, Postgres
from tests.support.postgres import running as running_postgres

EXTENSIONS = ("dblink", "pgcrypto", "fuzzystrmatch")
TOLD = frozenset(("export", "large", "inference", "enumeration"))
"""Reads, which people do every day as well: the bundle for production may let them pass, and tells of them."""
PEOPLE = ("inference",)
"""What services see as it is, so that there is nothing to tell."""
MADE = ("42P07", "42701", "42710")
"""What a migration makes is there already: the proxy let it through."""
SHARE = "share"
"""Changes of nearly all rows by what the data is: people wait for approval, what services do is told."""


class Line(NamedTuple):
    category: str
    values: list[str | None]
    sql: str


def spelt(line: str) -> Line:
    found = re.match(r"(?:(\w+): )?(?:\{with=(.*?)\} )?(.*)\Z", line, re.DOTALL)
    assert found, line
    return Line(found[1] or "", [json.loads(value) for value in found[2].split("|")] if found[2] else [], found[3])


DANGEROUS = [spelt(line) for line in lines("dangerous_bank.txt")]
EVERYDAY = [spelt(line) for line in lines("everyday_bank.txt")]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres(oracle=False) as made:
        with made.superuser() as admin:
            admin.execute((GOLDEN / "bank.sql").read_text(encoding="utf-8"))
            admin.execute(
                f"ALTER ROLE {APP_USER} SET statement_timeout = '10s'"
            )  # what comes through must not take the suite's time
            has = {name for (name,) in admin.execute("SELECT name FROM pg_available_extensions").fetchall()}
            for name in (n for n in EXTENSIONS if n in has):
                admin.execute(f"CREATE EXTENSION {name}")
            if "postgres_fdw" in has:
                admin.execute("CREATE EXTENSION postgres_fdw")
                admin.execute((GOLDEN / "bank_foreign.sql").read_text(encoding="utf-8"))
            for schema in ("core", "ledger", "ops", "reporting"):
                admin.execute(
                    f"GRANT ALL ON SCHEMA {schema} TO {APP_USER}; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {APP_USER}"
                )
                admin.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {APP_USER}")
        yield made


@pytest.fixture(scope="module")
def catalogue(server: Postgres) -> Catalogue:
    to = {"host": server.host, "port": server.port, "user": SUPERUSER, "database": DATABASE, "tls": "disable"}
    return asyncio.run(read_catalogue(Upstream.model_validate(to), SUPERUSER_PASSWORD.encode(), ScramKeys()))


@pytest.fixture(scope="module")
def guarded(server: Postgres) -> Iterator[Proxy]:
    with running_proxy(server, {"policy": {"files": [str(POLICIES / "production.yaml")]}}) as made:
        yield made


def is_of_session(line: Line) -> bool:
    """Return whether a session tells what the line does: its values, or what it prepared."""
    return bool(line.values) or line.category == "session"


def meant(line: Line, catalogue: Catalogue) -> bool:
    """Return whether this server has what the line is about: not every one has foreign tables."""
    return bool(catalogue.find("ledger", "clearing_house")) or not re.search(r"\bclearing|dblink\b", line.sql)


@pytest.mark.parametrize("kind", ["human", "service"])
def test_everything_dangerous_is_stopped_or_told_of(catalogue: Catalogue, kind: str) -> None:
    judge = judge_of(catalogue, kind, "production.yaml")
    missed: dict[str, list[str]] = defaultdict(list)
    for line in DANGEROUS:
        if is_of_session(line) or not meant(line, catalogue) or (kind == "service" and line.category in PEOPLE):
            continue
        verdicts = judge(line.sql)
        told = line.category in TOLD or (kind == "service" and line.category == SHARE)
        if not verdicts & {"deny", "hold"} and not (told and "alert" in verdicts):
            missed[line.category].append(line.sql)
    assert missed == {}


def test_an_agent_does_nothing_dangerous(catalogue: Catalogue) -> None:
    judge = judge_of(catalogue, "agent", "production.yaml", "agents.yaml", behalf="ana")
    passed = [
        line.sql
        for line in DANGEROUS
        if not is_of_session(line) and meant(line, catalogue)
        and not (verdicts := judge(line.sql)) & {"deny", "hold"}
        and not (line.category in ("enumeration",) and "alert" in verdicts)
    ]  # fmt: skip
    assert passed == []


@pytest.mark.parametrize("kind", ["human", "service"])
def test_nothing_everyday_is_stopped(catalogue: Catalogue, kind: str) -> None:
    judge = judge_of(catalogue, kind, "production.yaml")
    deploying = judge_of(catalogue, kind, "production.yaml", groups=("migrations",))
    asked = [(deploying if line.category == "migration" else judge, line.sql) for line in EVERYDAY if not line.values]
    assert [sql for ask, sql in asked if ask(sql) & {"deny", "hold"}] == []


def prepared(client: psycopg.Connection[tuple[object, ...]], line: Line) -> str:
    """Send a statement and its values by the extended protocol; return its error, or nothing."""
    values = [None if value is None else value.encode() for value in line.values]
    result = client.pgconn.exec_params(line.sql.encode(), values)
    said = (result.error_field(psycopg.pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode()
    if client.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        client.pgconn.exec_(b"ROLLBACK")
    return said


def test_the_proxy_lets_nothing_dangerous_through(server: Postgres, catalogue: Catalogue, guarded: Proxy) -> None:
    to = guarded.app("core-banking", guarded.token("core-banking", kind="service"))
    counts = "SELECT (SELECT count(*) FROM core.cards), (SELECT sum(balance) FROM core.accounts), count(*) FROM ledger.transfers"
    with server.superuser() as admin:
        before = admin.execute(counts).fetchone()
        with psycopg.connect(**to, autocommit=True) as client:
            passed = [
                (line.sql, said)
                for line in DANGEROUS
                if line.category not in (*TOLD, SHARE) and meant(line, catalogue)
                and "denied by policy" not in (said := prepared(client, line) if line.values else send(client, line.sql))
                and not said.startswith("42601")
            ]  # fmt: skip
        assert passed == [], passed
        assert admin.execute(counts).fetchone() == before


def test_the_proxy_stops_nothing_everyday(guarded: Proxy) -> None:
    application = guarded.app("core-banking", guarded.token("core-banking", kind="service"))
    deployment = guarded.app("deploy", guarded.token("deploy", kind="service", groups=("migrations",)))
    stopped = []
    with psycopg.connect(**application, autocommit=True) as client, psycopg.connect(**deployment, autocommit=True) as deploying:
        for line in EVERYDAY:
            to = deploying if line.category == "migration" else client
            if "denied by policy" in (said := prepared(to, line) if line.values else send(to, line.sql)):
                stopped.append((line.sql, said))
            if "SET" in line.sql:
                send(to, "DISCARD ALL")
    assert stopped == [], stopped


def test_everyday_statements_mean_something_to_the_server(server: Postgres) -> None:
    """What is everyday is run, and rolled back: a suite of texts that no server takes would prove nothing."""
    refused = []
    with server.superuser() as admin:
        for line in EVERYDAY:
            if (
                line.values
                or "CONCURRENTLY" in line.sql
                or line.sql.startswith(("COPY", "VACUUM", "DISCARD", "ROLL", "RELEASE", "CALL"))
            ):
                continue
            try:
                with admin.transaction(force_rollback=True):
                    admin.execute(line.sql.encode())
            except psycopg.Error as error:
                if (error.sqlstate or "")[:2] in ("42", "0A") and error.sqlstate not in MADE:
                    refused.append((line.sql, str(error)))
    assert refused == []


def test_the_suite_is_as_large_as_it_says() -> None:
    assert len(DANGEROUS) >= 900
    assert len(EVERYDAY) >= 200
    assert len({line.category for line in DANGEROUS}) == 18
