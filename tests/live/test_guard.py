"""Real clients meet the guard on a real server: what is denied fails in its place and never ran; all else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import yaml

from deploy.cli import run
from deploy.layout import DataDir
from deploy.supervisor import FATAL, reason_file
from tests.support.affidavit import UNMASKED, Machine, Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

STARTER = Path(__file__).parents[2] / "deploy" / "policies" / "production.yaml"
RULES = [
    {"id": "no-drop", "effect": "deny", "when": "'drop_table' in statement.verbs", "reason": "Ask the owner.", "risk": 80},
    {"id": "no-secrets", "effect": "deny", "reason": "Not yours.",
     "when": "statement.objects.exists(o, o.endsWith('.guard_secrets'))"},
    {"id": "watch", "effect": "alert", "when": "statement.functions.exists(f, f == 'pg_backend_pid')", "reason": "Seen."},
]  # fmt: skip


def write(path: Path, rules: list[dict[str, Any]]) -> None:
    path.write_text(yaml.safe_dump({"bundle": "live", "rules": rules}))


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    write(path, RULES)
    return path


@pytest.fixture(scope="module")
def guarded(pg: Postgres, rules: Path) -> Iterator[Proxy]:
    with running_proxy(pg, {"policy": {"files": [str(rules)], "reload_seconds": 0.1}, "masking": UNMASKED}) as running:
        with psycopg.connect(**running.app(), autocommit=True) as setup:
            setup.execute("CREATE TABLE IF NOT EXISTS guard_kept (a int)")
            setup.execute("TRUNCATE guard_kept")
        yield running


def kept(proxy: Proxy) -> int:
    with psycopg.connect(**proxy.app(), autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM guard_kept").fetchone()
        assert row is not None
        return int(row[0])


def denied(proxy: Proxy, application: str, count: int) -> list[tuple[str, list[str]]]:
    def found() -> list[dict[str, Any]]:
        return [
            e
            for e in proxy.trail.refresh()
            if e["type"] == "QueryExecuted" and e["client"]["application"] == application and e["outcome"]["status"] == "denied"
        ]

    wait_for(lambda: len(found()) >= count, "the denied statements' events")
    return [(e["text"], e["decision"]["policies"]) for e in found()]


def test_psycopg_is_told_why_and_goes_on(guarded: Proxy) -> None:
    with psycopg.connect(**guarded.app(), autocommit=True, application_name="told") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            connection.execute("DROP TABLE guard_kept")
        assert caught.value.diag.message_primary == "statement denied by policy rule no-drop"
        hint = caught.value.diag.message_hint or ""
        assert hint.startswith("Ask the owner. It was not executed. Request ")
        assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE guard_kept", prepare=True)
        assert connection.execute("SELECT %s::int", (2,)).fetchone() == (2,)
    assert denied(guarded, "told", 2) == [("DROP TABLE guard_kept", ["no-drop"])] * 2
    session = hint.split("Request ")[1].split("/")[0]
    assert any(e.get("session_id") == session for e in guarded.trail.refresh())


def test_a_transaction_fails_as_after_any_error(guarded: Proxy) -> None:
    with psycopg.connect(**guarded.app(), application_name="transaction") as connection:
        connection.execute("INSERT INTO guard_kept VALUES (1)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE guard_kept")
        assert connection.info.transaction_status is psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        with connection.transaction():
            connection.execute("INSERT INTO guard_kept VALUES (2)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("SELECT * FROM guard_secrets")
            assert connection.execute("SELECT count(*) FROM guard_kept WHERE a = 2").fetchone() == (1,)
            connection.execute("DELETE FROM guard_kept")
    assert kept(guarded) == 0


def test_a_simple_batch_is_denied_whole(guarded: Proxy) -> None:
    with psycopg.connect(**guarded.app(), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO guard_kept VALUES (1); DROP TABLE guard_kept; INSERT INTO guard_kept VALUES (2)")
        assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
    assert kept(guarded) == 0


def test_a_psycopg_pipeline_fails_from_there_to_its_sync(guarded: Proxy) -> None:
    with psycopg.connect(**guarded.app(), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.pipeline() as pipeline:
            first = connection.execute("SELECT 1")
            pipeline.sync()
            connection.execute("SELECT * FROM guard_secrets")
            connection.execute("INSERT INTO guard_kept VALUES (9)")
            pipeline.sync()
        assert first.fetchone() == (1,)
        with connection.pipeline():
            again = connection.execute("SELECT 3")
        assert again.fetchone() == (3,)
    assert kept(guarded) == 0


def test_asyncpg_prepares_and_is_refused_and_goes_on(guarded: Proxy) -> None:
    async def work() -> None:
        to = guarded.app()
        connection = await asyncpg.connect(
            host=to["host"], port=to["port"], user=to["user"], password=to["password"], database=to["dbname"]
        )
        try:
            for _ in range(3):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch("SELECT * FROM guard_secrets WHERE a = $1", 1)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.prepare("DROP TABLE guard_kept")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO guard_kept VALUES (1)")
                    await connection.execute("DROP TABLE guard_kept")
            assert await connection.fetchval("SELECT $1::int", 4) == 4
            await connection.executemany("INSERT INTO guard_kept VALUES ($1)", [(n,) for n in range(50)])
            assert await connection.fetchval("SELECT count(*) FROM guard_kept") == 50
            await connection.execute("DELETE FROM guard_kept")
        finally:
            await connection.close()

    asyncio.run(work())


def test_the_server_never_saw_what_was_denied(guarded: Proxy, pg: Postgres) -> None:
    with psycopg.connect(**guarded.app(), autocommit=True, application_name="alerted") as connection:
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT 'never_seen' FROM guard_secrets", prepare=prepare)
        connection.execute("SELECT pg_backend_pid(), 'was_seen'")

    def logged(words: str) -> bool:
        return any(words in str(executed) for executed in pg.executed())

    wait_for(lambda: logged("was_seen"), "the server's log")
    assert not logged("never_seen")

    def alerted() -> bool:
        return any(e.get("decision", {}).get("verdict") == "alert" for e in guarded.trail.refresh())

    wait_for(alerted, "the alert's event")


def test_a_bundle_is_read_again_and_a_broken_one_changes_nothing(guarded: Proxy, rules: Path) -> None:
    def changes() -> list[tuple[str, str]]:
        return [(e["status"], e["problem"]) for e in guarded.trail.refresh() if e["type"] == "PolicyChanged"]

    def allowed(connection: psycopg.Connection[Any]) -> bool:
        try:
            connection.execute("SELECT 77")
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True

    with psycopg.connect(**guarded.app(), autocommit=True) as connection:
        assert allowed(connection)
        try:
            write(rules, [*RULES, {"id": "all", "effect": "deny", "when": "true", "reason": "Closed."}])
            wait_for(lambda: not allowed(connection), "the new bundle to be in force")
            rules.write_text("bundle: live\nrules: [{id: broken, effect: deny, when: 'no such', reason: x}]")
            wait_for(lambda: any(s == "rejected" and "broken" in p for s, p in changes()), "the rejection's event")
            assert not allowed(connection)
            rules.unlink()
            wait_for(lambda: len([1 for s, _ in changes() if s == "rejected"]) >= 2, "the event that the file is gone")
            assert not allowed(connection)
        finally:
            write(rules, RULES)
        wait_for(lambda: allowed(connection), "the first bundle to be in force again")


def test_a_proxy_does_not_start_with_a_policy_it_cannot_use(pg: Postgres, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("bundle: x\nrules: [{id: a, effect: deny, when: principal.nme == 'x', reason: x}]")
    running = Proxy(pg, {"policy": {"files": [str(path)]}, "masking": UNMASKED})
    try:
        running.start(wait=False)
        assert running.process is not None
        assert running.process.wait(timeout=30) == FATAL, "the supervisor would start it again and again"
        said = reason_file(DataDir(running.data_dir).run, "proxy/0").read_text()
        assert said.startswith("policy.files: rule a: ") and "principal.nme" in said
    finally:
        running.stop()
        running.remove()


def test_history_is_judged_anew_by_another_bundle(pg: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "policy.yaml"
    write(path, RULES)
    machine = Machine(pg, {"policy": {"files": [str(path)]}, "masking": UNMASKED})
    try:
        machine.start()
        with psycopg.connect(**machine.app(), autocommit=True) as connection:
            for n in range(3):
                connection.execute("SELECT 40 + %s::int", (n,))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DROP TABLE guard_kept")
        other = tmp_path / "other.yaml"
        write(other, [{"id": "no-select", "effect": "deny", "when": "'select' in statement.verbs", "reason": "x"}])

        def simulated(file: Path) -> str:
            assert run(["policy", "simulate", str(file), "-c", str(machine.config_path), "--from", "1h"]) == 0
            return capsys.readouterr().out

        wait_for(lambda: "4 executions" in simulated(path), "four rows")
        assert "(3 allow, 1 deny), 0 decided otherwise" in simulated(path)
        said = simulated(other)
        assert "      3  allow -> deny  ana  no-select  SELECT ? + $1::int" in said
        assert "      1  deny -> allow  ana  no rule  DROP TABLE guard_kept" in said
        assert "4 executions (1 allow, 3 deny), 4 decided otherwise" in said
    finally:
        machine.stop()
        machine.remove()


def test_settings_asked_for_at_login_are_judged_as_statements(pg: Postgres) -> None:
    with running_proxy(pg, {"policy": {"files": [str(STARTER)]}}) as guarded:
        for asked in ("-c role=app_owner", "-c debug_print_plan=on", "--row-security=off", "-e"):
            with pytest.raises(psycopg.OperationalError, match="setting asked for at login denied by policy"):
                psycopg.connect(**guarded.app(), options=asked)
        with psycopg.connect(**guarded.app(), options="-c statement_timeout=5s") as client:
            assert client.execute("SHOW statement_timeout").fetchone() == ("5s",)

        def refused() -> list[dict[str, Any]]:
            return [e for e in guarded.trail.refresh() if e["type"] == "AuthenticationFailed"]

        wait_for(lambda: len(refused()) >= 4, "the events of the logins that were refused")
        assert {e["reason"] for e in refused()} == {"startup_settings"}


def test_a_name_in_use_or_a_binary_value_does_not_hide_what_runs(pg: Postgres, tmp_path: Path) -> None:
    """The server refuses the second Parse, and behind its Sync the name is still the DELETE's: with `%` that is all of it."""
    mass = {"id": "mass", "effect": "deny", "when": "'mass_delete' in statement.dangers", "reason": "All of it."}
    write(tmp_path / "policy.yaml", [mass])
    with running_proxy(pg, {"policy": {"files": [str(tmp_path / "policy.yaml")]}, "masking": UNMASKED}) as proxy:
        with psycopg.connect(**proxy.app(), autocommit=True) as connection:
            connection.execute("CREATE TABLE guard_names (id int, name text)")
            connection.execute("INSERT INTO guard_names SELECT n, 'n' || n FROM generate_series(1, 50) n")
            wire = connection.pgconn
            assert wire.prepare(b"s", b"DELETE FROM guard_names WHERE name LIKE $1").status == psycopg.pq.ExecStatus.COMMAND_OK
            wire.enter_pipeline_mode()
            wire.send_prepare(b"s", b"SELECT $1::text")
            wire.pipeline_sync()
            wire.send_query_prepared(b"s", [b"%"])
            wire.pipeline_sync()
            states, syncs = [], 0
            while syncs < 2:
                result = wire.get_result()
                if result is not None and result.status == psycopg.pq.ExecStatus.PIPELINE_SYNC:
                    syncs += 1
                elif result is not None:
                    states.append(result.error_field(psycopg.pq.DiagnosticField.SQLSTATE))
            wire.exit_pipeline_mode()
            assert states == [b"42P05", b"42501"]

        async def binary() -> None:
            to = proxy.app()
            connection = await asyncpg.connect(
                host=to["host"], port=to["port"], user=to["user"], password=to["password"], database=to["dbname"]
            )
            for bound in (0, -7):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute("DELETE FROM guard_names WHERE id > $1", bound)
            assert await connection.execute("DELETE FROM guard_names WHERE id > $1", 49) == "DELETE 1"
            await connection.close()

        asyncio.run(binary())
        with psycopg.connect(**proxy.app(), autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM guard_names").fetchone() == (49,)
            connection.execute("DROP TABLE guard_names")
