"""The page of principals: who was active, at what and how it went, the last seen first; each leads to their events."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from query_api.identity import READERS
from query_api.problems import ProblemError
from query_api.service import TheService
from query_api.store import principals
from query_api.ui.render import LONG_RANGES, render, to_login
from schemas.events import PrincipalKind

ROWS = 200
DEFAULT_RANGE = "-24h"
router = APIRouter(include_in_schema=False)


@router.get("/principals")
def page(request: Request, service: TheService, range: str = DEFAULT_RANGE, kind: str = "") -> Response:
    """Principals with activity in a range."""
    identity = service.access.identify(request)
    if identity is None:
        return to_login(request)
    if not identity.roles & READERS:
        return render(request, "refused.html", 403, identity=identity)
    chosen = range if range in LONG_RANGES else DEFAULT_RANGE
    kinds = [str(k) for k in PrincipalKind]
    kind = kind if kind in kinds else ""
    values = {
        "identity": identity,
        "range": chosen,
        "choices": LONG_RANGES,
        "kind": kind,
        "kinds": kinds,
        "page": None,
        "problem": None,
    }
    try:
        with service.access.reading(identity):
            found = principals.listing(service.reader, service.span(chosen, "now"), kind, ROWS)
        service.access.record(request, identity, "ui/principals", f"kind:{kind}" if kind else "", len(found.items))
    except ProblemError as problem:
        return render(request, "principals.html", problem.status, **(values | {"problem": problem}))
    return render(request, "principals.html", **(values | {"page": found}))
