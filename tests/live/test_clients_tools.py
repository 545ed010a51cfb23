"""Do PostgreSQL's own tools work through the proxy? pgbench in its three query modes, and pg_dump piped into pg_restore."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import affidavit, binaries
from tests.support.clients import environment, needle, run
from tests.support.postgres import Postgres

CLIENTS, TRANSACTIONS = 4, 40
STARTER = Path(__file__).parents[2] / "deploy" / "policies" / "production.yaml"


@pytest.fixture(scope="module")
def tools(pg: Postgres) -> Iterator[affidavit.Proxy]:
    """A proxy of its own, in front of pgbench's tables and of an empty database to restore into."""
    with pg.superuser() as admin:
        admin.execute("CREATE DATABASE shop_copy OWNER app_owner")
    code, _, said = run("pgbench", pg.app(), ["-i", "-s", "1", "-q", "-I", "dtgvp"])
    assert code == 0, said
    with affidavit.proxy(pg, {"also": ["shop_copy"]}) as running:
        yield running
    with pg.superuser() as admin:
        admin.execute("DROP DATABASE shop_copy")


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(tools: affidavit.Proxy, pg: Postgres, mode: str) -> None:
    name = f"pgbench-{mode}"
    to = {**tools.app("bench", tools.token("bench", "service")), "application_name": name}
    code, out, said = run("pgbench", to, ["-n", "-M", mode, "-c", str(CLIENTS), "-j", "2", "-t", str(TRANSACTIONS)])
    assert code == 0, said
    assert f"actually processed: {CLIENTS * TRANSACTIONS}/{CLIENTS * TRANSACTIONS}".encode() in out
    executed = [line for line in pg.executed() if line.application == name]
    events = tools.trail.session(name, len({line.session for line in executed}))
    assert len(events) == len(executed) >= CLIENTS * TRANSACTIONS * 7
    verbs = Counter(event["facts"]["verbs"][0] for event in events)
    assert (verbs["update"], verbs["insert"]) == (CLIENTS * TRANSACTIONS * 3, CLIENTS * TRANSACTIONS)
    assert {event["outcome"]["status"] for event in events} == {"ok"}
    kinds = Counter(event["kind"] for event in events if event["facts"]["verbs"] == ["update"])
    assert set(kinds) == {"simple" if mode == "simple" else "prepared"}
    shapes = {event["fingerprint"] for event in events if event["facts"]["verbs"] == ["update"]}
    assert len(shapes) == 3


def _schema(secret: str) -> str:
    return f"""
        CREATE SCHEMA sales;
        CREATE TYPE sales.state AS ENUM ('new', 'paid', 'sent');
        CREATE TABLE sales.customers (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL UNIQUE,
            note text DEFAULT '{secret}', since date NOT NULL DEFAULT DATE '2024-01-01');
        CREATE TABLE sales.orders (
            id bigserial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES sales.customers ON DELETE CASCADE,
            total numeric(10, 2) CHECK (total >= 0), state sales.state NOT NULL, lines jsonb, raw bytea);
        CREATE INDEX orders_open ON sales.orders (customer_id) WHERE state <> 'sent';
        CREATE VIEW sales.spent AS SELECT customer_id, sum(total) AS total FROM sales.orders GROUP BY 1;
        CREATE FUNCTION sales.greet(name text) RETURNS text LANGUAGE plpgsql AS $$
            BEGIN RETURN 'hello ' || name || '{secret}'; END $$;
        CREATE FUNCTION sales.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
        CREATE TRIGGER touched BEFORE UPDATE ON sales.orders FOR EACH ROW EXECUTE FUNCTION sales.touch();
        COMMENT ON TABLE sales.orders IS 'what was bought, {secret}';
        INSERT INTO sales.customers (email) SELECT 'c' || g || '@example.org' FROM generate_series(1, 200) g;
        UPDATE sales.customers SET note = E'tab\\there \\\\ and {secret}' WHERE id % 50 = 0;
        INSERT INTO sales.orders (customer_id, total, state, lines, raw)
            SELECT 1 + g % 200, g / 7.0, (ARRAY['new', 'paid', 'sent'])[1 + g % 3]::sales.state,
                   jsonb_build_object('sku', g, 'who', '{secret}'), decode(md5(g::text), 'hex') FROM generate_series(1, 5000) g;
    """


def _dump(to: dict[str, object]) -> bytes:
    """Return a plain dump of the schema, without the random keys that newer pg_dump writes around it."""
    code, out, said = run("pg_dump", to, ["-n", "sales", "--no-owner"])
    assert code == 0, said
    return re.sub(rb"^\\(un)?restrict .*$", b"", out, flags=re.MULTILINE)


def test_pg_dump_into_pg_restore(tools: affidavit.Proxy, pg: Postgres) -> None:
    secret = needle()
    with pg.superuser() as admin:
        admin.execute("SET ROLE app_owner")
        admin.execute(_schema(secret))
    original = _dump(pg.app())
    assert secret.encode() in original
    token = tools.token("ana")
    source = {**tools.app(token=token), "application_name": "dumping"}
    target = {**tools.app(token=token, database="shop_copy"), "application_name": "restoring"}
    assert _dump(source) == original

    dump = subprocess.Popen(
        [binaries.program("pg_dump"), "-Fc", "-n", "sales"],
        env=environment(source),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    restore = subprocess.run(
        [binaries.program("pg_restore"), "--no-owner", "--exit-on-error", "-d", "shop_copy"],
        env=environment(target),
        stdin=dump.stdout,
        capture_output=True,
        check=False,
    )
    _, dump_said = dump.communicate()
    assert (dump.returncode, restore.returncode) == (0, 0), (dump_said, restore.stderr)
    assert _dump(pg.app("shop_copy")) == original

    read = tools.trail.session("dumping", 2)
    written = tools.trail.session("restoring", 1)
    for events, name in ((read, "dumping"), (written, "restoring")):
        assert len(events) >= sum(line.application == name for line in pg.executed())
        assert {event["outcome"]["status"] for event in events} == {"ok"}
    copied = {tuple(e["facts"]["writes"]): e["outcome"]["rows_affected"] for e in written if e["kind"] == "copy"}
    assert copied == {("sales.customers",): 200, ("sales.orders",): 5000}
    assert {e["database"]["alias"] for e in written} == {"shop_copy"}
    out = [e for e in read if e["kind"] == "copy" and "sales.orders" in e["facts"]["reads"]]
    assert [e["outcome"]["rows_returned"] for e in out] == [5000, 5000]
    tools.assert_nowhere(secret)


def test_a_service_of_group_dba_makes_backups_and_restores_them_under_the_starter_bundle(pg: Postgres) -> None:
    policy = {"policy": {"files": [str(STARTER)]}, "database": {"environment": "production"}, "also": ["shop_again"]}
    with pg.superuser() as admin:
        admin.execute("CREATE DATABASE shop_again OWNER app_owner")
        admin.execute("CREATE SCHEMA kept AUTHORIZATION app_owner")
        admin.execute("SET ROLE app_owner")
        admin.execute(_schema("x").replace("sales", "kept").replace("CREATE SCHEMA kept;", ""))
    with affidavit.proxy(pg, policy) as guarded:
        token = guarded.token("backup", kind="service", groups=("dba",))
        code, archive, said = run("pg_dump", guarded.app("backup", token), ["-Fc", "-n", "kept", "--no-owner"])
        assert code == 0, said
        to = guarded.app("backup", token, "shop_again")
        restored = subprocess.run(
            [binaries.program("pg_restore"), "--no-owner", "--exit-on-error", "-d", "shop_again"],
            env=environment(to),
            input=archive,
            capture_output=True,
            check=False,
        )
        assert restored.returncode == 0, restored.stderr
        for who, kind, groups in (("app", "service", ()), ("copilot", "agent", ("dba",)), ("ana", "human", ())):
            other = guarded.token(who, kind=kind, groups=groups)
            code, _, said = run("pg_dump", guarded.app(who, other), ["-n", "kept"])
            assert (code == 0) is (groups == ("dba",)), (who, said)
    with pg.superuser("shop_again") as admin:
        counted = admin.execute("SELECT (SELECT count(*) FROM kept.customers), (SELECT count(*) FROM kept.orders)").fetchone()
        assert counted == (200, 5000)
    with pg.superuser() as admin:
        admin.execute("DROP DATABASE shop_again")
        admin.execute("DROP SCHEMA kept CASCADE")
