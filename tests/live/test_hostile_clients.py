"""What is left of a login that was refused, or of a client that sends and never reads: no secret, no socket, an event?"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.identity.tokens import TokenStore
from schemas.local_socket import address_of
from schemas.proxy_status import ProxyStatus, status_socket
from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.clients import needle
from tests.support.ports import wait_for
from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def proxied(pg: Postgres) -> Iterator[Proxy]:
    with running_proxy(pg, {"proxy": {"login_timeout_seconds": 20}}) as running:
        yield running


def refused(proxy: Proxy, **changes: Any) -> tuple[str, dict[str, Any]]:
    """Return what the client reads and the one event of a login that must fail."""
    before = len(proxy.trail.of_type("AuthenticationFailed"))
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(**{**proxy.app(), "sslmode": "disable", **changes})
    found = wait_for(lambda: proxy.trail.of_type("AuthenticationFailed")[before:], "an AuthenticationFailed", poll=0.05)
    return str(caught.value), found[0]


def test_a_token_given_as_user_or_database_stands_nowhere(proxied: Proxy) -> None:
    token = proxied.token("bob")
    _, first = refused(proxied, user=token, password="x")
    _, again = refused(proxied, user=token, password="y")
    assert first["claimed"].startswith("name:")
    assert first["claimed"] == again["claimed"]
    _, event = refused(proxied, dbname=token)
    assert event["database"].startswith("name:")
    assert event["claimed"] == "ana"
    proxied.assert_nowhere(token)


def test_a_known_name_is_told(proxied: Proxy) -> None:
    _, event = refused(proxied, user="app_owner", password="wrong")
    assert event["claimed"] == "app_owner"
    assert event["database"] == "shop"


def test_what_a_server_says_of_startup_options_reaches_the_client_alone(proxied: Proxy) -> None:
    secret = needle()
    words, event = refused(proxied, options=f"-c work_mem={secret}")
    assert secret in words
    assert event["reason"] == "upstream"
    assert "22023" in proxied.said()
    proxied.assert_nowhere(secret)


def test_startup_parameters_too_long_for_the_server_are_refused_at_once(proxied: Proxy) -> None:
    words, event = refused(proxied, user="ana", application_name="x" * 9950)
    assert "startup parameters take" in words
    assert event["reason"] == "upstream"


def sockets(proxy: Proxy, *ports: int) -> int:
    """How many sockets the proxy has with one of these ports at either end: those to brokers, which come and go, are others."""
    mine = set()
    for entry in os.listdir(f"/proc/{proxy.pid}/fd"):
        with contextlib.suppress(OSError):
            mine.add(os.readlink(f"/proc/{proxy.pid}/fd/{entry}"))
    found = 0
    for line in Path(f"/proc/{proxy.pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        at = {int(end.rpartition(":")[2], 16) for end in (local, remote)}
        found += f"socket:[{inode}]" in mine and not at.isdisjoint(ports)
    return found


def test_a_client_that_never_reads_cannot_keep_its_socket(pg: Postgres, proxied: Proxy) -> None:
    token = proxied.token("carl")
    ends = proxied.port, pg.port
    before = sockets(proxied, *ends)
    connection = psycopg.connect(**proxied.app("carl", token), autocommit=True)
    connection.pgconn.send_query(b"SELECT repeat('x', 1000000) FROM generate_series(1, 100)")
    connection.pgconn.flush()
    wait_for(lambda: sockets(proxied, *ends) >= before + 2, "both sockets to be open", 30)
    store = TokenStore(proxied.data_dir / "identity.db", lambda: 1, os.urandom)
    try:
        [mine] = [t for t in store.tokens() if t.principal_id == "carl"]
        store.revoke(mine.token_id, "tests")
    finally:
        store.close()
    wait_for(lambda: sockets(proxied, *ends) == before, "both sockets to be closed while the client still has its own", 30)
    connection.close()


def test_a_flood_that_nobody_reads_waits_and_others_do_not(proxied: Proxy) -> None:
    """Each open statement takes room in the spool; one client must not take all of it."""
    flood = psycopg.connect(**proxied.app("dora"), autocommit=True, sslmode="disable")
    raw = socket.socket(fileno=os.dup(flood.pgconn.socket))
    raw.setblocking(True)
    raw.settimeout(2)
    text = b"SELECT 1\0"
    queries = (b"Q" + struct.pack(">I", len(text) + 4) + text) * 2000
    sent = 0
    with contextlib.suppress(TimeoutError):  # backpressure: at some point nothing more is taken
        while sent < 300:
            raw.sendall(queries)
            sent += 1
    assert sent < 300
    with psycopg.connect(**proxied.app("erik")) as other:
        assert other.execute("SELECT 41 + 1").fetchone() == (42,)
    assert "spool refuses" not in proxied.said()
    received = 0
    while received < 1_000_000:  # and when it reads, it goes on
        received += len(raw.recv(65536))
    raw.close()
    flood.close()


def status_of(proxy: Proxy) -> ProxyStatus:
    with socket.socket(socket.AF_UNIX) as sock, address_of(proxy.data_dir / "run" / status_socket(0)) as address:
        sock.connect(address)
        return ProxyStatus.decode(b"".join(iter(lambda: sock.recv(65536), b"")))


def startup(user: str = "ana", database: str = "shop") -> bytes:
    body = struct.pack("!I", 196608) + f"user\0{user}\0database\0{database}\0\0".encode()
    return struct.pack("!I", len(body) + 4) + body


def guess(running: Proxy, password: bytes, leave: bool) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as sock:
        sock.sendall(startup())
        assert sock.recv(100)[:1] == b"R"
        sock.sendall(b"p" + struct.pack("!I", len(password) + 5) + password + b"\0")
        if not leave:
            assert sock.recv(1000)[:1] == b"E"


def test_guessers_who_leave_fill_no_trail_and_slow_nobody_else_of_their_address(pg: Postgres) -> None:
    """Not waiting for answers, a guesser would write an event as often as it can connect; behind a NAT others are beside it."""
    with running_proxy(pg) as running:
        app = running.app()
        for n in range(12):
            guess(running, b"afd_guess_%d" % n, leave=False)
        for n in range(200):
            guess(running, b"afd_again_%d" % n, leave=True)
        with psycopg.connect(**app, connect_timeout=8) as connection:  # a refusal waits for 15 s by now
            assert connection.execute("SELECT 1").fetchone() == (1,)

        def told() -> list[int]:
            return [e["count"] for e in running.trail.of_type("AuthenticationFailed")]

        wait_for(lambda: sum(told()) == 212, "all guesses to be told", 30, poll=0.1)
        assert len(told()) < 50
        assert sum(status_of(running).logins_refused.values()) == 212


def test_what_is_told_together_is_told_before_the_end(pg: Postgres) -> None:
    with running_proxy(pg, {"audit": {"seal_interval_ms": 5000}}) as running:
        for n in range(150):
            with socket.create_connection(("127.0.0.1", running.port)) as sock:
                sock.sendall(struct.pack("!IHH", 8, 100 + n, n))
                assert sock.recv(1000)[:1] == b"E"
        running.stop()
        assert sum(e["count"] for e in running.trail.of_type("AuthenticationFailed")) == 150


def test_what_a_client_sends_is_no_label_of_metrics_and_fills_no_trail(pg: Postgres) -> None:
    with running_proxy(pg) as running:
        for n in range(400):
            with socket.create_connection(("127.0.0.1", running.port)) as sock:
                sock.sendall(struct.pack("!IHH", 8, 100 + n, n))
                assert sock.recv(1000)[:1] == b"E"

        def counted() -> int:
            return sum(e["count"] for e in running.trail.of_type("AuthenticationFailed"))

        wait_for(lambda: counted() == 400, "all refusals to be told", poll=0.1)
        assert len(running.trail.of_type("AuthenticationFailed")) < 150
        assert status_of(running).logins_refused == {"startup_failed": 400}


def test_a_guessed_cancel_key_cancels_nothing_and_is_told(proxied: Proxy) -> None:
    with psycopg.connect(**proxied.app()) as connection:
        pid = connection.info.backend_pid
        for key in (b"", b"1234", os.urandom(32)):
            with socket.create_connection(("127.0.0.1", proxied.port)) as sock:
                sock.sendall(struct.pack("!III", 12 + len(key), 80877102, pid) + key)
                assert sock.recv(100) == b"" or not key
        reasons = wait_for(
            lambda: [e for e in proxied.trail.of_type("AuthenticationFailed") if e["reason"] == "cancel_key"], "the guesses"
        )
        assert all(e["client"]["address"] == "127.0.0.1" for e in reasons)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_crash_leaves_no_core_file_with_what_was_in_memory(proxied: Proxy) -> None:
    children = Path(f"/proc/{proxied.pid}/task/{proxied.pid}/children").read_text().split()
    for pid in (proxied.pid, *children):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (cores,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
        assert set(cores) <= {"0", "1"}, "one byte is none, also for programs that the kernel hands cores to"


def test_who_makes_room_within_a_handshake_hears_nothing_in_clear_and_is_told_once(pg: Postgres) -> None:
    with running_proxy(pg, {"proxy": {"max_connections": 1}}) as running:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", running.port)) as sock:
                sock.sendall(struct.pack("!II", 8, 80877103))
                assert sock.recv(1) == b"S"
                with socket.create_connection(("127.0.0.1", running.port)):
                    assert sock.recv(100) == b""
        running.stop()
        assert {e["reason"] for e in running.trail.of_type("AuthenticationFailed")} == {"too_many_connections"}


def let_in(app: dict[str, Any]) -> psycopg.Connection[Any] | None:
    with contextlib.suppress(psycopg.OperationalError):
        return psycopg.connect(**app, sslmode="disable")
    return None


def test_who_tries_again_and_again_turns_out_nobody_who_logs_in(pg: Postgres) -> None:
    """Where sessions have nearly all places, each of many clients that try would else turn out the one before."""
    with running_proxy(pg, {"proxy": {"max_connections": 4}}) as running, contextlib.ExitStack() as stack:
        app = running.app()
        for _ in range(3):
            stack.enter_context(psycopg.connect(**app, sslmode="disable"))
        first = stack.enter_context(socket.create_connection(("127.0.0.1", running.port)))
        first.sendall(startup())
        assert first.recv(100)[:1] == b"R"
        for _ in range(5):
            assert let_in(app) is None
        password = app["password"].encode()
        first.sendall(b"p" + struct.pack("!I", len(password) + 5) + password + b"\0")
        assert first.recv(1000)[:1] == b"R"


def test_connections_that_say_nothing_keep_nobody_out(pg: Postgres) -> None:
    with running_proxy(pg, {"proxy": {"max_connections": 8}}) as running, contextlib.ExitStack() as stack:
        app = running.app()
        for _ in range(30):
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port)))
        half = stack.enter_context(socket.create_connection(("127.0.0.1", running.port)))
        half.sendall(startup())
        assert half.recv(100)[:1] == b"R"
        for _ in range(8):
            session = stack.enter_context(wait_for(lambda: let_in(app), "a place, once the others linger"))
            assert session.execute("SELECT 1").fetchone() == (1,)
        assert half.recv(1000)[:1] == b"E", "who was longest at the door made room"
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            psycopg.connect(**app, sslmode="disable")
        assert session.execute("SELECT 2").fetchone() == (2,), "sessions make room for nobody"
