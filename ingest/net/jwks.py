"""The keys of identity tokens' issuers: read or fetched, cached, fetched again when they get old or a token names a new one.

A fetch runs in a thread, one at a time for each issuer. Where it fails, keys fetched within the last day still serve; without
any, logins by that issuer's tokens are refused and say so. Nothing of a token is ever sent anywhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import orjson
from joserfc import jwk

from ingest.identity.jwt import JwksError, has_key, parse_key_set
from schemas.config import IssuerSettings, is_safe_url

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 512 * 1024
"""A key set or discovery document has some KiB; this bounds what a wrong address can make us read."""
RETRY_SECONDS = 10.0
"""Tokens that name unknown keys, and failures, cause a fetch no more often than this."""
STALE_SECONDS = 86_400.0
"""How long keys serve that cannot be fetched anew: an issuer's outage of a day stops nobody, a key withdrawn dies within it."""


@dataclass(slots=True)
class _Known:
    settings: IssuerSettings
    keys: tuple[jwk.Key, ...] = ()
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    problem: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeySets:
    """Keys of the configured issuers. `monotonic` gives seconds."""

    def __init__(self, issuers: tuple[IssuerSettings, ...], monotonic: Callable[[], float]) -> None:
        self._known = {i.issuer: _Known(i) for i in issuers}
        self._monotonic = monotonic

    def settings(self, issuer: str) -> IssuerSettings | None:
        """Return the settings of an issuer, None if it is not configured."""
        known = self._known.get(issuer)
        return known.settings if known else None

    async def keys(self, issuer: str, kid: str) -> tuple[jwk.Key, ...]:
        """Return the keys of a configured issuer, fetched first where that is due. Raises JwksError if there are none."""
        known = self._known[issuer]
        if self._due(known, kid) or (not known.keys and known.lock.locked()):  # the first keys are on their way: wait for them
            async with known.lock:
                if self._due(known, kid):
                    await self._refresh(known)
        if not known.keys or self._monotonic() - known.fetched_at > max(STALE_SECONDS, known.settings.refresh_seconds):
            raise JwksError(f"the keys of {issuer} {known.problem or 'are not known'}")
        return known.keys

    def _due(self, known: _Known, kid: str) -> bool:
        now = self._monotonic()
        if now - known.tried_at < RETRY_SECONDS and known.tried_at != float("-inf"):
            return False
        return now - known.fetched_at > known.settings.refresh_seconds or not has_key(known.keys, kid)

    async def _refresh(self, known: _Known) -> None:
        known.tried_at = self._monotonic()
        try:
            known.keys = parse_key_set(await asyncio.to_thread(_read, known.settings))
        except JwksError as error:
            known.problem = str(error)
        else:
            known.fetched_at, known.problem = self._monotonic(), ""


def _read(settings: IssuerSettings) -> bytes:
    if settings.jwks_file is not None:
        try:
            with settings.jwks_file.open("rb") as file:
                return file.read(MAX_BYTES)
        except OSError as error:
            raise JwksError(f"cannot be read from {settings.jwks_file}: {error.strerror}") from None
    with http_client(settings) as client:
        return _get(client, settings.jwks_url or discovered(client, settings, "jwks_uri")[0])


def http_client(settings: IssuerSettings) -> httpx.Client:
    """Return a client for an issuer's addresses. Raises JwksError."""
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise JwksError(f"cannot be fetched: ca_file {settings.ca_file} cannot be used ({error.strerror})") from None
    return httpx.Client(verify=context, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)


def discovered(client: httpx.Client, settings: IssuerSettings, *names: str) -> tuple[str, ...]:
    """Return addresses that the discovery document names. Raises JwksError.

    OpenID Connect Discovery 1.0 section 4: the document's issuer must be the one asked.
    """
    address = settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
    try:
        document = orjson.loads(_get(client, address))
        urls = tuple(str(document[name]) for name in names)
        issuer = document["issuer"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise JwksError(f"cannot be found: {address} is no discovery document") from None
    if issuer != settings.issuer or not all(map(is_safe_url, urls)):
        raise JwksError(f"cannot be trusted: {address} speaks for another issuer, or names an address without TLS")
    return urls


def _get(client: httpx.Client, url: str) -> bytes:
    try:
        with client.stream("GET", url, headers={"accept": "application/json"}) as response:
            if response.status_code != 200:
                raise JwksError(f"cannot be fetched: {url} answered {response.status_code}")
            body = b""
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    raise JwksError(f"cannot be fetched: {url} answered more than {MAX_BYTES} bytes")
            return body
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise JwksError(f"cannot be fetched from {url}: {error or type(error).__name__}") from None
