"""Whether a rephrasing may be learned from: it must give the commands that the original message gave.

The value that a slot is set to may differ. What becomes of it is the user's choice:

    own         the rephrasing is labelled with its own commands: 'to Zurich' with Zurich
    original    it is labelled with those of the original message, as Rasa's recipe does
    strict      it fails
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from rasa_ft_ext.assistant.base import Answer
from rasa_ft_ext.commands import Command, difference, value_difference, write
from rasa_ft_ext.conversation import Annotation, Rephrasing
from rasa_ft_ext.errors import LLMError

SlotValues = Literal["own", "original", "strict"]

OTHER_COMMANDS = "other commands"
OTHER_VALUES = "other slot values"
NOT_READABLE = "cannot be read back"
CALL_FAILED = "call failed"
NO_MAJORITY = "no majority"


def judge(
    text: str,
    answer: Answer,
    annotation: Annotation,
    *,
    slot_values: SlotValues,
    read: Callable[[str], tuple[Command, ...]],
) -> Rephrasing:
    """Compare what the LLM said to a rephrasing with what it said to the original message.

    Args:
        text: The rephrasing.
        answer: What the command generator's LLM said to it.
        annotation: What it said to the original message.
        slot_values: What becomes of a rephrasing that sets a slot to another value.
        read: Reads a completion as the assistant does: the label must survive being written and read again.
    """
    expected = annotation.labels
    own = effective(answer.commands, annotation)
    values = value_difference(expected, own)
    label = expected if slot_values == "original" else own
    differing = difference(expected, own)
    if differing is not None:
        reason: str | None = f"{OTHER_COMMANDS}: {differing}"
    elif values is not None and slot_values == "strict":
        reason = f"{OTHER_VALUES}: {values}"
    else:
        reason = _unreadable(label, annotation, read)
    if reason is not None:
        return Rephrasing(text=text, passed=False, commands=own, answer=answer.text, reason=reason)
    differs = values is not None and slot_values == "own"
    return Rephrasing(text=text, passed=True, commands=own, label=label, differs=differs, answer=answer.text)


def unasked(text: str, error: LLMError) -> Rephrasing:
    """The verdict on a rephrasing for which the call failed."""
    return Rephrasing(text=text, passed=False, reason=f"{CALL_FAILED}: {error}")


def undecided(text: str, told: str) -> Rephrasing:
    """The verdict on a wording to which the LLM said something else each time; `told` says what."""
    return Rephrasing(text=text, passed=False, reason=f"{NO_MAJORITY}: {told}")


def kind(rephrasing: Rephrasing) -> str:
    """Of what kind the reason is for which a rephrasing failed."""
    return (rephrasing.reason or "").partition(":")[0]


def effective(commands: Sequence[Command], annotation: Annotation) -> tuple[Command, ...]:
    """The commands less those that the assistant threw away at this turn, whatever value they set a slot to."""
    kept_slots = {command.args[0] for command in annotation.labels if command.type == "SetSlot"}
    slots = {command.args[0] for command in annotation.dropped if command.type == "SetSlot"} - kept_slots
    return tuple(
        command
        for command in commands
        if command not in annotation.dropped and not (command.type == "SetSlot" and command.args[0] in slots)
    )


def _unreadable(
    label: tuple[Command, ...], annotation: Annotation, read: Callable[[str], tuple[Command, ...]]
) -> str | None:
    try:
        written = write(label, annotation.syntax)
    except ValueError as error:
        return f"{NOT_READABLE}: {error}"
    again = read(written)
    if again == label:
        return None
    return f"{NOT_READABLE}: {written!r} is read as {', '.join(map(str, again)) or 'nothing'}"
