"""Have the brokers confirm what Faust's producer sends, before anything follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import orjson

from schemas.log import LogUnavailableError

T = TypeVar("T")

PRODUCE_SECONDS = 15.0
"""After so long the producer gives a record up: in Faust it is 20 minutes, after which a record could still come behind those of
who has the partition by then. One that is on its way at that moment may take as long again."""

CONFIRM_SECONDS = 2 * PRODUCE_SECONDS + 10.0
"""How long is waited for what the producer says of a record: longer than it can take."""


def confirmed(loop: asyncio.AbstractEventLoop, sending: Coroutine[Any, Any, T], what: str, seconds: float = CONFIRM_SECONDS) -> T:
    """Run it in the event loop and return what it returns. Called in a thread. What took too long sends nothing more."""
    done = asyncio.run_coroutine_threadsafe(sending, loop)
    try:
        return done.result(seconds)
    except Exception as error:  # aiokafka's and Faust's own types, and the time running out
        done.cancel()
        raise LogUnavailableError(f"{what} not confirmed: {type(error).__name__} {error}") from error


async def send(topic: Any, partition: int, records: Sequence[tuple[str, bytes | None]]) -> list[Any]:
    """Give records (key, JSON; None: a tombstone) to Faust's producer, in order; return what the brokers say of each."""
    sent = []
    for key, data in records:
        # As JSON a tombstone would be the word null, which compaction keeps.
        value: dict[str, Any] = {"value": None, "value_serializer": "raw"} if data is None else {"value": orjson.loads(data)}
        sent.append(await topic.send(key=key, partition=partition, force=True, **value))
    await asyncio.wait(sent)  # no gather: cancelled, it would cancel what Faust looks at when the brokers answer
    return [each.result() for each in sent]
