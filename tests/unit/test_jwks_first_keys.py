"""Logins that come while an issuer's keys are fetched: they wait for the first, lose none, and no issuer holds them for long."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import Awaitable, Callable

import orjson
import pytest
from joserfc import jwk

from ingest.net import jwks
from schemas.config import IssuerSettings


def test_a_login_during_the_first_fetch_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    key = jwk.ECKey.generate_key("P-256", {"kid": "a"})
    fetches = []

    async def slow(_: IssuerSettings) -> bytes:
        fetches.append(1)
        await asyncio.sleep(0.3)
        return orjson.dumps({"keys": [key.as_dict(private=False)]})

    monkeypatch.setattr(jwks, "_read", slow)
    known = jwks.KeySets((IssuerSettings(issuer="https://id.example", audience="affidavit"),), time.monotonic)

    async def two() -> list[int]:
        first = asyncio.create_task(known.keys("https://id.example", "a"))
        await asyncio.sleep(0.05)
        return [len(keys) for keys in await asyncio.gather(first, known.keys("https://id.example", "a"))]

    assert asyncio.run(two()) == [1, 1]
    assert len(fetches) == 1


def test_a_login_that_is_given_up_takes_no_keys_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    key = jwk.ECKey.generate_key("P-256", {"kid": "a"})

    async def slow(_: IssuerSettings) -> bytes:
        await asyncio.sleep(0.1)
        return orjson.dumps({"keys": [key.as_dict(private=False)]})

    monkeypatch.setattr(jwks, "_read", slow)
    known = jwks.KeySets((IssuerSettings(issuer="https://id.example", audience="affidavit"),), time.monotonic)

    async def given_up() -> int:
        first = asyncio.create_task(known.keys("https://id.example", "a"))
        await asyncio.sleep(0)
        first.cancel()
        return len(await known.keys("https://id.example", "a"))

    assert asyncio.run(given_up()) == 1


async def refused_by(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> str:
    """Return what is said of an issuer whose server answers so."""
    over = asyncio.Event()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await answer(reader, writer)
            writer.close()
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = IssuerSettings(issuer=address, audience="affidavit", jwks_url=f"{address}/keys")
    async with server:
        with pytest.raises(jwks.JwksError) as refused:
            async with asyncio.timeout(30):
                await jwks.KeySets((settings,), time.monotonic).keys(address, "a")
        async with asyncio.timeout(10):
            await over.wait()
    return str(refused.value)


@pytest.mark.parametrize("begins", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["headers", "body"])
def test_an_issuer_that_never_stops_answering_holds_nobody(monkeypatch: pytest.MonkeyPatch, begins: bytes) -> None:
    monkeypatch.setattr(jwks, "WHOLE_SECONDS", 0.5)

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begins)
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.01)

    assert "it takes longer than 0.5 s" in asyncio.run(refused_by(trickle))


def test_an_answer_that_unpacks_to_much_is_not_unpacked() -> None:
    packed = gzip.compress(b" " * 50_000_000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
        writer.write(head.encode() + packed)
        await reader.read()

    assert "no JSON Web Key Set" in asyncio.run(refused_by(answer))
