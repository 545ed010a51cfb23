"""What every endpoint needs, made once per app: store, access, limits, clock, metrics; and how a search's parameters are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from query_api.access import Access
from query_api.approving import Approving
from query_api.identity import ANYONE, Approver, Clock, Identity
from query_api.limits import Limits
from query_api.links import Links
from query_api.metrics import Metrics
from query_api.problems import ProblemError
from query_api.search import Condition, compile_search, parse
from query_api.sign_on import SignOn
from query_api.store.events import Range
from query_api.store.reader import Reader
from query_api.streams import Streams
from query_api.times import TimeError, parse_time
from schemas.config import ApiSettings


@dataclass(frozen=True, slots=True)
class Service:
    """The app's parts."""

    reader: Reader
    access: Access
    limits: Limits
    clock: Clock
    status: Callable[[], Mapping[str, Any]]
    metrics: Metrics
    streams: Streams
    api: ApiSettings
    approving: Approving | None = None
    links: Links | None = None
    approver: Approver = lambda name: None
    sign_on: SignOn | None = None
    secure: bool = False
    """Whether people reach the page by https, whatever this process sees of it."""

    def condition(self, q: str) -> Condition:
        """The SQL condition of a search text. Raises SearchError."""
        return compile_search(parse(q), self.reader.table("texts"))

    def span(self, from_: str | None, to: str | None) -> Range:
        """The range that `from` and `to` name. Raises ProblemError `bad-time`."""
        now = self.clock()
        try:
            low = parse_time(from_, now) if from_ else None
            high = parse_time(to, now) if to else None
        except TimeError as error:
            raise ProblemError("bad-time", str(error)) from None
        if low is not None and high is not None and low > high:
            raise ProblemError("bad-time", "The range ends before it starts: 'from' is later than 'to'.")
        return Range(low, high)


def service_of(request: Request) -> Service:
    """The service of the app that a request came to."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def known_parameters(request: Request) -> None:
    """Refuse a query parameter that the path does not have: a search whose `q` is mistyped would find everything."""
    known = sorted(str(field.alias) for field in request.scope["route"].dependant.query_params)
    for name in request.query_params:
        if name not in known:
            meant = get_close_matches(name, known, n=1)
            there = f"did you mean {meant[0]}?" if meant else f"there are: {', '.join(known) or 'none'}."
            raise ProblemError("bad-request", f"There is no parameter {name[:64]!r} here; {there}", parameter=name[:64])


def _reader(request: Request) -> Identity:
    return service_of(request).access.reader(request)


def _anyone(request: Request) -> Identity:
    return service_of(request).access.require(request, ANYONE)


TheService = Annotated[Service, Depends(service_of)]
AReader = Annotated[Identity, Depends(_reader)]
Anyone = Annotated[Identity, Depends(_anyone)]

SearchText = Annotated[str, Query(alias="q", description="A search, see docs/search.md; empty finds everything")]
From = Annotated[
    str | None, Query(alias="from", max_length=64, description="RFC 3339, a date, now, or relative such as -15m; included")
]
To = Annotated[str | None, Query(max_length=64, description="As `from`; excluded")]
CursorText = Annotated[str | None, Query(alias="cursor", max_length=1024, description="`next_cursor` of the page before")]
