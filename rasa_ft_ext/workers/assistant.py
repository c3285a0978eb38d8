"""An assistant whose work is done by several workers, behind the seam that every assistant has.

    assistant = open_workers(factory, 4, inner=lambda: place.load(stubbed=True), progress=progress)

Each worker has an assistant of its own. The one in this process tells what the stages must know, and asks the LLM for
all of them: what they get depends on no worker, so neither does a result.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.assistant.base import Answer, Assistant, Simulation
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import AssistantCard, Conversation, TestFile
from rasa_ft_ext.errors import AssistantError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.llm import options
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.workers.links import Backend, Link, Processes
from rasa_ft_ext.workers.messages import (
    Done,
    Factory,
    Given,
    Job,
    Parcel,
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

_TRIES = 3  # of a job whose worker ended, before it is taken for what ends them
_PARCELS = 256


@dataclass
class _Pending:
    """A job that is not done yet, and what waits for it."""

    job: Job
    done: asyncio.Future[Any]
    tries: int = 1


@dataclass
class _Worker:
    """A worker, its jobs, and the answers that it waits for."""

    link: Link
    ready: bool
    jobs: dict[int, _Pending] = field(default_factory=dict)
    calls: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    reader: asyncio.Task[None] | None = None
    error: BaseException | None = None


class WorkersAssistant(Assistant):
    """See the module.

    Args:
        inner: The assistant in this process: `RasaAssistant`, or `RecordedAssistant`.
        links: The workers, whose assistants are open.
        backend: Where another one is started, in the place of one that ended.
    """

    def __init__(self, inner: Any, links: Sequence[Link], backend: Backend) -> None:
        self._inner = inner
        self._backend = backend
        self._workers = [_Worker(link, ready=True) for link in links]
        self._numbers = itertools.count()
        self._parcels: OrderedDict[int, tuple[Any, Parcel]] = OrderedDict()
        self._answering: set[asyncio.Task[None]] = set()
        self._lost: BaseException | None = None
        self.can_simulate = bool(inner.can_simulate)

    @property
    def card(self) -> AssistantCard:
        card: AssistantCard = self._inner.card
        return card

    @property
    def flow_map(self) -> FlowMap:
        """That of the assistant in this process."""
        found: FlowMap = self._inner.flow_map
        return found

    @property
    def asked_as(self) -> Mapping[str, Any]:
        """That of the assistant in this process."""
        found: Mapping[str, Any] = self._inner.asked_as
        return found

    def read(self, completion: str) -> tuple[Command, ...]:
        commands: tuple[Command, ...] = self._inner.read(completion)
        return commands

    async def run_test(self, test: Any) -> Any:
        """As that of the assistant in this process."""
        return await self._do("run_test", test)

    async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Answer:
        answer: Answer = await self._do("ask", self._parcel(conversation), turn, message, sample=sample)
        return answer

    async def simulate(
        self,
        source: TestFile,
        conversation: Conversation,
        messages: Sequence[str],
        labels: Sequence[tuple[Command, ...] | None],
        start: int = 0,
        template: str | None = None,
    ) -> Simulation:
        packets = self._parcel(source), self._parcel(conversation)
        simulation: Simulation = await self._do("simulate", *packets, messages, labels, start, template)
        return simulation

    async def close(self) -> None:
        answering = [*self._answering, *(worker.reader for worker in self._workers if worker.reader is not None)]
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        for worker in self._workers:
            worker.link.close()
        self._backend.close()
        await self._inner.close()

    def _parcel(self, content: Any) -> Parcel:
        """What comes again and again is pickled once; the object is kept, so that its id stays its own."""
        if id(content) not in self._parcels:
            self._parcels[id(content)] = (content, Parcel(packed(content)))
            if len(self._parcels) > _PARCELS:
                self._parcels.popitem(last=False)
        self._parcels.move_to_end(id(content))
        return self._parcels[id(content)][1]

    async def _do(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        job = Job(next(self._numbers), method, arguments, keywords)
        pending = _Pending(job, asyncio.get_running_loop().create_future())
        try:
            await self._give(pending)
            return await pending.done
        except asyncio.CancelledError:
            for worker in list(self._workers):
                if worker.jobs.pop(job.number, None) is not None:
                    await worker.link.send(packed(Withdraw(job.number)))
            raise

    async def _give(self, pending: _Pending) -> None:
        """Give a job to the worker that has the fewest, of those that are ready if there are any."""
        if self._lost is not None:
            raise self._lost
        for worker in self._workers:
            if worker.reader is None:
                worker.reader = asyncio.create_task(self._read(worker))
        chosen = min(self._workers, key=lambda worker: (not worker.ready, len(worker.jobs)))
        chosen.jobs[pending.job.number] = pending
        await chosen.link.send(packed(pending.job))

    async def _read(self, worker: _Worker) -> None:
        """Take what a worker says until it ends, and then put another one in its place."""
        try:
            while (content := await worker.link.receive()) is not None:
                self._take(worker, unpacked(content))
            await self._replace(worker)
        except Exception as error:  # whatever it is, nobody is to wait for ever
            self._lost = error
            for pending in [entry for other in [worker, *self._workers] for entry in other.jobs.values()]:
                if not pending.done.done():
                    pending.done.set_exception(error)

    def _take(self, worker: _Worker, message: Any) -> None:
        if isinstance(message, Done):
            self._end(worker, message)
        elif isinstance(message, Wanted):
            self._answer(worker, message)
        elif isinstance(message, Unwanted) and message.call in worker.calls:
            worker.calls[message.call].cancel()
        elif isinstance(message, Ready):
            worker.ready = True
        elif isinstance(message, Unready):
            worker.error = message.error

    def _end(self, worker: _Worker, message: Done) -> None:
        pending = worker.jobs.pop(message.job, None)
        if pending is None or pending.done.done():
            return
        if message.error is not None:
            pending.done.set_exception(message.error)
        else:
            pending.done.set_result(message.result)

    def _answer(self, worker: _Worker, wanted: Wanted) -> None:
        task = asyncio.create_task(self._ask(worker, wanted))
        worker.calls[wanted.call] = task
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        task.add_done_callback(lambda _: worker.calls.pop(wanted.call, None))

    async def _ask(self, worker: _Worker, wanted: Wanted) -> None:
        try:
            completion = await self._inner.complete(wanted.prompt, sample=wanted.sample)
            given = Given(wanted.call, completion)
        except Exception as error:
            given = Given(wanted.call, error=portable(error))
        await worker.link.send(packed(given))

    async def _replace(self, worker: _Worker) -> None:
        """Put another worker in the place of one that ended, and give its jobs to whoever is there.

        Answers that it waited for are not given up: they are paid for, and the job will want them again.
        """
        end = f"A worker {await asyncio.to_thread(worker.link.end)}."
        if worker.ready:
            self._workers.append(_Worker(self._backend.start(), ready=False))
        self._workers.remove(worker)
        jobs, worker.jobs = list(worker.jobs.values()), {}
        if not self._workers:
            self._lost = worker.error or AssistantError(f"{end} It could not open the assistant.")
        for pending in jobs:
            if pending.done.done():
                continue
            try:
                if pending.tries >= _TRIES:
                    raise AssistantError(f"{end} So did {_TRIES - 1} others at the same work. Use fewer workers.")
                pending.tries += 1
                await self._give(pending)
            except Exception as error:
                pending.done.set_exception(error)


def open_workers(
    factory: Factory,
    workers: int,
    *,
    inner: Callable[[], Any],
    backend: options.Backend = "processes",
    progress: Progress | None = None,
) -> WorkersAssistant:
    """Start workers, and open the assistant of this process while they open theirs; not within an event loop.

    Args:
        factory: Opens the assistant of a worker.
        workers: How many there are.
        inner: Opens the assistant of this process, which has `complete`, and `flow_map` if tests are to be run.
        backend: Where they are: `processes` on this machine, or actors on a `ray` cluster.
        progress: Is told how far it is.

    Raises:
        RasaFtError: an assistant cannot be opened.
        MissingExtraError: Ray is not installed.
    """
    progress = progress or Progress()
    place = _backend(backend, packed(Start(list(sys.path), os.getcwd(), packed(factory))), workers)
    if place.note:
        progress.note(place.note)
    links: list[Link] = []
    assistant: Any = None
    progress.start(f"Starting {workers} workers", workers)
    try:
        links += [place.start() for _ in range(workers)]
        assistant = inner()
        for link in links:
            _check(link, assistant.card.fingerprint)
            progress.step()
    except BaseException:
        for link in links:
            link.close()
        place.close()
        if assistant is not None:
            asyncio.run(assistant.close())
        raise
    return WorkersAssistant(assistant, links, place)


def _backend(name: options.Backend, started: bytes, workers: int) -> Backend:
    if name == "processes":
        return Processes(started)
    from rasa_ft_ext.workers.on_ray import RayBackend

    return RayBackend(started, workers)


def _check(link: Link, fingerprint: str) -> None:
    """Wait until a worker is ready, with the same assistant.

    Raises:
        RasaFtError: it is not.
    """
    content = link.first()
    if content is None:
        raise AssistantError(f"A worker {link.end()}, before it had opened the assistant.")
    told: Ready | Unready = unpacked(content)
    if isinstance(told, Unready):
        raise told.error
    if told.fingerprint != fingerprint:
        raise AssistantError(
            "A worker found another model than this process. Was one trained meanwhile? Then run the command again; "
            "on a cluster, every machine needs the same project in the same place."
        )
