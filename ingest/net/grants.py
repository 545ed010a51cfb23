"""Which grants are in force? What the control topic says of them, by principal; on the event loop, like everything of `Control`.

A grant that cannot be read is none. One that has expired is none either, also if the clock goes back later. While the control
topic was not read for longer than `identity.max_grant_stale_seconds` there are none at all: a revocation could wait there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.guard.rights import LOOK_AGAIN_US, Held
from schemas.control import GrantChanged, grant_key

if TYPE_CHECKING:
    from ingest.net.control import Change, Control

_FAR = 3_600_000_000
_PREFIX = grant_key("")


class GrantBook:
    """The grants of everybody, as one worker knows them (`ingest.guard.rights.Grants`)."""

    def __init__(self, control: Control, max_stale_seconds: float) -> None:
        self.changes = 0
        self._control = control
        self._max_stale = max_stale_seconds
        self._by_principal: dict[str, dict[str, GrantChanged]] = {}
        self._owner: dict[str, str] = {}
        self._latest = 0
        control.subscribe(self._heard)

    def held(self, principal: str, behalf: tuple[str, ...], database: str, now: int) -> Held:
        """Return what somebody has been granted; see `Grants`."""
        now = self._latest = max(now, self._latest)
        found = list(self._by_principal.get(principal, {}).values())
        for person in behalf:
            found += [g for g in self._by_principal.get(person, {}).values() if g.delegated and person != principal]
        found = [g for g in found if g.holds(now) and (not g.databases or database in g.databases)]
        if not found:
            return Held((), now + _FAR)
        until = min(now + LOOK_AGAIN_US, *(g.expires_at for g in found if g.expires_at), now + _FAR)
        if self._control.stale_seconds > self._max_stale:
            return Held((), now + LOOK_AGAIN_US)
        return Held(tuple(sorted(found, key=lambda g: g.grant_id)), until)

    def _heard(self, change: Change) -> None:
        if not change.key.startswith(_PREFIX):
            return
        self.changes += 1
        owner = self._owner.pop(change.key, None)
        if owner is not None:
            theirs = self._by_principal[owner]
            del theirs[change.key]
            if not theirs:
                del self._by_principal[owner]
        message = change.message
        if isinstance(message, GrantChanged) and not message.revoked and message.holds(self._latest):
            self._owner[change.key] = message.principal
            self._by_principal.setdefault(message.principal, {})[change.key] = message
