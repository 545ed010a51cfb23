"""Step 2: what do the lines say? Reads NDJSON at a cost that is mostly per distinct session and statement, not per event.

After its position, a QueryExecuted line is five runs of members, in this order: what changes with every execution, the
decision, the session's context, the statement, and the outcome, which changes again. The middle three repeat byte for byte, so
they are cut out, looked up together, and parsed once; only the first and last are parsed each time. The cuts are safe: no quote
stands unescaped in a JSON string, so a cut is never made inside one, and each piece must parse as an object of its own with
exactly the members expected; pieces that do are, joined, the line. Any line for which that fails is read whole and validated by
the event's own type; a line that fails that too is kept as unreadable, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from processors.steps.execution import Ending, Execution, decode
from processors.steps.work import Arrived, Batch, Line, Other, Queries, State
from schemas.events import Client, Database, Decision, Facts, Principal, QueryExecuted

KNOWN_VERSION = 1
"""The newest version of QueryExecuted whose every field has a column."""

UNREADABLE = "Unreadable"
"""The `type` under which lines are kept that are no event we can read."""

_DECISION = frozenset({"decision"})
_CONTEXT = frozenset({"session_id", "principal", "database", "db_user", "client"})
_STATEMENT = frozenset({"text", "text_hash", "fingerprint", "facts"})


def read(state: State, batch: Batch, now: int) -> tuple[State, Batch]:
    """Parse the lines of the blocks the store does not have yet."""
    reader = _Reader()
    for index, arrived in enumerate(batch.fresh):
        reader.block(index, arrived)
    unreadable = sum(o.type == UNREADABLE for o in reader.others)
    state = replace(state, unreadable=state.unreadable + unreadable)
    return state, replace(batch, queries=reader.queries, others=tuple(reader.others))


class _Reader:
    """Collects one batch's events; its caches live no longer than the batch."""

    def __init__(self) -> None:
        self.others: list[Other] = []
        self._events: list[Execution] = []
        self._block_of: list[int] = []
        self._seqs: list[int] = []
        self._middle_of: list[int] = []
        self._middles: list[tuple[int, int, int]] = []
        self._middle_at: dict[bytes, int] = {}
        self._decisions = _Distinct(_DECISION, {"decision": TypeAdapter(Decision)})
        self._contexts = _Distinct(
            _CONTEXT, {"principal": TypeAdapter(Principal), "database": TypeAdapter(Database), "client": TypeAdapter(Client)}
        )
        self._statements = _Distinct(_STATEMENT, {"facts": TypeAdapter(Facts)})
        self._newer: dict[int, bytes] = {}

    @property
    def queries(self) -> Queries:
        """What was read so far."""
        of, middles = self._middle_of, self._middles
        return Queries(
            events=self._events,
            block_of=self._block_of,
            seqs=self._seqs,
            decision_of=[middles[i][0] for i in of],
            context_of=[middles[i][1] for i in of],
            statement_of=[middles[i][2] for i in of],
            decisions=[value["decision"] for value in self._decisions.values],
            contexts=self._contexts.values,
            statements=self._statements.values,
            newer=self._newer,
        )

    def block(self, index: int, arrived: Arrived) -> None:
        """Read a block's lines into the queries or the others."""
        h = arrived.block.header
        position = f'{{"type":"QueryExecuted","v":1,"source":"{h.source}","epoch":{h.epoch},"seq":%d,'.encode()
        # One loop without calls of ours: each would cost a twentieth of what an event may.
        seqs, events, middle_of, middle_at = self._seqs, self._events, self._middle_of, self._middle_at
        for seq, data in enumerate(arrived.lines, h.first_seq):
            start = position % seq
            decision = data.find(b',"decision":{"verdict":"', len(start))
            outcome = data.rfind(b',"ended_at":')
            if not (0 < decision < outcome and data.startswith(start)):
                self._whole(Line(index, seq, data))
                continue
            middle = data[decision + 1 : outcome]
            try:
                event = decode(b"{" + data[len(start) : decision] + data[outcome:])
                at = middle_at.get(middle)
                if at is None:
                    at = middle_at[middle] = self._new_middle(*_cut(middle))
            except ValueError:
                self._whole(Line(index, seq, data))
                continue
            events.append(event)
            middle_of.append(at)
            seqs.append(seq)
        self._block_of += [index] * (len(events) - len(self._block_of))

    def _new_middle(self, decision: bytes, context: bytes, statement: bytes) -> int:
        at = self._decisions.index(decision), self._contexts.index(context), self._statements.index(statement)
        self._middles.append(at)
        return len(self._middles) - 1

    def _whole(self, line: Line) -> None:
        try:
            event = orjson.loads(line.data)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            self.others.append(Other(line, UNREADABLE, {}))
            return
        if event["type"] != QueryExecuted.__name__:
            self.others.append(Other(line, event["type"], event))
            return
        try:
            known = asdict(_QUERY.validate_json(line.data))
            pieces = [orjson.dumps({m: known[m] for m in sorted(members)})[1:-1] for members in (_DECISION, _CONTEXT, _STATEMENT)]
        except (ValidationError, orjson.JSONEncodeError):  # the second: a number of more than 64 bits
            self.others.append(Other(line, UNREADABLE, event))
            return
        if known["v"] > KNOWN_VERSION:
            self._newer[len(self._events)] = line.data
        changing = {name: known[name] for name in Execution.__struct_fields__}
        self._events.append(Execution(**changing | {"outcome": Ending(**known["outcome"])}))
        self._seqs.append(line.seq)
        self._middle_of.append(self._new_middle(*pieces))


def _cut(middle: bytes) -> tuple[bytes, bytes, bytes]:
    """Cut decision, context and statement apart; raise ValueError if they do not stand in this order."""
    principal = middle.index(b',"principal":{"id":"')
    context = middle.rindex(b',"session_id":"', 0, principal)
    statement = middle.index(b',"text":"', principal)
    return middle[:context], middle[context + 1 : statement], middle[statement + 1 :]


class _Distinct:
    """Distinct pieces of lines, parsed and checked once each."""

    def __init__(self, members: frozenset[str], types: Mapping[str, TypeAdapter[Any]]) -> None:
        self.values: list[Mapping[str, Any]] = []
        self._members, self._types = members, types
        self._at: dict[bytes, int] = {}

    def index(self, piece: bytes) -> int:
        """Return where the piece's value is; raise ValueError unless it has exactly the members expected, of their types."""
        at = self._at.get(piece)
        if at is None:
            value: dict[str, Any] = orjson.loads(b"{" + piece + b"}")
            if value.keys() != self._members:
                raise ValueError("unexpected members")
            for name, adapter in self._types.items():
                adapter.validate_python(value[name])
            at = self._at[piece] = len(self.values)
            self.values.append(value)
        return at


_QUERY = TypeAdapter(QueryExecuted)
