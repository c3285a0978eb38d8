"""Errors of a command generator, as ours. What its LLM's client raises, the gateway has understood before."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.llm.provider_errors import Server, fault_of
from rasa_ft_ext.llm.secrets import scrub

SET_KEY = "Set the key that its provider asks for in the environment."

_TIMEOUT = 300.0  # Rasa's own, where nothing is configured


def as_llm_error(error: Exception) -> LLMError:
    """Say in one sentence what went wrong when the command generator was asked; an error of ours stays as it is."""
    ours = next((cause for cause in causes_of(error) if isinstance(cause, LLMError)), None)
    if ours is not None:
        return ours
    # what is left are the embeddings of flow retrieval, which Rasa asks for itself
    who = "the model that the command generator asks"
    return fault_of(error, Server(who=who, set_key=SET_KEY, scrub=without_keys, timeout=_TIMEOUT)).error


def without_keys(text: str) -> str:
    """The text without any key or token that stands in the environment."""
    return scrub(
        text, [value for name, value in os.environ.items() if name.endswith(("_API_KEY", "_TOKEN", "_SECRET"))]
    )


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """An error of Rasa's and what it comes from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "original_exception", None) or current.__cause__
