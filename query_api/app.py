"""The API and its page as one ASGI app: `create_app` wires the parts that `deploy` passes in.

app = create_app(clients, settings, authenticate, recorder, status, clock)
uvicorn.Server(uvicorn.Config(app, …))     # before stopping the server: app.state.streams.close()
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import Depends, FastAPI
from prometheus_client import CollectorRegistry

from query_api import problems
from query_api.access import Access
from query_api.approving import Approving, Ballot
from query_api.description import describing
from query_api.headers import Headers
from query_api.identity import Approver, Authenticate, Barring, Clock, Recorder
from query_api.limits import Limits
from query_api.links import Links
from query_api.metrics import Metrics
from query_api.routers import approvals, events, exposure, health, principals, sessions, stats
from query_api.service import Service, known_parameters
from query_api.sign_on import Provider, Refused, SignOn
from query_api.store.reader import Client, Reader
from query_api.streams import Streams
from query_api.ui import pages
from schemas.config import ApiSettings, ClickHouseSettings


def create_app(
    client: Client | Sequence[Client],
    settings: ClickHouseSettings,
    authenticate: Authenticate,
    recorder: Recorder,
    status: Callable[[], Mapping[str, Any]],
    clock: Clock,
    *,
    api: ApiSettings | None = None,
    limits: Limits | None = None,
    registry: CollectorRegistry | None = None,
    new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ticks: Callable[[], float] = time.monotonic,
    ballot: Ballot | None = None,
    links: Links | None = None,
    approver: Approver = lambda name: None,
    providers: Sequence[Provider] = (),
    login_refused: Refused = lambda reason, address: None,
    public_url: str = "",
    barring: Barring = lambda names: "",
) -> FastAPI:
    """The app.

    `client`: clickhouse-connect client(s) for the API's own use; reads run side by side up to their number.
    `status`: the node's state: `ready: bool` and `problems: list[str]` decide /readyz, every number becomes a metric.
    `clock`: µs since the Unix epoch. `ballot`: where decisions on held statements go; without it none are taken down.
    `links` and `approver`: links that decide, and who the people are that they were made for. `providers`: where people may
    log in by OpenID Connect; `login_refused` records what came to nothing; `public_url` is where people reach the page.
    `barring`: who is suspended, asked for every request and while a live tail is open.
    """
    limits = limits or Limits()
    clients = list(client) if isinstance(client, Sequence) else [client]
    registry = registry or CollectorRegistry()
    streams = Streams(limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        streams.close()

    app = FastAPI(
        title="Affidavit",
        version=_version(),
        description="The audit trail of databases: search, live tail, sessions, approvals, exposure, principals.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    metrics = Metrics(registry, status)
    app.state.streams = streams
    app.state.service = Service(
        reader=Reader(clients, settings, limits),
        access=Access(authenticate, recorder, clock, new_secret, limits, barring),
        limits=limits,
        clock=clock,
        status=status,
        metrics=metrics,
        streams=streams,
        api=api or ApiSettings(),
        approving=Approving(ballot, clock) if ballot is not None else None,
        links=links,
        approver=approver,
        sign_on=SignOn(providers, login_refused, clock, new_secret) if providers else None,
        secure=public_url.startswith("https:"),
    )
    app.openapi = describing(app)  # type: ignore[method-assign]
    problems.install(app)
    app.add_middleware(Headers, metrics=metrics, ticks=ticks)
    for module in (events, sessions, stats, approvals, exposure, principals):
        app.include_router(module.router, dependencies=[Depends(known_parameters)])
    app.include_router(health.router)
    pages.install(app)
    return app


def _version() -> str:
    try:
        return version("affidavit")
    except PackageNotFoundError:
        return "0"
