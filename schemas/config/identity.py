"""`identity`: who else, beside the tokens issued here, says who somebody is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from schemas.config.base import Settings, is_safe_url
from schemas.events.base import PrincipalKind


class Algorithm(StrEnum):
    """Signatures of identity tokens that can be accepted: asymmetric ones only (RFC 7518, RFC 9864)."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    ED25519 = "Ed25519"
    EDDSA = "EdDSA"


class IssuerSettings(Settings):
    """One issuer of identity tokens (JWT, RFC 7519) that clients may give as password.

    Without `jwks_url` and `jwks_file` the keys' address comes from the issuer's OpenID Connect discovery document. With
    `client_id` people may log in there to the page, by the authorization code flow.
    """

    issuer: Annotated[str, Field(min_length=1, max_length=500)]
    audience: Annotated[str, Field(min_length=1, max_length=500)]
    jwks_url: str | None = None
    jwks_file: Path | None = None
    ca_file: Path | None = None
    algorithms: tuple[Algorithm, ...] = ()
    principal_claim: str = "sub"
    groups_claim: str = "groups"
    kind: PrincipalKind = PrincipalKind.HUMAN
    clock_skew_seconds: float = Field(60.0, ge=0, le=600)
    refresh_seconds: float = Field(3600.0, ge=60, le=86_400)
    client_id: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    client_secret_file: Path | None = None
    scopes: tuple[Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,100}$")], ...] = ()

    @model_validator(mode="after")
    def _reachable(self) -> IssuerSettings:
        if self.jwks_url is not None and self.jwks_file is not None:
            raise ValueError("give one of jwks_url, jwks_file")
        fetched = self.jwks_url or (None if self.jwks_file is not None else self.issuer)
        if fetched is not None and not is_safe_url(fetched):
            raise ValueError("keys are fetched over https (http only from this machine itself); give jwks_url, or jwks_file")
        if self.client_id is not None and not is_safe_url(self.issuer):
            raise ValueError("people log in over https (http only on this machine itself): the issuer must be such an address")
        if self.client_id is None and self.client_secret_file is not None:
            raise ValueError("client_secret_file needs client_id")
        return self


class IdentitySettings(Settings):
    """Who else, beside the tokens issued here, says who a client is."""

    issuers: tuple[IssuerSettings, ...] = ()
    max_control_stale_seconds: float = Field(86_400.0, ge=10, le=604_800)
    max_grant_stale_seconds: float = Field(60.0, ge=5, le=86_400)

    @model_validator(mode="after")
    def _distinct(self) -> IdentitySettings:
        names = [i.issuer for i in self.issuers]
        if len(set(names)) != len(names):
            raise ValueError("an issuer is given twice")
        return self
