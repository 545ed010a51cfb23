"""Events of a client connection: opened, closed, refused, or no longer understood."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events.base import Client, Database, Event, Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(Event):
    """A client logged in and the database accepted the proxy's own login for it."""

    session_id: str
    principal: Principal
    database: Database
    db_user: str
    client: Client
    server_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Event):
    """A session ended. `reason`: terminated, client_lost, server_lost, killed, error, shutdown. `at` is the end."""

    session_id: str
    principal: Principal
    database: Database
    db_user: str
    client: Client
    reason: str
    statements: int
    bytes_in: int
    bytes_out: int
    duration_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationFailed(Event):
    """A login was refused. `reason` is our word, never the credential.

    `claimed` and `database` are what was sent where that is a name we know; else its token `name:…`, for people paste
    passwords into the wrong field. `count` is how many this stands for: of one who is refused over and over before any credential
    was looked at (too many connections, what is no startup packet …) the first are told one by one, more of them together.
    """

    claimed: str
    database: str
    client: Client
    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolGap(Event):
    """Bytes the proxy could not parse as the protocol; the session is closed after it. `origin`: client or server."""

    session_id: str
    origin: str
    reason: str
    bytes_unparsed: int
    client: Client
