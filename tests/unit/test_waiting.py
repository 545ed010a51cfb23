"""Records that wait for a batch: by partition, bounded, and none waits for ever."""

from __future__ import annotations

import asyncio

from processors.runtimes.waiting import Waiting


def test_a_batch_is_all_of_the_partition_that_waits_longest() -> None:
    async def work() -> None:
        waiting: Waiting[str] = Waiting(10)
        for partition, item in ((2, "a"), (1, "b"), (2, "c"), (1, "d"), (2, "e")):
            await waiting.put(partition, item)
        assert await waiting.get(2) == (2, ["a", "c"])
        await waiting.put(1, "f")
        assert await waiting.get(9) == (1, ["b", "d", "f"]), "what is left of a partition waits behind the others"
        assert await waiting.get(9) == (2, ["e"])

    asyncio.run(work())


def test_a_busy_partition_does_not_keep_another_from_its_turn() -> None:
    async def work() -> None:
        waiting: Waiting[int] = Waiting(100)
        await waiting.put(2, 0)
        for n in range(50):
            await waiting.put(1, n)
        taken = [(await waiting.get(4))[0] for _ in range(3)]
        assert taken == [2, 1, 1]
        await waiting.put(2, 1)
        assert [(await waiting.get(4))[0] for _ in range(2)] == [1, 2]

    asyncio.run(work())


def test_what_is_full_takes_more_only_when_something_left_and_loses_nothing() -> None:
    async def work() -> None:
        waiting: Waiting[int] = Waiting(3)

        async def fill() -> None:
            for n in range(20):
                await waiting.put(n % 2, n)

        filling = asyncio.create_task(fill())
        found: dict[int, list[int]] = {0: [], 1: []}
        while sum(map(len, found.values())) < 20:
            for _ in range(5):
                await asyncio.sleep(0)
            partition, items = await waiting.get(10)
            assert len(items) <= 3
            found[partition] += items
        await filling
        assert found == {0: list(range(0, 20, 2)), 1: list(range(1, 20, 2))}

    asyncio.run(work())


def test_heavy_items_wait_by_weight_and_one_that_is_too_heavy_goes_alone() -> None:
    async def work() -> None:
        waiting: Waiting[str] = Waiting(10)
        await waiting.put(0, "a", 6)
        await waiting.put(0, "b", 4)
        more = asyncio.create_task(waiting.put(0, "c", 3))
        heavy = asyncio.create_task(waiting.put(0, "d", 99))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not more.done()
        assert await waiting.get(1) == (0, ["a"])
        await more
        assert await waiting.get(9) == (0, ["b", "c"])
        await heavy
        assert await waiting.get(9) == (0, ["d"])

    asyncio.run(work())


def test_a_wait_that_is_given_up_takes_nothing() -> None:
    async def work() -> None:
        waiting: Waiting[int] = Waiting(3)
        for _ in range(3):
            try:
                await asyncio.wait_for(waiting.get(1), 0.01)
            except TimeoutError:
                continue
        await waiting.put(0, 7)
        assert await waiting.get(1) == (0, [7])

    asyncio.run(work())
