"""Who may say something to the proxies? Control messages are signed (Ed25519), and whoever reads them believes no others.

    keys/control.pem   what the API and the command line sign with; whoever has it can approve, grant, suspend and resume
    keys/control.pub   the public keys that are believed, one PEM block each; proxies have only this

So writing the topic is not enough to let a held statement run. Signed are the record's key and value as they are published, hence
for a decision the request's id, its binding to the exact statement and its expiry. What was signed once can be published
again: readers refuse what is older than what they know of its subject. ADR 0013 has the options that lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import Struct

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.log import Record
from schemas.whole_files import write_beside, write_whole

SIGNATURE_HEADER = "sig"
PRIVATE, PUBLIC = "control.pem", "control.pub"
MAX_KEYS = 32
"""Keys that are believed: each is tried, and each can approve anything."""
_PURPOSE = b"affidavit/control/v1\0"
_LENGTH = Struct(">I")
_BEGIN, _END = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"


class ControlKeyError(Exception):
    """A key of the control topic cannot be used; the text names the file and what to do."""


def _said(key: bytes, value: bytes) -> bytes:
    return _PURPOSE + _LENGTH.pack(len(key)) + key + value


class ControlSigner:
    """Signs what is published."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def headers(self, key: bytes, value: bytes) -> Mapping[str, bytes]:
        """Return the headers of a record with this key and value."""
        return {SIGNATURE_HEADER: self._key.sign(_said(key, value))}

    @property
    def public(self) -> Ed25519PublicKey:
        """What readers have to believe."""
        return self._key.public_key()


class ControlTrust:
    """The keys that are believed. Thread-safe."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = tuple(keys)

    def problem(self, record: Record) -> str:
        """Return why a record is not to be believed; empty if it is. Costs about 0.1 ms."""
        if record.tombstone:
            return "it is a tombstone, which nobody signs"
        signature = record.headers.get(SIGNATURE_HEADER, b"")
        if not signature:
            return "it is not signed"
        said = _said(record.key, record.value)
        for key in self._keys:
            try:
                key.verify(signature, said)
            except InvalidSignature:
                continue
            return ""
        return "its signature is of none of the keys that are believed"


def create_control_key(keys: Path) -> bool:
    """Make the key to sign with, and have it believed here, unless there is one; return whether it was made.

    Raises ControlKeyError.
    """
    path = keys / PRIVATE
    if path.exists():
        return False
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = write_beside(path, pem, 0o600)
        try:
            os.link(half, path)  # of two that make one at once, one's is used
        except FileExistsError:
            return False
        finally:
            half.unlink()
        believed = keys / PUBLIC
        others = believed.read_bytes() if believed.exists() else b""
        write_whole(believed, others + public_pem(key.public_key()), 0o644)
    except OSError as error:
        raise ControlKeyError(f"{path} cannot be made: {error.strerror}") from error
    return True


def public_pem(key: Ed25519PublicKey) -> bytes:
    """Return a public key as a PEM block."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_control_signer(keys: Path) -> ControlSigner:
    """Return what signs. Raises ControlKeyError."""
    path = keys / PRIVATE
    try:
        if path.stat().st_mode & 0o077:
            raise ControlKeyError(f"{path} can be read by others: run chmod 600 on it")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise ControlKeyError(
            f"{path} is missing, and what is not signed is not believed: run this where the API runs, or make a key "
            "with `affidavit control-key` and add its public half to the keys/control.pub of every proxy and API"
        ) from None
    except OSError as error:
        raise ControlKeyError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ControlKeyError(f"{path} is not an unencrypted PEM key: restore it, or move it away and make another") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ControlKeyError(f"{path} is not an Ed25519 key: restore it, or move it away and make another")
    return ControlSigner(key)


def load_control_trust(keys: Path) -> ControlTrust:
    """Return what is believed here. Raises ControlKeyError: to believe nobody is a mistake, for nobody could be suspended."""
    path = keys / PUBLIC
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ControlKeyError(
            f"{path} is missing, so no suspension and no approval could be believed: copy it from the machine of the API "
            "(`affidavit control-key` prints it there)"
        ) from None
    except OSError as error:
        raise ControlKeyError(f"{path} cannot be read: {error.strerror}") from error
    found: list[Ed25519PublicKey] = []
    rest = text
    while _BEGIN in rest:
        block, end, rest = rest[rest.index(_BEGIN) :].partition(_END)
        try:
            key = serialization.load_pem_public_key(block + end + b"\n")
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ControlKeyError(f"{path} holds something that is no public key, after {len(found)} that are") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ControlKeyError(f"{path} holds a key that is not an Ed25519 key, after {len(found)} that are")
        found.append(key)
    if not 0 < len(found) <= MAX_KEYS:
        raise ControlKeyError(f"{path} holds {len(found)} public keys; there must be 1 to {MAX_KEYS}, each a PEM block")
    return ControlTrust(found)
