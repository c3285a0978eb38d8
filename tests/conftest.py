"""What every test gets: a home of its own, no keys, no telemetry, no downloads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served import find_vllm_python

SECRETS = ("_API_KEY", "_LICENSE", "_TOKEN")

# Rooms whose tests share what takes long to make: a trained assistant, a running vLLM, a trained model.
SHARED = ("rasa_pro", "model_server", "train")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Share the tests among several processes: a room that shares something goes to one, and is begun first.

    All other tests go by file. It matters to `pytest --numprocesses` only.
    """
    here = Path(__file__).parent
    groups = {item: _group(item.path.relative_to(here)) for item in items}
    items.sort(key=lambda item: SHARED.index(groups[item]) if groups[item] in SHARED else len(SHARED))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item]))


def _group(file: Path) -> str:
    room = file.parts[0]
    return room if room in SHARED else file.as_posix()


@pytest.fixture(scope="session", autouse=True)
def no_certificates() -> Iterator[None]:
    """Keep Rasa from giving litellm one HTTP client for all: its connections die with their event loop."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("REQUESTS_CA_BUNDLE", "RASA_CA_BUNDLE", "SSL_VERIFY"):
            environment.delenv(name, raising=False)
        yield


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
