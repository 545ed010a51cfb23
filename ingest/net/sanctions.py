"""Who may be connected? Nobody who is suspended, or acts for somebody who is; and no session that was killed.

Both are said on the control topic. A suspension reaches every name that may be the same person's (`schemas.suspensions`), and the
whole delegation: an agent's sessions end with those of the person it acts for, and of every actor between. What cannot be read
is taken for a suspension. Logins wait a moment for the topic to be known, and are refused while it never was since the start, or
for longer than `identity.max_control_stale_seconds`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingest.identity.tokens import Credential
from schemas.control import GrantChanged, SessionKilled, Unreadable, grant_key, session_key
from schemas.suspensions import Suspensions, involved

if TYPE_CHECKING:
    from ingest.net.connection import Connection
    from ingest.net.control import Change, Control

KNOWN_WAIT_SECONDS = 5.0
"""How long a login right after the start waits for the topic's first reading."""


class Sanctions:
    """Applies what the control topic says to logins and open connections. Everything here is on the loop."""

    def __init__(
        self, control: Control, connections: set[Connection], max_stale_seconds: float, clock: Callable[[], int]
    ) -> None:
        self._clock = clock
        self._suspensions = Suspensions()
        self._control = control
        self._connections = connections
        self._max_stale = max_stale_seconds
        control.subscribe(self._heard)

    async def unknown(self) -> str:
        """Return why it cannot be told who is suspended; empty if it can. Waits a moment after the start."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + KNOWN_WAIT_SECONDS
        while not self._control.known and loop.time() < deadline:  # noqa: ASYNC110 - only just after the start
            await asyncio.sleep(0.02)
        if self._control.stale_seconds <= self._max_stale:
            return ""
        return self._control.problem or "the control topic was not read for too long"

    def suspended(self, credential: Credential) -> str:
        """Return whose suspension bars this credential, empty if nobody's."""
        return self._suspensions.barring(involved(credential.principal()), self._clock())

    def barred(self, name: str) -> bool:
        """Tell whether the person of a name is suspended."""
        return bool(self._suspensions.suspending(name, self._clock()))

    def ended_grant(self, credential: Credential) -> str:
        """Return the grant that this credential depends on if it is not in force, empty otherwise."""
        if not credential.grant_id:
            return ""
        grant = self._control.get(grant_key(credential.grant_id))
        return "" if isinstance(grant, GrantChanged) and not grant.revoked else credential.grant_id

    def _heard(self, change: Change) -> None:
        key, message = change.key, change.message
        if self._suspensions.take(key, message):
            for connection in list(self._connections):
                credential = connection.credential
                if credential is not None and (by := self.suspended(credential)):
                    connection.kill("28000", f"session ended: {by} is suspended", "suspended", cancel=True)
        elif isinstance(message, SessionKilled) or (isinstance(message, Unreadable) and key.startswith(session_key(""))):
            for connection in list(self._connections):
                session = connection.session
                if session is not None and session_key(session.session_id) == key:
                    connection.kill("57P01", "session ended by an administrator", "killed", cancel=True)
        elif key.startswith(grant_key("")):
            for connection in list(self._connections):
                connection.look()
