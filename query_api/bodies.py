"""How a request's body is read: never more of it than a limit, nor for longer, whatever its headers say."""

from __future__ import annotations

import asyncio

from fastapi import Request

from query_api.problems import ProblemError

BODY_SECONDS = 20.0
"""For some kilobytes: a client that takes longer wants to keep the connection, not to say something."""


async def bounded(request: Request, limit: int, what: str) -> bytes:
    """The body. Raises ProblemError: `too-large` past `limit` bytes, naming `what` has so many at most; `too-slow`."""
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise ProblemError("too-large", f"{what} has at most {limit} bytes.", headers={"Connection": "close"})
    except TimeoutError:
        said = f"{what} has to come within {BODY_SECONDS:g} seconds."
        raise ProblemError("too-slow", said, headers={"Connection": "close"}) from None
    return body
