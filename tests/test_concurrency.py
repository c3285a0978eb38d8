"""Many things at once, so many at a time, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from rasa_ft_ext.concurrency import in_order, stream, stream_groups
from rasa_ft_ext.errors import BudgetError


async def test_results_are_in_the_order_of_the_items_whatever_finishes_first() -> None:
    gates = [asyncio.Event() for _ in range(4)]
    finished = []

    async def work(item: int) -> str:
        await gates[item].wait()
        finished.append(item)
        gates[item - 1].set()
        return f"result {item}"

    gates[3].set()

    assert await in_order(range(4), work, limit=4) == ["result 0", "result 1", "result 2", "result 3"]
    assert finished == [3, 2, 1, 0]


@pytest.mark.parametrize(("items", "limit"), [(9, 3), (4, 4), (3, 1)])
async def test_as_many_run_at_once_as_the_limit_allows_and_never_more(items: int, limit: int) -> None:
    together = asyncio.Barrier(limit)
    running = 0
    seen = []

    async def work(item: int) -> None:
        nonlocal running
        running += 1
        seen.append(running)
        await together.wait()
        running -= 1

    await in_order(range(items), work, limit=limit)

    assert len(seen) == items
    assert max(seen) == limit


async def test_there_are_no_more_tasks_than_the_limit() -> None:
    before = len(asyncio.all_tasks())
    tasks = []

    async def work(item: int) -> None:
        tasks.append(len(asyncio.all_tasks()) - before)
        await asyncio.sleep(0)

    await in_order(range(100), work, limit=3)

    assert max(tasks) == 3


async def test_a_limit_above_the_number_of_items_is_fine() -> None:
    async def work(item: int) -> int:
        return item

    assert await in_order([7, 7, 8], work, limit=100) == [7, 7, 8]


async def test_the_first_error_is_raised_as_it_is_and_ends_the_rest() -> None:
    error = ValueError("no")
    others_run = asyncio.Barrier(3)
    started, cancelled = [], []

    async def work(item: int) -> None:
        started.append(item)
        await others_run.wait()
        if item == 1:
            raise error
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    with pytest.raises(ValueError, match="no") as raised:
        await in_order(range(10), work, limit=3)

    assert raised.value is error
    assert started == [0, 1, 2]
    assert sorted(cancelled) == [0, 2]


async def test_nothing_runs_on_behind_the_callers_back_after_an_error() -> None:
    tidied = []

    async def work(item: int) -> None:
        if item == 0:
            raise ValueError
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.append(item)

    with pytest.raises(ValueError):  # noqa: PT011
        await in_order(range(2), work, limit=2)

    assert tidied == [1]


async def test_of_two_errors_the_one_that_came_first_is_raised() -> None:
    first_is_out = asyncio.Event()

    async def work(item: str) -> None:
        if item == "late":
            await first_is_out.wait()
            raise ValueError(item)
        first_is_out.set()
        raise ValueError(item)

    with pytest.raises(ValueError, match="early"):
        await in_order(["late", "early"], work, limit=2)


async def test_whoever_cancels_the_call_cancels_the_work() -> None:
    running = asyncio.Event()
    cancelled = []

    async def work(item: int) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    call = asyncio.create_task(in_order([1], work, limit=1))
    await running.wait()
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert cancelled == [1]


async def test_nothing_in_nothing_out() -> None:
    async def work(item: int) -> int:
        raise AssertionError

    assert await in_order([], work, limit=4) == []


async def test_items_may_be_a_generator() -> None:
    async def work(item: int) -> int:
        return item + 1

    assert await in_order((number for number in range(3)), work, limit=2) == [1, 2, 3]


async def test_done_is_called_after_each_item_but_not_for_one_that_failed() -> None:
    told: list[bool] = []

    async def work(item: int) -> None:
        assert len(told) == item
        if item == 2:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await in_order(range(5), work, limit=1, done=lambda: told.append(True))
    assert len(told) == 2


# Streams


async def test_a_slow_item_keeps_no_other_from_beginning_until_so_many_wait() -> None:
    gate, begun = asyncio.Event(), []

    async def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            await gate.wait()
        return item

    async with aclosing(stream(range(100), work, limit=2, ahead=5)) as results:
        first = asyncio.ensure_future(anext(results))
        for _ in range(100):
            await asyncio.sleep(0)
        assert begun == [0, 1, 2, 3, 4, 5, 6]  # two may run, five may wait
        gate.set()
        assert [await first, *[result async for result in results]] == list(range(100))


async def test_items_are_taken_as_they_are_needed() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    async def work(item: int) -> int:
        return item

    async with aclosing(stream(items(), work, limit=2, ahead=1)) as results:
        assert await anext(results) == 0
        assert len(taken) <= 5


async def test_an_error_of_the_items_themselves_ends_the_stream() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    async def work(item: int) -> int:
        await asyncio.sleep(0)
        return item

    with pytest.raises(ValueError, match="no more"):
        [result async for result in stream(items(), work, limit=1)]


async def test_who_leaves_a_stream_ends_what_runs() -> None:
    ended = []

    async def work(item: int) -> int:
        if item:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(item)
        return item

    async with aclosing(stream(range(9), work, limit=3)) as results:
        assert await anext(results) == 0
    assert sorted(ended) in ([1, 2], [1, 2, 3])


async def test_what_is_paid_for_already_comes_to_its_end_when_the_money_is_spent() -> None:
    answered = []

    async def work(item: int) -> int:
        if item == 1:
            raise BudgetError("enough")
        for _ in range(5):
            await asyncio.sleep(0)
        answered.append(item)
        return item

    with pytest.raises(BudgetError):
        await in_order(range(9), work, limit=3)
    assert answered == [0, 2]


async def test_groups_come_whole_and_in_order_with_empty_ones_between() -> None:
    told: list[int] = []

    async def work(item: int) -> int:
        for _ in range(item % 3):
            await asyncio.sleep(0)
        return -item

    groups = [("a", [3, 1, 2]), ("none", []), ("b", [5]), ("c", [8, 7])]
    found = [group async for group in stream_groups(groups, work, limit=4, each=told.append)]
    assert found == [("a", [-3, -1, -2]), ("none", []), ("b", [-5]), ("c", [-8, -7])]
    assert told == [-3, -1, -2, -5, -8, -7]
