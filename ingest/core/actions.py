"""What a session may ask of the outside: the whole vocabulary between protocol code and `ingest.net`.

A session is sans-IO: it is told what happened (`receive`, `closed`) and answers with actions, in order. The network
layer makes every `Intend` durable before any `Forward` to the server of the same batch leaves (invariant 1). What waits for
people is a `Wait`, and `answer` goes on with it.
The first three are made for every statement: plain slotted classes, the cheapest there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import ClassVar, Literal, NamedTuple, Protocol

from ingest.core.guarding import Answer, Hold


class Side(Enum):
    """The two ends of a proxied connection."""

    CLIENT = "client"
    SERVER = "server"


class Ticket(Protocol):
    """The session's handle of one execution.

    The network layer fills in the spool's number for it, or unsets `audited` where the statement passes without a record.
    """

    intent: int
    audited: bool


class Forward:
    """Send bytes to a side."""

    __slots__ = ("data", "to")
    __match_args__: ClassVar[tuple[Literal["to"], Literal["data"]]] = ("to", "data")

    def __init__(self, to: Side, data: bytes) -> None:
        self.to = to
        self.data = data


class Intend:
    """Write ahead that a statement is about to reach the server. Fragments are as `ingest.spool` joins them."""

    __slots__ = ("at", "context", "dynamic", "statement", "ticket")

    def __init__(self, ticket: Ticket, at: int, context: bytes, statement: bytes, dynamic: bytes) -> None:
        self.ticket = ticket
        self.at = at
        self.context = context
        self.statement = statement
        self.dynamic = dynamic


class Conclude:
    """Complete the event of a ticket."""

    __slots__ = ("outcome", "ticket")
    __match_args__: ClassVar[tuple[Literal["ticket"], Literal["outcome"]]] = ("ticket", "outcome")

    def __init__(self, ticket: Ticket, outcome: bytes) -> None:
        self.ticket = ticket
        self.outcome = outcome


class Record(NamedTuple):
    """Write any other event: its type, time (µs) and body fragment."""

    type: str
    at: int
    body: bytes


class ObserveText(NamedTuple):
    """A normalised text too long to stand in its events."""

    text_hash: str
    text: str


class Wait(NamedTuple):
    """A statement is held: see that somebody decides, and give the session its answer. No more is read from this client."""

    hold: Hold


class Waited(NamedTuple):
    """The wait of this hold is over; its events follow."""

    hold: Hold
    status: str


class Cancel(NamedTuple):
    """Have the database cancel what it runs for this session; nothing more of the client is read until it was told."""


class Close(NamedTuple):
    """End the connection: flush what was forwarded, then close both sides."""

    reason: str


Action = Forward | Intend | Conclude | Record | ObserveText | Wait | Waited | Cancel | Close


class Session(Protocol):
    """One proxied connection after login, of any protocol."""

    refusal: str
    """Why statements must be refused right now; empty when they need not."""

    def receive(self, origin: Side, data: bytes, now: int) -> Iterable[Action]:
        """Take bytes from a side at `now` (µs since the epoch) and say what to do."""

    def answer(self, approval_id: str, answer: Answer, now: int) -> Iterable[Action]:
        """End the wait of a held statement; nothing where it has ended otherwise."""

    def closed(self, origin: Side, now: int) -> Iterable[Action]:
        """A side is gone."""
