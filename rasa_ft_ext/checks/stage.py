"""All checks of a dataset: of the rows in an output folder, or of those that `split` is about to write.

The checks need no Rasa and no LLM, and change nothing.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rasa_ft_ext._version import __version__
from rasa_ft_ext.checks.balance import balance_of, check_balance, check_sides
from rasa_ft_ext.checks.contradictions import check_contradictions
from rasa_ft_ext.checks.diversity import check_diversity, diversity_of
from rasa_ft_ext.checks.duplicates import check_duplicates, varied_wordings
from rasa_ft_ext.checks.entries import Entry, read_entries
from rasa_ft_ext.checks.findings import CheckReport, Finding, KeptReport, Kind, LeftOut, Severity, TurnDiversity
from rasa_ft_ext.checks.grounding import check_values
from rasa_ft_ext.checks.known import Known, known_of
from rasa_ft_ext.checks.lengths import Context, check_lengths, lengths_of
from rasa_ft_ext.checks.names import check_names
from rasa_ft_ext.errors import DataError, WorkspaceError
from rasa_ft_ext.files import write_json_file
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.review.place import reviewed_rephrasings
from rasa_ft_ext.rows import shortened
from rasa_ft_ext.scratch import Shelf, scratch
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    MANIFEST,
    SPLIT,
    Workspace,
    read_flow_map,
    read_record,
    write_record,
)

CHECKS = "checks.json"
"""Where `split` leaves the report, in its folder; and `check-data`, in the output folder."""

MOST = 2000  # findings of a kind and severity that a report holds, and messages with their diversity; see CheckReport


def check_data(
    workspace: Workspace, *, context: Context | None = None, progress: Progress | None = None
) -> CheckReport:
    """Check the rows of a finished split, or the examples of a dataset that is not split yet.

    Args:
        workspace: Holds annotations and examples, and the split if there is one.
        context: The base model's context; None to count no tokens.
        progress: Is told how far it is.

    Raises:
        WorkspaceError: there is no dataset, or its stages do not belong together.
        ConfigError: a file of rows, or that of the decisions of a review, cannot be read.
    """
    return check(workspace, read_entries(workspace), context=context, progress=progress)


def check(
    workspace: Workspace,
    entries: Sequence[Entry],
    *,
    context: Context | None = None,
    review: Path | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Put every question to these rows; the workspace says what the assistant has, and how it was rephrased.

    `review` is the file with the decisions of a review, where it is not the one that the examples were made with. The
    rows may be on disk: none is held for longer than it is looked at.
    """
    progress = progress or Progress()
    with scratch() as database:
        known = _known(workspace, database)
        rephrased = reviewed_rephrasings(workspace, review)
        varied = varied_wordings(rephrased, Shelf(database, "varied"))
        lengths = array("q", lengths_of(entries, context) if context else ())
        balance = balance_of(entries)
        sides = {entry.side for entry in entries}

        def findings() -> Iterator[Finding]:
            checks = (
                check_contradictions(entries),
                check_names(entries, known),
                check_values(entries, known),
                check_duplicates(entries, varied),
                check_diversity(diversity_of(rephrased)),
                check_lengths(entries, lengths, context) if context else (),
                check_sides(sides),
                check_balance(balance, divided="validation" in sides),
            )
            progress.start("Checking the rows", len(checks))
            for found in checks:
                yield from found
                progress.step()

        kept, left_out = _first(findings())
        diversity, mean_diversity = _first_messages(diversity_of(rephrased))
        return CheckReport(
            version=__version__,
            rows=len(entries),
            findings=kept,
            diversity=diversity,
            balance=balance,
            longest=max(lengths, default=None),
            left_out=left_out,
            mean_diversity=mean_diversity,
        )


def _first(findings: Iterable[Finding]) -> tuple[tuple[Finding, ...], tuple[LeftOut, ...]]:
    """As many findings of each kind and severity as a report holds, and how many more there are."""
    kept: list[Finding] = []
    counts: Counter[tuple[Kind, Severity]] = Counter()
    for finding in findings:
        counts[finding.kind, finding.severity] += 1
        if counts[finding.kind, finding.severity] <= MOST:
            kept.append(finding)
    more = ((kind, severity, number - MOST) for (kind, severity), number in counts.items() if number > MOST)
    return tuple(kept), tuple(LeftOut(kind=kind, severity=severity, number=number) for kind, severity, number in more)


def _first_messages(turns: Iterable[TurnDiversity]) -> tuple[tuple[TurnDiversity, ...], float | None]:
    """As many messages as a report holds, and the mean of all if there are more."""
    kept: list[TurnDiversity] = []
    number, total = 0, 0.0
    for turn in turns:
        number, total = number + 1, total + turn.diversity
        if number <= MOST:
            kept.append(turn)
    return tuple(kept), round(total / number, 4) if number > MOST else None


def _known(workspace: Workspace, database: sqlite3.Connection) -> Known:
    folder = workspace.folder(ANNOTATIONS)
    return known_of(workspace.card(), workspace.annotations(), read_flow_map(folder), Shelf(database, "held"))


def refuse_faults(report: CheckReport) -> None:
    """Let no fault through: neither a problem nor a warning.

    Raises:
        DataError: there are some; names the first of them.
    """
    if report.faults:
        told = shortened([f"{finding.kind}: {finding.place}: {finding.text}" for finding in report.faults])
        lines = "".join(f"\n  - {line}" for line in told)
        raise DataError(
            f"The data has {sum(report.counts.values())} faults, and --strict lets none through:{lines}\nLook at all "
            "of them with `rasa-ft check-data`, mend them, or go on without --strict."
        )


def write_report(path: Path, report: CheckReport) -> None:
    """Write all findings and figures as JSON.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    try:
        write_record(path, report)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror or error}.") from error


def keep(workspace: Workspace, report: CheckReport) -> None:
    """Leave the report of rows that are there already in the output folder, for whoever shows it.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    made_of = workspace.fingerprint(_last(workspace))
    write_json_file(workspace.root / CHECKS, KeptReport(made_of=made_of, report=report))


def latest(workspace: Workspace) -> CheckReport | None:
    """The report that was kept, if it is about the rows that are there; else that of `split`; None if there is none.

    Raises:
        WorkspaceError: a report cannot be read.
    """
    if (workspace.root / CHECKS).is_file():
        kept = read_record(workspace.root / CHECKS, KeptReport)
        try:
            if kept.made_of == workspace.fingerprint(_last(workspace)):
                return kept.report
        except WorkspaceError:
            pass  # the rows do not fit their inputs any more; what `split` said of them does
    path = workspace.folder(SPLIT) / CHECKS
    return read_record(path, CheckReport) if path.is_file() else None


def _last(workspace: Workspace) -> str:
    return SPLIT if (workspace.folder(SPLIT) / MANIFEST).is_file() else DATASET
