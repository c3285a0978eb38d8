"""Judge a finished run: the annotations in an output folder, or what `rasa test e2e --coverage-report` left.

Of annotations everything is counted anew. In a folder of Rasa's there is `coverage.json`, which the plug-in left, or at
least Rasa's own report. The results go into `coverage/` in the output folder, or beside Rasa's; with them, if asked
for, tests for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rasa_ft_ext.commands import Syntax, mentioned
from rasa_ft_ext.coverage.count import Tested, as_tested, count
from rasa_ft_ext.coverage.gate import check_thresholds, judge
from rasa_ft_ext.coverage.output import MARKDOWN_FILE, write
from rasa_ft_ext.coverage.rasas import RASAS_FILE, coverage_of, differences, read_report
from rasa_ft_ext.coverage.suggest import Suggester
from rasa_ft_ext.coverage_results import COVERAGE, COVERAGE_FILE, GATE, Coverage, Thresholds
from rasa_ft_ext.errors import ConfigError, CoverageError, WorkspaceError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.report.page import REPORT, write_report
from rasa_ft_ext.workspace import ANNOTATIONS, ASSISTANT_CARD, FLOW_MAP, Workspace, read_flow_map, read_record

_TOLD = 10


@dataclass(frozen=True)
class Checked:
    """The coverage with its verdict, and the folder with the results."""

    coverage: Coverage
    folder: Path


def check_coverage(folder: Path, thresholds: Thresholds | None = None, suggester: Suggester | None = None) -> Checked:
    """Count what is there, judge it, and write the results.

    Args:
        folder: An output folder with annotations, or the folder of a coverage report.
        thresholds: What must be reached; None: what the recipe asks for.
        suggester: Drafts tests for what is missing; None: none are.

    Raises:
        ConfigError: a threshold means nothing, or something cannot be told by what is there.
        WorkspaceError: there is nothing to judge, or it cannot be read.
    """
    check_thresholds(thresholds or GATE)
    if (folder / ANNOTATIONS / ASSISTANT_CARD).is_file():
        checked = check_annotations(Workspace(folder), thresholds, suggester)
        if (folder / REPORT).is_file():
            write_report(folder)
        return checked
    coverage = _finished(folder, thresholds)
    if suggester is not None:
        raise ConfigError(
            "check-coverage",
            [
                f"{folder} says nothing of the flows' conditions, so no test can be suggested. Give --suggest to `rasa "
                "test e2e --coverage-report`, or give the output folder of `rasa-ft annotate`."
            ],
        )
    write(folder, coverage)
    return Checked(coverage, folder)


def check_annotations(
    workspace: Workspace, thresholds: Thresholds | None = None, suggester: Suggester | None = None
) -> Checked:
    """The same for annotations.

    Raises:
        WorkspaceError: there are none, or none that say what flows there are.
    """
    workspace.fingerprint(ANNOTATIONS)
    card = workspace.card()
    offered = {kind for template in card.templates.values() for kind in mentioned(template, card.syntax)}
    flows, folder = workspace.flow_map(), workspace.root / COVERAGE
    failed = 0

    def tests() -> Iterator[Tested]:
        nonlocal failed
        for file in workspace.annotations():
            failed += len(file.failed)
            yield from (as_tested(conversation) for conversation in file.conversations)

    counted = count(flows, tests(), offered, failed=0).model_copy(update={"failed": failed})
    if suggester is not None:
        times = _times(thresholds or GATE)
        counted = suggester.suggest(counted, flows, list(tests()), syntax=card.syntax, folder=folder, times=times)
    checked = Checked(judge(counted, thresholds or GATE), folder)
    write(checked.folder, checked.coverage)
    return checked


def check_tests(
    folder: Path,
    flows: FlowMap,
    tests: Sequence[Tested],
    offered: Iterable[str],
    *,
    failed: int,
    thresholds: Thresholds | None,
    suggester: Suggester | None = None,
    syntax: Syntax = "v2",
) -> Checked:
    """The same for tests that Rasa has just run, whose own report is in the folder; without thresholds, no verdict.

    Raises:
        WorkspaceError: the folder cannot be written, or Rasa's report cannot be read.
    """
    counted = count(flows, tests, offered, failed=failed)
    if (folder / RASAS_FILE).is_file():
        found = differences(counted, flows, read_report(folder / RASAS_FILE))
        counted = counted.model_copy(update={"differences": found})
    if suggester is not None:
        times = _times(thresholds or GATE)
        counted = suggester.suggest(counted, flows, tests, syntax=syntax, folder=folder, times=times)
    checked = Checked(judge(counted, thresholds or Thresholds()), folder)
    write(folder, checked.coverage)
    return checked


def judge_before_paying(workspace: Workspace, progress: Progress, *, required: bool) -> None:
    """Tell the verdict on the annotations, by what the recipe asks for, before anything is paid for.

    Raises:
        CoverageError: a threshold is missed, and `required`.
        WorkspaceError: it cannot be told, as the recording says nothing of the flows, and `required`.
    """
    if not required and read_flow_map(workspace.folder(ANNOTATIONS)) is None:
        progress.note(f"Coverage is not known: the annotations have no {FLOW_MAP}.")
        return
    checked = check_annotations(workspace)
    failures = checked.coverage.failures
    for check in failures[:_TOLD]:
        progress.note(check.sentence)
    if len(failures) > _TOLD:
        progress.note(f"And {len(failures) - _TOLD} more thresholds are missed.")
    if failures and required:
        raise CoverageError(
            f"{checked.coverage.sentence} What is missing stands in {checked.folder / MARKDOWN_FILE}: write E2E tests "
            f"for it (`rasa-ft check-coverage {workspace.root} --suggest` drafts them) and run this command again with "
            "--force, or leave --require-coverage out."
        )
    progress.note(checked.coverage.sentence)


def _times(thresholds: Thresholds) -> int:
    """How often each command should occur in suggested tests: once where nothing else is asked for."""
    return 1 if thresholds.command is None else thresholds.command


def _finished(folder: Path, thresholds: Thresholds | None) -> Coverage:
    """What a run of `rasa test e2e` left, with the verdict of these thresholds."""
    if (folder / COVERAGE_FILE).is_file():
        found = read_record(folder / COVERAGE_FILE, Coverage)
        if found.commands or not (folder / RASAS_FILE).is_file():
            return judge(found, thresholds or GATE)
    if (folder / RASAS_FILE).is_file():
        if thresholds is not None and (thresholds.command is not None or thresholds.slots is not None):
            raise ConfigError(
                "check-coverage",
                [
                    f"{folder} holds Rasa's own report only, which says nothing of commands and slots. Leave these "
                    "thresholds out, or run `rasa test e2e --coverage-report` with the plug-in of rasa-ft-ext."
                ],
            )
        return judge(coverage_of(read_report(folder / RASAS_FILE)), thresholds or GATE)
    raise WorkspaceError(
        f"There is nothing to judge in {folder}: neither annotations nor a coverage report. Run `rasa-ft annotate` or "
        "`rasa test e2e --coverage-report` first, or give the folder of a run that has finished."
    )
