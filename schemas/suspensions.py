"""Who is barred? Whom a suspension names, in any spelling of that person's name, and whoever acts for them.

Names that may be one person's count as one, by the rule of four eyes (`schemas.approvals.same_person`): whoever suspends `dana`
means `Dana@example.com` as well, with whatever credential. Wrongly taken for one, somebody is barred until the suspension names a
full address; wrongly taken for two, somebody who was suspended goes on. What cannot be read counts as a suspension.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas.approvals import person, same_person
from schemas.control import Message, PrincipalSuspended, Unreadable, principal_key
from schemas.events import Principal

_PREFIX = principal_key("")


def involved(principal: Principal) -> tuple[str, ...]:
    """Return every name that somebody acts as or for."""
    return tuple(dict.fromkeys((principal.id, *principal.delegation, *filter(None, (principal.on_behalf_of,)))))


class Suspensions:
    """What holds now, from control messages in their order. A look costs the same however many there are."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, PrincipalSuspended | Unreadable]] = {}
        """By what names of one person have in common, the suspensions by the name they name."""

    def take(self, key: str, message: Message | Unreadable | None) -> bool:
        """Take what is newest of a subject, None for nothing; return whether it bars somebody. Other subjects are no concern."""
        if not key.startswith(_PREFIX):
            return False
        name = key.removeprefix(_PREFIX)
        same = self._of.setdefault(person(name), {})
        if isinstance(message, PrincipalSuspended | Unreadable):
            same[name] = message
            return True
        same.pop(name, None)
        if not same:
            del self._of[person(name)]
        return False

    def clear(self) -> None:
        """Forget everything: the topic is read anew."""
        self._of.clear()

    def barring(self, names: Iterable[str], now: int) -> str:
        """Return the first of these names whose person is suspended at `now` (µs), empty if nobody's is."""
        return next((name for name in names if self.suspending(name, now)), "")

    def suspending(self, name: str, now: int) -> list[str]:
        """Return the names by which the person of a name is suspended at `now` (µs)."""
        held = self._of.get(person(name), {})
        return [by for by, m in held.items() if same_person(by, name) and (isinstance(m, Unreadable) or m.holds(now))]
