"""`affidavit approvals list | show | approve | deny`: what an approver does, over the API, as any other client of it.

Who decides is who the token says: give one of your own, with the role approver, by --token or AFFIDAVIT_TOKEN. The node's local
token, which is used to look where none is given, is nobody's and decides nothing.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.options import DEFAULT_CONFIG, ApiUrl, AsJson, ConfigFile

approvals = typer.Typer(help="Statements that wait for people: look at them, approve or deny them.", no_args_is_help=True)

ApiToken = Annotated[
    str | None,
    typer.Option("--token", envvar="AFFIDAVIT_TOKEN", metavar="TOKEN", help="Your own, to decide; to look, the local node's."),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The request's, as its notice and `approvals list` show it.")]


@approvals.command("list")
def listed(
    state: Annotated[str, typer.Option("--state", help="open, approved, used, denied, expired, …, review; empty: all.")] = "open",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 50,
    config: ConfigFile = DEFAULT_CONFIG,
    api: ApiUrl = None,
    token: ApiToken = None,
    as_json: AsJson = False,
) -> None:
    """List requests, newest first; by default those that wait."""
    from deploy.api_client import connect
    from deploy.display import show_approvals

    with closing(connect(config, api, token)) as client:
        show_approvals(client.pages("/api/v1/approvals", limit, state=state), state, as_json=as_json)


@approvals.command("show")
def shown(
    request: Id, config: ConfigFile = DEFAULT_CONFIG, api: ApiUrl = None, token: ApiToken = None, as_json: AsJson = False
) -> None:
    """Show all that is known of a request: what it would do to which data, who asks for whom and why it waits."""
    from deploy.api_client import connect
    from deploy.display import show_approval

    with closing(connect(config, api, token)) as client:
        show_approval(client.get(f"/api/v1/approvals/{_checked(request)}"), as_json=as_json)


@approvals.command("approve")
def approve(
    request: Id,
    reason: Annotated[str, typer.Option("--reason", help="It stands in the trail.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    api: ApiUrl = None,
    token: ApiToken = None,
    as_json: AsJson = False,
) -> None:
    """Approve a request; it runs once enough people have. Of a use of break-glass: say that it was right."""
    _decide(request, True, reason, config, api, token, as_json)


@approvals.command("deny")
def deny(
    request: Id,
    reason: Annotated[str, typer.Option("--reason", help="Needed: the one who asks reads it.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    api: ApiUrl = None,
    token: ApiToken = None,
    as_json: AsJson = False,
) -> None:
    """Deny a request, for good. Of a use of break-glass: say that it was not right."""
    _decide(request, False, reason, config, api, token, as_json)


def _decide(request: str, approved: bool, reason: str, config: Path, api: str | None, token: str | None, as_json: bool) -> None:
    from deploy.api_client import connect
    from deploy.display import lines

    path = f"/api/v1/approvals/{_checked(request)}/decision"
    with closing(connect(config, api, token)) as client:
        done: dict[str, Any] = client.post(path, {"approved": approved, "reason": reason})
    if as_json:
        lines([done])
    elif not approved:
        typer.echo("denied", err=True)
    elif done["settled"]:
        typer.echo("approved", err=True)
    else:
        typer.echo(f"approved, {done['nth']} of {done['needed']}: others are needed, too", err=True)


class RequestIdError(Exception):
    """What was given is no request's id."""


def _checked(request: str) -> str:
    if not request or not all(c.isalnum() or c == "-" for c in request):
        raise RequestIdError(f"{request!r} is no request's id; `affidavit approvals list` shows them")
    return request
