"""`affidavit token | session | principal | grant`: who may connect, who is connected, and for how long."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.options import (
    DEFAULT_CONFIG,
    ApiToken,
    ApiUrl,
    AsJson,
    ConfigFile,
    Limit,
    Reason,
    Since,
    Until,
    actor,
    future,
    moment,
    now,
    seconds,
    split,
)

if TYPE_CHECKING:
    from ingest.identity.tokens import TokenStore

tokens = typer.Typer(help="Issue, list and revoke the tokens clients log in with.", no_args_is_help=True)
sessions = typer.Typer(help="List client sessions, and end them.", no_args_is_help=True)
principals = typer.Typer(help="Suspend those who may not connect, and let them again.", no_args_is_help=True)
grants = typer.Typer(help="Grant rights for a time, and end them.", no_args_is_help=True)
_DEFAULT_TTL = {"human": "8h", "agent": "8h", "service": "90d"}


@tokens.command("create")
def token_create(
    principal: Annotated[str, typer.Option("--principal", help="Who the token is for, as events name it.")],
    kind: Annotated[str, typer.Option("--kind", help="human, agent or service.")],
    on_behalf_of: Annotated[str, typer.Option("--on-behalf-of", help="For whom the principal acts.")] = "",
    groups: Annotated[str, typer.Option("--groups", help="Comma-separated.")] = "",
    roles: Annotated[str, typer.Option("--roles", help="For the API: analyst, approver, auditor, admin; comma-separated.")] = "",
    ttl: Annotated[str | None, typer.Option("--ttl", help="30m, 8h, 90d or never. Default 8h; services 90d.")] = None,
    grant: Annotated[str, typer.Option("--grant", help="A grant of the one it is on behalf of; the token ends with it.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Issue a token and print it alone. It is not kept: it cannot be shown again."""
    lifetime = ttl or _DEFAULT_TTL.get(kind, "8h")
    if grant:
        from deploy.config import load
        from deploy.grants import in_force

        in_force(load(config), grant, on_behalf_of)
    with _Store(config) as store:
        _, token = store.create(
            principal,
            kind,
            on_behalf_of=on_behalf_of,
            groups=split(groups),
            roles=split(roles),
            ttl_seconds=None if lifetime == "never" else seconds(lifetime),
            created_by=actor(),
            grant_id=grant,
        )
    typer.echo(token)


@tokens.command("list")
def token_list(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List all tokens ever issued, without their secrets."""
    from deploy.display import show_tokens

    with _Store(config) as store:
        show_tokens(store.tokens(), now(), as_json=as_json)


@tokens.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="The id `token list` shows; a whole token works too.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Revoke a token for good. New logins with it fail at once."""
    with _Store(config) as store:
        done = store.revoke(token_id, actor())
    typer.echo("revoked" if done else "was revoked already", err=True)


@sessions.command("list")
def sessions_list(
    principal: Annotated[str, typer.Option("--principal", help="Only this principal's.")] = "",
    database: Annotated[str, typer.Option("--db", help="Only on the database of this alias.")] = "",
    still_open: Annotated[bool, typer.Option("--open", help="Only those that have not ended.")] = False,
    start: Since = None,
    end: Until = None,
    limit: Limit = 50,
    config: ConfigFile = DEFAULT_CONFIG,
    api: ApiUrl = None,
    token: ApiToken = None,
    as_json: AsJson = False,
) -> None:
    """List sessions, newest first."""
    from deploy.api_client import connect
    from deploy.display import show_sessions

    span = {"from_": moment(start), "to": moment(end)}
    asked: dict[str, str | int | None] = {"principal": principal, "db": database, "open": "true" if still_open else None}
    show_sessions(connect(config, api, token).pages("/api/v1/sessions", limit, **asked, **span), as_json=as_json)


@sessions.command("kill")
def session_kill(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID", help="As `session list` shows it.")],
    reason: Reason = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """End an open session, on whichever proxy it is, within a second. What it runs is cancelled and rolled back."""
    from deploy.config import load
    from deploy.sanctions import kill_session

    kill_session(load(config, sections=("log",)), session_id, actor(), reason)
    typer.echo("every proxy is told to end this session, if it has it", err=True)


@principals.command("suspend")
def principal_suspend(
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="As events name it.")],
    reason: Reason = "",
    ttl: Annotated[str | None, typer.Option("--ttl", help="For how long: 30m, 8h, 90d. Default: until resumed.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """End a principal's sessions within a second, and refuse its logins, at the databases and the dashboard.

    The same for names that may be the same person's (dana, Dana@example.com), and for whoever acts on its behalf.
    """
    from deploy.config import load
    from deploy.sanctions import suspend

    suspend(load(config, sections=("log",)), principal, actor(), reason, None if ttl is None else seconds(ttl))
    typer.echo(f"proxies and API are told that {principal} is suspended", err=True)


@principals.command("resume")
def principal_resume(
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="As events name it.")],
    reason: Reason = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """End the suspension of this very name."""
    from deploy.config import load
    from deploy.sanctions import resume

    others = resume(load(config, sections=("log",)), principal, actor(), reason)
    typer.echo(f"proxies and API are told that {principal} is not suspended any more", err=True)
    if others:
        typer.echo(f"the same person is still barred by the suspension of {', '.join(others)}: resume that as well", err=True)


@principals.command("suspended")
def principal_suspended(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the suspensions in force."""
    from deploy.config import load
    from deploy.display import show_suspensions
    from deploy.sanctions import suspensions

    show_suspensions(suspensions(load(config, sections=("log",))), as_json=as_json)


@grants.command("create")
def grant_create(
    principal: Annotated[str, typer.Option("--principal", help="To whom, as events name it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the trail.")],
    verbs: Annotated[str, typer.Option("--verbs", help="Such as select,update; * for all.")] = "",
    objects: Annotated[str, typer.Option("--objects", help="schema.name, schema.* or *; comma-separated.")] = "",
    classes: Annotated[str, typer.Option("--classes", help="Data classes that may be seen in these objects.")] = "",
    groups: Annotated[str, typer.Option("--groups", help="Groups that the principal is in meanwhile.")] = "",
    databases: Annotated[str, typer.Option("--databases", help="Aliases, comma-separated. Default: all.")] = "",
    until: Annotated[str, typer.Option("--until", help="30m, 8h, 5d from now, or a time in ISO 8601.")] = "1h",
    delegated: Annotated[bool, typer.Option("--delegated", help="Also for those who act on the principal's behalf.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Grant rights for a time, in force on every proxy within a second, and print the grant's id alone."""
    from deploy.config import load
    from deploy.grants import Scope, create

    names = (databases, verbs, objects, classes, groups)
    named = dict(zip(("databases", "verbs", "objects", "classes", "groups"), (tuple(split(n)) for n in names), strict=True))
    scope = Scope(**named, delegated=delegated)  # type: ignore[arg-type]
    typer.echo(create(load(config, sections=("log",)), principal, scope, future(until), reason, actor()))


@grants.command("list")
def grant_list(
    ended: Annotated[bool, typer.Option("--all", help="Also those that ended, while the control topic has them.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the grants in force."""
    from deploy.config import load
    from deploy.display import show_grants
    from deploy.grants import grants, state

    at = now()
    found = [(g, state(g, at)) for g in grants(load(config, sections=("log",)))]
    show_grants([(g, s) for g, s in found if ended or s == "in force"], as_json=as_json)


@grants.command("revoke")
def grant_revoke(
    grant_id: Annotated[str, typer.Argument(metavar="GRANT_ID", help="As `grant list` shows it.")],
    reason: Reason = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """End a grant within a second, also for sessions that are open."""
    from deploy.config import load
    from deploy.grants import revoke

    done = revoke(load(config, sections=("log",)), grant_id, actor(), reason)
    typer.echo("every proxy is told that this grant has ended" if done else "had ended already", err=True)


class _Store:
    """The token store of a configuration, open for one command."""

    def __init__(self, config: Path) -> None:
        from deploy.config import load
        from deploy.layout import DataDir
        from ingest.identity.tokens import TokenStore

        data = DataDir(load(config, complete=False).data_dir)
        data.prepare()
        self._store = TokenStore(data.identity, now, secrets.token_bytes)

    def __enter__(self) -> TokenStore:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()
