"""One conversation: ask the rephraser, read what it says, put each wording to the assistant, and count.

The LLM is asked once, for all messages of the conversation. A call that fails costs what it was made for and no more.
What comes of a conversation depends on no other one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rasa_ft_ext.conversation import Conversation, RephrasedConversation, RephrasedTurn, Rephrasing
from rasa_ft_ext.errors import LLMError, LLMUnavailableError
from rasa_ft_ext.llm.base import LLM, Completion
from rasa_ft_ext.rephrase.answer import read_answer
from rasa_ft_ext.rephrase.checking import Check, Checked, Teacher, contested_turns
from rasa_ft_ext.rephrase.counts import Counts
from rasa_ft_ext.rephrase.request import Request, request_for, turns_to_rephrase
from rasa_ft_ext.rephrase.tokens import tokens_of, tokens_of_votes
from rasa_ft_ext.rephrase.values import SlotChoices
from rasa_ft_ext.rephrase.variety import Variety, slipped, substituted
from rasa_ft_ext.rephrase.verdict import CALL_FAILED, SlotValues, kind
from rasa_ft_ext.rephrase.votes import Vote, agreement

Wordings = tuple[tuple[str, ...], ...]
"""For each turn of a request, the wordings that the rephraser gave."""


@dataclass(frozen=True)
class Outcome:
    """What came of a conversation, what it adds to the figures, and what the rephraser said, if it was asked."""

    rephrased: RephrasedConversation
    counts: Counts
    said: Completion | LLMError | None


@dataclass(frozen=True)
class Rephraser:
    """What there is to rephrase with.

    `choices` are the values for slots, None where none are exchanged.
    """

    llm: LLM
    teacher: Teacher
    num_rephrases: int
    template: str
    slot_values: SlotValues
    variety: Variety
    choices: SlotChoices | None

    async def rephrase(self, conversation: Conversation) -> Outcome:
        """Rephrase one conversation.

        Raises:
            LLMUnavailableError: every further call would fail as well.
        """
        started = time.perf_counter()
        request = request_for(conversation, self.num_rephrases, self.template)
        said = await self._ask(request) if request else None
        wordings = _read(request, said, self.num_rephrases) if request and isinstance(said, Completion) else ()
        answered = time.perf_counter()
        exchanged = substituted(conversation, self.choices, self.variety) if self.choices else ()
        checks = _new([*_checks(request, wordings, self.slot_values), *exchanged])
        checked = await self.teacher.judge(checks)
        checked += await self.teacher.judge(
            _new(slipped(conversation, checked, self.variety, self.slot_values), checked)
        )
        recalled = await self.teacher.recall(conversation) if self.teacher.times > 1 else {}
        rephrased = _assembled(conversation, request is not None, said, checked, recalled)
        counts = self._counts(rephrased, checked, recalled).model_copy(
            update={
                "asked": int(request is not None),
                "worded": int(any(wordings)),
                "rephrasing": tokens_of([said.usage] if isinstance(said, Completion) else []),
                "rephrasing_seconds": answered - started,
                "checking_seconds": time.perf_counter() - answered,
            }
        )
        return Outcome(rephrased, counts, said)

    async def _ask(self, request: Request) -> Completion | LLMError:
        def readable(text: str) -> bool:
            return any(read_answer(text, request.messages, self.num_rephrases))

        async with self.teacher.calls:
            try:
                return await self.llm.complete(request.prompt, readable=readable)
            except LLMUnavailableError:
                raise
            except LLMError as error:
                return error

    def _counts(self, found: RephrasedConversation, checked: Sequence[Checked], recalled: dict[int, Vote]) -> Counts:
        rephrasings = [rephrasing for turn in found.turns for rephrasing in turn.rephrasings]
        reasons = Counter(kind(rephrasing) for rephrasing in rephrasings if not rephrasing.passed)
        votes = [entry.vote for entry in checked]
        contested = [f"{found.id}, message {entry.turn + 1}: {entry.reason}" for entry in found.contested]
        times = self.teacher.times
        return Counts(
            conversations=1,
            messages=len(found.turns),
            passing=Counter(entry.maker for entry in rephrasings if entry.passed),
            failing=Counter(entry.maker for entry in rephrasings if not entry.passed),
            reasons=reasons,
            failed_calls=(found.problem is not None) + reasons[CALL_FAILED],
            checking=tokens_of_votes([*votes, *recalled.values()]),
            teacher=agreement(times, votes, list(recalled.values()), contested) if times > 1 else None,
        )


def _read(request: Request, said: Completion, num_rephrases: int) -> Wordings:
    return read_answer(said.text, request.messages, num_rephrases)


def _checks(request: Request | None, wordings: Wordings, slot_values: SlotValues) -> Iterator[Check]:
    if request is None or not wordings:
        return
    for turn, texts in zip(request.turns, wordings, strict=True):
        annotation = request.conversation.turns[turn].annotation
        for text in texts:
            if annotation is not None:
                yield Check(request.conversation, turn, annotation, text, slot_values)


def _new(checks: Iterable[Check], before: Sequence[Checked] = ()) -> list[Check]:
    """The checks whose wording is neither the turn's own nor there already: each is asked about once."""
    seen = {(entry.check.turn, entry.check.text) for entry in before}
    kept = []
    for check in checks:
        place = (check.turn, check.text)
        if place not in seen and check.text != check.conversation.turns[check.turn].message:
            seen.add(place)
            kept.append(check)
    return kept


def _assembled(
    conversation: Conversation,
    was_asked: bool,
    said: Completion | LLMError | None,
    checked: Sequence[Checked],
    recalled: dict[int, Vote],
) -> RephrasedConversation:
    verdicts: dict[int, list[Rephrasing]] = {}
    for entry in checked:
        verdicts.setdefault(entry.check.turn, []).append(entry.rephrasing)
    problem = f"the rephraser's LLM: {said}" if isinstance(said, LLMError) else None

    def turn_of(turn: int) -> RephrasedTurn:
        found = tuple(verdicts.get(turn, ()))
        is_missed = was_asked and not problem and all(entry.origin != "rephraser" for entry in found)
        missing = "the rephraser's answer holds no rephrasing of this message" if is_missed else None
        message = conversation.turns[turn].message
        return RephrasedTurn(turn=turn, message=message, rephrasings=found, problem=missing)

    turns = [turn_of(turn) for turn in turns_to_rephrase(conversation) if was_asked or turn in verdicts]
    contested = contested_turns(conversation, recalled)
    return RephrasedConversation(id=conversation.id, turns=tuple(turns), problem=problem, contested=contested)
