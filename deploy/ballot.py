"""Where decisions on held statements are kept and told: the control topic, read from its beginning, and the node's own source.

`said` reads on to the end of the topic each time, so that its answer is as new as the log; between decisions nothing is read.
What expired an hour ago is forgotten: nobody can decide on it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from schemas.control import (
    ApprovalDecided,
    ControlError,
    PrincipalResumed,
    PrincipalSuspended,
    Unreadable,
    approval_key,
    decode,
    outdated,
    publish,
)
from schemas.control_keys import ControlSigner, ControlTrust
from schemas.events import Principal
from schemas.log import Log
from schemas.suspensions import Suspensions, involved
from schemas.topics import CONTROL

KEPT_US = 3_600_000_000
_BATCH = 1000


class ControlBallot:
    """A `query_api.approving.Ballot` on a log of its own. One thread at a time."""

    def __init__(
        self,
        log: Log,
        record: Callable[[Mapping[str, object]], None],
        clock: Callable[[], int],
        signer: ControlSigner,
        trust: ControlTrust,
    ) -> None:
        """`record` writes the members of an ApprovalDecided event and returns when they are durable."""
        self._log, self._record, self._clock = log, record, clock
        self._signer, self._trust = signer, trust
        self._next = 0
        self._decisions: dict[str, dict[str, ApprovalDecided]] = {}
        self._suspensions = Suspensions()
        self._unreadable: set[str] = set()
        self._standing: dict[str, PrincipalSuspended | PrincipalResumed] = {}
        """What was last said of whom."""

    def said(self, approval_id: str) -> Sequence[ApprovalDecided]:
        """Return what stands about a request, oldest first. Raises LogError, LogUnavailableError, ControlError."""
        self._read_on()
        if any(key.startswith(f"{approval_key(approval_id)}/") for key in self._unreadable):
            raise ControlError(f"a decision on {approval_id} is on the topic that this version cannot read")
        return sorted(self._decisions.get(approval_id, {}).values(), key=lambda m: m.at)

    def suspended(self, who: Principal) -> str:
        """Return whose suspension bars somebody, as of the last `said`; empty if nobody's."""
        return self._suspensions.barring(involved(who), self._clock())

    def record(self, event: Mapping[str, object]) -> None:
        """Write the event. Raises what the source raises."""
        self._record(event)

    def tell(self, message: ApprovalDecided) -> None:
        """Publish. Raises ControlError, LogError, LogUnavailableError."""
        publish(self._log, [message], self._signer)

    def _read_on(self) -> None:
        end = self._log.end_offset(CONTROL.name)
        if end < self._next:  # another log than before: begin again
            self._next = 0
            self._decisions.clear()
            self._suspensions.clear()
            self._standing.clear()
            self._unreadable.clear()
        while self._next < end and (records := self._log.read(CONTROL.name, self._next, _BATCH)):
            for record in records:
                if not self._trust.problem(record):  # what proxies do not believe is nothing here either; they tell of it
                    self._take(record.key.decode("utf-8", "replace"), record.value)
            self._next = records[-1].offset + 1
        horizon = self._clock() - KEPT_US
        for approval_id in [i for i, by in self._decisions.items() if all(0 < m.expires_at < horizon for m in by.values())]:
            del self._decisions[approval_id]

    def _take(self, key: str, value: bytes) -> None:
        message = decode(key, value)
        if outdated(self._standing.get(key), message):
            return
        self._unreadable.discard(key)
        if message is not None:
            self._suspensions.take(key, message)
        if isinstance(message, PrincipalSuspended | PrincipalResumed):
            self._standing[key] = message
        if isinstance(message, ApprovalDecided):
            if key != approval_key(message.approval_id):  # one that names nobody counts for nothing
                self._decisions.setdefault(message.approval_id, {})[key] = message
        elif isinstance(message, Unreadable):
            self._unreadable.add(key)
