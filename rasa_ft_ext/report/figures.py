"""The figures that the data's stages left in their `summary.json`, as far as the report shows them.

What a stage reports is its own; here stands only what is read of it, so that the page can be made without the stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from rasa_ft_ext.conversation import FailedTest
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.teacher_agreement import TeacherAgreement
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    MANIFEST,
    REPHRASINGS,
    SPLIT,
    STAGES,
    SUMMARY,
    TIMINGS,
    Workspace,
    read_record,
)


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Annotated(_Figures):
    """Of `annotate`: tests, their user messages, and those that an example can be made of."""

    tests: int
    passed: int
    user_messages: int
    annotated: int
    to_rephrase: int
    not_annotated: dict[str, int] = {}
    failed: tuple[FailedTest, ...] = ()


class Rephrased(_Figures):
    """Of `rephrase`: the wordings that passed and failed, and for which kind of reason; by whom they were made."""

    rephrasings: int
    passing: int
    failing: int
    failed_calls: int
    reasons: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    passing_by_origin: dict[str, int] | None = None
    failing_by_origin: dict[str, int] | None = None
    teacher: TeacherAgreement | None = None


class Made(_Figures):
    """Of `dataset`: the new conversations, the examples, and what was left out of them."""

    recombinations: int
    examples: int
    duplicates: int
    left_out: int
    unreadable: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    student_prompt: str | None = None
    review: dict[str, int] = {}
    review_misfits: tuple[str, ...] = ()


class Divided(_Figures):
    """Of `split`: examples and tests of both sides, and what only one side has, by kind."""

    train_examples: int
    val_examples: int
    train_tests: int
    val_tests: int
    missing_in_train: dict[str, tuple[str, ...]] = {}
    only_in_train: dict[str, tuple[str, ...]] = {}
    notes: tuple[str, ...] = ()


class Tokens(_Figures):
    """What a stage's calls of an LLM took, as far as the provider said it; `calls` were answered."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Timings(_Figures):
    tokens: dict[str, Tokens] = {}


@dataclass(frozen=True)
class DataFigures:
    """What there is of each stage; None of a stage that was not run. `stale` says which stages no longer fit."""

    annotated: Annotated | None = None
    rephrased: Rephrased | None = None
    made: Made | None = None
    divided: Divided | None = None
    stale: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the stages said that a person should know."""
        told = [part.notes for part in (self.rephrased, self.divided) if part is not None]
        return tuple(dict.fromkeys(note for notes in told for note in notes))


Figures = TypeVar("Figures", bound=BaseModel)


def read_figures(output: Path) -> DataFigures | None:
    """Read what the stages left; None where none of them has been run.

    Raises:
        WorkspaceError: a summary cannot be read.
    """
    if not any(is_done(output, stage) for stage in STAGES):
        return None
    return DataFigures(
        annotated=_of(output, ANNOTATIONS, Annotated),
        rephrased=_of(output, REPHRASINGS, Rephrased),
        made=_of(output, DATASET, Made),
        divided=_of(output, SPLIT, Divided),
        stale=_stale(output),
    )


def read_tokens(output: Path, stage: str) -> dict[str, Tokens]:
    """The tokens of a stage's calls by what they were for; none where the stage recorded none.

    Raises:
        WorkspaceError: the file cannot be read.
    """
    path = output / stage / TIMINGS
    return read_record(path, _Timings).tokens if path.is_file() else {}


def is_done(output: Path, stage: str) -> bool:
    return (output / stage / MANIFEST).is_file()


def _of(output: Path, stage: str, kind: type[Figures]) -> Figures | None:
    path = output / stage / SUMMARY
    return read_record(path, kind) if is_done(output, stage) and path.is_file() else None


def _stale(output: Path) -> tuple[str, ...]:
    """Why the last stage cannot be relied on, if a stage before it was run again since."""
    workspace = Workspace(output)
    problems = []
    for stage in STAGES:
        if is_done(output, stage):
            try:
                workspace.fingerprint(stage)
            except WorkspaceError as error:
                problems.append(str(error))
    return tuple(dict.fromkeys(problems))
