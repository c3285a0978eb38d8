"""The output folder: its names, how a stage's results appear in it whole, and how the next stage reads them.

A stage writes into a hidden folder beside its own; when all is written, its manifest last, the folder is renamed into
place. So a stage's folder is complete or it is not there. The manifest names the options, the inputs and the SHA-256 of
every file; a stage whose manifest fits what is asked for is not run again. What a clock says goes into
`timings.json`, and only there: everything else is a function of the inputs.

This module knows the records of `rasa_ft_ext.conversation`, and nothing of how they are made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML, YAMLError

from rasa_ft_ext._version import __version__
from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Example, RephrasedFile
from rasa_ft_ext.errors import ForeignResultsError, WorkspaceError

ANNOTATIONS = "1_command_annotations"
REPHRASINGS = "2_rephrasings"
DATASET = "3_llm_finetune_data"
SPLIT = "4_train_test_split"
STAGES = (ANNOTATIONS, REPHRASINGS, DATASET, SPLIT)

MANIFEST = "manifest.json"
TIMINGS = "timings.json"
ASSISTANT_CARD = "assistant.json"
SUMMARY = "summary.yaml"
EXAMPLES = "llm_ft_data.jsonl"

AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


class Workspace:
    """One output folder.

    Args:
        root: The folder; it need not exist yet.
        force: Replace results of another run instead of refusing to.
    """

    def __init__(self, root: str | Path, *, force: bool = False) -> None:
        self.root = Path(root)
        self.force = force

    def folder(self, stage: str) -> Path:
        return self.root / stage

    def fingerprint(self, stage: str) -> str:
        """The SHA-256 of a finished stage's manifest: the input that the next stage depends on.

        Raises:
            WorkspaceError: the stage has not been run.
        """
        path = self.folder(stage) / MANIFEST
        if not path.is_file():
            raise WorkspaceError(
                f"{self.folder(stage)} holds no finished results. Run `rasa-ft {_command(stage)}` first, "
                "or give the folder of a run that has with --out."
            )
        return sha256(path)

    def check(self, stages: tuple[str, ...] = STAGES) -> None:
        """Refuse a folder in which these stages would overwrite what no run of this package made.

        Raises:
            ForeignResultsError: there is such a folder, and `force` is off.
        """
        for stage in stages:
            folder = self.folder(stage)
            if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()) and not self.force:
                raise ForeignResultsError(
                    f"{folder} holds files that rasa-ft did not write. Give another folder with --out, or --force to "
                    "replace them."
                )

    def is_done(self, stage: str, key: Mapping[str, Any]) -> bool:
        """Whether the stage's results are there and were made from just these inputs and options.

        Raises:
            ForeignResultsError: there are results of other inputs or options, and `force` is off.
        """
        self.check((stage,))
        path = self.folder(stage) / MANIFEST
        if not path.is_file():
            return False
        found = _read_json(path)
        differing = sorted(
            name for name in {*found.get("key", {}), *key} if found.get("key", {}).get(name) != _plain(key).get(name)
        )
        if found.get("version") != __version__:
            differing.append("version of rasa-ft-ext")
        if not differing:
            return self._is_whole(stage, found)
        if self.force:
            return False
        raise ForeignResultsError(
            f"{self.folder(stage)} holds the results of another run (it differs in: {', '.join(differing)}). Give "
            "another folder with --out, or --force to replace them."
        )

    def _is_whole(self, stage: str, manifest: dict[str, Any]) -> bool:
        files: dict[str, str] = manifest.get("files", {})
        return all(
            (self.folder(stage) / name).is_file() and sha256(self.folder(stage) / name) == digest
            for name, digest in files.items()
        )

    @contextmanager
    def writing(self, stage: str, key: Mapping[str, Any]) -> Iterator[Path]:
        """Yield a folder to write the stage's files into; it becomes the stage's folder when the block ends well.

        Raises:
            WorkspaceError: the disk is full, or the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{stage}-", dir=self.root))
        except OSError as error:
            raise _disk_error(self.root, error) from error
        try:
            draft.chmod(0o755)
            yield draft
            self._finish(stage, draft, key)
        except OSError as error:
            raise _disk_error(self.folder(stage), error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _finish(self, stage: str, draft: Path, key: Mapping[str, Any]) -> None:
        files = {
            path.relative_to(draft).as_posix(): sha256(path)
            for path in sorted(draft.rglob("*"))
            if path.is_file() and path.name != TIMINGS
        }
        write_json(draft / MANIFEST, {"version": __version__, "key": _plain(key), "files": files})
        final = self.folder(stage)
        if final.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{stage}-old-", dir=self.root))
            os.replace(final, old / stage)
            try:
                os.replace(draft, final)
            except OSError:
                os.replace(old / stage, final)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(draft, final)

    def card(self) -> AssistantCard:
        return read_card(self.folder(ANNOTATIONS))

    def annotations(self) -> list[AnnotatedFile]:
        return read_annotations(self.folder(ANNOTATIONS))

    def rephrasings(self) -> list[RephrasedFile]:
        return [read_record(path, RephrasedFile) for path in _record_files(self.folder(REPHRASINGS))]

    def examples(self) -> list[Example]:
        path = self.folder(DATASET) / EXAMPLES
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            return [Example.model_validate_json(line) for line in lines if line]
        except (OSError, ValidationError) as error:
            raise WorkspaceError(f"{path} cannot be read: {error}. Run `rasa-ft dataset` again.") from error


def read_annotations(folder: Path) -> list[AnnotatedFile]:
    """Read all annotations in a folder that `annotate` wrote, in the order of their files' names."""
    if not (folder / ASSISTANT_CARD).is_file():
        raise WorkspaceError(
            f"{folder} holds no annotations (there is no {ASSISTANT_CARD}). Run `rasa-ft annotate` first, or give a "
            "folder that it wrote."
        )
    return [read_record(path, AnnotatedFile) for path in _record_files(folder)]


def read_card(folder: Path) -> AssistantCard:
    """Read what `annotate` wrote of the assistant."""
    return read_record(folder / ASSISTANT_CARD, AssistantCard)


def record_path(folder: Path, test_file: str) -> Path:
    """Where the machine-readable record of an E2E test file stands in a stage's folder: beside its YAML.

    Raises:
        WorkspaceError: the name would lead out of the folder.
    """
    path = folder / f"{test_file}.json"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise WorkspaceError(f"The test file name {test_file!r} leads out of {folder}.")
    return path


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Read one record; a file that does not hold one is named, with what is wrong in it."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise WorkspaceError(f"{path} is not a {kind.__name__} of this version of rasa-ft-ext: {error}") from error


def read_summary(folder: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Read the summary that a finished stage left in its folder."""
    path = folder / SUMMARY
    try:
        return kind.model_validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except (OSError, YAMLError, ValidationError) as error:
        raise WorkspaceError(f"{path} cannot be read: {error}. Run the stage again with --force.") from error


def write_record(path: Path, record: BaseModel) -> None:
    write_json(path, record.model_dump(mode="json"))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")


def write_jsonl(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _record_files(folder: Path) -> list[Path]:
    own = {MANIFEST, TIMINGS, ASSISTANT_CARD}
    return sorted(path for path in folder.rglob("*.json") if path.relative_to(folder).as_posix() not in own)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return value
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{path} cannot be read: {error}. Delete the folder and run the stage again.") from error


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(value), default=str))
    return plain


def _command(stage: str) -> str:
    return {ANNOTATIONS: "annotate", REPHRASINGS: "rephrase", DATASET: "dataset", SPLIT: "split"}[stage]


def _disk_error(path: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"{path} cannot be written: {error.strerror or error}. What was there before is untouched. Make room or give "
        "another folder with --out, then run the command again."
    )
