"""How clients begin: each opening conversation gives the same whole, byte by byte and in random cuts."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.protocols.postgres import messages as m
from ingest.protocols.postgres.startup import (
    MAX_PIPELINED_BYTES,
    CancelRequested,
    ClientStartup,
    Fail,
    LoginRequested,
    ReplyBytes,
    StartTls,
    StartupAction,
    TlsMode,
)

ASK = ReplyBytes(m.authentication_cleartext_password())
ALICE = {"user": "alice", "database": "shop", "application_name": "psql"}
LOGIN = LoginRequested("alice", "shop", {"application_name": "psql"}, 0, (), b"token")


def converse(startup: ClientStartup, pieces: Iterable[bytes]) -> list[StartupAction]:
    return [action for piece in pieces for action in startup.receive(piece)]


def in_cuts(data: bytes, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    at = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randint(1, 6)))) if len(data) > 1 else []
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def refused(actions: list[StartupAction]) -> tuple[str, str]:
    """SQLSTATE and hint of the one failure that ends the actions."""
    (failure,) = [a for a in actions if isinstance(a, Fail)]
    assert actions[-1] is failure
    fields = m.parse_error_fields(failure.error_response[5:]) if failure.error_response else {}
    if fields:
        assert fields["S"] == fields["V"] == b"FATAL"
    return fields.get("C", b"").decode(), fields.get("H", b"").decode()


CONVERSATIONS: dict[str, tuple[TlsMode, bytes, list[StartupAction]]] = {
    "plain login": ("allow", m.startup_message(ALICE) + m.password_message(b"token"), [ASK, LOGIN]),
    "gss, then ssl, both refused": (
        "off",
        m.gssenc_request() + m.ssl_request() + m.startup_message(ALICE) + m.password_message(b"token"),
        [ReplyBytes(b"N"), ReplyBytes(b"N"), ASK, LOGIN],
    ),
    "ssl refused, then gss": (
        "off",
        m.ssl_request() + m.gssenc_request() + m.startup_message(ALICE),
        [ReplyBytes(b"N"), ReplyBytes(b"N"), ASK],
    ),
    "ssl accepted": ("require", m.gssenc_request() + m.ssl_request(), [ReplyBytes(b"N"), ReplyBytes(b"S"), StartTls()]),
    "cancel": ("require", m.cancel_request(-7, b"abcd"), [CancelRequested(-7, b"abcd")]),
    "cancel with a long key": ("off", m.cancel_request(7, b"k" * 256), [CancelRequested(7, b"k" * 256)]),
    "database defaults to user": (
        "off",
        m.startup_message({"user": "alice", "database": ""}) + m.password_message(b"token"),
        [ASK, LoginRequested("alice", "alice", {}, 0, (), b"token")],
    ),
    "3.2": (
        "off",
        m.startup_message(ALICE, minor=2) + m.password_message(b"token"),
        [ASK, LoginRequested("alice", "shop", {"application_name": "psql"}, 2, (), b"token")],
    ),
    "newer minor": (
        "off",
        m.startup_message(ALICE, minor=9999) + m.password_message(b"token"),
        [
            ReplyBytes(m.negotiate_protocol_version(2)),
            ASK,
            LoginRequested("alice", "shop", {"application_name": "psql"}, 2, (), b"token"),
        ],
    ),
    "unknown protocol options": (
        "off",
        m.startup_message({**ALICE, "_pq_.compression": "zstd"}) + m.password_message(b"token"),
        [
            ReplyBytes(m.negotiate_protocol_version(0, ["_pq_.compression"])),
            ASK,
            LoginRequested("alice", "shop", {"application_name": "psql"}, 0, ("_pq_.compression",), b"token"),
        ],
    ),
    "unicode": (
        "off",
        m.startup_message({"user": "zoë", "database": "läden"}) + m.password_message("gehëim".encode()),
        [ASK, LoginRequested("zoë", "läden", {}, 0, (), "gehëim".encode())],
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_whole_by_byte_and_in_random_cuts(name: str) -> None:
    mode, data, expected = CONVERSATIONS[name]
    assert converse(ClientStartup(mode), [data]) == expected
    assert converse(ClientStartup(mode), (data[n : n + 1] for n in range(len(data)))) == expected
    for seed in range(50):
        assert converse(ClientStartup(mode), in_cuts(data, seed)) == expected


FAILURES: dict[str, tuple[TlsMode, bytes, str, str]] = {
    "plain where TLS is required": ("require", m.startup_message(ALICE), "28000", "sslmode=require"),
    "no user": ("off", m.startup_message({"database": "shop"}), "28000", ""),
    "protocol 2": ("off", struct.pack("!IHH", 296, 2, 0) + bytes(288), "0A000", ""),
    "ssl twice": ("off", m.ssl_request() * 2, "08P01", ""),
    "gss twice": ("off", m.gssenc_request() * 2, "08P01", ""),
    "too long": ("off", struct.pack("!I", 10_001), "08P01", ""),
    "http": ("off", b"GET / HTTP/1.1\r\n\r\n", "08P01", ""),
    "user not utf-8": ("off", b"\0\0\0\x10\0\3\0\0user\0\xff\0\0", "08P01", ""),
    "query instead of a password": ("off", m.startup_message(ALICE) + m.query("SELECT 1"), "08P01", ""),
    "empty password": ("off", m.startup_message(ALICE) + m.password_message(b""), "28P01", "token"),
    "password with a zero byte": ("off", m.startup_message(ALICE) + m.message(b"p", b"to\0ken\0"), "08P01", ""),
    "password of 64 KiB": ("off", m.startup_message(ALICE) + m.password_message(b"x" * 65_536)[:9], "08P01", ""),
    "direct TLS where it is off": ("off", b"\x16\x03\x01", "", ""),
}


@pytest.mark.parametrize("name", FAILURES)
def test_refusals_whole_by_byte_and_in_random_cuts(name: str) -> None:
    mode, data, sqlstate, hint = FAILURES[name]
    whole = converse(ClientStartup(mode), [data])
    found = refused(whole)
    assert found[0] == sqlstate and hint in found[1]
    assert converse(ClientStartup(mode), (data[n : n + 1] for n in range(len(data)))) == whole
    for seed in range(20):
        assert converse(ClientStartup(mode), in_cuts(data, seed)) == whole


def test_nothing_follows_a_failure() -> None:
    startup = ClientStartup("require")
    refused(startup.receive(m.startup_message(ALICE) + m.password_message(b"token")))
    assert startup.finished and startup.receive(m.startup_message(ALICE)) == [] and startup.take_leftover() == b""


def test_bytes_smuggled_behind_the_request_for_tls_are_refused() -> None:
    # CVE-2021-23214: they would be read as if they had come through the encrypted channel.
    startup = ClientStartup("allow")
    actions = startup.receive(m.ssl_request() + m.startup_message(ALICE))
    assert refused(actions)[0] == "08P01" and ReplyBytes(b"S") not in actions


def test_login_goes_on_inside_tls() -> None:
    startup = ClientStartup("require")
    assert startup.receive(m.ssl_request()) == [ReplyBytes(b"S"), StartTls()]
    with pytest.raises(RuntimeError):
        startup.receive(b"\x16")
    assert startup.tls_started("postgresql") == [] and startup.tls_active
    assert startup.receive(m.startup_message(ALICE) + m.password_message(b"token")) == [ASK, LOGIN]


def test_no_tls_inside_tls() -> None:
    startup = ClientStartup("require")
    startup.receive(m.ssl_request())
    startup.tls_started(None)
    assert refused(startup.receive(m.ssl_request()))[0] == "08P01"


def test_direct_tls_hands_over_what_it_has_read_and_insists_on_alpn() -> None:
    hello = b"\x16\x03\x01\x02\x00\x01rest"
    startup = ClientStartup("require")
    assert startup.receive(hello) == [StartTls(hello, direct=True)]
    assert startup.tls_started("postgresql") == []
    assert startup.receive(m.startup_message(ALICE)) == [ASK]
    for alpn in (None, "http/1.1"):
        startup = ClientStartup("allow")
        startup.receive(hello[:1])
        assert refused(startup.tls_started(alpn))[0] == "08P01"


def test_direct_tls_only_as_the_very_first_byte() -> None:
    assert refused(converse(ClientStartup("allow"), [m.gssenc_request(), b"\x16\x03\x01\x02"]))[0] == "08P01"


def test_connection_that_is_encrypted_already() -> None:
    assert ClientStartup("require", tls_active=True).receive(m.startup_message(ALICE)) == [ASK]


def test_what_was_sent_ahead_is_kept_for_the_session_within_bounds() -> None:
    data = m.startup_message(ALICE) + m.password_message(b"token")
    ahead = m.query("SELECT 1")
    for pieces in ([data + ahead], [data, ahead], [bytes([b]) for b in data + ahead]):
        startup = ClientStartup("off")
        assert converse(startup, pieces) == [ASK, LOGIN]
        assert startup.take_leftover() == ahead and startup.take_leftover() == b""
    startup = ClientStartup("off")
    converse(startup, [data])
    assert refused(converse(startup, [b"x" * MAX_PIPELINED_BYTES, b"x"]))[0] == "08P01"


def test_who_is_asking_is_known_before_the_password_is() -> None:
    startup = ClientStartup("off")
    startup.receive(m.startup_message(ALICE))
    assert startup.startup is not None and startup.startup.user == "alice" and startup.startup.password == b""


@pytest.mark.parametrize(
    ("value", "asked"),
    [("database", True), ("true", True), ("1", True), ("on", True), ("false", False), ("0", False), ("no", False)],
)
def test_replication_is_the_callers_to_decide(value: str, asked: bool) -> None:
    actions = ClientStartup("off").receive(m.startup_message({**ALICE, "replication": value}) + m.password_message(b"t"))
    login = actions[-1]
    assert isinstance(login, LoginRequested) and login.replication is asked and login.parameters["replication"] == value
    assert not LOGIN.replication


def test_application_name_in_another_encoding_is_escaped_as_the_server_does() -> None:
    packet = b"user\0a\0application_name\0caf\xe9\0\0"
    data = struct.pack("!IHH", len(packet) + 8, 3, 0) + packet + m.password_message(b"t")
    login = ClientStartup("off").receive(data)[-1]
    assert isinstance(login, LoginRequested) and login.parameters == {"application_name": "caf\\xe9"}


def test_secrets_do_not_show_when_printed() -> None:
    assert "token" not in repr(LOGIN) and "abcd" not in repr(CancelRequested(1, b"abcd"))


@settings(max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 2**32), st.sampled_from(["off", "allow", "require"]))
def test_any_bytes_end_in_actions(data: bytes, seed: int, mode: TlsMode) -> None:
    startup = ClientStartup(mode)
    for piece in in_cuts(data, seed) if data else []:
        if any(isinstance(a, StartTls) for a in startup.receive(piece)):
            break
