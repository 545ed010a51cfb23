"""How are results shown? Tables for people, one JSON object a line for programs, both to stdout.

What stands in the trail was written by whoever is audited: control characters in it (a terminal obeys some) are shown as `�`.
JSON escapes them by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ingest.identity.tokens import TokenRecord
from schemas.control import GrantChanged, PrincipalSuspended, Unreadable
from schemas.dead_letters import DeadLetter
from schemas.log import Record

MAX_BODY_BYTES = 4000  # of a dead letter; `dlq show --body` has all of it
MAX_TEXT_CHARS = 500  # of a statement in a table; --json has all of it
WRAPPED = 30  # characters of a column of prose in a table that stays readable
_PROSE = ("statement", "why", "by", "needs", "rule", "application")
_STATUS_STYLE = {"ok": "green", "error": "red", "denied": "bold red", "cancelled": "yellow", "unknown": "magenta"}


def show_tokens(tokens: list[TokenRecord], now: int, *, as_json: bool) -> None:
    """Show tokens with their state at `now`."""
    if as_json:
        lines({**asdict(t), "state": _state(t, now)} for t in tokens)
        return
    table = _table("id", "principal", "kind", "on behalf of", "groups", "roles", "created", "by", "expires", "state")
    for t in tokens:
        groups, roles = ", ".join(t.groups), ", ".join(t.roles)
        made, ends = _when(t.created_at), _when(t.expires_at) if t.expires_at else "never"
        table.add_row(t.token_id, t.principal_id, t.kind, t.on_behalf_of, groups, roles, made, t.created_by, ends, _state(t, now))
    _show(table, "no tokens")


def show_grants(grants: list[tuple[GrantChanged, str]], *, as_json: bool) -> None:
    """Show grants with their states."""
    if as_json:
        lines({**asdict(g), "state": state} for g, state in grants)
        return
    table = _table("id", "principal", "databases", "verbs", "objects", "classes", "groups", "until", "state", "by", "why")
    for g, state in grants:
        lists = (", ".join(items) for items in (g.databases or ("all",), g.verbs, g.objects, g.classes, g.groups))
        who = f"{g.principal} and agents" if g.delegated else g.principal
        cells = (g.grant_id, who, *lists, _when(g.expires_at), state, g.actor, g.reason)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    _show(table, "no grants")


def show_suspensions(suspensions: Mapping[str, PrincipalSuspended | Unreadable], *, as_json: bool) -> None:
    """Show suspensions in force, by the name that each names."""
    rows = [
        (name, 0, 0, "", f"cannot be read here ({m.problem}): counts as a suspension")
        if isinstance(m, Unreadable)
        else (name, m.at, m.expires_at, m.actor, m.reason)
        for name, m in suspensions.items()
    ]
    if as_json:
        lines(dict(zip(("principal", "at", "expires_at", "actor", "reason"), row, strict=True)) for row in rows)
        return
    table = _table("principal", "since", "until", "by", "why")
    for name, at, expires_at, by, why in rows:
        cells = (name, _when(at) if at else "?", _when(expires_at) if expires_at else "resumed", by, why)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    _show(table, "nobody is suspended")


def show_dead_letters(letters: list[DeadLetter], *, as_json: bool) -> None:
    """Show dead letters."""
    if as_json:
        lines(asdict(letter) for letter in letters)
        return
    table = _table("id", "time", "source", "block", "events", "bytes", "replayed", "why")
    for d in letters:
        block = (str(d.block.number), f"{d.block.count:,}") if d.block else ("?", "?")
        again = f"{d.reason} (replay of {d.replay_of})" if d.replay_of else d.reason
        cells = (d.source, *block, f"{d.size:,}", _when(d.replayed_at) if d.replayed_at else "", again)
        table.add_row(d.letter_id, _when(d.at), *(Text(printable(cell)) for cell in cells))
    _show(table, "no dead letters")


def show_dead_letter(letter: DeadLetter, record: Record, *, as_json: bool) -> None:
    """Show one dead letter and how its body begins."""
    begins = record.value[:MAX_BODY_BYTES].decode("utf-8", "replace")
    if as_json:
        headers = {name: value.decode("utf-8", "backslashreplace") for name, value in record.headers.items()}
        lines([{**asdict(letter), "headers": headers, "body_begins": begins}])
        return
    table = _table("", "")
    values = {name: value for name, value in asdict(letter).items() if name not in ("block", "at", "replayed_at")}
    values |= {"came": _when(letter.at), "replayed": _when(letter.replayed_at) if letter.replayed_at else "no"}
    values |= asdict(letter.block) if letter.block else {}
    for name, value in values.items():
        table.add_row(name.replace("_", " "), Text(printable(str(value))))
    _console().print(table)
    for line in begins.splitlines():
        _console().print(Text(printable(line)), soft_wrap=True)


def show_events(events: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    """Show statements as the API gives them."""
    if as_json:
        lines(events)
        return
    table = _table("time", "who", "database", "status", "rows", "ms", "statement")
    for event in events:
        table.add_row(*_event_cells(event))
    _show(table, "nothing found", joined=True)


def show_stream(events: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    """Show statements as they come, one a line."""
    console = _console()
    for event in events:
        if as_json:
            lines([event])
        else:
            console.print(Text("  ").join(_event_cells(event)), soft_wrap=True)


def show_sessions(sessions: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    """Show sessions as the API gives them."""
    if as_json:
        lines(sessions)
        return
    table = _table("id", "opened", "closed", "who", "database", "from", "application", "statements", "ended by")
    for s in sessions:
        closed = "open" if s["open"] else _when(s["closed_at"])
        client = s["client"]
        cells = (s["database"]["alias"], client["address"], client["application"], str(s["statements"]), s["reason"])
        session_id = Text(printable(s["session_id"]))
        table.add_row(session_id, _when(s["opened_at"]), closed, _who(s), *(Text(printable(cell)) for cell in cells))
    _show(table, "nothing found")


def show_approvals(requests: Iterable[dict[str, Any]], state: str, *, as_json: bool) -> None:
    """Show requests for approval of a state (empty: of any) as the API gives them."""
    if as_json:
        lines(requests)
        return
    table = _table("id", "since", "until", "state", "who", "database", "risk", "rule", "needs", "statement")
    for r in requests:
        needs = "; ".join(f"{n['count']} of {', '.join(n['groups'])}" for n in r.get("needs") or ())
        text = " ".join(r["text"].split())[:MAX_TEXT_CHARS] or "(long: approvals show)"
        cells = (r["state"], r["database"]["alias"], str(r["risk"]), r["rule"], needs, text)
        stands, *rest = (Text(printable(cell)) for cell in cells)
        until = _when(r["expires_at"]) if r.get("expires_at") else ""
        table.add_row(Text(printable(r["approval_id"])), _when(r["at"]), until, stands, _who(r), *rest)
    _show(table, "nothing waits" if state == "open" else "no such request")


def show_approval(request: dict[str, Any], *, as_json: bool) -> None:
    """Show one request with all that is known of it."""
    if as_json:
        lines([request])
        return
    principal, facts, estimate = request["principal"], request["facts"], request.get("estimate") or {}
    chain = " for ".join(dict.fromkeys((principal["id"], *principal["delegation"])))
    expected = f"{estimate['rows']:,} rows, cost {estimate['cost']:,}" if estimate.get("known") else estimate.get("absent", "")
    dry = estimate.get("dry_run") or {}
    met = f"{'more than ' if dry['more'] else ''}{dry['rows']:,} rows" if dry.get("known") else dry.get("absent", "")
    said = [f"{d['principal']} {'approved' if d['approved'] else 'denied'}: {d['reason']}" for d in request["decisions"]]
    ran = [f"{e['status']}, {e['rows_affected']:,} rows changed, {e['rows_returned']:,} returned" for e in request["executions"]]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (
        ("request", f"{request['approval_id']}, {request['state']}"),
        ("statement", request["text"]),
        ("who", f"{chain} ({principal['kind']}), from {request['client']['address']}"),
        ("database", f"{request['database']['alias']} ({request['database']['environment']}), as {request['db_user']}"),
        ("since", _when(request["at"])),
        ("until", _when(request["expires_at"]) if request.get("expires_at") else ""),
        ("rule", f"{request['rule']}, risk {request['risk']}: {request['reason']}"),
        ("needs", "; ".join(f"{n['count']} of {', '.join(n['groups'])} ({n['rule']})" for n in request["needs"] or ())),
        ("does", ", ".join(facts["verbs"])),
        ("reads", ", ".join(facts["reads"])),
        ("writes", ", ".join(facts["writes"])),
        ("dangers", ", ".join(facts["dangers"])),
        ("classes", ", ".join(request["data_classes"]) + ("" if request["classes_known"] else " (not all are known)")),
        ("values", ", ".join(request["params"])),
        ("claims", ", ".join(f"{k}={v}" for k, v in request["claims"].items())),
        ("expected", expected),
        ("counted", met),
        ("justification", request.get("justification", "")),
        ("decisions", "; ".join(said)),
        ("really", "; ".join(ran)),
        ("before", _before(request.get("history"))),
    ):
        if value:  # what an emergency has, an ordinary request has not
            table.add_row(name, Text(printable(value)))
    _console().print(table)


def _before(history: dict[str, Any] | None) -> str:
    """What the principal did in the hours before, in one line."""
    if not history:
        return ""
    counts = (f"{history[name]:,} {word}" for name, word in _BEFORE.items())
    return f"in {history['hours']} hours: {', '.join(counts)}; this one {history['same']:,} times"


_BEFORE = {"statements": "statements", "denied": "denied", "errors": "failed", "held": "held"}


def _event_cells(event: dict[str, Any]) -> tuple[Text, ...]:
    out = event["outcome"]
    return (
        Text(_when(event["at"]), "dim"),
        _who(event),
        Text(printable(event["database"]["alias"])),
        Text(f"{out['status']} {out['sqlstate']}".strip(), _STATUS_STYLE.get(out["status"], "")),
        Text(f"{out['rows_returned'] + out['rows_affected']:,}"),
        Text(f"{out['total_us'] / 1000:,.1f}"),
        Text(printable(" ".join(event["text"].split())[:MAX_TEXT_CHARS]) or f"(text {event['text_hash'][:12]}…)"),
    )


def _who(row: dict[str, Any]) -> Text:
    principal = row["principal"]
    behalf = principal["on_behalf_of"]
    return Text(printable(f"{principal['id']} for {behalf}" if behalf else principal["id"]), "cyan")


def printable(text: str) -> str:
    """Return the text with everything a terminal might obey, or hide, replaced."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _state(token: TokenRecord, now: int) -> str:
    if token.revoked_at:
        return "revoked"
    return "expired" if token.expires_at and now >= token.expires_at else "valid"


def _when(micros: int) -> str:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        right = column in ("rows", "ms", "statements")
        table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=column in ("time", "id"))
    return table


def _show(table: Table, empty: str, *, joined: bool = False) -> None:
    """Print a list; on a terminal too narrow for its columns each row as lines of names and values, or `joined` to one line."""
    console = _console()
    if not table.row_count:
        console.print(empty)
        return
    wide = console.options.update(max_width=10_000)
    widths = [max(Measurement.get(console, wide, cell).maximum for cell in (c.header, *c.cells)) for c in table.columns]
    least = [min(width, WRAPPED) if c.header in _PROSE else width for c, width in zip(table.columns, widths, strict=True)]
    if not console.is_terminal or sum(least) + 2 * (len(least) - 1) <= console.width:
        console.print(table)
        return
    for row in zip(*(c.cells for c in table.columns), strict=True):
        if joined:
            console.print(Text("  ").join(Text.assemble(cell) for cell in row if isinstance(cell, str | Text)), soft_wrap=True)
            continue
        lines = Table(box=None, show_header=False, pad_edge=False)
        lines.add_column(style="bold", no_wrap=True)
        lines.add_column(overflow="fold")
        for column, cell in zip(table.columns, row, strict=True):
            if str(cell):
                lines.add_row(str(column.header), cell)
        console.print(lines, "")


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def lines(rows: Iterable[object]) -> None:
    """Print one JSON object a line."""
    for row in rows:
        sys.stdout.write(orjson.dumps(row, default=str).decode() + "\n")
        sys.stdout.flush()
