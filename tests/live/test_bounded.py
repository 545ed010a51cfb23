"""Does the proxy stay small whatever passes through it (invariant 7)? Peak memory is the kernel's own figure, VmHWM.

Two gigabytes of result, half a gigabyte of COPY, a statement of 64 MB, one row of 200 MB, a thousand idle connections: each
with a fresh worker, each under 150 MB.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from tests.support import affidavit, postgres
from tests.support.trail import Event

MB = 1024 * 1024
LIMIT = 150 * MB
IDLE = 1000

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def big() -> Iterator[postgres.Postgres]:
    """A server for many connections whose log does not repeat 64 MB statements."""
    settings = {"max_connections": str(IDLE + 50), "log_statement": "none", "shared_buffers": "128MB"}
    with postgres.running(settings) as server:
        yield server


@pytest.fixture
def fresh(big: postgres.Postgres) -> Iterator[affidavit.Proxy]:
    with affidavit.proxy(big) as running:
        yield running


@contextlib.contextmanager
def connection(proxy: affidavit.Proxy, name: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(**proxy.app(), application_name=name, autocommit=True, sslmode="disable") as opened:
        yield opened


def _light(proxy: affidavit.Proxy, what: str) -> None:
    peak = proxy.memory()
    print(f"{what}: peak {peak / MB:.0f} MB")
    assert peak < LIMIT, f"{what}: the proxy took {peak / MB:.0f} MB"


def _drain(opened: psycopg.Connection[tuple[object, ...]], statement: bytes) -> tuple[int, int]:
    """Run a statement row by row as libpq does, keeping nothing; return rows and bytes."""
    conn, rows, size = opened.pgconn, 0, 0
    conn.send_query(statement)
    conn.set_single_row_mode()
    while (result := conn.get_result()) is not None:
        assert result.status in (pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_OK), result.error_message
        for row in range(result.ntuples):
            rows, size = rows + 1, size + len(result.get_value(row, 0) or b"")
        result.clear()
    return rows, size


def _only(proxy: affidavit.Proxy, name: str, flag_or_kind: str) -> Event:
    [event] = [e for e in proxy.trail.session(name, seconds=120) if flag_or_kind in (*e["facts"]["flags"], e["kind"])]
    return event


def test_a_result_of_two_gigabytes(fresh: affidavit.Proxy) -> None:
    with connection(fresh, "result") as opened:
        assert _drain(opened, b"SELECT repeat('x', 102400) FROM generate_series(1, 20480)") == (20480, 20480 * 102400)
    _light(fresh, "2 GB result")
    event = _only(fresh, "result", "simple")
    assert event["outcome"]["rows_returned"] == 20480
    assert event["outcome"]["bytes_out"] > 2_000 * MB


def test_one_row_of_200_megabytes(fresh: affidavit.Proxy) -> None:
    """A message is passed on while it arrives, not gathered first."""
    with connection(fresh, "row") as opened:
        assert _drain(opened, f"SELECT repeat('x', {200 * MB})".encode()) == (1, 200 * MB)
    _light(fresh, "200 MB row")
    assert _only(fresh, "row", "simple")["outcome"]["rows_returned"] == 1


def test_a_copy_of_half_a_gigabyte(fresh: affidavit.Proxy) -> None:
    chunk = (b"x" * 1023 + b"\n") * 1024
    with connection(fresh, "copy") as opened:
        opened.execute("CREATE TEMP TABLE t (line text)")
        with opened.cursor().copy("COPY t FROM STDIN") as copy:
            for _ in range(500):
                copy.write(chunk)
        assert opened.execute("SELECT count(*) FROM t").fetchone() == (500 * 1024,)
    _light(fresh, "500 MB COPY")
    event = _only(fresh, "copy", "copy")
    assert event["outcome"]["rows_affected"] == 500 * 1024
    assert event["outcome"]["bytes_in"] >= 500 * MB


@pytest.mark.parametrize("path", ["simple", "parse", "bind"])
def test_a_statement_of_64_megabytes(fresh: affidavit.Proxy, path: str) -> None:
    secret = "s3cr3t-needle-64mb"
    literal = secret + "x" * (64 * MB - len(secret))
    with connection(fresh, path) as opened:
        if path == "simple":
            found = opened.execute(f"SELECT length('{literal}')").fetchone()
        elif path == "parse":
            found = opened.execute(f"SELECT length('{literal}') + %s", (0,)).fetchone()
        else:
            found = opened.execute("SELECT length(%s::text)", (literal,)).fetchone()
        assert found == (64 * MB,)
        assert opened.execute("SELECT 'still here'").fetchone() == ("still here",)
    _light(fresh, f"64 MB statement ({path})")
    events = fresh.trail.session(path, seconds=120)
    assert len(events) == 2
    assert events[0]["outcome"]["status"] == "ok"
    if path != "parse":  # an execution is charged with its Bind and Execute; a statement parsed once may run a thousand times
        assert events[0]["outcome"]["bytes_in"] >= 64 * MB
    if path != "bind":
        assert {"oversize", "opaque"} <= set(events[0]["facts"]["flags"])
    fresh.assert_nowhere(secret)


def test_a_statement_that_never_ends(fresh: affidavit.Proxy) -> None:
    """A message length is a promise, not a reason to set memory aside."""
    with connection(fresh, "endless") as opened, socket.socket(fileno=os.dup(opened.pgconn.socket)) as raw:
        raw.setblocking(True)
        raw.sendall(b"Q" + struct.pack("!i", 1_000_000_000) + b"SELECT '" + b"x" * (32 * MB))
        raw.shutdown(socket.SHUT_RDWR)
    fresh.trail.session("endless")
    _light(fresh, "a statement cut off")


def test_a_thousand_idle_connections(fresh: affidavit.Proxy) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * IDLE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * IDLE, hard), hard))
    parameters = {**fresh.app(), "sslmode": "disable"}
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(psycopg.connect(**parameters, autocommit=True)) for _ in range(IDLE)]
        for one in opened[:: IDLE // 50]:
            assert one.execute("SELECT 1").fetchone() == (1,)
        _light(fresh, f"{IDLE} idle connections")
