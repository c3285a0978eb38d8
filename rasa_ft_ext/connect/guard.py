"""What speaks against letting the assistant use the model: it is not proven, or it is not the one that was.

Everything is looked at, so that a person hears of all of it at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rasa_ft_ext.connect.settings import ConnectSettings
from rasa_ft_ext.errors import ConfigError, LLMError, RasaFtError
from rasa_ft_ext.evaluation import Evaluation, Probe, read_evaluation
from rasa_ft_ext.finetuned import changed_files, read_manifest
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.project import Project
from rasa_ft_ext.workspace import SPLIT, Workspace

Found = TypeVar("Found")

_LONGEST = 60


async def objections(
    workspace: Workspace, settings: ConnectSettings, project: Project | None, model_folder: Path | None
) -> list[str]:
    """What speaks against it, a sentence each; empty where the model is proven and answers as it did then.

    Args:
        workspace: Holds the evaluation, and the data that it was made on.
        settings: Where the model is.
        project: The assistant, where its files can be read.
        model_folder: The folder of the training, where it is at hand.
    """
    problems: list[str] = []
    evaluation = _attempt(problems, lambda: read_evaluation(workspace.root))
    data = _attempt(problems, lambda: workspace.fingerprint(SPLIT))
    template = _attempt(problems, workspace.template)
    if evaluation is not None:
        problems += _of_evaluation(evaluation, settings, data, template)
    if project is not None:
        problems += _of_generator(workspace, project)
    if model_folder is not None:
        problems += _of_folder(model_folder, evaluation, data)
    return problems + await _of_server(settings, evaluation)


def _of_evaluation(
    evaluation: Evaluation, settings: ConnectSettings, data: str | None, template: str | None
) -> list[str]:
    subject, verdict = evaluation.subject, evaluation.verdict
    problems = [f"The evaluation is red: {problem}" for problem in verdict.problems]
    if not verdict.passed and not verdict.problems:
        problems.append("The evaluation is red.")
    if subject.model != settings.model:
        problems.append(f"The evaluation is that of the model {subject.model}, not of {settings.model}.")
    if data is not None and subject.data_hash != data:
        problems.append("The evaluation was made on other data than those that are there now.")
    if settings.max_tokens is not None and settings.max_tokens < subject.max_tokens:
        problems.append(
            f"The model was evaluated with {subject.max_tokens} tokens for an answer: with {settings.max_tokens}, "
            "longer ones are cut off."
        )
    if template is not None and subject.template_hash != hashlib.sha256(template.encode()).hexdigest():
        problems.append("The model was evaluated with another prompt template than that of the data.")
    return problems


def _of_generator(workspace: Workspace, project: Project) -> list[str]:
    card = _attempt([], workspace.card)
    if card is None or card.generator == project.generator.kind:
        return []
    return [f"The data are those of a {card.generator}, and {project.config.path} has a {project.generator.kind}."]


def _of_folder(folder: Path, evaluation: Evaluation | None, data: str | None) -> list[str]:
    problems: list[str] = []
    manifest = _attempt(problems, lambda: read_manifest(folder))
    if manifest is None:
        return problems
    changed = changed_files(folder)
    if changed:
        problems.append(f"These files of {folder} are not as the training left them: {', '.join(changed)}.")
    if evaluation is not None and evaluation.subject.model_hash is None:
        problems.append("The evaluation does not say which model folder it is of: run it with the folder as well.")
    elif evaluation is not None and evaluation.subject.model_hash != manifest.model_hash:
        problems.append(f"The evaluation is that of another model than the one in {folder}.")
    if data is not None and manifest.facts.data_hash != data:
        problems.append(f"The model in {folder} was trained on other data than those that are there now.")
    return problems


async def _of_server(settings: ConnectSettings, evaluation: Evaluation | None) -> list[str]:
    """Ask the server; with no evaluation only whether it answers at all."""
    probes = evaluation.probes if evaluation is not None else ()
    problems = []
    if evaluation is not None and not probes:
        problems.append("The evaluation holds no prompts by which the model could be known again: run it again.")
    try:
        reached = resolve(settings.llm(), {}, "connect")
        llm = LiteLLM(reached, Gateway(concurrency=1, policy=Policy(attempts=2)))
        differing = await _differing(llm, probes or (Probe(prompt="Hello", answer=""),))
    except ConfigError as error:
        return [*problems, *error.problems]
    except LLMError as error:
        return [*problems, str(error)]
    if probes and differing:
        expected, got = (repr(text if len(text) <= _LONGEST else text[:_LONGEST] + "...") for text in differing[0])
        problems.append(
            f"The server at {reached.address} is not the one that was evaluated: it answers {len(differing)} of "
            f"{len(probes)} prompts otherwise, the first with {got} in place of {expected}."
        )
    return problems


async def _differing(llm: LLM, probes: tuple[Probe, ...]) -> list[tuple[str, str]]:
    """What was answered then and what is now, where it differs."""
    try:
        pairs = [(probe.answer.strip(), (await llm.complete(probe.prompt)).text.strip()) for probe in probes]
    finally:
        await llm.close()
    return [pair for pair in pairs if pair[0] != pair[1]]


def _attempt(problems: list[str], read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except RasaFtError as error:
        problems.append(str(error))
    return None
