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


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitExceeded(Event):
    """A statement ran into a limit of the policy, or the grant it relied on ended, and was cancelled unless `enforced` is false.

    `kind` is what was limited, `at_most` to how much: rows, bytes, seconds, session_rows, session_bytes; with kind grant, `limit`
    is the grant's id. Kinds requests and requests_hourly: it did not even wait for an approval, for so many requests of its
    principal were open, or were raised within an hour. The statement is the one with this fingerprint that the session ran
    then; its own event says how it ended.
    """

    session_id: str
    limit: str
    kind: str
    at_most: int
    enforced: bool = True
    text_hash: str = ""
    fingerprint: str = ""
