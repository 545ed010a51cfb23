"""No dodge reveals a masked value: real clients on a real server, text and binary, with nothing configured.

The secrets are words that stand nowhere else, in columns that only the catalogue tells to be sensitive. Every dodge may fail, be
refused or show masks: what the proxy sent must not hold a secret, nor one in an encoding that is looked for, too. Direct, each dodge
that is not refused for its syntax really reveals it, or it would prove nothing.
"""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import yaml

from tests.support import binaries
from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.ear import Ear
from tests.support.masked_people import COPIES, MORE, SCHEMA, SELECTS, STORIES, WHOLE, P, told
from tests.support.ports import wait_for
from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def shop(pg: Postgres) -> Iterator[Postgres]:
    with psycopg.connect(**pg.app(), autocommit=True) as setup:
        setup.execute(SCHEMA + MORE)
        yield pg
        setup.execute("DROP SCHEMA masked CASCADE")


@pytest.fixture(scope="module")
def masking(shop: Postgres) -> Iterator[Proxy]:
    """A proxy with nothing configured beyond where the database is."""
    with running_proxy(shop, {"policy": {"files": []}}) as running:
        yield running


def connected(target: Postgres | Proxy) -> psycopg.Connection[Any]:
    return psycopg.connect(**target.app(), autocommit=True)


@pytest.mark.parametrize("way", ["simple", "prepared, binary"])
def test_no_statement_reveals_a_masked_value(shop: Postgres, masking: Proxy, way: str) -> None:
    options: dict[str, Any] = {"prepare": True, "binary": True} if way != "simple" else {}
    silent, revealing = [], {}
    for target in (shop, masking):
        with connected(target) as connection:
            for statement in SELECTS:
                ear = Ear(connection)
                connection.execute("BEGIN")
                ear.say(statement, **options)
                connection.execute("ROLLBACK")
                if target is shop and not told(ear.heard):
                    silent.append(statement)
                elif target is masking and (found := told(ear.heard)):
                    revealing[statement] = found
    assert revealing == {}
    # What needs an encoding that does not exist says so by another message than its value.
    assert silent == [], "these reveal nothing even without a proxy"


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s[-1][:60])
def test_no_story_reveals_a_masked_value(masking: Proxy, story: list[str]) -> None:
    for options in ({}, {"prepare": True, "binary": True}):
        with connected(masking) as connection:
            ear = Ear(connection)
            for statement in story:
                if "; " not in statement or statement.startswith("DO") or not options:
                    ear.say(statement, **options)
            connection.execute("ROLLBACK")
            assert told(ear.heard) == set(), ear.heard


def test_the_stories_would_reveal_it_without_the_proxy(shop: Postgres) -> None:
    """Each in a transaction that is undone, where it can be."""
    silent = []
    for story in STORIES:
        with psycopg.connect(**shop.app()) as connection:
            ear = Ear(connection)
            for statement in story:
                if statement != "BEGIN":
                    ear.say(statement)
            if "LISTEN" in story[0]:
                connection.commit()
                ear.say("SELECT 1")
            else:
                connection.rollback()
            if not told(ear.heard):
                silent.append((story[-1], ear.failed))
    numbers = {"pg_locks", "masked.s"}  # a single letter's code proves little by itself
    assert [s for s in silent if not any(n in s[0] for n in numbers)] == []


def test_no_copy_reveals_a_masked_value(shop: Postgres, masking: Proxy) -> None:
    for statement in COPIES:
        for target in (shop, masking):
            with connected(target) as connection:
                ear = Ear(connection)
                connection.execute("BEGIN")
                ear.copy(statement)
                if not connection.closed:
                    connection.execute("ROLLBACK")
                assert bool(told(ear.heard)) == (target is shop), (statement, ear.heard, ear.failed)


def test_asyncpg_sees_masks(masking: Proxy) -> None:
    """Prepared once, run often, always binary; portals with row limits; records."""

    async def scenario() -> list[str]:
        heard: list[str] = []
        app = masking.app()
        connection = await asyncpg.connect(
            host=app["host"], port=app["port"], user=app["user"], password=app["password"], database=app["dbname"]
        )
        connection.add_log_listener(lambda _, message: heard.append(str(message.as_dict())))
        try:
            for statement in SELECTS:
                transaction = connection.transaction()
                await transaction.start()
                try:
                    for _ in range(2):
                        heard += [str(list(row.values())) for row in await connection.fetch(statement)]
                    async for row in connection.cursor(statement, prefetch=1):
                        heard.append(str(list(row.values())))
                except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError) as error:
                    heard.append(str(getattr(error, "as_dict", lambda e=error: e)()))
                await transaction.rollback()
            assert await connection.fetchval("SELECT count(*) FROM masked.people") == 2
        finally:
            await connection.close()
        return heard

    assert told(asyncio.run(scenario())) == set()


def test_psql_sees_masks(masking: Proxy, tmp_path: Path) -> None:
    script = "\n".join(
        [f"{s};" for s in SELECTS[:20]]
        + [r"\copy masked.people TO STDOUT", r"\x", f"SELECT * {P};", r"\gdesc", r"\d masked.people", r"\sf masked.mail",
           f"SELECT email AS hidden {P} LIMIT 1 \\gset", r"\echo :hidden", r"\set FETCH_COUNT 1", f"SELECT upper(email) {P};"]
    )  # fmt: skip
    app = masking.app()
    done = subprocess.run(
        [binaries.program("psql"), "-X", f"host={app['host']} port={app['port']} dbname={app['dbname']} user={app['user']}"],
        input=script, capture_output=True, text=True, env={"PGPASSWORD": app["password"]}, check=False, timeout=120,
    )  # fmt: skip
    assert told([done.stdout, done.stderr]) == set()
    assert "Bremen" in done.stdout and "full_name" in done.stdout


def test_everyday_work_is_not_hindered(shop: Postgres, masking: Proxy) -> None:
    """Statements that show nothing sensitive give every byte that the server gives."""
    statements = [
        f"SELECT id, age, city {P} ORDER BY id", f"SELECT count(*), avg(age), max(city) {P}", f"SELECT count(email), count(DISTINCT ssn) {P}",
        f"SELECT id, email IS NULL {P}", "SELECT * FROM masked.orders ORDER BY id", "SELECT 1, 'a@example.org', now()::date - current_date",
        f"SELECT o.label, p.city {P} p JOIN masked.orders o ON o.person = p.id WHERE p.email LIKE '%@example.org' ORDER BY o.id",
        "SELECT total FROM masked.deeper ORDER BY total", "SHOW search_path", "SELECT relname FROM pg_class WHERE relname = 'people'",
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'people' ORDER BY 1", "SELECT masked.nothing()",
        "SELECT current_user IS NOT NULL, pg_backend_pid() > 0, version() <> ''", "EXPLAIN (COSTS OFF) SELECT * FROM masked.orders",
        "EXPLAIN (COSTS OFF) SELECT id FROM masked.people WHERE email = 'ada@example.org' AND full_name IN ('Ada Lovelace', 'Bo Yu')",

        f"SELECT city, (SELECT sum(total) FROM masked.orders o WHERE o.person = p.id) {P} p ORDER BY 1", "VALUES (1, 'x'), (2, 'y')",
        "INSERT INTO masked.orders VALUES (90, 1, 1, 'new') RETURNING id, label", "UPDATE masked.orders SET total = total + 1 RETURNING total",
        "UPDATE masked.people SET email = lower(email) WHERE id = 1", "DELETE FROM masked.orders WHERE id = 3",
        # As psql's \\d asks: columns named without their table, beside functions that give rows.
        "SELECT pubname, (SELECT string_agg(attname, ', ') FROM generate_series(0, array_upper(pr.prattrs::int2[], 1)) s, pg_attribute"
        " WHERE attrelid = pr.prrelid AND attnum = prattrs[s]) FROM pg_publication p JOIN pg_publication_rel pr ON p.oid = pr.prpubid",
        "SELECT relname FROM pg_class, aclexplode(relacl) WHERE grantee = relowner AND relname = 'people'",
    ]  # fmt: skip
    with psycopg.connect(**masking.app(), autocommit=True) as asking:
        seen = "SELECT max(total) FROM masked.orders"
        wait_for(lambda: asking.execute(seen).fetchone() != (None,), "what tests before this one changed to be read anew", 30)
    for options in ({}, {"prepare": True, "binary": True}):
        given = []
        for target in (shop, masking):
            with connected(target) as connection:
                heard = []
                for statement in statements:
                    ear = Ear(connection)
                    connection.execute("BEGIN")
                    ear.say(statement, **options)
                    connection.execute("ROLLBACK")
                    assert ear.failed == []
                    heard.append((statement, ear.heard[:-1]))
                given.append(heard)
        assert given[0] == given[1]


def test_what_other_sessions_send_is_seen_without_its_values(masking: Proxy) -> None:
    """All sessions are one user's behind the proxy, so the server shows each what the others send."""
    sent = f"SELECT count(*) AS seen, 'Zyxwana Quorvath' AS \"Brimolda Fenwick\" {P} WHERE born = '1984-02-03' /* quorvath */"
    others = "FROM pg_stat_activity a WHERE query LIKE '%seen%' AND pid <> pg_backend_pid()"
    with connected(masking) as other, connected(masking) as watching:
        other.execute(sent)
        for binary in (False, True):
            rows = watching.execute(f"SELECT query {others}", binary=binary).fetchall()
            assert rows == [('SELECT count(*) AS seen, ? AS "?" FROM masked.people WHERE born = ?',)]
        every = watching.execute("SELECT * FROM pg_stat_activity").fetchall()
        assert "count(*) AS seen" in str(every) and told([str(every)]) == set()
        for dodge in (
            "query || ' '",
            "lower(query)",
            "translate(query, chr(39), '.')",
            "left(query, 200)",
            "query::bytea",
            "row_to_json(a)",
            "a",
        ):
            ear = Ear(watching)
            ear.say(f"SELECT {dodge} {others}")
            assert told(ear.heard) == set(), dodge
        ear.copy(f"COPY (SELECT query {others}) TO STDOUT")
        assert told(ear.heard) == set()


def test_documents_and_arrays_keep_their_structure(masking: Proxy) -> None:
    with connected(masking) as connection:
        for binary in (False, True):
            rows = connection.execute("SELECT body, many, body->>'theme', body->'customer' FROM masked.docs", binary=binary)
            body, many, theme, customer = rows.fetchone() or ((),) * 4
            assert body == {"full_name": "[masked]", "customer": {"name": "[masked]", "n": 1.10}, "theme": "dark"}
            assert (many, theme, customer) == (["[masked]", "b c"], "dark", {"name": "[masked]", "n": 1.10})
        with connection.cursor().copy("COPY (SELECT body FROM masked.docs) TO STDOUT") as copy:
            assert b'"theme": "dark"' in b"".join(bytes(part) for part in copy)


def test_who_sees_what_is_policy(shop: Postgres, tmp_path: Path) -> None:
    rules = tmp_path / "policy.yaml"
    bundle: dict[str, Any] = {
        "bundle": "p",
        "rules": [{"id": "strict", "effect": "mask", "when": "'public.nothing' in statement.reads || 'upper' in statement.functions",
                   "reason": "x"}],
        "clear": [{"id": "support", "classes": ["email"], "when": "'support' in principal.groups", "reason": "They answer customers."},
                  {"id": "app", "classes": ["*"], "when": "principal.id == 'app'", "reason": "It shows people their own."}],
    }  # fmt: skip
    rules.write_text(yaml.safe_dump(bundle))
    query = f"SELECT email, ssn {P} WHERE id = 1"

    def seen(proxy: Proxy, principal: str, statement: str = query, **options: Any) -> tuple[Any, ...]:
        app = proxy.app(principal, proxy.token(principal, **options))
        with psycopg.connect(**app, autocommit=True, application_name=f"exposure-{principal}") as connection:
            row = connection.execute(statement).fetchone()
            assert row is not None
            return row

    with running_proxy(
        shop, {"policy": {"files": [str(rules)], "reload_seconds": 0.1}, "masking": {"styles": {"email": "token"}}}
    ) as proxy:
        assert seen(proxy, "app") == (WHOLE[0], "536-90-4399")
        assert seen(proxy, "sam", groups=("support",)) == (WHOLE[0], "[masked]")
        token, hidden = seen(proxy, "eve")
        assert token.startswith("email:") and hidden == "[masked]"
        assert seen(proxy, "eve")[0] == token, "equal values have equal tokens"
        assert seen(proxy, "app", f"SELECT upper(email) {P} WHERE id = 1") == ("[masked]",), "effect mask is for everybody"

        def exposures() -> dict[str, tuple[Any, ...]]:
            return {
                e["principal"]["id"]: (e["exposure"], e.get("masked"), e.get("exposed"))
                for e in proxy.trail.refresh()
                if e["type"] == "QueryExecuted" and e["exposure"] and "upper" not in e["text"]
            }

        wait_for(lambda: len(exposures()) == 3, "the events of what was seen")
        found = exposures()
        assert found["app"] == ({"email": 1, "national_id": 1}, {}, {"masked.people.email": 1, "masked.people.ssn": 1})
        assert found["sam"] == ({"email": 1, "national_id": 1}, {"national_id": 1}, {"masked.people.email": 1})
        assert found["eve"] == ({"email": 1, "national_id": 1}, {"email": 1, "national_id": 1}, {})
        bundle["clear"] = []
        rules.write_text(yaml.safe_dump(bundle))
        wait_for(lambda: seen(proxy, "app")[1] == "[masked]", "the policy to be read again")
