"""The page and its parts: full HTML for a browser without script, fragments of it for the script that makes it quick.

`/` renders search bar and results; `/ui/results`, `/ui/rows`, `/ui/events/{id}` and `/ui/stream` give the same HTML in pieces.
`/login` exchanges a token for a session cookie. All of it reads through the same functions as the API, and is recorded alike.
"""

from __future__ import annotations

import re
from hashlib import sha256
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Header, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from query_api.access import COOKIE, address_of, require_own_origin
from query_api.bodies import bounded
from query_api.identity import ANYONE, APPROVERS, READERS, Identity
from query_api.problems import ProblemError, problem_of
from query_api.routers.events import open_stream, search_page
from query_api.routers.stats import search_stats
from query_api.search import CLAIM, FIELDS, SearchError, show
from query_api.search.ast import Pattern, Term
from query_api.service import AReader, CursorText, From, SearchText, Service, TheService, To, service_of
from query_api.store import events
from query_api.times import rfc3339
from query_api.ui import approvals, exposure, principals, sign_on
from query_api.ui import format as fmt
from query_api.ui.chart import HEIGHT, WIDTH, chart
from query_api.ui.render import RANGES, render, to_login
from query_api.ui.sign_on import inside, login_form

PAGE_ROWS = 100
DEFAULT_RANGE = "-24h"
_STATIC = {
    "app.css": "text/css; charset=utf-8",
    "approvals.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "approvals.js": "text/javascript; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "login.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_CLAIM_KEY = re.compile(r"[A-Za-z0-9_.\-]+")
router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    """Add the page's routes."""
    folder = files(__package__) / "static"
    static = {name: (folder / name).read_bytes() for name in _STATIC}
    versions = {name: sha256(content).hexdigest()[:12] for name, content in static.items()}
    environment = Environment(
        loader=PackageLoader("query_api.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=fmt.seen,
    )
    environment.globals |= {
        "fmt": fmt,
        "rfc3339": rfc3339,
        "term": term,
        "link": link,
        "static": lambda name: f"/static/{name}?v={versions[name]}",
        "fields": [*FIELDS.values(), CLAIM],
        "ranges": RANGES,
        "chart_width": WIDTH,
        "chart_height": HEIGHT,
    }
    environment.globals["tabs"] = tabs
    environment.filters["short"] = fmt.short
    environment.filters["typed"] = fmt.Typed
    environment.filters["safe_key"] = lambda key: _CLAIM_KEY.fullmatch(key) is not None
    app.state.pages = environment
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(HTTPException, _no_such_page)
    app.state.static = static
    app.include_router(router)
    app.include_router(approvals.router)
    app.include_router(exposure.router)
    app.include_router(principals.router)
    app.include_router(sign_on.router)


async def _problem(request: Request, error: Exception) -> Response:
    """A problem as a page, where a browser asked for one; as the API says it elsewhere."""
    assert isinstance(error, ProblemError)
    parts = ("/api/", "/ui/", "/static/", "/metrics")
    if request.url.path.startswith(parts) or "text/html" not in request.headers.get("accept", ""):
        return error.response(request.url.path)
    return render(request, "problem.html", error.status, error.headers, problem=error)


async def _no_such_page(request: Request, error: Exception) -> Response:
    """An address that there is none of, or not so, said in the same ways."""
    assert isinstance(error, HTTPException)
    return await _problem(request, problem_of(request, error))


def tabs(identity: Identity) -> list[tuple[str, str, bool]]:
    """The pages: path, name, whether this identity may open it."""
    reads = bool(identity.roles & READERS)
    decides = bool(identity.roles & ANYONE)
    return [
        ("/", "Events", reads),
        ("/approvals", "Approvals", decides),
        ("/principals", "Principals", reads),
        ("/exposure", "Exposure", reads),
    ]


def term(field: str, value: str) -> str:
    """A condition as search text."""
    return show(Term(field, Pattern((value,))))


def link(q: str = "", range: str = "", from_: str = "", to: str = "", cursor: str = "") -> str:
    """The page's address for a search."""
    given = {"q": q, "range": range, "from": from_, "to": to, "cursor": cursor}
    query = urlencode({name: value for name, value in given.items() if value})
    return f"/?{query}" if query else "/"


def _results(
    request: Request, service: Service, identity: Identity, q: str, range_: str, from_: str, to: str, cursor: str
) -> dict[str, Any]:
    """What the results need to be drawn; errors become part of them."""
    if not from_ and not to:
        range_ = range_ if range_ in RANGES else DEFAULT_RANGE
        span = (range_, "now")
    else:
        range_ = ""
        span = (from_ or "-90d", to or "now")
    base = {"q": q, "range": range_, "from_": from_, "to": to, "cursor": cursor}
    nothing: dict[str, Any] = {"items": [], "next_cursor": None, "chart": None, "stats": None, "error": None, "problem": None}
    try:
        items, following = search_page(service, identity, q, *span, cursor or None, PAGE_ROWS)
        counts, low, high = search_stats(service, identity, q, *span)
        service.access.record(request, identity, "ui/search", q, len(items))
    except SearchError as error:
        return base | nothing | {"error": error}
    except ProblemError as problem:
        return base | nothing | {"problem": problem}
    return (
        base
        | nothing
        | {"items": items, "next_cursor": following, "chart": chart(counts), "stats": counts, "low": low, "high": high}
    )


@router.get("/")
def search(
    request: Request,
    service: TheService,
    q: SearchText = "",
    range: str = "",
    from_: From = None,
    to: To = None,
    cursor: CursorText = None,
) -> Response:
    """The page; to /login where nobody is logged in."""
    identity = service.access.identify(request)
    if identity is None:
        return to_login(request)
    if not identity.roles & READERS:
        if identity.roles & APPROVERS:
            return RedirectResponse("/approvals", 303)
        return render(request, "refused.html", 403, identity=identity)
    values = _results(request, service, identity, q, range, from_ or "", to or "", cursor or "")
    return render(request, "search.html", _status(values), identity=identity, **values)


@router.get("/ui/results")
def results(
    request: Request,
    service: TheService,
    identity: AReader,
    q: SearchText = "",
    range: str = "",
    from_: From = None,
    to: To = None,
) -> Response:
    """The results alone."""
    values = _results(request, service, identity, q, range, from_ or "", to or "", "")
    return render(request, "_results.html", **values)


def _status(values: dict[str, Any]) -> int:
    if values["error"] is not None:
        return 400
    return int(values["problem"].status) if values["problem"] is not None else 200


@router.get("/ui/rows")
def rows(
    request: Request,
    service: TheService,
    identity: AReader,
    q: SearchText = "",
    range: str = "",
    from_: From = None,
    to: To = None,
    cursor: CursorText = None,
) -> Response:
    """The next page's rows; `X-Next-Cursor` leads on."""
    span = (from_ or "-90d", to or "now") if from_ or to else (range if range in RANGES else DEFAULT_RANGE, "now")
    items, following = search_page(service, identity, q, *span, cursor, PAGE_ROWS)
    service.access.record(request, identity, "ui/search", q, len(items))
    return render(request, "_rows.html", headers={"X-Next-Cursor": following or ""}, items=items)


@router.get("/ui/events/{event_id}")
def detail(request: Request, service: TheService, identity: AReader, event_id: UUID) -> Response:
    """All there is to know about one event."""
    with service.access.reading(identity):
        event = events.one(service.reader, str(event_id), service.limits.texts_bytes)
    service.access.record(request, identity, "ui/events/{id}", str(event_id), int(event is not None))
    if event is None:
        raise ProblemError("not-found", f"There is no event {event_id}.")
    return render(request, "_detail.html", e=event)


@router.get("/ui/stream")
def stream(
    request: Request,
    service: TheService,
    identity: AReader,
    q: SearchText = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """The live tail as rows."""
    rows_template = request.app.state.pages.get_template("_rows.html")
    return open_stream(
        request, service, identity, "ui/stream", q, last_event_id, lambda e: rows_template.render(items=[e]).strip()
    )


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """The form."""
    return login_form(request, service_of(request), inside(next))


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Exchange the form's token for a session cookie."""
    service = service_of(request)
    require_own_origin(request)
    body = await bounded(request, service.limits.login_bytes, "A login")
    form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    following = inside(form.get("next", ["/"])[0])
    try:
        cookie = await run_sync(service.access.log_in, form.get("token", [""])[0].strip(), address_of(request))
    except ProblemError as problem:
        return login_form(request, service, following, problem, problem.status)
    response = RedirectResponse(following, 303)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=service.limits.browser_session_seconds,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" or service.secure,
    )
    return response


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """End the browser session."""
    require_own_origin(request)
    service_of(request).access.log_out(request)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/api/v1/docs")
def docs(request: Request) -> Response:
    """The endpoints, from the OpenAPI document; nothing is loaded from elsewhere."""
    return render(request, "docs.html", api=request.app.openapi())


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """A file of the page; its address changes with its content, so it is kept for long."""
    content = request.app.state.static.get(name)
    if content is None:
        raise ProblemError("not-found", f"There is no file {name!r}.")
    return Response(content, media_type=_STATIC[name], headers={"Cache-Control": "public, max-age=31536000, immutable"})
