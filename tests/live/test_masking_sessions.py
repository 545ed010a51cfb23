"""Temporary tables are shown where a session certainly has them: not where a role's search_path names them, nor by a pooler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from tests.support import binaries, pgbouncer
from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.ports import wait_for
from tests.support.postgres import APP_USER, Postgres
from tests.support.postgres import running as running_postgres

BARE = {"policy": {"files": []}}


@pytest.fixture
def server() -> Iterator[Postgres]:
    with running_postgres(oracle=False) as made:
        with psycopg.connect(**made.app(), autocommit=True) as owner:
            owner.execute("CREATE TABLE people (id int, full_name text, city text)")
            owner.execute("INSERT INTO people VALUES (1, 'Zyxwana Quorvath', 'Bremen')")
        yield made


def shown(proxy: Proxy) -> list[object]:
    """Return what a temporary table's city looks like once the catalogue is known, and its name."""
    with psycopg.connect(**proxy.app(), autocommit=True) as connection:

        def known() -> bool:
            return connection.execute("SELECT city FROM people").fetchone() == ("Bremen",)

        wait_for(known, "the catalogue to be read", 20)
        with connection.transaction():
            connection.execute("CREATE TEMP TABLE t AS SELECT full_name, city FROM people")
            return list(connection.execute("SELECT city, full_name FROM t").fetchone() or ())


def test_a_session_of_its_own_shows_its_temporary_tables(server: Postgres) -> None:
    with running_proxy(server, BARE) as proxy:
        assert shown(proxy) == ["Bremen", "[masked]"]


def test_a_role_whose_names_mean_other_tables_first_does_not(server: Postgres) -> None:
    with server.superuser() as admin:
        admin.execute(f"ALTER ROLE {APP_USER} SET search_path = public, PG_TEMP")
    with running_proxy(server, BARE) as proxy:
        assert shown(proxy) == ["[masked]", "[masked]"]


@pytest.mark.skipif(binaries.find_pgbouncer() is None, reason="PgBouncer is not installed")
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_nor_does_a_session_behind_a_pooler(server: Postgres, mode: str) -> None:
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(pgbouncer.running(server, mode=mode))
        database = {"database": {"upstream": {"host": "127.0.0.1", "port": pool.port}}}
        proxy = stack.enter_context(running_proxy(server, BARE | database))
        assert shown(proxy) == ["[masked]", "[masked]"]
