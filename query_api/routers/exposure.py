"""`/exposure`: what was shown in clear, of which classes and columns, to whom."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from query_api.identity import Identity
from query_api.problems import ProblemError
from query_api.routers.events import json_response
from query_api.service import AReader, From, Service, TheService, To
from query_api.store import exposure

router = APIRouter(prefix="/api/v1", tags=["exposure"])


def read_ledger(
    service: Service, identity: Identity, from_: str | None, to: str | None, filters: dict[str, str | None], limit: int | None
) -> tuple[dict[str, Any], str]:
    """The ledger, and what was asked for in words. Raises ProblemError. The caller records the read."""
    limit = service.limits.page_default if limit is None else limit
    if not 1 <= limit <= service.limits.page_max:
        raise ProblemError("bad-request", f"limit is from 1 to {service.limits.page_max}.", parameter="limit")
    span = service.span(from_ or "-24h", to or "now")
    given = {name: value for name, value in filters.items() if value}
    with service.access.reading(identity):
        found = exposure.ledger(service.reader, span, given, limit)
    asked = " ".join(f"{name}:{value}" for name, value in given.items())
    return {"from": span.low, "to": span.high, **found}, asked


@router.get("/exposure", summary="Cells shown in clear, by class, column and principal")
def get_exposure(
    request: Request,
    service: TheService,
    identity: AReader,
    principal: Annotated[str | None, Query(max_length=256, description="Seen by this principal")] = None,
    on_behalf_of: Annotated[str | None, Query(max_length=256, description="Seen on behalf of this one")] = None,
    db: Annotated[str | None, Query(max_length=256, description="In this database, by its alias")] = None,
    from_: From = None,
    to: To = None,
    limit: Annotated[int | None, Query(description="Entries of each list, 1 to 1000")] = None,
) -> Response:
    """Cells seen, masked and in clear over [`from`, `to`), default the last 24 hours, the most in clear first."""
    filters = {"principal": principal, "on_behalf_of": on_behalf_of, "db": db}
    ledger, asked = read_ledger(service, identity, from_, to, filters, limit)
    service.access.record(request, identity, "exposure", asked, len(ledger["principals"]))
    return json_response(ledger)
