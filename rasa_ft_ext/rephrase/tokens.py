"""How many tokens the calls of the stage took, as far as the providers say it.

The tokens of an answer are kept with it, so that an interrupted run comes to the same figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rasa_ft_ext.conversation import Record, Usage
from rasa_ft_ext.llm.usage import LLMUsage, Purpose, model_name
from rasa_ft_ext.rephrase.votes import Vote


class Tokens(Record):
    """`calls` that were answered, and the tokens of these together."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def used(self, stage: Purpose, settings: Mapping[str, Any]) -> tuple[LLMUsage, ...]:
        """The same as what was used of the LLM with these settings; nothing where there were no calls."""
        found = LLMUsage(stage=stage, model=model_name(settings), **self.model_dump())
        return (found,) if self.calls else ()


def tokens_of(usages: Iterable[Usage]) -> Tokens:
    """Those of calls that were answered."""
    found = list(usages)
    return Tokens(
        calls=len(found),
        prompt_tokens=sum(usage.prompt_tokens for usage in found),
        completion_tokens=sum(usage.completion_tokens for usage in found),
    )


def tokens_of_votes(votes: Iterable[Vote]) -> Tokens:
    """Those of the calls in which the assistant's LLM was asked about wordings, and about messages again."""
    return tokens_of(answer.usage for vote in votes for group in vote.groups for answer in group)


def together(found: Iterable[Tokens]) -> Tokens:
    """The sum."""
    entries = list(found)
    return Tokens(
        calls=sum(entry.calls for entry in entries),
        prompt_tokens=sum(entry.prompt_tokens for entry in entries),
        completion_tokens=sum(entry.completion_tokens for entry in entries),
    )
