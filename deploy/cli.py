"""The `affidavit` command: which commands there are, their options, and how results and errors are shown.

Each command is thin; what it does is in the module it imports when it runs, so that `affidavit token list` does not wait for a
database engine to load. Results go to stdout, everything else to stderr. An error is one message and exit code 1 (2 for wrong
usage); `AFFIDAVIT_DEBUG=1` shows the traceback.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy import PACKAGES
from deploy.access_commands import grants, principals, sessions, tokens
from deploy.approvals import approvals
from deploy.limits import leave_no_core
from deploy.log_style import Style, style, use
from deploy.options import (
    DEFAULT_CONFIG,
    ApiToken,
    ApiUrl,
    AsJson,
    ConfigFile,
    Limit,
    LogFormat,
    Since,
    Until,
    UsageError,
    moment,
)
from deploy.trail_commands import archive, dead_letters, events, pipeline

app = typer.Typer(
    name="affidavit",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"affidavit {version('affidavit')}")
        raise typer.Exit


@app.callback()
def _options(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Every query sworn: an audit trail for databases that people, services and AI agents share."""


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


PolicyFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE...", help="The files of one bundle; default: policy.files of the configuration."),
]


@policies.command("check")
def policy_check(files: PolicyFiles = None, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check a bundle: syntax, types, words no statement has, rules that conflict or cannot match. Exit code 1 on any of these."""
    from deploy.policy_commands import check

    lines, good = check(_policy_files(files, config), as_json=as_json)
    _say_and_exit(lines, good)


@policies.command("test")
def policy_test(files: PolicyFiles = None, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Run the tests that stand beside the rules. Exit code 1 if one does not hold."""
    from deploy.policy_commands import test

    lines, good = test(_policy_files(files, config), as_json=as_json)
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
    as_json: AsJson = False,
) -> None:
    """Judge recorded history by a bundle and print what would have been decided otherwise. Data classes are not in events."""
    from deploy.api_client import connect
    from deploy.policy_commands import simulated

    found = _policy_files(files, config)
    client = connect(config, api, token)
    try:
        events = client.pages("/api/v1/events", limit, from_=moment(start), to=moment(end))
        for line in simulated(found, events, as_json=as_json):
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
    leave_no_core()
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
        ours = type(error).__module__.partition(".")[0] in PACKAGES
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}; AFFIDAVIT_DEBUG=1 shows where"
        else:
            text = str(error) if ours else f"{type(error).__name__}: {error}; AFFIDAVIT_DEBUG=1 shows where"
        if style() is Style.JSON:
            from deploy.logs import configure

            configure("affidavit").error(text)
            return 1
        for line in text.splitlines():
            typer.echo(f"error: {line}", err=True)
        return 1
