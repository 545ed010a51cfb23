"""What was said to the proxies: a thread follows the control topic, the event loop holds what is newest for each subject.

The thread reads from the topic's beginning, then follows; each batch is handed to the loop, which takes it before the next is
read. What is not signed by a key that is believed, or is older than what is known of its subject, is refused, and told of. State,
callbacks and `known` belong to the loop: no lock, no look at a file in a statement's way. Whoever must not decide
on old news asks `known` and `stale_seconds`, and denies: a log out of reach says nothing, which is not the same as "nothing new".
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from schemas.control import Message, Unreadable, decode, outdated
from schemas.control_keys import ControlTrust
from schemas.log import Log, LogError, LogUnavailableError, Record
from schemas.topics import CONTROL

log = structlog.get_logger(__name__)

BATCH_RECORDS = 1000
"""Records read and handed over at once."""

BATCH_BYTES = 4 * 1024**2
"""The same in bytes; two batches are held at most."""

MAX_BYTES = 64 * 1024**2
"""What the newest messages may weigh, keys included and objects counted; past it `known` is false, for some would be missing."""

MESSAGE_OVERHEAD_BYTES = 600
"""What an object and its place in a dictionary weigh beside its text."""

FRESH_SECONDS = 2.0
"""How often the log is asked for its end while nothing new comes: no older is what is known, while all is well."""

WAIT_SLICE_SECONDS = 0.25
"""How long one wait for news takes; `stop` is looked at between."""

REFUSED_SECONDS = 1.0
"""How often at most it is told that messages were refused: whoever may write the topic must not flood the trail as well."""

RETRY_SECONDS = 1.0
"""How soon an unreachable log is tried again."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is new about a subject: a message, one that cannot be read, or (None) that nothing holds any more."""

    key: str
    message: Message | Unreadable | None


Callback = Callable[[Change], None]
Refused = Callable[[str, str, int], None]
"""Hears of refused messages: the key of the last one, why, and how many there were since it last heard."""


class Control:
    """The newest message of each subject, for one worker. Made, asked and closed on the loop's thread.

    `open_log` opens a log of the reader's own; `clock` is µs UTC, `steady` seconds that never step. `refused` is called on
    the loop, too.
    """

    def __init__(
        self,
        open_log: Callable[[], Log],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], int],
        trust: ControlTrust,
        steady: Callable[[], float] = time.monotonic,
        max_bytes: int = MAX_BYTES,
        refused: Refused = lambda key, problem, count: None,
    ) -> None:
        self.refused = 0
        """Messages that were not believed."""
        self._tell_refused, self._untold, self._told_at = refused, 0, float("-inf")
        self.ignored = 0
        """Messages of types this version does not know."""
        self.unreadable = 0
        self.problem = ""
        """Why the log could not be read, or the state not be kept; empty while all is well."""
        self._loop, self._clock, self._steady, self._max_bytes = loop, clock, steady, max_bytes
        self._newest: dict[str, Message | Unreadable] = {}
        self._weights: dict[str, int] = {}
        self._bytes = 0
        self._full = False
        self._fresh_at: float | None = None
        self._callbacks: list[Callback] = []
        self._reader = _Reader(self, open_log, loop, steady, trust)

    def start(self) -> None:
        """Begin to read."""
        self._reader.start()

    def subscribe(self, callback: Callback) -> None:
        """Have `callback` called on the loop for what is known already, then for each change. It must not raise."""
        self._callbacks.append(callback)
        for key, message in list(self._newest.items()):
            self._call([callback], Change(key, message))

    def get(self, key: str) -> Message | Unreadable | None:
        """Return what holds about a subject now; see `schemas.control` for keys."""
        message = self._newest.get(key)
        if message is None or isinstance(message, Unreadable) or message.holds(self._clock()):
            return message
        return None

    @property
    def known(self) -> bool:
        """Whether everything said up to some moment is known here; `stale_seconds` says how long ago that was."""
        return self._fresh_at is not None and not self._full

    @property
    def stale_seconds(self) -> float:
        """Seconds since everything said until then was known here; infinite while it never was."""
        return self._steady() - self._fresh_at if self._fresh_at is not None and not self._full else float("inf")

    def close(self) -> None:
        """Stop reading; what was known stays. Waits for no log."""
        self._reader.stop()

    # From the reader, on the loop

    def _take(self, records: Sequence[Record], problems: Sequence[str]) -> None:
        for record, problem in zip(records, problems, strict=True):
            key = record.key.decode("utf-8", "replace")
            if problem:
                self._refuse(key, problem)
                continue
            message = decode(key, record.value)
            if outdated(self._newest.get(key), message):
                self._refuse(key, "it is older than what was said of its subject before")
                continue
            if message is None:
                self.ignored += 1
                continue
            if isinstance(message, Unreadable):
                self.unreadable += 1
                log.error("control message cannot be read: what depends on it is denied", key=key, reason=message.problem)
            self._forget(key)
            if isinstance(message, Unreadable) or message.holds(self._clock()):
                self._keep(key, message, len(record.key) + len(record.value) + MESSAGE_OVERHEAD_BYTES)
            # Also if it does not hold any more: what it replaced does not either.
            self._call(self._callbacks, Change(key, message))

    def _refuse(self, key: str, problem: str) -> None:
        self.refused += 1
        self._untold += 1
        if self._steady() - self._told_at >= REFUSED_SECONDS:
            log.error("control message is not believed", key=key[:200], reason=problem, count=self._untold)
            self._tell_refused(key, problem, self._untold)
            self._untold, self._told_at = 0, self._steady()

    def _keep(self, key: str, message: Message | Unreadable, weight: int) -> None:
        if self._bytes + weight > self._max_bytes:
            now = self._clock()
            for old, held in list(self._newest.items()):
                if not isinstance(held, Unreadable) and not held.holds(now):
                    self._forget(old)
        if self._bytes + weight > self._max_bytes:
            if not self._full:
                self._full = True
                self.problem = (
                    f"control topic: the newest messages exceed {self._max_bytes} bytes, so that not all are known; "
                    "say less, or for a shorter time, then restart the proxy"
                )
                log.error(self.problem)
            return
        self._newest[key], self._weights[key] = message, weight
        self._bytes += weight

    def _forget(self, key: str) -> None:
        if self._newest.pop(key, None) is not None:
            self._bytes -= self._weights.pop(key)

    def _caught_up(self, at: float) -> None:
        self._fresh_at = at
        if self.problem and not self._full:
            log.info("control topic is read again")
            self.problem = ""

    def _trouble(self, error: LogError) -> None:
        if str(error) != self.problem and not self._full:
            log.warning("control topic cannot be read", error=str(error), stale_seconds=round(self.stale_seconds, 1))
            self.problem = str(error)

    def _begin_again(self) -> None:
        """The topic is another than it was: nothing that was known is known to hold."""
        log.warning("control topic was made anew: it is read from its beginning")
        self._fresh_at, self._full = None, False
        for key in list(self._newest):
            self._forget(key)
            self._call(self._callbacks, Change(key, None))

    def _call(self, callbacks: Iterable[Callback], change: Change) -> None:
        for callback in callbacks:
            try:
                callback(change)
            except Exception:  # one user's fault must not keep the others, or what comes next, from being heard
                log.exception("a user of the control topic failed", key=change.key)


class _Reader:
    """The thread."""

    def __init__(
        self,
        control: Control,
        open_log: Callable[[], Log],
        loop: asyncio.AbstractEventLoop,
        steady: Callable[[], float],
        trust: ControlTrust,
    ) -> None:
        self._trust = trust
        self._control, self._open, self._loop, self._steady = control, open_log, loop, steady
        self._stopping = threading.Event()
        self._log: Log | None = None
        self._next = 0
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._follow()
                except LogError as error:
                    self._hand_over(self._control._trouble, error)
                    if not isinstance(error, LogUnavailableError):  # what passes by itself needs no new connection
                        self._close()
                    self._stopping.wait(RETRY_SECONDS)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
        finally:
            self._close()

    def _follow(self) -> None:
        """Read what is new, say how fresh that is, wait for more. Raises LogError."""
        if self._log is None:
            self._log = self._open()
        reader = self._log
        at = self._steady()
        end = reader.end_offset(CONTROL.name)
        if end < self._next:
            self._hand_over(self._control._begin_again)
            self._next = 0
        while self._next < end and not self._stopping.is_set():
            if not self._read_on(reader):  # compaction took the last ones
                self._next = end
        if self._stopping.is_set():
            return
        self._hand_over(self._control._caught_up, at)
        while self._steady() - at < FRESH_SECONDS and not self._stopping.is_set():
            if reader.wait(CONTROL.name, self._next, WAIT_SLICE_SECONDS):
                self._read_on(reader)

    def _read_on(self, reader: Log) -> bool:
        records = reader.read(CONTROL.name, self._next, BATCH_RECORDS, BATCH_BYTES)
        if records:
            self._hand_over(self._control._take, records, [self._trust.problem(record) for record in records])
            self._next = records[-1].offset + 1
        return bool(records)

    def _hand_over(self, call: Callable[..., None], *arguments: object) -> None:
        """Have the loop call, and wait until it did: so little is under way at a time."""
        taken = threading.Event()

        def run() -> None:
            try:
                call(*arguments)
            finally:
                taken.set()

        self._loop.call_soon_threadsafe(run)
        while not taken.wait(WAIT_SLICE_SECONDS) and not self._stopping.is_set():
            pass

    def _close(self) -> None:
        held, self._log = self._log, None
        if held is not None:
            held.close()
