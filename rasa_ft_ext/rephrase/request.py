"""What the rephraser is asked: one prompt for each conversation, for all of its messages that a person typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rasa_ft_ext import prompts
from rasa_ft_ext.conversation import Conversation, Turn
from rasa_ft_ext.errors import ConfigError, PromptError


@dataclass(frozen=True)
class Request:
    """The prompt for one conversation, and the indices of the turns that it asks other wordings for."""

    conversation: Conversation
    turns: tuple[int, ...]
    prompt: str

    @property
    def messages(self) -> list[str]:
        """The messages of these turns."""
        return [self.conversation.turns[turn].message for turn in self.turns]


def request_for(conversation: Conversation, num_rephrases: int, template: str) -> Request | None:
    """The request for a conversation; None where there is nothing to rephrase.

    Raises:
        ConfigError: the template fails while it is rendered.
    """
    turns = turns_to_rephrase(conversation)
    if not turns or num_rephrases == 0:
        return None
    return Request(conversation, turns, _prompt(conversation, turns, num_rephrases, template))


def turns_to_rephrase(conversation: Conversation) -> tuple[int, ...]:
    """The turns that a person typed and the command generator answered."""
    return tuple(index for index, turn in conversation.annotated if turn.typed and turn.message.strip())


def _prompt(conversation: Conversation, turns: Sequence[int], num_rephrases: int, template: str) -> str:
    variables: dict[str, Any] = {
        "test_case_name": conversation.name,
        "transcript": transcript(conversation),
        "number_of_rephrasings": num_rephrases,
        "user_prefix": "USER",
        "number_of_user_messages": len(turns),
        "user_messages": [prompts.one_line(conversation.turns[turn].message).strip() for turn in turns],
    }
    try:
        return prompts.render(template, variables, ())
    except PromptError as error:
        raise ConfigError("The rephraser's prompt template", [f"it cannot be rendered: {error}"]) from error


def transcript(conversation: Conversation) -> str:
    """The conversation as lines `USER: ...` and `AI: ...`."""
    turns: list[Turn] = sorted(conversation.turns, key=lambda turn: turn.events_before, reverse=True)
    lines = []
    for position in range(len(conversation.events) + 1):
        while turns and turns[-1].events_before <= position:
            lines.append(f"USER: {turns.pop().message}")
        event = conversation.events[position] if position < len(conversation.events) else {}
        if event.get("event") == "bot" and event.get("text"):
            lines.append(f"AI: {event['text']}")
    lines += [f"USER: {turn.message}" for turn in reversed(turns)]
    return "\n".join(prompts.one_line(line) for line in lines)
