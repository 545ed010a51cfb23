"""Events of the audit system's own use: administration, and reads of the trail."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.events.base import Client, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminActionPerformed(Event):
    """Someone changed the audit system, by CLI or API. `details` never holds a secret."""

    actor: str
    action: str
    target: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditTrailRead(Event):
    """Someone read the trail through the API: which endpoint, the search as asked, rows given."""

    actor: str
    role: str
    client: Client
    endpoint: str
    query: str = ""
    rows: int = 0
