"""The store on a cluster: what is said to servers parses, and runs as far as one engine can (tests.support.one_node_cluster)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from processors.archive import Archive
from processors.rebuild import rebuild
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import EVENT_TABLES, Store, StoreError, connect
from processors.sinks.migrations import Migration, MigrationError, bundled, script
from processors.sinks.users import ROLES, grants, users_script
from query_api.limits import Limits
from query_api.search import compile_search, parse
from query_api.store.reader import Reader
from schemas.config import ClickHouseSettings
from schemas.integrity import Block
from schemas.topics import EVENTS
from tests.support.clickhouse import Server, serving
from tests.support.event_blocks import START, Source, record
from tests.support.memory_log import MemoryLog
from tests.support.one_node_cluster import CLUSTER, SECTIONS, OneNode

REPLICATED = ClickHouseSettings(interface="http", cluster=CLUSTER)
SINGLE = ClickHouseSettings()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """An engine that knows the cluster."""
    with serving(sections=SECTIONS) as made:
        yield made


@pytest.fixture(scope="module")
def store(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A migrated store on the cluster."""
    opened = connect(server.settings(cluster=CLUSTER), tmp_path_factory.mktemp("store"))
    opened.client = OneNode(opened.client)
    opened.migrate()
    yield opened
    opened.close()


def made(names: int, blocks: int) -> list[Block]:
    sources = [Source(f"proxy/{n}") for n in range(names)]
    turn = [sources[n % names] for n in range(blocks)]
    return [s.seal([s.session_opened(n), *(s.query() for _ in range(10)), s.session_closed(n)]) for n, s in enumerate(turn)]


class TestStatements:
    """What the engine's own parser says of everything we would say to a server."""

    @pytest.mark.parametrize("settings", [SINGLE, REPLICATED], ids=["single", "cluster"])
    def test_every_statement_parses(self, server: Server, tmp_path: Path, settings: ClickHouseSettings) -> None:
        client = connect(server.settings(), tmp_path).client
        statements = [s for s in (*script(settings), *users_script(settings)) if not s.startswith("INSERT")]
        assert len(statements) > 20
        for statement in statements:
            assert client.command(f"EXPLAIN AST {statement}"), statement
        with pytest.raises(Exception, match="Syntax error"):
            client.command("EXPLAIN AST " + statements[2].replace("CREATE", "CRATE"))

    def test_every_setting_of_a_table_is_one_the_engine_has(self, server: Server, tmp_path: Path) -> None:
        known = {
            n
            for (n,) in connect(server.settings(), tmp_path)
            .client.query("SELECT name FROM system.merge_tree_settings")
            .result_rows
        }
        for settings in (SINGLE, REPLICATED):
            named = {
                name
                for s in script(settings)
                if "SETTINGS " in s
                for name in re.findall(r"(\w+) = ", s.rsplit("SETTINGS ", 1)[1])
            }
            assert len(named) >= 4
            assert named <= known

    def test_on_a_cluster_nothing_is_said_to_one_node_alone(self) -> None:
        statements = list(script(REPLICATED))
        alone = [s for s in statements if f"ON CLUSTER `{CLUSTER}`" not in s and not s.startswith("INSERT")]
        assert alone == []
        engines = [s for s in statements if "ENGINE = " in s]
        assert all("ENGINE = Replicated" in s or "ENGINE = Distributed" in s for s in engines)
        made_by = [s for s in statements if "_local ON CLUSTER" in s and s.startswith("CREATE TABLE")]
        assert all(f"/{{shard}}/affidavit/{t}'" in s for t, s in zip(EVENT_TABLES[:2], made_by, strict=False))

    def test_rows_that_replace_each_other_meet_on_one_shard(self) -> None:
        keys = {s.split(".")[1].split()[0]: s.rsplit(", ", 1)[1] for s in script(REPLICATED) if "ENGINE = Distributed" in s}
        assert keys["sessions"] == "cityHash64(session_id))"
        assert keys["texts"] == "cityHash64(text_hash))"
        assert {keys[t] for t in ("query_events", "other_events", "blocks")} == {"cityHash64(source))"}

    def test_what_no_rule_says_to_a_cluster_is_an_error(self) -> None:
        odd = Migration(len(bundled()) + 1, "9999_odd.sql", "OPTIMIZE TABLE {database}.texts FINAL;\n")
        with pytest.raises(MigrationError, match=r"no rule says this to a cluster: OPTIMIZE TABLE"):
            list(script(REPLICATED, (*bundled(), odd)))

    @pytest.mark.parametrize("settings", [SINGLE, REPLICATED], ids=["single", "cluster"])
    def test_every_table_has_a_writer_and_readers(self, settings: ClickHouseSettings) -> None:
        rights = list(grants(settings))
        for table in EVENT_TABLES:
            of = {role for role, right in rights if right.endswith(f" ON {settings.database}.{table}")}
            assert of == set(ROLES[1:]), table
        takers = ("TRUNCATE", "DROP", "ALTER", "DELETE", "*.*")
        powerful = {role for role, right in rights if any(word in right for word in takers) and right != "CLUSTER ON *.*"}
        assert powerful == {ROLES[0]}


class TestDistributed:
    """The pipeline and the API's reads over Distributed tables."""

    def test_every_event_is_one_row_whatever_is_repeated(self, store: Store, tmp_path: Path) -> None:
        log, archive = MemoryLog(), Archive(tmp_path / "archive")
        blocks = made(6, 24)
        log.append(EVENTS.name, [record(b) for b in blocks])
        for state in ("first", "second"):  # the second knows nothing: the whole topic again
            runtime = EmbeddedRuntime(log, store, archive, tmp_path / f"{state}.db", lambda: START, max_blocks=5)
            while runtime.step():
                pass
            runtime.close()
            assert rows(store) == sorted(
                (b.header.source, b.header.epoch, b.header.first_seq + i) for b in blocks for i in range(b.header.count)
            )
        assert store.client.command(f"SELECT count() FROM {store.database}.query_events_local") == 24 * 10
        sessions = store.client.query(f"SELECT session_id, reason FROM {store.database}.sessions FINAL").result_rows
        assert len(sessions) == len({s for s, _ in sessions}) == 24
        assert any(s.startswith("SYSTEM SYNC REPLICA") for s in store.client.said)
        self._searched(store)
        assert rebuild(archive, store).rows == 24 * 12
        assert len(rows(store)) == 24 * 12
        archive.close()

    def _searched(self, store: Store) -> None:
        """A search in long texts is a subquery over another Distributed table."""
        reader = Reader([store.client], store.settings, Limits())
        condition = compile_search(parse("text:anything-at-all"), reader.table("texts"))
        found = reader.rows(
            f"SELECT count() AS n FROM {reader.table('query_events')} WHERE {condition.sql}", condition.parameters
        )
        assert found[0]["n"] == 0


def test_what_a_server_lacks_to_be_of_the_cluster_is_said(server: Server, store: Store, tmp_path: Path) -> None:
    assert store.cluster_problem() == ""
    other = connect(server.settings(cluster="elsewhere"), tmp_path)
    assert re.search(r"clickhouse.cluster: the server knows no 'elsewhere'; it knows .*audit", other.cluster_problem())
    other.close()
    without = SECTIONS.replace("<replica>a</replica>", "")
    with serving(sections=without) as bare:
        bared = connect(bare.settings(cluster=CLUSTER), tmp_path)
        assert "no macro replica;" in bared.cluster_problem()
        bared.close()


class TestRights:
    """Each role's rights, enforced by the engine: it runs with those of one role, over one folder."""

    def test_each_role_can_do_its_work_and_no_more(self, tmp_path: Path) -> None:
        log, archive = MemoryLog(), Archive(tmp_path / "archive")
        blocks = made(2, 6)
        log.append(EVENTS.name, [record(b) for b in blocks])

        def as_role(role: str) -> tuple[Server, Store]:
            rights = [f"GRANT {right}" for of, right in grants(SINGLE) if of == role]
            server = Server(tmp_path / "server", grants=rights).start()
            return server, connect(server.settings(), tmp_path)

        migrator, writer, reader, auditor = ROLES
        server, store = as_role(migrator)
        assert store.migrate() == tuple(m.name for m in bundled())
        server.end()

        server, store = as_role(writer)
        assert store.migrate() == ()
        runtime = EmbeddedRuntime(log, store, archive, tmp_path / "pipeline.db", lambda: START)
        while runtime.step():
            pass
        runtime.close()
        assert len(rows(store)) == 6 * 12
        assert store.header("proxy/0", 1) is not None
        for forbidden in (
            store.truncate,
            lambda: _refined(store, f"ALTER TABLE {store.database}.query_events DELETE WHERE 1"),
            lambda: _refined(store, f"DROP TABLE {store.database}.blocks"),
            lambda: _refined(store, f"INSERT INTO {store.database}.schema_migrations (number) VALUES (99)"),
        ):
            with pytest.raises(StoreError, match=r"lacks a right: `affidavit migrate --users`"):
                forbidden()
        server.end()

        for role in (reader, auditor):
            server, store = as_role(role)
            assert len(rows(store)) == 6 * 12
            assert store.client.command(f"SELECT count() > 0 FROM {store.database}.principal_activity_hourly") == 1
            with pytest.raises(StoreError, match="lacks a right"):
                _refined(store, f"INSERT INTO {store.database}.texts (text_hash) VALUES ('x')")
            server.end()
        archive.close()


def _refined(store: Store, statement: str) -> None:
    with store._worded("trying what is not allowed"):
        store.client.command(statement)


def rows(store: Store) -> list[tuple[Any, ...]]:
    db = store.database
    query = f"SELECT source, epoch, seq FROM {db}.query_events UNION ALL SELECT source, epoch, seq FROM {db}.other_events"
    return sorted(store.client.query(query).result_rows)
