"""Test conversations, not methods: feed either side of a PostgreSQL session, see what leaves on the other and what is recorded.

A conversation is a list of (side, bytes). `play` runs it whole; `play_cut` cuts every entry as told (byte by byte, at
random), which must forward the same bytes and record the same events.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Any

from ingest.core.actions import Action, Close, Conclude, Forward, Intend, ObserveText, Record, Side, Wait, Waited
from ingest.core.guarding import Answer, Hold
from ingest.core.limits import Limits
from ingest.protocols.postgres.session import PostgresSession
from processors.statements import Analyser, Tokenizer

TOKENIZER = Tokenizer(b"k" * 32)
CLIENT_SIDE = Side.CLIENT
Step = tuple[Side, bytes]


def context(application: str) -> bytes:
    """Return a stand-in for the context fragment."""
    return b',"application":' + json.dumps(application).encode()


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return one protocol message."""
    return kind + pack(">I", len(body) + 4) + body


def client(*parts: bytes) -> Step:
    """What the client sends at once."""
    return Side.CLIENT, b"".join(parts)


def server(*parts: bytes) -> Step:
    """What the server sends at once."""
    return Side.SERVER, b"".join(parts)


def query(text: str) -> bytes:
    return message(b"Q", text.encode() + b"\0")


def parse(name: str, text: str, *oids: int) -> bytes:
    return message(
        b"P", name.encode() + b"\0" + text.encode() + b"\0" + pack(">H", len(oids)) + b"".join(pack(">I", o) for o in oids)
    )


def bind(portal: str, name: str, *values: bytes | None) -> bytes:
    body = portal.encode() + b"\0" + name.encode() + b"\0" + pack(">HH", 0, len(values))
    for value in values:
        body += pack(">i", -1) if value is None else pack(">I", len(value)) + value
    return message(b"B", body + pack(">H", 0))


def execute(portal: str = "", rows: int = 0) -> bytes:
    return message(b"E", portal.encode() + b"\0" + pack(">I", rows))


def describe(kind: str, name: str = "") -> bytes:
    return message(b"D", kind.encode() + name.encode() + b"\0")


def close(kind: str, name: str = "") -> bytes:
    return message(b"C", kind.encode() + name.encode() + b"\0")


SYNC, FLUSH, TERMINATE, COPY_DONE = message(b"S"), message(b"H"), message(b"X"), message(b"c")
PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE, NO_DATA = message(b"1"), message(b"2"), message(b"3"), message(b"n")
PORTAL_SUSPENDED, EMPTY_QUERY = message(b"s"), message(b"I")
COPY_IN = message(b"G", b"\0\0\0")
COPY_OUT = message(b"H", b"\0\0\0")


def copy_data(data: bytes) -> bytes:
    return message(b"d", data)


def row_description(*names: str) -> bytes:
    return message(b"T", pack(">H", len(names)) + b"".join(n.encode() + b"\0" + bytes(18) for n in names))


def row(*values: bytes) -> bytes:
    return message(b"D", pack(">H", len(values)) + b"".join(pack(">I", len(v)) + v for v in values))


def complete(tag: str) -> bytes:
    return message(b"C", tag.encode() + b"\0")


def ready(status: str = "I") -> bytes:
    return message(b"Z", status.encode())


def error(sqlstate: str, text: str = "no", severity: str = "ERROR") -> bytes:
    return message(b"E", b"S" + severity.encode() + b"\0C" + sqlstate.encode() + b"\0M" + text.encode() + b"\0\0")


def status(name: str, value: str) -> bytes:
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


@dataclass
class Heard:
    """What came of a conversation: bytes forwarded to either side, events in order of completion, how it closed."""

    to_client: bytes = b""
    to_server: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)
    other: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    closed: str = ""
    unordered: list[str] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    """What began to wait."""
    waited: list[tuple[str, str]] = field(default_factory=list)
    """What waits no more: (approval, status)."""

    def summary(self) -> list[tuple[str, str, str, int, int, str]]:
        """Return (kind, status, text, rows returned, rows affected, sqlstate) per event."""
        return [
            (
                e["kind"],
                e["outcome"]["status"],
                e["text"],
                e["outcome"]["rows_returned"],
                e["outcome"]["rows_affected"],
                e["outcome"]["sqlstate"],
            )
            for e in self.events
        ]


class Conversation:
    """One session under test, with a clock that moves 10 µs at every step."""

    def __init__(self, limits: Limits | None = None, **options: Any) -> None:
        self.heard = Heard()
        self.now = 1_000_000
        self._open: dict[int, tuple[Intend, int]] = {}
        self._numbers = 0
        self.session = PostgresSession(
            session_id="s1",
            context=context,
            client=b"{}",
            parameters={"standard_conforming_strings": "on", "client_encoding": "UTF8", "application_name": "t"},
            analyser=Analyser(TOKENIZER),
            tokenizer=TOKENIZER,
            limits=limits,
            **options,
        )

    def say(self, side: Side, data: bytes) -> None:
        """Feed bytes and carry out what the session answers."""
        self.now += 10
        self.carry_out(self.session.receive(side, data, self.now))

    def answer(self, approval_id: str, answer: Answer) -> None:
        """Somebody decided, or nobody did."""
        self.now += 10
        self.carry_out(self.session.answer(approval_id, answer, self.now))

    def lose(self, side: Side) -> None:
        """A side is gone."""
        self.now += 10
        self.carry_out(self.session.closed(side, self.now))

    def carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Forward(Side.CLIENT, data):
                    self.heard.to_client += data
                case Forward(_, data):
                    self.heard.to_server += data
                case Intend():
                    self._numbers += 1
                    action.ticket.intent = self._numbers
                    self._open[self._numbers] = (action, len(self.heard.to_server))
                case Conclude(ticket, outcome):
                    intent, _ = self._open.pop(ticket.intent)
                    line = b'{"at":%d%b%b%b%b}' % (intent.at, intent.dynamic, intent.context, intent.statement, outcome)
                    self.heard.events.append(json.loads(line))
                case Record(kind, _, body):
                    self.heard.other.append((kind, json.loads(b"{" + body[1:] + b"}")))
                case ObserveText(_, text):
                    self.heard.texts.append(text)
                case Wait(hold):
                    self.heard.holds.append(hold)
                case Waited(hold, status):
                    self.heard.waited.append((hold.approval_id, status))
                case Close(reason):
                    self.heard.closed = reason

    @property
    def open_intents(self) -> int:
        return len(self._open)

    def intended_at(self) -> list[int]:
        """Return, per open intent, how many bytes had gone to the server before it."""
        return [at for _, at in self._open.values()]


def play(steps: Sequence[Step], make: Callable[[], Conversation] = Conversation) -> Heard:
    """Run a conversation as it stands."""
    conversation = make()
    for side, data in steps:
        conversation.say(side, data)
    return conversation.heard


def cuts() -> list[Callable[[bytes], list[bytes]]]:
    """Ways to cut what is sent: not at all, byte by byte, and at random."""

    def at_random(seed: int) -> Callable[[bytes], list[bytes]]:
        def cut(data: bytes) -> list[bytes]:
            dice, pieces = random.Random(seed), []
            while data:
                size = dice.randint(1, 25)
                pieces.append(data[:size])
                data = data[size:]
            return pieces

        return cut

    return [lambda d: [d], lambda d: [d[i : i + 1] for i in range(len(d))], *(at_random(s) for s in range(5))]


def play_cut(
    steps: Sequence[Step], cut: Callable[[bytes], Iterable[bytes]], make: Callable[[], Conversation] = Conversation
) -> Heard:
    """Run it with every entry cut in pieces."""
    conversation = make()
    for side, data in steps:
        for piece in cut(data):
            conversation.say(side, piece)
    return conversation.heard
