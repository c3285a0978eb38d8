"""OpenAI's API on top of a script: requests in, answers and numbers out.

Addresses: `/v1/chat/completions`, `/v1/embeddings` and `/v1/models`, the same without `/v1`, and `/health`, `/stats`
and `POST /stats/reset`. What it does not do: streaming, tools, several choices, and anything that the script does not
hold; it invents no text. Its token counts are numbers of words.

This module knows how to answer a request, not how a server is started and stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from rasa_ft_ext.commands import Syntax, write
from rasa_ft_ext.llm.scripted import Script
from rasa_ft_ext.llm.scripted_embeddings import DIMENSIONS, embed, to_base64
from rasa_ft_ext.llm.scripted_prompts import ForCommands, ForRephrasings, understand

_KINDS = ("commands", "paraphrases", "embeddings", "other")
_INVALID = "invalid_request_error"
_REMEMBERED = 10_000
_LARGEST_REQUEST = 64 * 1024 * 1024

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Refusal(Exception):
    """A request that gets an error for an answer, in OpenAI's form. `kind` is the error's type."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def response(self) -> web.Response:
        error = {"message": str(self), "type": self.kind, "param": None, "code": self.kind}
        return web.json_response({"error": error}, status=self.status)


class ScriptedLLM:
    """The answers and the numbers behind the server.

    `requests` holds the prompts in the order in which they came, the last 10,000 of them.
    """

    def __init__(self, script: Script, *, latency: float = 0.0, syntax: Syntax | None = None) -> None:
        """Take a script.

        Args:
            script: What to answer.
            latency: Seconds that a chat answer takes; other requests are answered in the meantime.
            syntax: The syntax to answer in; None: the one that the prompt shows.
        """
        self.requests: deque[str] = deque(maxlen=_REMEMBERED)
        self._script = script
        self._latency = latency
        self._syntax = syntax
        self._in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Begin to count from zero, and forget the prompts."""
        self._counts: Counter[str] = Counter()
        self._max_in_flight = self._in_flight
        self.requests.clear()

    def stats(self) -> dict[str, int]:
        """Answered calls in total and by kind, those that got an error, and how many were in flight at most.

        `other` are requests that are not valid, or ask neither for commands nor for paraphrases nor for embeddings.
        `refused` are the calls, of whichever kind, that got an error.
        """
        counts = {kind: self._counts[kind] for kind in _KINDS}
        total = {"calls": sum(counts.values())}
        return {**total, **counts, "refused": self._counts["refused"], "max_in_flight": self._max_in_flight}

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        for prefix in ("", "/v1"):
            app.router.add_post(f"{prefix}/chat/completions", self._counted(self._chat))
            app.router.add_post(f"{prefix}/embeddings", self._counted(self._embeddings))
            app.router.add_get(f"{prefix}/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/stats", self._stats)
        app.router.add_post("/stats/reset", self._reset)
        return app

    def answer(self, prompt: str) -> str:
        """The answer to one prompt.

        Raises:
            Refusal: there is none.
        """
        request = understand(prompt)
        if isinstance(request, ForRephrasings):
            self._counts["paraphrases"] += 1
            return "\n\n".join(self._paraphrased(message, request.count) for message in request.messages)
        if request is None:
            self._counts["other"] += 1
            raise Refusal(400, "unknown_request", "The prompt asks neither for commands nor for rephrasings.")
        syntax = self._syntax or request.syntax
        self._counts["commands" if syntax else "other"] += 1
        return self._commands(request, syntax)

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

    def _counted(self, handle: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Count a request in, turn a refusal into its answer, count the request out."""

        async def counted(request: web.Request) -> web.Response:
            self._in_flight += 1
            self._max_in_flight = max(self._max_in_flight, self._in_flight)
            try:
                return web.json_response(await handle(await _body(request)))
            except Refusal as refusal:
                self._counts["refused"] += 1
                self._counts["other"] += refusal.kind == _INVALID
                return refusal.response()
            finally:
                self._in_flight -= 1

        return counted

    async def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = _prompt(body)
        self.requests.append(prompt)
        await asyncio.sleep(self._latency)
        text = self.answer(prompt)
        message = {"role": "assistant", "content": text}
        return {
            "id": f"chatcmpl-{hashlib.sha256(prompt.encode()).hexdigest()[:24]}",
            "object": "chat.completion",
            "created": 0,
            "model": body.get("model", "scripted"),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": _usage(prompt, text),
        }

    async def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        texts = _texts(body)
        self._counts["embeddings"] += 1
        as_base64 = body.get("encoding_format") == "base64"
        vectors = [to_base64(embed(text)) if as_base64 else embed(text) for text in texts]
        data = [{"object": "embedding", "index": index, "embedding": entry} for index, entry in enumerate(vectors)]
        usage = _usage(" ".join(texts), "")
        return {"object": "list", "data": data, "model": body.get("model", "scripted"), "usage": usage}

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


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise Refusal(400, _INVALID, f"The request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, _INVALID, "The request must be a JSON object.")
    return body


def _prompt(body: dict[str, Any]) -> str:
    """The contents of all messages, one below the other."""
    if body.get("stream"):
        raise Refusal(400, _INVALID, "The scripted LLM does not stream. Leave 'stream' out or set it to false.")
    if body.get("n") not in (None, 1):
        raise Refusal(400, _INVALID, "The scripted LLM gives one choice only. Leave 'n' out or set it to 1.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, _INVALID, "'messages' must be a list with at least one message.")
    return "\n".join(_content(message) for message in messages)


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise Refusal(400, _INVALID, "Every message needs a 'content' that is a text.")
    return content


def _texts(body: dict[str, Any]) -> list[str]:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, _INVALID, "'input' must be a text or a list of texts.")
    if body.get("dimensions", DIMENSIONS) != DIMENSIONS:
        raise Refusal(400, _INVALID, f"The embeddings have {DIMENSIONS} dimensions.")
    return texts


def _usage(prompt: str, answer: str) -> dict[str, int]:
    """Words for tokens: nothing is tokenised here."""
    words, said = len(prompt.split()), len(answer.split())
    return {"prompt_tokens": words, "completion_tokens": said, "total_tokens": words + said}
