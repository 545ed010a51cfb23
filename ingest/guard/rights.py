"""Whom is a session's statement judged as, with what has been granted until now?

Grants (`schemas.control.GrantChanged`) change what a principal is: more groups, more objects. They are asked for anew whenever
one began or ended, when the next one ends, and once a second while there are any, so that a control topic out of reach ends them:
what cannot be known to hold does not.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from processors.policy import Values
from schemas.control import GrantChanged

LOOK_AGAIN_US = 1_000_000
"""How long grants are believed without looking whether the control topic is still within reach."""


class Held(NamedTuple):
    """The grants somebody has, and until when (µs) that need not be asked again."""

    grants: tuple[GrantChanged, ...] = ()
    until: int = 0


class Grants(Protocol):
    """Whoever knows which grants are in force."""

    changes: int
    """Counts up whenever a grant begins, changes or is revoked."""

    def held(self, principal: str, behalf: tuple[str, ...], database: str, now: int) -> Held:
        """Return what `principal`, acting for those in `behalf`, has been granted on the database of this alias."""


class NoGrants:
    """Where nothing tells of grants there are none."""

    changes = 0

    def held(self, principal: str, behalf: tuple[str, ...], database: str, now: int) -> Held:
        """None, for a long time."""
        return Held((), now + 3_600_000_000)


class Acting(NamedTuple):
    """One of those as whom a session is judged: its values with what is granted, and the grants."""

    values: Values
    grants: tuple[GrantChanged, ...]


def acting(subject: Values, grants: Grants, now: int) -> tuple[Acting, int]:
    """Return a subject as it is at `now` (µs), and until when that holds. Raises nothing of its own."""
    behalf = tuple(subject["principal.delegation"])
    held = grants.held(str(subject["principal.id"]), behalf, str(subject["database.alias"]), now)
    if not held.grants:
        return Acting(subject, ()), held.until
    values = dict(subject)
    values["principal.groups"] = list(dict.fromkeys((*subject["principal.groups"], *(g for x in held.grants for g in x.groups))))
    values["principal.grants"] = [g.grant_id for g in held.grants]
    return Acting(values, held.grants), held.until
