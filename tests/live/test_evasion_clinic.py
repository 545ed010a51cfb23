"""A fourth evasion suite by another hand, over a clinic's database: written with neither the other suites nor the rules in mind.

`tests/golden/evasion/clinic.sql` makes the database, large enough for statistics to matter, and what somebody hid in it.
`dangerous_clinic.txt` and `everyday_clinic.txt` hold the statements. They are judged as the proxy's guard judges them: by facts
under the server's own catalogue and its statistics, by the classes of columns, and by the starter bundles.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator

import psycopg
import pytest

from ingest.net.catalogue import read_catalogue
from ingest.protocols.postgres.scram import ScramKeys
from processors.statements.catalogue import Catalogue
from schemas.config import Upstream
from tests.live.test_evasion_strangers import GOLDEN, Judge, lines, spelt
from tests.support.postgres import DATABASE, SUPERUSER, SUPERUSER_PASSWORD, Postgres
from tests.support.postgres import running as running_postgres

DANGEROUS = [spelt(line) for line in lines("dangerous_clinic.txt")]
EVERYDAY = [(line.startswith("migration: "), line.removeprefix("migration: ")) for line in lines("everyday_clinic.txt")]
EXTENSIONS = ("dblink", "pgcrypto", "hstore")
TOLD = "told"
"""Reads, which people do every day as well: the bundle for production may let them pass, and tells of them."""
SHARES = frozenset(line for line in lines("dangerous_clinic_shares.txt"))
"""Changes of nearly all rows by what the data is: people wait for approval, what services do is told."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres(oracle=False) as made:
        with made.superuser() as admin:
            admin.execute((GOLDEN / "clinic.sql").read_text(encoding="utf-8"))
            has = {name for (name,) in admin.execute("SELECT name FROM pg_available_extensions").fetchall()}
            for name in (n for n in EXTENSIONS if n in has):
                admin.execute(f"CREATE EXTENSION {name}")
        yield made


@pytest.fixture(scope="module")
def catalogue(server: Postgres) -> Catalogue:
    to = {"host": server.host, "port": server.port, "user": SUPERUSER, "database": DATABASE, "tls": "disable"}
    return asyncio.run(read_catalogue(Upstream.model_validate(to), SUPERUSER_PASSWORD.encode(), ScramKeys()))


def judge_of(catalogue: Catalogue, kind: str, *bundles: str, groups: tuple[str, ...] = (), behalf: str = "") -> Judge:
    judge = Judge(catalogue, kind, *bundles, behalf=behalf, groups=groups)
    judge.session.sizes = lambda: (1, catalogue.sizes)
    return judge


@pytest.mark.parametrize("kind", ["human", "service"])
def test_everything_dangerous_is_stopped_or_told_of(catalogue: Catalogue, kind: str) -> None:
    judge = judge_of(catalogue, kind, "production.yaml")
    missed: dict[str, list[str]] = defaultdict(list)
    for category, path, sql in DANGEROUS:
        verdicts = judge(sql, path)
        is_told = category == TOLD or (kind == "service" and sql in SHARES)
        if not verdicts & {"deny", "hold"} and not (is_told and "alert" in verdicts):
            missed[category].append(sql)
    assert missed == {}


def test_an_agent_does_nothing_dangerous(catalogue: Catalogue) -> None:
    judge = judge_of(catalogue, "agent", "production.yaml", "agents.yaml", behalf="ana")
    passed = [
        sql
        for category, path, sql in DANGEROUS
        if not (verdicts := judge(sql, path)) & {"deny", "hold"} and not (category == TOLD and "alert" in verdicts)
    ]
    assert passed == []


@pytest.mark.parametrize("kind", ["human", "service"])
def test_nothing_everyday_is_stopped(catalogue: Catalogue, kind: str) -> None:
    judge = judge_of(catalogue, kind, "production.yaml")
    deploying = judge_of(catalogue, kind, "production.yaml", groups=("migrations",))
    assert [sql for migrates, sql in EVERYDAY if (deploying if migrates else judge)(sql) & {"deny", "hold"}] == []


def test_everyday_statements_mean_something_to_the_server(server: Postgres) -> None:
    """What is everyday is run, and rolled back: a suite of texts that no server takes would prove nothing."""
    refused = []
    with server.superuser() as admin:
        for _, sql in EVERYDAY:
            if "$1" in sql or "CONCURRENTLY" in sql or sql.startswith(("COPY", "VACUUM", "DISCARD", "ROLLBACK", "SAVEPOINT")):
                continue
            try:
                with admin.transaction(force_rollback=True):
                    admin.execute(sql)
            except psycopg.Error as error:
                if (error.sqlstate or "")[:2] in ("42", "0A") and "alembic" not in sql and "VALIDATE" not in sql:
                    refused.append((sql, str(error)))
    assert refused == []


def test_the_suite_is_as_large_as_it_says() -> None:
    assert len(DANGEROUS) >= 840
    assert len(EVERYDAY) >= 160
    assert len({category for category, _, _ in DANGEROUS}) == 11
