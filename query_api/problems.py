"""The one shape of errors: RFC 9457 `application/problem+json` with type, title, status, detail, instance.

`type` is a `urn:affidavit:problem:<name>` that programs can rely on; PROBLEMS lists them and docs/api.md explains each.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from query_api.search import SearchError

PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is not valid"),
    "bad-search": (400, "The search is not valid"),
    "bad-time": (400, "The time is not valid"),
    "bad-cursor": (400, "The cursor is not valid"),
    "unauthenticated": (401, "No valid token"),
    "forbidden": (403, "Not allowed"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "too-slow": (408, "Too slow"),
    "conflict": (409, "Already settled"),
    "too-large": (413, "Too large"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "Our fault"),
    "overloaded": (503, "Busy"),
    "store-unavailable": (503, "The store does not answer"),
    "not-recorded": (503, "The read could not be recorded"),
    "untold": (503, "Who is suspended is not known"),
    "not-told": (503, "The proxies could not be told"),
    "search-too-expensive": (504, "The search took too long"),
}

_NAMES = {404: "not-found", 405: "method-not-allowed", 401: "unauthenticated", 403: "forbidden", 413: "too-large"}
_log = logging.getLogger(__name__)


class ProblemError(Exception):
    """A request that ends with a problem. `extra` are further members, such as `position`."""

    def __init__(self, name: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.name = name
        self.status, self.title = PROBLEMS[name]
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra

    @classmethod
    def of_search(cls, error: SearchError) -> ProblemError:
        """The problem that a bad search is: with `position` and `length` in characters, and a `hint`."""
        return cls(
            "bad-search",
            str(error),
            message=error.message,
            position=error.position,
            length=error.length,
            hint=error.hint,
        )

    def response(self, instance: str) -> JSONResponse:
        """The answer that says so."""
        body = {
            "type": f"urn:affidavit:problem:{self.name}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        return JSONResponse(body | self.extra, self.status, self.headers, media_type="application/problem+json")


def problem_of(request: Request, error: HTTPException) -> ProblemError:
    """The problem that an error of the framework's is: an address that there is none of, a method that it does not have."""
    name = _NAMES.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    said = f"There is nothing at {request.url.path}." if error.status_code == 404 else ""
    detail = said or f"{request.method} {request.url.path}: {error.detail}"
    return ProblemError(name, detail, headers=dict(error.headers or {}))


def install(app: FastAPI) -> None:
    """Make every error of the app a problem."""

    async def problem(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ProblemError)
        return error.response(request.url.path)

    async def search(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, SearchError)
        return ProblemError.of_search(error).response(request.url.path)

    async def validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"][1:]) or "request"
        return ProblemError("bad-request", f"{where}: {first['msg']}", parameter=where).response(request.url.path)

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return problem_of(request, error).response(request.url.path)

    async def internal(request: Request, error: Exception) -> JSONResponse:
        # The route, not the address: that of a link is a credential.
        _log.error("request failed", exc_info=error, extra={"path": getattr(request.scope.get("route"), "path", "")})
        return ProblemError("internal", "The server failed on this request; its log says why.").response(request.url.path)

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(SearchError, search)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, internal)
