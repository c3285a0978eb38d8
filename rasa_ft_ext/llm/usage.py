"""What the answers that the data came from took, by stage and model: the part of a result that costs money.

A stage sums the tokens of the answers that it used, kept ones and new ones alike. So the sum is a function of the data:
a run that was interrupted and resumed tells the same as one that was not. What one run paid is another matter, see
`rasa_ft_ext.llm.cost`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from rasa_ft_ext.conversation import Record, Usage

Purpose = Literal["annotate", "rephrase", "validate"]
"""What calls are made for: the commands of the tests, other wordings, the commands of the wordings."""

_PURPOSES: tuple[str, ...] = get_args(Purpose)


class LLMUsage(Record):
    """What the answers of one model took that were used for one purpose.

    `model` is as `model_name` gives it. Tokens are as the provider counted them, 0 where it told none.
    """

    stage: Purpose
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int


def model_name(settings: Mapping[str, Any]) -> str:
    """Provider and model of an LLM's public settings, such as `openai/gpt-4.1-mini-2025-04-14`."""
    provider = settings.get("provider") or settings.get("api_type")
    name = settings.get("deployment") or settings.get("model") or settings.get("model_group") or "unknown"
    return f"{provider}/{name}" if provider and not str(name).startswith(f"{provider}/") else str(name)


def used(stage: Purpose, settings: Mapping[str, Any], answers: Iterable[Usage]) -> tuple[LLMUsage, ...]:
    """The sum of a model's answers; nothing where there are none.

    Args:
        stage: What they were for.
        settings: The public settings of the LLM: `LLM.settings`, or `AssistantCard.llm`.
        answers: The tokens of each.
    """
    each = list(answers)
    if not each:
        return ()
    found = LLMUsage(
        stage=stage,
        model=model_name(settings),
        calls=len(each),
        prompt_tokens=sum(usage.prompt_tokens for usage in each),
        completion_tokens=sum(usage.completion_tokens for usage in each),
    )
    return (found,)


def together(parts: Iterable[LLMUsage]) -> tuple[LLMUsage, ...]:
    """The sums of several, one for each stage and model: in the order of the stages, then by name."""
    sums: dict[tuple[str, str], LLMUsage] = {}
    for part in parts:
        before = sums.get((part.stage, part.model))
        sums[part.stage, part.model] = part if before is None else _sum(before, part)
    return tuple(sorted(sums.values(), key=lambda entry: (_PURPOSES.index(entry.stage), entry.model)))


def _sum(one: LLMUsage, other: LLMUsage) -> LLMUsage:
    return LLMUsage(
        stage=one.stage,
        model=one.model,
        calls=one.calls + other.calls,
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
    )
