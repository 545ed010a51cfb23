"""`/login/with/{n}` sends the browser to an OpenID provider, `/login/callback` takes it back and opens its session.

The session's cookie is SameSite=Lax here: with Strict a browser would not show it on the way back from another site. What changes
something still has to come from our own page (`access.require_own_origin`).
"""

from __future__ import annotations

import re
from functools import partial

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from query_api.access import COOKIE, address_of
from query_api.problems import ProblemError
from query_api.service import Service, TheService
from query_api.sign_on import PENDING_SECONDS, SignOnError
from query_api.ui.render import render

LOGIN_COOKIE = "affidavit_login"
_MAX_PARAMETER = 4096
_PAGES = re.compile(r"/(?:exposure|principals|approvals(?:/[A-Za-z0-9_.~-]{1,128})?)?(?:\?.*)?", re.DOTALL)
router = APIRouter(include_in_schema=False)


def inside(path: str) -> str:
    """A path of our own pages, whatever was asked for: no other host, no scheme."""
    return path if _PAGES.fullmatch(path) else "/"


def login_form(
    request: Request, service: Service, following: str, problem: ProblemError | SignOnError | None = None, status: int = 200
) -> Response:
    """The page that asks for a login, with what was wrong with the last one."""
    names = service.sign_on.names if service.sign_on is not None else ()
    said = problem.detail if isinstance(problem, ProblemError) else str(problem or "")
    headers = problem.headers if isinstance(problem, ProblemError) else None
    return render(request, "login.html", status, headers, next=following, problem=said, providers=names)


@router.get("/login/with/{provider}")
def begin(request: Request, service: TheService, provider: int, next: str = "/") -> Response:
    """Off to the provider."""
    if service.sign_on is None:
        raise ProblemError("not-found", "This server has no provider to log in at.")
    try:
        begun = service.sign_on.begin(provider, inside(next), address_of(request))
    except SignOnError as problem:
        return login_form(request, service, inside(next), problem, 502)
    response = RedirectResponse(begun.address, 303)
    _keep(request, service, response, LOGIN_COOKIE, begun.cookie, PENDING_SECONDS, "/login")
    return response


@router.get("/login/callback")
async def callback(
    request: Request, service: TheService, state: str = "", code: str = "", error: str = "", iss: str = ""
) -> Response:
    """Back from the provider."""
    sign_on = service.sign_on
    if sign_on is None:
        raise ProblemError("not-found", "This server has no provider to log in at.")
    given = [state, code, error, iss, request.cookies.get(LOGIN_COOKIE, "")]
    if any(len(value) > _MAX_PARAMETER for value in given):
        raise ProblemError("bad-request", "A parameter is too long.")
    state, code, error, iss, cookie = given
    address = address_of(request)
    try:
        if not sign_on.began(state):  # a login that was begun here is not refused for what others of its address tried
            service.access.check_failures(address)
        identity, following = await run_sync(partial(sign_on.end, state, cookie, code, error, iss, address))
        await run_sync(service.access.refuse_suspended, identity)
        await run_sync(service.access.record, request, identity, "login", "", 0)
        session = service.access.open_session(identity)
    except SignOnError as problem:
        service.access.failed(address)
        response = login_form(request, service, "/", problem, 401)
    except ProblemError as problem:
        if problem.name == "forbidden":
            await run_sync(sign_on.refuse, "suspended", address)
        response = login_form(request, service, "/", problem, problem.status)
    else:
        response = RedirectResponse(following, 303)
        seconds = service.limits.signed_on_seconds
        _keep(request, service, response, COOKIE, session, seconds, "/")
    response.delete_cookie(LOGIN_COOKIE, path="/login", httponly=True, samesite="lax")
    return response


def _keep(request: Request, service: Service, response: Response, name: str, value: str, seconds: int, path: str) -> None:
    secure = request.url.scheme == "https" or service.secure
    response.set_cookie(name, value, max_age=seconds, path=path, httponly=True, samesite="lax", secure=secure)
