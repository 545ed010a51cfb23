"""The page of the exposure ledger: one form, three tables, no script but the theme's."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from query_api.identity import READERS
from query_api.problems import ProblemError
from query_api.routers.exposure import read_ledger
from query_api.service import TheService
from query_api.ui.render import LONG_RANGES, render, to_login

ROWS = 100
DEFAULT_RANGE = "-7d"
router = APIRouter(include_in_schema=False)


@router.get("/exposure")
def page(request: Request, service: TheService, range: str = DEFAULT_RANGE, principal: str = "", db: str = "") -> Response:
    """What was shown in clear, to whom."""
    identity = service.access.identify(request)
    if identity is None:
        return to_login(request)
    if not identity.roles & READERS:
        return render(request, "refused.html", 403, identity=identity)
    chosen = range if range in LONG_RANGES else DEFAULT_RANGE
    filters = {"principal": principal[:256], "db": db[:256]}
    values = {"identity": identity, "range": chosen, "choices": LONG_RANGES, "asked": filters, "ledger": None, "problem": None}
    try:
        ledger, asked = read_ledger(service, identity, chosen, "now", dict(filters), ROWS)
        service.access.record(request, identity, "ui/exposure", asked, len(ledger["principals"]))
    except ProblemError as problem:
        return render(request, "exposure.html", problem.status, **(values | {"problem": problem}))
    return render(request, "exposure.html", **(values | {"ledger": ledger}))
