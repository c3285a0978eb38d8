"""Rasa projects for the tests: copied, pointed to a scripted LLM, trained and opened in this process.

Rasa keeps a good deal in the process: the endpoints, the module with the custom actions, the working folder from which
actions read their files. So one project is open at a time, and `Project.open` leaves nothing of it behind.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext.llm.scripted.server import Running, scripted_llm

if TYPE_CHECKING:
    from rasa_ft_ext.rasa_pro.assistant import RasaAssistant
    from rasa_ft_ext.rasa_pro.suite import Suite

ANSWERS = Path(__file__).parent / "answers"
REPOSITORY = Path(__file__).parents[2]
_TEMPLATE_TESTS = {"default": "e2e_tests", "finance": "tests/e2e_test_cases"}
_GENERATORS = {"SingleStepLLMCommandGenerator", "CompactLLMCommandGenerator", "SearchReadyLLMCommandGenerator"}

Result = TypeVar("Result")


@dataclass(frozen=True)
class Project:
    """An assistant's folder with its tests, its answers, and the scripted LLM that gives them.

    `environment` is set while the project is trained, opened or run.
    """

    path: Path
    tests: Path
    answers: Path
    llm: Running
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return self.llm.base_url

    @contextmanager
    def open(self, **options: Any) -> Iterator[Live]:
        """Load the assistant, with the options of `load`; close it at the end. Not within an event loop."""
        from rasa_ft_ext.rasa_pro.assistant import load

        with self.entered(), asyncio.Runner() as runner:
            with self.at_home():
                assistant = load(self.path, **options)
            live = Live(self, assistant, runner)
            try:
                yield live
            finally:
                live.run(assistant.close())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Import custom actions from this project, and forget them at the end."""
        _hush()
        before = list(sys.path)
        _forget_actions()
        sys.path.insert(0, str(self.path))
        try:
            yield
        finally:
            sys.path[:] = before
            _forget_actions()

    @contextmanager
    def at_home(self) -> Iterator[None]:
        """Work in the project's folder and environment; temporary files of its actions go there, too."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(tempfile, "tempdir", str(self.path.parent))
            patch.chdir(self.path)
            yield


@dataclass(frozen=True)
class Live:
    """An open project. Everything asynchronous runs in one event loop, `run`, so that clients can be kept."""

    project: Project
    assistant: RasaAssistant
    runner: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        with self.project.at_home():
            return self.runner.run(work)

    def suite(self) -> Suite:
        return self.assistant.read_suite(str(self.project.tests))


@contextmanager
def template_project(name: str, folder: Path) -> Iterator[Project]:
    """A trained copy of one of the project templates that Rasa ships: `default` or `finance`."""
    answers = ANSWERS / f"{name}.yml"
    with scripted_llm(answers) as llm:
        path = copy_template(name, folder / name)
        point_to(path, llm.base_url)
        project = Project(path, path / _TEMPLATE_TESTS[name], answers, llm, _environment(llm.base_url))
        train(project)
        yield project


@contextmanager
def example_project(folder: Path, config: str = "config.yml") -> Iterator[Project]:
    """A trained copy of the assistant that this project ships, with its tests. Its LLM takes a while to answer."""
    path = Path(shutil.copytree(REPOSITORY / "assistant_example", folder / "example" / "assistant_example"))
    tests = Path(shutil.copytree(REPOSITORY / "e2e_tests", folder / "example" / "e2e_tests"))
    answers = path / "answers.yml"
    with scripted_llm(answers, latency=0.02) as llm:
        project = Project(path, tests, answers, llm, _environment(llm.base_url))
        train(project, config)
        yield project


def copy_template(name: str, to: Path) -> Path:
    """Copy a project template out of the installed package."""
    import rasa.cli.project_templates

    source = Path(rasa.cli.project_templates.__file__).parent / name
    return Path(shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__")))


def point_to(project: Path, base_url: str) -> None:
    """Let everything in a project that asks a model ask the scripted LLM, and keep the clock out of prompts.

    Model groups for texts become self-hosted ones; those for embeddings stay OpenAI's, at another address. Responses
    are not rephrased.
    """
    config, endpoints = _read(project / "config.yml"), _read(project / "endpoints.yml")
    embedding = set()
    for component in config["pipeline"] + config["policies"]:
        if component["name"] in _GENERATORS:
            component.update(flow_retrieval={"active": False}, include_date_time=False)
        embedding.add(component.get("embeddings", {}).get("model_group"))
    endpoints.pop("nlg", None)
    for file in (project / "domain").rglob("*.yml"):
        file.write_text(file.read_text(encoding="utf-8").replace("rephrase: True", "rephrase: false"), encoding="utf-8")
    for group in endpoints["model_groups"]:
        if group["id"] in embedding:
            group["models"] = [{"provider": "openai", "model": "text-embedding-3-large", "api_base": base_url}]
        else:
            model = {"provider": "self-hosted", "model": "scripted", "api_base": base_url}
            group["models"] = [{**model, "temperature": 0.0, "max_tokens": 256, "timeout": 30}]
    _write(project / "config.yml", config)
    _write(project / "endpoints.yml", endpoints)


def plain_runner(project: Project) -> Any:
    """Rasa's own test runner on a project that is entered, with nothing of ours. Not within an event loop."""
    from rasa.core.config.configuration import Configuration
    from rasa.e2e_test.e2e_test_runner import E2ETestRunner

    with project.at_home():
        endpoints = Configuration.initialise_endpoints(endpoints_path=Path("endpoints.yml")).endpoints
        Configuration.initialise_sub_agents(None)
        return E2ETestRunner(model_path="models", endpoints=endpoints)


def train(project: Project, config: str = "config.yml", endpoints: str = "endpoints.yml", name: str = "model") -> Path:
    """Train a project in this process; the model stands in its folder `models`. Not within an event loop."""
    with project.entered(), project.at_home():
        import rasa.api
        from rasa.core.config.configuration import Configuration

        Configuration.initialise_endpoints(endpoints_path=Path(endpoints))
        Configuration.initialise_sub_agents(None)
        result = rasa.api.train(
            domain="domain",
            config=config,
            training_files=["data"],
            endpoints=endpoints,
            output="models",
            fixed_model_name=name,
        )
    assert result.model is not None
    return project.path / result.model


def _environment(base_url: str) -> dict[str, str]:
    """No telemetry, no downloads, no key that is one; actions that ask OpenAI themselves ask the scripted LLM."""
    return {
        "RASA_TELEMETRY_ENABLED": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "ERROR"),
        "SCRIPTED_LLM_URL": base_url,
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": base_url,
    }


def _hush() -> None:
    """Keep Rasa from writing what it does: thousands of lines, and seconds for one traceback of an action."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _forget_actions() -> None:
    """Undo that Rasa registers the custom actions of a process once, and all that it finds.

    It also keeps the action endpoint of an `endpoints.yml`, whosever that is, with the stubs of the last run.
    """
    from rasa.core.actions.direct_custom_actions_executor import DirectCustomActionExecutor
    from rasa.utils.endpoints import read_endpoint_config

    for name in [name for name in sys.modules if name.partition(".")[0] == "actions"]:
        del sys.modules[name]
    read_endpoint_config.cache_clear()
    DirectCustomActionExecutor._create_action_executor.cache_clear()
    DirectCustomActionExecutor._actions_module_registered = False
    gc.collect()


def _read(path: Path) -> Any:
    return YAML().load(path.read_text(encoding="utf-8"))


def _write(path: Path, content: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
