"""What a stage may ask of an assistant, whichever it is.

Two kinds ship: `rasa_ft_ext.rasa_pro.assistant.RasaAssistant`, a trained assistant in this process, and
`rasa_ft_ext.assistant.recorded.RecordedAssistant`, which renders prompts from recorded annotations and asks the LLM
itself. Neither the stages nor this module know which one they hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import AssistantCard, Conversation, TestFile, Usage
from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.evaluation import OutcomeTurn


@dataclass(frozen=True)
class Answer:
    """What the command generator's LLM said to one message: its text, and the commands read from it."""

    prompt: str
    text: str
    commands: tuple[Command, ...]
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class Simulation:
    """The prompts of a recombined conversation, by turn index.

    `diverged` is the first turn at which the assistant stood elsewhere than in the original conversation (another
    flow, another slot asked for), so that neither its label nor any later one can be trusted; None if there is none.
    """

    prompts: dict[int, str]
    diverged: int | None = None


@dataclass(frozen=True)
class Played:
    """How one E2E test ended, and what was said in it, whether it passed or not.

    `reason` says why it failed, None where it passed; `error` is there where a call of the LLM failed. `seconds` are
    those of each answered call, in order. `trace` is the assistant's own: with it a failed test can be played again.
    """

    turns: tuple[OutcomeTurn, ...]
    seconds: tuple[float, ...]
    reason: str | None = None
    error: LLMError | None = None
    trace: Any = field(default=None, repr=False, compare=False)


class Assistant(ABC):
    """A CALM assistant whose command generator can be asked again."""

    can_simulate: bool = False

    @property
    @abstractmethod
    def card(self) -> AssistantCard:
        """What the stages must know of the assistant."""

    @abstractmethod
    async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Answer:
        """Ask the command generator which commands `message` gives in the state before turn `turn`.

        `sample` tells apart several answers to the same question, as at `rasa_ft_ext.llm.base.LLM.complete`.

        Raises:
            LLMError: the call failed.
        """

    async def simulate(
        self,
        source: TestFile,
        conversation: Conversation,
        messages: Sequence[str],
        labels: Sequence[tuple[Command, ...] | None],
        start: int = 0,
        template: str | None = None,
    ) -> Simulation:
        """Run the conversation with other messages, one for each turn, and forced commands instead of LLM calls.

        `source` is the test's file, with its fixtures, metadata and stubs; `labels[i]` are the commands of turn i,
        None where the turn is not annotated. The conversation is taken up at turn `start`: what came before must have
        led to the recorded state, so only its wordings are taken over. With a `template` (its jinja2 source) the
        prompts are rendered with that and not with the assistant's own. Only where `can_simulate`.
        """
        raise TypeError(f"{type(self).__name__} cannot run a conversation again")

    @abstractmethod
    def read(self, completion: str) -> tuple[Command, ...]:
        """Read a completion as the assistant itself would."""

    async def close(self) -> None:
        """Release what the assistant holds (connections, background threads)."""
        return None
