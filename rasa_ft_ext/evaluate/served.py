"""The served model as OpenAI's API shows it: which models there are, and an answer token by token.

`rasa_ft_ext.llm` calls models for their text; here is what only an evaluation needs: names and log probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rasa_ft_ext.errors import ConfigError, LLMError, LLMUnavailableError

if TYPE_CHECKING:
    import aiohttp

TIMEOUT = 600.0
"""Seconds that one call may take: a reference on the CPU is slow."""

_TOP = 5
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Served:
    """A model behind an address that speaks OpenAI's API, such as `http://127.0.0.1:8000/v1`."""

    model: str
    api_base: str
    api_key: str | None = field(default=None, repr=False)

    def url(self, path: str) -> str:
        return f"{self.api_base.rstrip('/')}/{path}"


@dataclass(frozen=True)
class Token:
    """One token of an answer: its text, its log probability, and those of the likeliest ones in its place."""

    text: str
    logprob: float
    top: Mapping[str, float]


@dataclass(frozen=True)
class Spoken:
    """An answer token by token; `prompt_tokens` is how many the server made of the prompt."""

    text: str
    tokens: tuple[Token, ...]
    prompt_tokens: int | None = None


async def check_name(served: Served) -> None:
    """See that the server answers and knows the model.

    Raises:
        LLMUnavailableError: nobody answers, or the key is refused.
        ConfigError: the model is not among those that are served; names them.
    """
    async with _session(served) as session:
        names = await _names(session, served)
    if names and served.model not in names:
        raise ConfigError(
            f"The server at {served.api_base}",
            [f"It does not serve a model called {served.model}. It serves: {', '.join(names)}."],
        )


async def _names(session: aiohttp.ClientSession, served: Served) -> list[str]:
    """The names of the models; none where the server does not tell them."""
    status, body = await _json(session, served, "models")
    if status in (401, 403):
        raise LLMUnavailableError(
            f"{served.api_base} refuses the call (no key, or a wrong one). Name the environment variable that holds "
            "the key with --api-key-env."
        )
    listed = body.get("data") if status == 200 else None
    return [str(model["id"]) for model in listed or [] if isinstance(model, dict) and "id" in model]


async def speak(session: aiohttp.ClientSession, served: Served, prompt: str, max_tokens: int) -> Spoken | None:
    """Ask for the likeliest answer to a prompt, token by token.

    Returns:
        The answer, or None where the server gives no log probabilities.

    Raises:
        LLMError: the call failed.
    """
    body = {
        "model": served.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": max_tokens,
        "logprobs": True,
        "top_logprobs": _TOP,
    }
    status, answer = await _json(session, served, "chat/completions", body)
    if status != 200:
        raise LLMError(f"{served.model} at {served.api_base} answers with status {status}: {_excerpt(answer)}")
    try:
        choice = answer["choices"][0]
        listed = (choice.get("logprobs") or {}).get("content")
        text = choice["message"]["content"] or ""
        tokens = None if listed is None or (text and not listed) else tuple(_token(entry) for entry in listed)
        prompt_tokens = (answer.get("usage") or {}).get("prompt_tokens")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise LLMError(f"{served.model} at {served.api_base} gives no answer in OpenAI's form: {error!r}.") from error
    return None if tokens is None else Spoken(text, tokens, prompt_tokens)


def _token(entry: Mapping[str, Any]) -> Token:
    top = {str(other["token"]): float(other["logprob"]) for other in entry.get("top_logprobs") or []}
    return Token(str(entry["token"]), float(entry["logprob"]), top)


def session_for(served: Served) -> aiohttp.ClientSession:
    """A session with the key of a served model; to be closed by who asked for it."""
    return _session(served)


def _session(served: Served) -> aiohttp.ClientSession:
    import aiohttp

    headers = {"Authorization": f"Bearer {served.api_key}"} if served.api_key else {}
    return aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT))


async def _json(
    session: aiohttp.ClientSession, served: Served, path: str, body: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """Call the server; what is no JSON object counts as an empty one."""
    import aiohttp

    try:
        async with session.request("GET" if body is None else "POST", served.url(path), json=body) as response:
            try:
                answer = await response.json(content_type=None)
            except ValueError:
                answer = {}
            return response.status, answer if isinstance(answer, dict) else {}
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise LLMUnavailableError(
            f"Nobody answers for {served.model} at {served.api_base} ({type(error).__name__}). Is the server running, "
            "and is the address right?"
        ) from error


def _excerpt(answer: Mapping[str, Any]) -> str:
    error = answer.get("error", answer)
    text = str(error.get("message", error) if isinstance(error, dict) else error)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."
