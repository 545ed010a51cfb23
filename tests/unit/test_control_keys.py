"""The keys of the control topic: made once, read strictly, several believed, and a signature is for one key and value alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.control_keys import (
    PRIVATE,
    PUBLIC,
    SIGNATURE_HEADER,
    ControlKeyError,
    create_control_key,
    load_control_signer,
    load_control_trust,
    public_pem,
)
from schemas.log import Record
from tests.support.control_key import SIGNER, STRANGER, TRUST


def record(key: bytes, value: bytes, headers: dict[str, bytes]) -> Record:
    return Record("affidavit.control", 0, key, value, headers)


def test_a_signature_is_for_this_key_and_this_value() -> None:
    headers = dict(SIGNER.headers(b"ab", b"cd"))
    assert TRUST.problem(record(b"ab", b"cd", headers)) == ""
    for key, value in ((b"abc", b"d"), (b"a", b"bcd"), (b"ab", b"ce"), (b"", b"abcd"), (b"ab", b"")):
        assert "none of the keys" in TRUST.problem(record(key, value, headers))
    for signature in (headers[SIGNATURE_HEADER][:-1], bytes(64), b"x", headers[SIGNATURE_HEADER] + b"\0"):
        assert "none of the keys" in TRUST.problem(record(b"ab", b"cd", {SIGNATURE_HEADER: signature}))
    assert "none of the keys" in TRUST.problem(record(b"ab", b"cd", dict(STRANGER.headers(b"ab", b"cd"))))
    assert "not signed" in TRUST.problem(record(b"ab", b"cd", {}))
    tombstone = Record("affidavit.control", 0, b"ab", b"", dict(SIGNER.headers(b"ab", b"")), tombstone=True)
    assert "tombstone" in TRUST.problem(tombstone)


def test_a_key_is_made_once_and_believed_where_it_was_made(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert create_control_key(keys)
    private = (keys / PRIVATE).read_bytes()
    assert not create_control_key(keys)
    assert (keys / PRIVATE).read_bytes() == private
    assert (keys / PRIVATE).stat().st_mode & 0o777 == 0o600
    assert sorted(f.name for f in keys.iterdir()) == [PRIVATE, PUBLIC]
    headers = dict(load_control_signer(keys).headers(b"k", b"v"))
    assert load_control_trust(keys).problem(record(b"k", b"v", headers)) == ""


def test_several_keys_are_believed_and_one_that_is_made_joins_them(tmp_path: Path) -> None:
    (tmp_path / PUBLIC).write_bytes(b"# the API\n" + public_pem(SIGNER.public))
    create_control_key(tmp_path)
    trust = load_control_trust(tmp_path)
    for signer in (SIGNER, load_control_signer(tmp_path)):
        assert trust.problem(record(b"k", b"v", dict(signer.headers(b"k", b"v")))) == ""
    assert trust.problem(record(b"k", b"v", dict(STRANGER.headers(b"k", b"v"))))


def test_what_cannot_be_used_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ControlKeyError, match="control-key"):
        load_control_signer(tmp_path)
    with pytest.raises(ControlKeyError, match=r"control\.pub is missing"):
        load_control_trust(tmp_path)
    believed = tmp_path / PUBLIC
    block = public_pem(SIGNER.public)
    for text, why in (
        (b"", "0 public keys"),
        (b"nothing", "0 public keys"),
        (block * 33, "33 public keys"),
        (block.replace(b"MCow", b"MCox"), "no public key"),
        (block[:40], "no public key"),
    ):
        believed.write_bytes(text)
        with pytest.raises(ControlKeyError, match=why):
            load_control_trust(tmp_path)
    create_control_key(other := tmp_path / "other")
    (other / PRIVATE).chmod(0o640)
    with pytest.raises(ControlKeyError, match="chmod 600"):
        load_control_signer(other)
    (other / PRIVATE).chmod(0o600)
    (other / PRIVATE).write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(ControlKeyError, match="not an unencrypted PEM"):
        load_control_signer(other)
