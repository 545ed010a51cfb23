"""What happens to clients that speak badly, may not come in, or vanish? Each is told, each is recorded, nobody else is hurt."""

from __future__ import annotations

import os
import socket
import struct

import psycopg
import pytest

from tests.support import affidavit
from tests.support.affidavit import Proxy
from tests.support.clients import Comparison, Parameters, needle
from tests.support.ports import wait_for
from tests.support.postgres import Postgres
from tests.support.trail import Event


def _alive(proxy: Proxy) -> None:
    with psycopg.connect(**proxy.app()) as connection:
        assert connection.execute("SELECT 42").fetchone() == (42,)


def _answer(proxy: Proxy, data: bytes, finish: bool = False) -> bytes:
    """Send bytes to the proxy's port and return everything it answers until it closes."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as raw:
        raw.sendall(data)
        if finish:
            raw.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := raw.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


STARTUP_BOMBS = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "huge-length": struct.pack("!ii", 2**31 - 1, 196608),
    "zero-length": struct.pack("!ii", 0, 196608),
    "negative-length": struct.pack("!ii", -5, 196608),
    "unknown-code": struct.pack("!ii", 8, 1234567),
    "version-2": struct.pack("!ii", 296, 131072) + b"\x00" * 288,
    "no-user": struct.pack("!ii", 9, 196608) + b"\x00",
    "unterminated": struct.pack("!ii", 24, 196608) + b"user\x00anaxxxxxxxxxx",
}


@pytest.mark.parametrize("bomb", STARTUP_BOMBS.values(), ids=STARTUP_BOMBS)
def test_a_bad_startup_packet(proxy: Proxy, bomb: bytes) -> None:
    answer = _answer(proxy, bomb)
    assert answer == b"" or answer.startswith(b"E")
    assert b"Traceback" not in answer
    assert "Traceback" not in proxy.said()
    _alive(proxy)


def test_a_client_that_says_nothing(proxy: Proxy) -> None:
    assert _answer(proxy, b"", finish=True) == b""
    _alive(proxy)


def _raw_session(proxy: Proxy, application: str) -> socket.socket:
    """Return the bare socket of a logged-in connection."""
    connection = psycopg.connect(**proxy.app(), application_name=application, sslmode="disable")
    raw = socket.socket(fileno=os.dup(connection.pgconn.socket))
    raw.setblocking(True)
    raw.settimeout(20)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), connection.pgconn.socket)  # so that psycopg says its goodbye to nobody
    connection.close()
    return raw


def _gaps(proxy: Proxy) -> list[Event]:
    return proxy.trail.of_type("ProtocolGap")


GARBAGE = {
    "unknown-type": b"\x01\x00\x00\x00\x04",
    "short-length": b"Q\x00\x00\x00\x03",
    "negative-length": b"Q\xff\xff\xff\xff",
    "startup-again": struct.pack("!ii", 8, 80877103),
    "bind-cut-short": b"B\x00\x00\x00\x06\x00\x00S\x00\x00\x00\x04",
    "server-message": b"Z\x00\x00\x00\x05I",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_bytes_that_are_not_the_protocol(proxy: Proxy, garbage: bytes) -> None:
    before = len(_gaps(proxy))
    secret = needle()
    with _raw_session(proxy, "garbage") as raw:
        raw.sendall(garbage + secret.encode())
        received = b""
        while chunk := raw.recv(65536):  # the proxy closes
            received += chunk
    found = wait_for(lambda: _gaps(proxy)[before:], "a ProtocolGap", poll=0.05)
    assert [event["origin"] for event in found] == ["client"]
    assert found[0]["bytes_unparsed"] > 0
    assert found[0]["client"]["application"] in ("garbage", "")
    _alive(proxy)
    proxy.assert_nowhere(secret)


def test_a_wrong_token(proxy: Proxy) -> None:
    before = len(proxy.trail.of_type("AuthenticationFailed"))
    wrong = needle()
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(**proxy.app(token=wrong))
    assert "authentication failed" in str(caught.value) or "token" in str(caught.value)
    assert wrong not in str(caught.value)
    found = wait_for(lambda: proxy.trail.of_type("AuthenticationFailed")[before:], "an AuthenticationFailed", poll=0.05)
    assert all(event["claimed"] == "ana" and event["reason"] for event in found)
    proxy.assert_nowhere(wrong)


def test_an_unknown_database(proxy: Proxy) -> None:
    with pytest.raises(psycopg.OperationalError, match="nowhere_db"):
        psycopg.connect(**proxy.app(database="nowhere_db"))


def test_a_session_the_server_ends(compare: Comparison, pg: Postgres) -> None:
    """The administrator's words reach the client, and what it ran has its outcome."""

    def scenario(to: Parameters) -> object:
        with psycopg.connect(**to, autocommit=True) as connection:
            connection.execute("SELECT 1")
            with pg.superuser() as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [to["application_name"]]
                )
            with pytest.raises(psycopg.OperationalError) as caught:
                connection.execute("SELECT 2")
            return caught.value.sqlstate, caught.value.diag.message_primary

    done = compare(scenario)
    assert done.result[0] == "57P01"
    assert done.events[0]["outcome"]["status"] == "ok"
    assert len(done.events) <= 2


def test_a_client_that_vanishes(proxy: Proxy, pg: Postgres) -> None:
    """The statement ran: its event says how it ended, or that nobody knows; it is not missing and not double."""
    raw = _raw_session(proxy, "vanishing")
    text = b"CREATE TABLE vanished AS SELECT 1 AS n FROM pg_sleep(0.5)\x00"
    raw.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
    asleep = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'vanishing' AND state = 'active'"
    with pg.superuser() as admin:
        wait_for(lambda: admin.execute(asleep).fetchone(), "the statement to run")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as a pulled cable's
        raw.close()
        [event] = proxy.trail.session("vanishing")
        assert event["facts"]["writes"] == ["public.vanished"]
        ran = admin.execute("SELECT to_regclass('public.vanished') IS NOT NULL").fetchone() == (True,)
        assert event["outcome"]["status"] in (("ok", "unknown") if ran else ("unknown", "error", "cancelled"))
        admin.execute("DROP TABLE IF EXISTS vanished")


def test_a_proxy_that_stops_in_order(pg: Postgres) -> None:
    """Clients are told, what was under way is on record, every session has its end, and ProxyStopped is the last word."""
    with affidavit.proxy(pg) as own:
        idle = psycopg.connect(**own.app(), application_name="idle", autocommit=True)
        busy = _raw_session(own, "busy")
        text = b"SELECT pg_sleep(60) /*ticket='busy'*/\x00"
        busy.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        with pg.superuser() as admin:
            asleep = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'busy' AND state = 'active'"
            wait_for(lambda: admin.execute(asleep).fetchone(), "the statement to run")
            own.stop()
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'busy'")
        with pytest.raises(psycopg.OperationalError) as caught:
            idle.execute("SELECT 1")
        assert caught.value.sqlstate == "57P01"
        idle.close()
        busy.close()
        ended = {e["client"]["application"]: e["reason"] for e in own.trail.of_type("SessionClosed")}
        assert ended == {"idle": "shutdown", "busy": "shutdown"}
        [under_way] = [e for e in own.trail.events if e["type"] == "QueryExecuted"]
        assert (under_way["claims"], under_way["outcome"]["status"]) == ({"ticket": "busy"}, "unknown")
        assert own.trail.events[-1]["type"] == "ProxyStopped"
        assert own.trail.events[-1]["statements"] == 1
