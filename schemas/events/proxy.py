"""Events of a source itself: its life, its pulse, damage it found, and long texts it refers to."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStarted(Event):
    """First event of an epoch. `recovered_*` count what the previous epoch's spool still held."""

    version: str
    host: str
    pid: int
    role: str
    recovered_events: int = 0
    recovered_unknown: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStopped(Event):
    """Last event of an epoch that ended in order."""

    reason: str
    statements: int = 0
    passed_unaudited: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Event):
    """Sent when nothing else was: silence without it is a hole. Counts are since the epoch began."""

    open_sessions: int
    open_statements: int
    statements: int = 0
    passed_unaudited: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRefused(Event):
    """Somebody wrote to the control topic what is not believed: `reason` says why, for the last of `count` such messages.

    `key` is what that one claimed to be about (`approval/…`, `grant/…`, `principal/…`), cut at 200 characters. Each proxy worker
    that reads the topic says so, at most once a second, and again when it reads the topic after a restart.
    """

    key: str
    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolDamaged(Event):
    """Recovery met bytes it could not read. The damaged file is kept beside the spool under `file`."""

    file: str
    offset: int
    bytes_lost: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextObserved(Event):
    """A normalised text too long to stand in each event, once per hash and epoch."""

    text_hash: str
    text: str
