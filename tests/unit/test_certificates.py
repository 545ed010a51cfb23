"""Certificates: the generated one serves and is renewed, a configured one is refused in words that name the remedy."""

from __future__ import annotations

import hashlib
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from ingest.core.errors import CertificateError
from ingest.net.certificates import (
    LIFETIME,
    RENEW_BEFORE,
    CertificateFiles,
    configured_certificate,
    generated_certificate,
    read_certificates,
)
from ingest.net.tls import client_context, handshake_failure, server_context, server_end_point_hash
from schemas.config import ServerTlsMode
from tests.support.certificates import Issued, issue

NOW = datetime.now(UTC).replace(microsecond=0)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a TLS connection made in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version() is not None and ends[1].version() is not None
    return ends


def test_generated_certificate_serves_every_name_of_this_machine(tmp_path: Path) -> None:
    files = generated_certificate(tmp_path / "tls", ["db.example", "10.1.2.3", "0.0.0.0", "localhost"], NOW)
    client = client_context(ServerTlsMode.VERIFY_FULL, tmp_path / "tls" / "proxy.crt")
    assert client is not None
    for host in ("localhost", "127.0.0.1", "::1", "db.example", "10.1.2.3"):
        ours, theirs = handshake(server_context(files), client, host)
        assert ours.selected_alpn_protocol() == theirs.selected_alpn_protocol() == "postgresql"
    with pytest.raises(ssl.SSLCertVerificationError) as e:
        handshake(server_context(files), client, "other.example")
    assert "other.example" in handshake_failure(e.value, ServerTlsMode.VERIFY_FULL, "other.example:5432")


def test_generated_key_is_private_and_trust_in_it_reaches_no_further(tmp_path: Path) -> None:
    files = generated_certificate(tmp_path / "tls", [], NOW)
    assert stat.S_IMODE(files.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    public = (tmp_path / "tls" / "proxy.crt").read_bytes()
    assert b"PRIVATE" not in public
    certificate = x509.load_pem_x509_certificate(public)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert {f.name for f in (tmp_path / "tls").iterdir()} == {"proxy.pem", "proxy.crt", "lock"}


def test_generated_certificate_is_kept_until_it_is_due(tmp_path: Path) -> None:
    first = generated_certificate(tmp_path, ["a.example"], NOW)
    content = first.cert_file.read_bytes()
    assert generated_certificate(tmp_path, ["a.example"], NOW + LIFETIME - RENEW_BEFORE - timedelta(minutes=1)) == first
    assert generated_certificate(tmp_path, [], NOW) == first and first.cert_file.read_bytes() == content

    renewed = generated_certificate(tmp_path, [], NOW + LIFETIME - RENEW_BEFORE)
    assert renewed.not_after > first.not_after and renewed.cert_file.read_bytes() != content


@pytest.mark.parametrize("damage", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_damaged_or_lacking_certificate_is_made_again(tmp_path: Path, damage: bytes) -> None:
    files = generated_certificate(tmp_path, [], NOW)
    files.cert_file.write_bytes(damage)
    server_context(generated_certificate(tmp_path, [], NOW))
    before = files.cert_file.read_bytes()
    generated_certificate(tmp_path, ["new.example"], NOW)
    assert files.cert_file.read_bytes() != before


def test_workers_that_start_together_share_one_certificate(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: generated_certificate(tmp_path, [], NOW).cert_file.read_bytes(), range(8)))
    assert len(set(results)) == 1


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="file"):
        generated_certificate(tmp_path / "file", [], NOW)
    with pytest.raises(CertificateError, match="names"):
        generated_certificate(tmp_path / "tls", ["läden.example"], NOW)


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    return issue(tmp_path)


def test_configured_certificate(issued: Issued) -> None:
    files = configured_certificate(issued.cert, issued.key, NOW)
    client = client_context(ServerTlsMode.VERIFY_FULL, issued.ca)
    assert client is not None
    handshake(server_context(files), client, "localhost")


def problem(cert: Path, key: Path, now: datetime = NOW) -> str:
    with pytest.raises(CertificateError) as e:
        configured_certificate(cert, key, now)
    return str(e.value)


def test_configured_certificate_problems_name_file_and_remedy(issued: Issued, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    other = issue(tmp_path / "else")
    missing, text, encrypted = tmp_path / "missing.pem", tmp_path / "text.pem", tmp_path / "encrypted.pem"
    text.write_text("hello")
    key = serialization.load_pem_private_key(issued.key.read_bytes(), None)
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"passphrase")
        )
    )
    for found, file, words in (
        (problem(missing, issued.key), missing, "does not exist"),
        (problem(issued.cert, missing), missing, "does not exist"),
        (problem(text, issued.key), text, "BEGIN CERTIFICATE"),
        (problem(issued.cert, text), text, "BEGIN PRIVATE KEY"),
        (problem(issued.key, issued.cert), issued.key, "swapped"),
        (problem(issued.cert, other.key), other.key, "does not belong"),
        (problem(issued.cert, encrypted), encrypted, "encrypted"),
        (problem(tmp_path, issued.key), tmp_path, "cannot be read"),
        (problem(issued.cert, issued.key, NOW + timedelta(days=3)), issued.cert, "expired"),
        (problem(issued.cert, issued.key, NOW - timedelta(days=1)), issued.cert, "clock"),
    ):
        assert str(file) in found and words in found
    big = tmp_path / "big.pem"
    big.write_bytes(b"x" * (1024 * 1024 + 1))
    assert "larger" in problem(big, issued.key)


def test_encrypted_client_key_is_refused_rather_than_asked_for_on_the_terminal(issued: Issued, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.pem"
    key = serialization.load_pem_private_key(issued.key.read_bytes(), None)
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    with pytest.raises(CertificateError, match="encrypted"):
        client_context(ServerTlsMode.REQUIRE, cert_file=issued.cert, key_file=encrypted)
    with pytest.raises(CertificateError, match="missing"):
        client_context(ServerTlsMode.REQUIRE, cert_file=issued.cert, key_file=tmp_path / "missing")


@pytest.mark.parametrize(
    ("mode", "own_ca", "host", "accepted"),
    [
        (ServerTlsMode.PREFER, True, "other.example", True),
        (ServerTlsMode.PREFER, False, "localhost", True),
        (ServerTlsMode.REQUIRE, None, "other.example", True),
        (ServerTlsMode.REQUIRE, True, "other.example", True),
        (ServerTlsMode.REQUIRE, False, "localhost", False),  # with a ca_file it checks the chain, as in libpq
        (ServerTlsMode.VERIFY_CA, True, "other.example", True),
        (ServerTlsMode.VERIFY_CA, False, "localhost", False),
        (ServerTlsMode.VERIFY_CA, None, "localhost", False),  # not an authority of the system
        (ServerTlsMode.VERIFY_FULL, True, "localhost", True),
        (ServerTlsMode.VERIFY_FULL, True, "127.0.0.1", True),
        (ServerTlsMode.VERIFY_FULL, True, "other.example", False),
        (ServerTlsMode.VERIFY_FULL, False, "localhost", False),
    ],
)
def test_modes_check_what_libpqs_do(
    issued: Issued, tmp_path: Path, mode: ServerTlsMode, own_ca: bool | None, host: str, accepted: bool
) -> None:
    (tmp_path / "else").mkdir()
    ca = None if own_ca is None else issued.ca if own_ca else issue(tmp_path / "else").ca
    client = client_context(mode, ca)
    assert client is not None
    server = server_context(CertificateFiles(issued.cert, issued.key, NOW))
    if accepted:
        handshake(server, client, host)
        return
    with pytest.raises(ssl.SSLCertVerificationError) as e:
        handshake(server, client, host)
    words = handshake_failure(e.value, mode, host)
    assert host in words and ("ca_file" in words or "check host" in words)


def test_disable_has_no_context() -> None:
    assert client_context(ServerTlsMode.DISABLE) is None


def test_authorities_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="nothing-here"):
        client_context(ServerTlsMode.VERIFY_CA, tmp_path / "nothing-here")


def test_old_tls_is_refused(issued: Issued) -> None:
    assert client_context(ServerTlsMode.PREFER).minimum_version is ssl.TLSVersion.TLSv1_2  # type: ignore[union-attr]
    assert server_context(CertificateFiles(issued.cert, issued.key, NOW)).minimum_version is ssl.TLSVersion.TLSv1_2


def signed(algorithm: hashes.HashAlgorithm | None) -> bytes:
    key = ed25519.Ed25519PrivateKey.generate() if algorithm is None else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    certificate = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1)).sign(key, algorithm)  # type: ignore[arg-type]
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_end_point_hash_is_that_of_the_certificates_signature(algorithm: hashes.HashAlgorithm) -> None:
    der = signed(algorithm)
    assert server_end_point_hash(der) == hashlib.new(algorithm.name, der).digest()


def test_end_point_hash_where_there_is_none() -> None:
    assert server_end_point_hash(signed(None)) is None
    assert server_end_point_hash(b"not a certificate") is None


def test_certificate_files_are_read_with_their_chain(issued: Issued, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(issued.cert.read_bytes() + issued.ca.read_bytes())
    assert len(read_certificates(chain)) == 2
