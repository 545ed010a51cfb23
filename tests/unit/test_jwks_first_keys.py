"""Logins that come while an issuer's first keys are being fetched wait for them: they are as good as the one that asked."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest
from joserfc import jwk

from ingest.net import jwks
from schemas.config import IssuerSettings


def test_a_login_during_the_first_fetch_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    key = jwk.ECKey.generate_key("P-256", {"kid": "a"})
    fetches = []

    def slow(_: IssuerSettings) -> bytes:
        fetches.append(1)
        time.sleep(0.3)
        return orjson.dumps({"keys": [key.as_dict(private=False)]})

    monkeypatch.setattr(jwks, "_read", slow)
    known = jwks.KeySets((IssuerSettings(issuer="https://id.example", audience="affidavit"),), time.monotonic)

    async def two() -> list[int]:
        first = asyncio.create_task(known.keys("https://id.example", "a"))
        await asyncio.sleep(0.05)
        return [len(keys) for keys in await asyncio.gather(first, known.keys("https://id.example", "a"))]

    assert asyncio.run(two()) == [1, 1]
    assert len(fetches) == 1
