"""Whose login is this? A token issued here, an identity token of a configured issuer, or a client's certificate.

What a client is told says what is wrong with its credential and never repeats any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ingest.identity.client_certificate import ClientCertificateError, credential_of
from ingest.identity.tokens import Credential, Refusal, TokenStore
from schemas.config import DatabaseSettings, IdentitySettings

if TYPE_CHECKING:
    from ingest.net.jwks import KeySets

HINT = "The password is a token: create one with `affidavit token create`"
_REASONS = {
    Refusal.UNKNOWN: ("unknown_token", "is not a token this proxy knows"),
    Refusal.EXPIRED: ("expired_token", "has expired"),
    Refusal.REVOKED: ("revoked_token", "was revoked"),
    Refusal.PRINCIPAL_ENDED: ("principal_ended", "is for somebody none of whose own tokens is valid any more"),
}


class LoginRefusedError(Exception):
    """No login. `reason` is for the event, the text for the client; `sqlstate` is 28P01 unless it is our fault."""

    def __init__(self, reason: str, text: str, sqlstate: str = "28P01") -> None:
        super().__init__(text)
        self.reason, self.sqlstate = reason, sqlstate


class Logins:
    """Verifies what clients log in with. Code for identity tokens is loaded only where issuers are configured."""

    def __init__(self, tokens: TokenStore, settings: IdentitySettings, monotonic: Callable[[], float]) -> None:
        self._tokens = tokens
        self._keys: KeySets | None = None
        self.hint = f"{HINT}."
        if settings.issuers:
            from ingest.net.jwks import KeySets

            self._keys = KeySets(settings.issuers, monotonic)
            self.hint = f"{HINT}, or an identity token of {', '.join(i.issuer for i in settings.issuers)}."

    async def by_password(self, password: bytes, now: int) -> Credential:
        """Return whose token a password is. Raises LoginRefusedError, TokenStoreError."""
        if self._keys is not None:
            from ingest.identity.jwt import looks_like_jwt

            if looks_like_jwt(password):
                return await self._by_identity_token(self._keys, password, now)
        found = self._tokens.verify(password.decode("utf-8", "replace"), now)
        if isinstance(found, Refusal):
            reason, words = _REASONS[found]
            raise LoginRefusedError(reason, f"the password {words}")
        return found

    async def _by_identity_token(self, key_sets: KeySets, token: bytes, now: int) -> Credential:
        from ingest.identity.jwt import JwksError, JwtRefusedError, claimed, verify

        try:
            issuer, kid = claimed(token)
            settings = key_sets.settings(issuer)
            if settings is None:
                text = "the password is an identity token of an issuer this proxy does not trust"
                raise LoginRefusedError("jwt_unknown_issuer", text)
            return verify(token, settings, await key_sets.keys(issuer, kid), now)
        except JwtRefusedError as error:
            raise LoginRefusedError(error.reason, f"the password {error}") from None
        except JwksError as error:
            text = f"the password cannot be checked: {error}; try again, or log in with a token of this proxy"
            raise LoginRefusedError("jwt_keys_unavailable", text, "58000") from None

    def by_certificate(self, der: bytes, database: DatabaseSettings) -> Credential:
        """Return whose verified certificate this is. Raises LoginRefusedError."""
        try:
            return credential_of(der, database.client_tls.client_kind)
        except ClientCertificateError as error:
            text = f"the client certificate names no principal: {error}"
            raise LoginRefusedError("certificate_unusable", text) from None

    def standing(self, credential: Credential, now: int) -> Refusal | None:
        """Return why sessions of this credential must end at `now`, or None. Raises TokenStoreError."""
        if credential.auth_method == "token":
            return self._tokens.standing(credential.token_id, now)
        return Refusal.EXPIRED if credential.expires_at and now >= credential.expires_at else None
