"""The limits of every buffer in a session, each with its reason. Sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults suit a proxy that must stay under 150 MB with a thousand connections."""

    statement: int = MIB
    """Text gathered for analysis; longer statements stream through and are recorded as oversize."""
    bind: int = MIB
    """Parameters gathered for tokens; a longer Bind streams through and is recorded by one digest."""
    control: int = 64 * KIB
    """Any other message that must be read whole: names, portal numbers, notices of our own interest."""
    error: int = 320 * KIB
    """An answer read whole: a ParameterDescription of 65,535 types takes 256 KiB; errors are far shorter."""
    prepared: int = 20_000
    """Prepared statements remembered per session; an older one that is executed again is recorded as opaque."""
    portals: int = 10_000
    """Open portals remembered per session; the server's own memory ends sooner."""
    behind: int = 256 * KIB
    """Bytes a client sent behind a statement that waits for an approval; past it the client is not read from."""
    held_prepared: int = 256
    """Prepared statements that policy holds, kept under names of the proxy's own; each takes memory of the server, too."""
    pending: int = 200_000
    """Messages sent and not answered; past it the session is closed, for the peer is not reading."""
