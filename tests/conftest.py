"""What every test gets: a home of its own, no keys, no telemetry, no downloads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.served import find_vllm_python

SECRETS = ("_API_KEY", "_LICENSE", "_TOKEN")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a test away from what its machine happens to have set."""
    for name in list(os.environ):
        if name.endswith(SECRETS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RASA_TELEMETRY_ENABLED", "false")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("RASA_FT_EXT", raising=False)


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """The Python of an environment with vLLM for the CPU."""
    return find_vllm_python()
