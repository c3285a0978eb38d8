"""The stage `split`: from examples to `4_train_test_split/`.

    ft_splits/{train,val}.jsonl         rows to train on and to validate with
    e2e_tests/{train,validation}/       the test cases that they come from, to be run with `rasa test e2e`
    summary.json                        what went where

Who goes where is decided in `rasa_ft_ext.split.assignment`, how tests are written in `rasa_ft_ext.split.suite`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from rasa_ft_ext.conversation import Example
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.split.assignment import Assignment, Group, assign, example_order
from rasa_ft_ext.split.suite import SuiteWriter
from rasa_ft_ext.split.summary import SplitSummary, examples_of, summarize
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    SPLIT,
    SUMMARY,
    Workspace,
    read_summary,
    write_jsonl,
    write_record,
)

OutputFormat = Literal["instruction", "conversational"]

ROWS = "ft_splits"
TESTS = "e2e_tests"


def split(
    workspace: Workspace,
    *,
    train_frac: float = 0.8,
    seed: int = 42,
    output_format: OutputFormat = "instruction",
    progress: Progress | None = None,
) -> SplitSummary:
    """Divide the examples, and write rows and tests of both sides.

    Args:
        workspace: Holds annotations and examples; receives the split.
        train_frac: The share of the examples that training gets, above 0; with 1 it gets all.
        seed: Decides between groups of tests that would do equally well, and the order of the training rows.
        output_format: `instruction` writes `prompt` and `completion`, `conversational` writes `messages`.
        progress: Is told how far it is.

    Raises:
        ConfigError: an option cannot work.
        WorkspaceError: a stage before has not been run, or there are no examples, or they do not fit the annotations.
    """
    _check(train_frac, output_format)
    inputs = {"annotations": workspace.fingerprint(ANNOTATIONS), "dataset": workspace.fingerprint(DATASET)}
    key = {**inputs, "train_frac": float(train_frac), "seed": seed, "output_format": output_format}
    if workspace.is_done(SPLIT, key):
        return read_summary(workspace.folder(SPLIT), SplitSummary)
    progress = progress or Progress()
    assignment, writer = _plan(workspace, train_frac, seed)
    with workspace.writing(SPLIT, key) as folder:
        _write_rows(folder / ROWS, assignment, seed, output_format)
        folders = _write_tests(folder / TESTS, assignment, writer, progress)
        summary = summarize(assignment, train_frac, test_folders=folders, renamed=writer.renamed)
        write_record(folder / SUMMARY, summary)
    return summary


def _check(train_frac: float, output_format: str) -> None:
    problems = []
    if not 0 < train_frac <= 1:
        problems.append(f"train_frac is {train_frac}; it must be above 0 and at most 1.")
    if output_format not in get_args(OutputFormat):
        problems.append(f"output_format is {output_format!r}; it must be {' or '.join(get_args(OutputFormat))}.")
    if problems:
        raise ConfigError("split", problems)


def _plan(workspace: Workspace, train_frac: float, seed: int) -> tuple[Assignment, SuiteWriter]:
    examples = workspace.examples()
    if not examples:
        raise WorkspaceError(
            f"{workspace.folder(DATASET)} holds no examples, so there is nothing to split. Look at the reasons in "
            f"{workspace.folder(ANNOTATIONS)}, mend the tests, and run `rasa-ft annotate` and `rasa-ft dataset` again."
        )
    files = workspace.annotations()
    conversations = [conversation for file in files for conversation in file.conversations]
    return assign(conversations, examples, train_frac, seed), SuiteWriter(files)


def _write_tests(folder: Path, assignment: Assignment, writer: SuiteWriter, progress: Progress) -> list[str]:
    """Write the tests of both sides, those that give no example to training's; return the folders to run."""
    sides = {
        "train": _tests(assignment.train) | set(assignment.idle),
        "validation": _tests(assignment.validation),
    }
    folders: list[str] = []
    progress.start("Writing the tests of both sides", len(sides))
    for side, tests in sides.items():
        folders += writer.write(folder, side, tests)
        progress.step()
    return [f"{folder.name}/{name}" for name in folders]


def _tests(groups: Iterable[Group]) -> set[str]:
    return {test for group in groups for test in group.tests}


def _write_rows(folder: Path, assignment: Assignment, seed: int, output_format: OutputFormat) -> None:
    train = sorted(examples_of(assignment.train), key=example_order)
    random.Random(seed).shuffle(train)
    validation = sorted(examples_of(assignment.validation), key=example_order)
    write_jsonl(folder / "train.jsonl", [_row(example, output_format) for example in train])
    write_jsonl(folder / "val.jsonl", [_row(example, output_format) for example in validation])


def _row(example: Example, output_format: OutputFormat) -> dict[str, Any]:
    if output_format == "instruction":
        return {"prompt": example.prompt, "completion": example.completion}
    return {
        "messages": [
            {"role": "user", "content": example.prompt},
            {"role": "assistant", "content": example.completion},
        ]
    }
