"""Logins by identity token and by client certificate, as psql and drivers make them, and what the trail says of them."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509

from deploy.layout import DataDir
from ingest.identity.tokens import TokenStore
from tests.support import affidavit
from tests.support.affidavit import Proxy
from tests.support.certificates import Issued, issue
from tests.support.issuer import AUDIENCE, Issuer, published
from tests.support.ports import wait_for
from tests.support.postgres import APP_USER, DATABASE, Postgres

SPIFFE = "spiffe://example.org/billing/worker"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    with published(made):
        yield made


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return issue(tmp_path_factory.mktemp("spiffe"), "worker", client=True, names=[x509.UniformResourceIdentifier(SPIFFE)])


@pytest.fixture(scope="module")
def proxy(pg: Postgres, issuer: Issuer, certificates: Issued) -> Iterator[Proxy]:
    trusted = {"issuer": issuer.name, "audience": AUDIENCE}
    tls = {"mode": "allow", "client_ca_file": str(certificates.ca)}
    with affidavit.proxy(pg, {"identity": {"issuers": [trusted]}, "database": {"client_tls": tls}}) as running:
        yield running


def connect(proxy: Proxy, password: str, user: str = "dana", **more: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(**{**proxy.app(user, password), **more})  # type: ignore[arg-type]


def opened(proxy: Proxy, principal: str) -> dict[str, object]:
    def find() -> dict[str, object] | None:
        found = [e for e in proxy.trail.refresh() if e["type"] == "SessionOpened" and e["principal"]["id"] == principal]
        return found[-1] if found else None

    wait_for(find, f"SessionOpened of {principal}")
    found = find()
    assert found is not None
    return found


def failures(proxy: Proxy) -> list[str]:
    return [e["reason"] for e in proxy.trail.refresh() if e["type"] == "AuthenticationFailed"]


def test_psql_logs_in_with_an_identity_token(proxy: Proxy, issuer: Issuer) -> None:
    app = proxy.app("dana", issuer.token())
    command = ["psql", "-XAt", "-h", app["host"], "-p", str(app["port"]), "-U", "dana", "-c", "SELECT 40 + 2", DATABASE]
    done = subprocess.run(command, env={"PGPASSWORD": app["password"], "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr
    event = opened(proxy, "dana")
    assert event["principal"]["auth_method"] == "jwt" and event["principal"]["groups"] == ["engineering", "oncall"]


def test_an_agents_statement_carries_the_whole_delegation(proxy: Proxy, issuer: Issuer) -> None:
    token = issuer.token(act={"sub": "copilot", "act": {"sub": "planner"}})
    with connect(proxy, token, "copilot") as connection:
        connection.execute("SELECT 'delegated'")

    def ran() -> bool:
        found = [e["principal"] for e in proxy.trail.refresh() if e["type"] == "QueryExecuted"]
        return any((p["id"], p["kind"], p["delegation"]) == ("copilot", "agent", ["planner", "dana"]) for p in found)

    wait_for(ran, "the agent's statement with its delegation")
    proxy.assert_nowhere(token, token.split(".")[2])


def test_a_refused_identity_token_says_what_is_wrong_and_nothing_of_itself(proxy: Proxy, issuer: Issuer) -> None:
    cases = {
        issuer.token(exp=1): ("has expired", "jwt_expired"),
        issuer.token(aud="another"): ("another audience", "jwt_wrong_audience"),
        Issuer("https://other.example").token(): ("does not trust", "jwt_unknown_issuer"),
    }
    for token, (words, reason) in cases.items():
        with pytest.raises(psycopg.OperationalError, match=words) as refused:
            connect(proxy, token)
        assert token.split(".")[1] not in str(refused.value)
        wait_for(lambda reason=reason: reason in failures(proxy), f"AuthenticationFailed with {reason}")
    proxy.assert_nowhere(*cases)


def test_the_user_must_be_the_principal(proxy: Proxy, issuer: Issuer) -> None:
    with pytest.raises(psycopg.OperationalError, match="principal or the database user"):
        connect(proxy, issuer.token(), "root")
    with connect(proxy, issuer.token(), APP_USER) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def is_over(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_a_session_ends_with_its_identity_token(pg: Postgres, issuer: Issuer) -> None:
    trusted = {"issuer": issuer.name, "audience": AUDIENCE, "clock_skew_seconds": 0}
    with (
        affidavit.proxy(pg, {"identity": {"issuers": [trusted]}}) as short,
        connect(short, issuer.token(exp=int(time.time()) + 3), autocommit=True) as connection,  # type: ignore[arg-type]
    ):
        connection.execute("SELECT 1")

        wait_for(lambda: is_over(connection), "the session to end with its token")


def test_what_runs_ends_with_a_token_that_is_revoked(pg: Postgres, proxy: Proxy) -> None:
    def runs() -> bool:
        with pg.superuser() as admin:
            asked = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(301)' AND state = 'active'"
            return admin.execute(asked).fetchone() != (0,)

    token = proxy.token("rita")
    with ThreadPoolExecutor(1) as pool, connect(proxy, token, "rita") as connection:
        future = pool.submit(connection.execute, "SELECT pg_sleep(301)")
        wait_for(runs, "the statement to run")
        store = TokenStore(DataDir(proxy.data_dir).identity, lambda: time.time_ns() // 1000, secrets.token_bytes)
        assert store.revoke(token, "tests")
        store.close()
        with pytest.raises(psycopg.OperationalError, match="no longer valid"):
            future.result(30)
        wait_for(lambda: not runs(), "the database to run it no longer", 30)


def test_an_identity_token_ends_its_sessions_also_where_the_store_of_tokens_is_damaged(pg: Postgres, issuer: Issuer) -> None:
    trusted = {"issuer": issuer.name, "audience": AUDIENCE, "clock_skew_seconds": 0}
    with affidavit.proxy(pg, {"identity": {"issuers": [trusted]}}) as damaged, contextlib.ExitStack() as open_sessions:
        for n in range(5):
            open_sessions.enter_context(connect(damaged, damaged.token(f"ana{n}"), f"ana{n}"))
        connection = open_sessions.enter_context(connect(damaged, issuer.token(exp=int(time.time()) + 6), autocommit=True))  # type: ignore[arg-type]
        for file in (damaged.data_dir).glob("identity.db*"):
            file.write_bytes(b"\0" * 65536)
        wait_for(lambda: "token_store" in damaged.said(), "the damage to be seen", 30)

        wait_for(lambda: is_over(connection), "the session to end with its token", 30)


def test_keys_are_rotated_and_an_issuer_that_is_down_stops_nobody(pg: Postgres) -> None:
    rotating = Issuer()
    with (
        published(rotating),
        affidavit.proxy(pg, {"identity": {"issuers": [{"issuer": rotating.name, "audience": AUDIENCE}]}}) as running,
    ):
        rotating.down = True
        with pytest.raises(psycopg.OperationalError, match=r"cannot be checked: the keys of .* answered 503"):
            connect(running, rotating.token())
        rotating.down = False

        def logs_in() -> bool:
            try:
                connect(running, rotating.token()).close()
            except psycopg.OperationalError:
                return False
            return True

        wait_for(logs_in, "the keys to be fetched once the issuer is back", 30)
        rotating.down = True
        connect(running, rotating.token()).close()
        asked = rotating.asked
        connect(running, rotating.token()).close()
        assert rotating.asked == asked, "keys are fetched once, not for every login"


def test_a_client_certificate_with_a_spiffe_id_needs_no_token(proxy: Proxy, certificates: Issued) -> None:
    shown = {"sslmode": "require", "sslcert": str(certificates.cert), "sslkey": str(certificates.key)}
    parameters = {**proxy.app(APP_USER, "unused"), **shown}
    del parameters["password"]
    with psycopg.connect(**parameters) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not connection.pgconn.used_password
    event = opened(proxy, SPIFFE)
    assert event["principal"]["auth_method"] == "spiffe" and event["principal"]["kind"] == "service"


def test_a_certificate_of_another_authority_does_not_get_in(proxy: Proxy, tmp_path: Path) -> None:
    other = issue(tmp_path, "worker", client=True)
    with pytest.raises(psycopg.OperationalError):
        connect(proxy, proxy.token("dana"), sslmode="require", sslcert=str(other.cert), sslkey=str(other.key))
    with connect(proxy, proxy.token("dana"), sslmode="require", sslcert="/nowhere") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,), "a token still does where certificates are not required"


def test_guessing_is_slowed(pg: Postgres) -> None:
    with affidavit.proxy(pg) as running:
        for n in range(12):
            with pytest.raises(psycopg.OperationalError, match="not a token this proxy knows"):
                connect(running, f"afd_guess_{n}", sslmode="disable")

        def refused() -> list[int]:
            return [e["at"] for e in running.trail.refresh() if e["type"] == "AuthenticationFailed"]

        wait_for(lambda: len(refused()) == 12, "twelve AuthenticationFailed")
        times = sorted(refused())
        assert times[10] - times[9] >= 500_000 and times[11] - times[10] >= 1_000_000
