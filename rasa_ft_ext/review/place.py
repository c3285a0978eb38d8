"""Where the decisions of an output folder are, and whether its examples were made with them.

They are in `review.yaml` of the output folder, or in the file that `--review` names. The manifest of the examples says
which file it was, so that the decisions are not forgotten where the flag is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rasa_ft_ext.conversation import AnnotatedFile, RephrasedFile
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.records import Stored
from rasa_ft_ext.review.applying import apply
from rasa_ft_ext.review.decisions import Decisions, read_decisions
from rasa_ft_ext.review.fitting import Fitted, Wordings, fit
from rasa_ft_ext.review.labels import labels_of
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    MANIFEST,
    REPHRASINGS,
    Manifest,
    Workspace,
    read_flow_map,
    read_record,
)

AnyFile = TypeVar("AnyFile", AnnotatedFile, RephrasedFile)

REVIEW = "review.yaml"

# What of a manifest's key follows the decisions: results that differ in nothing else are made anew, not refused.
FOLLOWS = ("review", "dataset")


@dataclass(frozen=True)
class Review:
    """The decisions for an output folder and the file that they are in."""

    path: Path
    decisions: Decisions
    root: Path

    @property
    def key(self) -> dict[str, str] | None:
        """What a manifest says of it; None where nothing is decided."""
        digest = self.decisions.digest
        if digest is None:
            return None
        return {"sha256": digest, "file": Path(os.path.relpath(self.path, self.root)).as_posix()}

    def fit(
        self, workspace: Workspace, annotated: Iterable[AnnotatedFile], rephrased: Iterable[RephrasedFile]
    ) -> Fitted:
        """Find what the decisions are about, and read the edited labels; the files are gone through several times.

        Raises:
            ConfigError: labels are not in the assistant's language.
        """
        if not self.decisions.entries:
            return Fitted()
        flow_map = read_flow_map(workspace.folder(ANNOTATIONS))
        labels = labels_of(workspace.card(), annotated, rephrased, flow_map)
        tests = {decision.test for decision in self.decisions.entries}
        return fit(self.decisions, Wordings(_only(tests, annotated), _only(tests, rephrased)), labels, str(self.path))


def review_path(workspace: Workspace, given: Path | None = None) -> Path:
    """The file with the decisions: the given one, the one that the examples were made with, or the folder's own."""
    return given or _remembered(workspace) or workspace.root / REVIEW


def read_review(workspace: Workspace, given: Path | None = None) -> Review:
    """Read the decisions for an output folder; it has none where it has no file of its own.

    Raises:
        ConfigError: the file cannot be read; or it is not there, and not the folder's own.
    """
    path = review_path(workspace, given)
    if not path.exists() and (given is not None or path != workspace.root / REVIEW):
        why = "" if given else " The examples were made with the decisions in it."
        raise ConfigError(
            str(path),
            [f"There is no such file.{why} Give the file with the decisions with --review, or make it there."],
        )
    return Review(path, read_decisions(path), workspace.root)


def check_labels(workspace: Workspace, given: Path | None = None) -> None:
    """Read the edited labels before anything is paid for; what the decisions are about may be made only later.

    Raises:
        ConfigError: labels are not in the assistant's language.
    """
    review = read_review(workspace, given)
    if review.decisions.entries:
        review.fit(workspace, workspace.annotations(), _rephrasings(workspace))


def _only(tests: Collection[str], files: Iterable[AnyFile]) -> Iterator[AnyFile]:
    """The files with these tests only."""
    for file in files:
        yield file.model_copy(
            update={"conversations": tuple(entry for entry in file.conversations if entry.id in tests)}
        )


def _rephrasings(workspace: Workspace) -> Iterable[RephrasedFile]:
    is_there = (workspace.folder(REPHRASINGS) / MANIFEST).is_file() and not workspace.force
    return workspace.rephrasings() if is_there else []


def made_with(workspace: Workspace) -> Any:
    """What the manifest of the examples says of the decisions; None where there were none, or no examples."""
    path = workspace.folder(DATASET) / MANIFEST
    return read_record(path, Manifest).key.get("review") if path.is_file() else None


def is_applied(workspace: Workspace, review: Review) -> bool:
    """Whether the examples were made with just these decisions."""
    made, now = made_with(workspace) or {}, review.key or {}
    return bool(made.get("sha256") == now.get("sha256"))


def require_applied(workspace: Workspace, given: Path | None = None) -> None:
    """Refuse to go on with examples that were made before a decision.

    Raises:
        WorkspaceError: the decisions have changed since the examples were made.
        ConfigError: they cannot be read.
    """
    review = read_review(workspace, given)
    if not is_applied(workspace, review):
        raise WorkspaceError(
            f"The decisions in {review.path} have changed since the examples in {workspace.folder(DATASET)} were made. "
            "Run `rasa-ft dataset` again with the options of before (or `rasa-ft prepare-data`, which does both), then "
            "`rasa-ft split`."
        )


def reviewed_rephrasings(workspace: Workspace, given: Path | None = None) -> Iterable[RephrasedFile]:
    """The rephrasings, if there are any, as the examples were made of them: with the decisions, once these are applied.

    Raises:
        ConfigError: the decisions cannot be read.
    """
    if not (workspace.folder(REPHRASINGS) / MANIFEST).is_file():
        return ()
    found = workspace.rephrasings()
    review = read_review(workspace, given)
    if not review.decisions.entries or not is_applied(workspace, review):
        return found
    annotated = workspace.annotations()
    fitted = review.fit(workspace, annotated, found)
    pairs = partial(zip, annotated, found, strict=True)  # `rephrase` writes one file for each that is annotated
    return Stored(lambda: (file for one, other in pairs() for file in apply([one], [other], fitted).rephrased))


def _remembered(workspace: Workspace) -> Path | None:
    made = made_with(workspace)
    return workspace.root / made["file"] if made else None
