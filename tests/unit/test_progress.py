"""A worker's progress: what is furthest counts, and what was not confirmed in time is not sent later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from processors.runtimes.confirming import confirmed, send
from processors.runtimes.progress import Furthest, Progress
from processors.runtimes.state import Plan
from processors.steps.work import State
from schemas.log import LogUnavailableError


def records(work: Callable[[Progress], None]) -> list[bytes]:
    """What is published while work is done."""
    published: list[bytes] = []
    work(Progress(published.append))
    return published


def two_batches(memory: Progress) -> None:
    for first in (0, 10):
        memory.begin(Plan(first, first + 9, {"proxy/0": bytes(32)}, 3))
        memory.commit(State(), first + 10, 3)


def test_what_is_furthest_counts_in_whatever_order_it_is_heard() -> None:
    published = records(two_batches)
    assert len(published) == 4
    for order in (published, published[::-1], [published[2], published[3], published[0]]):
        known = Furthest()
        for offset, data in enumerate(order):
            known.heard(3, data, offset)
        assert known.of(3) == published[3]
        assert known.of(4) is None
        assert (known.end(3), known.end(4)) == (len(order), 0)


@pytest.mark.parametrize("lasts", [(4, 9), (9, 4)])
def test_of_plans_made_at_the_same_place_the_first_on_the_changelog_counts(lasts: tuple[int, int]) -> None:
    """The second one's maker saw the first and inserted nothing of its own, whichever takes more."""
    plans = [records(lambda memory, last=last: memory.begin(Plan(0, last, {}, 3)))[0] for last in lasts]  # type: ignore[misc]
    for order in ((7, 8), (8, 7), (7, 8, 7)):  # as recovery hears them, as who comes late does, and again
        known = Furthest()
        for offset in order:
            known.heard(3, plans[offset - 7], offset)
        assert known.of(3) == plans[0]
        assert known.end(3) == 9


def test_a_plan_is_further_than_what_was_before_it() -> None:
    published = records(two_batches)
    known = Furthest()
    for at in (2, 1):
        known.heard(3, published[at], at)
    recovered = Progress(lambda data: None)
    found = known.of(3)
    assert found is not None
    recovered.load(found)
    assert (recovered.next_offset, recovered.plan) == (10, Plan(10, 19, {"proxy/0": bytes(32)}, 3))


def test_how_far_rows_may_be_there_already_is_known_after_a_restart() -> None:
    """A group without memory begins at the topic's start, and is started again before it is where the lost one was."""
    published: list[bytes] = []
    memory = Progress(published.append, known_until=70)
    memory.begin(Plan(0, 9, {}, 3))
    memory.commit(State(), 10, 3)
    for data in published:
        recovered = Progress(published.append)
        recovered.load(data)
        assert recovered.known_until == 70
    before = Progress(published.append)
    before.load(published[1].replace(b',"known_until":70', b""))  # an older version's
    assert (before.next_offset, before.known_until) == (10, 0)


def test_what_is_no_record_is_refused() -> None:
    known = Furthest()
    for bad in (b"null", b"{}", b"[1]", b"{", b'"a"'):
        with pytest.raises(ValueError):
            known.heard(0, bad, 0)
    assert known.of(0) is None


class Topic:
    """Of Faust's, with room for some records; the brokers answer when they are let."""

    def __init__(self, room: int) -> None:
        self.room, self.taken = asyncio.Semaphore(room), []  # type: ignore[var-annotated]
        self.answers: list[asyncio.Future[None]] = []

    async def send(self, *, key: str, **_: object) -> asyncio.Future[None]:
        await self.room.acquire()
        self.taken.append(key)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


@pytest.mark.parametrize("room", [1, 3])
def test_what_was_not_confirmed_in_time_is_not_sent_behind_what_is_newer(room: int) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        topic = Topic(room)
        older = send(topic, 0, [(f"older{n}", b"1") for n in range(3)])
        with pytest.raises(LogUnavailableError, match=r"states not confirmed: TimeoutError"):
            confirmed(loop, older, "states", 0.2)
        assert topic.taken == [f"older{n}" for n in range(room)]
        assert not any(answer.cancelled() for answer in topic.answers)  # the brokers' answers are Faust's to look at

        async def answer() -> None:
            for _ in range(3):
                topic.room.release()
            await asyncio.sleep(0.05)
            for each in topic.answers:
                each.set_result(None)

        newer = send(topic, 0, [("newer", b"2")])
        asyncio.run_coroutine_threadsafe(answer(), loop)
        confirmed(loop, newer, "states", 10.0)
        assert topic.taken == [*(f"older{n}" for n in range(room)), "newer"]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
