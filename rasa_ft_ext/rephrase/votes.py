"""What the teacher says when it is asked several times: the majority, and how far it agrees with itself.

An LLM answers the same prompt differently now and then, even at temperature 0. How often it does is the noise floor of
its labels: no model that learns from them can be measured more finely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rasa_ft_ext.assistant.base import Answer
from rasa_ft_ext.commands import Command, same_commands
from rasa_ft_ext.conversation import Annotation
from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.rephrase.verdict import effective
from rasa_ft_ext.teacher_agreement import TeacherAgreement

NOTHING = "no command"


@dataclass(frozen=True)
class Vote:
    """What came of asking about one message `times` times.

    `groups` are the answers, those with the same effect together, the largest group first; `texts` are the answers'
    texts in the order in which they were asked for.
    """

    times: int
    groups: tuple[tuple[Answer, ...], ...]
    texts: tuple[str, ...]
    errors: tuple[LLMError, ...]
    told: str

    @property
    def winner(self) -> Answer | None:
        """The first of the answers that more than half of the calls gave; None where there is no such majority."""
        return self.groups[0][0] if self.groups and 2 * len(self.groups[0]) > self.times else None

    @property
    def minority(self) -> int:
        """How many answers differ from the most frequent one."""
        return sum(len(group) for group in self.groups[1:])


def vote(results: Sequence[Answer | LLMError], annotation: Annotation) -> Vote:
    """Count what was said to one message; commands that the assistant threw away at this turn do not count."""
    answers = [result for result in results if not isinstance(result, LLMError)]
    groups: list[list[Answer]] = []
    for answer in answers:
        commands = effective(answer.commands, annotation)
        same = (group for group in groups if same_commands(effective(group[0].commands, annotation), commands))
        group = next(same, None)
        if group is None:
            groups.append([answer])
        else:
            group.append(answer)
    groups.sort(key=len, reverse=True)  # stable: among equals, the one that was given first
    return Vote(
        times=len(results),
        groups=tuple(tuple(group) for group in groups),
        texts=tuple(answer.text for answer in answers),
        errors=tuple(result for result in results if isinstance(result, LLMError)),
        told=", ".join(f"{len(group)}x {_told(effective(group[0].commands, annotation))}" for group in groups),
    )


def against_recorded(found: Vote, annotation: Annotation) -> str | None:
    """Why an original message cannot be learned from, as far as its answers say so; None where it can.

    Where calls failed and what came is no majority, nothing is said against the message.
    """
    winner = found.winner
    if winner is None:
        return None if found.errors else f"no majority: {found.told}"
    if same_commands(annotation.labels, effective(winner.commands, annotation)):
        return None
    return f"against the recorded commands: {found.told}; recorded: {_told(annotation.labels)}"


def agreement(
    times: int, of_wordings: Sequence[Vote], of_originals: Sequence[Vote], contested: Sequence[str]
) -> TeacherAgreement:
    """Count over all messages that were asked about; those that got no answer do not count."""
    answered = [found for found in (*of_wordings, *of_originals) if found.texts]
    answers, minority = sum(len(found.texts) for found in answered), sum(found.minority for found in answered)
    return TeacherAgreement(
        times=times,
        messages=len(answered),
        answers=answers,
        split_messages=sum(len(found.groups) > 1 for found in answered),
        minority_answers=minority,
        disagreement=round(minority / answers, 4) if answers else 0.0,
        no_majority=sum(found.winner is None and not found.errors for found in answered),
        unasked=sum(found.winner is None and bool(found.errors) for found in of_originals),
        contested=tuple(contested),
    )


def combined(found: Sequence[TeacherAgreement]) -> TeacherAgreement | None:
    """What several counts come to together; None where there is none."""
    if not found:
        return None
    answers, minority = sum(entry.answers for entry in found), sum(entry.minority_answers for entry in found)
    return TeacherAgreement(
        times=found[0].times,
        messages=sum(entry.messages for entry in found),
        answers=answers,
        split_messages=sum(entry.split_messages for entry in found),
        minority_answers=minority,
        disagreement=round(minority / answers, 4) if answers else 0.0,
        no_majority=sum(entry.no_majority for entry in found),
        unasked=sum(entry.unasked for entry in found),
        contested=tuple(text for entry in found for text in entry.contested),
    )


def _told(commands: Sequence[Command]) -> str:
    return " ".join(map(str, commands)) or NOTHING
