"""Load a trained assistant into this process, or say in one sentence why that cannot be.

Nothing here checks a licence: that is done by the command line, with Rasa's own function, before it comes here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import AssistantError, MissingExtraError


def load_runner(
    project: Path, model: str, endpoints: str, sub_agents: str | None, remote_storage: str | None, stubbed: bool
) -> tuple[Any, Path | None]:
    """Load the assistant with Rasa's E2E test runner; return that, and the model's file if it came from disk.

    Args:
        project: The assistant's folder; relative paths start from it, and its custom actions are imported from it.
        model: A model file, or a folder of which the latest model is taken.
        endpoints: The endpoints file.
        sub_agents: The folder of sub-agents, if the assistant has any.
        remote_storage: Where Rasa fetches the model from, if not from disk.
        stubbed: The tests stub custom actions, so Rasa is not to insist on a running action server.

    Raises:
        AssistantError: there is no such model, or it cannot be loaded.
    """
    _prepare(project)
    from rasa.core.config.configuration import Configuration
    from rasa.e2e_test.e2e_test_runner import E2ETestRunner

    from rasa_ft_ext.rasa_pro.isolation import stubs_apart

    try:
        settings = Configuration.initialise_endpoints(endpoints_path=_existing(project, endpoints)).endpoints
        Configuration.initialise_sub_agents(Path(sub_agents) if sub_agents else None)
    except AssistantError:
        raise
    except Exception as error:
        raise AssistantError(f"{project / endpoints} cannot be read: {error}") from error
    settings.tracker_store = settings.lock_store = settings.event_broker = None
    path = None if remote_storage or settings.model is not None else find_model(project, model)
    try:
        with stubs_apart(settings, stubbed):
            runner = E2ETestRunner(
                model_path=str(path or model),
                model_server=settings.model,
                remote_storage=remote_storage,
                endpoints=settings,
                sub_agents_path=sub_agents,
            )
            return runner, path
    except SystemExit as error:
        raise AssistantError(f"The model {path or model} cannot be loaded: Rasa gave up (see above).") from error
    except Exception as error:
        raise AssistantError(
            f"The model {path or model} cannot be loaded: {str(error).rstrip('.') or type(error).__name__}. If another "
            "version of Rasa trained it, train it again with the installed one: rasa train"
        ) from error


def find_model(project: Path, model: str) -> Path:
    """The model file itself, or the latest in the folder.

    Raises:
        AssistantError: there is none.
    """
    path = project / model
    if path.is_file():
        return path
    files = sorted(path.glob("*.tar.gz"), key=lambda file: (file.stat().st_mtime, file.name)) if path.is_dir() else []
    if not files:
        raise AssistantError(
            f"There is no trained model at {path}. Train one with `rasa train`, or give the file with --model."
        )
    return files[-1]


def find_generator(agent: Any) -> Any:
    """The command generator's instance within the loaded model.

    Raises:
        AssistantError: there is none that prompts an LLM in a single step.
    """
    from rasa.dialogue_understanding.generator.llm_based_command_generator import LLMBasedCommandGenerator
    from rasa.dialogue_understanding.generator.single_step.single_step_based_llm_command_generator import (
        SingleStepBasedLLMCommandGenerator,
    )

    nodes = agent.processor.graph_runner._instantiated_nodes.values()
    components = [node._component for node in nodes]
    for component in components:
        if isinstance(component, SingleStepBasedLLMCommandGenerator):
            return component
    wanted = "CompactLLMCommandGenerator, SearchReadyLLMCommandGenerator or SingleStepLLMCommandGenerator"
    for component in components:
        if isinstance(component, LLMBasedCommandGenerator):
            raise AssistantError(
                f"The model's command generator is {type(component).__name__}, which asks the LLM several times a "
                f"message; fine-tuning data can be made for {wanted} and their subclasses. Change config.yml and "
                "train again."
            )
    raise AssistantError(
        f"The model has no LLM command generator, so there is nothing to learn. Put {wanted} into the pipeline in "
        "config.yml and train again."
    )


def _prepare(project: Path) -> None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError("an assistant must be loaded outside of an event loop")
    try:
        import rasa  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Rasa Pro", "rasa") from error
    if not project.is_dir():
        raise AssistantError(f"There is no project at {project}: no such folder.")
    _refuse_mantle(project)
    if str(project.resolve()) not in sys.path:
        sys.path.insert(0, str(project.resolve()))


def forget_project(project: Path) -> None:
    """Undo what loading left in the process, so that another assistant's custom actions are found and not this one's.

    Rasa imports the module with the actions by name, registers it once, and keeps the list of all actions it found. It
    reads the action endpoint from a file of endpoints once, and keeps what tests put into it. Where certificates are
    configured, it gives litellm one HTTP client for the whole process, whose connections belong to the event loop that
    ends with the assistant.
    """
    import litellm
    from rasa.core.actions.direct_custom_actions_executor import DirectCustomActionExecutor
    from rasa.utils.endpoints import read_endpoint_config

    home = project.resolve()
    if str(home) in sys.path:
        sys.path.remove(str(home))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and home in Path(file).parents and "site-packages" not in file:
            del sys.modules[name]
    litellm.aclient_session = None
    read_endpoint_config.cache_clear()
    DirectCustomActionExecutor._actions_module_registered = False
    DirectCustomActionExecutor._create_action_executor.cache_clear()
    gc.collect()  # what is found are subclasses, and those of the old module live until they are collected


def _refuse_mantle(project: Path) -> None:
    try:
        from rasa.shared.project_structure import has_mantle_project_layout
    except ImportError:  # Rasa before 3.20 knows no Mantle
        return
    if has_mantle_project_layout(project):
        raise AssistantError(
            f"{project} is a Mantle project (agent.yml, integrations.yml, skills/). Its engine generates no commands, "
            "so there is nothing to fine-tune for; only CALM assistants with a config.yml can be used."
        )


def _existing(project: Path, file: str) -> Path:
    path = project / file
    if not path.is_file():
        raise AssistantError(f"There is no endpoints file at {path}. Give yours with --endpoints.")
    return path
