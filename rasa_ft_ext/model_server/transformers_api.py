"""OpenAI's API on top of a model that transformers has loaded.

    VLLM_API_KEY=... python -m rasa_ft_ext.model_server.transformers_api '{"model": "finetuned_model/merged", ...}'

The argument is a `ServeSettings` without its key, as JSON. Addresses: `/v1/chat/completions` and `/v1/models`, for
which the key is needed if there is one, and `/health`. Requests wait for each other. What would change the answer and
is not done here (sampling, streaming, tools, several choices, stop words) is refused, never passed over.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import json
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from rasa_ft_ext.llm.scripted.openai import Refusal
from rasa_ft_ext.model_server.settings import API_KEY_VARIABLE, ServeSettings
from rasa_ft_ext.model_server.transformers_model import Completion, ScoredToken, ServedModel, TooLongError

_INVALID = "invalid_request_error"
_MOST_ALTERNATIVES = 20
_LARGEST_REQUEST = 64 * 1024 * 1024
# What changes an answer, and what it may be all the same.
_NOT_DONE: dict[str, tuple[object, ...]] = {
    "temperature": (0,),
    "n": (1,),
    "stream": (False,),
    "stop": ([], ""),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (),
    "structured_outputs": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TransformersLLM:
    """Answers requests with one model."""

    def __init__(self, model: ServedModel, name: str, api_key: str | None) -> None:
        self._model = model
        self._name = name
        self._api_key = api_key
        self._turn = asyncio.Lock()

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(client_max_size=_LARGEST_REQUEST, middlewares=[self._guarded])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in whoever has the key, and turn a refusal into its answer."""
        try:
            if self._api_key and request.path.startswith("/v1"):
                given = request.headers.get("Authorization", "").removeprefix("Bearer ")
                if not hmac.compare_digest(given.encode(), self._api_key.encode()):
                    raise Refusal(401, "invalid_api_key", "The API key is missing or wrong.")
            return await handler(request)
        except Refusal as refusal:
            return refusal.response()

    async def _chat(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body.get("model", self._name) != self._name:
            raise Refusal(404, "model_not_found", f"There is no model '{body['model']}' here, only '{self._name}'.")
        messages, limit, alternatives = _messages(body), _max_tokens(body), _alternatives(body)
        work = partial(self._model.complete, messages, max_tokens=limit, alternatives=alternatives or 0)
        try:
            async with self._turn:
                completion = await asyncio.to_thread(work)
        except TooLongError as error:
            raise Refusal(400, "context_length_exceeded", str(error)) from error
        except Exception as error:  # of the template, which may want other roles
            if type(error).__module__.split(".")[0] != "jinja2":
                raise
            raise Refusal(400, _INVALID, f"The chat template refuses these messages: {error}") from error
        return web.json_response(_answer(completion, self._name, scored=alternatives is not None))

    async def _models(self, request: web.Request) -> web.Response:
        length = self._model.max_model_len
        model = {"id": self._name, "object": "model", "created": 0, "owned_by": "rasa-ft-ext", "max_model_len": length}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


async def _body(request: web.Request) -> dict[str, Any]:
    """The request, if it asks for nothing that is not done here."""
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise Refusal(400, _INVALID, f"The request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, _INVALID, "The request must be a JSON object.")
    for name, allowed in _NOT_DONE.items():
        if body.get(name) is not None and body[name] not in allowed:
            usual = f" It may be {json.dumps(allowed[0])}." if allowed else ""
            raise Refusal(400, _INVALID, f"This server cannot do '{name}': {json.dumps(body[name])}.{usual}")
    return body


def _messages(body: Mapping[str, Any]) -> list[dict[str, str]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, _INVALID, "'messages' must be a list with at least one message.")
    return [_message(message) for message in messages]


def _message(message: Any) -> dict[str, str]:
    """Role and text; parts are joined as vLLM does it."""
    role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
    if isinstance(content, list) and all(isinstance(part, dict) and "text" in part for part in content):
        content = "\n".join(str(part["text"]) for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise Refusal(400, _INVALID, "Every message needs a 'role' and a 'content' that is a text.")
    return {"role": role, "content": content}


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    return _whole(body, "max_completion_tokens", 1) or _whole(body, "max_tokens", 1)


def _alternatives(body: Mapping[str, Any]) -> int | None:
    """How many likely tokens are asked for with each token; None where no log-probabilities are."""
    count = _whole(body, "top_logprobs", 0) or 0
    if count > _MOST_ALTERNATIVES or (count and not body.get("logprobs")):
        raise Refusal(400, _INVALID, f"'top_logprobs' needs 'logprobs' and is at most {_MOST_ALTERNATIVES}.")
    return count if body.get("logprobs") else None


def _whole(body: Mapping[str, Any], name: str, least: int) -> int | None:
    number = body.get(name)
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise Refusal(400, _INVALID, f"'{name}' must be a whole number, {least} or more.")
    return number


def _answer(completion: Completion, name: str, *, scored: bool) -> dict[str, Any]:
    logprobs = {"content": [_scored(*step) for step in completion.steps]} if scored else None
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": completion.text},
        "finish_reason": "stop" if completion.ended else "length",
        "logprobs": logprobs,
    }
    said = len(completion.steps)
    usage = {"prompt_tokens": completion.prompt_tokens, "completion_tokens": said}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [choice],
        "usage": usage | {"total_tokens": sum(usage.values())},
    }


def _scored(token: ScoredToken, *best: ScoredToken) -> dict[str, Any]:
    return {**_token(token), "top_logprobs": [_token(one) for one in best]}


def _token(token: ScoredToken) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.text.encode(errors="replace"))}


def main() -> None:
    settings = ServeSettings(**json.loads(sys.argv[1]))
    settings = dataclasses.replace(settings, api_key=os.environ.get(API_KEY_VARIABLE))
    llm = TransformersLLM(ServedModel(settings), settings.name, settings.api_key)
    web.run_app(llm.app(), host=settings.host, port=settings.port, access_log=None, print=None, shutdown_timeout=1)


if __name__ == "__main__":
    main()
