"""Is it alive, is it ready, what does it count? `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from query_api.identity import ANYONE
from query_api.problems import ProblemError
from query_api.service import TheService

router = APIRouter(tags=["health"])
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/]+/)+")


@router.get("/healthz", summary="Alive")
async def healthz() -> Response:
    """200 whenever the process answers."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz", summary="Ready")
def readyz(service: TheService) -> Response:
    """200 when the node says it is ready and the store answers; else 503 with the reasons.

    Open to everyone, so of files their names alone: where they lie the log says, and `affidavit doctor`.
    """
    status = service.status()
    problems = [str(p) for p in status.get("problems", ())]
    if not status.get("ready", True) and not problems:
        problems.append("not ready yet")
    try:
        service.reader.rows("SELECT 1")
    except ProblemError as error:
        problems.append(error.detail)
    ready = not problems
    problems = [_FOLDERS.sub("…/", problem) for problem in problems]
    return JSONResponse({"status": "ready" if ready else "not ready", "problems": problems}, 200 if ready else 503)


@router.get("/metrics", summary="Prometheus metrics")
def metrics(request: Request, service: TheService) -> Response:
    """The metrics in Prometheus' text format; needs a token of any role, unless `api.metrics_public`."""
    if not service.api.metrics_public:
        service.access.require(request, ANYONE)
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)
