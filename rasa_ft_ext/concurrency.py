"""Do many things at once, so many at a time, and return what came out in the order of what went in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    *,
    limit: int,
    done: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Run `work` on every item, at most `limit` at a time; there are never more tasks than that.

    `done` is called after each. The first error ends the rest and is raised as it is.
    """
    queue = list(enumerate(items))
    results: dict[int, Result] = {}
    waiting = iter(queue)

    async def worker() -> None:
        for index, item in waiting:
            results[index] = await work(item)
            done()

    tasks = [asyncio.create_task(worker()) for _ in range(min(limit, len(queue)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[index] for index in range(len(queue))]
