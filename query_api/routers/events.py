"""`/events`: search, one event, live tail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from query_api.identity import Identity
from query_api.problems import ProblemError
from query_api.service import AReader, CursorText, From, SearchText, Service, TheService, To
from query_api.store import events
from query_api.store.cursor import Cursor, decode, digest
from query_api.streams import Fetch, place_of, tail

router = APIRouter(prefix="/api/v1", tags=["events"])


def search_page(
    service: Service, identity: Identity, q: str, from_: str | None, to: str | None, cursor: str | None, limit: int | None
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of a search and the cursor of the next. Raises SearchError, ProblemError. The caller records the read."""
    limit = service.limits.page_default if limit is None else limit
    if not 1 <= limit <= service.limits.page_max:
        raise ProblemError("bad-request", f"limit is from 1 to {service.limits.page_max}.", parameter="limit")
    condition = service.condition(q)
    name = digest("events", q, from_ or "", to or "")
    after = decode(cursor, name) if cursor else None
    if after is not None:
        _uuid(after.key)
    span = events.Range(after.low, after.high) if after else service.span(from_, to)
    with service.access.reading(identity):
        page = events.page(service.reader, condition, span, after, limit)
    following = Cursor(*page.last, span.low, span.high, name).encode() if page.last else None
    return page.items, following


def _uuid(text: str) -> None:
    try:
        UUID(text)
    except ValueError:
        raise ProblemError("bad-cursor", "This cursor was not given out by this API. Start again without one.") from None


@router.get("/events", summary="Search events, newest first")
def list_events(
    request: Request,
    service: TheService,
    identity: AReader,
    q: SearchText = "",
    from_: From = None,
    to: To = None,
    cursor: CursorText = None,
    limit: Annotated[int | None, Query(description="Events in this page, 1 to 1000")] = None,
) -> Response:
    """A page of events that match `q` within [`from`, `to`), and the cursor of the next page or null."""
    items, following = search_page(service, identity, q, from_, to, cursor, limit)
    service.access.record(request, identity, "events", q, len(items))
    return json_response({"items": items, "next_cursor": following})


@router.get("/events/stream", summary="Live tail (server-sent events)", response_class=StreamingResponse)
def stream_events(
    request: Request,
    service: TheService,
    identity: AReader,
    q: SearchText = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Events that match `q` as they arrive, each a JSON `data:` field; continues after `Last-Event-ID`."""
    return open_stream(request, service, identity, "events/stream", q, last_event_id, lambda event: orjson.dumps(event).decode())


def open_stream(
    request: Request,
    service: Service,
    identity: Identity,
    endpoint: str,
    q: str,
    last_event_id: str | None,
    write: Callable[[dict[str, Any]], str],
) -> Response:
    """A live tail of a search as a response. Raises SearchError, ProblemError."""
    limits = service.limits
    fetch = partial(
        events.arrived,
        service.reader,
        service.condition(q),
        settle_us=limits.stream_settle_us,
        lookback_us=limits.stream_lookback_us,
        limit=limits.stream_batch,
    )
    return open_tail(request, service, identity, endpoint, q, last_event_id, fetch, write)


def open_tail(
    request: Request,
    service: Service,
    identity: Identity,
    endpoint: str,
    q: str,
    last_event_id: str | None,
    fetch: Fetch,
    write: Callable[[dict[str, Any]], str],
) -> Response:
    """A stream of what arrives as a response; recorded once, at its opening. Raises ProblemError."""
    limits = service.limits
    now = events.server_now(service.reader)
    start = place_of(last_event_id) or events.Arrival(now)
    token = service.access.token_of(request) or ""
    service.streams.acquire()
    service.metrics.streams.inc()
    try:
        service.access.record(request, identity, endpoint, q, 0)
    except BaseException:
        _give_back(service)
        raise

    def counted(event: dict[str, Any]) -> str:
        service.metrics.streamed.inc()
        return write(event)

    def allowed() -> bool:
        still = service.access.verify(token)
        return still is not None and bool(still.roles & identity.roles)

    def barred() -> None:
        service.access.refuse_suspended(identity)

    async def body() -> AsyncIterator[bytes]:
        async for chunk in tail(start, now - limits.stream_lookback_us, fetch, allowed, barred, counted, service.streams, limits):
            yield chunk

    return _Tail(body(), partial(_give_back, service))


def _give_back(service: Service) -> None:
    service.streams.release()
    service.metrics.streams.dec()


class _Tail(StreamingResponse):
    """A stream that gives its place back however it ends, also when it never began."""

    def __init__(self, body: AsyncIterator[bytes], done: Callable[[], None]) -> None:
        super().__init__(body, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._done = done

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._done()


@router.get("/events/{event_id}", summary="One event with its whole text")
def get_event(request: Request, service: TheService, identity: AReader, event_id: UUID) -> Response:
    """The event as it was published, its text whole even where the event itself only carried its hash."""
    with service.access.reading(identity):
        event = events.one(service.reader, str(event_id), service.limits.texts_bytes)
    service.access.record(request, identity, "events/{id}", str(event_id), int(event is not None))
    if event is None:
        raise ProblemError("not-found", f"There is no event {event_id}.")
    return json_response(event)


def json_response(content: Any) -> Response:
    """JSON made by orjson."""
    return Response(orjson.dumps(content), media_type="application/json")
