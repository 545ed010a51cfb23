"""Who does an identity token of a configured issuer stand for at the API? The person that it names, with the roles of its groups.

The same issuers and checks as at the proxies (`identity.issuers`); what is more here is `api.group_roles`: which groups have a
role. Without it no identity token is taken. A token is looked at anew for every request, and ends by its own time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping

from joserfc.jwk import Key

from ingest.identity.jwt import JwksError, looks_like_jwt
from ingest.identity.tokens import Credential, TokenStore
from ingest.net.jwks import KeySets
from ingest.net.logins import LoginRefusedError, Logins
from query_api.identity import Identity
from schemas.config import IdentitySettings, IssuerSettings

PATIENCE_SECONDS = 12.0
"""How long a request waits for an issuer's keys: a discovery document and a key set, 5 s each."""


class IdentityTokens:
    """Verifies them. Called in threads; fetches keys on a loop of its own, which `close` ends."""

    def __init__(self, tokens: TokenStore, settings: IdentitySettings, group_roles: Mapping[str, tuple[str, ...]]) -> None:
        self._group_roles = {role: frozenset(groups) for role, groups in group_roles.items()}
        self._key_sets = KeySets(settings.issuers, time.monotonic)
        self._logins = Logins(tokens, settings, time.monotonic)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="identity tokens", daemon=True)
        self._thread.start()

    def identity(self, token: str, now: int) -> Identity | None:
        """Return whose it is, None if it is not valid here or its groups have no role."""
        asked = asyncio.run_coroutine_threadsafe(self._logins.by_password(token.encode("utf-8", "replace"), now), self._loop)
        try:
            credential = asked.result(PATIENCE_SECONDS)
        except (LoginRefusedError, TimeoutError):
            asked.cancel()
            return None
        return self.as_identity(credential)

    def as_identity(self, credential: Credential) -> Identity | None:
        """Return what a verified credential is at the API, None if its groups have no role."""
        roles = self._roles(credential)
        if not roles:
            return None
        return Identity(
            credential.principal_id,
            str(credential.kind),
            roles,
            credential.groups,
            credential.on_behalf_of,
            credential.principal().delegation,
            credential.token_id,
            credential.auth_method,
        )

    def _roles(self, credential: Credential) -> frozenset[str]:
        held = frozenset(credential.groups)
        return frozenset(role for role, groups in self._group_roles.items() if groups & held)

    def keys(self, settings: IssuerSettings, kid: str) -> tuple[Key, ...]:
        """Return an issuer's keys. Raises JwksError."""
        asked = asyncio.run_coroutine_threadsafe(self._key_sets.keys(settings.issuer, kid), self._loop)
        try:
            return asked.result(PATIENCE_SECONDS)
        except TimeoutError:
            asked.cancel()
            raise JwksError(f"the keys of {settings.issuer} did not come in time") from None

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


def is_identity_token(token: str) -> bool:
    """Tell whether a token has an identity token's form; ours never has."""
    return looks_like_jwt(token.encode("utf-8", "replace"))
