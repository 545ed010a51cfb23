"""`/sessions`: who was connected, from where, for how long."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from query_api.problems import ProblemError
from query_api.routers.events import json_response
from query_api.service import AReader, CursorText, From, TheService, To
from query_api.store import sessions
from query_api.store.cursor import Cursor, decode, digest
from query_api.store.events import Range
from schemas.events import PrincipalKind

router = APIRouter(prefix="/api/v1", tags=["sessions"])


@router.get("/sessions", summary="Sessions, newest first")
def list_sessions(
    request: Request,
    service: TheService,
    identity: AReader,
    principal: Annotated[str | None, Query(max_length=256, description="Of this principal")] = None,
    principal_kind: Annotated[PrincipalKind | None, Query(description="Of this kind")] = None,
    db: Annotated[str | None, Query(max_length=256, description="On this database, by its alias")] = None,
    client: Annotated[str | None, Query(max_length=256, description="From this address, `host:port`")] = None,
    is_open: Annotated[bool | None, Query(alias="open", description="true: not ended yet")] = None,
    from_: From = None,
    to: To = None,
    cursor: CursorText = None,
    limit: Annotated[int | None, Query(description="Sessions in this page, 1 to 1000")] = None,
) -> Response:
    """A page of sessions opened within [`from`, `to`) that equal every filter, and the cursor of the next page or null."""
    limit = service.limits.page_default if limit is None else limit
    if not 1 <= limit <= service.limits.page_max:
        raise ProblemError("bad-request", f"limit is from 1 to {service.limits.page_max}.", parameter="limit")
    given = {"principal": principal, "principal_kind": principal_kind, "db": db, "client": client}
    filters = {name: value for name, value in given.items() if value}
    query = " ".join(f"{name}:{value}" for name, value in filters.items()) + (
        "" if is_open is None else f" open:{is_open}".lower()
    )
    name = digest("sessions", query, from_ or "", to or "")
    after = decode(cursor, name) if cursor else None
    span = Range(after.low, after.high) if after else service.span(from_, to)
    with service.access.reading(identity):
        page = sessions.page(service.reader, filters, is_open, span, after, limit)
    service.access.record(request, identity, "sessions", query.strip(), len(page.items))
    following = Cursor(*page.last, span.low, span.high, name).encode() if page.last else None
    return json_response({"items": page.items, "next_cursor": following})


@router.get("/sessions/{session_id}", summary="One session")
def get_session(request: Request, service: TheService, identity: AReader, session_id: str) -> Response:
    """The session of this id."""
    if len(session_id) > 128:
        raise ProblemError("not-found", "There is no such session.")
    with service.access.reading(identity):
        session = sessions.one(service.reader, session_id)
    service.access.record(request, identity, "sessions/{id}", session_id, int(session is not None))
    if session is None:
        raise ProblemError("not-found", f"There is no session {session_id}.")
    return json_response(session)
