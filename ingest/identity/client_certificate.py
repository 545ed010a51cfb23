"""Who does a client's certificate say it is? Read after TLS verified it against the configured authorities.

A SPIFFE id (the one URI in the subject's alternative names, X.509-SVID section 2) is the principal whole; otherwise the one email
address, otherwise the common name. A certificate that names nobody, or several, logs nobody in.
"""

from __future__ import annotations

from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from ingest.identity.tokens import Credential, is_name
from schemas.events import PrincipalKind


class ClientCertificateError(Exception):
    """The certificate does not say who its holder is; the text says why."""


def credential_of(der: bytes, kind: PrincipalKind) -> Credential:
    """Return whose certificate this is; it must have been verified already. Raises ClientCertificateError."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        principal, method = _principal(certificate, _alternative_names(certificate))
        expires = certificate.not_valid_after_utc
    except ClientCertificateError:
        raise
    except Exception:  # the parser has a dozen errors without a common parent; each means the same here
        raise ClientCertificateError("it cannot be read") from None
    if not is_name(principal):
        raise ClientCertificateError("its name is too long or holds spaces or commas")
    return Credential(
        token_id="x509:" + sha256(der).hexdigest()[:20],
        principal_id=principal,
        kind=kind,
        on_behalf_of="",
        groups=(),
        roles=frozenset(),
        expires_at=int(expires.timestamp()) * 1_000_000,
        auth_method=method,
    )


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _principal(certificate: x509.Certificate, names: x509.SubjectAlternativeName | None) -> tuple[str, str]:
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if any(uri.lower().startswith("spiffe:") for uri in uris):
        if len(uris) != 1 or not uris[0].startswith("spiffe://"):
            raise ClientCertificateError("a SPIFFE certificate must have exactly one URI, spiffe://domain/path")
        return uris[0], "spiffe"
    emails = names.get_values_for_type(x509.RFC822Name) if names else []
    if len(emails) > 1:
        raise ClientCertificateError("it names several email addresses")
    if emails:
        return emails[0], "certificate"
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common) != 1:
        raise ClientCertificateError("it has no SPIFFE id, no email address and no single common name")
    return str(common[0].value), "certificate"
