"""A fine-tuned model's folder, as `train` leaves it and the later stages read it: what its manifest says.

    facts = read_manifest(Path("finetuned_model")).facts
    changed_files(Path("finetuned_model"))          # what is not any more as it was when the training ended

    finetuned_model/
        merged/ adapter/ merged_4bit/   the model; adapter/ only of LoRA trainings, merged_4bit/ if it was asked for
        manifest.json                   the last file: what has a manifest is complete

This module knows no torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field

from rasa_ft_ext._version import __version__
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.workspace import MANIFEST, read_record, sha256, write_record

MERGED, ADAPTER, MERGED_4BIT = "merged", "adapter", "merged_4bit"
_NOT_PART = ("checkpoints", "tensorboard", MANIFEST)  # what may change or go without the model being another


class TrainFacts(Record):
    """What is known of a training.

    `templates` maps each prompt template's name to the SHA-256 of its source, empty where it was not kept. `metrics`
    are those of the checkpoint that was kept, on the validation set (`exact_match` is the command accuracy). `parity`
    is what `rasa_ft_ext.train.parity` found. `packages` are the versions that trained. `longest_prompt` and
    `longest_answer` are those of all examples, in the model's tokens; the first with the chat template around it.
    """

    name: str
    base_model: str
    base_revision: str | None = None
    base_fingerprint: str | None = None
    base_license: str | None = None
    data_hash: str
    train_rows: int
    validation_rows: int
    templates: dict[str, str] = Field(default_factory=dict)
    rasa_version: str | None = None
    syntax: str | None = None
    assistant: str | None = None
    language: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    parity: dict[str, Any] = Field(default_factory=dict)
    dtype: str = ""
    max_length: int | None = None
    longest_prompt: int | None = None
    longest_answer: int | None = None
    packages: dict[str, str] = Field(default_factory=dict)


class TrainManifest(Record):
    """The last file of a training: its facts, the version that trained, and the SHA-256 of every file of the model."""

    version: str
    facts: TrainFacts
    files: dict[str, str]

    @property
    def model_hash(self) -> str:
        """What names the weights that are served: the SHA-256 of the digests of the merged model's files."""
        names = sorted(name for name in self.files if name.startswith(f"{MERGED}/") and not name.endswith(".md"))
        return hashlib.sha256("\n".join(f"{name} {self.files[name]}" for name in names).encode()).hexdigest()


def write_manifest(folder: Path, facts: TrainFacts) -> TrainManifest:
    """Write `manifest.json` of a folder in which all else is there."""
    manifest = TrainManifest(version=__version__, facts=facts, files=digests(folder))
    write_record(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path) -> TrainManifest:
    """Read what a finished training says of itself.

    Raises:
        WorkspaceError: the folder is not that of a finished training.
    """
    if not (folder / MANIFEST).is_file():
        raise WorkspaceError(
            f"{folder} holds no finished training (there is no {MANIFEST}). Give the folder that `rasa-ft train` wrote."
        )
    return read_record(folder / MANIFEST, TrainManifest)


def changed_files(folder: Path) -> tuple[str, ...]:
    """The model's files that are missing or not any more those that the training left, by their paths in the folder."""
    manifest = read_manifest(folder)
    now = digests(folder)
    return tuple(sorted(name for name, digest in manifest.files.items() if now.get(name) != digest))


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a model, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    paths = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256(path) for name, path in paths.items() if name.split("/")[0] not in _NOT_PART}
