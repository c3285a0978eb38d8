"""The model and the assistant: `evaluate`, `connect` and `rollback`, `doctor`, `monitor`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.errors import ConfigError, MissingExtraError
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.pipeline import Place, has_rasa, outside_loop, run_with
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.workspace import SPLIT, Workspace

if TYPE_CHECKING:
    from rasa_ft_ext.connect.settings import Style
    from rasa_ft_ext.connect.stage import Confirm, ConnectSummary, RollbackSummary
    from rasa_ft_ext.doctor.findings import Diagnosis
    from rasa_ft_ext.evaluation import Evaluation, Part
    from rasa_ft_ext.monitor.stage import MonitorSummary
    from rasa_ft_ext.rasa_pro.tracker_store import TrackerStoreConversations


def evaluate(
    out: str | Path = "output",
    *,
    api_base: str,
    model: str,
    project: str | Path = ".",
    model_folder: str | Path | None = None,
    api_key_env: str | None = None,
    price: tuple[float, float] = (0.0, 0.0),
    only: Sequence[Part] = ("commands", "conversations", "parity"),
    against_teacher: bool = False,
    repeats: int = 1,
    min_validation: float = 0.8,
    min_train: float = 0.95,
    min_accuracy: float | None = None,
    margin: float = 0.05,
    concurrency: int = 16,
    assistant_model: str = "models",
    endpoints: str = "endpoints.yml",
    sub_agents: str | None = "sub_agents",
    remote_storage: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a served model and say whether it may replace the teacher.

    Args:
        out: The folder of `prepare_data`; receives `5_evaluation` and `report.html`.
        api_base: The server's address, such as `http://127.0.0.1:8000/v1`.
        model: The name that the model is served under.
        project: The assistant's folder; every relative path starts from it.
        model_folder: The folder of `train` that the served model comes from.
        api_key_env: The environment variable that holds the server's key.
        price: What 1,000 tokens cost, of prompts and of answers.
        only: The parts to measure: `commands`, `conversations`, `parity`.
        against_teacher: Run the E2E tests with the assistant's own LLM as well.
        repeats: How often each E2E test is run with each model.
        min_validation: The pass rate that the validation tests must reach.
        min_train: The pass rate that the training tests must reach.
        min_accuracy: The share of validation examples that must get just the expected commands.
        margin: How much lower than the teacher's a pass rate may be to count as not worse.
        concurrency: How many calls and E2E tests are under way at a time.
        assistant_model: The trained assistant; of a folder, the latest model in it.
        endpoints: Its endpoints file.
        sub_agents: The folder of its sub-agents.
        remote_storage: Where Rasa fetches the assistant from.
        force: Replace an evaluation that rasa-ft did not write.
        progress: Is told how far it is.

    Returns:
        All figures, and the verdict.

    Raises:
        ConfigError: something in the arguments cannot work, or the server has no such model.
        WorkspaceError: a stage before has not been run.
        LLMError: the model cannot be reached, or never answers.
        ServeError: the served model is not the one in the model folder.
    """
    from rasa_ft_ext.evaluate import stage
    from rasa_ft_ext.evaluate.reference import reference_for
    from rasa_ft_ext.evaluate.request import Conversations, Request, answer_limit, served_settings
    from rasa_ft_ext.evaluate.served import Served
    from rasa_ft_ext.evaluation import Thresholds

    place = Place(Path(project), assistant_model, endpoints, sub_agents, remote_storage)
    workspace = Workspace(place.path(out), force=force)

    def run() -> Evaluation:
        folder = place.path(model_folder) if model_folder is not None else None
        workspace.fingerprint(SPLIT)
        workspace.template()
        max_tokens = answer_limit(workspace, folder)
        settings = served_settings(model, api_base, api_key_env, max_tokens)
        request = Request(
            served=Served(model, api_base, settings.arguments.get("api_key")),
            llm=LiteLLM(settings, Gateway(concurrency=max(concurrency, 1))),
            parts=tuple(only),
            thresholds=Thresholds(
                min_validation=min_validation, min_train=min_train, min_accuracy=min_accuracy, margin=margin
            ),
            model_folder=folder,
            conversations="Rasa Pro is not installed here (pip install 'rasa-ft-ext[rasa]')",
            reference=reference_for(folder),
            against_teacher=against_teacher,
            repeats=repeats,
            concurrency=concurrency,
            max_tokens=max_tokens,
            price=price,
        )
        request.check()
        if "conversations" not in only or not has_rasa():
            return asyncio.run(stage.evaluate(workspace, request, progress=progress))
        suites = place.sides(workspace)
        stubbed = any(file.stub_custom_actions for suite in suites.values() for file in suite.files)
        assistant = place.load(stubbed=stubbed)
        tests = {side: suite.tests for side, suite in suites.items()}
        request = replace(request, conversations=Conversations(assistant, tests, assistant.card))
        return run_with(assistant, stage.evaluate(workspace, request, progress=progress), request.llm)

    return outside_loop(run)


def connect(
    out: str | Path = "output",
    *,
    model: str,
    api_base: str,
    project: str | Path = ".",
    config: str = "config.yml",
    endpoints: str = "endpoints.yml",
    model_folder: str | Path | None = None,
    api_key_env: str | None = None,
    timeout: float = 30,
    max_tokens: int | None = None,
    style: Style | None = None,
    fallback: bool = False,
    force: bool = False,
    confirm: Confirm | None = None,
) -> ConnectSummary:
    """Let the assistant's command generator use the evaluated model, with the prompt template of the data.

    Args:
        out: The folder with the evaluation and the data.
        model: The name that the model is served under.
        api_base: The base URL of its server.
        project: The assistant's folder; every relative path starts from it.
        config: Its configuration.
        endpoints: Its endpoints file.
        model_folder: The folder of `train`, to compare with what was evaluated.
        api_key_env: The environment variable with the server's key.
        timeout: Seconds that an answer may take.
        max_tokens: Most tokens of an answer; by default as many as in the evaluation.
        style: Where the model is written; None for the way that the assistant has.
        fallback: Let the LLM of before answer wherever the model does not.
        force: Connect also a model that is not proven, and say so in the configuration.
        confirm: Is shown the changes before they are written, and says whether they are.

    Raises:
        ConfigError: something in the arguments cannot work.
        ConnectError: the model is not proven, or the files cannot be changed; they are as they were.
    """
    from rasa_ft_ext.connect import stage
    from rasa_ft_ext.connect.settings import ConnectSettings

    settings = ConnectSettings(
        model=model,
        api_base=api_base,
        api_key_env=api_key_env,
        timeout=timeout,
        max_tokens=max_tokens,
        style=style,
        fallback=fallback,
    )
    return outside_loop(
        lambda: stage.connect(
            Workspace(Path(project) / out),
            settings,
            stage.Place(Path(project), config, endpoints),
            model_folder=Path(project, model_folder) if model_folder is not None else None,
            force=force,
            confirm=confirm,
        )
    )


def rollback(*, project: str | Path = ".", force: bool = False) -> RollbackSummary:
    """Restore the assistant's files as they were before the latest `connect`, byte for byte.

    Args:
        project: The assistant's folder.
        force: Restore them also where one was changed by hand since.

    Raises:
        ConnectError: there is nothing to restore, or it cannot be.
    """
    from rasa_ft_ext.connect import stage

    return stage.rollback(Path(project), force=force)


def doctor(
    out: str | Path = "output",
    *,
    project: str | Path = ".",
    config: str | Path = "config.yml",
    endpoints: str | Path = "endpoints.yml",
    assistant_model: str | Path = "models",
    model_folder: str | Path = "finetuned_model",
    progress: Progress | None = None,
) -> Diagnosis:
    """Look at an assistant that is connected to a fine-tuned model, and say what has moved away since the training.

    Nothing is changed, and no assistant is loaded: Rasa need not be installed.

    Args:
        out: The folder of `prepare_data`.
        project: The assistant's folder; every relative path starts from it.
        config: Its configuration.
        endpoints: Its endpoints file.
        assistant_model: Its trained model; of a folder, the latest in it.
        model_folder: The folder of `train`.
        progress: Is told how far it is.

    Raises:
        ConfigError: there is no such project.
    """
    from rasa_ft_ext.doctor import stage
    from rasa_ft_ext.doctor.case import Places

    places = Places(
        project=Path(project),
        output=Path(project, out),
        config=Path(config),
        endpoints=Path(endpoints),
        assistant_model=Path(project, assistant_model),
        model_folder=Path(project, model_folder),
    )
    return outside_loop(lambda: stage.doctor(places, progress=progress))


def monitor(
    out: str | Path = "output",
    *,
    endpoints: str | Path | None = None,
    conversations: str | Path | None = None,
    project: str | Path = ".",
    since: str | None = None,
    until: str | None = None,
    worst: int = 20,
    drafts: str | Path | None = None,
    prometheus: str | Path | None = None,
    json: str | Path | None = None,
    phone_regions: Sequence[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> MonitorSummary:
    """Compare what users say now with what the model was trained on.

    Args:
        out: The folder of `prepare_data`; the figures go into it as well.
        endpoints: The endpoints file that names the assistant's tracker store, a SQL database; or
        conversations: a file or folder with exported conversations.
        project: The folder that relative paths start from.
        since: Leave out what was said before: a date such as `2026-05-14`, in UTC.
        until: Leave out what was said on that date and later.
        worst: How many of the worst messages are shown.
        drafts: A new folder for E2E test drafts of them.
        prometheus: A file for node_exporter's textfile collector.
        json: A file that the figures are written to as well.
        phone_regions: Countries whose phone numbers are masked without a country code.
        force: Replace figures that this package did not write.
        progress: Is told how far it is.

    Raises:
        ConfigError: an argument cannot work, or the conversations cannot be read.
        AssistantError: the tracker store cannot be reached.
        MissingExtraError: Rasa is not installed, and `endpoints` is given.
        WorkspaceError: there is no training data to compare with, or the results cannot be written.
    """
    from rasa_ft_ext.monitor import stage
    from rasa_ft_ext.monitor.conversations import ConversationFiles

    def place(path: str | Path | None) -> Path | None:
        return None if path is None else Path(project, path)

    if (endpoints is None) == (conversations is None):
        raise ConfigError("monitor", ["Give either endpoints or conversations."])
    options = stage.options_of(
        since=since,
        until=until,
        worst=worst,
        drafts=place(drafts),
        metrics=place(prometheus),
        json=place(json),
        regions=phone_regions,
    )
    if conversations is not None:
        source: stage.Conversations = ConversationFiles(Path(project, conversations))
    else:
        source = _tracker_store(Path(project, str(endpoints)), options.since, options.until)
    return stage.monitor(Workspace(Path(project, out), force=force), source, options, progress)


def _tracker_store(endpoints: Path, since: float | None, until: float | None) -> TrackerStoreConversations:
    if find_spec("rasa") is None:
        raise MissingExtraError("Rasa Pro, which reads its tracker store,", "rasa")
    from rasa_ft_ext.rasa_pro.tracker_store import TrackerStoreConversations

    return TrackerStoreConversations(endpoints, since, until)
