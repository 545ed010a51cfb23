"""SCRAM: both sides prove themselves, the channel binding says what it must, and a false server gets nowhere."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.core.errors import AuthenticationError
from ingest.protocols.postgres.scram import MAX_CACHED_KEYS, MAX_ITERATIONS, ScramClient, ScramKeys, saslprep
from tests.support.scram import ScramServer

NONCE = "fyko+d2lbbFgONRv9qkxdawL"


def exchange(client: ScramClient, server: ScramServer) -> None:
    client.verify_final(server.server_final(client.client_final(server.server_first(client.client_first()))))


@pytest.mark.parametrize(
    ("options", "gs2"),
    [
        ({}, b"n,,"),
        ({"could_bind": True}, b"y,,"),
        ({"plus": True, "could_bind": True, "end_point_hash": b"h" * 32}, b"p=tls-server-end-point,,"),
    ],
)
def test_both_sides_prove_themselves(options: dict[str, object], gs2: bytes) -> None:
    client = ScramClient(b"pencil", NONCE, **options)  # type: ignore[arg-type]
    assert client.client_first() == gs2 + b"n=,r=" + NONCE.encode()
    exchange(client, ScramServer(b"pencil", end_point_hash=b"h" * 32 if options.get("plus") else b""))
    assert client.verified


def test_proof_is_that_of_the_rfcs_example() -> None:
    # RFC 7677, 3; its user name stands in the exchange, ours is empty there, so it is put back for this check.
    client = ScramClient(b"pencil", "rOprNGfwEbeRWgbNEkqO")
    client._client_first_bare = b"n=user,r=rOprNGfwEbeRWgbNEkqO"
    first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert client.client_final(first).endswith(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client.verify_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_channel_of_another_certificate_is_noticed() -> None:
    client = ScramClient(b"pencil", NONCE, plus=True, end_point_hash=b"mallory" * 4)
    with pytest.raises(AssertionError):
        exchange(client, ScramServer(b"pencil", end_point_hash=b"h" * 32))


def test_server_that_does_not_know_the_password_is_refused() -> None:
    client = ScramClient(b"pencil", NONCE)
    server = ScramServer(b"pencil")
    client.client_final(server.server_first(client.client_first()))
    with pytest.raises(AuthenticationError, match="not the server it claims"):
        client.verify_final(b"v=" + base64.b64encode(b"x" * 32))
    assert not client.verified


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"r=other,s=c2FsdA==,i=4096", "nonce"),
        (b"r=" + NONCE.encode() + b",s=c2FsdA==,i=4096", "nonce"),  # adds nothing of its own
        (b"r=" + NONCE.encode() + b"\x80,s=c2FsdA==,i=4096", "nonce"),
        (b"m=x,r=" + NONCE.encode() + b"S,s=c2FsdA==,i=4096", "malformed"),
        (b"r=" + NONCE.encode() + b"S,i=4096,s=c2FsdA==", "malformed"),
        (b"r=" + NONCE.encode() + b"S,s=c2F sdA==,i=4096", "base64"),
        (b"r=" + NONCE.encode() + b"S,s=,i=4096", "empty"),
        (b"r=" + NONCE.encode() + b"S,s=c2FsdA==,i=0", "iteration"),
        (b"r=" + NONCE.encode() + b"S,s=c2FsdA==,i=-1", "iteration"),
        (b"r=" + NONCE.encode() + b"S,s=c2FsdA==,i=%d" % (MAX_ITERATIONS + 1), "iteration"),
        (b"r=" + NONCE.encode() + b"S,s=c2FsdA==,i=" + b"9" * 1900, "iteration"),
        (b"r=" + NONCE.encode() + b"S" * 2000 + b",s=c2FsdA==,i=4096", "longer"),
        (b"", "malformed"),
    ],
)
def test_false_first_messages(first: bytes, why: str) -> None:
    with pytest.raises(AuthenticationError, match=why):
        ScramClient(b"pencil", NONCE).client_final(first)


@pytest.mark.parametrize("final", [b"", b"v=", b"v=!!", b"e=invalid-proof", b"x=1", b"v=" + b"A" * 3000])
def test_false_last_messages(final: bytes) -> None:
    client = ScramClient(b"pencil", NONCE)
    client.client_final(ScramServer(b"pencil").server_first(client.client_first()))
    with pytest.raises(AuthenticationError):
        client.verify_final(final)


def test_order_is_kept() -> None:
    client = ScramClient(b"pencil", NONCE)
    with pytest.raises(AuthenticationError, match="before its first"):
        client.verify_final(b"v=AAAA")
    first = ScramServer(b"pencil").server_first(client.client_first())
    client.client_final(first)
    with pytest.raises(AuthenticationError, match="repeated"):
        client.client_final(first)


@pytest.mark.parametrize("nonce", ["", "a,b", "a b", "é"])
def test_nonce_must_be_printable(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        ScramClient(b"pencil", nonce)


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("pencil", "pencil"),
        ("a b\t", "a b\t"),  # ASCII is used as it is, even what SASLprep prohibits
        ("I\u00adX", "IX"),  # RFC 4013, 3
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("a\u200bb", "a b"),
        ("pass\u2060wörd", "passwörd"),
        ("\u0627\u0031", "\u0627\u0031"),  # breaks the bidirectional rule: as it is
        ("\u00ad", "\u00ad"),  # nothing would be left: as it is
        ("é\u0007", "é\u0007"),  # prohibited: as it is
        ("é\u0221", "é\u0221"),  # unassigned in Unicode 3.2: as it is
    ],
)
def test_saslprep(password: str, prepared: str) -> None:
    assert saslprep(password.encode()) == prepared.encode()


def test_saslprep_leaves_what_is_not_utf8() -> None:
    assert saslprep(b"\xff\xe9") == b"\xff\xe9"


@given(st.binary(max_size=20))
def test_saslprep_takes_any_password(password: bytes) -> None:
    once = saslprep(password)
    assert isinstance(once, bytes) and bool(once) == bool(password)


@settings(max_examples=25)
@given(st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=20), st.integers(1, 50))
def test_any_password_salt_and_count(password: bytes, salt: bytes, iterations: int) -> None:
    exchange(ScramClient(password, NONCE), ScramServer(saslprep(password), salt, iterations))


def test_derived_keys_are_shared_and_bounded() -> None:
    keys = ScramKeys()
    first = keys.salted(b"pencil", b"salt", 1)
    for n in range(MAX_CACHED_KEYS * 2):
        keys.salted(b"pencil", b"%d" % n, 1)
    assert len(keys._salted) == MAX_CACHED_KEYS
    assert keys.salted(b"pencil", b"salt", 1) == first
    assert keys.salted(b"pencil", b"salt", 2) != first
    assert keys.salted(b"pencils", b"salt", 1) != first
