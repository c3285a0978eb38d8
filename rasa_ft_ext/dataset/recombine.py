"""New conversations out of passing rephrasings.

The i-th new conversation takes the i-th passing rephrasing of every user message. A message that has fewer begins
with its first again, so that all of its rephrasings are used evenly; one that has none stays as it was. There are as
many new conversations as the message with the most passing rephrasings has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Conversation, RephrasedConversation, Rephrasing


@dataclass(frozen=True)
class Variant:
    """One way to say a conversation: its messages, one for each turn, and the labels of the annotated ones.

    `number` is 0 for the original. `moved` are the turns whose wording changes what the assistant does next (another
    slot value, or a wording that the assistant repeats or stores), so that later prompts cannot be had by filling in.
    """

    number: int
    messages: tuple[str, ...]
    labels: tuple[tuple[Command, ...] | None, ...]
    moved: frozenset[int] = frozenset()


def variants(conversation: Conversation, rephrased: RephrasedConversation | None) -> Iterator[Variant]:
    """The original, then the new conversations in order."""
    yield _variant(conversation, 0, {})
    if rephrased is None:
        return
    passing = {index: rephrased.passing(index) for index, _ in conversation.annotated}
    count = max((len(found) for found in passing.values()), default=0)
    for number in range(count):
        chosen = {index: found[number % len(found)] for index, found in passing.items() if found}
        yield _variant(conversation, number + 1, chosen)


def _variant(conversation: Conversation, number: int, chosen: dict[int, Rephrasing]) -> Variant:
    turns = list(enumerate(conversation.turns))
    labels = []
    for index, turn in turns:
        own = turn.annotation.labels if turn.annotation is not None else None
        labels.append(chosen[index].label if index in chosen else own)
    return Variant(
        number=number,
        messages=tuple(chosen[index].text if index in chosen else turn.message for index, turn in turns),
        labels=tuple(labels),
        moved=frozenset(index for index, turn in turns if index in chosen and (chosen[index].differs or turn.echoed)),
    )
