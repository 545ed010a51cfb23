"""How does a worker log in to brokers with OAUTHBEARER? With tokens that it asks of the issuer (RFC 6749, section 4.4).

What librdkafka does by itself for every other client, aiokafka leaves to us. A token is kept until a tenth of its life is left.
"""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import orjson
from aiokafka.abc import AbstractTokenProvider

from schemas.config import KafkaSecurity

ASK_SECONDS = 10.0
ANSWER_BYTES = 64 * 1024
"""A token is one or two KB; the answer of something that is no issuer is not read on and on."""

LIFE_SECONDS = 60.0
"""Where the issuer does not say how long a token lives."""


class TokenError(Exception):
    """There is no token; the message says why and what to look at."""


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens for the client that `security` names."""

    def __init__(self, security: KafkaSecurity) -> None:
        self._security = security
        self._token, self._until = "", 0.0

    async def token(self) -> str:
        """Return a token that is good for some time yet. Raises TokenError."""
        if time.monotonic() >= self._until:
            self._token, life = await self._ask()
            self._until = time.monotonic() + 0.9 * life
        return self._token

    async def _ask(self) -> tuple[str, float]:
        s = self._security
        secret = s.password.get_secret_value() if s.password else ""
        form = {"grant_type": "client_credentials", **({"scope": s.scope} if s.scope else {})}
        where = f"log.kafka.security.token_url {s.token_url}"
        try:
            limit = aiohttp.ClientTimeout(ASK_SECONDS)
            async with (
                aiohttp.ClientSession(auth=aiohttp.BasicAuth(s.username, secret), timeout=limit, trust_env=True) as client,
                client.post(s.token_url, data=form, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(ANSWER_BYTES)
                if answer.status != 200:
                    remedy = "check username and password in log.kafka.security"
                    raise TokenError(f"{where} answers {answer.status} to client {s.username!r}: {remedy}")
                found: dict[str, Any] = dict(orjson.loads(body))
                return str(found["access_token"]), float(found.get("expires_in", LIFE_SECONDS))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TokenError(f"{where} cannot be asked for a token: {type(error).__name__} {error}") from None
        except (ValueError, KeyError, TypeError):
            raise TokenError(f"{where} answers no token") from None
