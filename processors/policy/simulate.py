"""What would a bundle have said to recorded history? Each execution is judged anew, as of its own time.

Pure: events come as the API gives them, oldest first. Counters of a session begin with the first event of it that is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from processors.policy.context import approval_values, granted_values, moment_values, statement_values, subject_values
from processors.policy.decide import Policy
from schemas.events import Client, Database, Facts, OutcomeStatus, Principal, Verdict

MINUTE = 60_000_000
_FACTS, _PRINCIPAL, _DATABASE = TypeAdapter(Facts), TypeAdapter(Principal), TypeAdapter(Database)
_CLIENT = TypeAdapter(Client)


@dataclass(slots=True)
class Difference:
    """Executions of one shape by one principal whose verdict would have been another."""

    was: Verdict
    would: Verdict
    principal: str
    text: str
    policies: tuple[str, ...]
    count: int = 0


@dataclass(slots=True)
class Simulation:
    """`judged` executions, of which `same` would have had the verdict they had; `verdicts` counts what would have been."""

    judged: int = 0
    same: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)


@dataclass(slots=True)
class _Session:
    opened: int
    statements: int = 0
    denied: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    rows: int = 0
    minute: int = -1
    before_minute: int = 0


def simulate(policy: Policy, events: Iterable[Mapping[str, Any]]) -> Simulation:
    """Judge `QueryExecuted` events, oldest first. Data classes, settings and grants are not in events: rules see none."""
    result = Simulation()
    sessions: dict[str, _Session] = {}
    found: dict[tuple[object, ...], Difference] = {}
    for event in events:
        at = int(event["at"])
        session = sessions.setdefault(event["session_id"], _Session(at))
        if at // MINUTE != session.minute:
            session.minute, session.before_minute = at // MINUTE, session.statements
        ruling = policy.decide(_values(policy, event, session, at))
        outcome = event["outcome"]
        session.statements += 1
        session.denied += outcome["status"] == OutcomeStatus.DENIED
        session.bytes_in += outcome["bytes_in"]
        session.bytes_out += outcome["bytes_out"]
        session.rows += outcome["rows_returned"]
        # What ran by an approval would have been held first, as it was.
        was = Verdict.HOLD if event["decision"]["approval_id"] else Verdict(event["decision"]["verdict"])
        result.judged += 1
        result.verdicts[ruling.verdict] = result.verdicts.get(ruling.verdict, 0) + 1
        if ruling.verdict is was:
            result.same += 1
            continue
        key = (was, ruling.verdict, event["principal"]["id"], event["fingerprint"], ruling.policies)
        if key not in found:
            found[key] = Difference(was, ruling.verdict, event["principal"]["id"], event["text"], ruling.policies)
        found[key].count += 1
    result.differences = sorted(found.values(), key=lambda d: -d.count)
    return result


def _values(policy: Policy, event: Mapping[str, Any], session: _Session, at: int) -> dict[str, Any]:
    database = _DATABASE.validate_python(event["database"])
    client = _CLIENT.validate_python(event["client"])
    principal = _PRINCIPAL.validate_python(event["principal"])
    return {
        **subject_values(principal, database, event["db_user"], client.address, bool(client.tls)),
        **statement_values(_FACTS.validate_python(event["facts"]), event["fingerprint"], event["claims"]),
        **granted_values(),
        **approval_values(),
        **moment_values(at, policy.bundle.zone, policy.bundle.frozen(at, database.environment)),
        "session.statements": session.statements,
        "session.statements_last_minute": session.statements - session.before_minute,
        "session.denied": session.denied,
        "session.bytes_in": session.bytes_in,
        "session.bytes_out": session.bytes_out,
        "session.rows": session.rows,
        "session.age_seconds": max(0, at - session.opened) // 1_000_000,
    }
