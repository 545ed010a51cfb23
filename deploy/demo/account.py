"""Is the demonstration's trail complete? Compares what the database's own log says was executed with what the trail has.

The unit of comparison is (database, application): a statement missing from the trail is lost; one more there than was executed,
or an event id or place seen twice, is a duplicate. What was refused is in the trail and was not executed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.demo.postgres import Logged

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One statement of the trail: where it ran, its id, its place (source, epoch, sequence), and whether the database got it."""

    database: str
    application: str
    event_id: str
    place: tuple[str, int, int]
    executed: bool = True


@dataclass(frozen=True, slots=True)
class Account:
    """What the comparison found."""

    executed: int
    rows: int
    lost: int
    duplicates: int

    @property
    def balanced(self) -> bool:
        """Nothing lost, nothing twice."""
        return self.lost == 0 and self.duplicates == 0


def account(executed: Iterable[Logged], rows: Iterable[Row]) -> Account:
    """Compare what was executed with the trail's rows."""
    rows = list(rows)
    ran: Counter[Place] = Counter((e.database, e.application) for e in executed)
    seen: Counter[Place] = Counter((r.database, r.application) for r in rows if r.executed)
    lost = sum((ran - seen).values())
    excess = sum((seen - ran).values())
    repeated = len(rows) - min(len({r.event_id for r in rows}), len({r.place for r in rows}))
    return Account(sum(ran.values()), len(rows), lost, max(excess, repeated))
