"""What every test gets: a home of its own, no keys, no telemetry, no downloads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import find_vllm_python

SECRETS = ("_API_KEY", "_LICENSE", "_TOKEN")

# Rooms whose tests share what takes long to make: a trained assistant, a running vLLM, a trained model, much data.
SHARED = ("rasa_pro", "model_server", "train", "checks")


def pytest_configure(config: pytest.Config) -> None:
    """`make test` runs what takes seconds and does not depend on what is installed in one environment only."""
    config.addinivalue_line("markers", "once: takes seconds, and does not depend on what is installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the rooms that share something."""
    groups = {item: _group(item.nodeid) for item in items}
    items.sort(key=lambda item: SHARED.index(groups[item]) if groups[item] in SHARED else len(SHARED))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--numprocesses`, give a room that shares something to one process, and all other tests by file.

    pytest-xdist has marks for that (`loadgroup`), which pytest 9.2 does not let it read.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByRoom(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return ByRoom(config, log)


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0].removeprefix("tests/")
    room = file.partition("/")[0]
    return room if room in SHARED else file


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
