"""When is the loop kept from sleeping, for how long, and when is that given up? On a real event loop, by a clock of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ingest.net.busy_poll import MISSED, REST, TRUST, BusyPoll, processors


class Turns:
    """A clock that stands still, in ns, and moves by 10 µs each time it is read where `runs`."""

    def __init__(self) -> None:
        self.now, self.runs = 1, False

    def __call__(self) -> int:
        if self.runs:
            self.now += 10_000
        return self.now


async def until_it_sleeps(poll: BusyPoll, clock: Turns) -> None:
    """Let time pass: nothing comes."""
    clock.runs = True
    for _ in range(20):
        await asyncio.sleep(0)
    clock.runs = False
    assert not poll.polling


def run(scenario: object, microseconds: int = 50) -> None:
    async def whole() -> None:
        clock = Turns()
        await scenario(BusyPoll(asyncio.get_running_loop(), microseconds, clock), clock)  # type: ignore[operator]

    asyncio.run(whole())


def test_the_loop_polls_while_one_connection_is_busy_and_sleeps_when_its_time_is_over() -> None:
    async def scenario(poll: BusyPoll, clock: Turns) -> None:
        one = object()
        poll.sent(one, True)
        assert not poll.polling  # it may be one of many: the next message tells
        poll.sent(one, False)
        assert poll.polling
        for _ in range(20):  # the clock stands still, so it goes on
            await asyncio.sleep(0)
            assert poll.polling
        poll.sent(one, True)
        assert poll.polling
        await until_it_sleeps(poll, clock)

    run(scenario)


def test_it_does_not_poll_for_several_busy_connections_or_where_it_is_switched_off() -> None:
    async def alternating(poll: BusyPoll, clock: Turns) -> None:
        one, other = object(), object()
        for _ in range(5):
            for connection in (one, other):
                poll.sent(connection, True)
                assert not poll.polling
        poll.sent(other, False)
        assert poll.polling
        poll.sent(one, True)  # the poll under way was for another
        assert not poll.polling

    async def off(poll: BusyPoll, clock: Turns) -> None:
        one = object()
        for _ in range(5):
            poll.sent(one, True)
            poll.sent(one, False)
            assert not poll.polling

    run(alternating)
    run(off, microseconds=0)


def test_who_answers_late_is_not_polled_for_any_more_and_tried_again_later() -> None:
    async def scenario(poll: BusyPoll, clock: Turns) -> None:
        one = object()
        poll.sent(one, False)
        for _ in range(TRUST // MISSED):
            poll.sent(one, True)  # to the server, whose answer comes too late each time
            assert poll.polling
            await until_it_sleeps(poll, clock)
        for _ in range(REST):
            poll.sent(one, True)
            assert not poll.polling
        poll.sent(one, False)  # what is sent to the client is another matter
        assert poll.polling
        await until_it_sleeps(poll, clock)
        poll.sent(one, True)
        assert poll.polling
        await until_it_sleeps(poll, clock)
        poll.sent(one, True)  # one try is enough to see that nothing has changed
        assert not poll.polling

    run(scenario)


def test_one_late_answer_in_many_changes_nothing() -> None:
    async def scenario(poll: BusyPoll, clock: Turns) -> None:
        one = object()
        poll.sent(one, False)
        for number in range(20 * TRUST):
            poll.sent(one, True)
            assert poll.polling
            if number % 16 == 0:
                await until_it_sleeps(poll, clock)

    run(scenario)


@pytest.mark.parametrize(
    ("text", "quota"),
    [("50000 100000\n", 0.5), ("max 100000\n", None), ("", None), ("nonsense\n", None), ("1 0\n", None)],
)
def test_a_control_groups_quota_counts_as_processors(tmp_path: Path, text: str, quota: float | None) -> None:
    path = tmp_path / "cpu.max"
    every = processors(path)
    assert every >= 1  # no such file
    path.write_text(text)
    assert processors(path) == (quota if quota is not None else every)
