"""The proxy's own login: every answer a server may give, and every one a false server might try."""

from __future__ import annotations

import base64
import hashlib
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from ingest.protocols.postgres import messages as m
from ingest.protocols.postgres.upstream_login import (
    MAX_LOGIN_MESSAGES,
    LoginAction,
    LoginDone,
    LoginFailed,
    SendBytes,
    StartTls,
    TlsMode,
    UpstreamLogin,
)
from tests.support.scram import ScramServer

PASSWORD = b"s3cret-pw"
HASH = b"h" * 32
CLIENT = {"user": "alice", "database": "alias", "application_name": "psql", "TimeZone": "UTC", "_pq_.x": "1"}
STARTUP = {"user": "proxy", "database": "shop", "application_name": "psql", "TimeZone": "UTC"}
READY = (
    m.authentication_ok()
    + m.parameter_status("server_version", "15.3")
    + m.parameter_status("application_name", b"caf\xe9")
    + m.notice_response({"S": "NOTICE", "M": "hello"})
    + m.backend_key_data(4711, b"\1\2\3\4")
    + m.ready_for_query()
)


def login(**options: Any) -> UpstreamLogin:
    return UpstreamLogin(
        "proxy", "shop", options.pop("password", PASSWORD), options.pop("parameters", CLIENT), nonce="n0nce", **options
    )


def plain(**options: Any) -> UpstreamLogin:
    machine = login(tls="disable", **options)
    assert machine.start() == m.startup_message(STARTUP, options.get("minor", 0))
    return machine


def encrypted(tls: TlsMode = "verify-full", hash_: bytes | None = HASH, **options: Any) -> UpstreamLogin:
    machine = login(tls=tls, end_point_hash=lambda: hash_, **options)
    assert machine.start() == m.ssl_request()
    assert machine.receive(b"S") == [StartTls()]
    assert machine.tls_started() == [SendBytes(m.startup_message(STARTUP))]
    return machine


def auth(code: int, data: bytes = b"") -> bytes:
    return m.message(b"R", struct.pack("!i", code) + data)


def sasl(*mechanisms: str) -> bytes:
    return auth(10, b"".join(m.cstring(name) for name in mechanisms) + b"\0")


def failure(actions: list[LoginAction]) -> LoginFailed:
    (only,) = actions
    assert isinstance(only, LoginFailed)
    return only


def sent(actions: list[LoginAction]) -> bytes:
    (only,) = actions
    assert isinstance(only, SendBytes)
    return only.data


def scram(machine: UpstreamLogin, server: ScramServer, *mechanisms: str) -> tuple[str, bytes]:
    """Run the whole exchange; the mechanism chosen and its gs2 header."""
    mechanism, rest = sent(machine.receive(sasl(*mechanisms)))[5:].split(b"\0", 1)
    final = sent(machine.receive(auth(11, server.server_first(rest[4:]))))
    assert machine.receive(auth(12, server.server_final(final[5:]))) == []
    return mechanism.decode(), server.gs2


def test_done_says_all_the_session_needs() -> None:
    machine = plain()
    ahead = m.parameter_status("TimeZone", "CET")
    (done,) = machine.receive(READY + ahead)
    assert done == LoginDone(
        4711,
        b"\1\2\3\4",
        {"server_version": "15.3", "application_name": "caf\udce9"},
        b"I",
        0,
        False,
        "trust",
        (m.notice_response({"S": "NOTICE", "M": "hello"}),),
        ahead,
    )
    with pytest.raises(RuntimeError):
        machine.receive(b"x")


def test_any_cut_gives_the_same() -> None:
    expected = plain().receive(READY)
    machine = plain()
    assert [a for n in range(len(READY)) for a in machine.receive(READY[n : n + 1])] == expected
    for seed in range(50):
        at = sorted(random.Random(seed).sample(range(1, len(READY)), 5))
        machine = plain()
        assert [
            a for begin, end in zip([0, *at], [*at, len(READY)], strict=True) for a in machine.receive(READY[begin:end])
        ] == expected


@pytest.mark.parametrize("tls", ["require", "verify-ca", "verify-full"])
def test_no_tls_no_login_where_it_is_demanded(tls: TlsMode) -> None:
    machine = login(tls=tls)
    machine.start()
    failed = failure(machine.receive(b"N"))
    assert tls in failed.reason and not failed.try_without_tls
    assert machine.receive(READY) == []


def test_prefer_goes_on_in_plain() -> None:
    machine = login(tls="prefer")
    machine.start()
    assert machine.receive(b"N") == [SendBytes(m.startup_message(STARTUP))]
    assert isinstance(machine.receive(READY)[0], LoginDone)


def test_error_in_answer_to_ssl_request_is_not_believed_but_may_be_retried() -> None:
    for tls, again in (("prefer", True), ("require", False)):
        machine = login(tls=tls)
        machine.start()
        failed = failure(machine.receive(m.fatal("53300", "too many connections")))
        assert failed.fields == {} and failed.try_without_tls is again


@pytest.mark.parametrize("answer", [b"S" + b"\0", b"SE", b"N" + READY, b"H", b"\x15\x03"])
def test_injected_or_foreign_answers_to_ssl_request(answer: bytes) -> None:
    machine = login(tls="prefer")
    machine.start()
    assert "broke the protocol" in failure(machine.receive(answer)).reason


def test_cleartext_only_where_nobody_can_listen() -> None:
    failed = failure(plain().receive(auth(3)))
    assert "unencrypted" in failed.reason and "tls" in failed.reason
    for machine in (plain(local=True), encrypted()):
        assert sent(machine.receive(auth(3))) == m.password_message(PASSWORD)
        (done,) = machine.receive(READY)
        assert isinstance(done, LoginDone) and done.method == "password"


def test_md5() -> None:
    machine = plain()
    inner = hashlib.md5(PASSWORD + b"proxy").hexdigest()
    expected = "md5" + hashlib.md5(inner.encode() + b"salt").hexdigest()
    assert sent(machine.receive(auth(5, b"salt"))) == m.password_message(expected.encode())
    (done,) = machine.receive(READY)
    assert isinstance(done, LoginDone) and done.method == "md5"
    assert "broke the protocol" in failure(plain().receive(auth(5, b"sal"))).reason


@pytest.mark.parametrize(
    ("make", "offer", "chosen", "gs2"),
    [
        (plain, ("SCRAM-SHA-256",), "SCRAM-SHA-256", b"n,,"),
        (encrypted, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), "SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"),
        (encrypted, ("SCRAM-SHA-256-PLUS",), "SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"),
        (encrypted, ("X", "SCRAM-SHA-256"), "SCRAM-SHA-256", b"y,,"),
        (lambda: encrypted(hash_=None), ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), "SCRAM-SHA-256", b"n,,"),
        (lambda: encrypted("require", None), ("SCRAM-SHA-256",), "SCRAM-SHA-256", b"y,,"),
    ],
)
def test_scram(make: Callable[[], UpstreamLogin], offer: tuple[str, ...], chosen: str, gs2: bytes) -> None:
    machine = make()
    server = ScramServer(PASSWORD, end_point_hash=HASH if chosen.endswith("PLUS") else b"")
    assert scram(machine, server, *offer) == (chosen, gs2)
    (done,) = machine.receive(READY)
    assert isinstance(done, LoginDone) and done.method == chosen.lower()


def test_binding_cannot_be_avoided_by_a_certificate_without_a_hash() -> None:
    failed = failure(encrypted("require", None).receive(sasl("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")))
    assert "verify-full" in failed.reason


def test_plus_offered_in_plain_means_a_relay() -> None:
    assert "relays" in failure(plain().receive(sasl("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))).reason


@pytest.mark.parametrize("data", [sasl("SCRAM-SHA-1"), sasl(), auth(10, b"SCRAM-SHA-256"), auth(10)])
def test_no_usable_mechanism(data: bytes) -> None:
    failure(plain().receive(data))


def test_scram_must_end_with_the_servers_proof() -> None:
    server = ScramServer(PASSWORD)
    machine = plain()
    rest = sent(machine.receive(sasl("SCRAM-SHA-256")))[5:].split(b"\0", 1)[1]
    assert "proving itself" in failure(machine.receive(auth(0))).reason

    machine = plain()
    machine.receive(sasl("SCRAM-SHA-256"))
    machine.receive(auth(11, server.server_first(rest[4:])))
    assert "proving itself" in failure(machine.receive(READY)).reason

    machine = plain()
    machine.receive(sasl("SCRAM-SHA-256"))
    machine.receive(auth(11, server.server_first(rest[4:])))
    false = auth(12, b"v=" + base64.b64encode(b"x" * 32))
    assert "not the server it claims" in failure(machine.receive(false + READY)).reason


@pytest.mark.parametrize("second", [auth(3), auth(5, b"salt"), sasl("SCRAM-SHA-256"), auth(7)])
def test_one_method_a_login(second: bytes) -> None:
    machine = encrypted()
    machine.receive(sasl("SCRAM-SHA-256"))
    assert "second authentication" in failure(machine.receive(second)).reason


@pytest.mark.parametrize(
    ("code", "name"), [(7, "AuthenticationGSS"), (9, "AuthenticationSSPI"), (2, "Kerberos"), (99, "method 99")]
)
def test_methods_the_proxy_does_not_speak_are_named(code: int, name: str) -> None:
    assert name in failure(plain().receive(auth(code))).reason


@pytest.mark.parametrize("data", [auth(11, b"r=x"), auth(12, b"v=x")])
def test_sasl_answers_nobody_asked_for(data: bytes) -> None:
    failure(plain().receive(data))


@pytest.mark.parametrize("password", [None, b"", b"a\0b"])
@pytest.mark.parametrize("request_", [auth(3), auth(5, b"salt"), sasl("SCRAM-SHA-256")])
def test_no_usable_password(password: bytes | None, request_: bytes) -> None:
    assert "password" in failure(plain(password=password, local=True).receive(request_)).reason


@pytest.mark.parametrize("before", [b"", auth(0), auth(0) + m.backend_key_data(1, b"abcd")])
def test_the_servers_refusal_is_passed_on_whole_but_not_into_the_reason(before: bytes) -> None:
    machine = plain()
    failed = failure(machine.receive(before + m.fatal("28P01", 'password authentication failed for user "proxy"')))
    assert failed.sqlstate == "28P01" and failed.fields["M"].startswith(b"password authentication")
    assert failed.reason == "the server refused the login"


def test_older_server_negotiates_down() -> None:
    machine = plain(minor=2)
    (done,) = machine.receive(m.negotiate_protocol_version(0) + READY)
    assert isinstance(done, LoginDone) and done.minor == 0


def test_newer_server_gives_a_long_key() -> None:
    machine = plain(minor=2)
    (done,) = machine.receive(auth(0) + m.backend_key_data(1, b"k" * 32) + m.ready_for_query())
    assert isinstance(done, LoginDone) and (done.minor, done.key) == (2, b"k" * 32)


@pytest.mark.parametrize(
    "data",
    [
        m.negotiate_protocol_version(2),  # more than was asked
        m.negotiate_protocol_version(0),  # what was asked
        m.negotiate_protocol_version(0, ["_pq_.x"]),
        auth(0) + m.negotiate_protocol_version(0),
        auth(5, b"salt") + m.negotiate_protocol_version(0),
        m.ready_for_query(),  # before authentication
        auth(0) + auth(3),  # after it
        auth(0) + m.message(b"Z", b"X"),
        m.message(b"R", b""),
        b"R\xff\xff\xff\xff",
        b"HTTP/1.1 400 Bad Request",
        m.message(b"E", b"SERROR"),
        auth(0) + m.notice_response({"M": "again"}) * MAX_LOGIN_MESSAGES,
    ],
)
def test_what_servers_must_not_say(data: bytes) -> None:
    machine = plain()
    actions = machine.receive(data)
    assert isinstance(actions[-1], LoginFailed) and "broke the protocol" in actions[-1].reason
    assert not any(isinstance(a, LoginDone) for a in actions)


def test_server_without_cancel_keys() -> None:
    (done,) = plain().receive(auth(0) + m.ready_for_query())
    assert isinstance(done, LoginDone) and (done.pid, done.key) == (0, b"")


def test_parameters_too_long_for_a_server_fail_before_anything_is_sent() -> None:
    for tls in ("disable", "prefer"):
        with pytest.raises(ValueError, match="10000"):
            login(tls=tls, parameters={"options": "x" * 10_000}).start()


def test_secrets_do_not_show_when_printed() -> None:
    machine = plain(local=True)
    assert PASSWORD.decode() not in repr(machine.receive(auth(3)))
