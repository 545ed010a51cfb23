"""`/approvals`: which statements wait for people, what they would do, and the decisions on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Annotated, Any

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError
from starlette.responses import Response, StreamingResponse

from query_api.access import address_of
from query_api.bodies import bounded
from query_api.identity import APPROVERS, Identity
from query_api.problems import ProblemError
from query_api.routers.events import json_response, open_tail
from query_api.service import Anyone, CursorText, Service, TheService, service_of
from query_api.store import approvals, events
from query_api.store.approvals import Asked, State
from query_api.store.cursor import Cursor, decode, digest
from schemas.approvals import Decider, is_own, objection
from schemas.events import ApprovalChannel, ApprovalRequested, BreakGlassUsed, DryRun, Principal

MAX_ID = 128
CLI_AGENT = "affidavit-cli"
"""How the command line calls itself; as unverified as any client's own name."""
TEXT_SHOWN = 2000
"""Characters of a statement in a list; the request itself gives it whole."""
router = APIRouter(prefix="/api/v1", tags=["approvals"])
_APART = {"type", "v", "at", "source", "epoch", "seq", "event_id", "approval_id", "text", "binding"}
_ABOUT = tuple(dict.fromkeys(f.name for cls in (ApprovalRequested, BreakGlassUsed) for f in fields(cls) if f.name not in _APART))
"""Members of the event that are given as they are."""


class DecisionBody(BaseModel):
    """What somebody decides. A denial needs a reason."""

    model_config = ConfigDict(extra="forbid")
    approved: StrictBool
    reason: str = Field("", max_length=1000)


def as_item(asked: Asked, who: Principal | None, viewer: Principal | None = None) -> dict[str, Any]:
    """An approval as the API gives it. `may_decide` and `objection` are for the one who asks; None: for nobody in particular.

    `viewer` is who reads it, `who` if that may decide on anything.
    """
    members = asked.fields
    item: dict[str, Any] = {name: members.get(name) for name in _ABOUT}
    if asked.state is not State.USED and _own(asked, viewer or who) and isinstance(item.get("estimate"), dict):
        # A count would tell those who may not read a table what is in it, question by question, without any approval.
        item["estimate"] = item["estimate"] | {"dry_run": orjson.loads(orjson.dumps(_NOT_YOURS))}
    text = members.get("text")
    item |= {
        "approval_id": asked.approval_id,
        "at": asked.at,
        "type": "break_glass" if members.get("type") == BreakGlassUsed.__name__ else "request",
        "state": str(asked.state),
        "text": text[:TEXT_SHOWN] if isinstance(text, str) else "",
        "text_truncated": isinstance(text, str) and (len(text) > TEXT_SHOWN or not text),
        "binding": asked.binding,
        "readable": bool(asked.binding),
    }
    item["decisions"] = [
        {"principal": s["who"], "at": s["at_us"], "event_id": s["id"], "review": s["step"] == "reviewed"}
        | {"approved": s["status"] == "approved", **{name: s[name] for name in ("reason", "channel", "nth", "needed")}}
        for s in asked.steps
        if s["step"] in ("decided", "reviewed")
    ]
    ended = [s for s in asked.steps if s["step"] == "closed"]
    item["closed"] = None
    if ended:
        item["closed"] = {"at": ended[-1]["at_us"], "status": ended[-1]["status"], "reason": ended[-1]["reason"]} | {
            "deciders": list(ended[-1]["deciders"]),
            "held_us": ended[-1]["held_us"],
        }
    item["executions"] = [
        {"event_id": s["id"], "at": s["at_us"]}
        | {n: s[n] for n in ("status", "sqlstate", "rows_returned", "rows_affected", "db_us", "held_us")}
        for s in asked.steps
        if s["step"] == "executed"
    ]
    item["objection"] = _objection(asked, who) if who is not None else "your token has no role that decides"
    item["may_decide"] = not item["objection"] and asked.state in (State.OPEN, State.REVIEW)
    return item


_NOT_YOURS = DryRun(absent="the one who asks is not told, before it ran")


def _own(asked: Asked, viewer: Principal | None) -> bool:
    return viewer is None or asked.event is None or is_own(asked.event.principal, Decider.of(viewer))


def _objection(asked: Asked, who: Principal) -> str:
    if not asked.binding:
        return "what was asked cannot be read as it was published"
    if asked.state in (State.OPEN, State.REVIEW) and any(s["who"] == who.id for s in asked.steps if s["step"] == "decided"):
        return "you decided already"
    return objection(asked.rules, Decider.of(who))


def list_page(
    service: Service, identity: Identity, state: State | None, cursor: str | None, limit: int | None
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of approvals and the cursor of the next. Raises ProblemError. The caller records the read."""
    limit = service.limits.page_default if limit is None else limit
    if not 1 <= limit <= service.limits.page_max:
        raise ProblemError("bad-request", f"limit is from 1 to {service.limits.page_max}.", parameter="limit")
    name = digest("approvals", str(state or ""))
    after = decode(cursor, name) if cursor else None
    with service.access.reading(identity):
        found, page = approvals.page(service.reader, state, service.clock(), after, limit)
    following = Cursor(*page.last, None, None, name).encode() if page.last else None
    who, viewer = _who(identity), identity.as_principal()
    return [as_item(asked, who, viewer) for asked in found], following


def whole(service: Service, asked: Asked, who: Principal | None, viewer: Principal | None = None) -> dict[str, Any]:
    """All there is to know about one approval: its whole text, what its principal did before, what it came to."""
    item = as_item(asked, who, viewer)
    item["text"], item["text_truncated"] = approvals.text_of(service.reader, asked, service.limits.texts_bytes)
    item["history"] = approvals.history(service.reader, asked)
    return item


def find(service: Service, approval_id: str) -> Asked:
    """The approval of this id. Raises ProblemError `not-found`."""
    asked = approvals.one(service.reader, approval_id, service.clock()) if len(approval_id) <= MAX_ID else None
    if asked is None:
        raise ProblemError("not-found", "There is no such approval.")
    return asked


def _who(identity: Identity) -> Principal | None:
    return identity.as_principal() if identity.roles & APPROVERS else None


@router.get("/approvals", summary="Held statements and what became of them, newest first")
def list_approvals(
    request: Request,
    service: TheService,
    identity: Anyone,
    state: Annotated[State | None, Query(description="Only those that stand so; without it all")] = None,
    cursor: CursorText = None,
    limit: Annotated[int | None, Query(description="Approvals in this page, 1 to 1000")] = None,
) -> Response:
    """A page of approvals, and the cursor of the next page or null. To approvers, `may_decide` says whether they may."""
    items, following = list_page(service, identity, state, cursor, limit)
    service.access.record(request, identity, "approvals", f"state:{state}" if state else "", len(items))
    return json_response({"items": items, "next_cursor": following})


@router.get("/approvals/stream", summary="Approvals as they change (server-sent events)", response_class=StreamingResponse)
def stream_approvals(
    request: Request, service: TheService, identity: Anyone, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """Each approval to which something happened, as it stands, a JSON `data:` field; continues after `Last-Event-ID`."""
    return open_approvals(request, service, identity, "approvals/stream", last_event_id, lambda i: orjson.dumps(i).decode())


def open_approvals(
    request: Request,
    service: Service,
    identity: Identity,
    endpoint: str,
    last_event_id: str | None,
    write: Callable[[dict[str, Any]], str],
) -> Response:
    """Approvals that change as a stream; recorded once, at its opening. Raises ProblemError."""
    limits, who, viewer = service.limits, _who(identity), identity.as_principal()

    def fetch(after: events.Arrival) -> list[tuple[events.Arrival, dict[str, Any]]]:
        found = approvals.arrived(service.reader, after, service.clock(), limits.stream_settle_us, limits.stream_batch)
        return [(place, as_item(asked, who, viewer)) for place, asked in found]

    return open_tail(request, service, identity, endpoint, "", last_event_id, fetch, write)


@router.get("/approvals/{approval_id}", summary="One held statement, for whoever has to decide on it")
def get_approval(request: Request, service: TheService, identity: Anyone, approval_id: str) -> Response:
    """The statement, what it does to which data, for whom and why it was held, the principal's last day, and what came of it."""
    with service.access.reading(identity):
        item = whole(service, find(service, approval_id), _who(identity), identity.as_principal())
    service.access.record(request, identity, "approvals/{id}", approval_id, 1)
    return json_response(item)


@router.post(
    "/approvals/{approval_id}/decision",
    summary="Approve or deny",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": DecisionBody.model_json_schema()}}}
    },
)
async def decide_approval(request: Request, approval_id: str) -> Response:
    """Take one person's decision down and tell the proxies. Only for approvers and admins in the groups that the rule names."""
    service = service_of(request)
    identity = await run_sync(service.access.require_deliberate, request, APPROVERS)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError("bad-request", "Send the decision as application/json.", parameter="Content-Type")
    data = await bounded(request, service.limits.decision_bytes, "A decision")
    try:
        body = DecisionBody.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(p) for p in first["loc"]) or "body"
        raise ProblemError("bad-request", f"{where}: {first['msg']}", parameter=where) from None
    ours = request.headers.get("user-agent", "").startswith(CLI_AGENT)
    channel = ApprovalChannel.CLI if ours else ApprovalChannel.API
    answer = await run_sync(partial(decide, request, service, identity.as_principal(), approval_id, body, channel))
    return json_response(answer)


def decide(
    request: Request, service: Service, who: Principal, approval_id: str, body: DecisionBody, channel: ApprovalChannel
) -> dict[str, Any]:
    """Take a decision down; what it came to. Raises ProblemError."""
    if service.approving is None:
        raise ProblemError("not-told", "This server only reads: decide where the log can be written.")
    done = service.approving.decide(find(service, approval_id), who, body.approved, body.reason, channel, address_of(request))
    return {
        "approval_id": approval_id,
        "approved": done.approved,
        "nth": done.nth,
        "needed": done.needed,
        "review": done.review,
        "settled": done.settled,
    }
