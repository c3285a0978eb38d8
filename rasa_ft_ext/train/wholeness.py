"""The trained model in one piece, where FSDP has left it in parts that the processes hold."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from rasa_ft_ext.train import processes
from rasa_ft_ext.train.base import load_base
from rasa_ft_ext.train.settings import TrainSettings


def part_with_whole_model(trainer: Any, settings: TrainSettings) -> None:
    """End the processes' work together; give the first one's trainer a model that it can use alone.

    All processes call this. Under FSDP the base is loaded anew and gets the trained weights; the optimizer and the
    divided model make room for it.

    Raises:
        RuntimeError: trained weights are missing.
    """
    weights: dict[str, Any] = {}
    if trainer.is_fsdp_enabled:
        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        weights = get_model_state_dict(trainer.model, options=options)
        trainer.model = trainer.optimizer = None
    # DDP must let go of the process group before that ends, or the two may wait for each other for ever.
    trainer.model_wrapped = trainer.model
    trainer.accelerator.free_memory()
    gc.collect()
    processes.part()
    if not trainer.is_fsdp_enabled or not processes.is_first():
        return
    device = trainer.args.device
    model = load_base(settings, device=device.type)
    missing = {name for name, parameter in model.named_parameters() if parameter.requires_grad} - weights.keys()
    unexpected = model.load_state_dict(weights, strict=False).unexpected_keys
    if missing or unexpected:
        raise RuntimeError(f"the parts do not make up the model: {sorted(missing)[:5]} {unexpected[:5]}")
    if device.type == "cuda":
        torch.cuda.empty_cache()
    trainer.model = model.to(device)
