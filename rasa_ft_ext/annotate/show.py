"""How an annotated conversation looks in the YAML file that a person reads."""

from __future__ import annotations

from typing import Any

from rasa_ft_ext import commands as language
from rasa_ft_ext.conversation import Conversation, Turn

_SHOWN = ("bot", "utter", "slot_was_set", "slot_was_not_set")


def shown(conversation: Conversation) -> dict[str, Any]:
    """The conversation's steps, each user step with its commands or with the reason why it has none.

    A test with assertions has no bot steps; the assistant's own messages stand in their place.
    """
    by_step = {turn.step: turn for turn in conversation.turns}
    has_bot_steps = any(name in step for step in conversation.test_case["steps"] for name in ("bot", "utter"))
    steps: list[dict[str, Any]] = []
    for position, step in enumerate(conversation.test_case["steps"]):
        turn = by_step.get(position)
        if turn is not None:
            steps.append(_user_step(turn))
            if not has_bot_steps:
                steps.extend({"bot": text} for text in bot_messages(conversation, turn))
        elif "user" not in step:
            steps.append({name: step[name] for name in _SHOWN if name in step})
    return {"original_test_case": conversation.id, "steps": steps}


def bot_messages(conversation: Conversation, turn: Turn) -> list[str]:
    """What the assistant said after a turn, up to the next user message."""
    said: list[str] = []
    for event in conversation.events[turn.events_before + 1 :]:
        if event.get("event") == "user":
            break
        if event.get("event") == "bot" and event.get("text"):
            said.append(event["text"])
    return said


def _user_step(turn: Turn) -> dict[str, Any]:
    annotation = turn.annotation
    if annotation is None:
        return {"user": turn.message, "not_annotated": turn.unannotated}
    lines = [language.write([command], annotation.syntax) for command in annotation.labels]
    return {"user": turn.message, "llm_commands": lines}
