"""Step 2: what do the lines say? Reads NDJSON at a cost that is mostly per distinct session and statement, not per event.

A QueryExecuted line is four runs of members, in this order: what changes with every execution, the session's context, the
statement, the outcome. The second and third repeat, byte for byte, so they are cut out, parsed once and pointed to; only the
first and last are parsed each time. The cuts are safe: each piece must parse as an object of its own with exactly the members
expected, and pieces that do are, joined, the line. Any line for which that fails is read whole and validated by the event's own
type; a line that fails that too is kept as unreadable, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from processors.steps.work import Batch, Line, Other, Queries, State
from schemas.events import Client, Database, Facts, Principal, QueryExecuted

KNOWN_VERSION = 1
"""The newest version of QueryExecuted whose every field has a column."""

UNREADABLE = "Unreadable"
"""The `type` under which lines are kept that are no event we can read."""

_CONTEXT = frozenset({"session_id", "principal", "database", "db_user", "client"})
_STATEMENT = frozenset({"text", "text_hash", "fingerprint", "facts"})
_OUTCOME = frozenset({"ended_at", "outcome", "exposure"})
_HEAD = frozenset(
    {"type", "v", "source", "epoch", "seq", "event_id", "at", "kind", "transaction", "params", "claims", "decision"}
)
_PREFIX = b'{"type":"QueryExecuted","v":1,'


def read(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Parse the lines of the blocks the store does not have yet."""
    reader = _Reader()
    for index, arrived in enumerate(batch.fresh):
        for seq, data in enumerate(arrived.block.lines(), arrived.block.header.first_seq):
            reader.line(Line(index, seq, data))
    unreadable = sum(o.type == UNREADABLE for o in reader.others)
    state = replace(state, unreadable=state.unreadable + unreadable)
    return state, replace(batch, queries=reader.queries(), others=tuple(reader.others))


class _Reader:
    """Collects one batch's events; its caches live no longer than the batch."""

    def __init__(self) -> None:
        self.others: list[Other] = []
        self._lines: list[Line] = []
        self._heads: list[Mapping[str, Any]] = []
        self._outcomes: list[Mapping[str, Any]] = []
        self._context_of: list[int] = []
        self._statement_of: list[int] = []
        self._contexts: dict[bytes, int] = {}
        self._statements: dict[bytes, int] = {}
        self._context_values: list[Mapping[str, Any]] = []
        self._statement_values: list[Mapping[str, Any]] = []
        self._newer: dict[int, bytes] = {}

    def queries(self) -> Queries:
        """Return what was read so far."""
        return Queries(
            self._lines,
            self._heads,
            self._outcomes,
            self._context_of,
            self._statement_of,
            self._context_values,
            self._statement_values,
            self._newer,
        )

    def line(self, line: Line) -> None:
        """Read one line into the queries or the others."""
        if line.data.startswith(_PREFIX) and self._by_pieces(line):
            return
        try:
            event = orjson.loads(line.data)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            self.others.append(Other(line, UNREADABLE, {}))
        elif event["type"] != QueryExecuted.__name__:
            self.others.append(Other(line, event["type"], event))
        else:
            self._whole(line, event)

    def _by_pieces(self, line: Line) -> bool:
        data = line.data
        principal = data.find(b',"principal":{"id":"')
        context = data.rfind(b',"session_id":"', 0, principal)
        statement = data.find(b',"text":"', principal)
        outcome = data.rfind(b',"ended_at":')
        if not 0 < context < principal < statement < outcome:
            return False
        try:
            context_at = self._context(data[context + 1 : statement])
            statement_at = self._statement(data[statement + 1 : outcome])
            head = orjson.loads(data[:context] + b"}")
            tail = orjson.loads(b"{" + data[outcome + 1 :])
        except ValueError:
            return False
        if head.keys() != _HEAD or tail.keys() != _OUTCOME:
            return False
        self._add(line, head, context_at, statement_at, tail)
        return True

    def _context(self, piece: bytes) -> int:
        index = self._contexts.get(piece)
        if index is None:
            value = _members(piece, _CONTEXT)
            _PRINCIPAL.validate_python(value["principal"])
            _DATABASE.validate_python(value["database"])
            _CLIENT.validate_python(value["client"])
            index = self._contexts[piece] = len(self._context_values)
            self._context_values.append(value)
        return index

    def _statement(self, piece: bytes) -> int:
        index = self._statements.get(piece)
        if index is None:
            value = _members(piece, _STATEMENT)
            _FACTS.validate_python(value["facts"])
            index = self._statements[piece] = len(self._statement_values)
            self._statement_values.append(value)
        return index

    def _whole(self, line: Line, event: dict[str, Any]) -> None:
        try:
            known = asdict(_QUERY.validate_json(line.data))
        except ValidationError:
            self.others.append(Other(line, UNREADABLE, event))
            return
        context = orjson.dumps({name: known[name] for name in sorted(_CONTEXT)})
        statement = orjson.dumps({name: known[name] for name in sorted(_STATEMENT)})
        if known["v"] > KNOWN_VERSION:
            self._newer[len(self._lines)] = line.data
        self._add(line, known, self._context(context[1:-1]), self._statement(statement[1:-1]), known)

    def _add(self, line: Line, head: Mapping[str, Any], context: int, statement: int, outcome: Mapping[str, Any]) -> None:
        self._lines.append(line)
        self._heads.append(head)
        self._context_of.append(context)
        self._statement_of.append(statement)
        self._outcomes.append(outcome)


def _members(piece: bytes, expected: frozenset[str]) -> dict[str, Any]:
    """Parse members without their braces; raise ValueError unless exactly the expected ones are there."""
    value: dict[str, Any] = orjson.loads(b"{" + piece + b"}")
    if value.keys() != expected:
        raise ValueError("unexpected members")
    return value


_QUERY = TypeAdapter(QueryExecuted)
_PRINCIPAL = TypeAdapter(Principal)
_DATABASE = TypeAdapter(Database)
_CLIENT = TypeAdapter(Client)
_FACTS = TypeAdapter(Facts)
