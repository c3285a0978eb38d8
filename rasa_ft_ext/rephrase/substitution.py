"""Other values for slots, in the message and in the label: "to Basel" becomes "to Zurich", labelled Zurich.

The new wording is one more candidate of its turn. Where a conversation is put together with it, its history has the new
value, and the turns behind it are treated as those behind a rephrasing with another value: the assistant runs the
conversation again if it can, and what no longer fits is told by its state.

A value is exchanged only where nothing that is known of the conversation speaks against it:

- it stands once in the message, a number in words neither, and nothing else of the label, a slot or a flow, is read
  from the same words;
- no later message or label has it, or may have been worked out of it (a day of a day, a number of a number), since
  those were said knowing it;
- the new one stands nowhere else among the user's messages and labels, was put into no other message of the
  conversation, and is not what the slot holds already;
- what the assistant has named (a car among those it has found) is exchanged for something else that it has named, and
  what it has not named for something that it has not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from random import Random

from rasa_ft_ext.checks import words
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Annotation, Conversation, Turn
from rasa_ft_ext.places import is_without_blanks, may_follow, places_of, stands_in
from rasa_ft_ext.rephrase.values import SlotChoices, set_slots


@dataclass(frozen=True)
class Substitution:
    """A wording with another value, and the annotation with the commands that it must give."""

    text: str
    annotation: Annotation
    value: str


def substitutions(
    conversation: Conversation,
    index: int,
    choices: SlotChoices,
    count: int,
    random: Random,
    taken: Collection[str] = (),
) -> list[Substitution]:
    """At most `count` wordings of one turn with another value for one of its slots, in a random order.

    `taken` are values that were put into other turns of the conversation: a correction to the value that was given
    before would be none.
    """
    found = [candidate for candidate in _candidates(conversation, index, choices) if candidate.value not in taken]
    chosen: list[Substitution] = []
    for candidate in random.sample(found, len(found)):
        if len(chosen) < count and all(candidate.text != other.text for other in chosen):
            chosen.append(candidate)
    return chosen


def _candidates(conversation: Conversation, index: int, choices: SlotChoices) -> Iterator[Substitution]:
    turn = conversation.turns[index]
    own = list(set_slots(turn))
    for slot, old in own:
        places = places_of(old, turn.message)
        others = [value for name, value in own if (name, value) != (slot, old)]
        shared = any(_share_words(old, other, turn.message) for other in others) or _names_flow(turn, old)
        if len(places) != 1 or shared or _is_known_later(conversation, index, old):
            continue
        if words.number(old) in words.numbers_in(turn.message[: places[0][0]] + turn.message[places[0][1] :]):
            continue  # "two people for 2 nights"
        for new in choices.of(slot):
            if _may_stand(conversation, index, slot, old, new):
                found = _exchanged(turn, slot, old, new, places[0])
                if found is not None:
                    yield found


def _share_words(old: str, other: str, message: str) -> bool:
    """Whether two values are read from the same words, such as both days in "from may 14th to the 17th"."""
    return stands_in(old, other) or stands_in(other, old) or may_follow(other, message, old)


def _names_flow(turn: Turn, value: str) -> bool:
    """Whether the label has a flow whose name holds a value: "rent a car" for `rent_car`."""
    commands = turn.annotation.labels if turn.annotation else ()
    flows = [flow for command in commands if command.type in ("StartFlow", "Clarify") for flow in command.args]
    return any(flow and stands_in(value, re.sub("[_-]", " ", flow)) for flow in flows)


def _is_known_later(conversation: Conversation, index: int, value: str) -> bool:
    later = conversation.turns[index + 1 :]
    derived = (may_follow(other, turn.message, value) for turn in later for _, other in set_slots(turn))
    return any(_has(turn, value) for turn in later) or any(derived)


def _has(turn: Turn, value: str) -> bool:
    return stands_in(value, turn.message) or any(stands_in(value, other) for _, other in set_slots(turn))


def _may_stand(conversation: Conversation, index: int, slot: str, old: str, new: str) -> bool:
    if new.casefold() == old.casefold() or is_without_blanks(new) != is_without_blanks(old):
        return False
    if any(_has(turn, new) for turn in conversation.turns):
        return False
    events = conversation.events[: conversation.turns[index].events_before]
    held = [event.get("value") for event in events if event.get("event") == "slot" and event.get("name") == slot]
    if held and str(held[-1]).casefold() == new.casefold():
        return False
    said = [json.dumps(event, ensure_ascii=False) for event in events if _is_the_assistants(event)]
    return any(stands_in(old, text) for text in said) == any(stands_in(new, text) for text in said)


def _is_the_assistants(event: dict[str, object]) -> bool:
    """What the assistant said or found out by itself; a slot that the user's message filled is not."""
    return event.get("event") == "bot" or (event.get("event") == "slot" and event.get("filled_by") != "LLM")


def _exchanged(turn: Turn, slot: str, old: str, new: str, place: tuple[int, int]) -> Substitution | None:
    annotation = turn.annotation
    if annotation is None:
        return None
    label = tuple(
        Command(type="SetSlot", args=(slot, new)) if command == Command(type="SetSlot", args=(slot, old)) else command
        for command in annotation.labels
    )
    expected = annotation.model_copy(update={"commands": label})
    if expected.labels != label:  # the assistant threw just this command away at this turn
        return None
    start, end = place
    text = turn.message[:start] + _as_said(turn.message[start:end], new) + turn.message[end:]
    return Substitution(text, expected, new)


def _as_said(old: str, new: str) -> str:
    """How a user says a value that is a name in the assistant's files: `credit_card` as `credit card`."""
    sign = re.search(r"[\s_-]", old)
    return new.replace("_", sign[0] if sign else " ")
