"""What a training leaves: the adapter, the merged model that is served, and a copy of that in 4 bit.

    save_adapter(model, tokenizer, folder / "adapter", base)
    save_merged(model, tokenizer, folder / "merged", dtype=torch.bfloat16, end=(128009,), pad=128004)
    save_4bit(folder / "merged", folder / "merged_4bit", device="cuda")

The trained model stays as it is, so that it can be compared with what was saved (`rasa_ft_ext.train.parity`).

How a quantised base is merged. The adapter has learned to make up for the rounding of just that base: added to the
weights before they were rounded, or rounded a second time together with them (which is what `merge_and_unload` does),
it gives another model. So each quantised weight is turned back into the numbers that the adapter saw, the adapter is
added in fp32, and the sum is rounded once, to the dtype that is saved. On a 2-layer Llama in fp32 this keeps the
logits to 4e-6, where the two other ways are off by a third of the largest logit with 4 bit.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import TrainingError
from rasa_ft_ext.train.base import BASE_FILE, BaseRecord, check_bitsandbytes
from rasa_ft_ext.workspace import write_record

SHARD = "5GB"  # small enough for every object storage, and for a download that breaks off


def save_adapter(model: Any, tokenizer: Any, folder: Path, base: BaseRecord) -> None:
    """Write adapter, tokenizer, and which base they belong to (see `rasa_ft_ext.train.base.check_adapter`)."""
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's card, which says nothing; ours is beside the merged model
    tokenizer.save_pretrained(str(folder))
    write_record(folder / BASE_FILE, base)


def save_merged(model: Any, tokenizer: Any, folder: Path, *, dtype: Any, end: Collection[int], pad: int | None) -> None:
    """Write a model that needs neither peft nor bitsandbytes, with tokenizer, chat template and generation config.

    Args:
        model: A peft model or, after a full training, the model itself; not changed.
        tokenizer: With the chat template that was trained with.
        dtype: What the weights are saved in.
        end: The tokens that end an answer: the one that was learned, first of all.
        pad: The token that fills up batches.

    Raises:
        TrainingError: the model's weights cannot be put together.
    """
    merged = merged_model(model, dtype)
    merged.generation_config = _generation_config(merged, end, pad)
    merged.save_pretrained(str(folder), max_shard_size=SHARD)
    tokenizer.save_pretrained(str(folder))


def save_4bit(merged: Path, folder: Path, *, device: str) -> None:
    """Write a copy of a merged model, quantised by bitsandbytes to 4 bit (NF4), which transformers and vLLM load.

    Raises:
        TrainingError, MissingExtraError: bitsandbytes cannot do so here.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    check_bitsandbytes(device)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        str(merged), quantization_config=quantization, device_map={"": device}, dtype="auto", use_safetensors=True
    )
    model.save_pretrained(str(folder), max_shard_size=SHARD)
    AutoTokenizer.from_pretrained(str(merged)).save_pretrained(str(folder))


def merged_model(model: Any, dtype: Any) -> Any:
    """The trained weights as a plain model on the CPU, in the given dtype; to be saved, not to be computed with.

    Raises:
        TrainingError: they do not make up a whole model.
    """
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    trained = _without_peft(model)
    config = copy.deepcopy(trained.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        merged = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if type(merged) is not type(trained):
        raise TrainingError(f"{type(trained).__name__} cannot be saved as a merged model; use the adapter.")
    conversions = getattr(trained, "_weight_conversions", None)
    if conversions is not None:  # so that the files' tensors get the names that the base's files have
        merged._weight_conversions = _without_quantization(conversions)
    try:
        merged.load_state_dict(_merged_weights(trained, dtype), strict=True, assign=True)
    except RuntimeError as error:
        raise TrainingError(f"The adapter cannot be merged into its base; use the adapter. {error}") from error
    merged.tie_weights()
    merged.generation_config = copy.deepcopy(trained.generation_config)
    return merged.eval()


def _without_quantization(conversions: Any) -> Any:
    kept = [entry for entry in conversions if not _quantizes(entry)]
    return kept or None


def _quantizes(entry: Any) -> bool:
    operations = getattr(entry, "operations", None) or []
    return any(type(operation).__name__.startswith("Bnb") for operation in operations)


def _without_peft(model: Any) -> Any:
    """The transformers model itself; with an adapter its layers are still peft's."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _merged_weights(trained: Any, dtype: Any) -> dict[str, Any]:
    """All weights by the names that they have in a model without adapter; a copy, on the CPU."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    weights: dict[str, Any] = {}
    wrapped: list[str] = []
    for name, module in trained.named_modules():
        if any(name.startswith(prefix) for prefix in wrapped):
            continue
        if isinstance(module, BaseTunerLayer):
            wrapped.append(f"{name}.")
            weight, rest = _with_adapter(module), module.get_base_layer()
            weights[f"{name}.weight"] = weight.to("cpu", dtype)
        else:
            rest = module
            weights |= {
                _joined(name, key): _plain_weight(module, key).detach().to("cpu", dtype, copy=True)
                for key, parameter in module._parameters.items()
                if parameter is not None
            }
        if rest is not module and getattr(rest, "bias", None) is not None:
            weights[f"{name}.bias"] = rest.bias.detach().to("cpu", dtype, copy=True)
        weights |= {
            _joined(name, key): buffer.detach().to("cpu", copy=True)
            for key, buffer in rest._buffers.items()
            if buffer is not None and key not in rest._non_persistent_buffers_set
        }
    return weights


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _with_adapter(layer: Any) -> Any:
    """The weight of an adapted layer: what the adapter saw, and what it adds, in fp32."""
    from peft.utils.integrations import dequantize_module_weight

    weight = dequantize_module_weight(layer.get_base_layer()).detach().float()
    for adapter in layer.active_adapters:
        weight = weight + layer.get_delta_weight(adapter).detach().float()
    return weight


def _plain_weight(module: Any, key: str) -> Any:
    """A parameter of a layer without adapter, turned back into numbers where it is quantised."""
    from peft.utils.integrations import dequantize_module_weight

    parameter = module._parameters[key]
    return dequantize_module_weight(module) if type(parameter).__name__ in ("Params4bit", "Int8Params") else parameter


def _generation_config(model: Any, end: Collection[int], pad: int | None) -> Any:
    """Greedy answers that end where the trained ones do, or where the base's did."""
    from transformers import GenerationConfig

    before = model.generation_config
    known = before.eos_token_id if before is not None else None
    ends = [*end, *(known if isinstance(known, list) else [known] if known is not None else [])]
    return GenerationConfig(
        bos_token_id=before.bos_token_id if before is not None else None,
        eos_token_id=list(dict.fromkeys(ends)),
        pad_token_id=pad,
        do_sample=False,
    )
