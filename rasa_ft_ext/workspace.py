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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rasa_ft_ext._version import __version__
from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Example, Record, RephrasedFile
from rasa_ft_ext.errors import ForeignResultsError, WorkspaceError
from rasa_ft_ext.flow_map import FlowMap

ANNOTATIONS = "1_command_annotations"
REPHRASINGS = "2_rephrasings"
DATASET = "3_llm_finetune_data"
SPLIT = "4_train_test_split"
EVALUATION = "5_evaluation"
MONITORING = "6_monitoring"
STAGES = (ANNOTATIONS, REPHRASINGS, DATASET, SPLIT)

# What a manifest calls the stages that it was made from.
_INPUTS = {"annotations": ANNOTATIONS, "rephrasings": REPHRASINGS, "dataset": DATASET}

MANIFEST = "manifest.json"
TIMINGS = "timings.json"
ASSISTANT_CARD = "assistant.json"
FLOW_MAP = "flows.json"
SUMMARY = "summary.json"
EXAMPLES = "llm_ft_data.jsonl"
PROMPT_TEMPLATE = "prompt_template.jinja2"

AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


class Manifest(Record):
    """What a stage's results were made from (`key`), by which version, and the SHA-256 of every file."""

    version: str
    key: dict[str, Any]
    files: dict[str, str]


class Workspace:
    """One output folder.

    Args:
        root: The folder; it need not exist yet.
        force: Run every stage anew and replace what is there, whatever made it.
    """

    def __init__(self, root: str | Path, *, force: bool = False) -> None:
        self.root = Path(root)
        self.force = force

    def folder(self, stage: str) -> Path:
        return self.root / stage

    def fingerprint(self, stage: str) -> str:
        """The SHA-256 of a finished stage's files: the input that the next stage depends on.

        Raises:
            WorkspaceError: the stage has not been run, or was made from what is not there any more.
        """
        folder = self.folder(stage)
        if not (folder / MANIFEST).is_file():
            raise WorkspaceError(
                f"{folder} holds no finished results. Run `rasa-ft {_command(stage)}` first, "
                "or give the output folder of a run that has."
            )
        made_from = read_record(folder / MANIFEST, Manifest).key
        for name, before in _INPUTS.items():
            if name in made_from and made_from[name] != self.fingerprint(before):
                raise WorkspaceError(
                    f"{folder} was made from other {name} than those in {self.folder(before)}. Run "
                    f"`rasa-ft {_command(stage)} --force` first."
                )
        return hashlib.sha256(json.dumps(_digests(folder)).encode()).hexdigest()

    def check(self, stages: tuple[str, ...] = STAGES) -> None:
        """Refuse, before any work is done, a folder that cannot be written or whose stages no run of this package made.

        Raises:
            ForeignResultsError: there is such a stage, and `force` is off.
            WorkspaceError: nothing can be written into the folder.
        """
        place = next(path for path in (self.root, *self.root.resolve().parents) if path.exists())
        if not place.is_dir() or not os.access(place, os.W_OK):
            raise _disk_error(self.root, NotADirectoryError(0, f"{place} is no folder that can be written into"))
        for stage in stages:
            folder = self.folder(stage)
            foreign = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
            if foreign and not (folder / MANIFEST).is_file() and not self.force:
                raise ForeignResultsError(
                    f"{folder} holds files that rasa-ft did not write. Move them away, or replace them with --force."
                )

    def is_done(self, stage: str, key: Mapping[str, Any], *, follows: Sequence[str] = ()) -> bool:
        """Whether the stage's results are there and were made from just these inputs and options.

        Results that differ in the first of `follows`, and in nothing but these, are the same run's, to be made anew.

        Raises:
            ForeignResultsError: there are results of other inputs or options, and `force` is off.
        """
        self.check((stage,))
        path = self.folder(stage) / MANIFEST
        if self.force or not path.is_file():
            return False
        found = read_record(path, Manifest)
        wanted = _plain(key)
        differing = sorted(name for name in {*found.key, *wanted} if found.key.get(name) != wanted.get(name))
        if found.version != __version__:
            differing.append("version of rasa-ft-ext")
        anew = set(follows[:1]) <= set(differing) <= set(follows) if differing else False
        if differing and not anew:
            raise ForeignResultsError(
                f"{self.folder(stage)} holds the results of another run (it differs in: {', '.join(differing)}). Give "
                "another folder with --out, or --force to replace them."
            )
        changed = sorted(name for name, _ in found.files.items() ^ _digests(self.folder(stage)).items())
        if changed:
            raise ForeignResultsError(
                f"{self.folder(stage)} was changed since it was made ({', '.join(dict.fromkeys(changed))}). Give "
                "another folder with --out, or --force to make it again."
            )
        return not anew

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
        write_record(draft / MANIFEST, Manifest(version=__version__, key=_plain(key), files=_digests(draft)))
        final = self.folder(stage)
        if final.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{stage}-old-", dir=self.root))
            os.replace(final, old / stage)
            try:
                os.replace(draft, final)
            except BaseException:
                os.replace(old / stage, final)
                old.rmdir()
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(draft, final)

    def card(self) -> AssistantCard:
        return read_card(self.folder(ANNOTATIONS))

    def annotations(self) -> list[AnnotatedFile]:
        return read_annotations(self.folder(ANNOTATIONS))

    def flow_map(self) -> FlowMap:
        """The assistant's flows.

        Raises:
            WorkspaceError: the annotations are those of a version that wrote no map, or there are none.
        """
        found = read_flow_map(self.folder(ANNOTATIONS))
        if found is None:
            raise WorkspaceError(
                f"There is no {FLOW_MAP} in {self.folder(ANNOTATIONS)}, so the assistant's flows are not known. Run "
                "`rasa-ft annotate --force` on the assistant with this version of rasa-ft-ext."
            )
        return found

    def rephrasings(self) -> list[RephrasedFile]:
        return [read_record(path, RephrasedFile) for path in _record_files(self.folder(REPHRASINGS))]

    def examples(self) -> list[Example]:
        path = self.folder(DATASET) / EXAMPLES
        try:
            with path.open(encoding="utf-8", newline="\n") as lines:
                return [Example.model_validate_json(line) for line in lines if line != "\n"]
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise WorkspaceError(f"{path} cannot be read: {error}. Run `rasa-ft dataset` again.") from error

    def template(self) -> str:
        """The jinja2 source of the template that all prompts of the examples were rendered with.

        Raises:
            WorkspaceError: there is none, as the examples are not made yet, or come from several templates.
        """
        path = self.folder(DATASET) / PROMPT_TEMPLATE
        try:
            return path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WorkspaceError(
                f"{path} cannot be read, so it is not known which prompt template the examples come from. Run "
                "`rasa-ft dataset --force` again; if the annotations come from several templates, run `rasa-ft "
                "annotate --force` first."
            ) from error


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


def read_flow_map(folder: Path) -> FlowMap | None:
    """Read the map of the flows that `annotate` wrote; None where it is missing, as in recordings of old versions."""
    path = folder / FLOW_MAP
    return read_record(path, FlowMap) if path.is_file() else None


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
    return read_record(folder / SUMMARY, kind)


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
    """The SHA-256 of a file, which is read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _record_files(folder: Path) -> list[Path]:
    """The records of the test files: `NAME.yml.json`; no file of a stage's own is called like that."""
    return sorted(path for path in folder.rglob("*.json") if path.suffixes[-2:-1] in ([".yml"], [".yaml"]))


def _digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that is a function of the inputs, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (TIMINGS, MANIFEST))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(value), default=str))
    return plain


def _command(stage: str) -> str:
    commands = {ANNOTATIONS: "annotate", REPHRASINGS: "rephrase", DATASET: "dataset", SPLIT: "split"}
    return {**commands, EVALUATION: "evaluate"}[stage]


def _disk_error(path: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"{path} cannot be written: {error.strerror or error}. What was there before is untouched. Make room or give "
        "another output folder, then run the command again."
    )
