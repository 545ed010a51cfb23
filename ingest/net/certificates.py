"""Which certificate does the proxy show? One that was configured, checked before use, or one it makes for local use.

A generated certificate is self-signed for this machine's names and lives in `<data_dir>/tls`: `proxy.pem` (key and
certificate in one file, so that no two workers ever mix generations) and `proxy.crt` (the certificate alone, for a
client's `sslrootcert`). It is an end-entity certificate: who trusts it trusts this proxy and nothing it could sign.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ingest.core.errors import CertificateError

LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
_CLOCK_SKEW = timedelta(hours=1)
_ALWAYS = ("localhost", "127.0.0.1", "::1")
_MAX_FILE_BYTES = 1024 * 1024  # a chain with its key is a few KB; more is another file


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate (with its chain) and its key are; both may be the same file. `not_after` is when it expires."""

    cert_file: Path
    key_file: Path
    not_after: datetime


def generated_certificate(directory: Path, names: Iterable[str], now: datetime) -> CertificateFiles:
    """The generated certificate in `directory`, made or renewed if it is missing, damaged, expiring, or lacks a name.

    `names` are host names and addresses besides localhost; wildcard listen addresses are left out. `now` is aware.
    Raises CertificateError if the folder cannot be written.
    """
    wanted = list(dict.fromkeys([*_ALWAYS, *(n for n in names if n not in ("0.0.0.0", "::", ""))]))  # noqa: S104 - left out
    pem = directory / "proxy.pem"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # workers start at the same moment
            not_after = _still_good(pem, wanted, now)
            if not_after is None:
                key, certificate = _self_signed(wanted, now)
                cert_pem = certificate.public_bytes(serialization.Encoding.PEM)
                _replace(pem, _key_pem(key) + cert_pem, 0o600)
                _replace(directory / "proxy.crt", cert_pem, 0o644)
                not_after = certificate.not_valid_after_utc
        finally:
            os.close(lock)
    except OSError as e:
        raise CertificateError(
            f"cannot keep the generated certificate in {directory}: {e.strerror}; make the folder writable"
        ) from e
    return CertificateFiles(pem, pem, not_after)


def configured_certificate(cert_file: Path, key_file: Path, now: datetime) -> CertificateFiles:
    """Check a configured certificate and key: there, PEM, belonging together, valid at `now`. Raises CertificateError."""
    certificate = read_certificates(cert_file)[0]
    if _public_half(key_file) != _public_bytes(certificate.public_key()):
        raise CertificateError(
            f"key {key_file} does not belong to the first certificate in {cert_file}; give the pair that was issued together"
        )
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > last:
        raise CertificateError(f"certificate {cert_file} expired on {last:%Y-%m-%d %H:%M} UTC; renew it")
    if now < first:
        raise CertificateError(
            f"certificate {cert_file} is not valid before {first:%Y-%m-%d %H:%M} UTC; check this machine's clock"
        )
    return CertificateFiles(cert_file, key_file, last)


def read_certificates(file: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, at least one. Raises CertificateError that names the file and the remedy."""
    raw = _read(file, "certificate")
    if b"-----BEGIN CERTIFICATE-----" not in raw and b"-----BEGIN" in raw:
        raise CertificateError(f"{file} holds no certificate but something else in PEM; are certificate and key swapped?")
    try:
        return x509.load_pem_x509_certificates(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{file} is not a certificate in PEM; it should begin with -----BEGIN CERTIFICATE-----") from None


def _public_half(file: Path) -> bytes:
    raw = _read(file, "key")
    try:
        key = serialization.load_pem_private_key(raw, password=None)
    except TypeError:
        raise CertificateError(
            f"key {file} is encrypted; the proxy starts unattended and needs it decrypted (openssl pkey -in … -out …)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{file} is not a private key in PEM; it should hold a line -----BEGIN PRIVATE KEY-----") from None
    return _public_bytes(key.public_key())


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read(file: Path, what: str) -> bytes:
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise CertificateError(f"{what} file {file} is larger than {_MAX_FILE_BYTES} bytes; it cannot be a {what}")
        return file.read_bytes()
    except FileNotFoundError:
        raise CertificateError(f"{what} file {file} does not exist; check the path in the configuration") from None
    except PermissionError:
        raise CertificateError(f"{what} file {file} cannot be read by this user; change its owner or mode") from None
    except OSError as e:
        raise CertificateError(f"{what} file {file} cannot be read: {e.strerror}") from None


def _still_good(pem: Path, wanted: list[str], now: datetime) -> datetime | None:
    """When the certificate on disk expires, or None if a new one is due."""
    try:
        found = configured_certificate(pem, pem, now)
        names = read_certificates(pem)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (CertificateError, x509.ExtensionNotFound):
        return None
    have = {str(n.value) for n in names}
    return found.not_after if set(wanted) <= have and found.not_after - now > RENEW_BEFORE else None


def _self_signed(names: list[str], now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "affidavit proxy")])
    try:
        san = x509.SubjectAlternativeName([_general_name(n) for n in names])
    except ValueError:
        raise CertificateError(
            f"cannot put these names into a certificate: {', '.join(names)}; use host names in ASCII"
        ) from None
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(san, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return key, builder.sign(key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _replace(file: Path, content: bytes, mode: int) -> None:
    """Write a file in one step; it is private (mkstemp: 0600) until it is whole."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
