"""Whether prefix sharing gives a model's own numbers: tried with a few examples before a training relies on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rasa_ft_ext.train.base import computing
from rasa_ft_ext.train.batches import learned_tokens, on_device, plain_batch
from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.sharing import shared_batch

EXAMPLES = 6
# How far logits may be apart, in standard deviations of all of them: at most, and in the root of the mean square. Sums
# in another order explain less; a branch that sees what it must not, or misses a token, is further off.
FP32, LOWER = (1e-4, 1e-5), (0.2, 0.05)


def is_exact(model: Any, examples: Sequence[Tokens], pad: int, dtype: Any = torch.float32) -> bool:
    """Whether some short examples get the same logits from a prefix tree as from a plain batch.

    Args:
        model: The model that is to be trained, after `sharing.enable`.
        examples: What it is trained on.
        pad: Fills up the plain batch.
        dtype: What the training computes in.
    """
    shortest = sorted(examples, key=lambda example: len(example.ids))[: 4 * EXAMPLES]
    tried = sorted(shortest, key=lambda example: example.ids)[:EXAMPLES]  # neighbours share the most
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), computing(model, dtype):
            plain, _ = learned_tokens(model, on_device(plain_batch(tried, pad), model.device))
            batch = on_device(shared_batch(tried, worth_a_node=1), model.device)
            try:
                shared, _ = learned_tokens(model, batch)
            except (TypeError, ValueError):  # the model does not hand the tree on to its attention
                return False
    finally:
        model.train(was_training)
    apart = (plain.float() - shared.float()).abs() / plain.float().std()
    quantized = getattr(model, "is_quantized", False) or hasattr(model.config, "quantization_config")
    largest, mean = FP32 if dtype == torch.float32 and not quantized else LOWER
    return bool(apart.max() <= largest and apart.square().mean().sqrt() <= mean)
