"""Suspensions and killed sessions, by the command line, on a running proxy: who is ended, who is not, and what is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from deploy.layout import DataDir
from ingest.identity.tokens import TokenStore
from schemas.control import PrincipalResumed, PrincipalSuspended, encode, publish
from schemas.control_keys import load_control_signer
from schemas.log import NewRecord
from schemas.topics import CONTROL
from tests.support import affidavit
from tests.support.affidavit import Proxy
from tests.support.control_key import STRANGER, record
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

Client = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def proxy(pg: Postgres) -> Iterator[Proxy]:
    with affidavit.proxy(pg) as running:
        yield running


def command(proxy: Proxy, *words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from deploy.cli import main; sys.exit(main())"
    arguments = [sys.executable, "-c", code, *words, "-c", str(proxy.config_path)]
    return subprocess.run(arguments, cwd=affidavit.ROOT, capture_output=True, text=True, check=False)


def connect(proxy: Proxy, principal: str, **options: str) -> Client:
    token = proxy.token(principal, "agent" if options else "human", **options)
    return psycopg.connect(**proxy.app(principal, token), autocommit=True)  # type: ignore[arg-type]


def over(connection: Client) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def ends(proxy: Proxy) -> set[tuple[str, str]]:
    return {(e["principal"]["id"], e["reason"]) for e in proxy.trail.of_type("SessionClosed")}


def test_a_suspension_ends_sessions_also_of_agents_and_bars_logins(proxy: Proxy) -> None:
    dana, agent, other = connect(proxy, "dana"), connect(proxy, "copilot", on_behalf_of="dana"), connect(proxy, "olaf")
    done = command(proxy, "principal", "suspend", "dana", "--reason", "left the company")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: over(dana), "dana's session to end")
    wait_for(lambda: over(agent), "the session of dana's agent to end")
    assert not over(other)
    for principal, options in (("dana", {}), ("copilot", {"on_behalf_of": "dana"})):
        with pytest.raises(psycopg.OperationalError, match="dana is suspended"):
            connect(proxy, principal, **options)
    with connect(proxy, "copilot", on_behalf_of="olaf") as unaffected:
        assert not over(unaffected)
    wait_for(lambda: {("dana", "suspended"), ("copilot", "suspended")} <= ends(proxy), "both ends in the trail")
    assert command(proxy, "principal", "resume", "dana").returncode == 0

    def logs_in() -> bool:
        try:
            connect(proxy, "dana").close()
        except psycopg.OperationalError:
            return False
        return True

    wait_for(logs_in, "dana to be let in again")
    store = TokenStore(DataDir(proxy.data_dir).identity, lambda: 0, lambda n: bytes(n))
    actions = {a.action: (a.target, a.details) for a in store.claim_actions(1000)}
    store.close()
    assert actions["principal.suspend"] == ("dana", {"reason": "left the company", "expires_at": "0"})
    assert actions["principal.resume"] == ("dana", {})
    other.close()


def test_a_suspension_reaches_every_name_that_may_be_the_same_persons(proxy: Proxy) -> None:
    address, shouted = connect(proxy, "nina@example.com"), connect(proxy, "NINA")
    agent = connect(proxy, "helper", on_behalf_of="Nina@example.com")
    others = [connect(proxy, "nina2"), connect(proxy, "helper", on_behalf_of="olaf")]
    began = time.monotonic()
    assert command(proxy, "principal", "suspend", "nina").returncode == 0
    for connection in (address, shouted, agent):
        wait_for(lambda connection=connection: over(connection), "the session to end")
    assert not any(over(c) for c in others) and time.monotonic() - began < 30
    with pytest.raises(psycopg.OperationalError, match=r"nina@example\.com is suspended"):
        connect(proxy, "nina@example.com")
    listed = command(proxy, "principal", "suspended", "--json")
    assert [json.loads(line)["principal"] for line in listed.stdout.splitlines()] == ["nina"], listed.stderr
    done = command(proxy, "principal", "resume", "nina@example.com")
    assert "still barred by the suspension of nina: resume that as well" in done.stderr
    with pytest.raises(psycopg.OperationalError, match="is suspended"):
        connect(proxy, "NINA")
    done = command(proxy, "principal", "resume", "nina")
    assert done.returncode == 0 and "still barred" not in done.stderr
    assert command(proxy, "principal", "suspended").stdout.strip() == "nobody is suspended"

    # Who is named with the domain is one person, and so is nobody of another domain.
    elsewhere = connect(proxy, "nina@example.org")
    assert command(proxy, "principal", "suspend", "nina@example.com").returncode == 0
    bare = connect_refused(proxy, "nina")
    assert "nina is suspended" in bare and not over(elsewhere)
    assert command(proxy, "principal", "resume", "nina@example.com").returncode == 0
    for connection in (*others, elsewhere):
        connection.close()


def connect_refused(proxy: Proxy, principal: str) -> str:
    """Return why a login is refused, once it is."""
    said: list[str] = []

    def refused() -> bool:
        try:
            connect(proxy, principal).close()
        except psycopg.OperationalError as error:
            said.append(str(error))
        return bool(said)

    wait_for(refused, "the login to be refused")
    return said[0]


def test_a_suspension_for_a_time_ends_by_itself(proxy: Proxy) -> None:
    assert command(proxy, "principal", "suspend", "tim", "--ttl", "3s").returncode == 0

    def refused() -> bool:
        try:
            connect(proxy, "tim").close()
        except psycopg.OperationalError as error:
            return "tim is suspended" in str(error)
        return False

    wait_for(refused, "tim to be refused", 3)
    wait_for(lambda: not refused(), "the suspension to end")


def test_one_session_is_killed_and_no_other(proxy: Proxy) -> None:
    first, second = connect(proxy, "kim"), connect(proxy, "kim")

    def opened() -> list[str]:
        return [e["session_id"] for e in proxy.trail.of_type("SessionOpened") if e["principal"]["id"] == "kim"]

    wait_for(lambda: len(opened()) == 2, "both sessions in the trail")
    assert command(proxy, "session", "kill", opened()[0]).returncode == 0
    wait_for(lambda: over(first), "the first session to end")
    assert not over(second)
    wait_for(lambda: ("kim", "killed") in ends(proxy), "SessionClosed with its reason")
    second.close()


def test_what_a_suspended_principal_runs_is_cancelled(proxy: Proxy, pg: Postgres) -> None:
    rex = connect(proxy, "rex")
    broken: list[psycopg.Error] = []

    def sleep() -> None:
        try:
            rex.execute("SELECT pg_sleep(120) /* of rex */")
        except psycopg.Error as error:
            broken.append(error)

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    with pg.superuser() as admin:

        def sleeping() -> bool:
            asked = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%of rex%' AND state = 'active' AND pid <> pg_backend_pid()"
            return admin.execute(asked).fetchone() is not None

        wait_for(sleeping, "the statement to run")
        assert command(proxy, "principal", "suspend", "rex").returncode == 0
        wait_for(lambda: not sleeping(), "the statement to be cancelled")
    sleeper.join(20)
    assert broken


def test_what_cannot_be_read_is_a_suspension(proxy: Proxy) -> None:
    eve = connect(proxy, "eve")
    log = proxy.trail.open()
    signer = load_control_signer(DataDir(proxy.data_dir).keys)
    log.append(CONTROL.name, [record("principal/eve", b'{"type":"PrincipalResumed","v":99}', signer)])
    wait_for(lambda: over(eve), "eve's session to end")
    with pytest.raises(psycopg.OperationalError, match="eve is suspended"):
        connect(proxy, "eve")
    log.close()
    assert command(proxy, "principal", "resume", "eve").returncode == 0

    def back() -> bool:
        try:
            connect(proxy, "eve").close()
        except psycopg.OperationalError:
            return False
        return True

    wait_for(back, "eve to be let in again")


def test_who_may_write_the_topic_can_neither_suspend_nor_resume(proxy: Proxy) -> None:
    """Unsigned, signed by a stranger, and what an administrator said once before, published again."""
    assert command(proxy, "principal", "suspend", "mallory").returncode == 0
    log = proxy.trail.open()
    end = log.end_offset(CONTROL.name)
    at = time.time_ns() // 1000
    resumed = PrincipalResumed(at=at, actor="mallory", principal="mallory")
    ago = PrincipalResumed(at=at - 5_000_000, actor="sam", principal="mallory")
    log.append(CONTROL.name, [NewRecord(resumed.key.encode(), encode(resumed))])
    publish(log, [resumed], STRANGER)
    publish(log, [ago], load_control_signer(DataDir(proxy.data_dir).keys))
    moved = log.read(CONTROL.name, end - 1, 1)[0]
    log.append(CONTROL.name, [NewRecord(resumed.key.encode(), encode(resumed), moved.headers)])
    log.append(CONTROL.name, [NewRecord(resumed.key.encode(), b"", tombstone=True)])
    victim = connect(proxy, "vic")
    publish(log, [PrincipalSuspended(at=at, actor="mallory", principal="vic")], STRANGER)
    log.close()
    wait_for(lambda: sum(e["count"] for e in refused(proxy)) >= 1, "the event", 30)
    wait_for(lambda: any(e["reason"].startswith("it is") or "none of the keys" in e["reason"] for e in refused(proxy)), "why")
    victim.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="mallory is suspended"):
        connect(proxy, "mallory")
    assert all(e["key"].startswith("principal/") for e in refused(proxy))
    victim.close()


def refused(proxy: Proxy) -> list[dict[str, Any]]:
    return [e for e in proxy.trail.refresh() if e["type"] == "ControlRefused"]
