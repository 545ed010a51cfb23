"""The live tail: what a client is sent, in what order, and when it ends. Server-Sent Events (WHATWG HTML, section 9.2).

Each client pulls: a poll reads at most one batch after the last event it was sent, and the next poll comes when that batch is
written. So a slow client falls behind without a buffer growing, and nothing is skipped. Rows are read in order of insertion,
half a second after it, because a row inserted earlier may become visible later. An event's `id` is its place in that order:
a client that sends it back as `Last-Event-ID` continues right behind it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
import orjson

from query_api.limits import Limits
from query_api.problems import ProblemError
from query_api.store.events import Arrival

Fetch = Callable[[Arrival], Sequence[tuple[Arrival, dict[str, Any]]]]
_PLACE = re.compile(r"(\d{1,18})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class Streams:
    """Counts the open tails and ends them all. `close` may be called from any thread, before the server stops."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._open = 0
        self._closing = threading.Event()
        # Tails that wait for the store must not take the threads that answer requests.
        self.threads = anyio.CapacityLimiter(limits.stream_threads)

    def close(self) -> None:
        """End every tail within one poll, and refuse new ones."""
        self._closing.set()

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing.is_set()

    def acquire(self) -> None:
        """Take a place among the open tails; `release` gives it back. Raises ProblemError `overloaded`."""
        with self._lock:
            if self._open >= self._limits.streams:
                raise ProblemError(
                    "overloaded",
                    f"{self._limits.streams} live tails are open already, which is the limit.",
                    headers={"Retry-After": "10"},
                )
            if self.closing:
                raise ProblemError("overloaded", "The server is stopping.", headers={"Retry-After": "5"})
            self._open += 1

    def release(self) -> None:
        """Give a place back."""
        with self._lock:
            self._open -= 1


def place_of(last_event_id: str | None) -> Arrival | None:
    """The place that a `Last-Event-ID` names; None if there is none or it is not ours."""
    found = _PLACE.fullmatch(last_event_id or "")
    return Arrival(int(found[1]), found[2]) if found else None


async def tail(
    start: Arrival,
    earliest: int,
    fetch: Fetch,
    allowed: Callable[[], bool],
    barred: Callable[[], None],
    write: Callable[[dict[str, Any]], str],
    streams: Streams,
    limits: Limits,
) -> AsyncIterator[bytes]:
    """Yield the bytes of one tail until it is closed or no longer allowed.

    `start`: the place to continue after; before `earliest` (µs) a `gap` event says what is left out. `fetch` and `allowed`
    run in threads; `barred` raises ProblemError once its reader is suspended, and is asked before each poll's events are sent.
    `write` makes an event's data; it is sent as one `data:` field per line.
    """
    place = start
    batch: Sequence[tuple[Arrival, dict[str, Any]]]
    # The retry field keeps browsers from hammering a restarting server; the first bytes also flush the headers.
    yield b"retry: 2000\n: tail open\n\n"
    if place.inserted_at < earliest:
        yield frame("gap", None, orjson.dumps({"from": place.inserted_at, "to": earliest}).decode())
        place = Arrival(earliest)
    quiet = checked = anyio.current_time()
    while not streams.closing:
        try:
            batch = await anyio.to_thread.run_sync(fetch, place, limiter=streams.threads)
        except ProblemError as problem:
            if problem.status != 503:
                yield frame("problem", None, orjson.dumps({"detail": problem.detail}).decode())
                return
            # The store is busy or away for now: nothing is lost by waiting, the place is kept.
            batch = ()
        try:
            barred()
        except ProblemError as problem:
            yield frame("problem", None, orjson.dumps({"detail": problem.detail}).decode())
            return
        for place, event in batch:
            yield frame("event", str(place), write(event))
        now = anyio.current_time()
        if batch:
            quiet = now
        elif now - quiet >= limits.stream_heartbeat_seconds:
            yield b": still here\n\n"
            quiet = now
        if now - checked >= limits.stream_recheck_seconds:
            checked = now
            if not await anyio.to_thread.run_sync(allowed):
                yield frame("problem", None, '{"detail":"The token is no longer valid."}')
                return
        if len(batch) < limits.stream_batch:
            await anyio.sleep(limits.stream_poll_seconds)
    yield frame("end", None, '{"detail":"The server is stopping."}')


def frame(name: str, identifier: str | None, data: str) -> bytes:
    """One server-sent event."""
    # `event` is the unnamed kind: EventSource gives it to `onmessage`, and simple readers need no names.
    lines = [] if name == "event" else [f"event: {name}"]
    if identifier is not None:
        lines.append(f"id: {identifier}")
    lines += [f"data: {line}" for line in re.split(r"\r\n|\r|\n", data)]
    return ("\n".join(lines) + "\n\n").encode()
