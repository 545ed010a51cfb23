"""What the demonstration shows of its trail: who did how much, and the statements a newcomer should see."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from rich.table import Table
from rich.text import Text

from deploy.display import printable

Event = dict[str, Any]


def principals(rows: list[Event]) -> Table:
    """One line a principal: statements, failures, rows, latency as the clients felt it."""
    table = Table(title="Who did what", title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    for name in ("who", "kind", "on behalf of"):
        table.add_column(name)
    for name in ("statements", "failed", "rows", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    by: dict[tuple[str, str, str], list[Event]] = defaultdict(list)
    for row in rows:
        p = row["principal"]
        by[p["id"], p["kind"], p["on_behalf_of"]].append(row)
    for who, events in sorted(by.items()):
        took = sorted(e["outcome"]["total_us"] / 1000 for e in events)
        failed = sum(e["outcome"]["status"] != "ok" for e in events)
        returned = sum(e["outcome"]["rows_returned"] for e in events)
        p50, p99 = took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)]
        table.add_row(*who, f"{len(events):,}", f"{failed:,}", f"{returned:,}", f"{p50:.1f}", f"{p99:.1f}")
    return table


def highlights(rows: list[Event]) -> Table:
    """The statements worth a look, each with the search that finds it."""
    table = Table(title="\nWorth a look", title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    denied = [r for r in rows if r["outcome"]["status"] == "denied"]
    ran = [r for r in rows if r["outcome"]["status"] == "ok"]
    for what, search, chosen in (
        ("denied", "status:denied verdict:deny", [r for r in denied if r["decision"]["verdict"] == "deny"]),
        ("held, denied", "status:denied verdict:hold", [r for r in denied if r["decision"]["verdict"] == "hold"]),
        (
            "held, approved",
            "policy:schemas-change-if-a-lead-agrees status:ok",
            [r for r in ran if r["decision"]["approval_id"]],
        ),
        ("failed", "status:error", [r for r in rows if r["outcome"]["status"] == "error"]),
        ("large export", "rows:>10000", [r for r in rows if r["outcome"]["rows_returned"] > 10_000]),
        ("no WHERE", "flag:no_where verb:update", [r for r in rows if {"no_where"} <= set(r["facts"]["flags"])]),
        ("by a tool", "claim.tool_call:describe_table", [r for r in rows if r["claims"].get("tool_call") == "describe_table"]),
    ):
        for row in sorted(chosen, key=lambda r: -r["outcome"]["bytes_out"])[:2]:
            out = row["outcome"]
            size = out["sqlstate"] or f"{out['rows_returned'] + out['rows_affected']:,} rows, {out['bytes_out'] / 1024:,.0f} KiB"
            statement = Text(printable(" ".join(row["text"].split())[:90]), "italic")
            table.add_row(Text(what, "yellow"), Text(row["principal"]["id"], "cyan"), size, statement, Text(search, "dim"))
            what = search = ""
    return table
