"""How far the teacher agrees with itself where it is asked several times: `rephrase` counts it, the report shows it."""

from __future__ import annotations

from rasa_ft_ext.conversation import Record


class TeacherAgreement(Record):
    """How far the teacher agrees with itself, over the original messages and all other wordings.

    Each message was asked `times` times, and `answers` answers came for `messages` messages. `split_messages` got more
    than one answer; `minority_answers` are not the most frequent one of their message, and `disagreement` is their
    part of all answers: the noise floor. `no_majority` counts the wordings and original messages that are left out
    because no answer was given by more than half of the calls. `contested` names the original messages that are left
    out, for want of a majority or because it is against the recorded commands. `unasked` counts the original messages
    for which too many calls failed to say anything; they are kept.
    """

    times: int
    messages: int
    answers: int
    split_messages: int
    minority_answers: int
    disagreement: float
    no_majority: int
    unasked: int = 0
    contested: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it, a sentence each."""
        notes = [
            f"The assistant's LLM disagrees with itself in {self.disagreement:.1%} of {self.answers} answers to "
            f"{self.messages} messages, each asked {self.times} times."
        ]
        if self.contested:
            notes.append(
                f"{len(self.contested)} original messages are left out of the examples, as their recorded commands are "
                "not what the LLM says now; see `teacher` in the summary."
            )
        if self.unasked:
            notes.append(
                f"{self.unasked} original messages could not be asked about again, as calls failed; they are kept."
            )
        return tuple(notes)
