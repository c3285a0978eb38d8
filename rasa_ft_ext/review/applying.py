"""The data with the decisions applied: a pure function of annotations, rephrasings and decisions.

- accept: a rephrasing passes, with the label it has or, where it failed, with its own commands. A message that the LLM
  was not sure of gives examples.
- reject: no example is made of it.
- edit: the label, or the text, or both, are those of the person.

A message whose label was rejected or edited takes its rephrasings with it, as they were kept for having that very
label: those on which nobody decided are compared with the new label as `rephrase` does, and fail where there is none.

What the assistant did in the recorded test follows from the recorded commands, so these stay in the annotations; the
edited labels are beside them. Who makes prompts can tell from the two that what follows is another course.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rasa_ft_ext.commands import Command, difference, same_commands, value_difference
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    ContestedTurn,
    Conversation,
    RephrasedConversation,
    RephrasedFile,
    RephrasedTurn,
    Rephrasing,
)
from rasa_ft_ext.review.decisions import VERDICTS, Decision
from rasa_ft_ext.review.fitting import Fitted, kept_with

REJECTED = "rejected in the review"
NOT_THE_LABEL = "not the label of the review"

EditedLabels = Mapping[int, tuple[Command, ...]]
"""The edited labels of a test's messages, by turn."""


@dataclass(frozen=True)
class Reviewed:
    """The rephrasings as the review left them, the edited labels of the messages by test, and what was applied.

    `counts` has the accepted, rejected and edited, and those that do not fit, where there is a decision at all.
    """

    rephrased: tuple[RephrasedFile, ...]
    labels: Mapping[str, EditedLabels]
    counts: Mapping[str, int]


def apply(annotated: Sequence[AnnotatedFile], rephrased: Sequence[RephrasedFile], fitted: Fitted) -> Reviewed:
    """Apply the decisions that fit."""
    found = {entry.id: entry for file in rephrased for entry in file.conversations}
    labels: dict[str, EditedLabels] = {}
    files = []
    decided = {place[0] for place in fitted.placed}
    for file in annotated:
        entries = []
        for conversation in file.conversations:
            of = found.get(conversation.id)
            if conversation.id in decided:
                test = _Test(conversation, of or RephrasedConversation(id=conversation.id), fitted)
                labels[conversation.id] = test.labels
                of = test.rephrased()
            entries += [of] if of else []
        files.append(RephrasedFile(file=file.source.file, conversations=tuple(entries)))
    return Reviewed(tuple(files), labels, _counts(fitted))


def _counts(fitted: Fitted) -> dict[str, int]:
    if not fitted.placed and not fitted.misfits:
        return {}
    found = Counter(decision.decision for decision in fitted.placed.values())
    words = {"accept": "accepted", "reject": "rejected", "edit": "edited"}
    return {**{words[verdict]: found[verdict] for verdict in VERDICTS}, "not fitting": len(fitted.misfits)}


class _Test:
    """One conversation with decisions on it."""

    def __init__(self, conversation: Conversation, rephrased: RephrasedConversation, fitted: Fitted) -> None:
        self._conversation = conversation
        self._rephrased = rephrased
        self._fitted = fitted
        recorded = {i: turn.annotation.labels for i, turn in conversation.annotated if turn.annotation is not None}
        self._recorded = recorded
        self.labels = {
            index: label
            for index in recorded
            if (label := fitted.labels.get((conversation.id, index, None))) and label != recorded[index]
        }

    def rephrased(self) -> RephrasedConversation:
        """The conversation's rephrasings with the decisions applied."""
        turns = tuple(
            entry.model_copy(update={"rephrasings": tuple(self._wordings(entry))}) for entry in self._rephrased.turns
        )
        return self._rephrased.model_copy(update={"turns": turns, "contested": tuple(self._contested())})

    def _contested(self) -> Iterator[ContestedTurn]:
        """The messages that give no examples: those the LLM was not sure of and nobody decided on, and the rejected."""
        before = {entry.turn: entry for entry in self._rephrased.contested}
        for index in self._recorded:
            decision = self._decision(index)
            if decision is not None and decision.decision == "reject":
                yield ContestedTurn(turn=index, reason=_rejected(decision), answers=())
            elif decision is None and index in before:
                yield before[index]

    def _wordings(self, entry: RephrasedTurn) -> Iterator[Rephrasing]:
        of_message = self._decision(entry.turn)
        for found in entry.rephrasings:
            decision = self._decision(entry.turn, found.text)
            if decision is not None:
                yield self._decided(entry.turn, found, decision)
            elif of_message is not None and of_message.decision == "reject" and found.passed:
                yield _failed(found, f"{NOT_THE_LABEL}: that of its message is rejected")
            elif entry.turn in self.labels and not same_commands(self._recorded[entry.turn], self.labels[entry.turn]):
                yield _judged(found, self.labels[entry.turn])
            else:
                yield found

    def _decided(self, turn: int, found: Rephrasing, decision: Decision) -> Rephrasing:
        if decision.decision == "reject":
            return _failed(found, _rejected(decision))
        edited = self._fitted.labels.get((self._conversation.id, turn, found.text))
        label = edited or kept_with(found)
        text = decision.text if decision.text is not None else found.text
        as_it_was = found.passed and not edited
        moves = found.differs if as_it_was else not same_commands(self._recorded[turn], label)
        return found.model_copy(update={"text": text, "passed": True, "label": label, "differs": moves, "reason": None})

    def _decision(self, turn: int, rephrasing: str | None = None) -> Decision | None:
        return self._fitted.placed.get((self._conversation.id, turn, rephrasing))


def _judged(found: Rephrasing, label: tuple[Command, ...]) -> Rephrasing:
    """A rephrasing beside the new label of its message; what the LLM said to it must be the same, values and all."""
    if not found.commands:
        return found
    why = difference(label, found.commands) or value_difference(label, found.commands)
    if why is not None:
        return _failed(found, f"{NOT_THE_LABEL}: {why}") if found.passed else found
    return found.model_copy(update={"passed": True, "label": found.commands, "differs": True, "reason": None})


def _failed(found: Rephrasing, reason: str) -> Rephrasing:
    return found.model_copy(update={"passed": False, "reason": reason})


def _rejected(decision: Decision) -> str:
    return f"{REJECTED}: {decision.note}" if decision.note else REJECTED
