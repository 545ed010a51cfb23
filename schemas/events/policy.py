"""Events of the policy in force."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged(Event):
    """A source read its policy bundle: at its start, and whenever the files change.

    `status`: loaded, or rejected where the new files cannot be used; then `bundle` stays in force and `problem` says why.
    `previous` is the version that was in force before; decisions name the version that made them.
    """

    bundle: str
    previous: str = ""
    status: str = "loaded"
    rules: int = 0
    problem: str = ""
