"""What may a rule look at? Every variable of `when:`, with its type and its meaning; docs/policy.md says the same by test.

Variables are plain CEL values under dotted names. What is constant for a session (`principal`, `database`, `client`), what a
statement is (`statement`, `columns`, `data`, `claims`, `grant`), what came of a wait (`approval`) and what changes by itself
(`time`, `session`) are made by separate functions, because a cached decision needs only those that the rules really read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from cel_expr_python import cel

from processors.policy.approval import Approval
from processors.statements.sizes import NO_CHANGE, Change
from schemas.events import Facts, StatementFlag
from schemas.events.base import Database, Principal

Values = dict[str, Any]

_STRING, _INT, _BOOL = cel.Type.STRING, cel.Type.INT, cel.Type.BOOL
_STRINGS = cel.Type.List(cel.Type.STRING)
_WORDS = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: CEL type, what it means, and what it is where nothing is known (used by tests of rules)."""

    type: Any
    meaning: str
    default: Any
    type_name: str


def _text(meaning: str, default: str = "") -> Variable:
    return Variable(_STRING, meaning, default, "string")


def _list(meaning: str) -> Variable:
    return Variable(_STRINGS, meaning, [], "list of string")


def _number(meaning: str, default: int = 0) -> Variable:
    return Variable(_INT, meaning, default, "int")


def _truth(meaning: str, default: bool = False) -> Variable:
    return Variable(_BOOL, meaning, default, "bool")


SUBJECT: dict[str, Variable] = {
    "principal.id": _text("who acts"),
    "principal.kind": _text("`human`, `agent` or `service`", "human"),
    "principal.groups": _list("groups the credential gives"),
    "principal.auth_method": _text("how the login was proven, such as `token`", "token"),
    "principal.on_behalf_of": _text("for whom the principal acts; empty for itself"),
    "principal.delegation": _list("everybody the principal acts for, nearest first"),
    "principal.grants": _list("ids of the grants that the principal has on this database now"),
    "database.alias": _text("the configured name"),
    "database.engine": _text("`postgres`", "postgres"),
    "database.environment": _text("as configured, such as `production`", "production"),
    "database.name": _text("the name the server knows it by"),
    "database.user": _text("the user the proxy logged in as"),
    "client.host": _text("address of the client, without its port"),
    "client.encrypted": _truth("whether the client came by TLS"),
}
"""Constant for a session, until a grant begins or ends."""

STATEMENT: dict[str, Variable] = {
    "statement.verbs": _list("what is done, such as `select`, `update`, `drop_table`"),
    "statement.reads": _list("objects read, `schema.name`; `?.name` where the schema is not certain"),
    "statement.writes": _list("objects written, likewise"),
    "statement.objects": _list("both"),
    "statement.functions": _list("functions called"),
    "statement.flags": _list("properties, as `facts.flags` of the event"),
    "statement.dangers": _list("categories of harm, as `facts.dangers` of the event; `opaque` if it could be any"),
    "statement.settings": _list("settings of the session that it changes, such as `search_path`; `*` for any"),
    "statement.fingerprint": _text("hash of the statement's shape"),
    "columns.all": _list("columns used, `schema.table.column`; `?.column` where the table is not certain"),
    "columns.output": _list("columns that reach the result"),
    "columns.filter": _list("columns in predicates"),
    "columns.join": _list("columns in join conditions"),
    "columns.group": _list("columns grouped by"),
    "columns.order": _list("columns ordered by"),
    "columns.write": _list("columns written"),
    "columns.argument": _list("columns given to functions"),
    "data.classes": _list("data classes of the columns used, such as `email`"),
    "data.written": _list("of these, what is in columns that it gives values; all of them where that is not known"),
    "data.removed": _list("of these, what is in tables of which it removes rows; likewise"),
    "data.lookup": _truth(
        "whether all that conditions ask of masked columns is which row has a whole e-mail address or key (docs/guardrails.md)"
    ),
    "data.known": _truth("whether the classes of everything touched are known; false without a catalogue"),
    "change.table_rows": _number(
        "rows that the table has which an UPDATE or DELETE changes, as the database estimates; -1: not known", -1
    ),
    "change.rows": _number("rows of it that it would change, at most, by the database's statistics; -1: not known"),
    "change.percent": _number("their share in per cent; 100 where nothing is known, 0 of what changes no rows"),
    "change.known": _truth("whether statistics tell what its condition leaves out: comparisons with values do, ranges do not"),
    "claims": Variable(_WORDS, "what the client says of itself in comments (`ticket`, `traceparent`): not verified", {}, "map"),
}
"""Constant for a statement and what its comments claim."""

GRANTED: dict[str, Variable] = {
    "grant.objects": _list("those of `statement.objects` for which the principal has a grant, for all of the statement's verbs"),
    "grant.classes": _list("those of `data.classes` that such a grant gives, too"),
}
"""Constant for a statement while the grants of its principal are the same."""

APPROVAL: dict[str, Variable] = {
    "approval.given": _truth("whether the statement waited and was approved, or was let through in an emergency"),
    "approval.by": _list("who approved it"),
    "approval.groups": _list("all groups of those"),
    "approval.reason": _text("what the last of them, or who broke the glass, gave as a reason"),
    "approval.break_glass": _truth("whether it was let through in an emergency, approved by nobody"),
    "approval.waited_seconds": _number("how long it waited"),
}
"""Empty until a held statement is judged again."""

MOMENT: dict[str, Variable] = {
    "time.hour": _number("0 to 23, in the bundle's time zone", 12),
    "time.minute": _number("0 to 59"),
    "time.weekday": _number("1 (Monday) to 7 (Sunday)", 3),
    "time.date": _text("`2026-01-31`", "2026-01-31"),
    "time.frozen": _truth("whether a freeze of the bundle covers this moment and the database's environment"),
}
"""Changes with the clock, by the minute."""

COUNTERS: dict[str, Variable] = {
    "session.statements": _number("statements of this session before this one"),
    "session.statements_last_minute": _number("of those, how many in the current minute of the clock"),
    "session.denied": _number("statements of this session that were denied"),
    "session.bytes_in": _number("bytes the client sent in this session"),
    "session.bytes_out": _number("bytes the database sent in this session"),
    "session.rows": _number("rows that statements of this session returned"),
    "session.age_seconds": _number("how long ago the session began"),
}
"""Changes with every statement: a rule that reads these is evaluated each time."""

VARIABLES: dict[str, Variable] = {**SUBJECT, **STATEMENT, **GRANTED, **APPROVAL, **MOMENT, **COUNTERS}
DEFAULTS: Values = {name: variable.default for name, variable in VARIABLES.items()}

_ROLES = ("output", "filter", "join", "group", "order", "write", "argument")
_UNREADABLE = frozenset((StatementFlag.OPAQUE, StatementFlag.UNPARSED, StatementFlag.OVERSIZE, StatementFlag.DYNAMIC_SQL))


def subject_values(principal: Principal, database: Database, db_user: str, address: str, encrypted: bool) -> Values:
    """Return the values that stay the same for a session."""
    host = address.rpartition(":")[0] if ":" in address else address
    return {
        "principal.id": principal.id,
        "principal.kind": str(principal.kind),
        "principal.groups": list(principal.groups),
        "principal.auth_method": principal.auth_method,
        "principal.on_behalf_of": principal.on_behalf_of,
        "principal.delegation": list(principal.delegation),
        "principal.grants": [],
        "database.alias": database.alias,
        "database.engine": database.engine,
        "database.environment": database.environment,
        "database.name": database.name,
        "database.user": db_user,
        "client.host": host.strip("[]"),
        "client.encrypted": encrypted,
    }


def statement_values(
    facts: Facts,
    fingerprint: str,
    claims: Mapping[str, str],
    classes: Iterable[str] = (),
    classes_known: bool = False,
    change: Change = NO_CHANGE,
    written: tuple[Iterable[str], Iterable[str]] | None = None,
    looks_up: bool = False,
    settings: Iterable[str] = (),
) -> Values:
    """Return the values of one statement. What cannot be read is in danger `opaque`, whoever made the facts.

    `written` are the classes of what it gives values and of what it removes; None: not known, so that all that it touches counts
    as both where it writes anything.
    """
    touched = list(classes)
    given, removed = written if written is not None else (touched, touched) if facts.writes else ((), ())
    by_role: dict[str, list[str]] = {role: [] for role in _ROLES}
    for use in facts.columns:
        for role in use.roles:
            if role in by_role:
                by_role[role].append(use.name)
    dangers = [str(d) for d in facts.dangers]
    if "opaque" not in dangers and not _UNREADABLE.isdisjoint(facts.flags):
        dangers.append("opaque")
    return {
        "statement.verbs": list(facts.verbs),
        "statement.reads": list(facts.reads),
        "statement.writes": list(facts.writes),
        "statement.objects": [*facts.reads, *facts.writes],
        "statement.functions": list(facts.functions),
        "statement.flags": [str(f) for f in facts.flags],
        "statement.dangers": dangers,
        "statement.settings": list(settings),
        "statement.fingerprint": fingerprint,
        "columns.all": [use.name for use in facts.columns],
        **{f"columns.{role}": names for role, names in by_role.items()},
        "data.classes": touched,
        "data.written": list(given),
        "data.removed": list(removed),
        "data.lookup": looks_up,
        "data.known": classes_known,
        "change.table_rows": change.table_rows,
        "change.rows": change.rows,
        "change.percent": change.percent,
        "change.known": change.known,
        "claims": dict(claims),
    }


def granted_values(objects: Iterable[str] = (), classes: Iterable[str] = ()) -> Values:
    """Return the values of what is granted for one statement."""
    return {"grant.objects": list(objects), "grant.classes": list(classes)}


def approval_values(approval: Approval | None = None) -> Values:
    """Return the values of what came of a wait; those of a statement that did not wait where there is none."""
    return {
        "approval.given": approval is not None,
        "approval.by": [d.id for d in approval.deciders] if approval else [],
        "approval.groups": sorted({g for d in approval.deciders for g in d.groups}) if approval else [],
        "approval.reason": approval.reason if approval else "",
        "approval.break_glass": approval.break_glass if approval else False,
        "approval.waited_seconds": approval.waited_us // 1_000_000 if approval else 0,
    }


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017


def moment_values(now: int, zone: tzinfo, frozen: bool) -> Values:
    """Return the values of a moment, `now` in µs since the epoch."""
    local = (_EPOCH + timedelta(microseconds=now)).astimezone(zone)
    return {
        "time.hour": local.hour,
        "time.minute": local.minute,
        "time.weekday": local.isoweekday(),
        "time.date": local.date().isoformat(),
        "time.frozen": frozen,
    }
