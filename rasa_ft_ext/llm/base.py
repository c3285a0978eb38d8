"""The seam to an LLM: messages in, text out, with usage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.conversation import Usage


@dataclass(frozen=True)
class Completion:
    """The text of an answer, the tokens it took, and the model that the provider says it came from."""

    text: str
    usage: Usage = field(default_factory=Usage)
    model: str = ""


class LLM(ABC):
    """One model behind one address, with the parameters it is called with."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings with no secret in them: what a manifest and a summary may show."""

    @abstractmethod
    async def complete(self, prompt: str) -> Completion:
        """Send `prompt` as one user message.

        Raises:
            LLMUnavailableError: every further call would fail as well.
            LLMError: this call failed.
        """

    async def close(self) -> None:
        """Release the connections."""
        return None
