"""What every event carries, and the nouns several events share: who, from where, to which database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PrincipalKind(StrEnum):
    """What sort of actor a principal is."""

    HUMAN = "human"
    AGENT = "agent"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The envelope. (source, epoch, seq) is unique and gapless per source and epoch; `event_id` is a UUIDv7."""

    type: str
    v: int
    source: str
    epoch: int
    seq: int
    event_id: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who acts. `delegation` runs from the actor to the one it finally acts for, the actor excluded."""

    id: str
    kind: PrincipalKind
    groups: tuple[str, ...] = ()
    auth_method: str = "token"
    credential_id: str = ""
    on_behalf_of: str = ""
    delegation: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Which database: its configured alias, engine, environment, and the name the server knows it by."""

    alias: str
    engine: str
    environment: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where a connection came from, as it says itself (`application`, `driver`) and as the socket says."""

    address: str
    application: str = ""
    driver: str = ""
    tls: str = ""
