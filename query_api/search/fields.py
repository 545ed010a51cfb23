"""The fields of the search language: their names, which columns they look at, and which values they take.

The one table of fields: the parser checks against it, the compiler reads columns from it, the page offers it for completion,
and a test holds docs/search.md to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from schemas.events import Danger, ExecutionKind, OutcomeStatus, PrincipalKind, StatementFlag, Verdict


class Shape(StrEnum):
    """How a field's column is held, which decides the SQL."""

    TEXT = "text"
    LIST = "list"
    NUMBER = "number"
    UUID = "uuid"
    STATEMENT = "statement"
    CLAIM = "claim"


class Unit(StrEnum):
    """What a number counts; COUNT and MICROSECONDS are written bare, the others need or allow a unit."""

    COUNT = "count"
    BYTES = "bytes"
    DURATION = "duration"


@dataclass(frozen=True, slots=True)
class Field:
    """One searchable field.

    `suffix`: with this separator, a value also matches whole trailing segments (`users` finds `public.users`).
    `values`: the only values there are, else empty. `fold`: upper and lower case are the same.
    """

    name: str
    columns: tuple[str, ...]
    about: str
    example: str
    shape: Shape = Shape.TEXT
    unit: Unit = Unit.COUNT
    suffix: str = ""
    values: tuple[str, ...] = ()
    fold: bool = False


def _values(vocabulary: Iterable[StrEnum]) -> tuple[str, ...]:
    return tuple(v.value for v in vocabulary)


CLAIM_PREFIX = "claim."

FIELDS: dict[str, Field] = {
    f.name: f
    for f in (
        Field("principal", ("principal_id",), "who acted", "principal:maria@example.com"),
        Field(
            "principal_kind",
            ("principal_kind",),
            "what sort of actor",
            "principal_kind:agent",
            values=_values(PrincipalKind),
        ),
        Field("group", ("principal_groups",), "a group of the principal", "group:support", Shape.LIST),
        Field("on_behalf_of", ("on_behalf_of",), "for whom the principal acted", "on_behalf_of:maria*"),
        Field("auth", ("auth_method",), "how the principal logged in", "auth:token"),
        Field("credential", ("credential_id",), "the credential it logged in with, by id", "credential:*"),
        Field("db", ("database_alias",), "the database, by its configured alias", "db:orders"),
        Field("engine", ("engine",), "the database's engine", "engine:postgres"),
        Field("env", ("environment",), "the database's environment", "env:production"),
        Field("dbname", ("database_name",), "the database, by the server's name for it", "dbname:shop"),
        Field("db_user", ("db_user",), "the user the proxy logged in as", "db_user:app_ro"),
        Field("client", ("client_address",), "the client's address", "client:10.1.*"),
        Field("app", ("application",), "the application name the client gave", "app:psql"),
        Field("driver", ("driver",), "the driver the client seems to use", "driver:asyncpg*"),
        Field("session", ("session_id",), "the session", "session:0190*"),
        Field("id", ("event_id",), "the event itself", "id:01928c5e-7a4b-7c3d-8e9f-0a1b2c3d4e5f", Shape.UUID),
        Field("kind", ("kind",), "the protocol path", "kind:prepared", values=_values(ExecutionKind)),
        Field(
            "tx", ("transaction",), "transaction status before: I idle, T in a block, E failed", "tx:T", values=("I", "T", "E")
        ),
        Field("verb", ("verbs",), "what the statement does", "verb:delete", Shape.LIST, fold=True),
        Field("table", ("reads", "writes"), "a table read or written", "table:public.user*", Shape.LIST, suffix="."),
        Field("reads", ("reads",), "a table read", "reads:payments", Shape.LIST, suffix="."),
        Field("writes", ("writes",), "a table written", "writes:accounts", Shape.LIST, suffix="."),
        Field("column", ("columns",), "a column used, in whatever role", "column:users.email", Shape.LIST, suffix="."),
        Field("function", ("functions",), "a function called", "function:pg_sleep", Shape.LIST, suffix="."),
        Field("flag", ("flags",), "a property of the statement", "flag:no_where", Shape.LIST, values=_values(StatementFlag)),
        Field("danger", ("dangers",), "what it could do harm by", "danger:mass_delete", Shape.LIST, values=_values(Danger)),
        Field("class", ("data_classes",), "a data class the statement touched", "class:*", Shape.LIST),
        Field("verdict", ("verdict",), "what the guard decided", "verdict:deny", values=_values(Verdict)),
        Field("policy", ("policies",), "a policy that led to the verdict", "policy:no-bulk-export", Shape.LIST),
        Field("approval", ("approval_id",), "the approval it waited for, by id", "approval:*"),
        Field("risk", ("risk",), "the risk score, 0 to 100", "risk:>50", Shape.NUMBER),
        Field("status", ("status",), "what became of it", "status:(error OR denied)", values=_values(OutcomeStatus)),
        Field("sqlstate", ("sqlstate",), "the error code", "sqlstate:42*"),
        Field("rows", ("rows_returned",), "rows returned", "rows:>1000", Shape.NUMBER),
        Field("affected", ("rows_affected",), "rows written", "affected:[10 TO 100]", Shape.NUMBER),
        Field("bytes_in", ("bytes_in",), "bytes the client sent", "bytes_in:>1MiB", Shape.NUMBER, Unit.BYTES),
        Field("bytes_out", ("bytes_out",), "bytes the client received", "bytes_out:>10MB", Shape.NUMBER, Unit.BYTES),
        Field("db_time", ("db_us",), "time in the database", "db_time:>2s", Shape.NUMBER, Unit.DURATION),
        Field("held_time", ("held_us",), "time held by the guard", "held_time:>0us", Shape.NUMBER, Unit.DURATION),
        Field("total_time", ("total_us",), "time in all", "total_time:[100ms TO 1s]", Shape.NUMBER, Unit.DURATION),
        Field("db_us", ("db_us",), "time in the database, in microseconds", "db_us:>2000000", Shape.NUMBER),
        Field("held_us", ("held_us",), "time held by the guard, in microseconds", "held_us:>0", Shape.NUMBER),
        Field("total_us", ("total_us",), "time in all, in microseconds", "total_us:>=5000", Shape.NUMBER),
        Field("text", ("text",), "words of the normalised statement", 'text:"order by"', Shape.STATEMENT),
        Field("fingerprint", ("fingerprint",), "the statement's shape", "fingerprint:50fde20626009aba"),
        Field("token", ("params",), "a literal or parameter, by its token", "token:int:8f3a*", Shape.LIST, suffix=":"),
        Field("source", ("source",), "the proxy worker that saw it", "source:proxy/0"),
    )
}

CLAIM = Field(f"{CLAIM_PREFIX}<key>", ("claims",), "a claim from the statement's comments", "claim.ticket:OPS-*", Shape.CLAIM)


def find(name: str) -> Field | None:
    """The field of this name; any `claim.<key>` is one."""
    if name.startswith(CLAIM_PREFIX) and len(name) > len(CLAIM_PREFIX):
        return CLAIM
    return FIELDS.get(name)


_ALSO_CALLED = {
    "user": "principal",
    "who": "principal",
    "database": "db",
    "alias": "db",
    "application": "app",
    "environment": "env",
    "ip": "client",
    "address": "client",
    "sql": "text",
    "query": "text",
    "statement": "text",
    "duration": "total_time",
    "time": "total_time",
    "error": "sqlstate",
    "param": "token",
    "read": "reads",
    "write": "writes",
    "func": "function",
    "transaction": "tx",
    "decision": "verdict",
    "outcome": "status",
    "rows_returned": "rows",
    "rows_affected": "affected",
    "claims": "claim.<key>",
    "claim": "claim.<key>",
}


def nearest(word: str, among: Iterable[str]) -> str | None:
    """The likeliest of `among` that `word` was meant to be, or None."""
    close = difflib.get_close_matches(word, list(among), n=1, cutoff=0.6)
    return close[0] if close else None


def nearest_field(name: str) -> str | None:
    """The field that `name` was likely meant to be: a name used elsewhere for it, or a near spelling."""
    lowered = name.lower()
    if lowered in FIELDS:
        return lowered
    return _ALSO_CALLED.get(lowered) or nearest(lowered, FIELDS)
