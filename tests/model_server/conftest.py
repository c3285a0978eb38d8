"""A real vLLM, started once for all tests: with the whole model as `base`, and an adapter on it as `tuned`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rasa_ft_ext.model_server.settings import ServeSettings
from rasa_ft_ext.model_server.vllm import VllmServer
from tests.served import write_adapter, write_model

KEY = "sesame-opens-it"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    return write_model(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_model: Path) -> Path:
    return write_adapter(tiny_model, tiny_model.with_name("adapter"))


@pytest.fixture(scope="session")
def vllm_server(
    vllm_python: str, tiny_model: Path, tiny_adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmServer]:
    settings = ServeSettings(
        model=str(tiny_model),
        name="tuned",
        lora=str(tiny_adapter),
        lora_rank=8,
        tokenizer=str(tiny_adapter),
        generation_config=str(tiny_model),
        dtype="float32",
        port=0,
        api_key=KEY,
        extra=("--served-model-name", "base"),
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        environment.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        server = VllmServer(settings, vllm=vllm_python, timeout=400)
        server.start()
    yield server
    server.stop()
