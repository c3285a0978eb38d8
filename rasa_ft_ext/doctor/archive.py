"""A trained assistant, `models/*.tar.gz`, read without Rasa: what its command generator was trained with.

Rasa keeps the prompt template, the flows and the configuration in the archive and uses them from there; of
`endpoints.yml` alone the present state counts. So an assistant can run with a prompt that is in no file any more.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from rasa_ft_ext.doctor.findings import Unknown
from rasa_ft_ext.doctor.flows import Flow, flows_of
from rasa_ft_ext.yaml_reading import load_yaml

_METADATA = "metadata.json"
_TEMPLATE = "command_prompt.jinja2"
_FLOWS = "components/flows_provider/flows.yml"


@dataclass(frozen=True)
class TrainedAssistant:
    """What an archive says of itself."""

    path: Path
    rasa_version: str
    generator: str | None
    """The class of the command generator; None where there is none with a prompt template."""
    config: Mapping[str, Any]
    """The command generator's component of config.yml, as it was at the training, without its name."""
    template: str | None
    """The prompt template that the assistant uses."""
    flows: Mapping[str, Flow] | None
    """The flows by their id; None where they cannot be found."""


def read_assistant(model: Path) -> TrainedAssistant:
    """Read a trained assistant.

    Args:
        model: The archive, or a folder of which the latest is taken, as Rasa does.

    Raises:
        Unknown: there is none, or it cannot be read.
    """
    path = _latest(model)
    try:
        with tarfile.open(path) as archive:
            files = {member.name.removeprefix("./"): member for member in archive.getmembers() if member.isfile()}
            metadata = json.loads(_read(archive, files, _METADATA))
            generator = _generator(metadata, files)
            name = f"components/{generator['resource']['name']}/{_TEMPLATE}" if generator else None
            return TrainedAssistant(
                path=path,
                rasa_version=str(metadata["rasa_open_source_version"]),
                generator=str(generator["uses"]).rpartition(".")[2] if generator else None,
                config=generator["config"] if generator else {},
                template=_read(archive, files, name) if name else None,
                flows=_flows(_read(archive, files, _FLOWS)) if _FLOWS in files else None,
            )
    except (OSError, tarfile.TarError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unknown(f"{path} cannot be read as a trained assistant ({type(error).__name__}: {error})") from error


def _latest(model: Path) -> Path:
    if model.is_file():
        return model
    files = sorted(model.glob("*.tar.gz"), key=lambda file: (file.stat().st_mtime, file.name)) if model.is_dir() else []
    if not files:
        raise Unknown(f"there is no trained assistant at {model}")
    return files[-1]


def _read(archive: tarfile.TarFile, files: Mapping[str, tarfile.TarInfo], name: str) -> str:
    stream = archive.extractfile(files[name])
    if stream is None:
        raise KeyError(name)
    with stream:
        return stream.read().decode("utf-8")


def _generator(metadata: Mapping[str, Any], files: Mapping[str, tarfile.TarInfo]) -> Mapping[str, Any] | None:
    """The component of which the archive holds a prompt template."""
    for node in metadata["predict_schema"]["nodes"].values():
        resource = (node.get("resource") or {}).get("name")
        if f"components/{resource}/{_TEMPLATE}" in files:
            found: Mapping[str, Any] = node
            return found
    return None


def _flows(text: str) -> Mapping[str, Flow]:
    try:
        return flows_of(load_yaml(text))
    except YAMLError as error:
        raise ValueError(f"{_FLOWS} is no YAML: {error}") from error
