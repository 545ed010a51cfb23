"""`/principals`: who was active, when, on which databases, with which verbs and classes of data."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from query_api.problems import ProblemError
from query_api.routers.events import json_response
from query_api.service import AReader, From, Service, TheService, To
from query_api.store import principals
from schemas.events import PrincipalKind

router = APIRouter(prefix="/api/v1", tags=["principals"])
_Limit = Annotated[int | None, Query(description="Principals, or hours of one, 1 to 1000")]


def _limited(service: Service, limit: int | None) -> int:
    limit = service.limits.page_default if limit is None else limit
    if not 1 <= limit <= service.limits.page_max:
        raise ProblemError("bad-request", f"limit is from 1 to {service.limits.page_max}.", parameter="limit")
    return limit


@router.get("/principals", summary="Principals and their activity, the last seen first")
def list_principals(
    request: Request,
    service: TheService,
    identity: AReader,
    kind: Annotated[PrincipalKind | None, Query(description="Only principals of this kind")] = None,
    from_: From = None,
    to: To = None,
    limit: _Limit = None,
) -> Response:
    """Totals over every hour that [`from`, `to`) touches, default the last 24 hours; `more` says that there are others.

    `databases` has the first hundred of `databases_total`.
    """
    limit = _limited(service, limit)
    span = service.span(from_ or "-24h", to or "now")
    with service.access.reading(identity):
        page = principals.listing(service.reader, span, str(kind or ""), limit)
    service.access.record(request, identity, "principals", f"kind:{kind}" if kind else "", len(page.items))
    return json_response({"from": span.low, "to": span.high, "items": page.items, "more": page.last is not None})


@router.get("/principals/{principal:path}", summary="One principal's activity, by hour and database")
def get_principal(
    request: Request,
    service: TheService,
    identity: AReader,
    principal: str,
    from_: From = None,
    to: To = None,
    limit: _Limit = None,
) -> Response:
    """Totals of one principal over every hour that [`from`, `to`) touches, default the last 24 hours, and `by_hour`."""
    limit = _limited(service, limit)
    span = service.span(from_ or "-24h", to or "now")
    with service.access.reading(identity):
        found = principals.one(service.reader, principal, span, limit) if len(principal) <= 256 else None
    service.access.record(request, identity, "principals/{id}", principal[:256], int(found is not None))
    if found is None:
        raise ProblemError("not-found", f"There was no activity of {principal[:256]} in that time.")
    return json_response({"from": span.low, "to": span.high, **found})
