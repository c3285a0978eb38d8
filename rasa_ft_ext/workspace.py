"""The output folder: its names, how a stage's results appear in it whole, and how the next stage reads them.

A stage writes into a hidden folder beside its own; when all is written, its manifest last, the folder is renamed into
place. So a stage's folder is complete or it is not there. What takes long is written part by part into a draft that a
later run goes on with (`rasa_ft_ext.drafts`). The manifest names the options, the inputs and the SHA-256 of every file;
a stage whose manifest fits what is asked for is not run again. What a clock says goes into `timings.json`, and only
there: everything else is a function of the inputs. What is many is read one after the other (`Stored`).

This module knows the records of `rasa_ft_ext.conversation`, and nothing of how they are made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rasa_ft_ext._version import __version__
from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Example, Record, RephrasedFile
from rasa_ft_ext.drafts import Draft, disk_errors, flush, flush_folder, names_of_notes
from rasa_ft_ext.errors import ForeignResultsError, WorkspaceError
from rasa_ft_ext.files import sha256 as sha256
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.layout import ANNOTATIONS as ANNOTATIONS
from rasa_ft_ext.layout import ASSISTANT_CARD as ASSISTANT_CARD
from rasa_ft_ext.layout import DATASET as DATASET
from rasa_ft_ext.layout import EVALUATION as EVALUATION
from rasa_ft_ext.layout import EXAMPLES as EXAMPLES
from rasa_ft_ext.layout import FLOW_MAP as FLOW_MAP
from rasa_ft_ext.layout import MANIFEST as MANIFEST
from rasa_ft_ext.layout import MONITORING as MONITORING
from rasa_ft_ext.layout import PROMPT_TEMPLATE as PROMPT_TEMPLATE
from rasa_ft_ext.layout import REPHRASINGS as REPHRASINGS
from rasa_ft_ext.layout import SPLIT as SPLIT
from rasa_ft_ext.layout import STAGES as STAGES
from rasa_ft_ext.layout import SUMMARY as SUMMARY
from rasa_ft_ext.layout import TIMINGS as TIMINGS
from rasa_ft_ext.layout import command_of as command_of
from rasa_ft_ext.layout import read_annotations as read_annotations
from rasa_ft_ext.layout import read_card as read_card
from rasa_ft_ext.layout import read_examples as read_examples
from rasa_ft_ext.layout import read_flow_map as read_flow_map
from rasa_ft_ext.layout import read_summary as read_summary
from rasa_ft_ext.locking import locked
from rasa_ft_ext.records import Stored as Stored
from rasa_ft_ext.records import read_record as read_record
from rasa_ft_ext.records import record_path as record_path
from rasa_ft_ext.records import stored
from rasa_ft_ext.records import write_json as write_json
from rasa_ft_ext.records import write_jsonl as write_jsonl
from rasa_ft_ext.records import write_record as write_record

# What a manifest calls the stages that it was made from.
_INPUTS = {"annotations": ANNOTATIONS, "rephrasings": REPHRASINGS, "dataset": DATASET}


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
        self._lock = ExitStack()
        self._holders = 0

    def folder(self, stage: str) -> Path:
        return self.root / stage

    def fingerprint(self, stage: str) -> str:
        """The SHA-256 of a finished stage's files: the input that the next stage depends on.

        Raises:
            WorkspaceError: the stage has not been run, or was made from what is not there any more.
        """
        self._put_back(stage)
        folder = self.folder(stage)
        if not (folder / MANIFEST).is_file():
            raise WorkspaceError(
                f"{folder} holds no finished results. Run `rasa-ft {command_of(stage)}` first, "
                "or give the output folder of a run that has."
            )
        made_from = read_record(folder / MANIFEST, Manifest).key
        for name, before in _INPUTS.items():
            if name in made_from and made_from[name] != self.fingerprint(before):
                raise WorkspaceError(
                    f"{folder} was made from other {name} than those in {self.folder(before)}. Run "
                    f"`rasa-ft {command_of(stage)} --force` first."
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
            with disk_errors(self.root):
                raise NotADirectoryError(0, f"{place} is no folder that can be written into")
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
        self._put_back(stage)
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
    def locked(self) -> Iterator[None]:
        """Keep other runs from writing into the folder; who holds it may ask again.

        Raises:
            WorkspaceError: another run is writing into it, or nobody can.
        """
        if not self._holders:
            with disk_errors(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                self._lock.enter_context(locked(self.root))
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._lock.close()

    @contextmanager
    def writing(self, stage: str, key: Mapping[str, Any]) -> Iterator[Path]:
        """Yield a folder to write the stage's files into; it becomes the stage's folder when the block ends well.

        Raises:
            WorkspaceError: the disk is full, the folder cannot be written, or another run is writing into it.
        """
        with self.locked(), disk_errors(self.folder(stage)):
            draft = Path(tempfile.mkdtemp(prefix=f".{stage}-", dir=self.root))
            try:
                draft.chmod(0o755)
                yield draft
                self._finish(stage, draft, key)
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def resuming(self, stage: str, key: Mapping[str, Any]) -> Iterator[Draft]:
        """Yield the draft of a stage with its finished parts; it becomes the stage's folder when the block ends well.

        It is kept when the block ends early, for a run of the same version with the same key. (One with `force` does
        not take up the draft of one without.)

        Raises:
            WorkspaceError: the disk is full, the folder cannot be written, or another run is writing into it.
        """
        place = self._draft_of(stage, key)
        with self.locked():
            draft = Draft(place, stage, self.folder(stage))
            try:
                yield draft
                with draft.writing() as folder:
                    self._finish(stage, folder, key)
            finally:
                if not draft.done:
                    shutil.rmtree(place, ignore_errors=True)

    def parts_done(self, stage: str, key: Mapping[str, Any]) -> frozenset[str]:
        """The names of the parts that an interrupted run of just this stage has finished; none if there is no such."""
        return names_of_notes(self._draft_of(stage, key))

    def _draft_of(self, stage: str, key: Mapping[str, Any]) -> Path:
        made_from = json.dumps([__version__, _plain(key), self.force], sort_keys=True)
        return self.root / f".{stage}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"

    def _finish(self, stage: str, draft: Path, key: Mapping[str, Any]) -> None:
        write_record(draft / MANIFEST, Manifest(version=__version__, key=_plain(key), files=_digests(draft)))
        flush(draft)
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
        else:
            os.replace(draft, final)
        flush_folder(self.root)
        for left in self.root.glob(f".{stage}-*"):  # nobody goes on with other drafts from here
            shutil.rmtree(left, ignore_errors=True)

    def _put_back(self, stage: str) -> None:
        """Undo the first of the two renames, where a run was killed before the second."""
        final, pattern = self.folder(stage), f".{stage}-old-*/{stage}"
        if final.exists() or not any(self.root.glob(pattern)):
            return
        with self.locked():
            for old in self.root.glob(pattern):
                if not final.exists():
                    os.replace(old, final)

    def card(self) -> AssistantCard:
        return read_card(self.folder(ANNOTATIONS))

    def annotations(self) -> Stored[AnnotatedFile]:
        """The annotated test files, in the order of their names."""
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

    def rephrasings(self) -> Stored[RephrasedFile]:
        """The rephrased test files, in the order of their names."""
        return stored(self.folder(REPHRASINGS), RephrasedFile)

    def examples(self) -> Stored[Example]:
        """The examples in their order."""
        return read_examples(self.folder(DATASET) / EXAMPLES)

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


def _digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that is a function of the inputs, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (TIMINGS, MANIFEST))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(value), default=str))
    return plain
