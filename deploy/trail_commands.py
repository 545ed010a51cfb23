"""`affidavit events | archive | pipeline | dlq`: the trail, where its blocks are kept, and those that did not verify."""

from __future__ import annotations

from typing import Annotated

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
    UsageError,
    actor,
    moment,
)

events = typer.Typer(help="Search and follow the audit trail.", no_args_is_help=True)
archive = typer.Typer(help="The sealed blocks as published.", no_args_is_help=True)
pipeline = typer.Typer(help="The pipeline from the log to the store.", no_args_is_help=True)
dead_letters = typer.Typer(help="Blocks that did not verify: look at them, and send them again.", no_args_is_help=True)


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

    span = {"from_": moment(start), "to": moment(end)}
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

    done, complete = rebuild_store(load(config, sections=("clickhouse",)))
    typer.echo(done, err=True)
    raise typer.Exit(0 if complete else 1)


@pipeline.command("resume")
def pipeline_resume(reason: Reason = "", config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Let pipelines go on that stopped over blocks that did not verify, and leave those in the dead letters. See `dlq` first."""
    from deploy.config import load
    from deploy.dlq import resume_pipeline

    resume_pipeline(load(config, complete=False), actor(), reason)
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

    show_dead_letters(listed(load(config, complete=False), actor(), source, replayed=all_)[-limit:], as_json=as_json)


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

    found, record = shown(load(config, complete=False), actor(), letter)
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
    count = replay(load(config, complete=False), actor(), wanted or (), source, reason)
    typer.echo(f"{count} sent again; `affidavit dlq list` shows those that are rejected again", err=True)
