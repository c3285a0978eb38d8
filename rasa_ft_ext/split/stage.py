"""The stage `split`: from examples to `4_train_test_split/`.

    ft_splits/{train,val}.jsonl         rows to train on and to validate with
    e2e_tests/{train,validation}/       the test cases that they come from, to be run with `rasa test e2e`
    summary.json                        what went where
    checks.json                         what the checks found in the rows

Who goes where is decided in `rasa_ft_ext.split.assignment`, how tests are written in `rasa_ft_ext.split.suite`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from rasa_ft_ext.checks.duplicates import superfluous, tests_to_tie, varied_wordings
from rasa_ft_ext.checks.entries import entries_of
from rasa_ft_ext.checks.findings import FILES, CheckReport, Side
from rasa_ft_ext.checks.stage import CHECKS, check, refuse_faults, write_report
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.review.place import FOLLOWS, made_with, require_applied, reviewed_rephrasings
from rasa_ft_ext.split.assignment import Assignment, Group, assign, example_order, without
from rasa_ft_ext.split.suite import SuiteWriter
from rasa_ft_ext.split.summary import SplitSummary, examples_of, summarize
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    MANIFEST,
    SPLIT,
    SUMMARY,
    Manifest,
    Workspace,
    read_record,
    read_summary,
    write_jsonl,
    write_record,
)

OutputFormat = Literal["instruction", "conversational"]
NearDuplicates = Literal["report", "drop", "group"]

TESTS = "e2e_tests"


def split(
    workspace: Workspace,
    *,
    train_frac: float = 0.8,
    seed: int = 42,
    output_format: OutputFormat = "instruction",
    near_duplicates: NearDuplicates = "report",
    strict: bool = False,
    review: Path | None = None,
    progress: Progress | None = None,
) -> SplitSummary:
    """Divide the examples, and write rows and tests of both sides, and what the checks find in them.

    Args:
        workspace: Holds annotations and examples; receives the split.
        train_frac: The share of the examples that training gets, above 0; with 1 it gets all.
        seed: Decides between groups of tests that would do equally well, and the order of the training rows.
        output_format: `instruction` writes `prompt` and `completion`, `conversational` writes `messages`.
        near_duplicates: `report` only says what is nearly the same, `drop` leaves it out of validation if it is in
            training and keeps one of several on the same side, `group` keeps the tests that have it on one side.
        strict: Refuse data in which the checks find a problem or a warning.
        review: The file with the decisions of a review; None for the one that the examples were made with, or the
            folder's own.
        progress: Is told how far it is.

    Raises:
        ConfigError: an option cannot work.
        WorkspaceError: a stage before has not been run, or there are no examples, or they do not fit the annotations,
            or were made before a decision of the review.
        DataError: the data has faults, with `strict`; nothing is written.
    """
    _check(train_frac, output_format, near_duplicates)
    inputs = {"annotations": workspace.fingerprint(ANNOTATIONS), "dataset": workspace.fingerprint(DATASET)}
    require_applied(workspace, review)
    key = {**inputs, "train_frac": float(train_frac), "seed": seed, "output_format": output_format}
    key |= {"near_duplicates": near_duplicates, "review": made_with(workspace)}
    if workspace.is_done(SPLIT, key, follows=FOLLOWS):
        if strict:
            refuse_faults(read_record(workspace.folder(SPLIT) / CHECKS, CheckReport))
        return read_summary(workspace.folder(SPLIT), SplitSummary)
    progress = progress or Progress()
    assignment, dropped, writer = _plan(workspace, train_frac, seed, near_duplicates, review)
    rows = _rows(assignment, seed)
    report = check(workspace, entries_of(rows), review=review)
    if strict:
        refuse_faults(report)
    with workspace.writing(SPLIT, key) as folder:
        for side, examples in rows.items():
            write_jsonl(folder / FILES[side], [_row(example, output_format) for example in examples])
        write_report(folder / CHECKS, report)
        folders = _write_tests(folder / TESTS, assignment, writer, progress)
        summary = summarize(
            assignment,
            train_frac,
            test_folders=folders,
            renamed=writer.renamed,
            dropped=dropped,
            findings=report.counts,
        )
        write_record(folder / SUMMARY, summary)
    return summary


def split_again(
    workspace: Workspace, near_duplicates: NearDuplicates, *, progress: Progress | None = None
) -> SplitSummary:
    """Divide the examples anew as they are divided already, but for what becomes of near-duplicates.

    Raises:
        WorkspaceError: there is no split, or it was made from what is not there any more.
    """
    workspace.fingerprint(SPLIT)
    made = read_record(workspace.folder(SPLIT) / MANIFEST, Manifest).key
    again = Workspace(workspace.root, force=made.get("near_duplicates") != near_duplicates)
    return split(
        again,
        train_frac=made["train_frac"],
        seed=made["seed"],
        output_format=made["output_format"],
        near_duplicates=near_duplicates,
        progress=progress,
    )


def _check(train_frac: float, output_format: str, near_duplicates: str) -> None:
    problems = []
    if not 0 < train_frac <= 1:
        problems.append(f"train_frac is {train_frac}; it must be above 0 and at most 1.")
    if output_format not in get_args(OutputFormat):
        problems.append(f"output_format is {output_format!r}; it must be {' or '.join(get_args(OutputFormat))}.")
    if near_duplicates not in get_args(NearDuplicates):
        problems.append(f"near_duplicates is {near_duplicates!r}; it must be one of report, drop, group.")
    if problems:
        raise ConfigError("split", problems)


def _plan(
    workspace: Workspace, train_frac: float, seed: int, near_duplicates: NearDuplicates, review: Path | None
) -> tuple[Assignment, dict[str, int], SuiteWriter]:
    """Who goes where, how many examples of each side are dropped, and what writes the tests."""
    examples = workspace.examples()
    if not examples:
        raise WorkspaceError(
            f"{workspace.folder(DATASET)} holds no examples, so there is nothing to split. Look at the reasons in "
            f"{workspace.folder(ANNOTATIONS)}, mend the tests, and run `rasa-ft annotate` and `rasa-ft dataset` again."
        )
    files = workspace.annotations()
    conversations = [conversation for file in files for conversation in file.conversations]
    tied = tests_to_tie(examples) if near_duplicates == "group" else []
    assignment = assign(conversations, examples, train_frac, seed, tied)
    dropped: dict[str, int] = {}
    if near_duplicates == "drop":
        varied = varied_wordings(reviewed_rephrasings(workspace, review))
        train, validation = superfluous(examples_of(assignment.train), examples_of(assignment.validation), varied)
        dropped = {"train": len(train), "validation": len(validation)}
        assignment = without(assignment, [*train, *validation])
    return assignment, dropped, SuiteWriter(files)


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


def _rows(assignment: Assignment, seed: int) -> dict[Side, list[Example]]:
    """The examples of each side in the order of its rows."""
    train = sorted(examples_of(assignment.train), key=example_order)
    random.Random(seed).shuffle(train)
    return {"train": train, "validation": sorted(examples_of(assignment.validation), key=example_order)}


def _row(example: Example, output_format: OutputFormat) -> dict[str, Any]:
    if output_format == "instruction":
        return {"prompt": example.prompt, "completion": example.completion}
    return {
        "messages": [
            {"role": "user", "content": example.prompt},
            {"role": "assistant", "content": example.completion},
        ]
    }
