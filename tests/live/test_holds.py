"""Real clients wait for approvals on a real server: what is approved runs, what is not never does, and nobody else is held up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import yaml

from schemas.control import ApprovalDecided, PrincipalSuspended, encode, publish
from schemas.control_keys import load_control_signer
from schemas.log import NewRecord
from schemas.topics import CONTROL
from tests.support import binaries
from tests.support.affidavit import UNMASKED, Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.control_key import STRANGER
from tests.support.deciders import closed, closings, decide, executions, requests, the_execution, the_request
from tests.support.pg_conversation import query
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

RULES = [
    {"id": "hold-deletes", "effect": "hold", "reason": "Somebody looks first.", "risk": 60,
     "when": "'delete' in statement.verbs && statement.writes.exists(o, o.endsWith('.held_rows'))",
     "approvers": {"groups": ["dba"], "break_glass": ["oncall"]}},
    {"id": "hold-drops", "effect": "hold", "reason": "Two look first.", "when": "'drop_table' in statement.verbs",
     "approvers": {"groups": ["dba"], "count": 2}},
]  # fmt: skip


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(yaml.safe_dump({"bundle": "live", "rules": RULES}))
    return path


@pytest.fixture(scope="module")
def held(pg: Postgres, policy: Path) -> Iterator[Proxy]:
    approvals = {"url": "https://audit.example/approvals/{id}", "wait_seconds": 60}  # a test that fails must not wait long
    with running_proxy(pg, {"policy": {"files": [str(policy)]}, "approvals": approvals, "masking": UNMASKED}) as p:
        with psycopg.connect(**p.app(), autocommit=True) as setup:
            setup.execute("CREATE TABLE IF NOT EXISTS held_rows (a int PRIMARY KEY, b text)")
            setup.execute("TRUNCATE held_rows")
            setup.execute("INSERT INTO held_rows SELECT n, 'row ' || n FROM generate_series(1, 1000) n")
            setup.execute("ANALYZE held_rows")
        yield p


@pytest.fixture
def waiting() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def connect(proxy: Proxy, application: str, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(**proxy.app(), autocommit=True, application_name=application, **options)


def rows(proxy: Proxy) -> int:
    with psycopg.connect(**proxy.app(), autocommit=True) as connection:
        found = connection.execute("SELECT count(*) FROM held_rows").fetchone()
        assert found is not None
        return int(found[0])


def test_psycopg_waits_and_is_served_and_others_are_meanwhile(held: Proxy, waiting: ThreadPoolExecutor) -> None:
    said: list[str] = []
    with connect(held, "served") as connection:
        connection.add_notice_handler(lambda d: said.append(f"{d.message_primary} | {d.message_detail} | {d.message_hint}"))
        future = waiting.submit(connection.execute, "DELETE FROM held_rows WHERE a BETWEEN %s AND %s", (1, 3))
        request = the_request(held, "served")
        before = rows(held)
        assert not future.done() and before == rows(held)
        decide(held, request)
        assert future.result(120).rowcount == 3
        assert rows(held) == before - 3
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert request["approval_id"] in said[0] and f"https://audit.example/approvals/{request['approval_id']}" in said[0]
    assert request["estimate"]["known"] and 1 <= request["estimate"]["rows"] <= 1000 and request["estimate"]["cost"] > 0
    assert request["text"] == "DELETE FROM held_rows WHERE a BETWEEN $1 AND $2" and len(request["params"]) == 2
    event, end = the_execution(held, request), closed(held, request)
    assert event["outcome"]["rows_affected"] == 3 and event["outcome"]["held_us"] > 0 and event["at"] == request["at"]
    assert (end["status"], end["deciders"], end["reason"]) == ("approved", ["bob"], "seen")
    assert event["seq"] > end["seq"] > request["seq"]


@pytest.mark.parametrize("prepare", [False, True])
def test_a_denied_statement_leaves_a_transaction_as_any_error_would(
    held: Proxy, waiting: ThreadPoolExecutor, pg: Postgres, prepare: bool
) -> None:
    name = f"denied-{prepare}"
    with psycopg.connect(**held.app(), application_name=name) as connection:
        connection.execute("UPDATE held_rows SET b = 'x' WHERE a = 500")
        future = waiting.submit(connection.execute, f"DELETE FROM held_rows WHERE b <> '{name}'", prepare=prepare)
        request = the_request(held, name)
        assert request["transaction"] == "T"
        decide(held, request, approved=False, reason="not on a friday")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="bob denied it: not on a friday"):
            future.result(120)
        assert connection.info.transaction_status is psycopg.pq.TransactionStatus.INERROR
        connection.rollback()
        assert connection.execute("SELECT 7").fetchone() == (7,)
    assert the_execution(held, request)["outcome"]["status"] == "denied"
    assert not any(name in str(e) and "DELETE" in str(e) and "EXPLAIN" not in str(e) for e in pg.executed())


def test_a_psycopg_pipeline_fails_up_to_its_sync(held: Proxy, waiting: ThreadPoolExecutor) -> None:
    def work() -> list[object]:
        found: list[object] = []
        with connect(held, "pipeline") as connection:
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege), connection.pipeline() as pipeline:
                first = connection.execute("SELECT 1")
                connection.execute("DELETE FROM held_rows WHERE a = 10")
                connection.execute("INSERT INTO held_rows VALUES (5000, 'never')")
                pipeline.sync()
            found.append(first.fetchone())
            with connection.pipeline():
                found.append(connection.execute("SELECT 3").fetchone())
        return found

    before = rows(held)
    future = waiting.submit(work)
    request = the_request(held, "pipeline")
    decide(held, request, approved=False)
    assert future.result(120) == [(1,), (3,)]
    assert rows(held) == before


def test_an_async_psycopg_waits_without_blocking_its_loop(held: Proxy) -> None:
    async def work() -> tuple[int, int]:
        async with await psycopg.AsyncConnection.connect(**held.app(), autocommit=True, application_name="async") as connection:
            task = asyncio.create_task(connection.execute("DELETE FROM held_rows WHERE a = 20"))
            request = await asyncio.to_thread(the_request, held, "async")
            await asyncio.to_thread(decide, held, request)
            done = await task
            one = await (await connection.execute("SELECT 1")).fetchone()
            assert one is not None
            return done.rowcount, one[0]

    assert asyncio.run(work()) == (1, 1)


def test_asyncpg_waits_at_each_use_of_a_prepared_statement_and_its_timeout_cancels(held: Proxy) -> None:
    async def work() -> None:
        to = held.app()
        connection = await asyncpg.connect(
            host=to["host"], port=to["port"], user=to["user"], password=to["password"], database=to["dbname"],
            server_settings={"application_name": "asyncpg"},
        )  # fmt: skip
        try:
            prepared = await connection.prepare("DELETE FROM held_rows WHERE a = $1 RETURNING b")
            assert requests_of("asyncpg") == []
            for n, key in enumerate((31, 32), 1):
                task = asyncio.create_task(prepared.fetch(key))
                request = await asyncio.to_thread(the_request, held, "asyncpg", n)
                await asyncio.to_thread(decide, held, request)
                assert [r["b"] for r in await task] == [f"row {key}"]
                counted = {"known": True, "rows": 1, "more": False, "absent": ""}
                said = {"known": True, "rows": 1, "cost": request["estimate"]["cost"], "absent": "", "dry_run": counted}
                assert request["estimate"] == said
            with pytest.raises(TimeoutError):
                await prepared.fetch(33, timeout=0.5)
            assert await connection.fetchval("SELECT 4") == 4
            assert await connection.fetchval("SELECT count(*) FROM held_rows WHERE a = 33") == 1
            cancelled = await asyncio.to_thread(the_request, held, "asyncpg", 3)
            assert (await asyncio.to_thread(closed, held, cancelled))["status"] == "cancelled"
        finally:
            await connection.close()

    def requests_of(name: str) -> list[dict[str, Any]]:
        return [e for e in requests(held) if e["client"]["application"] == name]

    asyncio.run(work())


def test_psql_shows_the_notice_and_ctrl_c_cancels(held: Proxy) -> None:
    to = held.app()
    environment = {**os.environ, "PGPASSWORD": to["password"], "PGAPPNAME": "psql-cancel"}
    command = [binaries.program("psql"), "-X", "-h", to["host"], "-p", str(to["port"]), "-U", to["user"], "-d", to["dbname"]]
    process = subprocess.Popen(
        [*command, "-c", "DELETE FROM held_rows", "-c", "SELECT 40 + 2"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        request = the_request(held, "psql-cancel")
        assert process.stderr is not None
        notice, detail, hint = (process.stderr.readline() for _ in range(3))
        assert notice == f"NOTICE:  statement waits for an approval: request {request['approval_id']}\n"
        assert detail.startswith("DETAIL:  Rule hold-deletes: Somebody looks first. Needed: 1 of dba. It waits until ")
        assert hint.startswith("HINT:  Somebody else decides at https://audit.example/approvals/")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "canceling statement due to user request" in err
    assert out == "", "psql prints no more after Ctrl-C, but its connection goes on:"

    def went_on() -> bool:
        events = [e for e in held.trail.refresh() if e["type"] == "QueryExecuted" and e["session_id"] == request["session_id"]]
        return [e["outcome"]["status"] for e in events if e["text"] == "SELECT ? + ?"] == ["ok"]

    wait_for(went_on, "the next statement of psql")
    assert closed(held, request)["status"] == "cancelled"
    assert the_execution(held, request)["outcome"]["sqlstate"] == "57014"


def test_a_client_that_leaves_takes_its_request_along(held: Proxy, waiting: ThreadPoolExecutor) -> None:
    before = rows(held)
    connection = connect(held, "leaves")
    future = waiting.submit(connection.execute, "DELETE FROM held_rows; INSERT INTO held_rows VALUES (6000, 'never')")
    request = the_request(held, "leaves")
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
    with pytest.raises(psycopg.Error):
        future.result(120)
    assert closed(held, request)["reason"] == "client_lost"
    decide(held, request)
    assert rows(held) == before and the_execution(held, request)["outcome"]["status"] == "cancelled"


def test_a_client_that_is_not_read_from_any_more_is_heard_leaving_all_the_same(held: Proxy) -> None:
    before = rows(held)
    connection = connect(held, "stalls", sslmode="disable")
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setblocking(True)
        end.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            end.sendall(query("DELETE FROM held_rows"))
            for _ in range(1000):
                sent += end.send(query("INSERT INTO held_rows VALUES (7000, '" + "x" * 16_000 + "')"))
        assert 256 * 1024 < sent < 16_000_000, "the proxy reads a while, and then no more"
        request = the_request(held, "stalls")
        end.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert closed(held, request)["reason"] == "client_lost"
    assert rows(held) == before


def test_who_may_decide_is_judged_by_the_proxy_too(held: Proxy, waiting: ThreadPoolExecutor) -> None:
    with connect(held, "rules") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS held_other (a int)")
        future = waiting.submit(connection.execute, "DROP TABLE held_other")
        request = the_request(held, "rules")
        assert [(n["rule"], n["count"]) for n in request["needs"]] == [("hold-drops", 2)]
        decide(held, request, by="ana")
        decide(held, request, by="ANA")
        decide(held, request, by="eve", groups=("sales",))
        decide(held, request, by="copilot", kind="agent")
        decide(held, request, by="mallory", acts_for=("ana",))
        decide(held, request, by="old", at=request["at"] - 3_600_000_000)
        decide(held, request, by="")
        decide(held, request, by="bob")
        decide(held, request, by="BOB")
        time.sleep(0.5)  # what must not happen has no event to wait for
        assert not future.done() and request["approval_id"] not in closings(held)
        decide(held, request, by="dan")
        future.result(120)
    assert closed(held, request)["deciders"] == ["bob", "dan"]


def test_who_was_suspended_after_approving_does_not_count(held: Proxy, waiting: ThreadPoolExecutor) -> None:
    with connect(held, "suspended") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS held_more (a int)")
        future = waiting.submit(connection.execute, "DROP TABLE held_more")
        request = the_request(held, "suspended")
        decide(held, request, by="mallory@example.com")
        log = held.trail.open()
        message = PrincipalSuspended(at=time.time_ns() // 1000, actor="sam", principal="mallory", reason="stolen token")
        publish(log, [message], load_control_signer(held.data_dir / "keys"))
        log.close()
        decide(held, request, by="bob")
        time.sleep(0.5)  # what must not happen has no event to wait for
        assert not future.done() and request["approval_id"] not in closings(held)
        decide(held, request, by="dan")
        future.result(120)
    assert closed(held, request)["deciders"] == ["bob", "dan"]


def test_code_that_is_another_than_when_it_was_asked_for_is_not_approved(
    pg: Postgres, policy: Path, waiting: ThreadPoolExecutor
) -> None:
    """It does the same to the same table in words, and other rows go: changed past the proxy, just before it is approved."""
    function = "CREATE OR REPLACE FUNCTION held_wipe() RETURNS void LANGUAGE sql AS 'DELETE FROM wiped.held_rows WHERE {}'"
    view = "CREATE OR REPLACE VIEW held_view AS SELECT * FROM wiped.held_rows WHERE {}"
    with psycopg.connect(**pg.app(), autocommit=True) as direct:
        for text in ("CREATE SCHEMA wiped", "CREATE TABLE wiped.held_rows AS SELECT 1 AS a", function, view):
            direct.execute(text.format("a = 999"))  # type: ignore[arg-type]
        with running_proxy(pg, {"policy": {"files": [str(policy)]}, "masking": UNMASKED}) as proxy:
            for name, made, text in (("wipe", function, "SELECT held_wipe()"), ("view", view, "DELETE FROM held_view")):
                with connect(proxy, name) as connection:
                    future = waiting.submit(connection.execute, text)  # type: ignore[arg-type]
                    request = the_request(proxy, name)
                    direct.execute(made.format("a = 1"))  # type: ignore[arg-type]
                    decide(proxy, request)
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="was changed while it waited"):
                        future.result(120)
                    assert direct.execute("SELECT count(*) FROM wiped.held_rows").fetchone() == (1,)
                    again = waiting.submit(connection.execute, text)  # type: ignore[arg-type]
                    anew = the_request(proxy, name, 2)
                    direct.execute("CREATE TABLE IF NOT EXISTS wiped.another (a int)")
                    decide(proxy, anew)
                    again.result(120)
                    direct.execute("INSERT INTO wiped.held_rows VALUES (1)")
        direct.execute("DROP SCHEMA wiped CASCADE")


@pytest.mark.parametrize("changes", [{"binding": "ab" * 32}, {"binding": ""}])
def test_a_decision_about_something_else_denies(held: Proxy, waiting: ThreadPoolExecutor, changes: dict[str, str]) -> None:
    name = f"other-{len(changes['binding'])}"
    with connect(held, name) as connection:
        future = waiting.submit(connection.execute, "DELETE FROM held_rows WHERE a = 40")
        request = the_request(held, name)
        decide(held, request, **changes)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="something else"):
            future.result(120)


def test_an_approval_is_used_once_and_by_the_statement_it_was_given_to(held: Proxy, waiting: ThreadPoolExecutor) -> None:
    text = "DELETE FROM held_rows WHERE a = 50"
    with connect(held, "twin-1") as one, connect(held, "twin-2") as two:
        first, second = waiting.submit(one.execute, text), waiting.submit(two.execute, text)
        asked, other = the_request(held, "twin-1"), the_request(held, "twin-2")
        assert asked["binding"] != other["binding"]
        decide(held, asked)
        assert first.result(120).rowcount == 1
        decide(held, other, binding=asked["binding"])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            second.result(120)
        again = waiting.submit(one.execute, text)
        anew = the_request(held, "twin-1", 2)
        decide(held, asked)
        decide(held, anew, approved=False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            again.result(120)
    assert len(executions(held, asked)) == 1


def test_somebody_on_call_does_not_wait(held: Proxy) -> None:
    token = held.token("ana", groups=["oncall"])
    with psycopg.connect(**held.app(token=token), autocommit=True, application_name="glass") as connection:
        done = connection.execute("/* break_glass='INC-12 payments are down' */ DELETE FROM held_rows WHERE a = 60")
        assert done.rowcount == 1

    def used() -> list[dict[str, Any]]:
        return [e for e in held.trail.refresh() if e["type"] == "BreakGlassUsed"]

    wait_for(lambda: bool(used()), "the event")
    assert (used()[0]["justification"], used()[0]["groups"], used()[0]["risk"]) == ("INC-12 payments are down", ["oncall"], 100)
    assert the_execution(held, used()[0])["outcome"]["rows_affected"] == 1


def test_who_may_write_the_control_topic_can_approve_nothing(held: Proxy, waiting: ThreadPoolExecutor) -> None:
    """Unsigned, signed by another key, and a true decision's signature put to another request."""
    with connect(held, "forged") as connection, connect(held, "true") as other:
        asks = waiting.submit(connection.execute, "DELETE FROM held_rows WHERE a = 55")
        request = the_request(held, "forged")
        also = waiting.submit(other.execute, "DELETE FROM held_rows WHERE a = 56")
        decide(held, the_request(held, "true"))
        also.result(120)
        decide(held, request, signer=STRANGER)
        message = ApprovalDecided(
            at=time.time_ns() // 1000, actor="bob", approval_id=request["approval_id"], approved=True, binding=request["binding"],
            expires_at=request["expires_at"], principal="bob", kind="human", groups=("dba",),
        )  # fmt: skip
        log = held.trail.open()
        true = [r for r in log.read(CONTROL.name, 0, 1000) if r.key.startswith(b"approval/") and r.headers][-2]
        for headers in ({}, true.headers):
            log.append(CONTROL.name, [NewRecord(message.key.encode(), encode(message), headers)])
        log.append(CONTROL.name, [NewRecord(message.key.encode(), true.value, true.headers)])
        log.close()
        named = {"key": message.key, "reason": "it is not signed"}

        def told() -> list[dict[str, Any]]:
            return [e for e in held.trail.refresh() if e["type"] == "ControlRefused"]

        wait_for(lambda: sum(e["count"] for e in told()) >= 1, "the refusal to be told of", 30)
        assert all(e["key"] == named["key"] for e in told())
        assert not asks.done(), "nothing of that let it run"
        decide(held, request)
        asks.result(120)
    assert closed(held, request)["deciders"] == ["bob"]


def test_nobody_who_decides_in_time_is_a_denial(pg: Postgres, policy: Path, held: Proxy) -> None:
    before = rows(held)
    settings = {"policy": {"files": [str(policy)]}, "approvals": {"wait_seconds": 1}, "masking": UNMASKED}
    with (
        running_proxy(pg, settings) as quick,
        psycopg.connect(**quick.app(), autocommit=True, application_name="expires") as connection,
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nobody decided in time"):
            connection.execute("DELETE FROM held_rows")
        request = the_request(quick, "expires")
        assert closed(quick, request)["status"] == "expired"
        decide(quick, request)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nobody decided in time"):
            connection.execute("DELETE FROM held_rows")  # what was decided too late is not for the next one
    assert rows(held) == before


@pytest.mark.embedded_log("its file is taken away")
def test_a_log_out_of_reach_is_a_denial(pg: Postgres, policy: Path, held: Proxy) -> None:
    before = rows(held)
    settings = {"policy": {"files": [str(policy)]}, "approvals": {"wait_seconds": 1}, "masking": UNMASKED}
    with (
        running_proxy(pg, settings) as quick,
        psycopg.connect(**quick.app(), autocommit=True, application_name="unreached") as connection,
    ):
        connection.execute("SELECT 1")
        (quick.data_dir / "log" / "log.db").rename(quick.data_dir / "log" / "gone.db")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nobody decided in time"):
            connection.execute("DELETE FROM held_rows")
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert rows(held) == before


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_proxy_that_ends_executes_nothing_and_says_so(pg: Postgres, policy: Path, held: Proxy, how: str) -> None:
    before = rows(held)
    running = Proxy(pg, {"policy": {"files": [str(policy)]}, "masking": UNMASKED})
    try:
        running.start()
        with ThreadPoolExecutor(5) as pool:
            connections = [psycopg.connect(**running.app(), autocommit=True, application_name=f"ends-{n}") for n in range(5)]
            futures = [pool.submit(c.execute, "DELETE FROM held_rows") for c in connections]
            asked = [the_request(running, f"ends-{n}") for n in range(5)]
            running.kill() if how == "kill" else running.stop()
            for future in futures:
                with pytest.raises(psycopg.OperationalError):
                    future.result(120)
        for request in asked:
            decide(running, request)
        running.start()
        status = "lost" if how == "kill" else "cancelled"
        assert {closed(running, r)["status"] for r in asked} == {status}
        assert len(closings(running)) == 5 and not list((running.data_dir / "held").rglob("*.json"))
        assert all(e["outcome"]["status"] == "cancelled" for r in asked for e in executions(running, r))
    finally:
        running.kill() if running.process else None
        running.remove()
    assert rows(held) == before


def test_no_value_stands_anywhere(held: Proxy, waiting: ThreadPoolExecutor) -> None:
    with connect(held, "secret") as connection:
        future = waiting.submit(
            connection.execute, "DELETE FROM held_rows WHERE b = 'never-in-clear-4711' OR b = %s", ("clear-0815",)
        )
        request = the_request(held, "secret")
        held.assert_nowhere("never-in-clear-4711", "clear-0815")
        decide(held, request, approved=False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            future.result(120)
    held.assert_nowhere("never-in-clear-4711", "clear-0815")
