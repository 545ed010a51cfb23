"""Who does an identity token (JWT, RFC 7519) say a client is? Verified against its issuer's keys, then read.

Pure: keys, time and settings are passed in. Only asymmetric signatures of the configured algorithms count; a key serves
one kind of signature (RFC 8725 section 3.1). `exp` and `aud` must be there. A claim `act` (RFC 8693 section 4.1) makes the
token an agent's: the actor is the principal, the subject is on whose behalf it acts, and the chain of earlier actors is
kept. An actor's groups are those that both it and its subject have: what the subject may do is not handed on by a token
that does not say so.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson
from joserfc import jwk, jws
from joserfc.errors import JoseError

from ingest.identity.tokens import MAX_GROUPS, Credential, is_name
from schemas.config import Algorithm, IssuerSettings
from schemas.events import PrincipalKind

MAX_TOKEN_BYTES = 16 * 1024
"""An identity token with some hundred groups has 8 KiB; what is much longer is not worth a signature check."""
MAX_ACTORS = 8
"""Actors in one delegation: all of them stand in every event."""
MAX_KEYS = 64
"""Keys of one issuer: a key set in rotation has two or three."""

DEFAULT_ALGORITHMS = (Algorithm.RS256, Algorithm.PS256, Algorithm.ES256, Algorithm.ED25519, Algorithm.EDDSA)
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_MIN_RSA_BITS = 2048


class JwtRefusedError(Exception):
    """The token does not log in. `reason` is for the event, the text for the client; neither repeats anything of the token."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class JwksError(Exception):
    """A key set cannot be used; the text says why."""


def looks_like_jwt(password: bytes) -> bool:
    """Tell whether a password has the form of a JWT in compact serialization: three parts, the first a JSON object."""
    return password.startswith(b"eyJ") and password.count(b".") == 2


def claimed(token: bytes) -> tuple[str, str]:
    """Return the issuer and key id (or "") that a token claims, nothing verified. Raises JwtRefusedError."""
    if len(token) > MAX_TOKEN_BYTES:
        raise JwtRefusedError("jwt_too_long", f"is an identity token of more than {MAX_TOKEN_BYTES} bytes")
    head, body, _ = token.split(b".")
    header, claims = _json(head), _json(body)
    issuer, kid = claims.get("iss"), header.get("kid", "")
    if not isinstance(issuer, str) or not isinstance(kid, str):
        raise JwtRefusedError("jwt_malformed", "is an identity token without an issuer")
    return issuer, kid


def parse_key_set(data: bytes) -> tuple[jwk.Key, ...]:
    """Return the signature keys of a JWK Set (RFC 7517 section 5); keys of kinds not known are skipped, as it demands.

    Raises JwksError for what is no key set, holds a secret, or holds no key that could verify anything.
    """
    try:
        members = orjson.loads(data)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise JwksError("is no JSON Web Key Set: an object with a list `keys`") from None
    if not isinstance(members, list) or len(members) > MAX_KEYS:
        raise JwksError(f"must have a list `keys` of at most {MAX_KEYS}")
    keys: list[jwk.Key] = []
    for member in members:
        if not isinstance(member, dict) or member.get("kty") not in ("RSA", "EC", "OKP") or member.get("use", "sig") != "sig":
            continue
        if "d" in member:
            raise JwksError("holds a private key; publish the public half alone, and replace that key")
        try:
            key = jwk.import_key(member)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, jwk.RSAKey) and key.raw_value.key_size < _MIN_RSA_BITS:
            continue
        keys.append(key)
    if not keys:
        raise JwksError(f"holds no key to verify signatures with (RSA of {_MIN_RSA_BITS} bits or more, EC, OKP)")
    return tuple(keys)


def has_key(keys: Iterable[jwk.Key], kid: str) -> bool:
    """Tell whether a key set has what a token names; a token that names no key needs a set of one."""
    found = list(keys)
    return any(k.kid == kid for k in found) if kid else len(found) == 1


def verify(token: bytes, issuer: IssuerSettings, keys: Sequence[jwk.Key], now: int) -> Credential:
    """Return who the token is for at `now` (microseconds UTC). Raises JwtRefusedError."""
    claims = _verified(token, issuer, keys)
    expires_at = _check_times(claims, issuer, now)
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise JwtRefusedError("jwt_wrong_audience", f"is an identity token for another audience than {issuer.audience!r}")
    subject = _subject(claims, issuer)
    groups = _groups(claims, issuer)
    kind, principal = issuer.kind, subject
    delegation: tuple[str, ...] = ()
    whole: tuple[str, ...] | None = None
    if "act" in claims:
        actors, own = _actors(claims["act"], issuer)
        kind, principal, delegation = PrincipalKind.AGENT, actors[0], (*actors[1:], subject)
        whole, groups = groups, tuple(g for g in groups if g in own)
        if subject in actors:
            raise JwtRefusedError("jwt_bad_delegation", "is an identity token whose subject acts for itself")
    return Credential(
        token_id="jwt:" + sha256(token).hexdigest()[:20],
        principal_id=principal,
        kind=kind,
        on_behalf_of=delegation[-1] if delegation else "",
        groups=groups,
        roles=frozenset(),
        expires_at=expires_at,
        auth_method="jwt",
        delegation=delegation,
        behalf_groups=whole,
    )


def claim(token: bytes, name: str) -> object:
    """Return a claim of a token that was verified, None if it has no such. Raises JwtRefusedError."""
    return _json(token.split(b".")[1]).get(name)


def _json(part: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, orjson.JSONDecodeError):
        value = None
    if not isinstance(value, dict):
        raise JwtRefusedError("jwt_malformed", "is not an identity token that can be read")
    return value


def _verified(token: bytes, issuer: IssuerSettings, keys: Sequence[jwk.Key]) -> dict[str, Any]:
    header = _json(token.split(b".")[0])
    algorithm, kid = header.get("alg"), header.get("kid", "")
    allowed = [a.value for a in issuer.algorithms or DEFAULT_ALGORITHMS]
    if algorithm not in allowed:
        raise JwtRefusedError(
            "jwt_algorithm", f"is an identity token signed by a method not accepted here ({', '.join(allowed)})"
        )
    if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in ("jwt", "at+jwt"):
        raise JwtRefusedError("jwt_malformed", "is a signed token, but no identity or access token")
    candidates = [k for k in keys if k.kid == kid] if kid else list(keys)
    fitting = [k for k in candidates if _fits(k, algorithm)]
    if len(fitting) != 1:
        raise JwtRefusedError("jwt_unknown_key", "is an identity token signed with a key its issuer does not publish")
    try:
        return _json_claims(jws.deserialize_compact(token, fitting[0], algorithms=[algorithm]).payload)
    except (JoseError, ValueError, TypeError):
        raise JwtRefusedError("jwt_signature", "is an identity token whose signature is wrong") from None


def _json_claims(payload: bytes) -> dict[str, Any]:
    claims = orjson.loads(payload)
    if not isinstance(claims, dict):
        raise ValueError("claims are no object")
    return claims


def _fits(key: jwk.Key, algorithm: str) -> bool:
    declared = key.as_dict(private=False)
    if key.key_type != _KEY_TYPES[algorithm[:2]] or declared.get("alg", algorithm) != algorithm:
        return False
    return declared.get("crv") == _CURVES[algorithm] if algorithm in _CURVES else True


def _check_times(claims: Mapping[str, Any], issuer: IssuerSettings, now: int) -> int:
    """Return when the credential ends, µs; the skew is granted on both sides."""
    skew = issuer.clock_skew_seconds
    seconds = now / 1_000_000
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, None if name == "exp" else 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
            raise JwtRefusedError("jwt_malformed", f"is an identity token whose claim {name} is missing or no time")
    if seconds >= claims["exp"] + skew:
        raise JwtRefusedError("jwt_expired", "is an identity token that has expired")
    if max(claims.get("nbf", 0), claims.get("iat", 0)) > seconds + skew:
        raise JwtRefusedError("jwt_not_yet_valid", "is an identity token that is not valid yet; check the clocks")
    return int((claims["exp"] + skew) * 1_000_000)


def _subject(claims: Mapping[str, Any], issuer: IssuerSettings) -> str:
    name = issuer.principal_claim
    subject = claims.get(name)
    if not isinstance(subject, str) or not is_name(subject):
        raise JwtRefusedError("jwt_no_principal", f"is an identity token whose claim {name} names no principal")
    if name == "email" and claims.get("email_verified") is not True:
        raise JwtRefusedError("jwt_email_unverified", "is an identity token whose email address its issuer did not verify")
    return subject


def _groups(claims: Mapping[str, Any], issuer: IssuerSettings) -> tuple[str, ...]:
    value = claims.get(issuer.groups_claim, [])
    groups = value.split() if isinstance(value, str) else value
    if not isinstance(groups, list) or not all(isinstance(g, str) and is_name(g) for g in groups) or len(groups) > MAX_GROUPS:
        raise JwtRefusedError("jwt_groups", f"is an identity token whose groups cannot be used: at most {MAX_GROUPS} plain names")
    return tuple(dict.fromkeys(groups))


def _actors(act: object, issuer: IssuerSettings) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the actors, the current one first, and the current one's groups."""
    actors: list[str] = []
    own: frozenset[str] = frozenset()
    while act is not None:
        if not isinstance(act, dict) or len(actors) == MAX_ACTORS:
            raise JwtRefusedError("jwt_bad_delegation", f"is an identity token whose claim act is not 1 to {MAX_ACTORS} actors")
        name = act.get(issuer.principal_claim, act.get("sub"))
        if not isinstance(name, str) or not is_name(name) or name in actors or act.get("iss", issuer.issuer) != issuer.issuer:
            raise JwtRefusedError("jwt_bad_delegation", "is an identity token whose claim act names no actor of its issuer")
        if not actors:
            own = frozenset(_groups(act, issuer))
        actors.append(name)
        act = act.get("act")
    if not actors:
        raise JwtRefusedError("jwt_bad_delegation", "is an identity token whose claim act is empty")
    return tuple(actors), own
