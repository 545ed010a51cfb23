"""The store and the runtime: migrations, exactly-once under every interruption we can stage, limits, rebuild.

On chDB in this process, on chDB behind ClickHouse's HTTP interface, and, where Docker is, on a real server.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors.archive import Archive
from processors.rebuild import rebuild
from processors.runtimes.embedded import EmbeddedRuntime, PipelineError
from processors.sinks.clickhouse import Store, StoreUnavailableError, connect
from processors.sinks.migrations import Migration, MigrationError, bundled, migrate
from processors.sinks.profiles import profile_of
from schemas.config import ClickHouseSettings
from schemas.control import PipelineResumed, publish
from schemas.integrity import Block
from schemas.topics import DLQ, EVENTS
from tests.support import clickhouse
from tests.support.approval_events import body, closed, requested
from tests.support.control_key import SIGNER
from tests.support.event_blocks import START, Source, record
from tests.support.memory_log import MemoryLog


@pytest.fixture(scope="module", params=["chdb", "http", "docker"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One engine for the module: a process can have but one chDB; each test has a database of its own in it."""
    with contextlib.ExitStack() as stack:
        settings = ClickHouseSettings()
        if request.param == "docker":
            if reason := clickhouse.docker_missing():
                pytest.skip(reason)
            settings = stack.enter_context(clickhouse.real())
        elif request.param == "http":
            settings = stack.enter_context(clickhouse.serving()).settings()
        store = connect(settings, tmp_path_factory.mktemp("chdb"))
        yield store
        store.close()


@pytest.fixture
def store(engine: Store, request: pytest.FixtureRequest) -> Iterator[Store]:
    """The engine, with an empty database."""
    engine.settings = engine.settings.model_copy(update={"database": f"test_{next(_NUMBERS)}"})
    engine.database, engine._profile = engine.settings.database, profile_of(engine.settings)
    engine.migrate()
    yield engine
    engine.client.command(f"DROP DATABASE {engine.database}")


_NUMBERS = itertools.count(1)


class Bench:
    """A log, an archive and a state file around a store; `runtime()` opens the pipeline anew, as a restart does."""

    def __init__(self, store: Any, folder: Path) -> None:
        self.store, self.folder, self.log = store, folder, MemoryLog()
        self.archive = Archive(folder / "archive")
        self.now = START

    def runtime(self, **options: Any) -> EmbeddedRuntime:
        return EmbeddedRuntime(self.log, self.store, self.archive, self.folder / "pipeline.db", lambda: self.now, **options)

    def ship(self, blocks: list[Block]) -> None:
        self.log.append(EVENTS.name, [record(b) for b in blocks])

    def drain(self, **options: Any) -> EmbeddedRuntime:
        runtime = self.runtime(**options)
        while runtime.step():
            pass
        runtime.close()
        return runtime

    def positions(self) -> list[tuple[str, int, int]]:
        db = self.store.database
        query = f"SELECT source, epoch, seq FROM {db}.query_events UNION ALL SELECT source, epoch, seq FROM {db}.other_events"
        return sorted(self.store.client.query(query).result_rows)


@pytest.fixture
def bench(store: Store, tmp_path: Path) -> Iterator[Bench]:
    """A bench on the store."""
    made = Bench(store, tmp_path)
    yield made
    made.archive.close()


def positions_of(blocks: list[Block]) -> list[tuple[str, int, int]]:
    return sorted((b.header.source, b.header.epoch, b.header.first_seq + i) for b in blocks for i in range(b.header.count))


def mixed(blocks: int, name: str = "proxy/0") -> list[Block]:
    """Blocks of queries and all sorts of other events."""
    source = Source(name)
    made = []
    for n in range(blocks):
        text = source.event("TextObserved", {"text_hash": f"{n:064x}", "text": f"SELECT {n}"})
        lines = [text, *(source.query() for _ in range(20)), source.session_opened(n), source.query(), source.session_closed(n)]
        made.append(source.seal(lines))
    return made


class TestMigrations:
    """Numbered, forward only, each once."""

    def test_applied_once_and_recorded(self, store: Store) -> None:
        assert store.migrate() == ()
        rows = store.client.query(f"SELECT number, name FROM {store.database}.schema_migrations ORDER BY number").result_rows
        assert rows == [(m.number, m.name) for m in bundled()]

    def test_a_changed_file_is_an_error(self, store: Store) -> None:
        changed = (replace(bundled()[0], sql=bundled()[0].sql + "\n-- later"), *bundled()[1:])
        with pytest.raises(MigrationError, match=r"0001_events.sql changed after it was applied.*new migration"):
            migrate(store.client, store.settings, changed)

    def test_a_newer_store_is_an_error(self, store: Store) -> None:
        with pytest.raises(MigrationError, match="newer version"):
            migrate(store.client, store.settings, ())

    def test_a_migration_cut_short_is_finished_next_time(self, store: Store) -> None:
        number = len(bundled()) + 1
        name = f"{number:04d}_more.sql"
        half = Migration(
            number, name, "CREATE TABLE IF NOT EXISTS {database}.one (a UInt8) ENGINE = {merge_tree} ORDER BY a;\nBOO;\n"
        )
        with pytest.raises(Exception, match="BOO"):
            migrate(store.client, store.settings, (*bundled(), half))
        whole = replace(half, sql=half.sql.replace("BOO", "ALTER TABLE {database}.one ADD COLUMN IF NOT EXISTS b UInt8"))
        assert migrate(store.client, store.settings, (*bundled(), whole)) == (name,)

    def test_an_unknown_placeholder_is_an_error(self, store: Store) -> None:
        odd = Migration(len(bundled()) + 1, "x.sql", "SELECT {nothing};\n")
        with pytest.raises(MigrationError, match="nothing"):
            migrate(store.client, store.settings, (*bundled(), odd))


class TestExactlyOnce:
    """Every event is one row."""

    def test_every_event_is_one_row_and_every_query_a_query_row(self, bench: Bench) -> None:
        blocks = [*mixed(5), *mixed(3, "proxy/1")]
        bench.ship(blocks)
        runtime = bench.drain()
        assert bench.positions() == positions_of(blocks)
        counts = bench.store.counts()
        assert (counts["query_events"], counts["other_events"], counts["blocks"]) == (8 * 21, 8 * 3, 8)
        assert runtime.status["lag"] == 0
        assert runtime.status["events"] == 8 * 24

    def test_values_survive_the_way_into_clickhouse(self, bench: Bench) -> None:
        source = Source()
        line = source.query()
        bench.ship([source.seal([line])])
        bench.drain()
        import orjson

        event = orjson.loads(line)
        (row,) = bench.store.client.query(
            "SELECT toString(event_id), toUnixTimestamp64Micro(at), toUnixTimestamp64Micro(ended_at), params, session_id, "
            f"principal_groups, text, fingerprint, db_us, policies FROM {bench.store.database}.query_events"
        ).result_rows
        assert row == (
            event["event_id"],
            event["at"],
            event["ended_at"],
            event["params"],
            event["session_id"],
            event["principal"]["groups"],
            event["text"],
            event["fingerprint"],
            event["outcome"]["db_us"],
            [],
        )

    def test_sessions_merge_to_their_closing_row(self, bench: Bench) -> None:
        bench.ship(mixed(4))
        bench.drain()
        db = bench.store.database
        rows = bench.store.client.query(f"SELECT session_id, reason FROM {db}.sessions FINAL").result_rows
        assert len(rows) == 4
        assert {reason for _, reason in rows} == {"terminated"}

    def test_the_hourly_view_counts_what_is_there_and_reads_the_projection(self, bench: Bench) -> None:
        bench.ship(mixed(4))
        bench.drain()
        view = f"{bench.store.database}.principal_activity_hourly"
        assert bench.store.client.command(f"SELECT sum(events) FROM {view}") == 4 * 21
        plan = bench.store.client.query(f"EXPLAIN SELECT * FROM {view}").result_rows
        assert any("hourly_activity" in line for (line,) in plan)

    @pytest.mark.parametrize("with_state", [True, False], ids=["state", "fresh state"])
    def test_reprocessing_the_whole_topic_changes_nothing(self, bench: Bench, with_state: bool) -> None:
        blocks = mixed(9)
        bench.ship(blocks)
        bench.drain(max_blocks=4)
        before = bench.positions(), bench.store.counts(("blocks",)), list(bench.archive.blocks())
        if with_state:
            bench.log.topics[EVENTS.name] += [replace(r, offset=r.offset + 9) for r in bench.log.topics[EVENTS.name]]
        else:
            (bench.folder / "pipeline.db").unlink()
        runtime = bench.drain(max_blocks=5)
        assert (bench.positions(), bench.store.counts(("blocks",)), list(bench.archive.blocks())) == before
        assert runtime.status["repeats"] == (9 if with_state else 0)
        assert runtime.status["dlq"] == 0

    def test_with_state_lost_and_the_log_trimmed_the_store_says_where_chains_stand(self, bench: Bench) -> None:
        blocks = list(Source().blocks(6, 4))
        bench.ship(blocks[:4])
        bench.drain()
        (bench.folder / "pipeline.db").unlink()
        bench.log.trimmed = 3
        bench.ship(blocks[4:])
        runtime = bench.drain()
        assert (runtime.status["gaps"], runtime.status["missing_blocks"], runtime.status["dlq"]) == (0, 0, 0)
        assert bench.positions() == positions_of(blocks)

    @pytest.mark.parametrize("kept", ["plan", "nothing"])
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("call", range(7))
    def test_an_interruption_around_any_insert_heals(self, bench: Bench, call: int, when: str, kept: str) -> None:
        blocks = mixed(6)
        bench.ship(blocks)
        bench.drain(max_blocks=2) if kept == "plan" else None
        more = Source("proxy/9")
        lines = [more.query(), more.session_opened(), more.event("TextObserved", {"text_hash": "a", "text": "b"})]
        asked = [
            more.event("ApprovalRequested", body(requested("a1", START))),
            more.event("ApprovalClosed", closed("a1", "lost")),
        ]
        late = [more.seal(lines + asked)]
        bench.ship(late)
        real = bench.store
        bench.store = Interrupted(real, call, when)
        with pytest.raises(Interruption):
            bench.drain()
        bench.store = real
        if kept == "nothing":
            (bench.folder / "pipeline.db").unlink()
        bench.drain(max_blocks=3)
        assert bench.positions() == positions_of([*blocks, *late])
        assert real.client.command(f"SELECT uniqExact(source, number) FROM {real.database}.blocks") == 7
        for table in ("approvals", "approval_steps"):
            assert real.client.command(f"SELECT count() FROM {real.database}.{table} FINAL") == 1

    def test_an_insert_that_is_still_under_way_ends_behind_its_repetition_and_adds_nothing(self, bench: Bench) -> None:
        """Of an insert of two months the first one's part is there when the batch runs again, the second one's comes later."""
        source = Source("proxy/0")
        blocks = []
        for _ in range(2):
            blocks.append(source.seal([source.query() for _ in range(4)]))
            source.now += 40 * 86_400_000_000
        bench.ship(blocks)
        late: list[tuple[Any, str]] = []

        class Cut(Interrupted):
            def insert(self, table: str, rows: Any, token: str | None) -> None:
                if table == "query_events" and not late:
                    assert token is not None
                    late.append((rows, token))
                    self._store.insert(table, rows.slice(0, 4), token)
                    raise Interruption
                self._store.insert(table, rows, token)

        real = bench.store
        bench.store = Cut(real, 99, "before")
        with pytest.raises(Interruption):
            bench.drain()
        bench.drain()
        assert bench.positions() == positions_of(blocks)
        real.insert("query_events", *late[0])
        assert bench.positions() == positions_of(blocks)

    @pytest.mark.parametrize("call", range(4))
    def test_a_lost_state_is_made_up_for_through_restarts(self, bench: Bench, call: int) -> None:
        """A batch was cut short, its plan is lost with the state, and the next start ends before it is there again."""
        blocks = mixed(6)
        bench.ship(blocks[:2])
        bench.drain()
        bench.ship(blocks[2:])
        real = bench.store
        bench.store = Interrupted(real, call, "after")
        with pytest.raises(Interruption):
            bench.drain()
        bench.store = real
        (bench.folder / "pipeline.db").unlink()
        for _ in range(2):
            runtime = bench.runtime(max_blocks=1)
            assert runtime.step()
            runtime.close()
        bench.drain(max_blocks=3)
        assert bench.positions() == positions_of(blocks)

    def test_rows_whose_token_was_noted_before_a_crash_lost_them_go_in_again(self, bench: Bench) -> None:
        blocks = mixed(2)
        bench.ship(blocks)
        real = bench.store
        bench.store = Interrupted(real, 2, "before")
        with pytest.raises(Interruption):
            bench.drain()
        bench.store = real
        # The engine has the tokens; now let it have lost the rows.
        real.client.command(f"ALTER TABLE {real.database}.query_events DELETE WHERE 1", settings={"mutations_sync": 2})
        assert real.counts()["query_events"] == 0
        bench.drain()
        assert bench.positions() == positions_of(blocks)

    def test_what_passes_is_retried_and_the_offset_waits(self, bench: Bench) -> None:
        blocks = mixed(3)
        bench.ship(blocks)
        bench.log.failures = 0
        real = bench.store
        bench.store = Interrupted(real, 1, "after", StoreUnavailableError("ClickHouse is busy"), times=2)
        runtime = bench.runtime(linger_seconds=0.01)
        stop = Event()
        runner = Thread(target=runtime.run, args=(stop,))
        runner.start()
        _until(lambda: runtime.status["state"] == "idle")
        stop.set()
        runner.join()
        runtime.close()
        assert (runtime.status["retries"], runtime.status["lag"]) == (2, 0)
        bench.store = real
        assert bench.positions() == positions_of(blocks)


class TestPoison:
    """What does not verify, and how much of it is borne."""

    def test_a_rejected_block_goes_to_the_dead_letters_with_its_reason(self, bench: Bench) -> None:
        blocks = mixed(3)
        bad = replace(blocks[1], body=blocks[1].body.replace(b"SELECT", b"SELEKT", 1))
        bench.ship([blocks[0], bad, blocks[2]])
        runtime = bench.drain()
        (dead,) = bench.log.topics[DLQ.name]
        assert b"do not hash to the header's root" in dead.headers["reason"]
        assert (dead.value, dead.headers["offset"]) == (bad.body, b"1")
        assert (runtime.status["dlq"], runtime.status["gaps"], runtime.status["missing_blocks"]) == (1, 1, 1)
        assert bench.positions() == positions_of([blocks[0], blocks[2]])
        bench.ship([blocks[1]])
        assert bench.drain().status["missing_blocks"] == 0
        assert bench.positions() == positions_of(blocks)

    def test_past_the_limit_the_pipeline_stops_and_says_why(self, bench: Bench) -> None:
        good = mixed(1)
        bench.ship([replace(b, body=b.body + b"x\n") for b in mixed(5)] + good)
        with pytest.raises(PipelineError, match=r"3 blocks did not verify.*affidavit.dlq"):
            bench.drain(max_rejected=3, max_blocks=1)
        with pytest.raises(PipelineError):
            bench.drain(max_rejected=3, max_blocks=1)
        assert len(bench.log.topics[DLQ.name]) == 3
        publish(bench.log, [PipelineResumed(at=1, actor="ana", reason="a source that is gone")], SIGNER)
        assert bench.drain(max_rejected=3, max_blocks=3).status["dlq"] == 2
        assert bench.positions() == positions_of(good)
        bench.ship([replace(b, body=b.body + b"x\n") for b in mixed(1)])
        with pytest.raises(PipelineError):  # what was said once holds once
            bench.drain(max_rejected=3)

    def test_a_registered_key_is_used_and_a_forged_block_refused(self, bench: Bench) -> None:
        key = Ed25519PrivateKey.generate()
        keys = bench.folder / "keys"
        keys.mkdir()
        pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (keys / "proxy_0.pub").write_bytes(pem)
        genuine = list(Source(key=key).blocks(2, 3))
        bench.ship([genuine[0], replace(genuine[1], signature=bytes(64)), *Source("other/0").blocks(1, 3)])
        bench.drain()
        db = bench.store.database
        rows = bench.store.client.query(f"SELECT source, number, signature FROM {db}.blocks ORDER BY source").result_rows
        assert rows == [("other/0", 1, "unsigned"), ("proxy/0", 1, "verified")]


class TestRebuild:
    """ClickHouse from the archive alone."""

    def test_the_rebuilt_tables_equal_the_first_ones_and_the_pipeline_goes_on(self, bench: Bench) -> None:
        blocks = [*mixed(5), *mixed(2, "proxy/1")]
        bench.ship(blocks)
        bench.drain(max_blocks=3)
        db = bench.store.database
        query = f"SELECT * EXCEPT (inserted_at) FROM {db}.query_events ORDER BY source, epoch, seq"
        before = bench.store.client.query(query).result_rows
        seen: list[tuple[int, int]] = []
        for _ in range(2):
            done = rebuild(bench.archive, bench.store, lambda b, e: seen.append((b, e)))
            assert (done.blocks, done.events, done.rows) == (7, 7 * 24, 7 * 24)
            assert bench.store.client.query(query).result_rows == before
            assert bench.positions() == positions_of(blocks)
        assert seen[-1] == (7, 7 * 24)
        bench.ship([next(Source("proxy/2").blocks(1, 3))])
        bench.drain()
        assert len(bench.positions()) == 7 * 24 + 3


class Interruption(BaseException):
    """Stands for the process dying here."""


class Interrupted:
    """A store that dies, or fails, at its n-th insert: before or after doing it."""

    def __init__(self, store: Store, call: int, when: str, error: BaseException | None = None, times: int = 1) -> None:
        self._store, self._call, self._when, self._error, self._times = store, call, when, error or Interruption(), times

    def insert(self, table: str, rows: Any, token: str | None) -> None:
        self._call -= 1
        strike = self._call < 0 and self._times > 0
        if strike and self._when == "before":
            self._times -= 1
            raise self._error
        self._store.insert(table, rows, token)
        if strike:
            self._times -= 1
            raise self._error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def _until(holds: Any, seconds: float = 30) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)
