"""Let an LLM word the messages of drafted tests, in one call for each; where its answer is no use, the drafts stay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.coverage.drafts import Draft, Turn
from rasa_ft_ext.errors import LLMAnswerError, LLMError
from rasa_ft_ext.llm.base import LLM

_REASONS = 3  # are told
_LONGEST = 400  # characters of a message
_LINE = re.compile(r"\s*(\d+)[.)]\s+(.*\S)\s*")
_PROMPT = '''\
You write what a user says in a test of an assistant. This is what the assistant is asked to do:
{about}

The user says, one after the other:
{turns}

Write one message for each number, in the first person, short, as people type, in the language of the description above.
What stands in quotes is a value: it stands in the message letter for letter. Add no other detail.
Answer with the numbered messages, each on a line of its own, and nothing else. The name of the test is """{name}"""
'''


async def worded(drafts: Sequence[Draft], llm: LLM, *, concurrency: int) -> tuple[list[Draft], list[str]]:
    """The drafts in the LLM's words, in the same order, and notes on those that kept their own."""

    async def one(draft: Draft) -> tuple[Draft, str | None]:
        try:
            completion = await llm.complete(prompt_for(draft))
            return with_answer(draft, completion.text), None
        except LLMError as error:
            return draft, str(error)

    found = await in_order(drafts, one, limit=concurrency)
    return [draft for draft, _ in found], list(_note([reason for _, reason in found if reason], len(drafts)))


def _note(reasons: Sequence[str], tests: int) -> Iterator[str]:
    """One sentence with the commonest reasons."""
    if not reasons:
        return
    counted = Counter(reasons)
    shown = [f"{reason} ({times})" for reason, times in counted.most_common(_REASONS)]
    more = [f"and {len(counted) - _REASONS} more reasons"] if len(counted) > _REASONS else []
    keep = "keeps" if len(reasons) == 1 else "keep"
    yield f"{len(reasons)} of {tests} suggested tests {keep} the drafted messages: {'; '.join([*shown, *more])}"


def prompt_for(draft: Draft) -> str:
    """What the LLM is asked for one test."""
    turns = "\n".join(f"{number}. {' '.join(turn.meant.split())}" for number, turn in enumerate(draft.turns, 1))
    return _PROMPT.format(about=draft.about, turns=turns, name=draft.name)


def with_answer(draft: Draft, answer: str) -> Draft:
    """The draft with the messages of an answer.

    Raises:
        LLMAnswerError: it has not one message for each turn, or one of them lacks its value.
    """
    lines = [match for line in answer.splitlines() if (match := _LINE.fullmatch(line))]
    if [int(line[1]) for line in lines] != list(range(1, len(draft.turns) + 1)):
        raise LLMAnswerError("the LLM's answer has not one numbered message for each turn")
    return replace(
        draft, turns=tuple(_turn(turn, line[2].strip("\"' ")) for turn, line in zip(draft.turns, lines, strict=True))
    )


def _turn(turn: Turn, message: str) -> Turn:
    if not message or len(message) > _LONGEST:
        raise LLMAnswerError("a message of the LLM's answer is empty or too long")
    if message.startswith("/"):
        raise LLMAnswerError("a message of the LLM's answer is a payload")
    if turn.value is not None and turn.value.casefold() not in message.casefold():
        raise LLMAnswerError("a message of the LLM's answer lacks the value that it should give")
    return replace(turn, message=message)
