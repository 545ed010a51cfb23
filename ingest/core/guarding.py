"""What a session asks of a guard, whatever makes the decisions: one ruling per statement, as bytes ready for its event.

A statement that is held waits for people. The session asks the guard for a `Hold`, stops reading that client's messages, and
tells the outside (`ingest.core.actions.Wait`); whoever hears of the end answers the session, which has it judged again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

DENIED = b"42501"
"""insufficient_privilege: what a client knows from any database that did not let it."""
QUERY_CANCELED = b"57014"
LIMIT_EXCEEDED = b"53400"
"""configuration_limit_exceeded: asking again at once will not help."""


class Bound(NamedTuple):
    """What a statement is held to while it runs, or (kinds requests, requests_hourly) what kept it from asking for an approval.

    `kind`: rows, bytes or seconds of the statement, session_rows or session_bytes of all of the session's; `at` is the most there
    may be. With kind grant, `limit` is the id of a grant that must stay in force. `enforced` is false where it is only recorded.
    """

    kind: str
    at: int
    limit: str
    reason: str
    enforced: bool = True


class Judgement:
    """A ruling as a session needs it: the event's `decision`, and what to tell the client if the statement is stopped.

    `stops` is whether the statement must not reach the database as things are; `holds` what an approval would have to satisfy,
    None where none would help; `bounds` is what it is held to if it runs.
    """

    __slots__ = ("bounds", "fragment", "hint", "holds", "message", "sqlstate", "stops")

    def __init__(
        self,
        fragment: bytes,
        stops: bool,
        message: str = "",
        hint: str = "",
        holds: Any = None,
        sqlstate: bytes = DENIED,
    ) -> None:
        self.fragment = fragment
        self.stops = stops
        self.message = message
        self.hint = hint
        self.holds = holds
        self.sqlstate = sqlstate
        self.bounds: tuple[Bound, ...] = ()


class Answer(NamedTuple):
    """How a wait ended: `status` is one of `schemas.events.ApprovalStatus`, `approval` what the guard takes for one (or None).

    `reason` is for the client and the trail; `deciders` are those whose decisions counted.
    """

    status: str
    reason: str = ""
    deciders: tuple[str, ...] = ()
    approval: Any = None


class Hold:
    """A statement that waits. `asked` and `body` (of its ApprovalRequested event) are the guard's; the session only keeps them.

    `at` is since when, `expires_at` until when at most (µs); `message`, `detail` and `hint` are for the client. `sql` is the
    statement as it came and `bound` its parameters' message, if it has any: for an estimate, never for an event. `long_text` is
    the normalised text where it is too long to stand in `body`. `seen_through`: what it calls was resolved by a catalogue.
    `settings`: what the server last reported of the session's settings.
    """

    __slots__ = (
        "approval_id", "asked", "at", "body", "bound", "context", "detail", "expires_at", "hint", "long_text", "message", "oids",
        "params", "search_path", "seen_through", "settings", "sql", "text_hash",
    )  # fmt: skip

    def __init__(
        self, approval_id: str, at: int, expires_at: int, asked: Any, body: bytes, message: str, detail: str, hint: str
    ) -> None:
        self.approval_id = approval_id
        self.at = at
        self.expires_at = expires_at
        self.asked = asked
        self.body = body
        self.message = message
        self.detail = detail
        self.hint = hint
        self.text_hash = ""
        self.long_text = ""
        self.params: tuple[str, ...] = ()
        self.search_path: tuple[str, ...] = ()
        self.seen_through = False
        self.settings: dict[str, str] = {}
        self.context = b""
        self.sql = b""
        self.bound = b""
        self.oids: tuple[int, ...] = ()


class Emergency(NamedTuple):
    """A statement that would be held and is let through at once: the approval to judge it with, and its event's body."""

    approval: Any
    body: bytes
    text_hash: str = ""
    long_text: str = ""


class Request(NamedTuple):
    """What is sent together and would wait together: statements, the tokens of all their values, and where it stands."""

    statements: Sequence[Any]
    params: tuple[str, ...]
    claims: Mapping[str, str]
    kind: bytes
    transaction: bytes


class SessionGuard(ABC):
    """Decides for one session. To be inherited, and no Protocol, for calls to be direct where both are compiled."""

    @abstractmethod
    def judge(self, statement: Any, claims: Mapping[str, str], now: int, approval: Any = None) -> Judgement:
        """Decide on a statement (of `processors.statements`, or another protocol's) that arrived at `now` (µs).

        Never raises: what cannot be decided is stopped.
        """

    @abstractmethod
    def passing(self, statement: Any, claims: Mapping[str, str], now: int) -> Judgement | None:
        """Decide like `judge` on a statement if it passes; None where it is stopped or held: `judge` is asked then.

        Only for a statement that shows nothing sensitive (`Masking.sight` is None), or where nothing is masked.
        """

    @abstractmethod
    def ask(self, request: Request, judgements: Sequence[Judgement], now: int) -> Hold | Emergency | Judgement:
        """Say how a request that is held waits; a judgement where it cannot, which stops it. Never raises.

        `bounds` of such a judgement are limits that kept it from asking.
        """

    @abstractmethod
    def differs(self, hold: Hold, statements: Sequence[Any]) -> str:
        """Return how statements about to be released are not, or do more than, what was asked; empty if they are as shown."""

    @abstractmethod
    def unreleased(self, hold: Hold, answer: Answer, judgement: Judgement) -> Judgement:
        """Return what is said of a held statement, judged as before, that is not let through."""

    @abstractmethod
    def lapsed(self, grant: str, now: int) -> bool:
        """Whether a grant that a statement was let through by is not in force any more."""
