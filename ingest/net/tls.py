"""What does TLS look like on either side of the proxy? The two kinds of ssl contexts, and the hash for channel binding.

Towards clients: the proxy's certificate, TLS 1.2 or newer, ALPN "postgresql". Towards databases: libpq's sslmode
semantics. `prefer` and `require` encrypt without checking who the server is, unless `require` has a `ca_file` (then it is
`verify-ca`, as in libpq); `verify-ca` checks the chain; `verify-full` also the host name. Without a `ca_file` the checking
modes trust the system's authorities.
"""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ingest.core.errors import CertificateError
from ingest.net.certificates import CertificateFiles, read_certificates
from schemas.config import ServerTlsMode

ALPN = "postgresql"


def server_context(files: CertificateFiles, client_ca: Path | None = None, require_client: bool = False) -> ssl.SSLContext:
    """Context for connections from clients. Raises CertificateError if OpenSSL refuses what `certificates` let pass.

    With `client_ca` a client's certificate is asked for and must come from there; with `require_client` it must have one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # sessions are long; tickets would only cost bytes and memory at each login
    context.set_alpn_protocols([ALPN])
    _load_chain(context, files.cert_file, files.key_file)
    if client_ca is not None:
        _load_authorities(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context


def client_context(
    mode: ServerTlsMode, ca_file: Path | None = None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext | None:
    """Context for connections to a database, None for `disable`. Raises CertificateError for files that cannot be used.

    Give `server_hostname` at the handshake in every mode: `verify-full` checks it, the others send it (SNI) only.
    """
    if mode is ServerTlsMode.DISABLE:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])
    verifies = mode in (ServerTlsMode.VERIFY_CA, ServerTlsMode.VERIFY_FULL) or (mode is ServerTlsMode.REQUIRE and ca_file)
    context.check_hostname = mode is ServerTlsMode.VERIFY_FULL
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    if verifies and ca_file is not None:
        _load_authorities(context, ca_file)
    elif verifies:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if cert_file is not None:
        _load_chain(context, cert_file, key_file or cert_file)
    return context


def server_end_point_hash(certificate_der: bytes) -> bytes | None:
    """Hash of the server's certificate for tls-server-end-point (RFC 5929, 4.1), or None where the RFC defines none.

    The hash of the certificate's own signature; SHA-256 in place of MD5 and SHA-1. Signatures that have no single hash
    (Ed25519, Ed448) have no such binding.
    """
    try:
        algorithm = x509.load_der_x509_certificate(certificate_der).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name.replace("-", "_")
    try:
        return hashlib.new(name, certificate_der, usedforsecurity=True).digest()
    except ValueError:
        return None


def peer_end_point_hash(connection: ssl.SSLObject | ssl.SSLSocket) -> bytes | None:
    """`server_end_point_hash` of the certificate the peer of a TLS connection showed."""
    der = connection.getpeercert(binary_form=True)
    return server_end_point_hash(der) if der else None


def handshake_failure(error: Exception, mode: ServerTlsMode, host: str) -> str:
    """A failed handshake with a database, in words that name the remedy."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        remedy = (
            "check host (verify-full compares it with the certificate's names)"
            if error.verify_code in (62, 64)
            else "set ca_file to the authority that issued it"
        )
        return f"the certificate of {host} was not accepted (tls: {mode.value}): {why}; {remedy}"
    return f"TLS handshake with {host} failed (tls: {mode.value}): {_openssl_words(error)}"


def _load_authorities(context: ssl.SSLContext, ca_file: Path) -> None:
    read_certificates(ca_file)  # for its clear errors
    try:
        context.load_verify_locations(cafile=str(ca_file))
    except (ssl.SSLError, OSError) as e:
        raise CertificateError(f"cannot use the authorities in {ca_file}: {_openssl_words(e)}") from e


def _load_chain(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    def no_passphrase() -> str:  # without it OpenSSL asks on the terminal
        raise CertificateError(f"key {key_file} is encrypted; the proxy starts unattended and needs it decrypted")

    try:
        context.load_cert_chain(str(cert_file), str(key_file), password=no_passphrase)
    except (ssl.SSLError, OSError) as e:
        raise CertificateError(f"cannot use certificate {cert_file} with key {key_file}: {_openssl_words(e)}") from e


def _openssl_words(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason).lower().replace("_", " ") if reason else type(error).__name__
