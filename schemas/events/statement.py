"""QueryExecuted: one event per execution of one statement, whatever protocol message caused it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from schemas.events.base import Client, Database, Event, Principal


class ExecutionKind(StrEnum):
    """Which protocol path ran the statement."""

    SIMPLE = "simple"
    PREPARED = "prepared"
    FETCH = "fetch"
    COPY = "copy"
    FUNCTION = "function"
    COMMAND = "command"


class OutcomeStatus(StrEnum):
    """What became of it. `unknown`: the intent was recorded, the outcome was not (crash, lost connection)."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    DENIED = "denied"
    NOT_EXECUTED = "not_executed"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """What the guard decided."""

    ALLOW = "allow"
    ALERT = "alert"
    MASK = "mask"
    HOLD = "hold"
    DENY = "deny"


class StatementFlag(StrEnum):
    """Properties of a statement that decisions and detections look at; several may hold."""

    DDL = "ddl"
    DCL = "dcl"
    TRANSACTION = "transaction"
    UTILITY = "utility"
    NO_WHERE = "no_where"
    TAUTOLOGY = "tautology"
    MULTI_STATEMENT = "multi_statement"
    DYNAMIC_SQL = "dynamic_sql"
    COPY_IN = "copy_in"
    COPY_OUT = "copy_out"
    COPY_PROGRAM = "copy_program"
    COPY_FILE = "copy_file"
    PREPARE = "prepare"
    EXECUTE = "execute"
    CHANGES_SETTINGS = "changes_settings"
    LOCKING = "locking"
    STAR = "star"
    LIMITED = "limited"
    EXPLAIN = "explain"
    EMPTY = "empty"
    UNPARSED = "unparsed"
    OVERSIZE = "oversize"
    OPAQUE = "opaque"


class Danger(StrEnum):
    """What a statement could do harm by, judged from its grammar and never from its words; several may hold.

    `sensitive_read` and `inference` need the classes of columns and are added by whoever knows them. `opaque`: what it runs
    cannot be read, so it may do anything. `unknown_code`: it calls code whose body is not known, where no catalogue is at hand.
    docs/guardrails.md says what each one catches and what it does not.
    """

    DROP = "drop"
    TRUNCATE = "truncate"
    MASS_UPDATE = "mass_update"
    MASS_DELETE = "mass_delete"
    PRIVILEGE_CHANGE = "privilege_change"
    ROLE_CHANGE = "role_change"
    FILE_ACCESS = "file_access"
    PROGRAM_EXECUTION = "program_execution"
    NETWORK_EGRESS = "network_egress"
    BULK_EXPORT = "bulk_export"
    AUDIT_TAMPERING = "audit_tampering"
    CONFIGURATION_CHANGE = "configuration_change"
    CATALOGUE_WRITE = "catalogue_write"
    CODE_CREATION = "code_creation"
    SCHEMA_CHANGE = "schema_change"
    LOCK_EXHAUSTION = "lock_exhaustion"
    ADVISORY_LOCK = "advisory_lock"
    RESOURCE_EXHAUSTION = "resource_exhaustion"
    SESSION_KILL = "session_kill"
    REPLICATION = "replication"
    LARGE_OBJECT = "large_object"
    CREDENTIAL_READ = "credential_read"
    SENSITIVE_READ = "sensitive_read"
    INFERENCE = "inference"
    INJECTION_SIGNS = "injection_signs"
    CATALOGUE_ENUMERATION = "catalogue_enumeration"
    UNKNOWN_CODE = "unknown_code"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnUse:
    """One column and the roles it plays (`output`, `filter`, `join`, `group`, `order`, `write`, `argument`).

    `name` is `schema.table.column` where the table is certain, `?.column` where it is not, `schema.table.*` for a star.
    """

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a statement does, as far as its text alone can show. Objects are `schema.name`; `?.name` if unresolved."""

    verbs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    columns: tuple[ColumnUse, ...] = ()
    functions: tuple[str, ...] = ()
    flags: tuple[StatementFlag, ...] = ()
    dangers: tuple[Danger, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict, the policies that led to it, and the version (hash) of the bundle they came from."""

    verdict: Verdict = Verdict.ALLOW
    policies: tuple[str, ...] = ()
    bundle: str = ""
    risk: int = 0
    approval_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended. Rows and bytes are counts; `*_us` are microseconds; `sqlstate` is empty unless it failed."""

    status: OutcomeStatus
    sqlstate: str = ""
    rows_returned: int = 0
    rows_affected: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    db_us: int = 0
    held_us: int = 0
    total_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryExecuted(Event):
    """One execution. `at` is when the statement's last byte reached the proxy; `ended_at` 0 if never seen to end.

    `text` is the normalised text (literals replaced, comments removed), or empty when it is longer than
    `MAX_INLINE_TEXT` bytes: then `text_hash` names the `TextObserved` event that holds it. `text_hash` is the SHA-256 of the
    normalised text, `fingerprint` that of its shape. `params` are `type:token` strings, literals and bound parameters in order
    of appearance. `transaction` is the client's view before the statement: I idle, T in a block, E failed block.
    `exposure` counts cells of the result by data class, `masked` those of them that were masked, `exposed` by column those shown
    as they are (`*` for columns past the first few).
    """

    ended_at: int
    kind: ExecutionKind
    transaction: str
    params: tuple[str, ...]
    claims: dict[str, str]
    session_id: str
    principal: Principal
    database: Database
    db_user: str
    client: Client
    text: str
    text_hash: str
    fingerprint: str
    facts: Facts
    outcome: Outcome
    decision: Decision = field(default_factory=Decision)
    exposure: dict[str, int] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)
    exposed: dict[str, int] = field(default_factory=dict)


MAX_INLINE_TEXT = 16 * 1024
"""Bytes of normalised text that an event carries itself; longer text is one `TextObserved` per hash and epoch."""
