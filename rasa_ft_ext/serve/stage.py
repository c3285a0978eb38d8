"""`serve`: a model behind an address that speaks OpenAI's API.

    settings = settings_of(find_model("finetuned_model"), port=0)
    with make_server(settings) as server:
        print(server.base_url)

What is not given comes from the model: its name and dtype, and the length of its data's prompts.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, NoReturn

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.model_server.base import ModelServer
from rasa_ft_ext.model_server.process import TIMEOUT
from rasa_ft_ext.model_server.settings import API_KEY_VARIABLE, LOCALHOST, PORT, ServeSettings
from rasa_ft_ext.model_server.transformers import TransformersServer
from rasa_ft_ext.model_server.vllm import VllmServer
from rasa_ft_ext.serve.model import Found

Engine = Literal["vllm", "transformers"]
_LOCAL = ("127.", "localhost", "::1")
_OURS = {
    "--host": "Give it as --host of `rasa-ft serve`, which asks the server whether it is ready.",
    "--port": "Give it as --port of `rasa-ft serve`, which asks the server whether it is ready.",
    "--api-key": "Put the key into the environment (see --api-key-env): on a command line everybody can read it.",
}


def settings_of(
    found: Found,
    *,
    name: str | None = None,
    host: str = LOCALHOST,
    port: int = PORT,
    dtype: str | None = None,
    max_model_len: int | None = None,
    prefix_caching: bool = True,
    api_key: str | None = None,
    extra: Sequence[str] = (),
) -> ServeSettings:
    """How a model is served.

    Args:
        found: The model.
        name: What callers give as `model`; None for the training's name, or the folder's.
        host: The address to listen at.
        port: The port to listen at; 0 for any that is free.
        dtype: Type of the weights; None for that of the files.
        max_model_len: Most tokens of prompt and answer together; None for twice what the data needs.
        prefix_caching: Whether the common beginning of prompts is computed once.
        api_key: What callers must show; None lets everybody in.
        extra: More arguments for vLLM.

    Raises:
        ConfigError: these hold something that `serve` itself must know, or a key, which everybody would see there.
    """
    taken = [word for word in extra if word.split("=")[0].replace("_", "-") in _OURS]
    if taken:
        raise ConfigError(
            "arguments for vLLM",
            [f"{word.split('=')[0]}: {_OURS[word.split('=')[0].replace('_', '-')]}" for word in taken],
        )
    return ServeSettings(
        model=found.model,
        name=name or found.name,
        revision=found.revision,
        lora=found.lora,
        lora_rank=found.lora_rank,
        tokenizer=found.tokenizer,
        generation_config=found.generation_config,
        dtype=dtype or found.dtype or "auto",
        max_model_len=max_model_len or found.max_model_len,
        prefix_caching=prefix_caching,
        host=host,
        port=port,
        api_key=api_key,
        extra=tuple(extra),
    )


def read_api_key(variable: str | None) -> str | None:
    """The key that callers must show.

    Args:
        variable: The environment variable that holds it; None for vLLM's own, which need not be set.

    Raises:
        ConfigError: a variable was named that is not set.
    """
    key = os.environ.get(variable or API_KEY_VARIABLE)
    if variable and not key:
        raise ConfigError("--api-key-env", [f"The environment variable {variable} is not set. Put the key into it."])
    return key or None


def open_doors(settings: ServeSettings) -> tuple[str, ...]:
    """A warning if others than this machine reach the server without a key."""
    if settings.api_key or settings.host.startswith(_LOCAL):
        return ()
    return (
        f"Warning: the server listens on {settings.host} and asks for no key: whoever reaches this machine can use it. "
        f"Put a key into {API_KEY_VARIABLE}, or leave out --host.",
    )


def make_server(
    settings: ServeSettings, *, engine: Engine = "vllm", vllm: str | None = None, timeout: float = TIMEOUT
) -> ModelServer:
    """A server that is ready to be started.

    Args:
        settings: The model, and how it is served.
        engine: What serves it.
        vllm: A Python that has vLLM, or its `vllm` command; None to look for one.
        timeout: Seconds from the start to the first answer.

    Raises:
        ConfigError: there is something for vLLM, and the engine is another.
        ServeError: there is no vLLM.
        MissingExtraError: there is no transformers.
    """
    if engine == "transformers":
        if vllm is not None:
            raise ConfigError("arguments", [f"{vllm} is a vLLM, which the engine transformers has no use for."])
        return TransformersServer(settings, timeout=timeout)
    return VllmServer(settings, vllm=vllm, timeout=timeout)


def run_until_stopped(server: ModelServer, announce: Callable[[ModelServer], None]) -> None:
    """Run a server until Ctrl-C or SIGTERM.

    Args:
        server: What is started, and stopped in the end.
        announce: Called once it answers.

    Raises:
        ServeError: it could not be started, or it ended by itself.
        KeyboardInterrupt: it was stopped before it answered.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with server, suppress(KeyboardInterrupt):
            announce(server)
            server.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
