"""Who asks, what they may, and how their asking is recorded: the three things `deploy` wires into the API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """What an identity may do. Analysts and auditors read the trail, approvers decide held statements, admins all of it."""

    ANALYST = "analyst"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"


READERS = frozenset({Role.ANALYST, Role.AUDITOR, Role.ADMIN})
"""Who reads events and sessions."""
ANYONE = frozenset(Role)
"""Whoever holds any role."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a credential stands for. `kind` is a PrincipalKind's value."""

    principal: str
    kind: str
    roles: frozenset[str]


Authenticate = Callable[[str], Identity | None]
"""The identity of a token, or None: unknown, expired, revoked. Called in threads, for every request."""

Clock = Callable[[], int]
"""Microseconds since the Unix epoch, UTC."""


class Recorder(Protocol):
    """Writes an `AuditTrailRead`. Called in threads, before the rows are given out: if it raises, nothing is given."""

    def record_read(self, identity: Identity, client_address: str, endpoint: str, query: str, rows: int) -> None:
        """Record that `identity` read `rows` rows through `endpoint` by the search `query`."""
