"""A worker at work: it runs jobs on its own assistant, whose LLM is asked by the run that it works for.

No worker calls an LLM. What its assistant wants to ask, it is told the answer to: so all workers share the limits, the
cache and the purse of the run, with no word between them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.errors import AssistantError
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.workers.messages import (
    Done,
    Factory,
    Given,
    Job,
    Parcel,
    Prompt,
    Ready,
    Start,
    Unready,
    Unwanted,
    Wanted,
    Withdraw,
    packed,
    portable,
    unpacked,
)

Post = Callable[[Any], None]
"""Sends a message to the run."""

Fetch = Callable[[], Awaitable[Any]]
"""Waits for the next message from the run; None: there will be no more."""

_PARCELS = 128


class Relay(LLM):
    """Stands for the run's gateway and LLM in a worker: asks the run, whatever the assistant asks."""

    def __init__(self) -> None:
        self._post: Post | None = None
        self._calls = itertools.count()
        self._waiting: dict[int, asyncio.Future[Completion]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def connect(self, post: Post) -> None:
        """Say how messages get to the run."""
        self._post = post

    async def ask(self, request: Request, send: Any, readable: Readable | None = None) -> Completion:
        """As `rasa_ft_ext.llm.gateway.Gateway.ask`; the run has its own `send` and `readable`."""
        return await self._wait_for(_prompt(request.messages), request.sample)

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        return await self._wait_for(prompt, sample)

    async def _wait_for(self, prompt: Prompt, sample: int) -> Completion:
        assert self._post is not None
        call = next(self._calls)
        self._waiting[call] = asyncio.get_running_loop().create_future()
        self._post(Wanted(call, prompt, sample))
        try:
            return await self._waiting[call]
        except asyncio.CancelledError:
            self._post(Unwanted(call))
            raise
        finally:
            del self._waiting[call]

    def give(self, given: Given) -> None:
        """Hand on what the run has answered."""
        waiting = self._waiting.get(given.call)
        if waiting is None or waiting.done():
            return
        if given.error is not None:
            waiting.set_exception(given.error)
        elif given.completion is not None:
            waiting.set_result(given.completion)


def _prompt(messages: Sequence[Mapping[str, Any]]) -> Prompt:
    """What Rasa gave to its client: where that is one message of a user, its text."""
    if len(messages) == 1 and messages[0].keys() == {"role", "content"} and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return [dict(message) for message in messages]


def opened(start: Start, relay: Relay) -> tuple[Assistant | None, Ready | Unready]:
    """Open the worker's assistant; return it, and what to tell the run. Not within an event loop."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there are as many processes as cores already
    sys.path += [entry for entry in start.sys_path if entry not in sys.path]
    try:
        _enter(start.folder)
        factory: Factory = unpacked(start.factory)
        assistant = factory.open(relay)
        return assistant, Ready(assistant.card.fingerprint)
    except BaseException as error:
        return None, Unready(portable(error))


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise AssistantError(
            f"A worker finds no folder {folder} on its machine ({error.strerror}). On a cluster, every machine needs "
            "the same project in the same place."
        ) from error


async def serve(assistant: Assistant, relay: Relay, fetch: Fetch, post: Post) -> None:
    """Run jobs as they come, many at a time, until there will be no more."""
    worker = _Worker(assistant, relay, post)
    relay.connect(post)
    while (message := await fetch()) is not None:
        worker.take(message)
    await worker.close()


class _Worker:
    def __init__(self, assistant: Assistant, relay: Relay, post: Post) -> None:
        self._assistant = assistant
        self._relay = relay
        self._post = post
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._parcels: OrderedDict[bytes, Any] = OrderedDict()

    def take(self, message: Any) -> None:
        if isinstance(message, Job):
            task = asyncio.create_task(self._run(message))
            self._tasks[message.number] = task
            task.add_done_callback(lambda _: self._tasks.pop(message.number, None))
        elif isinstance(message, Given):
            self._relay.give(message)
        elif isinstance(message, Withdraw) and message.job in self._tasks:
            self._tasks[message.job].cancel()

    async def _run(self, job: Job) -> None:
        try:
            arguments = [self._content(entry) if isinstance(entry, Parcel) else entry for entry in job.arguments]
            result = await getattr(self._assistant, job.method)(*arguments, **job.keywords)
            self._post(Done(job.number, result))
        except Exception as error:
            self._post(Done(job.number, error=portable(error)))

    def _content(self, parcel: Parcel) -> Any:
        if parcel.content not in self._parcels:
            self._parcels[parcel.content] = unpacked(parcel.content)
            if len(self._parcels) > _PARCELS:
                self._parcels.popitem(last=False)
        self._parcels.move_to_end(parcel.content)
        return self._parcels[parcel.content]

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._assistant.close()


def with_packing(post: Callable[[bytes], None]) -> Post:
    """Send messages through what sends bytes; a result that cannot be pickled is told as the error that it is."""

    def send(message: Any) -> None:
        try:
            content = packed(message)
        except Exception as error:
            if not isinstance(message, Done):
                raise
            content = packed(Done(message.job, error=portable(error)))
        post(content)

    return send
