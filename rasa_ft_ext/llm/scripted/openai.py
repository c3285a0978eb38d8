"""The forms of OpenAI's API, as far as the scripted LLM speaks it: what a request holds, and how an answer is written.

This module knows neither the script nor how requests come in.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aiohttp import web

from rasa_ft_ext.llm.scripted.embeddings import DIMENSIONS, embed, to_base64

INVALID = "invalid_request_error"
RATE_LIMIT = "rate_limit_exceeded"


class Refusal(Exception):
    """A request that gets an error for an answer, in OpenAI's form. `kind` is the error's type."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": self.kind, "param": None, "code": self.kind}}

    def response(self) -> web.Response:
        return web.json_response(self.body, status=self.status)


async def read_body(request: web.Request) -> dict[str, Any]:
    """The JSON object that a request holds.

    Raises:
        Refusal: it holds none.
    """
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise Refusal(400, INVALID, f"The request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, INVALID, "The request must be a JSON object.")
    return body


def prompt_of(body: dict[str, Any]) -> str:
    """The contents of all messages of a request for a chat answer, one below the other.

    Raises:
        Refusal: it asks for what is not done here, or is not valid.
    """
    if body.get("stream"):
        raise Refusal(400, INVALID, "The scripted LLM does not stream. Leave 'stream' out or set it to false.")
    if body.get("n") not in (None, 1):
        raise Refusal(400, INVALID, "The scripted LLM gives one choice only. Leave 'n' out or set it to 1.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, INVALID, "'messages' must be a list with at least one message.")
    return "\n".join(_content(message) for message in messages)


def chat_answer(body: dict[str, Any], prompt: str, text: str) -> dict[str, Any]:
    """A chat answer with one choice."""
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{hashlib.sha256(prompt.encode()).hexdigest()[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model", "scripted"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": _usage(prompt, text),
    }


def embeddings_answer(body: dict[str, Any]) -> dict[str, Any]:
    """The embeddings of the texts in a request.

    Raises:
        Refusal: it is not valid.
    """
    texts = _texts(body)
    as_base64 = body.get("encoding_format") == "base64"
    vectors = [to_base64(embed(text)) if as_base64 else embed(text) for text in texts]
    data = [{"object": "embedding", "index": index, "embedding": entry} for index, entry in enumerate(vectors)]
    usage = _usage(" ".join(texts), "")
    return {"object": "list", "data": data, "model": body.get("model", "scripted"), "usage": usage}


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise Refusal(400, INVALID, "Every message needs a 'content' that is a text.")
    return content


def _texts(body: dict[str, Any]) -> list[str]:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, INVALID, "'input' must be a text or a list of texts.")
    if body.get("dimensions", DIMENSIONS) != DIMENSIONS:
        raise Refusal(400, INVALID, f"The embeddings have {DIMENSIONS} dimensions.")
    return texts


def _usage(prompt: str, answer: str) -> dict[str, int]:
    """Words for tokens: nothing is tokenised here."""
    words, said = len(prompt.split()), len(answer.split())
    return {"prompt_tokens": words, "completion_tokens": said, "total_tokens": words + said}
