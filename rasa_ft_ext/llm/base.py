"""The seam to an LLM: messages in, text out, with usage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.conversation import Usage

Readable = Callable[[str], bool]
"""Whether an answer's text is of the form that was asked for. Where it is not, the same is asked again."""


@dataclass(frozen=True)
class Completion:
    """The text of an answer, the tokens it took, and the model that the provider says it came from.

    `seconds` is how long the call took when it was made; `cached` says that it was made before, and kept; `batch` that
    it came from a provider's batch, which costs half.
    """

    text: str
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    seconds: float = 0.0
    cached: bool = False
    batch: bool = False

    def __post_init__(self) -> None:
        """Half a character (a surrogate, which JSON can say and no file can hold) becomes a question mark."""
        if not self.text.isascii():
            object.__setattr__(self, "text", self.text.encode(errors="replace").decode())


class LLM(ABC):
    """One model behind one address, with the parameters it is called with."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings with no secret in them: what a manifest and a summary may show."""

    @abstractmethod
    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        """Send `prompt` as one user message.

        Args:
            prompt: The message.
            sample: Which of several answers to the same prompt is wanted. The same number gets the same answer, where
                answers are kept.
            readable: Tells an answer of the wrong form, for which the call is made again a few times.

        Raises:
            LLMUnavailableError: every further call would fail as well.
            LLMError: this call failed.
        """

    async def close(self) -> None:
        """Release the connections."""
        return None
