"""Values keep their classes on their way into tables made of other tables, whoever makes them, and however they are called there.

The secrets are names of people, which no detector finds: only lineage tells that a column holds some.
"""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

SCHEMA = """
CREATE SCHEMA made;
CREATE TABLE made.people (id int PRIMARY KEY, full_name text, city text);
INSERT INTO made.people VALUES (1, 'Zyxwana Quorvath', 'Bremen'), (2, 'Brimolda Fenwick', 'Genf');
CREATE TABLE made.letters (c text);
INSERT INTO made.letters SELECT chr(g) FROM generate_series(32, 122) g;
CREATE TABLE made.plain (id int, a text, b text);
"""
SECRETS = ("zyxwana", "quorvath", "brimolda", "fenwick")
POLICY = {
    "bundle": "lineage",
    "clear": [{"id": "all", "classes": ["*"], "when": "principal.id == 'app'", "reason": "It makes the tables."}],
}


@pytest.fixture(scope="module")
def shop(pg: Postgres) -> Iterator[Postgres]:
    with psycopg.connect(**pg.app(), autocommit=True) as setup:
        setup.execute("DROP SCHEMA IF EXISTS made CASCADE")
        setup.execute(SCHEMA)
        yield pg
        setup.execute("DROP SCHEMA made CASCADE")


@pytest.fixture(scope="module")
def masking(shop: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    policy: Path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(yaml.safe_dump(POLICY))
    with running_proxy(shop, {"policy": {"files": [str(policy)]}}) as running:
        yield running


def connected(proxy: Proxy, who: str) -> psycopg.Connection[Any]:
    return psycopg.connect(**proxy.app(who), autocommit=True)


def heard(connection: psycopg.Connection[Any], *statements: str) -> list[Any]:
    """What a client is told by statements, each of which may fail."""
    found: list[Any] = []
    for statement in statements:
        for binary in (False, True):
            try:
                cursor = connection.cursor(binary=binary)
                cursor.execute(statement)
                found += [cell for row in cursor for cell in row] if cursor.description else []
            except psycopg.Error as error:
                found.append(str(error))
    return found


def told(cells: list[Any]) -> set[str]:
    text = " ".join(map(str, cells)).lower()
    return {secret for secret in SECRETS if secret in text}


def read_anew(connection: psycopg.Connection[Any], table: str, column: str = "id") -> None:
    """Wait until the proxy's snapshot of the catalogue has a table: a column that holds nothing is shown."""
    wait_for(
        lambda: connection.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone() not in (None, (None,)),
        f"{table} to be known",
        30,
    )


MAKERS = [
    ("m1", "CREATE TABLE made.m1 AS SELECT id, full_name AS a FROM made.people"),
    ("m2", "CREATE TABLE made.m2 (id, a) AS SELECT id, full_name FROM made.people"),
    ("m3", "CREATE TABLE made.m3 (id, a) AS SELECT * FROM made.people"),
    ("m4", "SELECT id, upper(full_name) AS a INTO made.m4 FROM made.people"),
    ("m5", "CREATE TABLE made.m5 (id int, a text); INSERT INTO made.m5 SELECT id, full_name FROM made.people"),
    ("m6", "CREATE TABLE made.m6 (id int, a text); INSERT INTO made.m6 SELECT id FROM made.people; UPDATE made.m6 SET a = p.full_name FROM made.people p WHERE p.id = m6.id"),
    ("m7", "CREATE MATERIALIZED VIEW made.m7 (id, a) AS SELECT id, full_name FROM made.people"),
    ("m8", "CREATE TABLE made.m8 (id int, a text); MERGE INTO made.m8 m USING made.people p ON p.id = m.id WHEN NOT MATCHED THEN INSERT VALUES (p.id, p.full_name)"),
    ("m9", "CREATE TABLE made.m9 (id int, a text); INSERT INTO made.m9 SELECT id, full_name FROM (SELECT * FROM made.people) x"),
    ("m10", "CREATE TABLE made.m10 AS SELECT p.id, l.c, l.c = substr(p.full_name, 1, 1) AS a FROM made.people p, made.letters l"),
    ("m11", "CREATE TABLE made.m11 (id int, a text, city text); INSERT INTO made.m11 SELECT * FROM made.people"),
    ("m12", "CREATE TABLE made.m12 AS TABLE made.people; ALTER TABLE made.m12 RENAME full_name TO a"),
    ("m13", "BEGIN; CREATE TABLE made.m13 AS SELECT id, full_name AS x FROM made.people; ALTER TABLE made.m13 RENAME x TO a; COMMIT"),
    ("m14", "CREATE TABLE made.m14a AS SELECT id, full_name AS x FROM made.people; CREATE TABLE made.m14 AS SELECT id, x AS a FROM made.m14a"),
]  # fmt: skip


def test_a_table_that_somebody_else_filled_is_masked_by_what_it_was_filled_from(masking: Proxy) -> None:
    with connected(masking, "app") as maker, connected(masking, "mona") as reader:
        for _, statements in MAKERS:
            for statement in statements.split("; "):
                maker.execute(statement)
        read_anew(reader, f"made.{MAKERS[-1][0]}")
        for table, _ in MAKERS:
            cells = heard(
                reader,
                f"SELECT a FROM made.{table} ORDER BY id",
                f"SELECT a::text || '' FROM made.{table} ORDER BY id",
                f"SELECT max(a::text) FROM made.{table}",
            )
            assert told(cells) == set() and True not in cells and "true" not in cells, (table, cells)
            assert len(cells) >= 10 and not any("denied" in str(c) for c in cells), (table, cells)
            if table != "m10":  # what is made by comparing tells of both, and so may each of its columns
                assert set(heard(reader, f"SELECT id FROM made.{table}")) == {1, 2}, table


TEMPORARY = [
    "CREATE TEMP TABLE t1 AS SELECT id, full_name AS a FROM made.people",
    "CREATE TEMP TABLE t1 (id, a) AS SELECT * FROM made.people",
    "CREATE TEMP TABLE t1 (id int, a text); INSERT INTO t1 SELECT id, full_name FROM made.people",
    "CREATE TEMP TABLE t1 AS SELECT id, full_name AS x FROM made.people; ALTER TABLE t1 RENAME x TO a",
    "CREATE TEMP TABLE t0 AS SELECT id, full_name AS x FROM made.people; CREATE TEMP TABLE t1 AS SELECT id, x AS a FROM t0",
    "CREATE TEMP TABLE t1 AS SELECT 1 AS id, 'x'::text AS a; DROP TABLE t1; CREATE TEMP TABLE t1 AS SELECT id, full_name AS a FROM made.people",
    "SET search_path = made; CREATE TEMP TABLE plain AS SELECT id, full_name AS a FROM people; CREATE TEMP VIEW t1 AS SELECT id, a FROM plain",
    "CREATE TEMP TABLE t0 AS SELECT id, full_name AS x FROM made.people; CREATE TABLE made.t1 AS SELECT id, x AS a FROM t0; SET search_path = made",
    "CREATE TABLE made.t1 (i, a) AS SELECT id, full_name FROM made.people; SET search_path = made",
    "CREATE TABLE made.t1 (id, a) AS SELECT * FROM made.people; SET search_path = made",
]  # fmt: skip


def test_what_somebody_makes_who_sees_masks_shows_nothing_more_once_the_catalogue_was_read_again(masking: Proxy) -> None:
    asked = (
        "SELECT a FROM t1 ORDER BY id",
        "SELECT a || '' FROM t1 ORDER BY id",
        "SELECT max(a) FROM t1",
        "SELECT t1 FROM t1",
        "TABLE t1",
    )
    with connected(masking, "app") as other:
        sessions = [connected(masking, "mona") for _ in TEMPORARY]
        for reader, statements in zip(sessions, TEMPORARY, strict=True):
            for statement in statements.split("; "):
                heard(reader, statement)
            assert told(cells := heard(reader, *asked)) == set(), (statements, cells)
        other.execute("CREATE TABLE made.again AS SELECT 1 AS id")
        for reader, statements in zip(sessions, TEMPORARY, strict=True):
            read_anew(reader, "made.again")
            assert told(cells := heard(reader, *asked)) == set(), (statements, cells)
            reader.close()


def test_all_workers_know_it_and_the_next_start(shop: Postgres, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump(POLICY))
    asked = "SELECT a FROM made.plain", "SELECT max(b) FROM made.later"
    with running_proxy(shop, {"policy": {"files": [str(policy)]}, "proxy": {"workers": 2}}) as proxy:
        with connected(proxy, "app") as maker:
            maker.execute("INSERT INTO made.plain VALUES (1, 'ok', 'ok')")
            for _ in range(8):  # each worker has read the table while it held nothing
                with connected(proxy, "mona") as reader:
                    wait_for(lambda r=reader: r.execute(asked[0]).fetchall() == [("ok",)], "what it holds to be shown", 30)  # type: ignore[misc]
            maker.execute("UPDATE made.plain SET a = full_name FROM made.people WHERE people.id = 1")
            maker.execute("CREATE TABLE made.later AS SELECT id, full_name AS b FROM made.people")
        for start in ("first", "second"):
            for _ in range(8):
                with connected(proxy, "mona") as reader:
                    read_anew(reader, "made.later")
                    wait_for(lambda r=reader: told(heard(r, *asked)) == set(), f"every worker of the {start} start to know", 10)  # type: ignore[misc]
                    assert None not in heard(reader, *asked) and told(heard(reader, *asked)) == set()
            if start == "first":
                proxy.kill()
                proxy.start()


def test_a_damaged_register_is_told_at_the_start(shop: Postgres) -> None:
    proxy = Proxy(shop)
    try:
        (proxy.data_dir / "lineage.db").write_bytes(b"no database" * 1000)
        proxy.start()
        assert "lineage_register_unusable" in proxy.said() and "move it away" in proxy.said()
    finally:
        proxy.stop()
        proxy.remove()
