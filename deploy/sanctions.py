"""Suspend a principal, end a session: what commands say to proxies and API, by the control topic, and to the trail.

The trail first: the admin action is in the identity store's outbox before the proxies hear of it, so that none goes unrecorded.
"""

from __future__ import annotations

import re
import secrets
import time
from unicodedata import category

from deploy.layout import DataDir
from ingest.identity.tokens import MAX_NAME_CHARS, TokenStore, is_name
from schemas.approvals import same_person
from schemas.config import Config
from schemas.control import (
    Message,
    PrincipalResumed,
    PrincipalSuspended,
    SessionKilled,
    Unreadable,
    later,
    outdated,
    principal_key,
    publish,
    standing,
)
from schemas.log import LogError
from schemas.log.place import LogPlace

KILL_HOLDS_US = 86_400_000_000
"""How long a killed session's id is kept on the topic: no session ever has it again."""
_SESSION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class SanctionError(Exception):
    """What was asked cannot be about anybody, or somebody else said another thing just then; the text says what to do."""


def _now() -> int:
    return time.time_ns() // 1000


def suspend(config: Config, principal: str, actor: str, reason: str, ttl_seconds: float | None) -> None:
    """Bar a principal, by any name that may be the same person's, and whoever acts for it; end their sessions.

    For `ttl_seconds`, or until resumed. Raises SanctionError for what can be no name.
    """
    _check_name(principal)
    now = _now()
    expires = 0 if ttl_seconds is None else now + int(ttl_seconds * 1_000_000)
    message = PrincipalSuspended(at=now, actor=actor, principal=principal, reason=reason, expires_at=expires)
    say(config, message, "principal.suspend", principal, {"reason": reason, "expires_at": str(expires)})


def resume(config: Config, principal: str, actor: str, reason: str) -> list[str]:
    """End the suspension of this very name; return other names whose suspensions go on barring the same person."""
    seen = "".join(c for c in principal if category(c) != "Cf")
    if seen == principal or not is_name(seen) or principal not in suspensions(config):  # names were once not all seen
        _check_name(principal)
    message = PrincipalResumed(at=_now(), actor=actor, principal=principal, reason=reason)
    say(config, message, "principal.resume", principal, {"reason": reason})
    return [name for name in suspensions(config) if name != principal and same_person(name, principal)]


def said(config: Config, subject: str) -> dict[str, Message | Unreadable]:
    """Return what the control topic says newest of subjects that begin so, see `standing`. Raises ControlKeyError, LogError."""
    data = DataDir(config.data_dir)
    data.prepare()
    trust = data.control_trust(config.log.kind)
    log = LogPlace.of(config.log, data.log, config.audit.durability).open(reads_only=True)
    try:
        return standing(log, trust, subject)
    finally:
        log.close()


def suspensions(config: Config) -> dict[str, PrincipalSuspended | Unreadable]:
    """Return the suspensions in force by the name that each names, oldest first. Raises ControlKeyError, LogError."""
    subject, now = principal_key(""), _now()
    return {
        key.removeprefix(subject): m
        for key, m in said(config, subject).items()
        if isinstance(m, Unreadable) or (isinstance(m, PrincipalSuspended) and m.holds(now))
    }


def kill_session(config: Config, session_id: str, actor: str, reason: str) -> None:
    """End one session, on whichever proxy it is. Raises SanctionError for what can be no session's id."""
    if not _SESSION_ID(session_id):
        raise SanctionError(f"{session_id[:60]!r} is no session's id; `affidavit session list --open` shows them")
    now = _now()
    message = SessionKilled(at=now, actor=actor, session_id=session_id, reason=reason, expires_at=now + KILL_HOLDS_US)
    say(config, message, "session.kill", session_id, {"reason": reason})


def _check_name(principal: str) -> None:
    if not is_name(principal):
        remedy = f"give 1 to {MAX_NAME_CHARS} characters without spaces or commas, as events name it (`affidavit session list`)"
        raise SanctionError(f"{principal[:60]!r} can be no principal: {remedy}")


def say(config: Config, message: Message, action: str, target: str, details: dict[str, str]) -> None:
    """Record an admin action and tell the proxies.

    What it says is later than what was said of the subject before, whatever this machine's clock says. Raises TokenStoreError,
    ControlKeyError (nothing done), LogError, ControlError, SanctionError (recorded).
    """
    data = DataDir(config.data_dir)
    data.prepare()
    signer = data.control_signer(config.log.kind)
    log = LogPlace.of(config.log, data.log, config.audit.durability).open()
    store = TokenStore(data.identity, _now, secrets.token_bytes)
    details = {name: value for name, value in details.items() if value}
    try:
        store.note_action(message.actor, action, target, details)
        try:
            trust = data.control_trust(config.log.kind)
            message = later(message, standing(log, trust, message.key).get(message.key))
            publish(log, [message], signer)
            if outdated(standing(log, trust, message.key).get(message.key), message):
                raise SanctionError(
                    f"somebody else said another thing about {target} at this moment: look what holds, and repeat"
                )
        except Exception as error:
            kind = "the log" if isinstance(error, LogError) else "another" if isinstance(error, SanctionError) else "the message"
            store.note_action(message.actor, f"{action}.failed", target, {"because": kind})
            raise
    finally:
        store.close()
        log.close()
