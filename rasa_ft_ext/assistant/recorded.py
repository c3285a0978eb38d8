"""An assistant that is not there: prompts from recorded annotations, answers from the LLM itself.

It needs no Rasa. It renders the prompt of a turn from the template's recorded variables, asks the LLM and reads the
answer with `rasa_ft_ext.commands`. It cannot run a conversation again, and it knows of the flows only what was
recorded: with flow retrieval, the flows in a prompt stay those that were retrieved for the original message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rasa_ft_ext import commands as language
from rasa_ft_ext.assistant.base import Answer, Assistant
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import AssistantCard, Conversation
from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.llm.base import LLM, Completion
from rasa_ft_ext.prompts import render


@dataclass(frozen=True)
class Recorded:
    """Opens such an assistant in a worker, see `rasa_ft_ext.workers`."""

    card: AssistantCard

    def open(self, llm: Any) -> RecordedAssistant:
        return RecordedAssistant(self.card, llm)


class RecordedAssistant(Assistant):
    """See the module.

    Args:
        card: What was recorded of the assistant.
        llm: The LLM to ask; None where nothing is asked.
    """

    def __init__(self, card: AssistantCard, llm: LLM | None = None) -> None:
        self._card = card
        self._llm = llm

    @property
    def card(self) -> AssistantCard:
        return self._card

    async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Answer:
        annotation = conversation.turns[turn].annotation
        if annotation is None or not annotation.renders:
            raise LLMError(
                "the prompt of this turn cannot be rendered from the recording; run with the assistant itself, "
                "without --annotations"
            )
        messages = [entry.message for entry in conversation.turns[:turn]] + [message]
        prompt = render(self.card.templates[annotation.template], annotation.variables, messages)
        completion = await self.complete(prompt, sample=sample)
        commands = language.read(completion.text, self.card.syntax, self.card.flows)
        return Answer(prompt, completion.text, commands, completion.usage)

    async def complete(self, prompt: str, *, sample: int = 0) -> Completion:
        """What the LLM answers to a prompt that was rendered elsewhere: by such an assistant in another process.

        Raises:
            LLMError: the call failed.
        """
        if self._llm is None:
            raise LLMError("no LLM is configured")
        return await self._llm.complete(prompt, sample=sample, readable=self._reads_as_commands)

    def _reads_as_commands(self, text: str) -> bool:
        return bool(language.read(text, self.card.syntax, self.card.flows))

    def read(self, completion: str) -> tuple[Command, ...]:
        return language.read(completion, self.card.syntax, self.card.flows)

    async def close(self) -> None:
        if self._llm is not None:
            await self._llm.close()
