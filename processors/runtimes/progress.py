"""What a Faust worker knows of how far each partition is: the records of the table `progress`.

What is furthest counts, not what stands last in the changelog: a worker that was cut off from the others for a while may publish
a record behind its successor's, as in stage 2 (`processors.runtimes.folding`). Of several plans made at the same place the
first on the changelog counts: who made another sees it there before inserting anything, and takes that one up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import orjson

from processors.runtimes.state import Plan
from processors.steps.work import State

_COUNTERS = tuple(f.name for f in fields(State) if f.name != "sources")


@dataclass(slots=True)
class Progress:
    """One partition's memory; `put` makes an encoded one durable, or raises LogUnavailableError."""

    put: Callable[[bytes], None]
    state: State = field(default_factory=State)
    next_offset: int = 0
    plan: Plan | None = None
    existed: bool = False
    known_until: int = 0
    """Records before this may have been inserted by someone whose progress is lost."""

    def begin(self, plan: Plan) -> None:
        """Record, durably, what is about to be inserted."""
        self.put(self._encode(self.state, self.next_offset, plan))
        self.plan = plan

    def commit(self, state: State, next_offset: int, partition: int = 0) -> None:
        """Record that everything before `next_offset` of its partition is in store and archive."""
        self.put(self._encode(state, next_offset, None))
        self.state, self.next_offset, self.plan, self.existed = state, next_offset, None, True

    def load(self, data: bytes) -> None:
        """Take up what was recorded."""
        value = orjson.loads(data)
        self.next_offset, self.existed, self.known_until = value["next"], value["existed"], value.get("known_until", 0)
        self.state = State(**{name: value["counters"].get(name, 0) for name in _COUNTERS})
        if value["plan"]:
            first, last, keys, partition = value["plan"]
            self.plan = Plan(first, last, {source: bytes.fromhex(key) for source, key in keys.items()}, partition)

    def _encode(self, state: State, next_offset: int, plan: Plan | None) -> bytes:
        return orjson.dumps(
            {
                "next": next_offset,
                "existed": self.existed or plan is None,
                "known_until": self.known_until,
                "counters": {name: getattr(state, name) for name in _COUNTERS},
                "plan": [plan.first, plan.last, {s: k.hex() for s, k in plan.keys.items()}, plan.partition] if plan else None,
            }
        )


class Furthest:
    """The furthest record of each partition, of those that were published here and those that the changelog brought."""

    def __init__(self) -> None:
        self._records: dict[int, tuple[tuple[int, bool], int, bytes]] = {}
        self._ends: dict[int, int] = {}

    def heard(self, partition: int, data: bytes, offset: int) -> None:
        """Take a record that is at `offset` of the changelog. Raises ValueError where it is none."""
        try:
            place = _place(data)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record of progress: {error!r}") from error
        known = self._records.get(partition)
        if known is None or (place, -offset) >= (known[0], -known[1]):
            self._records[partition] = place, offset, data
        self._ends[partition] = max(self.end(partition), offset + 1)

    def of(self, partition: int) -> bytes | None:
        """Return a partition's record; None if it never had one."""
        known = self._records.get(partition)
        return None if known is None else known[2]

    def end(self, partition: int) -> int:
        """Return the offset behind the last record that was heard of a partition."""
        return self._ends.get(partition, 0)


def _place(data: bytes) -> tuple[int, bool]:
    value = orjson.loads(data)
    return value["next"], value["plan"] is not None  # a plan is made where the batch before it was committed
