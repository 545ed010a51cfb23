"""People who decide on held statements in tests: they read the trail and answer on the control topic, as the API does."""

from __future__ import annotations

import time
from typing import Any

from schemas.control import ApprovalDecided, publish
from schemas.control_keys import ControlSigner, load_control_signer
from tests.support.affidavit import Affidavit
from tests.support.ports import wait_for

Event = dict[str, Any]


def requests(machine: Affidavit) -> list[Event]:
    """Return the requests so far, in order."""
    return [e for e in machine.trail.refresh() if e["type"] == "ApprovalRequested"]


def closings(machine: Affidavit) -> dict[str, Event]:
    """Return how each request ended, by its id."""
    return {e["approval_id"]: e for e in machine.trail.refresh() if e["type"] == "ApprovalClosed"}


def the_request(machine: Affidavit, application: str, number: int = 1) -> Event:
    """Wait for the n-th request of a client that calls itself so."""

    def found() -> list[Event]:
        return [e for e in requests(machine) if e["client"]["application"] == application]

    wait_for(lambda: len(found()) >= number, f"request {number} of {application}", 120)
    return found()[number - 1]


def closed(machine: Affidavit, request: Event) -> Event:
    """Wait for a request's end."""
    wait_for(lambda: request["approval_id"] in closings(machine), "the request's end", 120)
    return closings(machine)[request["approval_id"]]


def decide(
    machine: Affidavit,
    request: Event,
    approved: bool = True,
    by: str = "bob",
    signer: ControlSigner | None = None,
    **changes: Any,
) -> None:
    """Say somebody's decision, signed as the machine's API would unless a `signer` is given."""
    message: dict[str, Any] = {
        "at": time.time_ns() // 1000,
        "actor": by,
        "approval_id": request["approval_id"],
        "approved": approved,
        "binding": request["binding"],
        "expires_at": request["expires_at"],
        "reason": "seen",
        "principal": by,
        "kind": "human",
        "groups": ("dba",),
    }
    log = machine.trail.open()
    try:
        publish(log, [ApprovalDecided(**{**message, **changes})], signer or load_control_signer(machine.data_dir / "keys"))
    finally:
        log.close()


def executions(machine: Affidavit, request: Event) -> list[Event]:
    """Return the executions that carry a request's id."""
    return [
        e
        for e in machine.trail.refresh()
        if e["type"] == "QueryExecuted" and e["decision"]["approval_id"] == request["approval_id"]
    ]


def the_execution(machine: Affidavit, request: Event) -> Event:
    """Wait for the execution of a request."""
    wait_for(lambda: bool(executions(machine, request)), "the event of a held statement", 120)
    return executions(machine, request)[0]
