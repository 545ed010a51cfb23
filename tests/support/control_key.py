"""The key by which tests tell proxies something where no machine with a key of its own is part of the test."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.control_keys import ControlSigner, ControlTrust
from schemas.log import NewRecord

SIGNER = ControlSigner(Ed25519PrivateKey.generate())
TRUST = ControlTrust([SIGNER.public])
STRANGER = ControlSigner(Ed25519PrivateKey.generate())
"""Signs as well as anybody; nobody believes it."""


def record(key: str, value: bytes, signer: ControlSigner = SIGNER) -> NewRecord:
    """Return a signed record of any content."""
    return NewRecord(key.encode(), value, signer.headers(key.encode(), value))
