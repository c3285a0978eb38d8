"""The batches of one model at one server: gathers requests, sends them, waits, and hands out what comes back.

What can fail in between is told apart. Until a batch has been made nothing is paid, and it is made once: where it is
not known whether it was, the server is asked for it. While it is waited for, a server that cannot be reached is asked
again for a while. When it has ended, all its answers are on disk before anybody gets one.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from rasa_ft_ext.errors import LLMError, LLMUnavailableError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.batch.client import BatchClient, Seen, line_of, was_cancelled
from rasa_ft_ext.llm.batch.pace import House, Room
from rasa_ft_ext.llm.batch.state import SentBatch, sending_alone
from rasa_ft_ext.llm.faults import Fault
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.settings import LLMSettings

T = TypeVar("T")

_MOST_LOOKS_FAILED = 40  # in a row, which is about half an hour
_MOST_SHORT = 3  # times that a file with too few answers is read again
_STAGED_AT_ONCE = 500
_TOO_MANY_TOKENS = "token_limit_exceeded"
_GOES_ON = "It goes on at the provider; the same command takes it up again."


class Desk:
    """See the module.

    Args:
        who: The model and its server.
        settings: How it is reached.
        house: What all desks share.
    """

    def __init__(self, who: str, settings: LLMSettings, house: House) -> None:
        self._who = who
        self._settings = settings
        self._house = house
        self._gathered: dict[str, bytes] = {}
        self._size = 0
        self._arrived = 0
        self._waiting: dict[str, asyncio.Future[Completion]] = {}
        self._sending: asyncio.Task[None] | None = None
        self._full = asyncio.Event()
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._in_batch: dict[str, set[str]] = {}  # by our id of the batch, the keys of those who wait
        self._room = Room(house.pace.requests)

    async def answer(self, request: Request) -> Completion:
        """The answer to a request, of a batch that has come, is under way, or will be sent.

        Raises:
            Fault: it failed.
        """
        kept = self._house.state.kept(request.key)
        if kept is not None:
            return kept
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting[request.key] = future
        try:
            self._gather(request)
            return await future
        finally:
            self._waiting.pop(request.key, None)
            self._size -= len(self._gathered.pop(request.key, b""))

    def _gather(self, request: Request) -> None:
        line = self._gathered[request.key] = line_of(request, self._settings)
        self._size += len(line)
        self._arrived += 1
        if len(self._gathered) >= self._room.requests or self._size >= self._house.pace.size:
            self._full.set()
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        """Send what is gathered, when no more comes or it is enough, until nothing is left."""
        try:
            while self._gathered:
                await self._settled()
                if self._room.one_batch and self._watches:
                    await asyncio.wait(self._watches.values())
                async with sending_alone(self._house.folder), BatchClient(self._settings) as client:
                    await self._find_unsent(client)
                    await self._send(client)
        except Exception as error:
            self._settle(tuple(self._gathered), partial(_same, error))

    async def _settled(self) -> None:
        while not self._full.is_set():
            before = self._arrived
            pause = asyncio.ensure_future(self._house.sleep(self._house.pace.settle))
            full = asyncio.ensure_future(self._full.wait())
            try:
                await asyncio.wait((pause, full), return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
                full.cancel()
            if self._arrived == before:
                break
        self._full.clear()

    async def _find_unsent(self, client: BatchClient) -> None:
        """Ask the provider for batches that were about to be sent when a run ended, or a connection broke."""
        for batch in self._house.state.unsent(self._who):
            name = await self._tried(partial(client.find, batch.file, batch.id))
            if name is None:
                await self._house.state.forget(batch)
            else:
                await self._house.state.sent(batch, name)

    async def _send(self, client: BatchClient) -> None:
        """Send one batch of what is gathered, other than what has come or was sent by others meanwhile."""
        lines = self._taken()
        if not lines:
            return
        try:
            batch = await self._sent(client, lines)
        except Exception as error:
            self._settle(lines, partial(_same, error))
            raise
        self._house.progress.note(
            f"Batch {batch.batch}: {batch.requests:,} requests sent to {self._who}, which answers within 24 hours."
        )
        self._wait_for(batch, lines, is_new=True)

    async def _sent(self, client: BatchClient, lines: Mapping[str, bytes]) -> SentBatch:
        state = self._house.state
        batch = await state.prepare(uuid.uuid4().hex, self._who, lines)
        try:
            file = await self._uploaded(client, batch, lines.values())
        except Fault:
            await state.forget(batch)
            raise
        name = await self._created(client, batch, file)
        await state.sent(batch, name)
        return replace(batch, file=file, batch=name)

    def _taken(self) -> dict[str, bytes]:
        """Take requests for one batch from those that are gathered; those that are not to be sent are waited for."""
        state, size = self._house.state, 0
        lines: dict[str, bytes] = {}
        for key, line in list(self._gathered.items()):
            if len(lines) == self._room.requests or (lines and size + len(line) > self._house.pace.size):
                self._full.set()  # the others are next
                break
            del self._gathered[key]
            self._size -= len(line)
            kept, batch = state.kept(key), state.batch_of(key)
            if kept is not None:
                self._settle((key,), partial(_same, kept))
            elif batch is not None:
                self._wait_for(batch, (key,))
            else:
                lines[key] = line
                size += len(line)
        return lines

    async def _uploaded(self, client: BatchClient, batch: SentBatch, lines: Iterable[bytes]) -> str:
        with tempfile.TemporaryFile() as stream:
            stream.writelines(lines)

            async def upload() -> str:
                stream.seek(0)
                return await client.upload(f"rasa-ft-{batch.id}.jsonl", stream)

            file = await self._tried(upload)
        await self._house.state.uploaded(batch, file)
        while not await self._tried(lambda: client.is_ready(file)):
            await self._house.sleep(self._house.pace.look)
        return file

    async def _created(self, client: BatchClient, batch: SentBatch, file: str) -> str:
        is_first = True

        async def create() -> str:
            nonlocal is_first
            found = None if is_first else await client.find(file, batch.id)
            is_first = False
            return found or await client.create(file, batch.id)

        return await self._tried(create)

    async def _tried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try something that costs nothing until it goes well.

        Raises:
            Fault: it did not, and trying again is of no use.
        """
        for number in range(1, self._house.policy.attempts):
            try:
                return await attempt()
            except Fault as fault:
                if not fault.passes:
                    raise
                wait = fault.retry_after or self._house.policy.wait(number)
            await self._house.sleep(wait)
        try:
            return await attempt()
        except Fault as fault:
            raise Fault("fatal", fault.error) from fault

    def _wait_for(self, batch: SentBatch, keys: Iterable[str], *, is_new: bool = False) -> None:
        """See that a batch is waited for, and that those who wait for these requests are told."""
        self._in_batch.setdefault(batch.id, set()).update(keys)
        if batch.id not in self._watches:
            if not is_new:
                words = f"Batch {batch.batch}: waiting for {batch.requests:,} requests that were sent before."
                self._house.progress.note(words)
            self._watches[batch.id] = asyncio.create_task(self._watched(batch))

    async def _watched(self, batch: SentBatch) -> None:
        """Wait until a batch has ended, and hand out its answers."""
        result: Callable[[str], Completion | Exception]
        try:
            async with BatchClient(self._settings) as client:
                seen = await self._ended(client, batch)
                faults = await self._collected(client, batch, seen)
            result = partial(self._result, batch, seen, faults)
        except Exception as error:
            result = partial(_same, error)
        except BaseException:
            self._house.progress.note(f"Batch {batch.batch} is not waited for any more. {_GOES_ON}")
            raise
        finally:
            del self._watches[batch.id]
        self._settle(self._in_batch.pop(batch.id, ()), result)

    async def _ended(self, client: BatchClient, batch: SentBatch) -> Seen | None:
        """Look at a batch until it has ended; None where the provider does not know it any more."""
        wait, failed, told = self._house.pace.look, 0, 0
        while True:
            try:
                seen = await client.look(str(batch.batch))
            except Fault as fault:
                failed += 1
                if not fault.passes or failed >= _MOST_LOOKS_FAILED:
                    words = f"{fault.error} Batch {batch.batch} is not lost. {_GOES_ON}"
                    raise Fault("fatal", LLMUnavailableError(words)) from fault
            else:
                failed = 0
                if seen is None or seen.has_ended:
                    return seen
                if seen.total and (tenth := 10 * seen.completed // seen.total) > told:
                    told = tenth
                    self._house.progress.note(f"Batch {batch.batch}: {seen.completed:,} of {seen.total:,} answered.")
            await self._house.sleep(wait)
            wait = min(wait * 1.5, self._house.pace.longest_look)

    async def _collected(self, client: BatchClient, batch: SentBatch, seen: Seen | None) -> dict[str, Fault]:
        """Put the answers of a batch on disk; return what those who wait are told of the requests that failed."""
        faults: dict[str, Fault] = {}
        if seen is not None:
            try:
                await self._tried(partial(self._read, client, seen, faults, iter(range(_MOST_SHORT))))
            except Fault as fault:
                if fault.kind != "request":  # else the files are not there any more
                    raise
            if _TOO_MANY_TOKENS in seen.codes:
                self._room.shrink(batch, others=len(self._watches) > 1)
        await self._house.state.forget(batch)
        if seen is not None:
            words = f"Batch {batch.batch} is {seen.status}: {seen.completed:,} of {batch.requests:,} requests answered."
            self._house.progress.note(words)
        return faults

    async def _read(self, client: BatchClient, seen: Seen, faults: dict[str, Fault], tries: Iterator[int]) -> None:
        answers: list[tuple[str, Completion]] = []
        count = 0
        async for outcome in client.outcomes(seen):
            if isinstance(outcome.result, Completion):
                answers.append((outcome.key, outcome.result))
            elif outcome.key in self._waiting:
                faults[outcome.key] = outcome.result
            count += outcome.is_answer
            if len(answers) >= _STAGED_AT_ONCE:
                await self._house.state.stage(answers)
                answers.clear()
        await self._house.state.stage(answers)
        if count < seen.completed and next(tries, None) is not None:
            words = f"The answers of batch {seen.id} at {self._who} came with {count} of {seen.completed}."
            raise Fault("passing", LLMError(words))

    def _result(
        self, batch: SentBatch, seen: Seen | None, faults: Mapping[str, Fault], key: str
    ) -> Completion | Exception:
        """What those are told who wait for a request in a batch that has ended."""
        name = f"Batch {batch.batch} at {self._who}"
        found = self._house.state.kept(key) or faults.get(key)
        if found is not None:
            return found
        if seen is None:
            return Fault("passing", LLMError(f"{name} is not known there any more."))
        if seen.status == "cancelled":
            return was_cancelled(self._who)
        if _TOO_MANY_TOKENS in seen.codes and batch.requests > 1:
            return Fault("throttled", LLMError(f"{name} was refused: {seen.problems}"))
        if seen.status == "failed":
            return Fault("fatal", LLMUnavailableError(f"{name} was refused: {seen.problems}"))
        return Fault("passing", LLMError(f"{name} has no answer to a request."))

    def _settle(self, keys: Iterable[str], result: Callable[[str], Completion | Exception]) -> None:
        """Tell those who wait for these requests."""
        for key in keys:
            future = self._waiting.get(key)
            if future is None or future.done():
                continue
            found = result(key)
            if isinstance(found, Completion):
                future.set_result(found)
            else:
                future.set_exception(found)


def _same(result: Completion | Exception, key: str) -> Completion | Exception:
    return result
