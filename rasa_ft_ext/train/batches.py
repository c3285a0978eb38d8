"""A batch of examples as tensors, in either of two layouts, and what a model says of the tokens that are learned.

    batch = make_batch(examples, pad=0, sharing=True)
    logits, targets = learned_tokens(model, batch)      # one row for each token of the completions, example by example

Both layouts give the same numbers; `rasa_ft_ext.train.sharing` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.sharing import shared_batch, shared_logits

IGNORED = -100  # the label of a token that is not learned, as everywhere in PyTorch


def make_batch(examples: Sequence[Tokens], *, pad: int, sharing: bool) -> dict[str, Any]:
    """Lay examples out as a prefix tree, or beside each other, filled up with `pad` at the end."""
    return shared_batch(examples) if sharing else plain_batch(examples, pad)


def plain_batch(examples: Sequence[Tokens], pad: int) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels`, each of shape (examples, tokens of the longest)."""
    longest = max(len(example.ids) for example in examples)
    ids, seen, labels = [], [], []
    for example in examples:
        gap = longest - len(example.ids)
        ids.append([*example.ids, *([pad] * gap)])
        seen.append([1] * len(example.ids) + [0] * gap)
        learned = example.ids[example.prompt_length :]
        labels.append([IGNORED] * example.prompt_length + [*learned] + [IGNORED] * gap)
    return {
        "input_ids": torch.tensor(ids, dtype=torch.long),
        "attention_mask": torch.tensor(seen, dtype=torch.long),
        "labels": torch.tensor(labels, dtype=torch.long),
    }


def learned_tokens(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """What predicts the completions' tokens, and these: shapes (tokens, vocabulary) and (tokens,)."""
    if "prefix_tree" in batch:
        return shared_logits(model, batch), batch["labels"]
    targets = batch["labels"][:, 1:]
    learned = targets != IGNORED
    places = learned.any(dim=0).nonzero()[:, 0]  # logits of whole prompts would be most of the memory
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=places, use_cache=False
    ).logits
    return logits[learned[:, places]], targets[learned]


def on_device(batch: dict[str, Any], device: Any) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
