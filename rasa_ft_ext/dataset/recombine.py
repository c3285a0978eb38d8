"""New conversations out of passing rephrasings.

The i-th new conversation takes the i-th passing rephrasing of every user message. A message that has fewer begins
with its first again, so that all of its rephrasings are used evenly; one that has none stays as it was. There are as
many new conversations as the message with the most passing rephrasings has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rasa_ft_ext.commands import Command, same_commands
from rasa_ft_ext.conversation import Conversation, RephrasedConversation, Rephrasing


@dataclass(frozen=True)
class Variant:
    """One way to say a conversation: its messages, one for each turn, and the labels of the annotated ones.

    `number` is 0 for the original. `moved` are the turns whose wording changes what the assistant does next (another
    slot value, or a wording that the assistant repeats or stores) or whose label a person has changed, so that later
    prompts cannot be had by filling in.
    """

    number: int
    messages: tuple[str, ...]
    labels: tuple[tuple[Command, ...] | None, ...]
    moved: frozenset[int] = frozenset()


def variants(
    conversation: Conversation,
    rephrased: RephrasedConversation | None,
    labels: Mapping[int, tuple[Command, ...]] | None = None,
) -> Iterator[Variant]:
    """The original, then the new conversations in order; `labels` are those of messages that a person has changed."""
    labels = labels or {}
    yield _variant(conversation, 0, {}, labels)
    if rephrased is None:
        return
    passing = {index: rephrased.passing(index) for index, _ in conversation.annotated}
    count = max((len(found) for found in passing.values()), default=0)
    for number in range(count):
        chosen = {index: found[number % len(found)] for index, found in passing.items() if found}
        yield _variant(conversation, number + 1, chosen, labels)


def _variant(
    conversation: Conversation, number: int, chosen: dict[int, Rephrasing], changed: Mapping[int, tuple[Command, ...]]
) -> Variant:
    turns = list(enumerate(conversation.turns))
    labels: list[tuple[Command, ...] | None] = []
    moved = set()
    for index, turn in turns:
        recorded = turn.annotation.labels if turn.annotation is not None else None
        if index in chosen:
            labels.append(chosen[index].label)
            moves = chosen[index].differs or turn.echoed
        else:
            labels.append(changed.get(index, recorded))
            moves = index in changed and not same_commands(recorded or (), changed[index])
        moved |= {index} if moves else set()
    return Variant(
        number=number,
        messages=tuple(chosen[index].text if index in chosen else turn.message for index, turn in turns),
        labels=tuple(labels),
        moved=frozenset(moved),
    )
