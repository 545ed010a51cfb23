"""A freight company's everyday work through a proxy with masking and both starter bundles, by each kind of principal.

`tests/golden/everyday/freight.txt` holds what Django, ActiveRecord, Hibernate, SQLAlchemy, Prisma, analysts, dashboards, tools,
agents and migrations send to the database of `freight.sql`. Each is run, and undone. What it says is what a direct connection
says, but for cells that are marked as masked; nothing is stopped but what is marked so, which the bundles and
`tests/golden/evasion/everyday_agents.txt` say openly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.live.test_everyday import GOLDEN, ROOT, SECRETS, as_it_comes
from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.clients import Parameters
from tests.support.ear import Ear
from tests.support.postgres import Postgres
from tests.support.postgres import running as running_postgres

POLICIES = [str(ROOT / "deploy" / "policies" / name) for name in ("production.yaml", "agents.yaml")]
REASONS = frozenset(("part", "person", "many", "contents", "harm", "export"))
DENIED = re.compile(r"denied by policy rule ([\w-]+)|needs an approval by policy rule ([\w-]+)")


class Sent(NamedTuple):
    """A statement, and what is marked in front of it."""

    sql: str
    marks: frozenset[str]


def sent() -> list[Sent]:
    found = []
    for line in (GOLDEN / "freight.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            marked = re.match(r"((?:\[\w+\] )*)(.*)\Z", line)
            assert marked
            found.append(Sent(marked[2], frozenset(re.findall(r"\w+", marked[1]))))
    return found


ALL = sent()
WORK = [s for s in ALL if "migration" not in s.marks]
MIGRATIONS = [s for s in ALL if "migration" in s.marks]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres(oracle=False) as made:
        with psycopg.connect(**made.app(), autocommit=True) as owner:
            owner.execute((GOLDEN / "freight.sql").read_text(encoding="utf-8"))
        yield made


@pytest.fixture(scope="module")
def proxy(server: Postgres) -> Iterator[Proxy]:
    settings: dict[str, Any] = {"policy": {"files": POLICIES}, "database": {"environment": "production"}}
    with running_proxy(server, settings) as made:
        yield made


def login(proxy: Proxy, kind: str) -> Parameters:
    """Return how a kind of principal logs in: `human`, `service`, `agent for ana`, `agent`, `migration`."""
    who = kind.split()[0]
    if who == "migration":
        return proxy.app("deploy", proxy.token("deploy", kind="service", groups=("migrations",)))
    behalf = {"on_behalf_of": "ana"} if kind.endswith("ana") else {}
    return proxy.app(who, proxy.token(who, kind=who, **behalf))


def said(to: Parameters, statements: list[Sent]) -> list[tuple[list[str], list[str]]]:
    """Return what each statement says and how it fails, each undone."""
    found = []
    with psycopg.connect(**to, autocommit=True) as connection:
        for statement in statements:
            ear = Ear(connection)
            connection.execute("BEGIN")
            if statement.sql.startswith("COPY"):
                filled(ear, statement.sql)
            else:
                ear.say(statement.sql)
            connection.execute("ROLLBACK")
            found.append((ear.heard, ear.failed))
    return found


def filled(ear: Ear, sql: str) -> None:
    try:
        with ear.connection.cursor() as cursor:
            with cursor.copy(sql) as copy:
                copy.write_row((17, "2026-03-01", "scan"))
            ear.heard.append(str(cursor.rowcount))
    except psycopg.Error as error:
        ear.failed.append(str(error))


def stopped(kind: str, statement: Sent) -> set[str]:
    """Return the rules that may stop a statement of such a principal; one of these must."""
    marks = statement.marks
    if kind == "agent" and "write" in marks:
        return {"agents-write-for-somebody"}
    if kind.startswith("agent") and "harm" in marks:
        return {"agents-writes-to-what-harms-people-are-seen"}
    if kind.startswith("agent") and "export" in marks:
        return {"agents-export-nothing"}
    return {"agents-infer-nothing"} if kind.startswith("agent") and marks & REASONS else set()


@pytest.fixture(scope="module")
def direct(server: Postgres) -> list[tuple[list[str], list[str]]]:
    found = said(server.app(), WORK)
    assert [failed for _, failed in found if failed] == [], "a server takes all of it"
    return found


@pytest.mark.parametrize("kind", ["human", "service", "agent for ana", "agent"])
def test_everything_runs_and_says_what_it_says_without_a_proxy(
    proxy: Proxy, direct: list[tuple[list[str], list[str]]], kind: str
) -> None:
    proceeding = [s for s in WORK if stopped(kind, s) != {"agents-writes-to-what-harms-people-are-seen"}]  # these wait
    by_text = dict(zip((s.sql for s in WORK), direct, strict=True))
    wrong: list[tuple[object, ...]] = []
    for statement, (heard, failed) in zip(proceeding, said(login(proxy, kind), proceeding), strict=True):
        own = by_text[statement.sql][0]
        if rules := stopped(kind, statement):
            found = DENIED.search(" ".join(failed))
            if found is None or found[1] not in rules:
                wrong.append(("was not stopped", statement.sql, failed))
        elif failed:
            wrong.append(("was stopped", statement.sql, failed))
        elif kind == "service" or "masked" not in statement.marks:
            if heard != own:
                wrong.append(("differs", statement.sql, own[:9], heard[:9]))
        elif heard == own or not all(as_it_comes(str(a), str(b)) for a, b in zip_longest(own, heard)):
            wrong.append(("is not masked cell by cell", statement.sql, own[:9], heard[:9]))
        elif any(word in "".join(heard).lower() for word in SECRETS):
            wrong.append(("tells", statement.sql, heard[:9]))
    assert wrong == []


SESSIONS = """
SELECT pg_advisory_lock(815)
CREATE TEMP TABLE picked AS SELECT id, status, weight_kg FROM ops.shipments WHERE account_id < 6
CREATE INDEX ON picked (status)
ANALYZE picked
SELECT status, count(*), sum(weight_kg) FROM picked GROUP BY status ORDER BY status
BEGIN
SAVEPOINT one
INSERT INTO picked SELECT id, 'again', weight_kg FROM ops.shipments WHERE account_id = 7
ROLLBACK TO SAVEPOINT one
RELEASE SAVEPOINT one
DECLARE c CURSOR WITH HOLD FOR SELECT id, reference FROM ops.shipments ORDER BY id
FETCH FORWARD 3 FROM c
COMMIT
FETCH FORWARD 2 FROM c
CLOSE c
PREPARE due AS SELECT number, total_cents FROM billing.invoices WHERE account_id = $1 AND status = $2 ORDER BY id
EXECUTE due(4, 'open')
DEALLOCATE due
TRUNCATE picked
DROP TABLE picked
LISTEN freight
NOTIFY freight, 'moved'
SET search_path = ops, public
SELECT count(*) FROM depots
RESET search_path
SELECT pg_advisory_unlock(815)
SELECT count(*) FROM ops.events
""".strip().splitlines()


@pytest.mark.parametrize("kind", ["human", "service", "agent for ana"])
def test_a_session_keeps_its_tables_cursors_locks_and_names(server: Postgres, proxy: Proxy, kind: str) -> None:
    told = []
    for to in (server.app(), login(proxy, kind)):
        with psycopg.connect(**to, autocommit=True) as connection:
            ear = Ear(connection)
            for statement in SESSIONS:
                ear.say(statement)
            assert [f for f in ear.failed if kind != "agent for ana" or "agents-change-no-schema" not in f] == []
            with connection.transaction(force_rollback=True), connection.cursor("named") as cursor:
                cursor.itersize = 7
                ear.heard += [str(row) for row in cursor.execute("SELECT id, status FROM ops.shipments ORDER BY id LIMIT 20")]
            with connection.transaction(force_rollback=True), connection.pipeline():
                found = [
                    connection.execute("SELECT id FROM ops.stops WHERE shipment_id = %s ORDER BY position", (n,)) for n in (3, 4)
                ]
                ear.heard += [str(c.fetchall()) for c in found]
            told.append(ear.heard)
    assert told[0] == told[1]


def test_migrations_are_of_their_group(server: Postgres, proxy: Proxy) -> None:
    assert [failed for _, failed in said(server.app(), MIGRATIONS) if failed] == []
    assert [failed for _, failed in said(login(proxy, "migration"), MIGRATIONS) if failed] == []
    rules = {m[1] for _, failed in said(login(proxy, "service"), MIGRATIONS) for m in [DENIED.search(" ".join(failed))] if m}
    assert rules == {"only-migrations-change-schemas", "no-change-of-whole-tables"}


def test_the_suite_is_as_large_as_it_says() -> None:
    assert len(WORK) >= 170 and len(MIGRATIONS) >= 15
    assert len([s for s in WORK if s.marks & REASONS]) <= 10
    assert Path(GOLDEN / "freight.sql").is_file()
