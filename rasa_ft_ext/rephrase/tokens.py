"""How many tokens the calls of the stage took, as far as the providers say it.

A provider need not count alike each time, so these figures stand with the times, and no result depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.rephrase.checking import Checked
from rasa_ft_ext.rephrase.votes import Vote

Tokens = dict[str, int]
"""`calls` that were answered, `prompt_tokens` and `completion_tokens` of these together."""


def of_completions(answers: Sequence[Completion | LLMError]) -> Tokens:
    """Those of the rephraser's calls."""
    return _sum(answer.usage for answer in answers if isinstance(answer, Completion))


def of_votes(checked: Sequence[Checked], recalled: Mapping[tuple[str, int], Vote]) -> Tokens:
    """Those of the calls in which the assistant's LLM was asked about wordings, and about messages again."""
    votes = [*(entry.vote for entry in checked), *recalled.values()]
    return _sum(answer.usage for vote in votes for group in vote.groups for answer in group)


def _sum(usages: Iterable[Usage]) -> Tokens:
    found = list(usages)
    return {
        "calls": len(found),
        "prompt_tokens": sum(usage.prompt_tokens for usage in found),
        "completion_tokens": sum(usage.completion_tokens for usage in found),
    }
