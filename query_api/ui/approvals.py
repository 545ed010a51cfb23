"""The page of approvals: the queue on the left, one request on the right, whole pages without script and fragments with it.

`/approvals` and `/approvals/{id}` are pages; `/ui/approvals`, `/ui/approvals/{id}` and `/ui/approvals/stream` give their parts. A
decision is a form sent to `/approvals/{id}/decision`, taken from our own page only. A link that was sent to an approver opens
`/approvals/link/{token}`: looking at it never decides (chat programs look at links by themselves), its form does.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import parse_qs

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request
from pydantic import ValidationError
from starlette.responses import Response

from query_api.access import require_own_origin
from query_api.bodies import bounded
from query_api.identity import ANYONE, APPROVERS, Identity
from query_api.problems import ProblemError
from query_api.routers import approvals as api
from query_api.routers.approvals import DecisionBody
from query_api.service import Anyone, CursorText, Service, TheService, service_of
from query_api.store.approvals import State
from query_api.ui.render import render, to_login
from schemas.events import ApprovalChannel, Principal

PAGE_ROWS = 50
STATES = {"open": "Waiting", "review": "To review", "used": "Executed", "denied": "Denied", "expired": "Expired", "all": "All"}
"""Tabs of the page; the other states are few and stand under All."""
NOTHING = {
    "open": "Nothing waits.",
    "review": "No use of break-glass waits for a review.",
    "used": "Nothing that was approved has run yet.",
    "denied": "Nothing was denied.",
    "expired": "Nothing expired.",
    "all": "No statement was held yet.",
}
WORDS = {state: str(state) for state in State} | {State.OPEN: "waits", State.REVIEW: "to review", State.USED: "executed"}
router = APIRouter(include_in_schema=False)


def _tab(state: str) -> tuple[str, State | None]:
    name = state if state in STATES else "open"
    return name, None if name == "all" else State(name)


def _shown(service: Service, identity: Identity, state: str, cursor: str | None) -> dict[str, Any]:
    name, wanted = _tab(state)
    items, following = api.list_page(service, identity, wanted, cursor, PAGE_ROWS)
    base = {"state": name, "states": STATES, "nothing": NOTHING, "state_words": WORDS, "identity": identity}
    return base | {"items": items, "next_cursor": following, "selected": None, "problem": None, "done": "", "action": ""}


def _whole(service: Service, identity: Identity, approval_id: str) -> dict[str, Any]:
    who = identity.as_principal() if identity.roles & APPROVERS else None
    with service.access.reading(identity):
        return api.whole(service, api.find(service, approval_id), who, identity.as_principal())


def _page(request: Request, service: Service, state: str, cursor: str | None, approval_id: str | None) -> Response:
    identity = service.access.identify(request)
    if identity is None:
        return to_login(request)
    if not identity.roles & ANYONE:
        return render(request, "refused.html", 403, identity=identity)
    values = _shown(service, identity, state, cursor)
    status = 200
    try:
        if approval_id is not None:
            values["selected"] = _whole(service, identity, approval_id)
    except ProblemError as problem:
        values["problem"], status = problem, problem.status
    service.access.record(request, identity, "ui/approvals", approval_id or f"state:{values['state']}", len(values["items"]))
    return render(request, "approvals.html", status, **values)


@router.get("/approvals")
def page(request: Request, service: TheService, state: str = "open", cursor: CursorText = None) -> Response:
    """The queue."""
    return _page(request, service, state, cursor, None)


@router.get("/approvals/{approval_id}")
def page_of_one(
    request: Request, service: TheService, approval_id: str, state: str = "open", cursor: CursorText = None
) -> Response:
    """The queue with one request opened."""
    return _page(request, service, state, cursor, approval_id)


@router.get("/ui/approvals")
def rows(request: Request, service: TheService, identity: Anyone, state: str = "open", cursor: CursorText = None) -> Response:
    """More of the queue; `X-Next-Cursor` leads on."""
    values = _shown(service, identity, state, cursor)
    service.access.record(request, identity, "ui/approvals", f"state:{values['state']}", len(values["items"]))
    return render(request, "_approval_rows.html", headers={"X-Next-Cursor": values["next_cursor"] or ""}, **values)


@router.get("/ui/approvals/stream")
def stream(
    request: Request,
    service: TheService,
    identity: Anyone,
    state: str = "open",
    last_event_id: str | None = Header(None),
) -> Response:
    """Rows of the queue as they change; `here` says whether a request belongs to this tab."""
    name, wanted = _tab(state)
    template = request.app.state.pages.get_template("_approval_rows.html")

    def write(item: dict[str, Any]) -> str:
        html = template.render(items=[item], state=name, selected=None, state_words=WORDS).strip()
        here = wanted is None or item["state"] == str(wanted)
        return orjson.dumps({"id": item["approval_id"], "here": here, "html": html}).decode()

    return api.open_approvals(request, service, identity, "ui/approvals/stream", last_event_id, write)


@router.get("/ui/approvals/{approval_id}")
def one(request: Request, service: TheService, identity: Anyone, approval_id: str) -> Response:
    """One request alone."""
    item = _whole(service, identity, approval_id)
    service.access.record(request, identity, "ui/approvals/{id}", approval_id, 1)
    return render(request, "_approval.html", a=item, problem=None, done="", action="", state_words=WORDS)


@router.post("/approvals/{approval_id}/decision")
async def decide(request: Request, approval_id: str) -> Response:
    """Take the form's decision; the request again, with what came of it."""
    service = service_of(request)
    require_own_origin(request)
    identity = await run_sync(service.access.require_deliberate, request, APPROVERS)
    body = await _form(request, service)
    return await run_sync(partial(_decide, request, service, identity, approval_id, body))


def _decide(request: Request, service: Service, identity: Identity, approval_id: str, body: DecisionBody) -> Response:
    who = identity.as_principal()
    with service.access.reading(identity):  # before anything is decided: whoever may not look now is not told what came of it
        done, problem = _tried(request, service, who, approval_id, body, ApprovalChannel.UI)
        item = api.whole(service, api.find(service, approval_id), who)
    status = problem.status if problem else 200
    values = {"problem": problem, "done": done, "action": ""}
    if request.headers.get("x-fragment"):
        return render(request, "_approval.html", status, a=item, state_words=WORDS, **values)
    return render(request, "approvals.html", status, **_shown(service, identity, "open", None) | values | {"selected": item})


@router.get("/approvals/link/{token}")
def link_page(request: Request, service: TheService, token: str) -> Response:
    """What a link stands for, and the form that decides. Looking at it changes nothing, however often it is done."""
    return _link(request, service, token, None)


@router.post("/approvals/link/{token}")
async def link_decides(request: Request, token: str) -> Response:
    """Take the decision of the person whom the link was made for."""
    service = service_of(request)
    require_own_origin(request)
    body = await _form(request, service)
    return await run_sync(partial(_link, request, service, token, body))


def _link(request: Request, service: Service, token: str, body: DecisionBody | None) -> Response:
    try:
        if service.links is None:
            raise ProblemError("not-found", "This server makes no links.")
        link = service.links.read(token, service.clock())
        who = service.approver(link.principal)
        if who is None:
            raise ProblemError("forbidden", f"{link.principal} has no token with the role approver or admin any more.")
        done, problem = "", None
        reader = Identity(who.id, str(who.kind), frozenset({"link"}), who.groups)
        with service.access.reading(reader):
            if body is not None:
                done, problem = _tried(request, service, who, link.approval_id, body, ApprovalChannel.LINK)
            item = api.whole(service, api.find(service, link.approval_id), who)
        service.access.record(request, reader, "approvals/link", link.approval_id, 1)
    except ProblemError as error:
        return render(request, "approval_link.html", error.status, a=None, problem=error)
    values = {"a": item, "who": who.id, "problem": problem, "done": done, "state_words": WORDS}
    return render(request, "approval_link.html", problem.status if problem else 200, action=request.url.path, **values)


def _tried(
    request: Request, service: Service, who: Principal, approval_id: str, body: DecisionBody, channel: ApprovalChannel
) -> tuple[str, ProblemError | None]:
    """Decide; what came of it, or why nothing did."""
    try:
        return _said(api.decide(request, service, who, approval_id, body, channel)), None
    except ProblemError as problem:
        return "", problem


def _said(answer: dict[str, Any]) -> str:
    if answer["review"]:
        return "Your review is on record."
    if not answer["approved"]:
        return "Denied. The one who asked is told why."
    if answer["settled"]:
        return "Approved. The statement goes on."
    return f"Your approval counts: {answer['nth']} of {answer['needed']}."


async def _form(request: Request, service: Service) -> DecisionBody:
    """The decision in a form. Raises ProblemError `bad-request`, `too-large`."""
    data = await bounded(request, 4 * service.limits.decision_bytes, "A decision")  # percent-encoding makes three of one
    form = parse_qs(data.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=8)
    answers = {"yes": True, "no": False}
    said = form.get("approved", [""])
    if len(said) != 1 or said[0] not in answers:
        raise ProblemError("bad-request", "Say either yes or no.", parameter="approved")
    try:
        return DecisionBody(approved=answers[said[0]], reason=form.get("reason", [""])[0].strip())
    except ValidationError:
        raise ProblemError("bad-request", "A reason has at most 1000 characters.", parameter="reason") from None
