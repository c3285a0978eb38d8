"""Whether a conversation that was run again with other values still stands where its labels were given.

A later message was labelled in the state of the original conversation. Its label holds in the new one only if that
differs in nothing but the values and wordings that were exchanged: the same flow, the same question, the same offers.
"to Zurich" instead of "to Basel" may bring other cars, and "the compact one" is then another car, or none. And it holds
only if it was not worked out of an exchanged value: "the same days again" is labelled with the days of before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Conversation
from rasa_ft_ext.places import may_follow, stands_in
from rasa_ft_ext.prompts import fill, to_json
from rasa_ft_ext.rasa_pro.run import Run

_EXCHANGED = "\N{WHITE SQUARE}"
_OWN = ("user_message", "current_datetime")  # differ by themselves
_TOO_PLAIN = {"true", "false", "none"}  # replaced everywhere, these would hide real differences


def first_difference(
    conversation: Conversation,
    run: Run,
    messages: Sequence[str],
    labels: Sequence[tuple[Command, ...] | None],
    start: int,
) -> int | None:
    """The first turn from `start` on at which the run stands elsewhere than the original; None if there is none."""
    texts: set[str] = set()
    slots: set[str] = set()
    gone: set[str] = set()
    for index, (turn, played) in enumerate(zip(conversation.turns, run.turns, strict=False)):
        was_asked = turn.annotation is not None or turn.answer is not None
        if index >= start and was_asked != (played.call is not None):
            return index
        if index >= start and turn.annotation is not None and played.call is not None:
            original = fill(turn.annotation.variables, messages)
            if _neutral(original, texts, slots) != _neutral(_plain(played.call.variables), texts, slots):
                return index
            if _follows(labels[index] or (), messages[index], gone, _answered(played.call.variables)):
                return index
        if turn.annotation is not None:
            texts |= {turn.message, messages[index]} if turn.message != messages[index] else set()
            for name, old, new in _exchanged(turn.annotation.labels, labels[index] or ()):
                slots.add(name)
                gone |= {old} - {""}
                texts |= {value for value in (old, new) if len(value) > 2 and value.lower() not in _TOO_PLAIN}
    return None


def _follows(label: Sequence[Command], message: str, gone: set[str], answered: str) -> bool:
    """Whether a label may have been worked out of values that are gone; what the assistant has named is not."""
    values = [command.args[1] for command in label if command.type == "SetSlot" and command.args[1]]
    return any(
        may_follow(value, message, old)
        for value in values
        if value.lower() not in _TOO_PLAIN and not stands_in(value, answered)
        for old in gone
    )


def _answered(variables: dict[str, Any]) -> str:
    """What the assistant has said so far."""
    spoken = str(variables.get("current_conversation", "")).splitlines()
    return "\n".join(line for line in spoken if not line.startswith("USER: "))


def _exchanged(old: Sequence[Command], new: Sequence[Command]) -> Iterator[tuple[str, str, str]]:
    """The slots that are set to another value: name, old value, new value."""
    before = {command.args[0]: command.args[1] for command in old if command.type == "SetSlot"}
    after = {command.args[0]: command.args[1] for command in new if command.type == "SetSlot"}
    for name in before.keys() & after.keys():
        if name is not None and before[name] != after[name]:
            yield name, before[name] or "", after[name] or ""


def _plain(variables: dict[str, Any]) -> Any:
    try:
        return fill({name: to_json(value) for name, value in variables.items()}, ())
    except TypeError:
        return None  # cannot be compared, so it counts as different


def _neutral(variables: Any, texts: set[str], slots: set[str]) -> str | None:
    """All that a prompt is made of but the exchanged values: those, old or new, become one sign."""
    if not isinstance(variables, dict):
        return None
    kept = {name: value for name, value in variables.items() if name not in _OWN}
    spoken = str(kept.get("current_conversation", "")).splitlines()
    kept["current_conversation"] = [line for line in spoken if not line.startswith("USER: ")]
    kept["flow_slots"] = [
        {**slot, "value": _EXCHANGED} if slot.get("name") in slots else slot for slot in kept.get("flow_slots") or []
    ]
    text = json.dumps(kept, ensure_ascii=False, sort_keys=True, default=str)
    for value in sorted(texts, key=len, reverse=True):
        text = text.replace(json.dumps(value, ensure_ascii=False)[1:-1], _EXCHANGED)
    return text
