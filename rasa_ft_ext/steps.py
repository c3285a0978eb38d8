"""How a conversation's steps look in the YAML files that a person reads, whichever stage writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rasa_ft_ext.commands import Command, Syntax, write_one
from rasa_ft_ext.conversation import Conversation, Turn

_SHOWN = ("bot", "utter", "slot_was_set", "slot_was_not_set")


def shown_steps(conversation: Conversation, of_turn: Callable[[int, Turn], dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps of the test case in order; `of_turn` says what is shown of the turn with that index.

    A test with assertions has no bot steps; the assistant's own messages stand in their place.
    """
    turns = {turn.step: (index, turn) for index, turn in enumerate(conversation.turns)}
    has_bot_steps = any(name in step for step in conversation.test_case["steps"] for name in ("bot", "utter"))
    steps: list[dict[str, Any]] = []
    for position, step in enumerate(conversation.test_case["steps"]):
        if position in turns:
            index, turn = turns[position]
            steps.append(of_turn(index, turn))
            if not has_bot_steps:
                steps += [{"bot": text} for text in _bot_messages(conversation, turn)]
        elif "user" not in step:
            steps.append({name: step[name] for name in _SHOWN if name in step})
    return steps


def lines_of(commands: Iterable[Command], syntax: Syntax) -> list[str]:
    """One line a command; one that the language has no line for is shown in the v1 notation."""
    lines = []
    for command in commands:
        try:
            lines.append(write_one(command, syntax))
        except ValueError:
            lines.append(str(command))
    return lines


def _bot_messages(conversation: Conversation, turn: Turn) -> list[str]:
    """What the assistant said after a turn, up to the next user message."""
    said: list[str] = []
    for event in conversation.events[turn.events_before + 1 :]:
        if event.get("event") == "user":
            break
        if event.get("event") == "bot" and event.get("text"):
            said.append(event["text"])
    return said
