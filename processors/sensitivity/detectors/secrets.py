"""Credentials and keys: formats that their issuers made recognisable, and assignments that name what they hold."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections import Counter
from math import log2

from processors.sensitivity.detector import Detector
from schemas.classes import DataClass

_KEY, _CREDENTIAL = DataClass.SECRET_KEY, DataClass.CREDENTIAL


def dense(value: bytes) -> bool:
    """Whether the characters vary as those of a random key do (3 bits a character), not as those of a placeholder."""
    counts = Counter(value)
    return -sum(n / len(value) * log2(n / len(value)) for n in counts.values()) >= 3


def is_jwt(value: bytes) -> bool:
    """Whether the first part is base64url of a JOSE header, RFC 7515 section 4.1."""
    head = value.partition(b".")[0]
    try:
        text = urlsafe_b64decode(head + b"=" * (-len(head) % 4))
    except ValueError:
        return False
    return text.startswith(b"{") and b'"alg"' in text


def is_password(value: bytes) -> bool:
    """Whether what follows `password=` is a value, not a placeholder, a mask or a word of prose."""
    secret = value.replace(b"=", b":", 1).partition(b":")[2].strip(b" \t\r\n\"'")
    return secret.strip(b"*xX.)]}") != b"" and secret.rstrip(b".)]}").lower() not in _PLACEHOLDERS


_PLACEHOLDERS = frozenset(
    (b"required", b"changed", b"expired", b"invalid", b"missing", b"unknown", b"redacted", b"string", b"incorrect")
)

DETECTORS = (
    Detector(
        name="aws_access_key",
        data_class=_KEY,
        pattern=r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z2-7]{16}\b",
        must=("AKIAIOSFODNN7EXAMPLE", "key ASIAY34FZKBOKMUTVV7A used"),
        must_not=("AKIAIOSFODNN7", "xAKIAIOSFODNN7EXAMPLE"),
    ),
    Detector(
        name="github_token",
        data_class=_KEY,
        pattern=r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,90})\b",
        must=("ghp_16C7e42F292c6912E7710c838347Ae178B4a",),
        must_not=("ghp_short", "ghx_16C7e42F292c6912E7710c838347Ae178B4a"),
        validate=dense,
    ),
    Detector(
        name="gitlab_token",
        data_class=_KEY,
        pattern=r"\bglpat-[A-Za-z0-9_-]{20}\b",
        must=("glpat-a1B2c3D4e5F6g7H8i9J0",),
        must_not=("glpat-aaaaaaaaaaaaaaaaaaaa", "glpat-x"),
        validate=dense,
    ),
    Detector(
        name="slack_token",
        data_class=_KEY,
        pattern=r"\bxox[abprs]-[0-9]{6,13}-[0-9A-Za-z-]{10,80}",
        must=("xoxb-" + "123456789012-abcDEF123ghiJKL456",),
        must_not=("xoxb-none", "xoxq-123456789012-abcDEF123ghiJKL456"),
    ),
    Detector(
        name="stripe_key",
        data_class=_KEY,
        pattern=r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,99}\b",
        must=("sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc",),
        must_not=("pk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_short"),
    ),
    Detector(
        name="google_api_key",
        data_class=_KEY,
        pattern=r"\bAIza[A-Za-z0-9_-]{35}",
        must=("AIza" + "SyD9tSrke72PouQMnMX-a7eZSW0jkFMBWYz",),
        must_not=("AIzaShort", "BIzaSyD9tSrke72PouQMnMX-a7eZSW0jkFMBWY"),
        validate=dense,
    ),
    Detector(
        name="jwt",
        data_class=_CREDENTIAL,
        pattern=r"\beyJ[A-Za-z0-9_-]{8,900}\.[A-Za-z0-9_-]{4,900}(?:[A-Za-z0-9_-]*)\.[A-Za-z0-9_-]*",
        must=("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",),
        must_not=("eyJub3QiOiJqd3QifQ.eyJzdWIiOiIxMjM0In0.c2ln", "eyJhbGci.x"),
        validate=is_jwt,
    ),
    Detector(
        name="private_key",
        data_class=_KEY,
        pattern=r"-----BEGIN (?:[A-Z0-9]{2,12} )?(?:ENCRYPTED )?PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s:,-]{0,900}",
        must=("-----BEGIN RSA PRIVATE KEY-----\nMIIEow", "-----BEGIN PRIVATE KEY-----"),
        must_not=("-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----"),
        isolated=False,
    ),
    Detector(
        name="password_hash",
        data_class=_CREDENTIAL,
        pattern=r"(?:\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}|\$argon2(?:id|i|d)\$v=[0-9]{1,3}\$[A-Za-z0-9=,]{5,40}\$[A-Za-z0-9+/]{8,100}\$[A-Za-z0-9+/]{8,200}"
        r"|\$[156y]\$[./A-Za-z0-9$=]{4,30}\$[./A-Za-z0-9]{22,90}|SCRAM-SHA-256\$[0-9]{1,8}:[A-Za-z0-9+/=]{8,100}\$[A-Za-z0-9+/=:]{8,200}"
        r"|\bmd5[0-9a-f]{32}\b|pbkdf2_sha256\$[0-9]{1,8}\$[A-Za-z0-9]{4,40}\$[A-Za-z0-9+/=]{20,90})",
        must=(
            "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW",
            "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b3dWRWJTmaaJObG",
            "md5" + "0cc175b9c0f1b6a831c399e269772661",
        ),
        must_not=("$2b$12$short", "0cc175b9c0f1b6a831c399e269772661"),
        isolated=False,
    ),
    Detector(
        name="url_with_password",
        data_class=_CREDENTIAL,
        pattern=r"\b[a-z][a-z0-9+]{1,20}://[A-Za-z0-9._%+-]{1,64}:[^\s\x00/@:]{1,128}@[A-Za-z0-9.\[-]{1,253}",
        must=("postgres://app:s3cret@db.example.org/x",),
        must_not=("https://example.org:8080/a@b", "postgres://app@db.example.org/x"),
        isolated=False,
    ),
    Detector(
        name="password_assignment",
        data_class=_CREDENTIAL,
        pattern=r"(?i:\b(?:[a-z0-9_]{0,20}(?:password|passwd|passphrase|secret|api[_-]?key)|pwd|kennwort|passwort|mot de passe|contrase(?:\xc3\xb1|n)a|senha|wachtwoord|has(?:\xc5\x82|l)o|l(?:\xc3\xb6|o)senord)\\{0,2}[\"']?\s{0,2}[:=]\s{0,2}\\{0,2}[\"']?)[^\s\x00,;\"']{6,128}",
        must=(
            "password: hunter2x",
            '{"api_key": "9f8e7d6c5b"}',
            "mot de passe : hunter2x",
            "contraseña: hunter2x",
            r"{\"pwd\": \"hunter2x\"}",
        ),
        must_not=("password: ********", "your password was changed"),
        validate=is_password,
        isolated=False,
    ),
)
