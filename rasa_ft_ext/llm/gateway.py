"""The one way to an LLM: every call passes here, whoever makes it, and each answer is paid for once.

    gateway = Gateway(concurrency=16, cache=cache)
    completion = await gateway.ask(request, send)       # send() makes one attempt, and raises Fault

A call is looked up in the cache, waits until its server may be asked (`rasa_ft_ext.llm.lane`), is made, and made again
for what passes. Its answer is kept before anybody sees it. Two who ask the same at the same time share one call.

A server to which nothing gets through for `Policy.patience` seconds is given up before any single call is: so an
outage costs no conversation; it ends the run, which can go on later. Where only the last few calls of a run are left,
an outage cannot be told from requests that fail for reasons of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol
from weakref import WeakValueDictionary

from rasa_ft_ext.errors import BudgetError
from rasa_ft_ext.llm.base import Completion, Readable
from rasa_ft_ext.llm.faults import Fault, Policy
from rasa_ft_ext.llm.lane import Clock, Lane, Rates, Sleep
from rasa_ft_ext.llm.request import Request

Send = Callable[[], Awaitable[Completion]]
"""One attempt at a call, without retries of its own.

Raises:
    Fault: it failed.
"""

_TOKENS_OF_AN_ANSWER = 200  # as long as no answer has told better


class Store(Protocol):
    """Where answers are kept: `rasa_ft_ext.llm.cache.Cache`."""

    async def get(self, key: str) -> Completion | None: ...
    async def put(self, key: str, request: Request, completion: Completion) -> Completion: ...


class Book(Protocol):
    """Where it is written down what calls cost: `rasa_ft_ext.llm.cost.Ledger`."""

    def allow(self, request: Request) -> None: ...
    def over(self, request: Request) -> None: ...
    def paid(self, request: Request, completion: Completion) -> None: ...
    def kept(self, request: Request, completion: Completion) -> None: ...


class Gathering(Protocol):
    """What makes calls in batches: `rasa_ft_ext.llm.batch.batches.Batches`."""

    def takes(self, request: Request) -> bool: ...
    def sender(self, request: Request) -> Send: ...


class Gateway:
    """See the module.

    Args:
        concurrency: How many calls may be under way at a time with one server; adapted below that.
        rates: What one server may be asked within a minute.
        policy: How long to go on where calls fail.
        cache: Where answers are kept; None: nowhere.
        book: Where it is written down what calls cost; it may refuse one.
        batches: What makes some of the calls in batches; None: each is made by itself.
        sleep: Waits so many seconds; tests give one that does not.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        *,
        concurrency: int = 16,
        rates: Rates | None = None,
        policy: Policy | None = None,
        cache: Store | None = None,
        book: Book | None = None,
        batches: Gathering | None = None,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self._concurrency = concurrency
        self._rates = rates
        self._policy = policy or Policy()
        self._cache = cache
        self._book = book
        self._batches = batches
        self._sleep = sleep
        self._clock = clock
        self._numbers = itertools.count()
        self._lanes: dict[str, Lane] = {}
        self._answer_tokens: float = _TOKENS_OF_AN_ANSWER
        self._under_way: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._paying: dict[str, asyncio.Future[None]] = {}

    def lane(self, who: str) -> Lane:
        """The limits of one server."""
        if who not in self._lanes:
            self._lanes[who] = Lane(
                who,
                ceiling=self._concurrency,
                rates=self._rates,
                policy=self._policy,
                sleep=self._sleep,
                clock=self._clock,
            )
        return self._lanes[who]

    async def ask(self, request: Request, send: Send, readable: Readable | None = None) -> Completion:
        """The answer to a request: the kept one, or that of a call.

        Args:
            request: What is asked.
            send: Makes one attempt, where the call is not made in a batch.
            readable: Tells an answer of the wrong form. It is asked for again until the same one comes twice, since
                that is what the model has to say; None: any answer will do.

        Raises:
            LLMUnavailableError: every further call would fail as well.
            LLMError: this call failed.
        """
        if self._cache is None:
            return await self._paid(request, send, readable)
        async with self._under_way.setdefault(request.key, asyncio.Lock()):
            kept = await self._cache.get(request.key)
            if kept is None:
                return await self._paid(request, send, readable)
        if self._book is not None:
            self._book.kept(request, kept)
        return replace(kept, cached=True)

    async def _paid(self, request: Request, send: Send, readable: Readable | None) -> Completion:
        """Make a call and keep its answer, if answers are kept.

        Where the book refuses it, those that are being answered are waited for, but for batches, which wait by
        themselves: an error may end them, and they are paid for.
        """
        try:
            completion = await self._call(request, send, readable)
            return completion if self._cache is None else await self._cache.put(request.key, request, completion)
        except BudgetError:
            self._is_over(request)
            while self._paying:
                await asyncio.wait([*self._paying.values()])
            raise
        finally:
            self._is_over(request)

    def _allow(self, request: Request) -> None:
        """Let a call be made, that is to be paid for, unless the book refuses it."""
        if self._book is not None:
            self._book.allow(request)
            if request.key not in self._paying:
                self._paying[request.key] = asyncio.get_running_loop().create_future()

    def _is_over(self, request: Request) -> None:
        if self._book is not None:
            self._book.over(request)
        paying = self._paying.pop(request.key, None)
        if paying is not None:
            paying.set_result(None)

    async def _call(self, request: Request, send: Send, readable: Readable | None) -> Completion:
        """Call until an answer can be read, or the same one that cannot comes twice."""
        unread: dict[str, Completion] = {}
        batched = self._batches.sender(request) if self._batches and self._batches.takes(request) else None
        for _ in range(self._policy.readings):
            completion = await (self._gathered(request, batched) if batched else self._answered(request, send))
            if readable is None or readable(completion.text) or completion.text in unread:
                return completion
            unread[completion.text] = completion
        return next(iter(unread.values()))

    async def _answered(self, request: Request, send: Send) -> Completion:
        """Call until an answer comes."""
        lane = self.lane(request.who)
        number = next(self._numbers)
        attempts = waits = 0
        while True:
            try:
                return await self._attempt(lane, number, request, send)
            except Fault as fault:
                if lane.given_up is not None:
                    raise lane.given_up from fault
                attempts += fault.kind != "throttled"
                if not fault.passes or attempts >= self._policy.attempts:
                    raise fault.error from fault
                waits += fault.kind != "throttled"  # then it is the lane that slows down
                wait = self._policy.wait(max(waits, 1)) if fault.retry_after is None else fault.retry_after
            await self._sleep(wait)

    async def _gathered(self, request: Request, send: Send) -> Completion:
        """Ask in one batch after the other until an answer comes: past the server's lane, and at the batches' pace."""
        attempts = 0
        while True:
            if self._book is not None:
                self._book.allow(request)
            try:
                completion = await send()
            except Fault as fault:
                attempts += fault.kind != "throttled"
                if not fault.passes or attempts >= self._policy.attempts:
                    raise fault.error from fault
                continue
            if self._book is not None:
                self._book.paid(request, completion)
            return completion

    async def _attempt(self, lane: Lane, number: int, request: Request, send: Send) -> Completion:
        async with lane.call(number, request.tokens + int(self._answer_tokens)) as call:
            self._allow(request)
            started = time.perf_counter()
            try:
                completion = await send()
            except Fault as fault:
                self._is_over(request)
                call.failed(fault)
                raise
            call.answered()
        completion = replace(completion, seconds=round(time.perf_counter() - started, 4))
        if self._book is not None:
            self._book.paid(request, completion)
        self._answer_tokens += (completion.usage.completion_tokens - self._answer_tokens) / 10
        return completion
