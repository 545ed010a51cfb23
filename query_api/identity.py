"""Who asks, what they may, and how their asking is recorded: the three things `deploy` wires into the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from schemas.events import Principal, PrincipalKind


class Role(StrEnum):
    """What an identity may do. Analysts and auditors read the trail, approvers decide held statements, admins all of it."""

    ANALYST = "analyst"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"


READERS = frozenset({Role.ANALYST, Role.AUDITOR, Role.ADMIN})
"""Who reads events and sessions."""
APPROVERS = frozenset({Role.APPROVER, Role.ADMIN})
"""Who may decide on held statements, as far as the groups of each request allow."""
ANYONE = frozenset(Role)
"""Whoever holds any role."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a credential stands for. `kind` is a PrincipalKind's value."""

    principal: str
    kind: str
    roles: frozenset[str]
    groups: tuple[str, ...] = ()
    on_behalf_of: str = ""
    delegation: tuple[str, ...] = ()
    credential_id: str = ""
    auth_method: str = "token"

    def as_principal(self) -> Principal:
        """The principal as it stands in events."""
        return Principal(
            id=self.principal,
            kind=PrincipalKind(self.kind),
            groups=self.groups,
            auth_method=self.auth_method,
            credential_id=self.credential_id,
            on_behalf_of=self.on_behalf_of,
            delegation=self.delegation,
        )


Authenticate = Callable[[str], Identity | None]
"""The identity of a token, or None: unknown, expired, revoked. Called in threads, for every request."""

Approver = Callable[[str], Principal | None]
"""Somebody by name, as their tokens with the role approver or admin describe them now; None without such. Called in threads."""

Barring = Callable[[Sequence[str]], str]
"""The first of somebody's names whose person is suspended, empty if none is. Raises UntoldError.

Called on the loop, too: it never waits.
"""


class UntoldError(Exception):
    """Whether somebody is suspended cannot be told now; the text says why."""


Clock = Callable[[], int]
"""Microseconds since the Unix epoch, UTC."""


class Recorder(Protocol):
    """Writes an `AuditTrailRead`. Called in threads, before the rows are given out: if it raises, nothing is given."""

    def record_read(self, identity: Identity, client_address: str, endpoint: str, query: str, rows: int) -> None:
        """Record that `identity` read `rows` rows through `endpoint` by the search `query`."""
