"""Exact prefix sharing: one forward pass over a batch laid out as a prefix tree, each shared token computed once.

A transformer's layers work on each token by itself, up to attention. So the tree's tokens go through the model as one
sequence, and only attention is told who sees whom: the tokens of a node see the nodes above it and, causally, their own
(see `rasa_ft_ext.train.tree`). Positions are those of the plain batch, so the numbers are as well, up to the order in
which they are summed. Gradients flow through the shared tokens as they do through the copies: no cache is involved.

The attention function hooks into transformers' own interface, which Llama, Qwen, Mistral and most others go through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.tree import WORTH_A_NODE, PrefixTree

ATTENTION = "rasa_ft_ext_prefix_tree"


def shared_batch(examples: Sequence[Tokens], worth_a_node: int = WORTH_A_NODE) -> dict[str, Any]:
    """Lay a batch out as a prefix tree, for `shared_logits`.

    Returns:
        `input_ids` and `position_ids` of shape (1, tokens of the tree); `prefix_tree`; `logits_to_keep`, the places in
        the tree whose next token is learned, each once; and for each learned token of the batch its id (`labels`,
        `shift_labels`) and which of the kept logits predicts it (`predicted_by`), in the order of the examples.
    """
    tree = PrefixTree.of([example.ids for example in examples], worth_a_node)
    places: list[int] = []
    learned: list[int] = []
    for example, path in zip(examples, tree.paths, strict=True):
        places += path[example.prompt_length - 1 : -1]
        learned += example.ids[example.prompt_length :]
    kept, predicted_by = torch.unique(torch.tensor(places, dtype=torch.long), return_inverse=True)
    labels = torch.tensor(learned, dtype=torch.long)
    return {
        "input_ids": torch.tensor([tree.ids], dtype=torch.long),
        "position_ids": torch.tensor([tree.positions], dtype=torch.long),
        "prefix_tree": tree,
        "logits_to_keep": kept,
        "predicted_by": predicted_by,
        "labels": labels,
        "shift_labels": labels,  # the Trainer counts these: they are not to be shifted once more
    }


def shared_logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The logits that predict each learned token of a `shared_batch`.

    The model must have been prepared with `enable`. Returns a tensor of shape (learned tokens, vocabulary).
    """
    kept = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        # A mask with four dimensions is passed on as it is, so that none of the size of the tree is made.
        attention_mask=torch.zeros((1, 1, 1, 1), device=batch["input_ids"].device),
        prefix_tree=batch["prefix_tree"],
        logits_to_keep=batch["logits_to_keep"],
        use_cache=False,
    ).logits[0]
    return kept[batch["predicted_by"]]


def enable(model: Any) -> None:
    """Let a model's attention understand prefix trees; without one it works as before.

    Raises:
        ValueError: the model does not go through transformers' attention interface.
    """
    model.set_attn_implementation(ATTENTION)


def reason_against(config: Any, longest: int) -> str | None:
    """Why a model with this configuration cannot share prefixes; None if it can.

    Args:
        config: The model's configuration, of its text part.
        longest: The number of tokens of the longest sequence.
    """
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if unknown := kinds - {"full_attention", "sliding_attention"}:
        return f"the model has layers of another kind than attention ({', '.join(sorted(unknown))})"
    window = getattr(config, "sliding_window", None)
    if window and window < longest and ("sliding_attention" in kinds or not getattr(config, "layer_types", None)):
        return f"the model's attention reaches back {window} tokens only, the longest example has {longest}"
    if getattr(config, "attention_dropout", 0):
        return f"the model drops {config.attention_dropout:.0%} of its attention at random"
    return None


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    prefix_tree: PrefixTree | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: `query` has the shape (1, heads, tokens, size of a head)."""
    if prefix_tree is None:
        outcome: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return outcome
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None or kwargs.get("position_bias") is not None:
        raise ValueError("this kind of attention cannot be shared")
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scale = kwargs.get("scaling")
    # Split once: the backward pass of a slice for each node would fill a tensor of the tree's size for each of them.
    sizes = [stop - start for start, stop in (node.own for node in prefix_tree.nodes)]
    queries, keys, values = (states.split(sizes, dim=2) for states in (query, key, value))
    place = {node.own: index for index, node in enumerate(prefix_tree.nodes)}
    parts = []
    for own, node in zip(queries, prefix_tree.nodes, strict=True):
        seen = [place[span] for span in (*node.above, node.own)]
        parts.append(_node_attention(own, [keys[index] for index in seen], [values[index] for index in seen], scale))
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _node_attention(
    query: torch.Tensor, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor], scale: float | None
) -> torch.Tensor:
    """Attention of a node's tokens to all of the nodes above, and causally to their own, which come last."""
    if len(keys) == 1:
        return functional.scaled_dot_product_attention(query, keys[0], values[0], is_causal=True, scale=scale)
    seen, said = torch.cat(list(keys), dim=2), torch.cat(list(values), dim=2)
    count, total = query.shape[2], seen.shape[2]
    mask = None
    if count > 1:
        mask = torch.ones((count, total), dtype=torch.bool, device=query.device).tril(total - count)
    return functional.scaled_dot_product_attention(query, seen, said, attn_mask=mask, scale=scale)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
