"""Whether prefix sharing gives a model's own numbers: tried with a few examples before a training relies on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rasa_ft_ext.train.batches import learned_tokens, on_device, plain_batch
from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.sharing import shared_batch

EXAMPLES = 3
# The largest difference of a logit, in standard deviations of all of them: sums in another order explain far less.
FP32, BF16 = 1e-4, 0.2


def is_exact(model: Any, examples: Sequence[Tokens], pad: int) -> bool:
    """Whether the shortest examples get the same logits from a prefix tree as from a plain batch."""
    shortest = sorted(examples, key=lambda example: len(example.ids))[:EXAMPLES]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            plain, _ = learned_tokens(model, on_device(plain_batch(shortest, pad), model.device))
            shared, _ = learned_tokens(model, on_device(shared_batch(shortest), model.device))
    except (TypeError, ValueError):  # the model does not hand the tree on to its attention
        return False
    finally:
        model.train(was_training)
    apart = (plain.float() - shared.float()).abs().max() / plain.float().std()
    return bool(apart <= (FP32 if plain.dtype == torch.float32 else BF16))
