"""Spoilt credentials and bundles: each is refused in a word of ours, none is taken for what it is not, nothing hangs."""

from __future__ import annotations

import base64
import random
import ssl
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from cryptography import x509

from ingest.identity.client_certificate import ClientCertificateError, credential_of
from ingest.identity.jwt import JwksError, JwtRefusedError, claimed, looks_like_jwt, parse_key_set, verify
from ingest.identity.tokens import Credential, TokenStore
from processors.policy import Policy, PolicyError, read_bundle
from processors.policy.context import DEFAULTS
from schemas.config import IssuerSettings
from schemas.events import PrincipalKind
from tests.support.certificates import issue
from tests.support.fuzzing import dice, inputs, spoil, told
from tests.support.issuer import AUDIENCE, Issuer

SECONDS = 2.0
POLICIES = Path(__file__).parents[2] / "deploy" / "policies"


def encoded(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def respelt(rng: random.Random, token: bytes) -> bytes:
    """A token with a fault: in its characters, in the JSON of a part, or with another's part."""
    parts = token.split(b".")
    match rng.randrange(4):
        case 0:
            return spoil(rng, token)
        case 1:
            at = rng.randrange(2)
            parts[at] = encoded(spoil(rng, base64.urlsafe_b64decode(parts[at] + b"==")))
        case 2:
            at = rng.randrange(2)
            value = orjson.loads(base64.urlsafe_b64decode(parts[at] + b"=="))
            odd = (None, True, 0, -1, 1e30, "", "none", "HS256", "x" * 500, [], ["a", 1], {}, {"act": {"sub": "x"}}, float("nan"))
            value[rng.choice((*value, "act", "nbf", "crit", "jwk", "x5c", "b64", "kid"))] = rng.choice(odd)
            parts[at] = encoded(orjson.dumps(value))
        case _:
            parts[2] = rng.choice((b"", b"AAAA", encoded(rng.randbytes(64)), parts[2][:-2]))
    return b".".join(parts)


def test_a_spoilt_identity_token_is_refused_or_says_what_it_said() -> None:
    rng, total = dice("token"), inputs("token", 1_500) * 6 // 10
    issuer = Issuer()
    settings = IssuerSettings(issuer=issuer.name, audience=AUDIENCE, jwks_url="https://idp.example/keys")
    keys = parse_key_set(issuer.jwks())
    whole = [
        issuer.token(),
        issuer.token(act={"sub": "copilot", "groups": ["oncall"]}),
        issuer.token(act={"sub": "copilot", "act": {"sub": "planner"}}, groups="a b c"),
    ]
    now = int(time.time()) * 1_000_000
    known = [verify(token.encode(), settings, keys, now) for token in whole]
    refused = 0
    for _ in range(total):
        at = rng.randrange(len(whole))
        token = respelt(rng, whole[at].encode())
        began = time.process_time()
        try:
            if not looks_like_jwt(token):
                refused += 1
                continue
            claimed(token)
            found = verify(token, settings, keys, now)
        except JwtRefusedError:
            refused += 1
        else:
            same = (found.principal_id, found.kind, found.delegation, found.groups, found.expires_at)
            wanted = known[at]
            assert same == (wanted.principal_id, wanted.kind, wanted.delegation, wanted.groups, wanted.expires_at), token
        assert time.process_time() - began < SECONDS
    told("identity tokens", total, refused=f"{refused:,}")
    assert refused > total * 9 // 10


def test_a_spoilt_key_set_or_certificate_is_refused_or_read(tmp_path: Path) -> None:
    rng, total = dice("keys"), inputs("token", 1_500) // 10
    keys = Issuer().jwks()
    names = [x509.RFC822Name("ana@example.com"), x509.UniformResourceIdentifier("https://example.com")]
    der = ssl.PEM_cert_to_DER_cert(issue(tmp_path, "ana", client=True, names=names).cert.read_text())
    refused = 0
    for n in range(total):
        try:
            if n % 2:
                assert parse_key_set(spoil(rng, keys))
            else:
                assert credential_of(spoil(rng, der), PrincipalKind.HUMAN).principal_id
        except (JwksError, ClientCertificateError):
            refused += 1
    told("key sets and certificates", total, refused=f"{refused:,}")
    assert refused > total // 4


def test_a_spoilt_token_of_ours_logs_nobody_in(tmp_path: Path) -> None:
    rng, total = dice("tokens"), inputs("token", 1_500) * 3 // 10
    store = TokenStore(tmp_path / "identity.db", lambda: 1_000_000, rng.randbytes)
    _, token = store.create("ana", "human", created_by="test")
    assert isinstance(store.verify(token, 2_000_000), Credential)
    for _ in range(total):
        spoilt = spoil(rng, token.encode()).decode("utf-8", "replace")
        assert spoilt == token or not isinstance(store.verify(spoilt, 2_000_000), Credential), spoilt
    store.close()
    told("tokens", total)


_CONDITIONS = (
    "principal.kind", "'x' in statement.verbs", "size(columns.all) > 3", "claims.ticket", "has(claims.t)", "time.hour / 0 == 1",
    "statement.objects.exists(o, o.startsWith('a'))", "session.statements > 9223372036854775807", "'a'.matches('(a*)*b')",
    "!true", "1", "(", ")", "&&", "||", "?", ":", "[", "]", "{", "}", ".", "\"", "'", "\\", "\n", "\0", "dyn(1)", "b'\\xff'",
    "-9223372036854775808", "in",
)  # fmt: skip


def test_a_spoilt_bundle_is_refused_in_words_or_decides() -> None:
    rng, total = dice("policy"), inputs("policy", 150)
    whole = [path.read_bytes() for path in sorted(POLICIES.glob("*.yaml"))]
    base: dict[str, Any] = {"bundle": "fuzz", "rules": [{"id": "a", "effect": "deny", "reason": "No."}]}
    usable = 0
    for n in range(total):
        if n % 5 == 0:
            data = spoil(rng, rng.choice(whole))
        else:
            rule = {**base["rules"][0], "when": " ".join(rng.choice(_CONDITIONS) for _ in range(rng.randint(1, 4)))}
            data = yaml.safe_dump({**base, "rules": [rule]}).encode()
        began = time.process_time()
        try:
            policy = Policy(read_bundle({"f": data}))
        except PolicyError as error:
            assert str(error)
        else:
            usable += 1
            ruling = policy.decide(DEFAULTS)
            assert not ruling.error or ruling.stops
        assert time.process_time() - began < 10 * SECONDS, data
    told("policy", total, usable=f"{usable:,}")
    assert usable > total // 100


@pytest.mark.parametrize("depth", [100, 10_000, 200_000])
def test_a_condition_nested_without_end_is_refused(depth: int) -> None:
    for text in ("(" * depth + "true" + ")" * depth, "!" * depth + "true", "[" * depth + "]" * depth):
        rule = {"id": "a", "effect": "deny", "reason": "No.", "when": text}
        try:
            Policy(read_bundle({"f": yaml.safe_dump({"bundle": "f", "rules": [rule]}).encode()}))
        except PolicyError as error:
            assert "rule" in str(error)
        else:
            assert depth == 100
