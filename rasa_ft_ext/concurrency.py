"""Do many things at once, so many at a time, and give what comes out in the order of what goes in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from rasa_ft_ext.errors import BudgetError

Group = TypeVar("Group")
Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # so many times the limit may be finished and wait behind a slow one


async def stream(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, limit: int, ahead: int | None = None
) -> AsyncGenerator[Result, None]:
    """Run `work` on every item and yield the results in the order of the items.

    The items are taken as they are needed. Whoever may leave early closes the iterator (`contextlib.aclosing`), which
    ends what still runs.

    Args:
        items: What to work on; may be a generator.
        work: Works on one.
        limit: How many run at a time.
        ahead: How many results may wait for one before them; 4 times the limit by default. As long as there is room,
            a slow one keeps no other from beginning.

    Raises:
        Exception: the first error of any item, as it is, even before the results of items before it are taken.
    """
    running = _Running(items, work, limit, limit + (_AHEAD * limit if ahead is None else ahead))
    try:
        running.begin()
        while await running.has_next():
            yield running.take()
    finally:
        await running.end()


async def stream_groups(
    groups: Iterable[tuple[Group, Sequence[Item]]],
    work: Callable[[Item], Awaitable[Result]],
    *,
    limit: int,
    each: Callable[[Result], None] = lambda result: None,
) -> AsyncGenerator[tuple[Group, list[Result]], None]:
    """The same with items that belong together: yields each group, in order, when all of its results are there.

    Items of several groups run beside each other. `each` is told every result, in order, before its group is whole.
    """

    async def one(entry: _Entry[Group, Item]) -> tuple[_Entry[Group, Item], list[Result]]:
        return entry, [await work(item) for item in entry.items]

    found: list[Result] = []
    async with aclosing(stream(_entries(groups), one, limit=limit)) as results:
        async for entry, result in results:
            for done in result:
                each(done)
            found += result
            if entry.is_last:
                yield entry.group, found
                found = []


async def in_order(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    *,
    limit: int,
    done: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Run `work` on every item of a list that is not long, at most `limit` at a time; there are never more tasks.

    `done` is called after each. The first error ends the rest and is raised as it is.
    """
    queue = list(items)

    async def one(item: Item) -> Result:
        result = await work(item)
        done()
        return result

    async with aclosing(stream(queue, one, limit=limit, ahead=len(queue))) as results:
        return [result async for result in results]


@dataclass(frozen=True)
class _Entry(Generic[Group, Item]):
    """One item of a group; none where the group is empty."""

    group: Group
    items: tuple[Item, ...]
    is_last: bool


def _entries(groups: Iterable[tuple[Group, Sequence[Item]]]) -> Iterator[_Entry[Group, Item]]:
    for group, items in groups:
        if not items:
            yield _Entry(group, (), is_last=True)
        for number, item in enumerate(items, start=1):
            yield _Entry(group, (item,), is_last=number == len(items))


class _Running(Generic[Item, Result]):
    """The tasks of a stream in the order of their items: those that run, and those that are done and not taken."""

    def __init__(self, items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], limit: int, room: int) -> None:
        self._items = iter(items)
        self._work = work
        self._limit = limit
        self._room = room
        self._tasks: deque[asyncio.Task[Result]] = deque()
        self._under_way = 0
        self._error: BaseException | None = None
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Begin with items until so many run as may, or so many results wait as may."""
        while self._error is None and self._under_way < self._limit and len(self._tasks) < self._room:
            try:
                item = next(self._items)
            except StopIteration:
                return
            except Exception as error:  # called by the event loop as well, where nobody would see it
                self._error = error
                self._changed.set()
                return
            self._under_way += 1
            task = asyncio.ensure_future(self._do(item))
            task.add_done_callback(self._is_done)
            self._tasks.append(task)

    async def _do(self, item: Item) -> Result:
        return await self._work(item)

    def _is_done(self, task: asyncio.Task[Result]) -> None:
        self._under_way -= 1
        if self._error is None:
            self._error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._changed.set()
        self.begin()

    async def has_next(self) -> bool:
        """Wait until the first result is there; False where there is none any more."""
        while self._error is None and self._tasks and not self._tasks[0].done():
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        return bool(self._tasks)

    def take(self) -> Result:
        result = self._tasks.popleft().result()
        self.begin()
        return result

    async def end(self) -> None:
        """Stop what still runs, and wait until it has stopped.

        Where the money is spent, what is under way is paid for already: it comes to its end by itself.
        """
        self._room = 0
        for task in self._tasks:
            if not isinstance(self._error, BudgetError):
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
