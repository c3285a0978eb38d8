"""Errors of Rasa's LLM clients, as ours: the one place where they are told apart."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rasa_ft_ext.errors import LLMError, LLMUnavailableError
from rasa_ft_ext.llm.secrets import scrub

_NOBODY_THERE = {"APIConnectionError", "ConnectError", "ClientConnectorError", "ConnectionError", "gaierror"}
_SLOW = {"Timeout", "APITimeoutError", "TimeoutError"}  # some of these are connection errors by descent
_REFUSED = {"AuthenticationError", "PermissionDeniedError"}


def as_llm_error(error: Exception) -> LLMError:
    """Say in one sentence what went wrong with a call of the command generator; an error of ours stays as it is."""
    causes = list(_causes(error))
    ours = next((cause for cause in causes if isinstance(cause, LLMError)), None)
    if ours is not None:
        return ours
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    text = _first_line(str(causes[-1]) or type(causes[-1]).__name__)
    if names & _SLOW:
        return LLMError(f"The assistant's LLM took too long: {text}")
    if names & _REFUSED:
        return LLMUnavailableError(
            f"The assistant's LLM refuses the key: {text}. Set the key that its provider asks for in the environment."
        )
    if names & _NOBODY_THERE or "Connection error" in text or "Cannot connect" in text:
        return LLMUnavailableError(
            f"The assistant's LLM cannot be reached: {text}. Is the server running, and is its address in "
            "endpoints.yml or config.yml right?"
        )
    return LLMError(f"The assistant's LLM call failed: {text}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "original_exception", None) or current.__cause__


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else text
    return scrub(line, _keys())[:300].rstrip(".")


def _keys() -> list[str]:
    return [value for name, value in os.environ.items() if name.endswith(("_API_KEY", "_TOKEN", "_SECRET"))]
