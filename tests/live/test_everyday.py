"""Everyday work is not hindered by masking, nor by the starter bundle: what people and tools send, through a proxy with both.

`tests/golden/everyday` has a shop (`shop.sql`), what analysts ask of it (`analysts.sql`), what tools ask (`tools.sql`), and what
psql is told (`psql.txt`). Each gives what a direct connection gives, but for what is masked on purpose: every cell is the
server's own or a mask, and no secret stands in any. `refused.sql` is what masking refuses; its words say what to do instead.
"""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.clients import Parameters, psql
from tests.support.ear import Ear
from tests.support.postgres import Postgres
from tests.support.postgres import running as running_postgres

ROOT = Path(__file__).parents[2]
STARTER = ROOT / "deploy" / "policies" / "production.yaml"
GOLDEN = ROOT / "tests" / "golden" / "everyday"
SECRETS = ("tarnovel", "zyxwana", "brimolda", "quorvath", "fenwyck", "zyx1", "zyx2", "4111111111111111", "elmstrasse", "de8937")
DIFFERS = re.compile(r"\b(nextval|pg_locks|pg_stat_activity|now|age|RETURNING)\b")
"""Statements whose cells differ from one run to the next."""


def statements(name: str) -> list[str]:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    return [s for part in text.split(";\n") if (s := re.sub(r"^(--.*\n)+", "", part).strip())]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres({"shared_preload_libraries": "pg_stat_statements"}, oracle=False) as made:
        with made.superuser() as admin:
            admin.execute("CREATE EXTENSION pg_stat_statements")
        with psycopg.connect(**made.app(), autocommit=True) as owner:
            owner.execute((GOLDEN / "shop.sql").read_text(encoding="utf-8"))
        yield made


@pytest.fixture(scope="module")
def proxy(server: Postgres) -> Iterator[Proxy]:
    settings: dict[str, Any] = {
        "policy": {"files": [str(ROOT / "deploy" / "policies" / "production.yaml")]},
        "database": {"environment": "production"},
    }
    with running_proxy(server, settings) as made:
        yield made


def heard(to: Parameters, sent: list[str]) -> list[tuple[list[str], list[str]]]:
    """Return what each statement says, and its errors, each in a transaction that is undone."""
    found = []
    with psycopg.connect(**to, autocommit=True) as connection:
        for statement in sent:
            ear = Ear(connection)
            connection.execute("BEGIN")
            (ear.copy if statement.startswith("COPY") else ear.say)(statement)
            connection.execute("ROLLBACK")
            found.append((ear.heard, ear.failed))
    return found


def is_mask(cell: str) -> bool:
    return cell in ("", "None") or "masked]" in cell or cell.startswith("[message masked")


def as_it_comes(direct: str, cell: str) -> bool:
    """Whether a cell is the server's, or a mask: in a row of COPY, each field is."""
    if cell == direct or is_mask(cell):
        return True
    separator = "\t" if "\t" in direct else ","
    fields = list(zip(direct.rstrip("\n").split(separator), cell.rstrip("\n").split(separator), strict=False))
    return len(fields) > 1 and all(a == b or b in ("", "\\N") for a, b in fields)


@pytest.mark.parametrize("name", ["analysts.sql", "tools.sql"])
def test_everything_runs_and_only_masks_differ(server: Postgres, proxy: Proxy, name: str) -> None:
    sent = statements(name)
    assert len(sent) >= 70
    direct, proxied = heard(server.app(), sent), heard(proxy.app(), sent)
    refused, changed, told = [], [], []
    for statement, (own, failed), (seen, errors) in zip(sent, direct, proxied, strict=True):
        assert failed == [], "a direct connection can run it"
        if errors:
            refused.append(errors)
        elif not DIFFERS.search(statement):
            changed += [(statement, a, b) for a, b in zip_longest(own, seen) if not as_it_comes(str(a), str(b))]
        # What the client wrote itself stands in plans, in what it inserts and in what it selects as a constant.
        hidden = [word for word in SECRETS if word in "".join(seen).lower() and word not in statement.lower()]
        if hidden:
            told.append((statement, hidden))
    assert refused == []
    assert changed[:5] == []
    assert told == []


UNMASKED = [
    "SELECT status, count(*) FROM crm.customers GROUP BY status",
    "SELECT count(*), count(email), count(DISTINCT lower(email)) FROM crm.customers",
    "SELECT q.city, q.n FROM (SELECT city, count(DISTINCT email) AS n FROM crm.customers GROUP BY city) q ORDER BY 1",
    "SELECT id, email IS NULL, city FROM crm.customers WHERE email LIKE 'zyx1%' ORDER BY last_name, id",
    "SELECT c.id, l.id FROM crm.customers c JOIN crm.leads l ON lower(l.email) = lower(c.email) ORDER BY 1",
    "SELECT city, sum(revenue) FROM crm.customer_overview GROUP BY city ORDER BY 2 DESC, 1",
    "WITH RECURSIVE chain AS (SELECT id, full_name, manager_id, 1 AS depth FROM crm.employees WHERE manager_id IS NULL UNION ALL SELECT e.id,"
    " e.full_name, e.manager_id, c.depth + 1 FROM crm.employees e JOIN chain c ON e.manager_id = c.id) SELECT id, depth FROM chain ORDER BY 1",
    "UPDATE crm.customers SET preferences = jsonb_set(preferences, '{theme}', '\"light\"') WHERE id = 1 RETURNING preferences->>'theme'",
    "SELECT tmp.state, COALESCE(count, 0) >= 0 FROM (VALUES ('x')) AS tmp(state) CROSS JOIN pg_database d LEFT JOIN (SELECT state, count(*) AS count"
    " FROM pg_stat_activity GROUP BY state) t ON t.state = tmp.state WHERE datname = 'shop'",
]


def test_what_holds_nothing_sensitive_is_not_masked(server: Postgres, proxy: Proxy) -> None:
    assert heard(proxy.app(), UNMASKED) == heard(server.app(), UNMASKED)


def test_reports_show_every_cell_but_those_that_are_masked_on_purpose(server: Postgres, proxy: Proxy) -> None:
    """`warehouse.sql`, run from its text and prepared in binary; what stands behind `-- masked` shows some cells less."""
    parts = [part for part in (GOLDEN / "warehouse.sql").read_text(encoding="utf-8").split(";\n") if part.strip()]
    sent = statements("warehouse.sql")
    assert len(sent) == len(parts) >= 100
    told = heard(server.app(), sent), heard(proxy.app(), sent)
    for part, statement, (own, failed), (seen, errors) in zip(parts, sent, *told, strict=True):
        assert failed == [] and errors == [], statement
        assert all(as_it_comes(str(a), str(b)) for a, b in zip_longest(own, seen)), statement
        assert (own == seen) is ("-- masked\n" not in part), statement


TEMPORARY = """
CREATE TEMP TABLE picked AS SELECT id, email, city, newsletter FROM crm.customers WHERE country = 'DE'
SELECT id, city, newsletter FROM picked ORDER BY id
DROP TABLE IF EXISTS spent
CREATE TEMP TABLE spent AS SELECT customer_id, sum(total) AS total, count(*) AS n FROM crm.orders GROUP BY customer_id
CREATE INDEX ON spent (customer_id)
ANALYZE spent
SELECT c.city, sum(s.total) FROM spent s JOIN crm.customers c ON c.id = s.customer_id GROUP BY c.city ORDER BY c.city
INSERT INTO spent SELECT 999, 1, 1
UPDATE spent SET n = n + 1 WHERE customer_id = 999 RETURNING *
SELECT * FROM spent ORDER BY customer_id
WITH top AS (SELECT * FROM spent ORDER BY total DESC NULLS LAST, customer_id LIMIT 3) SELECT customer_id, n FROM top
DELETE FROM spent WHERE n < 0
CREATE TEMP TABLE notes (id serial, day date DEFAULT current_date, word text)
INSERT INTO notes (word) VALUES ('one'), ('two') RETURNING id, word
SELECT n.word, s.total FROM notes n LEFT JOIN spent s ON s.customer_id = n.id ORDER BY n.id
SELECT city, count(*) INTO TEMP cities FROM crm.customers GROUP BY city
SELECT upper(city) || '!', count FROM cities ORDER BY city
TRUNCATE notes
DROP TABLE spent, notes
CREATE TEMP TABLE spent AS SELECT id FROM crm.orders
SELECT count(*), max(id) FROM spent
""".strip().splitlines()


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("starter", [True, False])
def test_temporary_tables_are_used_as_ever(server: Postgres, autocommit: bool, starter: bool) -> None:
    """From the moment they are made; what was masked where it came from is masked there, too, and nothing else."""
    heard_by = []
    # The starter bundle holds a DROP of a table that is not there yet: somebody might just have made one of the name.
    sent = [sql.replace("IF EXISTS spent", "IF EXISTS pg_temp.spent") if starter else sql for sql in TEMPORARY]
    policy = [str(STARTER)] if starter else []
    with running_proxy(server, {"policy": {"files": policy}, "database": {"environment": "production"}}) as bare:
        for target in (server, bare):
            with psycopg.connect(**target.app(), autocommit=autocommit) as connection:
                ear = Ear(connection)
                for statement in sent:
                    ear.say(statement)
                assert ear.failed == []
                heard_by.append(ear.heard)
                rows = connection.execute("SELECT id, city, email, lower(email) FROM picked ORDER BY id").fetchall()
                with connection.cursor().copy("COPY picked (id, city, email) TO STDOUT") as copy:
                    copied = [bytes(part) for part in copy]
                if target is bare:
                    assert {row[2:] for row in rows} == {("[masked]", "[masked]")} and all(row[1] for row in rows)
                    assert copied and not any(b"example.org" in line for line in copied)
                connection.rollback()
    assert heard_by[0] == heard_by[1]


def test_a_slip_costs_temporary_tables_nothing(server: Postgres, proxy: Proxy) -> None:
    """What does not parse never ran: whatever it might have been, temporary tables are as they were."""
    for params in (None, ()):  # as a simple query, and by Parse
        with psycopg.connect(**proxy.app(), autocommit=True) as connection:
            for name in ("before", "behind"):
                with pytest.raises(psycopg.errors.SyntaxError, match='at or near "SELEC"'):
                    connection.execute("SELEC 1", params, prepare=params is not None)
                connection.execute(f"CREATE TEMP TABLE {name} AS SELECT id, city FROM crm.customers")
            for name in ("before", "behind"):
                rows = connection.execute(f"SELECT id, city FROM {name} ORDER BY id").fetchall()
                assert rows == connection.execute("SELECT id, city FROM crm.customers ORDER BY id").fetchall()


def service(proxy: Proxy) -> Parameters:
    """Return how a service logs in, whom nobody approves: what is stopped is denied at once."""
    return proxy.app("batch", proxy.token("batch", kind="service"))


def said(connection: psycopg.Connection[Any], sql: str, params: tuple[Any, ...] | None = None) -> str:
    """Return what goes wrong with a statement, or nothing."""
    try:
        connection.execute(sql, params, prepare=params is not None)
    except psycopg.Error as error:
        return str(error)
    return ""


@pytest.mark.parametrize("params", [None, ()])
def test_only_what_is_certainly_a_temporary_table_is_dropped_like_one(proxy: Proxy, params: tuple[Any, ...] | None) -> None:
    with psycopg.connect(**service(proxy), autocommit=True) as connection:

        def says(sql: str) -> str:
            return said(connection, sql, params)

        assert says("CREATE TEMP TABLE own AS SELECT 1 AS a") == ""
        for change in ("TRUNCATE own", "DELETE FROM own", "UPDATE own SET a = 1", "DROP TABLE own"):
            assert says(change) == "", change
        assert "denied by policy" in says("DROP TABLE own"), "it is gone"
        assert says("CREATE TEMP TABLE own (a int)") == says("ALTER TABLE own ADD b int") == says("DROP TABLE pg_temp.own") == ""
        assert says("CREATE TEMP TABLE own AS SELECT 1 AS a") == says("DELETE FROM pg_temp.own") == says("DROP TABLE own") == ""
        assert says("DROP TABLE IF EXISTS pg_temp.own") == says("DROP VIEW IF EXISTS pg_temp.seen, pg_temp.other") == ""
        assert says("CREATE TEMP TABLE own (a int)") == ""
        for sql in (
            "DROP TABLE public.own",
            "DROP TABLE own, crm.customers",
            "DROP TABLE IF EXISTS pg_temp_3.own",
            "TRUNCATE crm.orders",
        ):
            assert "denied by policy" in says(sql), sql
        if params is None:
            assert "denied by policy" in says("DROP TABLE own; DROP TABLE own")
        assert says("DROP TABLE own") == ""


def test_a_temporary_table_of_a_real_ones_name_is_not_taken_for_one(server: Postgres, proxy: Proxy) -> None:
    with (
        psycopg.connect(**server.app(), autocommit=True) as owner,
        psycopg.connect(**service(proxy), autocommit=True) as connection,
    ):
        connection.execute("CREATE TEMP TABLE orders (a int)")
        assert "denied by policy" in said(connection, "DROP TABLE orders")
        # Before any snapshot has it, one of the same name is made: whoever sends two at once would drop it with the second.
        connection.execute("CREATE TEMP TABLE fresh (a int)")
        owner.execute("CREATE TABLE public.fresh (a int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.pipeline():
            for _ in range(2):
                connection.execute("DROP TABLE fresh")
        assert owner.execute("SELECT count(*) FROM public.fresh").fetchone() == (0,)
        owner.execute("DROP TABLE public.fresh")


def test_rows_of_a_temporary_view_and_tables_with_dots_in_their_names_are_no_temporary_tables(
    server: Postgres, proxy: Proxy
) -> None:
    with (
        psycopg.connect(**server.app(), autocommit=True) as owner,
        psycopg.connect(**service(proxy), autocommit=True) as connection,
    ):
        owner.execute('CREATE TABLE public."x.own" AS SELECT 1 AS a')
        assert said(connection, "CREATE TEMP TABLE own AS SELECT 1 AS a") == ""
        assert said(connection, "CREATE TEMP VIEW seen AS SELECT * FROM crm.orders") == ""
        for sql in (
            "DELETE FROM pg_temp.seen",
            "UPDATE pg_temp.seen SET id = id",
            "TRUNCATE pg_temp.seen, pg_temp.own",
            'DROP TABLE "x.own"',
            'DROP TABLE public."x.own"',
            'DELETE FROM "x.own"',
        ):
            assert "denied by policy" in said(connection, sql), sql
        assert owner.execute('SELECT count(*) FROM public."x.own"').fetchone() == (1,)
        assert said(connection, "DROP VIEW pg_temp.seen") == ""
        owner.execute('DROP TABLE public."x.own"; CREATE TABLE public.later (a int)')
        assert said(connection, 'CREATE TEMP TABLE "x.later" AS SELECT 1 AS a') == ""
        for sql in ("DROP TABLE later", "DELETE FROM later"):
            assert "denied by policy" in said(connection, sql), sql
        owner.execute("DROP TABLE public.later")


def test_what_is_refused_costs_temporary_tables_nothing(server: Postgres, proxy: Proxy) -> None:
    """Code that cannot be read may drop any; but it did not run."""
    refused = [
        "DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'kept'; END $$",
        "DO $$ BEGIN EXECUTE current_setting('app.x', true); END $$",
    ]
    with psycopg.connect(**proxy.app(), autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE kept AS SELECT id, city FROM crm.customers")
        rows = connection.execute("SELECT id, city FROM crm.customers ORDER BY id").fetchall()
        for params in (None, ()):
            for sql in refused:
                assert "denied" in said(connection, sql, params), sql
                assert connection.execute("SELECT id, city FROM kept ORDER BY id").fetchall() == rows
        connection.execute("CREATE TEMP TABLE later AS SELECT id, city FROM crm.customers")
        assert connection.execute("SELECT id, city FROM later ORDER BY id").fetchall() == rows
        assert said(connection, "DROP TABLE kept") == ""


def test_a_change_that_failed_or_was_undone_leaves_the_table_as_known(server: Postgres) -> None:
    rows = "SELECT id, city, newsletter FROM crm.customers ORDER BY id"
    with running_proxy(server, {"policy": {"files": []}}) as bare, psycopg.connect(**server.app(), autocommit=True) as direct:
        wanted = direct.execute(rows).fetchall()
        with psycopg.connect(**bare.app(), autocommit=True) as connection:
            for change in ("ALTER TABLE crm.customers ADD COLUMN id int", "CREATE TABLE crm.customers (id int)"):
                for params in (None, ()):
                    assert said(connection, change, params)
                    assert connection.execute(rows).fetchall() == wanted
                connection.execute("BEGIN")
                assert said(connection, change)
                connection.execute("ROLLBACK")
                assert connection.execute(rows).fetchall() == wanted
            connection.execute("BEGIN")
            connection.execute("ALTER TABLE crm.customers ADD COLUMN extra text")
            connection.execute("ROLLBACK")
            assert connection.execute(rows).fetchall() == wanted


def test_a_refresh_leaves_the_rest_as_known(server: Postgres, proxy: Proxy) -> None:
    seen = []
    for target in (server, proxy):
        with psycopg.connect(**target.app(), autocommit=True) as connection:
            connection.execute("REFRESH MATERIALIZED VIEW crm.revenue_by_month")
            connection.execute("CREATE TEMP TABLE t_orders AS SELECT * FROM crm.orders WHERE total > 100")
            seen.append(connection.execute("SELECT id, city, newsletter FROM crm.customers ORDER BY id").fetchall())
    assert seen[0] == seen[1]


def test_what_is_refused_says_what_to_do_instead(server: Postgres, proxy: Proxy) -> None:
    sent = statements("refused.sql")
    for statement, (_, failed), (seen, errors) in zip(sent, heard(server.app(), sent), heard(proxy.app(), sent), strict=True):
        assert failed == [], statement
        assert errors and "statement denied by masking" in errors[0], statement
        said = next(h for h in seen if "It was not executed" in h)
        assert re.search(r"Compare it with|Let constants|Write it to|Hand over an id|Use no such", said), said


def test_psql_shows_all_it_shows_without(server: Postgres, proxy: Proxy) -> None:
    """All of its `\\d` commands, its way with results and variables, `\\copy`, by an ordinary user."""
    asked = (GOLDEN / "psql.txt").read_text(encoding="utf-8").splitlines()
    assert len(asked) > 75
    script = "\n".join(f"\\echo ==={n}\n\\warn ==={n}\n{line}" for n, line in enumerate(asked))

    def parts(to: Parameters) -> dict[str, str]:
        code, out, errors = psql(to, stdin=script)
        assert code == 0
        found: dict[str, str] = {}
        for text in (out.decode(), errors.decode()):
            for part in re.split(r"^===", text, flags=re.MULTILINE)[1:]:
                number, _, rest = part.partition("\n")
                line = asked[int(number)]
                found[line] = found.get(line, "") + rest
        return found

    direct, proxied = parts(server.app()), parts(proxy.app())
    assert {line: (direct[line], proxied[line]) for line in asked if direct[line] != proxied[line]} == {}
    assert [line for line in asked if "ERROR" in direct[line]] == []
    assert "Publications" not in direct["\\d crm.customers"] and "customers_pkey" in direct["\\d crm.customers"]
