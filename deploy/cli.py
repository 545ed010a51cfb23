"""The `affidavit` command: which commands there are, their options, and how results and errors are shown.

Each command is thin; what it does is in the module it imports when it runs, so that `affidavit token list` does not wait for a
database engine to load. Results go to stdout, everything else to stderr. An error is one message and exit code 1 (2 for wrong
usage); `AFFIDAVIT_DEBUG=1` shows the traceback.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.approvals import approvals
from deploy.log_style import VARIABLE, Style, style, use

if TYPE_CHECKING:
    from ingest.identity.tokens import TokenStore

app = typer.Typer(
    name="affidavit",
    help="Every query sworn: an audit trail for databases that people, services and AI agents share.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
tokens = typer.Typer(help="Issue, list and revoke the tokens clients log in with.", no_args_is_help=True)
events = typer.Typer(help="Search and follow the audit trail.", no_args_is_help=True)
sessions = typer.Typer(help="List client sessions, and end them.", no_args_is_help=True)
principals = typer.Typer(help="Suspend those who may not connect, and let them again.", no_args_is_help=True)
grants = typer.Typer(help="Grant rights for a time, and end them.", no_args_is_help=True)
archive = typer.Typer(help="The sealed blocks as published.", no_args_is_help=True)
pipeline = typer.Typer(help="The pipeline from the log to the store.", no_args_is_help=True)
dead_letters = typer.Typer(help="Blocks that did not verify: look at them, and send them again.", no_args_is_help=True)
policies = typer.Typer(help="Check and try bundles of policy rules.", no_args_is_help=True)
app.add_typer(tokens, name="token")
app.add_typer(policies, name="policy")
app.add_typer(approvals, name="approvals")
app.add_typer(events, name="events")
app.add_typer(sessions, name="session")
app.add_typer(sessions, name="sessions", hidden=True)  # its name before it could do more than list
app.add_typer(principals, name="principal")
app.add_typer(grants, name="grant")
app.add_typer(archive, name="archive")
app.add_typer(pipeline, name="pipeline")
app.add_typer(dead_letters, name="dlq")
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="AFFIDAVIT_CONFIG", metavar="FILE", help="The configuration file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ApiUrl = Annotated[str | None, typer.Option("--api", metavar="URL", help="The API to ask; default: api.listen.")]
ApiToken = Annotated[
    str | None,
    typer.Option("--token", envvar="AFFIDAVIT_TOKEN", metavar="TOKEN", help="Default: the local node's own, where readable."),
]
Since = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Start: ISO 8601, or an age such as 15m, 8h, 7d.")]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, likewise.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the trail.")]
LogFormat = Annotated[
    Style, typer.Option("--log-format", envvar=VARIABLE, help="What log lines look like: JSON, text, or by where they go.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most so many.")]
DEFAULT_CONFIG = Path("affidavit.yaml")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DEFAULT_TTL = {"human": "8h", "agent": "8h", "service": "90d"}


class UsageError(Exception):
    """What was asked makes no sense; the message says what would."""


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Do the work, print a JSON summary as last line, and exit.")] = False,
) -> None:
    """Show everything on data of its own: a database, three clients through the proxy, the trail to look at."""
    from deploy.demo.run import run_demo

    raise typer.Exit(run_demo(once=once))


@app.command()
def up(config: ConfigFile = DEFAULT_CONFIG, log_format: LogFormat = Style.AUTO) -> None:
    """Run everything on this machine: proxies, pipeline, API and UI. Stops on Ctrl-C or SIGTERM."""
    from deploy.single import run_up

    use(log_format)
    raise typer.Exit(run_up(config, roles=("proxy", "node")))


@app.command()
def proxy(config: ConfigFile = DEFAULT_CONFIG, log_format: LogFormat = Style.AUTO) -> None:
    """Run the proxies alone, shipping to Kafka, or to the embedded log of this data directory for a later `up` to project."""
    from deploy.single import run_up

    use(log_format)
    raise typer.Exit(run_up(config, roles=("proxy",)))


@app.command()
def api(config: ConfigFile = DEFAULT_CONFIG, log_format: LogFormat = Style.AUTO) -> None:
    """Run the API and UI alone, on Kafka and a ClickHouse server that workers (`process`) fill."""
    from deploy.single import run_up

    use(log_format)
    raise typer.Exit(run_up(config, roles=("api",)))


@app.command()
def process(config: ConfigFile = DEFAULT_CONFIG, log_format: LogFormat = Style.AUTO) -> None:
    """Run a worker that takes Kafka's events into ClickHouse and the archive. Start as many as there are partitions, at most."""
    from deploy.config import load
    from deploy.process import run_process

    use(log_format)
    raise typer.Exit(run_process(load(config, sections=("log", "clickhouse"))))


@app.command()
def migrate(
    config: ConfigFile = DEFAULT_CONFIG,
    show: Annotated[bool, typer.Option("--print", help="Print all statements instead, for an empty store.")] = False,
    users: Annotated[
        bool, typer.Option("--users", help="Print the roles that ClickHouse should know, and their rights.")
    ] = False,
) -> None:
    """Bring ClickHouse's tables to this version. `up` does this by itself, where its user may."""
    from deploy.config import load
    from deploy.maintenance import migrate_store, store_script

    if show or users:
        settings = load(config, complete=False)
        lines = store_script(settings, tables=show, users=users)
    else:
        lines = migrate_store(load(config, sections=("clickhouse",)))
    for line in lines:
        typer.echo(line)


@app.command()
def topics(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Make Kafka's missing topics and check the others. Exit code 1 if one is not as it should be; nothing is changed then."""
    from deploy.config import load
    from deploy.topics import ensure_topics

    raise typer.Exit(ensure_topics(load(config, sections=("log",)), as_json=as_json))


@app.command()
def doctor(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check configuration, ports, databases and their credentials, TLS, spool, disk, clock, store, API and chain."""
    from deploy.doctor import examine

    raise typer.Exit(examine(config, as_json=as_json))


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
            groups=_split(groups),
            roles=_split(roles),
            ttl_seconds=None if lifetime == "never" else _seconds(lifetime),
            created_by=_actor(),
            grant_id=grant,
        )
    typer.echo(token)


@tokens.command("list")
def token_list(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List all tokens ever issued, without their secrets."""
    from deploy.display import show_tokens

    with _Store(config) as store:
        show_tokens(store.tokens(), _now(), as_json=as_json)


@tokens.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="The id `token list` shows; a whole token works too.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Revoke a token for good. New logins with it fail at once."""
    with _Store(config) as store:
        done = store.revoke(token_id, _actor())
    typer.echo("revoked" if done else "was revoked already", err=True)


@events.command("search")
def events_search(
    query: Annotated[str, typer.Argument(help='Such as: principal:copilot AND status:error AND rows:>1000. "" finds all.')] = "",
    start: Since = None,
    end: Until = None,
    limit: Limit = 50,
    config: ConfigFile = DEFAULT_CONFIG,
    api: ApiUrl = None,
    token: ApiToken = None,
    as_json: AsJson = False,
) -> None:
    """Search statements, newest first. With --json one JSON object a line."""
    from deploy.api_client import connect
    from deploy.display import show_events

    span = {"from_": _time(start), "to": _time(end)}
    show_events(connect(config, api, token).pages("/api/v1/events", limit, q=query, **span), as_json=as_json)


@events.command("tail")
def events_tail(
    query: Annotated[str, typer.Argument(help="As for search.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    api: ApiUrl = None,
    token: ApiToken = None,
    as_json: AsJson = False,
) -> None:
    """Follow statements as they happen, until Ctrl-C."""
    from deploy.api_client import connect
    from deploy.display import show_stream

    show_stream(connect(config, api, token).stream("/api/v1/events/stream", q=query), as_json=as_json)


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

    span = {"from_": _time(start), "to": _time(end)}
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

    kill_session(load(config, sections=("log",)), session_id, _actor(), reason)
    typer.echo("every proxy is told to end this session, if it has it", err=True)


@principals.command("suspend")
def principal_suspend(
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="As events name it.")],
    reason: Reason = "",
    ttl: Annotated[str | None, typer.Option("--ttl", help="For how long: 30m, 8h, 90d. Default: until resumed.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """End a principal's sessions within a second, and refuse its logins; the same for whoever acts on its behalf."""
    from deploy.config import load
    from deploy.sanctions import suspend

    suspend(load(config, sections=("log",)), principal, _actor(), reason, None if ttl is None else _seconds(ttl))
    typer.echo(f"every proxy is told that {principal} is suspended", err=True)


@principals.command("resume")
def principal_resume(
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="As events name it.")],
    reason: Reason = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """End a suspension."""
    from deploy.config import load
    from deploy.sanctions import resume

    resume(load(config, sections=("log",)), principal, _actor(), reason)
    typer.echo(f"every proxy is told that {principal} is not suspended any more", err=True)


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
    named = dict(zip(("databases", "verbs", "objects", "classes", "groups"), (tuple(_split(n)) for n in names), strict=True))
    scope = Scope(**named, delegated=delegated)  # type: ignore[arg-type]
    typer.echo(create(load(config, sections=("log",)), principal, scope, _future(until), reason, _actor()))


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

    now = _now()
    found = [(g, state(g, now)) for g in grants(load(config, sections=("log",)))]
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

    done = revoke(load(config, sections=("log",)), grant_id, _actor(), reason)
    typer.echo("every proxy is told that this grant has ended" if done else "had ended already", err=True)


@archive.command("verify")
def archive_verify(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check every archived block: hashes, signatures, and each source's chain without gaps. Exit code 1 if anything fails."""
    from deploy.config import load
    from deploy.maintenance import verify_archive

    raise typer.Exit(verify_archive(load(config, complete=False), as_json=as_json))


@archive.command("rebuild")
def archive_rebuild(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Make ClickHouse's tables anew from the archive. Not while `up` runs."""
    from deploy.config import load
    from deploy.maintenance import rebuild_store

    typer.echo(rebuild_store(load(config, sections=("clickhouse",))), err=True)


@app.command("control-key")
def control_key(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Print the public key by which proxies believe this machine, for their keys/control.pub; make it if there is none."""
    from deploy.config import load
    from deploy.layout import DataDir
    from schemas.control_keys import create_control_key, load_control_signer, public_pem

    data = DataDir(load(config, complete=False).data_dir)
    data.prepare()
    create_control_key(data.keys)
    typer.echo(public_pem(load_control_signer(data.keys).public).decode(), nl=False)


@pipeline.command("resume")
def pipeline_resume(reason: Reason = "", config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Let pipelines go on that stopped over blocks that did not verify, and leave those in the dead letters. See `dlq` first."""
    from deploy.config import load
    from deploy.dlq import resume_pipeline

    resume_pipeline(load(config, complete=False), _actor(), reason)
    typer.echo("rejected blocks are counted anew; a node goes on within some seconds, a worker when it is started", err=True)


@dead_letters.command("list")
def dlq_list(
    source: Annotated[str, typer.Option("--source", help="Only this source's.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Also those that were replayed.")] = False,
    limit: Limit = 100,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List blocks that did not verify, and why; the newest, in the order they came."""
    from deploy.config import load
    from deploy.display import show_dead_letters
    from deploy.dlq import listed

    show_dead_letters(listed(load(config, complete=False), _actor(), source, replayed=all_)[-limit:], as_json=as_json)


@dead_letters.command("show")
def dlq_show(
    letter: Annotated[str, typer.Argument(metavar="LETTER_ID", help="As `dlq list` shows it.")],
    body: Annotated[bool, typer.Option("--body", help="Write the block's body to stdout instead, byte for byte.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: its header, where it was read, and how it begins."""
    from deploy.config import load
    from deploy.display import show_dead_letter
    from deploy.dlq import print_body, shown

    found, record = shown(load(config, complete=False), _actor(), letter)
    if body:
        print_body(record)
    else:
        show_dead_letter(found, record, as_json=as_json)


@dead_letters.command("replay")
def dlq_replay(
    wanted: Annotated[list[str] | None, typer.Argument(metavar="LETTER_ID...", help="As `dlq list` shows them.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    source: Annotated[str, typer.Option("--source", help="With --all: only this source's.")] = "",
    reason: Reason = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Send dead letters through the pipeline again, after what was wrong is mended; pipelines that stopped go on."""
    from deploy.config import load
    from deploy.dlq import replay

    if bool(wanted) == all_ or (source and not all_):
        raise UsageError("name the letters to replay, or say --all, which --source narrows")
    count = replay(load(config, complete=False), _actor(), wanted or (), source, reason)
    typer.echo(f"{count} sent again; `affidavit dlq list` shows those that are rejected again", err=True)


PolicyFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE...", help="The files of one bundle; default: policy.files of the configuration."),
]


@policies.command("check")
def policy_check(files: PolicyFiles = None, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Check a bundle: syntax, types, words no statement has, rules that conflict or cannot match. Exit code 1 on any of these."""
    from deploy.policy_commands import check

    lines, good = check(_policy_files(files, config))
    _say_and_exit(lines, good)


@policies.command("test")
def policy_test(files: PolicyFiles = None, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the tests that stand beside the rules. Exit code 1 if one does not hold."""
    from deploy.policy_commands import test

    lines, good = test(_policy_files(files, config))
    _say_and_exit(lines, good)


@policies.command("simulate")
def policy_simulate(
    files: PolicyFiles = None,
    start: Since = "7d",
    end: Until = None,
    limit: Limit = 20_000,
    config: ConfigFile = DEFAULT_CONFIG,
    api: ApiUrl = None,
    token: ApiToken = None,
) -> None:
    """Judge recorded history by a bundle and print what would have been decided otherwise. Data classes are not in events."""
    from deploy.api_client import connect
    from deploy.policy_commands import simulated

    found = _policy_files(files, config)
    client = connect(config, api, token)
    try:
        for line in simulated(found, client.pages("/api/v1/events", limit, from_=_time(start), to=_time(end))):
            typer.echo(line)
    finally:
        client.close()


def _policy_files(files: list[Path] | None, config: Path) -> list[Path]:
    from deploy.config import load

    found = files or list(load(config, complete=False).policy.files)
    if not found:
        raise UsageError(f"name a bundle's files, or give {config} some (policy.files)")
    return found


def _say_and_exit(lines: list[str], good: bool) -> None:
    for line in lines:
        typer.echo(line)
    raise typer.Exit(0 if good else 1)


def main() -> None:
    """Run the command line; the `affidavit` entry point."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors become one message on stderr."""
    try:
        app(args=arguments, prog_name="affidavit")
        return 0
    except SystemExit as end:  # typer words wrong usage, interrupts and closed pipes itself, and ends so
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:
        if os.environ.get("AFFIDAVIT_DEBUG"):
            raise
        ours = type(error).__module__.partition(".")[0] in ("deploy", "ingest", "processors", "query_api", "schemas")
        text = str(error) if ours else f"{type(error).__name__}: {error}; AFFIDAVIT_DEBUG=1 shows where"
        if style() is Style.JSON:
            from deploy.logs import configure

            configure("affidavit").error(text)
            return 1
        for line in text.splitlines():
            typer.echo(f"error: {line}", err=True)
        return 1


class _Store:
    """The token store of a configuration, open for one command."""

    def __init__(self, config: Path) -> None:
        from deploy.config import load
        from deploy.layout import DataDir
        from ingest.identity.tokens import TokenStore

        data = DataDir(load(config, complete=False).data_dir)
        data.prepare()
        self._store = TokenStore(data.identity, _now, secrets.token_bytes)

    def __enter__(self) -> TokenStore:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


def _now() -> int:
    return time.time_ns() // 1000


def _actor() -> str:
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return f"uid {os.getuid()} (command line)"


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if not match:
        raise UsageError(f"{text!r} is no duration; write a number and a unit: 30m, 8h, 90d")
    return int(match[1]) * _UNITS[match[2]]


def _future(text: str) -> int:
    """Return when something ends, µs UTC, that is said as a duration from now or as a time."""
    if re.fullmatch(r"\d{1,9}[smhdw]", text):
        return _now() + int(_seconds(text) * 1_000_000)
    moment = _time(text)
    assert moment is not None
    return int(datetime.fromisoformat(moment).timestamp() * 1_000_000)


def _time(text: str | None) -> str | None:
    """An age becomes a time; a time is checked and given a zone (UTC where it has none)."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}[smhdw]", text):
        return datetime.fromtimestamp(_now() / 1_000_000 - _seconds(text), UTC).isoformat()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 2026-01-31, 2026-01-31T08:00:00Z, or an age: 15m, 8h, 7d") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
