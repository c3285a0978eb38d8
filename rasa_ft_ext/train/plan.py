"""Whether batches share prefixes in this training: what it saves, and why not where it does not.

The figures are those of the batches in the order of the file; the Trainer draws them in another order each epoch, which
changes them little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rasa_ft_ext.errors import TrainingError
from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.settings import TrainSettings
from rasa_ft_ext.train.tree import PrefixTree, common_length

PAYS = 1.2  # fewer tokens saved are lost again by the smaller pieces that attention has to work in


@dataclass(frozen=True)
class SharingPlan:
    """Whether prefixes are shared; the tokens of one epoch, all and those that are computed; what to tell the user."""

    on: bool
    raw_tokens: int
    unique_tokens: int
    text: str


def plan_sharing(
    settings: TrainSettings, model: Any, examples: Sequence[Tokens], tokenizer: Any, *, exact: bool = True
) -> SharingPlan:
    """Decide by the settings, the model and the examples.

    Args:
        settings: What the user wants; `auto` shares where it can be exact and saves more than it costs.
        model: The model that is to be trained, without an adapter or with one.
        examples: What it is trained on.
        tokenizer: Turns the tokens at which prompts part into text, for the reason.
        exact: Whether the numbers were found to be those of the plain step.

    Raises:
        TrainingError: sharing is set to `on` and cannot be exact.
    """
    from rasa_ft_ext.train.sharing import reason_against

    raw = sum(len(example.ids) for example in examples)
    unique = sum(len(PrefixTree.of([example.ids for example in batch]).ids) for batch in _batches(settings, examples))
    against = None
    if settings.lora_dropout and settings.method != "full":
        against = (
            f"lora_dropout is {settings.lora_dropout:g}, and what examples share cannot be dropped for one of them"
        )
    against = against or reason_against(
        model.config.get_text_config(), max((len(example.ids) for example in examples), default=0)
    )
    against = against or _dropout(model)
    if not exact:
        against = "its numbers are not those of the plain step with this model"
    if against and settings.prefix_sharing == "on":
        raise TrainingError(f"Prefixes cannot be shared: {against}. Set prefix_sharing to auto or off.")
    figures = f"{raw:,} tokens an epoch, {unique:,} of them unique within their batch ({raw / max(unique, 1):.1f} : 1)"
    if settings.prefix_sharing == "off":
        return SharingPlan(False, raw, raw, f"Prefix sharing is switched off: {figures}.")
    if against:
        return SharingPlan(False, raw, raw, f"Prefix sharing is off: {against}. There are {figures}.")
    if settings.prefix_sharing == "auto" and raw < PAYS * unique:
        why = _where_they_part(examples, tokenizer) if settings.batch_size > 1 else "batch_size is 1"
        return SharingPlan(False, raw, raw, f"Prefix sharing is off, it would save little: {why}. There are {figures}.")
    return SharingPlan(True, raw, unique, f"Prefix sharing: {figures}; only these are computed.")


def _dropout(model: Any) -> str | None:
    from torch.nn import Dropout

    highest = max((module.p for module in model.modules() if isinstance(module, Dropout)), default=0)
    return f"the model drops {highest:.0%} of what its layers compute at random" if highest else None


def _batches(settings: TrainSettings, examples: Sequence[Tokens]) -> Iterator[Sequence[Tokens]]:
    for start in range(0, len(examples), settings.batch_size):
        yield examples[start : start + settings.batch_size]


def _where_they_part(examples: Sequence[Tokens], tokenizer: Any) -> str:
    """Say where most prompts begin to differ: a date near the top, say."""
    pairs = list(pairwise(examples))
    if not pairs:
        return "there is one example only"
    depths = sorted(common_length(one.ids, other.ids) for one, other in pairs)
    depth = depths[len(depths) // 2]
    text = tokenizer.decode(list(examples[0].ids[max(0, depth - 12) : depth + 6]))
    length = sum(len(example.ids) for example in examples) // len(examples)
    return (
        f"prompts mostly differ from token {depth} of {length} on, around {text!r}. A date or another changing line at "
        "the top of the prompt template does that; at its end it would do no harm"
    )
