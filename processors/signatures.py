"""Which public key a source signs with, and whether a signature holds. Reads `keys/<source>.pub`; otherwise pure.

A key file is the registration of a source: a source that has one must sign every block. The file holds one Ed25519 public key,
as PEM (SubjectPublicKeyInfo), as 64 hex digits, or as 32 raw bytes. A `/` in a source's name is `_` in its file's.
"""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from schemas.integrity import Block, IntegrityError


class KeyFileError(Exception):
    """A registered key cannot be read: its source's blocks can be neither accepted nor refused until it can."""


def key_path(directory: Path, source: str) -> Path:
    """Return where a source's public key is registered."""
    return directory / (source.replace("/", "_") + ".pub")


def registered_key(directory: Path, source: str) -> bytes:
    """Return a source's registered public key (32 bytes), or nothing if it has none; raise KeyFileError."""
    path = key_path(directory, source)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise KeyFileError(
            f"public key {path} of source {source} is unreadable: {error.strerror}; fix its permissions"
        ) from error
    try:
        return _public_bytes(data)
    except ValueError as error:
        raise KeyFileError(f"public key {path} of source {source} is no Ed25519 public key: {error}; restore the file") from error


def _public_bytes(data: bytes) -> bytes:
    if data.lstrip().startswith(b"-----BEGIN"):
        key = load_pem_public_key(data)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("another kind of key")
        return key.public_bytes_raw()
    if re.fullmatch(rb"\s*[0-9a-f]{64}\s*", data):
        return bytes.fromhex(data.decode())
    if len(data) == 32:
        return data
    raise ValueError("neither PEM, 64 hex digits nor 32 bytes")


def verify_signature(block: Block, key: bytes) -> None:
    """Check the block's signature under a public key of 32 bytes; raise IntegrityError."""
    h = block.header
    name = f"block {h.number} of {h.source} epoch {h.epoch}"
    if not block.signature:
        raise IntegrityError(f"{name}: is not signed, though a key is registered for its source")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(block.signature, h.encode())
    except (InvalidSignature, ValueError):
        raise IntegrityError(f"{name}: its signature does not hold under the registered key") from None
