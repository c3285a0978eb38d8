"""The assistant's own files, as they are: which command generator it has, how that one's LLM is reached, its prompt.

    project = read_project(Path("my_assistant"))
    project.generator.name              # "CompactLLMCommandGenerator"
    project.generator.llm               # what stands under `llm:` in config.yml
    project.models                      # the models behind it, a model group of endpoints.yml resolved
    project.template_path               # the file of its prompt template, None where it has Rasa's default

What is read keeps its place: every YAML file comes with its nodes, whose marks are positions in its text, so that a
change can be made to just these characters. This module changes nothing and knows no Rasa.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.yaml_reading import MOST_BYTES, compose_yaml, load_yaml, told, too_long

CONFIG, ENDPOINTS = "config.yml", "endpoints.yml"
MODEL_GROUP = "model_group"
PROMPT_KEYS = ("prompt_template", "prompt")  # the second is what SingleStepLLMCommandGenerator used to call it
DATE_TIME = "include_date_time"
DATE_TIME_VARIABLE = "current_datetime"  # what it gives the prompt template

_KIND = "CommandGenerator"


@dataclass(frozen=True)
class YamlFile:
    """A YAML file: its bytes, its text without a byte order mark, its nodes and the plain data in it.

    A file that is not there is empty: `exists` is False.
    """

    path: Path
    raw: bytes
    text: str
    root: MappingNode | None
    data: Mapping[str, Any]
    exists: bool = True

    @property
    def mark(self) -> bytes:
        """The byte order mark that the file begins with, mostly none."""
        return codecs.BOM_UTF8 if self.raw.startswith(codecs.BOM_UTF8) else b""


@dataclass(frozen=True)
class Generator:
    """The LLM command generator: its component in the pipeline of config.yml."""

    name: str
    """Its class, as the file names it: for one of the assistant's own with its module."""
    settings: Mapping[str, Any]
    """All that stands in the component."""
    node: MappingNode
    """The component's place in config.yml."""

    @property
    def kind(self) -> str:
        """The class's name without its module."""
        return self.name.rpartition(".")[2]

    @property
    def llm(self) -> Mapping[str, Any] | None:
        """What stands under `llm`; None where Rasa's default is used."""
        found = self.settings.get("llm")
        return found if isinstance(found, Mapping) else None

    @property
    def model_group(self) -> str | None:
        """The id of the model group in endpoints.yml, where there is one."""
        found = (self.llm or {}).get(MODEL_GROUP)
        return str(found) if found is not None else None

    @property
    def prompt_template(self) -> str | None:
        """The path of its prompt template as it is written, under the key of today or the old one."""
        found = (self.settings.get(key) for key in self._prompt_keys)
        return next((str(path) for path in found if path is not None), None)

    @property
    def include_date_time(self) -> bool:
        """Whether the prompt template is given the date and the time: so it is where nothing is said."""
        return self.settings.get(DATE_TIME) is not False

    @property
    def _prompt_keys(self) -> tuple[str, ...]:
        """Where the generator looks for its prompt: only SingleStep knows the old key, and that one wins there."""
        return PROMPT_KEYS[::-1] if "SingleStep" in self.kind or self.kind == "LLMCommandGenerator" else PROMPT_KEYS[:1]


@dataclass(frozen=True)
class Project:
    """An assistant's folder, its config.yml and its endpoints.yml."""

    root: Path
    config: YamlFile
    endpoints: YamlFile
    generator: Generator

    @property
    def groups(self) -> dict[str, Mapping[str, Any]]:
        """The model groups of endpoints.yml, by their id."""
        found = self.endpoints.data.get("model_groups")
        groups = [group for group in found if isinstance(group, Mapping)] if isinstance(found, list) else []
        return {str(group.get("id")): group for group in groups}

    @property
    def models(self) -> tuple[Mapping[str, Any], ...]:
        """How the generator's LLM is reached: one model, several behind a router, none where Rasa's default is used."""
        group = self.generator.model_group
        if group is not None:
            found = self.groups.get(group, {}).get("models")
            return tuple(model for model in found if isinstance(model, Mapping)) if isinstance(found, list) else ()
        return (self.generator.llm,) if self.generator.llm else ()

    @property
    def template_path(self) -> Path | None:
        """The file of the generator's prompt template; it need not be there."""
        path = self.generator.prompt_template
        return self.root / path if path is not None else None


def read_project(
    root: Path, config: str | Path = CONFIG, endpoints: str | Path = ENDPOINTS, *, generator: str | None = None
) -> Project:
    """Read the files of an assistant.

    Args:
        root: The project's folder; relative paths start from it.
        config: The configuration, with the pipeline.
        endpoints: The endpoints file; it need not be there.
        generator: The class of the command generator, where its name does not end with `CommandGenerator`.

    Raises:
        ConfigError: a file is no YAML of this kind, or the pipeline has no LLM command generator, or several.
    """
    problems: list[str] = []
    read = [_attempt(root / name, problems) for name in (config, endpoints)]
    if read[0] is not None and not read[0].exists:
        problems.append(f"There is no {root / config}. Give the assistant's folder with --project.")
    elif read[0] is not None:
        found = _generators(read[0], generator)
        if len(found) != 1:
            problems.append(_not_one(root / config, found))
    if problems or read[0] is None or read[1] is None:
        raise ConfigError(str(root), problems)
    return Project(root, read[0], read[1], found[0])


def read_yaml_file(path: Path) -> YamlFile:
    """Read one YAML file with its nodes.

    Raises:
        ConfigError: it cannot be read, or holds something other than one mapping.
    """
    if not path.exists():
        return YamlFile(path, b"", "", None, {}, exists=False)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), [f"{path} cannot be read: {error.strerror or error}."]) from error
    if len(raw) > MOST_BYTES:
        raise ConfigError(str(path), [f"{path}: {too_long(path, MOST_BYTES)}."])
    return parse_yaml(path, raw)


def parse_yaml(path: Path, raw: bytes) -> YamlFile:
    """Read what stands, or is going to stand, in a YAML file.

    Raises:
        ConfigError: it holds something other than one mapping.
    """
    try:
        text = raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        root = compose_yaml(text)
        data = load_yaml(text)
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"{path} cannot be read as one YAML document: it is not UTF-8"]) from error
    except YAMLError as error:
        raise ConfigError(str(path), [f"{path} cannot be read as one YAML document: {told(error)}"]) from None
    if data is None:
        return YamlFile(path, raw, text, None, {})
    if not isinstance(root, MappingNode):
        raise ConfigError(str(path), [f"{path} holds no mapping of names to values."])
    return YamlFile(path, raw, text, root, data)


def entry_of(node: Node | None, key: str) -> tuple[ScalarNode, Node] | None:
    """The key and the value of one entry of a mapping; None where it has no such entry."""
    if not isinstance(node, MappingNode):
        return None
    return next(((name, value) for name, value in node.value if name.value == key), None)


def items_of(node: Node | None, key: str) -> list[Node]:
    """The items of the list under a key of a mapping."""
    found = entry_of(node, key)
    return list(found[1].value) if found is not None and isinstance(found[1], SequenceNode) else []


def _attempt(path: Path, problems: list[str]) -> YamlFile | None:
    try:
        return read_yaml_file(path)
    except ConfigError as error:
        problems += error.problems
    return None


def _generators(config: YamlFile, kind: str | None) -> list[Generator]:
    pipeline = config.data.get("pipeline")
    found = []
    for node, settings in zip(
        items_of(config.root, "pipeline"), pipeline if isinstance(pipeline, list) else [], strict=False
    ):
        name = str(settings.get("name")) if isinstance(settings, Mapping) else ""
        own = name.rpartition(".")[2]
        if isinstance(node, MappingNode) and own and (own.endswith(_KIND) or own == kind):
            found.append(Generator(name, settings, node))
    return found


def _not_one(path: Path, found: list[Generator]) -> str:
    if not found:
        return f"The pipeline in {path} has no LLM command generator."
    names = ", ".join(f"{generator.name} (line {generator.node.start_mark.line + 1})" for generator in found)
    return f"The pipeline in {path} has several command generators, where there must be one: {names}."
