"""Which statements wait in this worker? Requests go to the trail, decisions come by the control topic.

A decision counts by the rules of `schemas.approvals`, whoever took it down: its binding is compared in constant time, the decider
must not be the one who asks, and so many must agree. What cannot be read, or was said about something else, denies. Nothing that
is missing approves: with the log or the topic out of reach no decision comes, and the wait expires by a clock that never steps.

Each wait is also a small file, so that a proxy that was killed can say at its next start what became of it: nothing was executed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import structlog

from ingest.core.guarding import Answer, Hold
from ingest.net.control import Change, Control
from ingest.spool import SpoolError
from processors.policy import Approval
from schemas.approvals import Decider, objection, same_binding, standing, untimely
from schemas.control import ApprovalDecided, Unreadable, approval_key
from schemas.events import ApprovalStatus, Estimate

if TYPE_CHECKING:
    from ingest.net.connection import Connection

log = structlog.get_logger(__name__)

ESTIMATE_SECONDS = 5.0
"""How long approvers wait for the planner's estimate and the count before they are asked without; each has less for itself."""

LOOK_ANEW_SECONDS = 25.0
"""How long an approved statement waits for the catalogue to be read once more; a reading itself ends sooner."""

LOOK_SECONDS = 5.0
"""How often clients that are not read from, because they sent much behind a held statement, are looked after."""

Record = Callable[[str, int, bytes], object]
"""Writes an event: type, time, body. Raises SpoolError."""


@dataclass(slots=True)
class _Open:
    hold: Hold
    connection: Connection
    timer: asyncio.TimerHandle
    asked: bool = False
    estimating: asyncio.Task[None] | None = None
    decisions: dict[str, tuple[Decider, bool, str]] = field(default_factory=dict)
    releasing: asyncio.Task[None] | None = None


class Holds:
    """The waits of one worker. Everything here is on the loop.

    `estimate` returns what the planner expects of a held statement; `folder` is for the files; `ended` hears what is over;
    `barred` tells whether somebody is suspended; `look_anew` reads what the statement's database holds, and whether it could.
    """

    def __init__(
        self,
        control: Control,
        record: Record,
        clock: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
        folder: Path,
        estimate: Callable[[Connection, Hold], Awaitable[Estimate]],
        ended: Callable[[str], None],
        barred: Callable[[str], bool],
        look_anew: Callable[[Connection], Awaitable[bool]],
    ) -> None:
        self._ended, self._barred, self._look_anew = ended, barred, look_anew
        self._record, self._clock, self._loop, self._folder, self._estimate = record, clock, loop, folder, estimate
        self._open: dict[str, _Open] = {}
        self._looking = False
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        control.subscribe(self._heard)

    def __len__(self) -> int:
        return len(self._open)

    def recover(self) -> int:
        """Record the end of waits that a killed proxy left; return how many. Raises SpoolError."""
        left = sorted(self._folder.glob("*.json"))
        for file in left:
            try:
                since, _, body = file.read_bytes().partition(b"\n")
                at = int(since)
                orjson.loads(b"{" + body[1:] + b"}")["approval_id"]
            except (OSError, ValueError, KeyError, TypeError):
                log.error("the file of a held statement cannot be read; its request stays open until it expires", file=str(file))
                file.rename(file.with_suffix(".unreadable"))
                continue
            said = {
                "status": ApprovalStatus.LOST,
                "reason": "the proxy died; it was not executed",
                "deciders": (),
                "held_us": max(0, self._clock() - at),
            }
            self._record("ApprovalClosed", self._clock(), body + b"," + orjson.dumps(said)[1:-1])
        return len(left)

    def forget_recovered(self) -> None:
        """What was recovered is on record."""
        for file in self._folder.glob("*.json"):
            file.unlink(missing_ok=True)

    # From connections

    def _look_for_those_who_left(self) -> None:
        """A client that is not read from is not heard leaving either."""
        self._looking = False
        for entry in list(self._open.values()):
            if entry.connection.held_up and entry.connection.left():
                entry.connection.abort()
        if self._open:
            self._look_later()

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.call_later(LOOK_SECONDS, self._look_for_those_who_left)

    def wait(self, connection: Connection, hold: Hold) -> None:
        """A statement waits: ask, once an estimate is there or cannot be had."""
        timer = self._loop.call_later((hold.expires_at - hold.at) / 1e6, self._expired, hold.approval_id)
        entry = self._open[hold.approval_id] = _Open(hold, connection, timer)
        try:
            self._write_file(hold)
        except OSError as error:
            self._unasked(entry, f"it could not be noted on disk: {error.strerror}")
            return
        entry.estimating = self._loop.create_task(self._ask_with_estimate(entry))
        self._look_later()

    def waited(self, hold: Hold) -> None:
        """The wait is over, by an answer of ours or because the session ended. Its file goes before the end is recorded."""
        self._ended(hold.approval_id)
        entry = self._open.pop(hold.approval_id, None)
        if entry is None:
            return
        entry.timer.cancel()
        for task in (entry.estimating, entry.releasing):
            if task is not None and task is not asyncio.current_task(self._loop):
                task.cancel()
        if not entry.asked:
            self._ask(entry, Estimate(absent="the wait ended before it was there"))
        self._file(hold).unlink(missing_ok=True)

    def cancelled(self, connection: Connection) -> bool:
        """The client cancels: return whether something of it waited."""
        waiting = connection.session.waiting if connection.session is not None else None
        if waiting is None:
            return False
        connection.answer(waiting.approval_id, Answer(ApprovalStatus.CANCELLED, "by the client"))
        return True

    async def _ask_with_estimate(self, entry: _Open) -> None:
        try:
            async with asyncio.timeout(ESTIMATE_SECONDS):
                estimate = await self._estimate(entry.connection, entry.hold)
        except TimeoutError:
            estimate = Estimate(absent=f"the planner took over {ESTIMATE_SECONDS:g} s")
        except Exception as error:  # whatever goes wrong, approvers are asked; the text may hold what the client sent
            log.warning("estimate failed", error=type(error).__name__)
            estimate = Estimate(absent="it could not be made")
        self._ask(entry, estimate)

    def _ask(self, entry: _Open, estimate: Estimate) -> None:
        hold = entry.hold
        entry.asked = True
        body = hold.context + hold.body + b',"estimate":' + orjson.dumps(estimate)
        hold.sql = hold.bound = b""  # clear values are not kept longer than they are of use
        try:
            self._record("ApprovalRequested", hold.at, body)
        except SpoolError as error:
            log.error("request could not be recorded", reason=str(error))
            self._unasked(entry, "the request could not be recorded")

    def _unasked(self, entry: _Open, reason: str) -> None:
        entry.asked = True
        self._loop.call_soon(self._answer, entry, Answer(ApprovalStatus.DENIED, reason))

    def _answer(self, entry: _Open, answer: Answer) -> None:
        if entry.hold.approval_id in self._open:
            entry.connection.answer(entry.hold.approval_id, answer)

    def _expired(self, approval_id: str) -> None:
        if entry := self._open.get(approval_id):
            self._answer(entry, Answer(ApprovalStatus.EXPIRED))

    def _file(self, hold: Hold) -> Path:
        return self._folder / f"{hold.approval_id}.json"

    def _write_file(self, hold: Hold) -> None:
        descriptor = os.open(self._file(hold), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b'%d\n%b,"approval_id":"%b"' % (hold.at, hold.context, hold.approval_id.encode()))

    # From the control topic

    def _heard(self, change: Change) -> None:
        if not change.key.startswith(approval_key("")):
            return
        entry = self._open.get(change.key.split("/", 2)[1])
        if entry is None:
            return
        message = change.message
        if isinstance(message, Unreadable):
            self._answer(entry, Answer(ApprovalStatus.DENIED, "a decision on it cannot be read by this version"))
        elif isinstance(message, ApprovalDecided):
            self._decided(entry, message)
        elif message is None:
            entry.decisions.pop(change.key, None)

    def _decided(self, entry: _Open, message: ApprovalDecided) -> None:
        asked, now = entry.hold.asked, self._clock()
        decider = Decider.who_said(message)
        if not same_binding(message.binding, asked.binding):
            log.error("decision is bound to something else", approval=asked.approval_id, decider=decider.id)
            self._answer(entry, Answer(ApprovalStatus.DENIED, "a decision was about something else than what was asked"))
            return
        if problem := untimely(asked, message.at, now) or objection(asked, decider):
            log.warning("decision does not count", approval=asked.approval_id, decider=decider.id, reason=problem)
            return
        entry.decisions[message.key] = (decider, message.approved, message.reason)
        # Who was suspended since does not count any more, though they decided before.
        found = standing(asked, (d for d in entry.decisions.values() if not self._barred(d[0].id)))
        by = tuple(d.id for d in found.deciders)
        if found.decided is False:
            self._answer(entry, Answer(ApprovalStatus.DENIED, found.reason, by))
        elif found.decided:
            approval = Approval(asked.approval_id, found.deciders, found.reason, max(0, now - asked.at))
            answer = Answer(ApprovalStatus.APPROVED, found.reason, by, approval)
            if entry.releasing is None:
                entry.releasing = self._loop.create_task(self._release(entry, answer))

    async def _release(self, entry: _Open, answer: Answer) -> None:
        """Have it run, judged by what the database holds now: a function or view may be another than when it was asked."""
        try:
            async with asyncio.timeout(LOOK_ANEW_SECONDS):
                seen = await self._look_anew(entry.connection)
        except TimeoutError:
            seen = False
        if not seen:
            answer = Answer(ApprovalStatus.DENIED, "what it runs could not be read from the database's catalogue")
        elif any(self._barred(d) for d in answer.deciders):
            entry.releasing = None
            return
        self._answer(entry, answer)
