"""OpenAI's API on top of a script: requests in, answers and numbers out.

Addresses: `/v1/chat/completions`, `/v1/embeddings` and `/v1/models`, those of files and batches (`batch_api`),
all the same without `/v1`; and `/health`, `/stats`, `POST /stats/reset` and `POST /capacity`. What it does not do:
streaming, tools, several choices, and anything that the script does not hold; it invents no text. Its token counts are
numbers of words. Calls fail only where that is asked for, see `faults`.

This module knows how to answer a request, not how a server is started and stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from rasa_ft_ext.commands import Syntax, write
from rasa_ft_ext.llm.scripted.batch import Batches
from rasa_ft_ext.llm.scripted.batch_api import BatchApi
from rasa_ft_ext.llm.scripted.counts import Counts
from rasa_ft_ext.llm.scripted.failing import REFUSALS, fail
from rasa_ft_ext.llm.scripted.faults import NO_FAULTS, OF_ANSWERS, Fault, Faults, off_the_point
from rasa_ft_ext.llm.scripted.files import LARGEST_FILE
from rasa_ft_ext.llm.scripted.openai import (
    INVALID,
    RATE_LIMIT,
    Refusal,
    chat_answer,
    embeddings_answer,
    prompt_of,
    read_body,
)
from rasa_ft_ext.llm.scripted.prompts import ForCommands, ForRephrasings, understand
from rasa_ft_ext.llm.scripted.script import Script

REMEMBERED = 10_000
_LARGEST_REQUEST = LARGEST_FILE + 1024 * 1024

Asked = ForCommands | ForRephrasings | None
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class _Call:
    """A request for a chat answer: `times` is how often its prompt came before, `fault` what goes wrong with it."""

    body: dict[str, Any]
    prompt: str
    asked: Asked
    times: int
    fault: Fault | None


class ScriptedLLM:
    """The answers and the numbers behind the server.

    `requests` holds the prompts in the order in which they came, the last `remembered` of them. `capacity` is how many
    chat answers may be under way at a time (None: any number), and may be set while the server runs.
    """

    def __init__(
        self,
        script: Script,
        *,
        latency: float = 0.0,
        syntax: Syntax | None = None,
        faults: Faults = NO_FAULTS,
        capacity: int | None = None,
        batch_seconds: float = 0.0,
        remembered: int = REMEMBERED,
    ) -> None:
        """Take a script.

        Args:
            script: What to answer.
            latency: Seconds that a chat answer takes; other requests are answered in the meantime.
            syntax: The syntax to answer in; None: the one that the prompt shows.
            faults: Which chat answers, and which requests for files and batches, go wrong.
            capacity: How many chat answers may be under way at a time; who comes then gets status 429.
            batch_seconds: How long a batch takes.
            remembered: How many prompts are kept in `requests`.
        """
        self.requests: deque[str] = deque(maxlen=remembered)
        self.capacity = capacity
        self.batches = Batches(self._line, seconds=batch_seconds)
        self._script = script
        self._latency = latency
        self._syntax = syntax
        self._faults = faults
        self._under_way = 0
        self._counts = Counts()

    def reset(self) -> None:
        """Begin to count from zero, and forget the prompts."""
        self._counts.reset()
        self.requests.clear()

    def stats(self) -> dict[str, Any]:
        """What was counted.

        `calls` is the number of requests for answers, those in batches included, then by kind; `other` are requests
        that are not valid, or ask neither for commands nor for paraphrases nor for embeddings. `refused` are the calls,
        of whichever kind, for which the script has an error or nothing. `over_capacity` are those beside `calls` that
        were too many at a time. `answered` counts the chat answers that came as they should, `distinct` the different
        prompts among them, `repeated` the rest: what was paid for twice. `batches` is the number of batches begun,
        `max_in_flight` that of calls at a time, and `faults` says how many there were of each kind.
        """
        return self._counts.shown()

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        for prefix in ("", "/v1"):
            app.router.add_post(f"{prefix}/chat/completions", self._counted(self._chat))
            app.router.add_post(f"{prefix}/embeddings", self._counted(self._embeddings))
            app.router.add_get(f"{prefix}/models", self._models)
            for method, path, handle in BatchApi(self.batches, self._counts.batch_began).routes():
                app.router.add_route(method, f"{prefix}{path}", self._may_fail(handle))
        app.router.add_get("/health", self._health)
        app.router.add_get("/stats", self._stats)
        app.router.add_post("/stats/reset", self._reset)
        app.router.add_post("/capacity", self._set_capacity)
        return app

    def answer(self, prompt: str) -> str:
        """The answer to one prompt.

        Raises:
            Refusal: there is none.
        """
        asked = understand(prompt)
        self._count(asked)
        return self._reply(asked)

    def _count(self, asked: Asked) -> None:
        kind = "paraphrases" if isinstance(asked, ForRephrasings) else "other"
        if isinstance(asked, ForCommands) and (self._syntax or asked.syntax):
            kind = "commands"
        self._counts.calls[kind] += 1

    def _reply(self, asked: Asked) -> str:
        if isinstance(asked, ForRephrasings):
            return "\n\n".join(self._paraphrased(message, asked.count) for message in asked.messages)
        if asked is None:
            raise Refusal(400, "unknown_request", "The prompt asks neither for commands nor for rephrasings.")
        return self._commands(asked, self._syntax or asked.syntax)

    def _commands(self, request: ForCommands, syntax: Syntax | None) -> str:
        answer = self._script.find(request.message, request.said)
        if answer is None:
            said = f" (the assistant said last: '{request.said}')" if request.said else ""
            message = f"The script has no answer to the message '{request.message}'{said}."
            raise Refusal(404, "unknown_message", f"{message} Add it to {self._script.name}.")
        if answer.error is not None:
            raise Refusal(answer.error, "scripted_error", f"The script answers '{request.message}' with this error.")
        if answer.text is not None:
            return answer.text
        if syntax is None:
            message = "The prompt does not show in which syntax commands are to be written. Say it with --syntax."
            raise Refusal(400, "unknown_syntax", message)
        return write(answer.commands or (), syntax)

    def _paraphrased(self, message: str, count: int) -> str:
        wordings = self._script.paraphrases(message)[:count]
        return "\n".join([f"USER: {message}", *(f"{number}. {text}" for number, text in enumerate(wordings, 1))])

    def _counted(self, handle: Handler) -> Handler:
        """Count a request in, turn a refusal into its answer, count the request out."""

        async def counted(request: web.Request) -> web.StreamResponse:
            with self._counts.in_flight():
                try:
                    return await handle(request)
                except Refusal as refusal:
                    self._counts.refusal(refusal)
                    return refusal.response()

        return counted

    def _may_fail(self, handle: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        """Have requests for files and batches go wrong; which one does depends on its address and how often it came."""

        async def handled(request: web.Request) -> web.StreamResponse:
            async def answer() -> web.Response:
                try:
                    return await handle(request)
                except Refusal as refusal:
                    return refusal.response()

            what = f"{request.method} {request.path}"
            fault = self._faults.draw(what, self._counts.came(what))
            if fault is None or fault in OF_ANSWERS:
                return await answer()
            self._counts.faults[fault] += 1
            await request.post()  # reads an upload, and once only
            return await fail(fault, self._faults, request, answer)

        return handled

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request)
        prompt = prompt_of(body)
        with self._room():
            call = self._came(body, prompt)

            async def answer() -> web.Response:
                await asyncio.sleep(self._latency)
                return web.json_response(self._answered(call))

            if call.fault is None:
                return await answer()
            self._counts.faults[call.fault] += 1
            return await fail(call.fault, self._faults, request, answer)

    def _line(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """Answer one request of a batch; faults of a connection do not happen to it, a timeout is its batch's end."""
        try:
            call = self._came(body, prompt_of(body))
            if call.fault in (*OF_ANSWERS, *REFUSALS, "timeout"):
                self._counts.faults[call.fault] += 1
            if call.fault == "timeout":
                return None
            if call.fault in REFUSALS:
                return REFUSALS[call.fault].status, REFUSALS[call.fault].body
            return 200, self._answered(call)
        except Refusal as refusal:
            self._counts.refusal(refusal)
            return refusal.status, refusal.body

    def _came(self, body: dict[str, Any], prompt: str) -> _Call:
        """Count a request for a chat answer, and say what will go wrong with it."""
        self.requests.append(prompt)
        asked = understand(prompt)
        self._count(asked)
        times = self._counts.came(prompt)
        return _Call(body, prompt, asked, times, self._faults.draw(prompt, times))

    def _answered(self, call: _Call) -> dict[str, Any]:
        """The whole answer, with the fault in it where it is one of content.

        Raises:
            Refusal: there is none.
        """
        answer = chat_answer(call.body, call.prompt, self._reply(call.asked))
        if call.fault == "no-choices":
            return {**answer, "choices": []}
        if call.fault == "wrong-format":
            return chat_answer(call.body, call.prompt, off_the_point(call.prompt, call.times))
        if call.fault not in ("truncated", "reset"):
            self._counts.answered(call.prompt)
        return answer

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Take one of the places for chat answers.

        Raises:
            Refusal: there is none left.
        """
        if self.capacity is not None and self._under_way >= self.capacity:
            raise Refusal(429, RATE_LIMIT, "The capacity of this server is used up. Please try again later.")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        answer = embeddings_answer(await read_body(request))
        self._counts.calls["embeddings"] += 1
        return web.json_response(answer)

    async def _set_capacity(self, request: web.Request) -> web.StreamResponse:
        try:
            capacity = (await read_body(request)).get("capacity")
            if capacity is not None and (type(capacity) is not int or capacity < 0):
                raise Refusal(400, INVALID, "'capacity' must be a whole number from 0, or null for no limit.")
        except Refusal as refusal:
            return refusal.response()
        self.capacity = capacity
        return web.json_response({"capacity": capacity})

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": "scripted", "object": "model", "created": 0, "owned_by": "rasa-ft-ext"}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(self.stats())

    async def _reset(self, request: web.Request) -> web.Response:
        self.reset()
        return web.json_response(self.stats())
