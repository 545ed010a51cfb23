"""`affidavit grant create | list | revoke`: rights for a time, told to the proxies by the control topic and to the trail.

The topic is the only place where grants are kept: `list` reads it from its beginning. A revocation keeps what was granted, so
that the list can show it until the grant would have expired anyway.
"""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy.sanctions import said, say
from ingest.identity.tokens import MAX_GROUPS, is_name
from schemas.classes import DataClass
from schemas.config import Config
from schemas.control import GrantChanged, grant_key

MAX_GRANT_SECONDS = 90 * 86_400
"""What is needed for longer is no grant but a group."""
MAX_ITEMS = 200
"""Verbs, objects or classes of one grant: people write and read these."""


class GrantError(Exception):
    """What was asked cannot be granted, or there is no such grant; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is granted. See `processors.policy.grants` for how each is matched."""

    databases: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    delegated: bool = False


def create(config: Config, principal: str, scope: Scope, until: int, reason: str, actor: str) -> str:
    """Grant `scope` to a principal until `until` (µs UTC); return the grant's id. Raises GrantError and what `say` raises."""
    now = time.time_ns() // 1000
    _check(config, principal, scope, until, now, reason)
    message = GrantChanged(
        at=now,
        actor=actor,
        expires_at=until,
        grant_id=f"g{secrets.token_hex(6)}",
        principal=principal,
        groups=scope.groups,
        databases=scope.databases,
        reason=reason,
        verbs=scope.verbs,
        objects=scope.objects,
        classes=scope.classes,
        delegated=scope.delegated,
    )
    say(config, message, "grant.create", message.grant_id, _details(message))
    return message.grant_id


def revoke(config: Config, grant_id: str, actor: str, reason: str) -> bool:
    """End a grant; False if it had ended already. Raises GrantError if there is none, and what `say` raises."""
    found = next((g for g in grants(config) if g.grant_id == grant_id), None)
    if found is None:
        raise GrantError(f"there is no grant {grant_id!r}; `affidavit grant list --all` shows them")
    now = time.time_ns() // 1000
    if found.revoked or not found.holds(now):
        return False
    message = replace(found, at=now, actor=actor, reason=reason or found.reason, revoked=True)
    say(config, message, "grant.revoke", grant_id, {"principal": found.principal, "reason": reason})
    return True


def grants(config: Config) -> list[GrantChanged]:
    """Return all grants that the control topic still has, also those that ended, oldest first.

    Raises ControlKeyError, LogError.
    """
    found = [m for m in said(config, grant_key("")).values() if isinstance(m, GrantChanged)]
    return sorted(found, key=lambda g: (g.at, g.grant_id))


def in_force(config: Config, grant_id: str, principal: str) -> None:
    """Raise GrantError unless this grant is the principal's and in force."""
    found = next((g for g in grants(config) if g.grant_id == grant_id), None)
    if found is None or state(found, time.time_ns() // 1000) != "in force" or found.principal != principal:
        raise GrantError(f"{principal or 'nobody'} has no grant {grant_id!r} in force; `affidavit grant list` shows them")


def state(grant: GrantChanged, now: int) -> str:
    """Return whether a grant is in force, in a word."""
    if grant.revoked:
        return "revoked"
    return "in force" if grant.holds(now) else "expired"


def _check(config: Config, principal: str, scope: Scope, until: int, now: int, reason: str) -> None:
    if not is_name(principal):
        raise GrantError(f"{principal[:60]!r} can be no principal")
    if not reason.strip():
        raise GrantError("say why with --reason: a grant without one cannot be judged later")
    if not now < until <= now + MAX_GRANT_SECONDS * 1_000_000:
        raise GrantError("a grant ends in the future, within 90 days; for what is needed longer, use a group")
    known = {d.alias for d in config.databases}
    if unknown := sorted(set(scope.databases) - known):
        raise GrantError(f"there is no database {', '.join(unknown)}; configured are: {', '.join(sorted(known))}")
    if not (scope.verbs or scope.groups):
        raise GrantError("name what is granted: --verbs with --objects or --classes, or --groups")
    if bool(scope.verbs) != bool(scope.objects or scope.classes):
        raise GrantError("verbs go with objects or classes: --verbs select --objects payroll.salaries; '*' is for all")
    if scope.classes and not scope.objects:
        raise GrantError("name the objects in which these classes may be seen; '*' is for all")
    classes = [str(c) for c in DataClass]
    if wrong := [c for c in scope.classes if c != "*" and c not in classes]:
        meant = _meant(wrong[0], classes) or f"there are: {', '.join(classes)}"
        raise GrantError(f"there is no data class {wrong[0][:60]!r}; {meant}")
    if wrong := [v for v in scope.verbs if v != "*" and v != v.lower()]:
        raise GrantError(f"verb {wrong[0][:60]!r} must be in small letters, as events have it: {wrong[0][:60].lower()}")
    _check_verbs(scope.verbs)
    for what, items in (("verbs", scope.verbs), ("objects", scope.objects), ("classes", scope.classes)):
        if len(items) > MAX_ITEMS:
            raise GrantError(f"{len(items)} {what} are more than {MAX_ITEMS}")
    if wrong := [o for o in scope.objects if o != "*" and ("." not in o or o.startswith(("?.", "*.", ".")))]:
        raise GrantError(f"object {wrong[0]!r} must be schema.name, schema.* or *")
    if wrong := [g for g in scope.groups if not is_name(g)]:
        raise GrantError(f"{wrong[0][:60]!r} can be no group")
    if len(scope.groups) > MAX_GROUPS:
        raise GrantError(f"{len(scope.groups)} groups are more than {MAX_GROUPS}")


def _check_verbs(verbs: tuple[str, ...]) -> None:
    from processors.statements.verbs import known_verbs

    if wrong := sorted(set(verbs) - {"*"} - (known := known_verbs())):
        meant = _meant(wrong[0], sorted(known)) or "events tell them (facts.verbs), such as select or drop_table"
        raise GrantError(f"there is no verb {wrong[0][:60]!r}; {meant}")


def _meant(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word[:60], known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def _details(grant: GrantChanged) -> dict[str, str]:
    lists = {"databases": grant.databases, "verbs": grant.verbs, "objects": grant.objects, "classes": grant.classes}
    lists["groups"] = grant.groups
    details = {"principal": grant.principal, "reason": grant.reason, "expires_at": str(grant.expires_at)}
    details |= {name: ",".join(items) for name, items in lists.items()}
    return details | ({"delegated": "true"} if grant.delegated else {})
