"""The stage `split`: from examples to `4_train_test_split/`.

    ft_splits/{train,val}.jsonl         rows to train on and to validate with
    e2e_tests/{train,validation}/       the test cases that they come from, to be run with `rasa test e2e`
    summary.json                        what went where
    checks.json                         what the checks found in the rows

Who goes where is decided in `rasa_ft_ext.split.assignment`, how tests are written in `rasa_ft_ext.split.suite`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

from rasa_ft_ext.checks.duplicates import superfluous, tests_to_tie, varied_wordings
from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import FILES, CheckReport, Side
from rasa_ft_ext.checks.stage import CHECKS, check, refuse_faults, write_report
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.example_file import ExampleFile
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.review.place import FOLLOWS, made_with, require_applied, reviewed_rephrasings
from rasa_ft_ext.scratch import Shelf, scratch
from rasa_ft_ext.split.assignment import Assignment, Group, assign, remeasured
from rasa_ft_ext.split.order import Order
from rasa_ft_ext.split.suite import SuiteWriter
from rasa_ft_ext.split.summary import SplitSummary, summarize
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
    with scratch() as database:
        order = Order(ExampleFile(workspace), workspace.card().syntax, database)
        assignment, dropped = _plan(workspace, order, train_frac, seed, near_duplicates, review)
        rows = order.rows(seed)
        report = check(workspace, rows, review=review, progress=progress)
        if strict:
            refuse_faults(report)
        with workspace.writing(SPLIT, key) as folder:
            commands = _write_rows(folder, rows, output_format, progress)
            write_report(folder / CHECKS, report)
            writer = SuiteWriter(workspace.annotations())
            folders = _write_tests(folder / TESTS, assignment, writer, progress)
            summary = summarize(
                assignment,
                train_frac,
                commands=commands,
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
    workspace: Workspace,
    order: Order,
    train_frac: float,
    seed: int,
    near_duplicates: NearDuplicates,
    review: Path | None,
) -> tuple[Assignment, dict[Side, int]]:
    """Who goes where, and how many examples of each side are dropped."""
    conversations = (conversation for file in workspace.annotations() for conversation in file.conversations)
    tied = tests_to_tie(order.undivided()) if near_duplicates == "group" else ()
    assignment = assign(conversations, order.examples(), train_frac, seed, tied)
    if not assignment.train:
        raise WorkspaceError(
            f"{workspace.folder(DATASET)} holds no examples, so there is nothing to split. Look at the reasons in "
            f"{workspace.folder(ANNOTATIONS)}, mend the tests, and run `rasa-ft annotate` and `rasa-ft dataset` again."
        )
    order.assign(assignment)
    if near_duplicates != "drop":
        return assignment, {}
    with scratch() as database:
        varied = varied_wordings(reviewed_rephrasings(workspace, review), Shelf(database, "varied"))
        dropped = order.drop(superfluous(order.by_group(), varied))
    return remeasured(assignment, (entry.example for entry in order.by_group() if entry.example)), dropped


def _write_rows(
    folder: Path, rows: Sequence[Entry], output_format: OutputFormat, progress: Progress
) -> dict[Side, Counter[str]]:
    """Write the rows of both sides; return how often each type of command occurs in them."""
    commands: dict[Side, Counter[str]] = {side: Counter() for side in FILES}
    progress.start("Writing the rows of both sides", len(rows))

    def of(side: Side, entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
        for entry in entries:
            commands[side].update(command.type for command in entry.commands)
            yield _row(entry, output_format)
            progress.step()

    for side, entries in groupby(rows, key=lambda entry: entry.side):
        assert side is not None
        write_jsonl(folder / FILES[side], of(side, entries))
    for side in FILES:
        (folder / FILES[side]).touch()
    return commands


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


def _row(example: Entry, output_format: OutputFormat) -> dict[str, Any]:
    if output_format == "instruction":
        return {"prompt": example.prompt, "completion": example.completion}
    return {
        "messages": [
            {"role": "user", "content": example.prompt},
            {"role": "assistant", "content": example.completion},
        ]
    }
