"""Identity tokens: what is accepted, what each defect is called, and whose identity comes out."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from joserfc import jwk, jws

from ingest.identity.jwt import JwksError, JwtRefusedError, claimed, has_key, looks_like_jwt, parse_key_set, verify
from ingest.identity.tokens import Credential
from schemas.config import IssuerSettings
from schemas.events import PrincipalKind
from tests.support.issuer import AUDIENCE, Issuer


def now_us() -> int:
    return int(time.time()) * 1_000_000


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def settings(issuer: Issuer, **changed: Any) -> IssuerSettings:
    return IssuerSettings(issuer=issuer.name, audience=AUDIENCE, jwks_url="https://idp.example/keys", **changed)


def checked(issuer: Issuer, token: str, now: int = 0, **changed: Any) -> Credential:
    return verify(token.encode(), settings(issuer, **changed), parse_key_set(issuer.jwks()), now or now_us())


def refusal(issuer: Issuer, token: str, **changed: Any) -> str:
    with pytest.raises(JwtRefusedError) as refused:
        checked(issuer, token, **changed)
    assert token.split(".")[1][:20] not in str(refused.value)
    return refused.value.reason


def test_a_subject_is_the_principal(issuer: Issuer) -> None:
    found = checked(issuer, issuer.token())
    assert (found.principal_id, found.kind, found.on_behalf_of) == ("dana", PrincipalKind.HUMAN, "")
    assert found.groups == ("engineering", "oncall") and found.roles == frozenset()
    principal = found.principal()
    assert principal.auth_method == "jwt" and principal.delegation == () and principal.credential_id.startswith("jwt:")


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", jwk.RSAKey.generate_key(2048, {"kid": "r"})),
        ("PS256", jwk.RSAKey.generate_key(2048, {"kid": "p"})),
        ("ES256", jwk.ECKey.generate_key("P-256", {"kid": "e"})),
        ("Ed25519", jwk.OKPKey.generate_key("Ed25519", {"kid": "o"})),
    ],
)
def test_every_default_algorithm(algorithm: str, key: jwk.Key) -> None:
    issuer = Issuer()
    issuer.published = [key]
    assert checked(issuer, issuer.token({"alg": algorithm}, key)).principal_id == "dana"


def test_an_actor_acts_for_the_subject_with_the_groups_of_both(issuer: Issuer) -> None:
    chain = {"sub": "copilot", "groups": ["oncall", "dba"], "act": {"sub": "planner"}}
    found = checked(issuer, issuer.token(act=chain))
    assert (found.principal_id, found.kind, found.on_behalf_of) == ("copilot", PrincipalKind.AGENT, "dana")
    assert found.principal().delegation == ("planner", "dana")
    assert found.groups == ("oncall",)
    assert checked(issuer, issuer.token(act={"sub": "copilot"})).groups == ()


@pytest.mark.parametrize(
    "act",
    [
        {},
        {"sub": ""},
        {"sub": "two words"},
        [],
        "copilot",
        {"sub": "dana"},
        {"sub": "a", "act": {"sub": "a"}},
        {"sub": "a", "iss": "x"},
    ],
)
def test_a_delegation_that_names_nobody_in_particular(issuer: Issuer, act: object) -> None:
    assert refusal(issuer, issuer.token(act=act)) == "jwt_bad_delegation"


def test_a_delegation_of_too_many(issuer: Issuer) -> None:
    act: dict[str, Any] = {"sub": "a0"}
    for n in range(1, 9):
        act = {"sub": f"a{n}", "act": act}
    assert refusal(issuer, issuer.token(act=act)) == "jwt_bad_delegation"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": None}, "jwt_malformed"),
        ({"exp": "tomorrow"}, "jwt_malformed"),
        ({"exp": True}, "jwt_malformed"),
        ({"exp": 1}, "jwt_expired"),
        ({"nbf": 99_999_999_999}, "jwt_not_yet_valid"),
        ({"iat": 99_999_999_999}, "jwt_not_yet_valid"),
        ({"aud": "another"}, "jwt_wrong_audience"),
        ({"aud": None}, "jwt_wrong_audience"),
        ({"aud": ["another", "third"]}, "jwt_wrong_audience"),
        ({"sub": None}, "jwt_no_principal"),
        ({"sub": "two words"}, "jwt_no_principal"),
        ({"sub": "da\u200bna"}, "jwt_no_principal"),
        ({"sub": "\u202eanad"}, "jwt_no_principal"),
        ({"groups": ["db\u00ada"]}, "jwt_groups"),
        ({"sub": "x" * 201}, "jwt_no_principal"),
        ({"groups": [1]}, "jwt_groups"),
        ({"groups": [f"g{n}" for n in range(65)]}, "jwt_groups"),
    ],
)
def test_claims_that_do_not_log_in(issuer: Issuer, changed: dict[str, Any], reason: str) -> None:
    assert refusal(issuer, issuer.token(**changed)) == reason


def test_the_skew_is_granted_and_ends_the_session(issuer: Issuer) -> None:
    now = now_us()
    token = issuer.token(exp=now // 1_000_000 - 30, aud=["x", AUDIENCE])
    assert checked(issuer, token, now).expires_at == now + 30_000_000
    assert refusal(issuer, token, clock_skew_seconds=0) == "jwt_expired"


def test_an_address_must_be_a_verified_one(issuer: Issuer) -> None:
    claims = {"email": "dana@example.com"}
    assert refusal(issuer, issuer.token(**claims), principal_claim="email") == "jwt_email_unverified"
    found = checked(issuer, issuer.token(email_verified=True, **claims), principal_claim="email")
    assert found.principal_id == "dana@example.com"


def test_signatures_that_prove_nothing(issuer: Issuer) -> None:
    other = jwk.ECKey.generate_key("P-256", {"kid": "k1"})
    assert refusal(issuer, issuer.token(key=other)) == "jwt_signature"
    assert refusal(issuer, issuer.token({"kid": "k2"})) == "jwt_unknown_key"
    head, body, signature = issuer.token().split(".")
    forged = base64.urlsafe_b64encode(json.dumps(issuer.claims(sub="root")).encode()).decode().rstrip("=")
    assert refusal(issuer, f"{head}.{forged}.{signature}") == "jwt_signature"
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k1"}').decode().rstrip("=")
    assert refusal(issuer, f"{none}.{body}.") == "jwt_algorithm"
    assert refusal(issuer, issuer.token({"typ": "logout+jwt"})) == "jwt_malformed"
    assert refusal(issuer, issuer.token(), algorithms=("RS256",)) == "jwt_algorithm"


def test_the_public_key_is_no_secret_to_sign_with(issuer: Issuer) -> None:
    """The classic confusion: HS256 with the published key's bytes."""
    secret = jwk.OctKey.import_key(json.dumps(issuer.key.as_dict(private=False)))
    body = json.dumps(issuer.claims()).encode()
    token = jws.serialize_compact({"alg": "HS256", "kid": "k1"}, body, secret, algorithms=["HS256"])
    assert refusal(issuer, token) == "jwt_algorithm"


def test_a_key_serves_one_kind_of_signature(issuer: Issuer) -> None:
    rsa = jwk.RSAKey.generate_key(2048, {"kid": "r"})
    issuer = Issuer()
    issuer.published = [jwk.RSAKey.import_key({**rsa.as_dict(private=False), "alg": "RS256"})]
    assert refusal(issuer, issuer.token({"alg": "PS256"}, rsa)) == "jwt_unknown_key"
    assert checked(issuer, issuer.token({"alg": "RS256"}, rsa)).principal_id == "dana"


def test_without_a_key_id_the_set_must_have_one_key(issuer: Issuer) -> None:
    token = issuer.token({"kid": None})
    assert checked(issuer, token).principal_id == "dana"
    keys = parse_key_set(issuer.jwks())
    assert has_key(keys, "") and not has_key([*keys, *keys], "") and not has_key(keys, "k2")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "no JSON Web Key Set"),
        (b"[]", "no JSON Web Key Set"),
        (b'{"keys": {}}', "a list"),
        (b'{"keys": []}', "no key to verify"),
        (b'{"keys": [{"kty": "oct", "k": "AAAA"}, {"kty": "EC"}, 7]}', "no key to verify"),
    ],
)
def test_a_key_set_that_is_none(text: bytes, word: str) -> None:
    with pytest.raises(JwksError, match=word):
        parse_key_set(text)


def test_a_key_set_with_a_secret_or_a_weak_key() -> None:
    key = jwk.ECKey.generate_key("P-256", {"kid": "k"})
    with pytest.raises(JwksError, match="private key"):
        parse_key_set(json.dumps({"keys": [key.as_dict(private=True)]}).encode())


@pytest.mark.parametrize("password", [b"afd_abc_def", b"", b"a.b.c", b"eyJ.b", b"eyJ" + b"." * 5])
def test_what_is_no_identity_token(password: bytes) -> None:
    assert not looks_like_jwt(password)


@pytest.mark.parametrize(
    "token", [b"eyJ..", b"eyJhIjoxfQ.e30.x", b"eyJhIjoxfQ.W10.x", b"eyJ\xff.\xff.\xff", b"eyJ" + b"a" * 20_000 + b".b.c"]
)
def test_what_only_looks_like_one(token: bytes) -> None:
    with pytest.raises(JwtRefusedError):
        claimed(token)
