"""All that the checks look at, each read when it is first asked for.

Whatever cannot be had raises `Unknown` with the reason: every check that needs it then says that it could not be done,
and the others go on. The check that is about the thing itself reads it with its own reader and tells the whole story.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from rasa_ft_ext.commands import Command, read
from rasa_ft_ext.conversation import Annotation, AssistantCard, Example
from rasa_ft_ext.doctor.archive import TrainedAssistant, read_assistant
from rasa_ft_ext.doctor.findings import Unknown
from rasa_ft_ext.doctor.flows import Flow, read_flows, read_slots
from rasa_ft_ext.doctor.server import Server
from rasa_ft_ext.errors import LLMError, RasaFtError
from rasa_ft_ext.evaluation import Evaluation, read_evaluation
from rasa_ft_ext.finetuned import MERGED, TrainManifest, read_manifest
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.settings import SELF_HOSTED, LLMSettings, resolve
from rasa_ft_ext.project import Project, read_project
from rasa_ft_ext.workspace import SPLIT, Workspace

Found = TypeVar("Found")

DATA, DOMAIN = "data", ("domain.yml", "domain")  # where Rasa looks for flows and slots
_ASKED = 5  # prompts that the model is asked


@dataclass(frozen=True)
class Places:
    """Where everything is; `config` and `endpoints` may be relative to `project`."""

    project: Path
    output: Path
    config: Path
    endpoints: Path
    assistant_model: Path
    model_folder: Path


class Case:
    """One set-up: the assistant's files, the data that was made of it, the model trained on it, and the server."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.workspace = Workspace(places.output)

    def read_project(self) -> Project:
        """Read config.yml and endpoints.yml.

        Raises:
            ConfigError: they cannot be read, or there is not one command generator.
        """
        return read_project(
            self.places.project, self.places.config, self.places.endpoints, generator=self._recorded_generator
        )

    @property
    def _recorded_generator(self) -> str | None:
        """The class of the command generator of the data, by which one of the assistant's own is found."""
        try:
            return self.card.generator
        except Unknown:
            return None

    @cached_property
    def project(self) -> Project:
        return _or(self.read_project, f"{self.places.config} cannot be read, or has not one LLM command generator")

    @cached_property
    def model_config(self) -> Mapping[str, Any]:
        """How the command generator's LLM is reached, as it is written; behind a router the first of one's own."""
        models = self.project.models
        own = (model for model in models if model.get("provider") in (SELF_HOSTED, "hosted_vllm"))
        chosen = next(own, None) or next(iter(models), None)
        if chosen is None:
            raise Unknown("the configuration names no LLM for the command generator")
        return chosen

    @cached_property
    def llm(self) -> LLMSettings:
        where = f"The LLM of {self.project.generator.kind}"
        return _or(lambda: resolve(self.model_config, {}, where), "the LLM's configuration cannot work")

    @cached_property
    def self_hosted(self) -> LLMSettings:
        """The same, where it is a server of one's own."""
        if self.llm.provider != SELF_HOSTED and not self.llm.arguments.get("api_base"):
            raise Unknown("the configuration names no self-hosted model")
        return self.llm

    @cached_property
    def server(self) -> Server:
        return Server(self.self_hosted)

    @cached_property
    def card(self) -> AssistantCard:
        return _or(self.workspace.card, f"{self.places.output} holds no annotations")

    @cached_property
    def annotations(self) -> tuple[Annotation, ...]:
        """What the command generator did with every user message that it answered."""
        files = _or(self.workspace.annotations, f"{self.places.output} holds no annotations")
        turns = (turn for file in files for conversation in file.conversations for turn in conversation.turns)
        return tuple(turn.annotation for turn in turns if turn.annotation is not None)

    @cached_property
    def examples(self) -> list[Example]:
        return _or(lambda: list(self.workspace.examples()), f"{self.places.output} holds no data set")

    @cached_property
    def template(self) -> str:
        """The prompt template of the data."""
        return _or(
            self.workspace.template,
            f"{self.places.output} holds no prompt template of the data (`rasa-ft dataset` writes it)",
        )

    @cached_property
    def template_hash(self) -> str:
        return digest(self.template)

    @cached_property
    def data_hash(self) -> str:
        """What names the data in manifests."""
        return _or(lambda: self.workspace.fingerprint(SPLIT), f"{self.places.output} holds no finished split")

    @cached_property
    def manifest(self) -> TrainManifest:
        folder = self.places.model_folder
        return _or(lambda: read_manifest(folder), f"{folder} holds no finished training")

    @property
    def merged(self) -> Path:
        """The folder of the model that is served."""
        return self.places.model_folder / MERGED

    @cached_property
    def evaluation(self) -> Evaluation:
        return _or(lambda: read_evaluation(self.places.output), f"{self.places.output} holds no evaluation")

    @cached_property
    def probed(self) -> bool:
        """Whether it is known what the model said to some prompts when it was evaluated."""
        try:
            return bool(self.evaluation.probes)
        except Unknown:
            return False

    @cached_property
    def prompts(self) -> dict[str, tuple[Command, ...]]:
        """A few prompts of the data with the commands that are expected: those of the evaluation, or the labels."""
        if self.probed:
            return {probe.prompt: self.read(probe.answer) for probe in self.evaluation.probes[:_ASKED]}
        chosen = self.examples[:: max(1, len(self.examples) // _ASKED)][:_ASKED]
        if not chosen:
            raise Unknown("the data has no prompt to ask")
        return {example.prompt: example.commands for example in chosen}

    @cached_property
    def answers(self) -> dict[str, Completion | LLMError]:
        """What the server says to these prompts."""
        return dict(zip(self.prompts, self.server.answers(list(self.prompts)), strict=True))

    def read(self, answer: str) -> tuple[Command, ...]:
        """The commands in an answer, as the assistant of the data would read it."""
        return read(answer, self.card.syntax, set(self.card.flows))

    @cached_property
    def assistant(self) -> TrainedAssistant:
        return read_assistant(self.places.assistant_model)

    @cached_property
    def flows(self) -> dict[str, Flow]:
        """The flows in the project's files."""
        return read_flows(self.places.project / DATA)

    @cached_property
    def slots(self) -> set[str]:
        """The slots in the project's files; Rasa adds some of its own."""
        return read_slots(self.places.project / name for name in DOMAIN)


def digest(text: str) -> str:
    """The SHA-256 of a text: by it, two prompt templates are the same or not."""
    return hashlib.sha256(text.encode()).hexdigest()


def _or(read: Callable[[], Found], reason: str) -> Found:
    try:
        return read()
    except RasaFtError as error:
        raise Unknown(reason) from error
