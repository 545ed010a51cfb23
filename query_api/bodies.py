"""How a request's body is read: never more of it than a limit, whatever its headers say."""

from __future__ import annotations

from fastapi import Request

from query_api.problems import ProblemError


async def bounded(request: Request, limit: int, what: str) -> bytes:
    """The body. Raises ProblemError `too-large` past `limit` bytes, naming `what` has so many at most."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ProblemError("too-large", f"{what} has at most {limit} bytes.")
    return body
