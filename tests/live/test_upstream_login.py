"""The proxy's login against a real server: every method it speaks, TLS as configured, and what a refusal looks like."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ingest.net.tls import client_context, peer_end_point_hash
from ingest.protocols.postgres import messages as m
from ingest.protocols.postgres.scram import ScramKeys
from ingest.protocols.postgres.upstream_login import LoginDone, LoginFailed, SendBytes, StartTls, UpstreamLogin
from schemas.config import ServerTlsMode
from tests.support import postgres
from tests.support.certificates import Issued, issue
from tests.support.ports import wait_for

PASSWORDS = {
    "scram_user": "pencil ½",  # SASLprep makes it "pencil 1⁄2"
    "md5_user": "md5-pw",
    "clear_user": "clear-pw",
    "trust_user": "",
    "cert_user": "",
    "no_entry": "x",
}


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    if not postgres.can_tls():
        pytest.skip("the PostgreSQL found here was built without TLS")
    with postgres.running(tls=True, oracle=False) as running:
        with running.superuser("postgres") as admin:
            for user, password in PASSWORDS.items():
                admin.execute(f"SET password_encryption = '{'md5' if user == 'md5_user' else 'scram-sha-256'}'")
                admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'" if password else f"CREATE ROLE {user} LOGIN")
        running.set_hba(
            "local all clear_user password",
            "host all scram_user all scram-sha-256",
            "host all md5_user all md5",
            "host all clear_user all password",
            "host all trust_user all trust",
            "hostssl all cert_user all cert",
        )
        yield running


@pytest.fixture(scope="module")
def client_certificate(server: postgres.Postgres, tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """A certificate for cert_user, by an authority that the server then trusts for its clients."""
    issued = issue(tmp_path_factory.mktemp("client"), "cert_user", client=True)
    trusted = server.data / "clients.crt"
    trusted.write_bytes(issued.ca.read_bytes())
    with server.superuser("postgres") as admin:
        admin.execute(f"ALTER SYSTEM SET ssl_ca_file = '{trusted}'")
        admin.execute("SELECT pg_reload_conf()")
    return issued


def log_in(
    server: postgres.Postgres,
    user: str,
    tls: ServerTlsMode,
    *,
    ca: Path | None = None,
    certificate: Issued | None = None,
    host: str = "localhost",
    end_point_hash: bytes | None = None,
    query: bool = True,
    **options: Any,
) -> LoginDone | LoginFailed:
    """Drive the machine over a blocking socket; after a login, one query shows that the session works."""
    plain = socket.create_connection((server.host, server.port), timeout=20)
    with closing(plain):
        connection: socket.socket | ssl.SSLSocket = plain
        context = client_context(tls, ca, certificate.cert if certificate else None, certificate.key if certificate else None)

        def hash_() -> bytes | None:
            return end_point_hash or (peer_end_point_hash(connection) if isinstance(connection, ssl.SSLSocket) else None)

        password = options.pop("password", PASSWORDS[user])
        login = UpstreamLogin(
            user,
            "postgres",
            password.encode() or None,
            {
                "user": "alice",
                "database": "x",
                "application_name": "naïve",
                "DateStyle": "SQL, DMY",
                **options.pop("parameters", {}),
            },
            nonce=secrets.token_urlsafe(18),
            tls=tls.value,
            end_point_hash=hash_,
            **options,
        )
        connection.sendall(login.start())
        while True:
            data = connection.recv(65536)
            assert data, "the server closed the connection without a word"
            actions = login.receive(data)
            while actions:
                match actions.pop(0):
                    case SendBytes(out):
                        connection.sendall(out)
                    case StartTls():
                        assert context is not None
                        connection = context.wrap_socket(plain, server_hostname=host)
                        actions += login.tls_started()
                    case LoginDone() as done:
                        if query:
                            _run_a_query(connection, user)
                        connection.close()
                        return done
                    case LoginFailed() as failed:
                        connection.close()
                        return failed


def _run_a_query(connection: socket.socket, user: str) -> None:
    connection.sendall(m.query("SELECT session_user, current_database(), current_setting('application_name')"))
    answer = b""
    while not answer.endswith(m.ready_for_query(b"I")):
        answer += connection.recv(65536)
    assert user.encode() in answer and b"postgres" in answer
    assert b"na??ve" in answer or b"na\\xc3\\xafve" in answer  # the client's name, as servers up to 15 and from 16 escape it
    connection.sendall(m.terminate())


@pytest.mark.parametrize(
    ("user", "tls", "method"),
    [
        ("trust_user", ServerTlsMode.DISABLE, "trust"),
        ("scram_user", ServerTlsMode.DISABLE, "scram-sha-256"),
        ("scram_user", ServerTlsMode.PREFER, "scram-sha-256-plus"),
        ("scram_user", ServerTlsMode.REQUIRE, "scram-sha-256-plus"),
        ("scram_user", ServerTlsMode.VERIFY_CA, "scram-sha-256-plus"),
        ("scram_user", ServerTlsMode.VERIFY_FULL, "scram-sha-256-plus"),
        ("md5_user", ServerTlsMode.DISABLE, "md5"),
        ("md5_user", ServerTlsMode.VERIFY_FULL, "md5"),
        ("clear_user", ServerTlsMode.VERIFY_FULL, "password"),
    ],
)
def test_methods(server: postgres.Postgres, user: str, tls: ServerTlsMode, method: str) -> None:
    assert server.certificate is not None
    checks = tls in (ServerTlsMode.VERIFY_CA, ServerTlsMode.VERIFY_FULL)
    done = log_in(server, user, tls, ca=server.certificate.ca if checks else None)
    assert isinstance(done, LoginDone), done
    assert done.method == method and done.tls_active is (tls is not ServerTlsMode.DISABLE)
    assert done.status == b"I" and done.pid > 0 and len(done.key) == 4 and done.leftover == b""
    assert done.parameter_status["DateStyle"] == "SQL, DMY" and done.parameter_status["session_authorization"] == user
    assert done.parameter_status["server_version"].startswith(tuple("123456789"))


def test_client_certificate(server: postgres.Postgres, client_certificate: Issued) -> None:
    assert server.certificate is not None
    done = log_in(server, "cert_user", ServerTlsMode.VERIFY_FULL, ca=server.certificate.ca, certificate=client_certificate)
    assert isinstance(done, LoginDone) and done.tls_active
    failed = log_in(server, "cert_user", ServerTlsMode.VERIFY_FULL, ca=server.certificate.ca)
    assert isinstance(failed, LoginFailed) and failed.sqlstate == "28000"


def test_server_notices_a_channel_that_is_not_its_own(server: postgres.Postgres) -> None:
    failed = log_in(server, "scram_user", ServerTlsMode.REQUIRE, end_point_hash=b"x" * 32)
    assert isinstance(failed, LoginFailed) and failed.sqlstate == "28000" and b"channel binding" in failed.fields["M"]


def test_cleartext_password_stays_off_an_open_connection(server: postgres.Postgres) -> None:
    failed = log_in(server, "clear_user", ServerTlsMode.DISABLE)
    assert isinstance(failed, LoginFailed) and "clear text" in failed.reason and failed.fields == {}
    done = log_in(server, "clear_user", ServerTlsMode.DISABLE, local=True)
    assert isinstance(done, LoginDone) and done.method == "password"


@pytest.mark.parametrize("user", ["scram_user", "md5_user"])
def test_wrong_password(server: postgres.Postgres, user: str) -> None:
    failed = log_in(server, user, ServerTlsMode.PREFER, password="wrong")
    assert isinstance(failed, LoginFailed) and failed.sqlstate == "28P01"


def test_refusals_carry_the_servers_words(server: postgres.Postgres) -> None:
    no_entry = log_in(server, "no_entry", ServerTlsMode.PREFER)
    assert isinstance(no_entry, LoginFailed) and no_entry.sqlstate == "28000" and b"pg_hba.conf" in no_entry.fields["M"]
    bad_setting = log_in(server, "trust_user", ServerTlsMode.DISABLE, parameters={"DateStyle": "nonsense"})
    assert isinstance(bad_setting, LoginFailed) and bad_setting.sqlstate == "22023"


def test_unknown_authority_and_wrong_name(server: postgres.Postgres, tmp_path: Path) -> None:
    assert server.certificate is not None
    with pytest.raises(ssl.SSLCertVerificationError):
        log_in(server, "trust_user", ServerTlsMode.VERIFY_CA, ca=issue(tmp_path).ca)
    with pytest.raises(ssl.SSLCertVerificationError):
        log_in(server, "trust_user", ServerTlsMode.VERIFY_FULL, ca=server.certificate.ca, host="db.example")
    done = log_in(server, "trust_user", ServerTlsMode.VERIFY_CA, ca=server.certificate.ca, host="db.example")
    assert isinstance(done, LoginDone)


def test_newer_protocol_is_negotiated_with_this_server(server: postgres.Postgres) -> None:
    done = log_in(server, "scram_user", ServerTlsMode.DISABLE, minor=2)
    assert isinstance(done, LoginDone)
    version = int(done.parameter_status["server_version"].split(".")[0])
    assert done.minor == (2 if version >= 18 else 0)


def test_second_login_reuses_the_derived_key(server: postgres.Postgres) -> None:
    keys = ScramKeys()
    for _ in range(2):
        assert isinstance(log_in(server, "scram_user", ServerTlsMode.DISABLE, keys=keys), LoginDone)
    assert len(keys._salted) == 1


@pytest.mark.parametrize(
    ("tls", "logs_in"), [(ServerTlsMode.PREFER, True), (ServerTlsMode.REQUIRE, False), (ServerTlsMode.VERIFY_FULL, False)]
)
def test_server_without_tls(tls: ServerTlsMode, logs_in: bool) -> None:
    with postgres.running(oracle=False) as bare:
        bare.set_hba("host all trust_user all trust")
        with bare.superuser("postgres") as admin:
            admin.execute("CREATE ROLE trust_user LOGIN")
        result = log_in(bare, "trust_user", tls)
        assert isinstance(result, LoginDone if logs_in else LoginFailed)
        assert isinstance(result, LoginDone) or "does not take TLS" in result.reason


def test_cancel_key_of_the_login_cancels(server: postgres.Postgres) -> None:
    with closing(socket.create_connection((server.host, server.port), timeout=20)) as connection:
        login = UpstreamLogin("trust_user", "postgres", None, {}, nonce="n", tls="disable")
        connection.sendall(login.start())
        actions = login.receive(connection.recv(65536))
        while not actions:
            actions = login.receive(connection.recv(65536))
        (done,) = actions
        assert isinstance(done, LoginDone)
        connection.sendall(m.query("SELECT pg_sleep(60)"))
        with server.superuser("postgres") as admin:
            active = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
            wait_for(lambda: admin.execute(active, (done.pid,)).fetchone(), "the query to run")
        with closing(socket.create_connection((server.host, server.port), timeout=20)) as other:
            other.sendall(m.cancel_request(done.pid, done.key))
            assert other.recv(1) == b""
        answer = b""
        while not answer.endswith(m.ready_for_query()):
            answer += connection.recv(65536)
        assert b"57014" in answer
