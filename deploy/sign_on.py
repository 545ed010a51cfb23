"""One OpenID provider, as the page's logins use it: its addresses, the exchange of a code, and whose the identity token is.

The token is verified as any identity token is (`ingest.identity.jwt`), but its audience is the client's id, and it has the
login's nonce. What the provider answers is never shown or logged: only which of its steps failed.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import orjson

from deploy.api_logins import IdentityTokens
from ingest.identity.jwt import JwksError, JwtRefusedError, claim, claimed, verify
from ingest.net.jwks import discovered, reached
from query_api.identity import Identity
from query_api.sign_on import SignOnError
from schemas.config import Config, IssuerSettings

MAX_ANSWER_BYTES = 256 * 1024
"""Of a token answer: three tokens of some KiB each."""
CALLBACK = "/login/callback"


def providers(config: Config, tokens: IdentityTokens | None) -> list[OpenIdProvider]:
    """Return the issuers at which people may log in."""
    asked = [i for i in config.identity.issuers if i.client_id is not None]
    return [OpenIdProvider(i, config.public_url + CALLBACK, tokens) for i in asked] if tokens is not None else []


class OpenIdProvider:
    """An issuer of identity tokens that gives codes for them. Called in threads."""

    def __init__(self, settings: IssuerSettings, callback: str, tokens: IdentityTokens) -> None:
        assert settings.client_id is not None
        self._client_id = settings.client_id
        self._settings = settings
        self._expected = settings.model_copy(update={"audience": settings.client_id})
        self._callback = callback
        self._tokens = tokens

    @property
    def name(self) -> str:
        """The issuer's host."""
        return urlsplit(self._settings.issuer).netloc

    def address(self, state: str, nonce: str, challenge: str) -> str:
        """Return where to send the browser. Raises SignOnError."""
        with self._reached():
            endpoint = asyncio.run(self._authorizes())
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._callback,
            "scope": " ".join(("openid", *self._settings.scopes)),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    async def _authorizes(self) -> str:
        async with reached(self._settings) as client:
            return (await discovered(client, self._settings, "authorization_endpoint"))[0]

    def redeem(self, code: str, verifier: str, nonce: str, issuer: str) -> Identity:
        """Return whose code this is. Raises SignOnError."""
        if issuer and issuer != self._settings.issuer:
            raise SignOnError("oidc_issuer", "The answer came from another provider than the login was begun at.")
        token = self._exchanged(code, verifier)
        try:
            said, kid = claimed(token)
            if said != self._settings.issuer:
                raise SignOnError("oidc_issuer", "The provider's token is of another issuer.")
            credential = verify(token, self._expected, self._tokens.keys(self._settings, kid), time.time_ns() // 1000)
            given, party = claim(token, "nonce"), claim(token, "azp")
        except JwtRefusedError as error:
            raise SignOnError(error.reason, f"What the provider gave {error}.") from None
        except JwksError as error:
            raise SignOnError("jwt_keys_unavailable", f"The provider's token cannot be checked: {error}.") from None
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            raise SignOnError("oidc_nonce", "The provider's token is of another login. Begin again.")
        if party is not None and party != self._client_id:
            raise SignOnError("jwt_wrong_audience", "The provider's token was issued to another client.")
        identity = self._tokens.as_identity(credential)
        if identity is None:
            raise SignOnError("oidc_no_role", "You are known, but none of your groups has a role here (api.group_roles).")
        return identity

    def _exchanged(self, code: str, verifier: str) -> bytes:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "client_id": self._client_id,
            "code_verifier": verifier,
        }
        with self._reached():
            status, body = asyncio.run(self._asked(form))
        if status != 200:
            raise SignOnError("oidc_code", "The provider did not take the code: it was used, is too old or not of this login.")
        try:
            token = orjson.loads(body)["id_token"].encode("ascii")
            if token.count(b".") != 2:
                raise ValueError
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
            raise SignOnError("oidc_code", "The provider gave no identity token.") from None
        return bytes(token)

    async def _asked(self, form: dict[str, str]) -> tuple[int, bytes]:
        """Return the token endpoint's status and answer. Raises SignOnError, JwksError, and what httpx raises."""
        async with reached(self._settings) as client:
            (endpoint,) = await discovered(client, self._settings, "token_endpoint")
            secret, body = self._secret(), b""
            # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
            login = (quote_plus(self._client_id), quote_plus(secret)) if secret else None
            headers = {"accept": "application/json", "accept-encoding": "identity"}
            async with client.stream("POST", endpoint, data=form, auth=login, headers=headers) as answer:
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        raise SignOnError("oidc_code", "The provider's answer is too long.")
                return answer.status_code, body

    def _secret(self) -> str:
        file = self._settings.client_secret_file
        if file is None:
            return ""
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise SignOnError("oidc_provider", f"The client's secret cannot be read from {file.name}; ask an operator.") from None

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except JwksError as error:
            raise SignOnError("oidc_provider", f"The provider cannot be used: it {error}.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SignOnError("oidc_provider", f"The provider {self.name} cannot be reached: {type(error).__name__}.") from None
