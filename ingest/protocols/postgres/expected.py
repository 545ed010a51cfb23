"""What the server owes, one entry per message it will answer, as the queue of a session holds it.

    message sent          entry                      answered and removed by
    Query                 Batch of executions        ReadyForQuery (each execution: CommandComplete | EmptyQuery | Error)
    FunctionCall          Batch of one               ReadyForQuery
    Parse                 Parsed                     ParseComplete
    Bind                  Simple.BIND                BindComplete
    Close                 Simple.CLOSE               CloseComplete
    Describe statement    Described                  ParameterDescription, then RowDescription | NoData
    Describe portal       Simple.DESCRIBE, or Described where the answer matters      RowDescription | NoData
    Execute               Execution                  CommandComplete | EmptyQuery | PortalSuspended
    Sync                  Simple.SYNC                ReadyForQuery
    CopyDone, CopyFail    Simple.COPY_END            nothing: a mark in the order, for Syncs that COPY swallows

An ErrorResponse in the extended protocol removes everything up to the next Sync.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any

from ingest.protocols.postgres.executions import Denial, Execution
from processors.statements import Statement


class Simple(Enum):
    """Entries that carry nothing."""

    BIND = "bind"
    CLOSE = "close"
    DESCRIBE = "describe"
    SYNC = "sync"
    COPY_END = "copy_end"


class Prepared:
    """A prepared statement: what its text is, the tokens of its literals, and its parameters' type OIDs.

    Until the server answers its Parse, `waiting` are the executions that rely on it. Should the server refuse or skip the Parse,
    the name still means `instead`; `parsed_at` is behind how many Syncs it was sent. `mentions` are the names in a statement that
    runs or fetches something by name. `denial` is set where the guard kept the Parse from the server. `own_name` is what the
    server knows it by, where that is not what the client calls it (see `holding`), and `text` the statement as it came.
    `description` is the body of the RowDescription that answered a Describe while `catalogue` was the newest snapshot.
    """

    __slots__ = (
        "catalogue", "claims", "denial", "description", "failed", "instead", "lexing", "literals", "mentions", "oids", "own_name",
        "parsed_at", "statement", "text", "waiting",
    )  # fmt: skip

    def __init__(self, statement: Statement, literals: tuple[str, ...], claims: dict[str, str], oids: tuple[int, ...]) -> None:
        self.statement = statement
        self.literals = literals
        self.claims = claims
        self.oids = oids
        self.waiting: list[Execution] | None = None
        self.failed = False
        self.instead: Prepared | None = None
        self.mentions: frozenset[bytes] | None = None
        self.denial: Denial | None = None
        self.own_name = b""
        self.parsed_at = 0
        self.text = b""
        self.lexing: object = None
        self.description = b""
        self.catalogue: object = None


class Portal:
    """A bound statement: tokens of literals and parameters, and what was already fetched from it.

    `granted` is the approval it was bound by (`holding.Granted`); `denial` is set where its Bind was kept from the server.
    `formats` are those its Bind asked for, None if not known; `described` is whether its own RowDescription was asked for,
    `description` the body of that.
    Rows and bytes are counted only where a limit is on them. `valued` is what its values make of its statement, where that
    depends on them, and of those that its name stood for before, should its Parse have failed (`Names.before`). `doubtful`: a
    portal of this name was open, and may still be the one executed.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "denial",
        "described",
        "description",
        "doubtful",
        "fetched",
        "formats",
        "granted",
        "params",
        "prepared",
        "rows",
        "valued",
    )  # fmt: skip

    def __init__(self, prepared: Prepared, params: Sequence[str], bytes_in: int) -> None:
        self.prepared = prepared
        self.params = params
        self.bytes_in = bytes_in
        self.fetched = False
        self.granted: Any = None
        self.denial: Denial | None = None
        self.described = False
        self.description = b""
        self.formats: tuple[int, ...] | None = None
        self.rows = self.bytes_out = 0
        self.valued: tuple[tuple[Prepared, Statement], ...] = ()
        self.doubtful = False

    def reading(self, prepared: Prepared) -> Statement:
        """Return what a statement that it may be bound to is with its values."""
        for valued, statement in self.valued:
            if valued is prepared:
                return statement
        return prepared.statement

    def shape(self, catalogue: object) -> tuple[bytes, tuple[int, ...] | None] | None:
        """Return a RowDescription's body for its rows, and formats where those are not in it; None if neither is known."""
        if self.description:
            return self.description, None
        prepared = self.prepared
        if prepared.description and self.formats is not None and prepared.mentions is None and prepared.catalogue is catalogue:
            return prepared.description, self.formats
        return None


class Batch:
    """A simple Query (or FunctionCall): its executions and which of them the server is at."""

    __slots__ = ("at", "denial", "executions")

    def __init__(self, executions: list[Execution], denial: Denial | None = None) -> None:
        self.executions = executions
        self.at = 0
        self.denial = denial


class Parsed:
    """A Parse: which name it set, to what, and what the name meant before, should the server refuse it."""

    __slots__ = ("before", "denial", "name", "prepared")

    def __init__(self, name: bytes, prepared: Prepared, before: Prepared | None) -> None:
        self.name = name
        self.prepared = prepared
        self.before = before
        self.denial: Denial | None = None


class Described:
    """A Describe whose answer is looked at: of a statement, it tells the parameters' types; of either, the result's columns.

    `ours`: the client did not ask, and does not get the answer.
    """

    __slots__ = ("ours", "portal", "prepared")

    def __init__(self, prepared: Prepared | None, portal: Portal | None = None, ours: bool = False) -> None:
        self.prepared = prepared
        self.portal = portal
        self.ours = ours


Expected = Batch | Parsed | Described | Execution | Simple


def owed(expected: deque[Expected]) -> Expected | None:
    """Return what the server will answer next: marks that it never answers are dropped on the way."""
    while expected and expected[0] is Simple.COPY_END:
        expected.popleft()
    return expected[0] if expected else None


def current(expected: deque[Expected]) -> Execution | None:
    """Return the execution that the server is at."""
    first = expected[0] if expected else None
    if type(first) is Execution:
        return first
    if type(first) is Batch and first.at < len(first.executions):
        return first.executions[first.at]
    return None
