"""The keys of identity tokens' issuers: read or fetched, cached, fetched again when they get old or a token names a new one.

A fetch is a task of its own, one at a time for each issuer, and ends in time: a login that is given up takes nothing from it, and
an issuer that never stops answering holds nobody. Where it fails, keys of the last day still serve; without any, logins
by that issuer's tokens are refused and say so. Nothing of a token is ever sent anywhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from joserfc import jwk

from ingest.identity.jwt import JwksError, has_key, parse_key_set
from schemas.config import IssuerSettings, is_safe_url

TIMEOUT_SECONDS = 5.0
"""For each step with an issuer: to connect, to hear something."""
WHOLE_SECONDS = 8.0
"""For all of them together, however slowly an issuer answers; less than RETRY_SECONDS."""
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
    fetching: asyncio.Task[None] | None = None


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
        due = self._due(known, kid)
        if due and known.fetching is None:
            known.tried_at = self._monotonic()
            known.fetching = asyncio.create_task(self._refresh(known))
        if known.fetching is not None and (due or not known.keys):  # the first keys are on their way: wait for them
            await asyncio.shield(known.fetching)
        if not known.keys or self._monotonic() - known.fetched_at > max(STALE_SECONDS, known.settings.refresh_seconds):
            raise JwksError(f"the keys of {issuer} {known.problem or 'are not known'}")
        return known.keys

    def _due(self, known: _Known, kid: str) -> bool:
        now = self._monotonic()
        if now - known.tried_at < RETRY_SECONDS and known.tried_at != float("-inf"):
            return False
        return now - known.fetched_at > known.settings.refresh_seconds or not has_key(known.keys, kid)

    async def _refresh(self, known: _Known) -> None:
        try:
            known.keys = parse_key_set(await _read(known.settings))
        except JwksError as error:
            known.problem = str(error)
        else:
            known.fetched_at, known.problem = self._monotonic(), ""
        finally:
            known.fetching = None


async def _read(settings: IssuerSettings) -> bytes:
    if settings.jwks_file is not None:
        return await asyncio.to_thread(_file, settings.jwks_file)
    async with reached(settings) as client:
        return await _get(client, settings.jwks_url or (await discovered(client, settings, "jwks_uri"))[0])


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise JwksError(f"cannot be read from {path}: {error.strerror}") from None


@asynccontextmanager
async def reached(settings: IssuerSettings) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client for an issuer's addresses, for WHOLE_SECONDS. Raises JwksError, also for what takes longer."""
    try:
        authorities = str(settings.ca_file) if settings.ca_file else None
        context = await asyncio.to_thread(ssl.create_default_context, cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise JwksError(f"cannot be fetched: ca_file {settings.ca_file} cannot be used ({error.strerror})") from None
    options: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "follow_redirects": False, "trust_env": False}
    try:
        async with asyncio.timeout(WHOLE_SECONDS), httpx.AsyncClient(verify=context, **options) as client:
            yield client
    except TimeoutError:
        raise JwksError(f"cannot be fetched: it takes longer than {WHOLE_SECONDS:g} s") from None


async def discovered(client: httpx.AsyncClient, settings: IssuerSettings, *names: str) -> tuple[str, ...]:
    """Return addresses that the discovery document names. Raises JwksError.

    OpenID Connect Discovery 1.0 section 4: the document's issuer must be the one asked.
    """
    address = settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
    try:
        document = orjson.loads(await _get(client, address))
        urls = tuple(str(document[name]) for name in names)
        issuer = document["issuer"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise JwksError(f"cannot be found: {address} is no discovery document") from None
    if issuer != settings.issuer or not all(map(is_safe_url, urls)):
        raise JwksError(f"cannot be trusted: {address} speaks for another issuer, or names an address without TLS")
    return urls


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    # Not compressed: a small answer that unpacks to a large one is read no further than it is long.
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        async with client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise JwksError(f"cannot be fetched: {url} answered {response.status_code}")
            body = b""
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_BYTES:
                    raise JwksError(f"cannot be fetched: {url} answered more than {MAX_BYTES} bytes")
            return body
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise JwksError(f"cannot be fetched from {url}: {error or type(error).__name__}") from None
