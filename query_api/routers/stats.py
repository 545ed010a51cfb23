"""`/stats`: counts over time and the most frequent values of a search."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from query_api.identity import Identity
from query_api.routers.events import json_response
from query_api.service import AReader, From, SearchText, Service, TheService, To
from query_api.store import stats

router = APIRouter(prefix="/api/v1", tags=["stats"])


def search_stats(service: Service, identity: Identity, q: str, from_: str | None, to: str | None) -> tuple[stats.Stats, int, int]:
    """The counts of a search and the range [low, high) they are for. Raises SearchError, ProblemError."""
    condition = service.condition(q)
    span = service.span(from_ or "-24h", to or "now")
    assert span.low is not None and span.high is not None
    with service.access.reading(identity):
        found = stats.stats(
            service.reader, condition, span.low, span.high, service.limits.histogram_buckets, service.limits.top_values
        )
    return found, span.low, span.high


@router.get("/stats", summary="Counts of a search")
def get_stats(
    request: Request, service: TheService, identity: AReader, q: SearchText = "", from_: From = None, to: To = None
) -> Response:
    """Events, errors and denials by step over [`from`, `to`), default the last 24 hours; totals; top principals and databases."""
    found, low, high = search_stats(service, identity, q, from_, to)
    service.access.record(request, identity, "stats", q, 0)
    return json_response({"from": low, "to": high} | asdict(found))
