"""The audit events, one frozen dataclass each, and the registry by type name.

An event is one JSON object on one line. Every event starts with the same envelope (`Event`); the rest is its own.
Times are integers, microseconds since the Unix epoch, UTC. Values from statements, parameters or results never stand in
an event in clear (invariant 3): they appear as tokens (`type:token`), see `processors.statements`.

Compatibility: fields are only added, always with a default; `v` counts up when a reader must know. A reader ignores
fields it does not know. `tests/contract` holds one line of every version ever written.
"""

from __future__ import annotations

from schemas.events.admin import AdminActionPerformed, AuditTrailRead
from schemas.events.approval import (
    ApprovalChannel,
    ApprovalClosed,
    ApprovalDecided,
    ApprovalRequested,
    ApprovalStatus,
    ApproversNeeded,
    BreakGlassUsed,
    DryRun,
    Estimate,
)
from schemas.events.base import Client, Database, Event, Principal, PrincipalKind
from schemas.events.policy import LimitExceeded, PolicyChanged
from schemas.events.proxy import ControlRefused, Heartbeat, ProxyStarted, ProxyStopped, SpoolDamaged, TextObserved
from schemas.events.session import AuthenticationFailed, ProtocolGap, SessionClosed, SessionOpened
from schemas.events.statement import (
    ColumnUse,
    Danger,
    Decision,
    ExecutionKind,
    Facts,
    Outcome,
    OutcomeStatus,
    QueryExecuted,
    StatementFlag,
    Verdict,
)

EVENT_TYPES: dict[str, type[Event]] = {
    cls.__name__: cls
    for cls in (
        QueryExecuted,
        SessionOpened,
        SessionClosed,
        AuthenticationFailed,
        ProtocolGap,
        ProxyStarted,
        ProxyStopped,
        Heartbeat,
        SpoolDamaged,
        ControlRefused,
        TextObserved,
        AdminActionPerformed,
        AuditTrailRead,
        PolicyChanged,
        LimitExceeded,
        ApprovalRequested,
        ApprovalDecided,
        ApprovalClosed,
        BreakGlassUsed,
    )
}

__all__ = [
    "EVENT_TYPES",
    "AdminActionPerformed",
    "ApprovalChannel",
    "ApprovalClosed",
    "ApprovalDecided",
    "ApprovalRequested",
    "ApprovalStatus",
    "ApproversNeeded",
    "AuditTrailRead",
    "AuthenticationFailed",
    "BreakGlassUsed",
    "Client",
    "ColumnUse",
    "ControlRefused",
    "Danger",
    "Database",
    "Decision",
    "DryRun",
    "Estimate",
    "Event",
    "ExecutionKind",
    "Facts",
    "Heartbeat",
    "LimitExceeded",
    "Outcome",
    "OutcomeStatus",
    "PolicyChanged",
    "Principal",
    "PrincipalKind",
    "ProtocolGap",
    "ProxyStarted",
    "ProxyStopped",
    "QueryExecuted",
    "SessionClosed",
    "SessionOpened",
    "SpoolDamaged",
    "StatementFlag",
    "TextObserved",
    "Verdict",
]
