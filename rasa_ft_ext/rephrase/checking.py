"""Put wordings to the assistant, once or several times each, and judge what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from rasa_ft_ext.assistant.base import Answer, Assistant
from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.conversation import Annotation, ContestedTurn, Conversation, Origin, Rephrasing
from rasa_ft_ext.errors import LLMError, LLMUnavailableError
from rasa_ft_ext.rephrase.verdict import SlotValues, judge, unasked, undecided
from rasa_ft_ext.rephrase.votes import Vote, against_recorded, vote


@dataclass(frozen=True)
class Check:
    """One wording that is put to the assistant in the place of a turn's message.

    `annotation` holds the commands that are expected, which are not the recorded ones where a slot's value was
    exchanged. `differs` says that these set a slot to another value than the original message did; `noise` is the kind
    of its slips, if it has any.
    """

    conversation: Conversation
    turn: int
    annotation: Annotation
    text: str
    slot_values: SlotValues
    origin: Origin = "rephraser"
    differs: bool = False
    noise: str | None = None


@dataclass(frozen=True)
class Checked:
    """A wording with its verdict, and with what was said to it."""

    check: Check
    rephrasing: Rephrasing
    vote: Vote


@dataclass(frozen=True)
class Teacher:
    """The assistant as one who is asked, so many times about each message; `calls` lets so many ask at a time."""

    assistant: Assistant
    times: int
    calls: AbstractAsyncContextManager[object]

    async def judge(self, checks: Sequence[Check]) -> list[Checked]:
        """Ask about wordings, and judge them, in their order.

        Raises:
            LLMUnavailableError: every further call would fail as well.
        """
        asked = [(check.conversation, check.turn, check.text) for check in checks]
        votes = await self._votes(asked, [check.annotation for check in checks], first=0)
        return [Checked(check, self._verdict(check, found), found) for check, found in zip(checks, votes, strict=True)]

    async def recall(self, conversation: Conversation) -> dict[int, Vote]:
        """Ask about the original messages again; the votes by the turn.

        Raises:
            LLMUnavailableError: every further call would fail as well.
        """
        turns = [(index, turn.message, turn.annotation) for index, turn in conversation.annotated if turn.annotation]
        asked = [(conversation, index, message) for index, message, _ in turns]
        votes = await self._votes(asked, [annotation for *_, annotation in turns], first=1)  # 0 is the recorded answer
        return {index: found for (index, *_), found in zip(turns, votes, strict=True)}

    async def _votes(
        self, asked: Sequence[tuple[Conversation, int, str]], annotations: Sequence[Annotation], *, first: int
    ) -> list[Vote]:
        jobs = [(*job, sample) for job in asked for sample in range(first, first + self.times)]
        results = await in_order(jobs, self._ask, limit=max(len(jobs), 1))
        return [
            vote(results[place * self.times : (place + 1) * self.times], annotation)
            for place, annotation in enumerate(annotations)
        ]

    async def _ask(self, job: tuple[Conversation, int, str, int]) -> Answer | LLMError:
        conversation, turn, message, sample = job
        async with self.calls:
            try:
                return await self.assistant.ask(conversation, turn, message, sample=sample)
            except LLMUnavailableError:
                raise
            except LLMError as error:
                return error

    def _verdict(self, check: Check, found: Vote) -> Rephrasing:
        winner = found.winner
        if winner is not None:
            verdict = judge(
                check.text, winner, check.annotation, slot_values=check.slot_values, read=self.assistant.read
            )
        elif found.errors:
            verdict = unasked(check.text, found.errors[0])
        else:
            verdict = undecided(check.text, found.told)
        return verdict.model_copy(
            update={
                "origin": check.origin,
                "noise": check.noise,
                "differs": verdict.passed and (verdict.differs or check.differs),
                "answers": found.texts if self.times > 1 else (),
            }
        )


def contested_turns(conversation: Conversation, votes: Mapping[int, Vote]) -> tuple[ContestedTurn, ...]:
    """The turns whose own message is left out, as what was said to it again speaks against it."""
    contested = []
    for index, turn in conversation.annotated:
        found = votes.get(index)
        reason = against_recorded(found, turn.annotation) if found and turn.annotation else None
        if found and reason:
            contested.append(ContestedTurn(turn=index, reason=reason, answers=found.texts))
    return tuple(contested)
