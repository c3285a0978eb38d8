"""How the rephrasings of an E2E test file look in the YAML that a person reads."""

from __future__ import annotations

from typing import Any

from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    Conversation,
    RephrasedConversation,
    RephrasedFile,
    RephrasedTurn,
    Rephrasing,
    Turn,
)
from rasa_ft_ext.steps import lines_of, shown_steps


def shown(annotated: AnnotatedFile, rephrased: RephrasedFile) -> dict[str, Any]:
    """The conversations with their steps, each user step with its commands and its passing and failed rephrasings."""
    pairs = zip(annotated.conversations, rephrased.conversations, strict=True)
    return {"conversations": [_conversation(*pair) for pair in pairs]}


def _conversation(conversation: Conversation, rephrased: RephrasedConversation) -> dict[str, Any]:
    rephrasings = {entry.turn: entry for entry in rephrased.turns}
    problem = {"problem": rephrased.problem} if rephrased.problem else {}
    contested = {entry.turn: entry.reason for entry in rephrased.contested}
    steps = shown_steps(
        conversation, lambda index, turn: _user_step(turn, rephrasings.get(index), contested.get(index))
    )
    return {"original_test_case": conversation.id, **problem, "steps": steps}


def _user_step(turn: Turn, rephrased: RephrasedTurn | None, contested: str | None) -> dict[str, Any]:
    step: dict[str, Any] = {"user": turn.message}
    if turn.annotation is None:
        return step
    syntax = turn.annotation.syntax
    step["llm_commands"] = lines_of(turn.annotation.labels, syntax)
    if contested is not None:
        step["left_out"] = contested
    if rephrased is None:
        return step
    parts = {
        "passing_rephrasings": [_passing(rephrasing, syntax) for rephrasing in rephrased.passing],
        "failed_rephrasings": [_failed(entry, syntax) for entry in rephrased.rephrasings if not entry.passed],
        "problem": rephrased.problem,
    }
    return step | {name: part for name, part in parts.items() if part}


def _passing(rephrasing: Rephrasing, syntax: Syntax) -> Any:
    """The text alone, or with its origin where it is not the rephraser's, and with its commands where they set a slot
    to another value than the original message did."""
    origin = _origin(rephrasing)
    if not rephrasing.differs:
        return {"text": rephrasing.text, **origin} if origin else rephrasing.text
    return {"text": rephrasing.text, **origin, "llm_commands": lines_of(rephrasing.label, syntax)}


def _failed(rephrasing: Rephrasing, syntax: Syntax) -> dict[str, Any]:
    commands = {"llm_commands": lines_of(rephrasing.commands, syntax)} if rephrasing.commands else {}
    return {"text": rephrasing.text, **_origin(rephrasing), "reason": rephrasing.reason, **commands}


def _origin(rephrasing: Rephrasing) -> dict[str, str]:
    return {} if rephrasing.origin == "rephraser" else {"origin": rephrasing.maker}
