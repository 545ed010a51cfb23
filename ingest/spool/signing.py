"""The key a source signs its blocks with: Ed25519 in `<source>.pem` (0600), its public half beside it in `<source>.pub`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ingest.spool.errors import SpoolError
from schemas.whole_files import write_whole

Signer = Callable[[bytes], bytes]


def load_or_create_signer(keys: Path, source: str) -> Signer:
    """Return the function that signs with the source's key; make the key on first use. Raises SpoolError naming the file."""
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = keys / (source.replace("/", "_") + ".pem")
    if not path.exists():
        _create(path)
    try:
        if path.stat().st_mode & 0o077:
            raise SpoolError(f"signing key {path} can be read by others: run chmod 600 on it")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SpoolError(f"signing key {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SpoolError(
            f"signing key {path} is not an unencrypted PEM key: restore it from a backup, or move it away"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SpoolError(f"signing key {path} is not an Ed25519 key: restore it from a backup, or move it away")
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_suffix(".pub")
    if not beside.exists() or beside.read_bytes() != public:
        write_whole(beside, public, 0o644)
    return key.sign


def _create(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(path, pem, 0o600)
