"""Answers of a model to many prompts, greedy, with what all prompts share computed once.

    answers(model, prompts, end=(2,), pad=0, longest=256, batch_size=16)

The prompts' common beginning goes through the model once, into a cache that each batch takes a copy of.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig

from rasa_ft_ext.train.tree import common_length


@torch.no_grad()  # type: ignore[untyped-decorator]
def answers(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    *,
    end: Collection[int],
    pad: int,
    longest: int,
    batch_size: int = 16,
    in_step: bool = False,
    done: Callable[[int], None] = lambda count: None,
) -> list[tuple[int, ...]]:
    """What the model answers to each prompt, as token ids, up to the end token but without it.

    Args:
        model: A causal language model; it is left in the mode (training or not) that it was in.
        prompts: Token ids, none of them empty.
        end: The tokens that end an answer.
        pad: The token that fills up shorter prompts; it is never looked at.
        longest: The number of tokens after which an answer is cut off.
        batch_size: How many prompts are answered at a time.
        in_step: Whether other processes hold parts of the model, so that all must take the same number of steps.
        done: Is told after each batch how many prompts it had.
    """
    if not prompts:
        return []
    was_training = model.training
    model.eval()
    try:
        shared = _common(prompts) if _sees_all(model, prompts, longest) else 0
        cache = _cache_of(model, prompts[0][:shared]) if shared else None
        config = GenerationConfig(
            max_new_tokens=longest, do_sample=False, eos_token_id=sorted(end), pad_token_id=pad, use_cache=True
        )
        found: dict[int, tuple[int, ...]] = {}
        for batch in _batches(prompts, batch_size):
            given = _padded([prompts[index] for index in batch], shared, pad, model.device)
            if cache is not None:
                given["past_key_values"] = copy.deepcopy(cache)
                given["past_key_values"].batch_repeat_interleave(len(batch))
            with _no_config_of_its_own(model):
                written = model.generate(**given, generation_config=config, synced_gpus=in_step)
            for index, ids in zip(batch, written[:, given["input_ids"].shape[1] :].tolist(), strict=True):
                found[index] = _upto(ids, end)
            done(len(batch))
        return [found[index] for index in range(len(prompts))]
    finally:
        model.train(was_training)


@contextmanager
def _no_config_of_its_own(model: Any) -> Iterator[None]:
    """Keep out what the base model's authors want, such as a penalty on repetition: a command may well repeat."""
    owners = [(module, module.generation_config) for module in model.modules() if "generation_config" in vars(module)]
    for module, _ in owners:
        module.generation_config = GenerationConfig()
    try:
        yield
    finally:
        for module, own in owners:
            module.generation_config = own


def _sees_all(model: Any, prompts: Sequence[tuple[int, ...]], longest: int) -> bool:
    """Whether attention reaches back to the first token; in a window, what fills up a prompt would take room."""
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    return not window or window >= max(map(len, prompts)) + longest


def _common(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts share; each keeps one of its own, from which the answer is begun."""
    first, last = min(prompts), max(prompts)
    return min(common_length(first, last), min(map(len, prompts)) - 1)


def _cache_of(model: Any, ids: tuple[int, ...]) -> Any:
    cache = DynamicCache(config=model.config.get_text_config())
    model(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def _batches(prompts: Sequence[tuple[int, ...]], size: int) -> Iterator[list[int]]:
    """Prompts of like length together, so that little is filled up."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _padded(prompts: Sequence[tuple[int, ...]], shared: int, pad: int, device: Any) -> dict[str, Any]:
    """The prompts as tensors, filled up between the shared part, which the cache holds, and their own."""
    longest = max(map(len, prompts))
    ids, seen = [], []
    for prompt in prompts:
        gap = longest - len(prompt)
        ids.append([*prompt[:shared], *([pad] * gap), *prompt[shared:]])
        seen.append([1] * shared + [0] * gap + [1] * (len(prompt) - shared))
    return {
        "input_ids": torch.tensor(ids, dtype=torch.long, device=device),
        "attention_mask": torch.tensor(seen, dtype=torch.long, device=device),
    }


def _upto(ids: Sequence[int], end: Collection[int]) -> tuple[int, ...]:
    for place, token in enumerate(ids):
        if token in end:
            return tuple(ids[:place])
    return tuple(ids)
