"""What of a QueryExecuted changes with every execution: its members, and their types, as the pipeline reads them.

msgspec makes these objects at half the cost of dictionaries, and checks names and types on the way: what `decode` returns has
every member, each of its kind, and none besides. That they are the event's own members, tests/unit/test_pipeline_steps.py holds.
Words of a vocabulary are plain text here: one that a newer version has must not cost the row.
"""

from __future__ import annotations

import msgspec


class Ending(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """An event's `outcome` (schemas.events.Outcome)."""

    status: str
    sqlstate: str
    rows_returned: int
    rows_affected: int
    bytes_in: int
    bytes_out: int
    db_us: int
    held_us: int
    total_us: int


class Execution(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One execution. Lines without sensitive cells leave `masked` and `exposed` out."""

    event_id: str
    at: int
    kind: str
    transaction: str
    params: list[str]
    claims: dict[str, str]
    ended_at: int
    outcome: Ending
    exposure: dict[str, int]
    masked: dict[str, int] = {}
    exposed: dict[str, int] = {}


decode = msgspec.json.Decoder(Execution).decode
"""Read one execution's members. Raises msgspec.MsgspecError, and UnicodeDecodeError for text that is none."""
