"""What is asked of an LLM, and the key under which its answer is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_NOT_PART_OF_THE_ANSWER = ("timeout", "request_timeout", "max_retries", "num_retries")
_BYTES_PER_TOKEN = 4  # of a text as UTF-8, about


def tokens_in(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


@dataclass(frozen=True)
class Request:
    """One question.

    `model` are the public settings of the LLM (provider, model, address, parameters), with no secret in them.
    `messages` are as in OpenAI's API, each with `role` and `content`. `sample` tells apart several answers to the same.
    """

    model: Mapping[str, Any] = field(repr=False)
    messages: tuple[Mapping[str, Any], ...]
    sample: int = 0

    @cached_property
    def key(self) -> str:
        """64 hexadecimal digits: the same for the same model, parameters, messages and sample, and for nothing else."""
        parameters = {name: value for name, value in self.model.items() if name not in _NOT_PART_OF_THE_ANSWER}
        asked = [parameters, list(self.messages), self.sample]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def tokens(self) -> int:
        """About how many tokens the messages have."""
        return sum(tokens_in(str(message.get("content") or "")) for message in self.messages)

    @property
    def who(self) -> str:
        """The model and where it is, for messages to a person; requests with the same one share a server's limits."""
        name = self.model.get("model") or self.model.get("model_group") or "the LLM"
        address = self.model.get("api_base") or f"the server of {self.model.get('provider', 'its provider')}"
        return f"{name} at {address}"
