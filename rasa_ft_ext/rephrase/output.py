"""How the rephrasings of an E2E test file look in the YAML that a person reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rasa_ft_ext.commands import Command, Syntax, write_one
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    Conversation,
    RephrasedConversation,
    RephrasedFile,
    RephrasedTurn,
    Rephrasing,
    Turn,
)


def shown(annotated: AnnotatedFile, rephrased: RephrasedFile) -> dict[str, Any]:
    """The conversations with their steps, each user step with its commands and its passing and failed rephrasings."""
    pairs = zip(annotated.conversations, rephrased.conversations, strict=True)
    return {"conversations": [_conversation(*pair) for pair in pairs]}


def _conversation(conversation: Conversation, rephrased: RephrasedConversation) -> dict[str, Any]:
    turns = {turn.step: (index, turn) for index, turn in enumerate(conversation.turns)}
    rephrasings = {entry.turn: entry for entry in rephrased.turns}
    steps: list[dict[str, Any]] = []
    for position, step in enumerate(conversation.test_case.get("steps", [])):
        if position in turns:
            index, turn = turns[position]
            steps.append(_user_step(turn, rephrasings.get(index)))
        else:
            steps += [{who: step[who]} for who in ("user", "bot", "utter") if who in step]
    problem = {"problem": rephrased.problem} if rephrased.problem else {}
    return {"original_test_case": conversation.id, **problem, "steps": steps}


def _user_step(turn: Turn, rephrased: RephrasedTurn | None) -> dict[str, Any]:
    step: dict[str, Any] = {"user": turn.message}
    if turn.annotation is None:
        return step
    syntax = turn.annotation.syntax
    step["llm_commands"] = _lines(turn.annotation.labels, syntax)
    if rephrased is None:
        return step
    parts = {
        "passing_rephrasings": [_passing(rephrasing, syntax) for rephrasing in rephrased.passing],
        "failed_rephrasings": [_failed(entry, syntax) for entry in rephrased.rephrasings if not entry.passed],
        "problem": rephrased.problem,
    }
    return step | {name: part for name, part in parts.items() if part}


def _passing(rephrasing: Rephrasing, syntax: Syntax) -> Any:
    """The text alone, or with its commands where they set a slot to another value than the original message did."""
    if not rephrasing.differs:
        return rephrasing.text
    return {"text": rephrasing.text, "llm_commands": _lines(rephrasing.label, syntax)}


def _failed(rephrasing: Rephrasing, syntax: Syntax) -> dict[str, Any]:
    commands = {"llm_commands": _lines(rephrasing.commands, syntax)} if rephrasing.commands else {}
    return {"text": rephrasing.text, "reason": rephrasing.reason, **commands}


def _lines(commands: Iterable[Command], syntax: Syntax) -> list[str]:
    """One line a command; one that the language has no line for is shown in the v1 notation."""
    lines = []
    for command in commands:
        try:
            lines.append(write_one(command, syntax))
        except ValueError:
            lines.append(str(command))
    return lines
