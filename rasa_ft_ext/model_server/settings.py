"""How a model is served: the settings that matter, and what they are called on vLLM's command line.

This module knows neither processes nor folders; `rasa_ft_ext.model_server.base` is the seam that takes the settings.
"""

from __future__ import annotations

from dataclasses import dataclass

LOCALHOST = "127.0.0.1"
PORT = 8000
CPU_BLOCK = 32  # tokens
API_KEY_VARIABLE = "VLLM_API_KEY"

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM can be told as the largest
_USUAL_RANK = 16


@dataclass(frozen=True)
class ServeSettings:
    """One model and how it is served."""

    model: str
    """Folder of a whole model (weights, tokenizer, chat template), or its name on the Hugging Face Hub."""
    name: str
    """The name that callers give as `model`."""
    lora: str | None = None
    """Folder of an unmerged adapter on that model; the name is then the adapter's."""
    lora_rank: int | None = None
    """Rank of that adapter; vLLM must know in advance how much room it needs."""
    revision: str | None = None
    """Which state of a model on the hub: a commit, a tag or a branch; None for the latest."""
    tokenizer: str | None = None
    """Folder of the tokenizer and its chat template; None for the model's own."""
    generation_config: str | None = None
    """Folder of the generation config, which says at which tokens an answer ends; None for the model's own."""
    dtype: str = "auto"
    """Type of the weights: auto, bfloat16, float16 or float32."""
    max_model_len: int | None = None
    """Most tokens of prompt and answer together; None for all that the model can."""
    prefix_caching: bool = True
    """Whether what prompts have in common at their beginning is computed once."""
    host: str = LOCALHOST
    """The address to listen at; others than this machine reach it at 0.0.0.0 only."""
    port: int = PORT
    """The port to listen at; 0 for any that is free."""
    api_key: str | None = None
    """What callers must show; None lets everybody in. It is handed over in the environment, never as an argument."""
    extra: tuple[str, ...] = ()
    """More arguments for vLLM, as they are."""


def vllm_arguments(settings: ServeSettings, *, on_cpu: bool = False) -> list[str]:
    """What follows `vllm serve`; of the key, nothing.

    Args:
        settings: The model, and how it is served.
        on_cpu: Nothing is compiled, which takes minutes, and the prefix cache has the smallest blocks that the kernels
            are made for: only whole blocks are used again, and with vLLM's own 128 tokens short prompts share none.
    """
    arguments = ["--model", settings.model, "--host", settings.host, "--port", str(settings.port)]
    arguments += ["--dtype", settings.dtype]
    if settings.revision is not None:
        arguments += ["--revision", settings.revision]
    if settings.tokenizer is not None:
        arguments += ["--tokenizer", settings.tokenizer]
    if settings.generation_config is not None:
        arguments += ["--generation-config", settings.generation_config]
    if settings.max_model_len is not None:
        arguments += ["--max-model-len", str(settings.max_model_len)]
    # Command generators want the likeliest answer, and Rasa sends no temperature where its configuration names none.
    arguments += ["--override-generation-config.temperature", "0"]
    arguments.append("--enable-prefix-caching" if settings.prefix_caching else "--no-enable-prefix-caching")
    if settings.lora is None:
        arguments += ["--served-model-name", settings.name]
    else:
        arguments += ["--enable-lora", "--lora-modules", f"{settings.name}={settings.lora}"]
        rank = settings.lora_rank or _USUAL_RANK
        arguments += ["--max-lora-rank", str(next((room for room in _RANKS if room >= rank), rank))]
    if on_cpu:
        arguments += ["--enforce-eager", "--block-size", str(CPU_BLOCK)]
    return [*arguments, *settings.extra]  # last, since of an argument that comes twice the last counts
