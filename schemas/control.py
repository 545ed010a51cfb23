"""What is told to the proxies: control messages, one frozen dataclass each, on the compacted topic `affidavit.control`.

A message is about one subject, its `key`; the newest of a key, in the log's order, is what holds, until the time `expires_at`
if it has one. Each is signed (`schemas.control_keys`); a tombstone means nothing. Compatibility is as for events: fields are
only added, with a default, and `v` counts up when a reader must know. A type that a reader does not know is no concern of it; a
message of a known type that it cannot read is `Unreadable`, and whoever decides about that subject denies.

`at` counts up on each subject: whoever says something reads what is newest and is later than that (`later`), whatever its clock
says. So no clock decides, and what was said once and is published again by somebody else is told from news by its `at` alone.

`publish` writes. It never repeats by itself: a call that raised LogUnavailableError may have written or not,
and another person may have written since, so look before you repeat it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.control_keys import ControlSigner, ControlTrust
from schemas.log import Log, NewRecord
from schemas.topics import CONTROL

MAX_MESSAGE_BYTES = 64 * 1024
"""A message is a few names and numbers; a larger one is a mistake and never written, nor read."""

PIPELINE_KEY = "pipeline"
"""The subject of what is told to the pipelines."""


class ControlError(Exception):
    """A message cannot be written as given; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlMessage:
    """What every message has: when (µs UTC) and by whom it was said, and until when it holds (0: until something newer)."""

    at: int
    actor: str
    expires_at: int = 0

    @property
    def key(self) -> str:
        """The subject: what is said about it replaces what was said before."""
        raise NotImplementedError

    def holds(self, now: int) -> bool:
        """Whether the message has not expired."""
        return not self.expires_at or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided(ControlMessage):
    """Somebody approved or denied a held statement. `binding`: what it is bound to, as the request named it. Valid once.

    `principal`, `kind`, `groups` and `acts_for` are the decider's, as their credential says (`schemas.approvals.Decider`). Each
    has a message of their own, so that of several who decide at once none replaces another's; the proxy counts. One that names
    no principal counts for nothing. Give `expires_at` of the request.
    """

    type: Literal["ApprovalDecided"] = "ApprovalDecided"
    v: Literal[1] = 1
    approval_id: str
    approved: bool
    binding: str = ""
    reason: str = ""
    principal: str = ""
    kind: str = ""
    groups: tuple[str, ...] = ()
    acts_for: tuple[str, ...] = ()
    channel: str = ""

    @property
    def key(self) -> str:
        """One for each approval and decider."""
        return approval_key(self.approval_id, self.principal)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalSuspended(ControlMessage):
    """A principal may not log in, and its sessions end."""

    type: Literal["PrincipalSuspended"] = "PrincipalSuspended"
    v: Literal[1] = 1
    principal: str
    reason: str = ""

    @property
    def key(self) -> str:
        """One for each principal, shared with its resumption."""
        return principal_key(self.principal)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalResumed(ControlMessage):
    """A suspension is over."""

    type: Literal["PrincipalResumed"] = "PrincipalResumed"
    v: Literal[1] = 1
    principal: str
    reason: str = ""

    @property
    def key(self) -> str:
        """One for each principal, shared with its suspension."""
        return principal_key(self.principal)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKilled(ControlMessage):
    """An open session ends. Give `expires_at`, about a day later: no session ever has the same id."""

    type: Literal["SessionKilled"] = "SessionKilled"
    v: Literal[1] = 1
    session_id: str
    reason: str = ""

    @property
    def key(self) -> str:
        """One for each session."""
        return session_key(self.session_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantChanged(ControlMessage):
    """A principal may do more until `expires_at` on these databases (none named: all), or no longer (`revoked`).

    It acts with these `groups` too, and policy sees that these `verbs` on these `objects`, and data of these `classes`, are
    granted (`processors.policy.grants` says how they match; what is not named is not granted). `delegated`: whoever acts on
    behalf of the principal has it as well.
    """

    type: Literal["GrantChanged"] = "GrantChanged"
    v: Literal[1] = 1
    grant_id: str
    principal: str
    groups: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    reason: str = ""
    revoked: bool = False
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    delegated: bool = False

    @property
    def key(self) -> str:
        """One for each grant."""
        return grant_key(self.grant_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueTagged(ControlMessage):
    """A column (or with `column` empty a whole table) holds data of these classes; none: it holds nothing sensitive."""

    type: Literal["CatalogueTagged"] = "CatalogueTagged"
    v: Literal[1] = 1
    database: str
    schema: str
    table: str
    column: str = ""
    classes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def key(self) -> str:
        """One for each column."""
        return catalogue_key(self.database, self.schema, self.table, self.column)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineResumed(ControlMessage):
    """What made blocks be rejected is mended: pipelines that stopped over too many begin to count anew. No concern of proxies."""

    type: Literal["PipelineResumed"] = "PipelineResumed"
    v: Literal[1] = 1
    reason: str = ""

    @property
    def key(self) -> str:
        """One for all pipelines of the log."""
        return PIPELINE_KEY


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What was said about `key` cannot be read here: a newer version's, or damage. Deny what depends on it."""

    key: str
    problem: str


Message: TypeAlias = (
    ApprovalDecided | PrincipalSuspended | PrincipalResumed | SessionKilled | GrantChanged | CatalogueTagged | PipelineResumed
)

M = TypeVar("M", bound=ControlMessage)

CONTROL_TYPES: dict[str, type[Message]] = {
    cls.__name__: cls
    for cls in (
        ApprovalDecided,
        PrincipalSuspended,
        PrincipalResumed,
        SessionKilled,
        GrantChanged,
        CatalogueTagged,
        PipelineResumed,
    )
}

_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


def approval_key(approval_id: str, principal: str = "") -> str:
    """Return the subject of somebody's decision on an approval; without a principal, what such keys begin with."""
    return f"approval/{approval_id}/{principal}" if principal else f"approval/{approval_id}"


def principal_key(principal: str) -> str:
    """Return the subject of suspensions."""
    return f"principal/{principal}"


def session_key(session_id: str) -> str:
    """Return the subject of a session's end."""
    return f"session/{session_id}"


def grant_key(grant_id: str) -> str:
    """Return the subject of a grant."""
    return f"grant/{grant_id}"


def catalogue_key(database: str, schema: str, table: str, column: str = "") -> str:
    """Return the subject of a column's classes; names may hold any character."""
    return f"catalogue/{orjson.dumps([database, schema, table, column]).decode()}"


def encode(message: Message) -> bytes:
    """Return a message as JSON; raises ControlError for one that no reader would take."""
    data = orjson.dumps(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise ControlError(f"control message {message.type} has {len(data)} bytes, more than {MAX_MESSAGE_BYTES}: shorten it")
    back = decode(message.key, data)
    if isinstance(back, Unreadable):
        raise ControlError(f"control message {message.type} is not valid: {back.problem}")
    return data


def decode(key: str, data: bytes) -> Message | Unreadable | None:
    """Read a message found under `key`; None for a type unknown here."""
    if len(data) > MAX_MESSAGE_BYTES:
        return Unreadable(key, f"{len(data)} bytes")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return Unreadable(key, "not JSON")
    name = value.get("type") if isinstance(value, dict) else None
    if not isinstance(name, str):
        return Unreadable(key, "it has no type")
    cls = CONTROL_TYPES.get(name)
    if cls is None:
        return None
    adapter = _ADAPTERS.setdefault(name, TypeAdapter(cls)) if name not in _ADAPTERS else _ADAPTERS[name]
    try:
        message: Message = adapter.validate_json(data, strict=True)
    except ValidationError as error:
        at = ", ".join(sorted({".".join(str(part) for part in detail["loc"]) for detail in error.errors()}))
        return Unreadable(key, f"{name} is not as this version knows it: {at}")
    return message if message.key == key else Unreadable(key, f"{name} is about another subject")


def publish(log: Log, messages: Iterable[Message], signer: ControlSigner) -> None:
    """Say something, durably; see the top about repeating. Raises ControlError, LogError, LogUnavailableError."""
    said = [(message.key.encode(), encode(message)) for message in messages]
    log.append(CONTROL.name, [NewRecord(key, value, signer.headers(key, value)) for key, value in said])


def outdated(newest: object, message: object) -> bool:
    """Whether a message is older than what is known of its subject: what was said once, and published again by somebody else.

    Of two that were said at the same microsecond one is the older for everybody, in whichever order they are read.
    """
    if not (isinstance(newest, ControlMessage) and isinstance(message, ControlMessage)):
        return False
    return message.at < newest.at or (message.at == newest.at and orjson.dumps(message) < orjson.dumps(newest))


def later(message: M, newest: object) -> M:
    """Return a message with an `at` after that of what is newest of its subject, if that is none already."""
    if isinstance(newest, ControlMessage) and message.at <= newest.at:
        return replace(message, at=newest.at + 1)
    return message


def standing(log: Log, trust: ControlTrust, *subjects: str) -> dict[str, Message | Unreadable]:
    """Read the topic from its beginning; return what is newest of each subject, by key, in the order it was said.

    `subjects` are what keys begin with; others are passed over unread, for a signature costs 0.1 ms. What nobody believes, and
    what is outdated, counts for nothing. Raises LogError.
    """
    newest: dict[str, Message | Unreadable] = {}
    offset, end = 0, log.end_offset(CONTROL.name)
    while offset < end and (records := log.read(CONTROL.name, offset, 1000)):
        for record in records:
            key = record.key.decode("utf-8", "replace")
            if not key.startswith(subjects) or trust.problem(record):
                continue
            message = decode(key, record.value)
            if message is not None and not outdated(newest.get(key), message):
                newest.pop(key, None)
                newest[key] = message
        offset = records[-1].offset + 1
    return newest


def pipeline_resumed_at(log: Log) -> int:
    """Return when it was last said that pipelines may go on, µs UTC; 0 if never. Reads the topic: for those that stopped.

    Raises LogError, LogUnavailableError.
    """
    newest = 0
    offset, end = 0, log.end_offset(CONTROL.name)
    while offset < end and (records := log.read(CONTROL.name, offset, 1000)):
        for record in records:
            message = decode(PIPELINE_KEY, record.value) if record.key == PIPELINE_KEY.encode() else None
            if isinstance(message, PipelineResumed):
                newest = message.at
        offset = records[-1].offset + 1
    return newest


def expired(log: Log, now: int) -> list[int]:
    """Return the offsets of messages that hold no more, for a log that can drop them: see `schemas.log.sqlite.SqliteLog.compact`.

    It must then drop what is older of their keys as well. Raises LogError, LogUnavailableError.
    """
    found: list[int] = []
    offset, end = 0, log.end_offset(CONTROL.name)
    while offset < end and (records := log.read(CONTROL.name, offset, 1000)):
        for record in records:
            message = None if record.tombstone else decode(record.key.decode("utf-8", "replace"), record.value)
            if isinstance(message, ControlMessage) and not message.holds(now):
                found.append(record.offset)
        offset = records[-1].offset + 1
    return found
