"""Tiny models to be served, made here; heads of 32 dimensions, because vLLM's kernels for the CPU have none smaller."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.workspace import write_jsonl

ROOT = Path(__file__).parents[1]
VLLM_VARIABLE = "RASA_FT_TEST_VLLM"
ROWS = [
    {"prompt": f"The user in {city} says: {text}\nYour commands:", "completion": completion}
    for city in ("Zürich", "Basel", "東京")
    for text, completion in [
        ("I need a car", "start flow rent_car"),
        ("from Malmö to Genève, 12 June", "start flow book_flight\nset slot from Malmö\nset slot to Genève"),
        ("never mind", "cancel flow"),
    ]
]


def find_vllm_python() -> str:
    """The Python of the environment with vLLM: the one named in the environment, or that which `make test` sets up."""
    python = Path(os.environ.get(VLLM_VARIABLE) or ROOT / ".venv-vllm" / "bin" / "python")
    if not python.exists():
        pytest.skip(f"there is no {python}: run `make test`, or name a Python with vLLM in {VLLM_VARIABLE}")
    return str(python)


def write_model(folder: Path, *, seed: int = 0) -> Path:
    """A random Llama in fp32 with tokenizer, chat template and generation config."""
    import torch
    from transformers import AutoModelForCausalLM

    from scripts.make_tiny_base import make_tiny_base

    rows = folder.parent / "rows.jsonl"
    write_jsonl(rows, ROWS)
    make_tiny_base(rows, folder, hidden=64, layers=2, heads=2, vocab=400, positions=512, seed=seed)
    model = AutoModelForCausalLM.from_pretrained(str(folder))
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(5)  # so that it answers each prompt otherwise, and means it
    model.save_pretrained(str(folder))
    return folder


def write_adapter(base: Path, folder: Path) -> Path:
    """An adapter of random weights that changes what the base answers, with the tokenizer beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(base))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear"))
        for name, weights in adapted.named_parameters():
            if "lora_" in name:
                weights.normal_(std=0.1)
    adapted.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(base)).save_pretrained(str(folder))
    return folder


def post(base_url: str, body: dict[str, Any], *, key: str | None = None) -> tuple[int, dict[str, Any]]:
    """Send a chat; gives the status and the JSON of the answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return call(urllib.request.Request(f"{base_url}/chat/completions", json.dumps(body).encode(), headers))


def call(request: str | urllib.request.Request) -> tuple[int, dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as response:
            return response.status, json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    """A question whose answer can be compared."""
    asked = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 16, "temperature": 0}
    return {**asked, "logprobs": True, "top_logprobs": 3, **more}
